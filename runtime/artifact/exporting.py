"""A program's functions as StableHLO: what is exported of it, with which arguments.

Every function of points (z, values, keys, u) takes them with a leading axis of any length, see `calling`. Arrays that
a function closes over are its first argument, and are stored once. Where data may have another number of rows, a
function is traced at several numbers, see `lengths`; then the first argument ends with an array without elements that
has as many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from numpyro.distributions import biject_to

from plait.compiler.host_checks import condition
from plait.compiler.lower.density import unconstrained
from plait.compiler.lower.gradient import value_and_grad
from plait.compiler.lower.prior_transform import prior_transform, require_quantiles
from plait.compiler.lower.sampler import draw
from plait.compiler.observed import observed_values
from plait.ir.errors import ModelError
from plait.ir.ops import Check, Input, Param, inputs
from plait.ir.spec import rebuild
from plait.runtime import param_values
from plait.runtime.artifact.lengths import Line, evaluated, is_one, on_line
from plait.runtime.program import Program

Call = Callable[..., Any]
Arrays = Sequence[Any]


@dataclass(frozen=True)
class Exportable:
    """A function to export.

    Attributes:
        name: within its program.
        call: pure, of `arguments`.
        arguments: pytrees of `jax.ShapeDtypeStruct`; a leading axis of points is symbolic.
    """

    name: str
    call: Call
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Sizes:
    """Symbolic sizes.

    Attributes:
        n: of an axis of points.
        m: the number of rows; None where it is fixed.
        line: where functions are traced, and where they are wanted.
    """

    n: Any
    m: Any
    line: Line

    @classmethod
    def fixed(cls) -> Sizes:
        """For the saved number of rows."""
        return cls(export.symbolic_shape("n")[0], None, Line((0,), 0))

    @classmethod
    def any_rows(cls, numbers: Sequence[int], fewest: int) -> Sizes:
        """For any number of rows, but no fewer, of traces with these numbers."""
        n, m = export.symbolic_shape("n, m", constraints=[f"m >= {fewest}"])
        return cls(n, m, Line(tuple(x - numbers[0] for x in numbers), m - numbers[0]))

    @property
    def witness(self) -> list[Any]:
        """What tells a function the number of rows, also where none of its arguments has as many."""
        return [] if self.m is None else [jax.ShapeDtypeStruct((self.m, 0), np.bool_)]


@dataclass(frozen=True)
class Example:
    """The types of what a program's functions take.

    Attributes:
        n: the length of an axis of points.
        data: of the data arrays.
        known: of what `prepare` makes of them.
        params: of the params' arrays.
        any_rows: whether data may have another number of rows.
    """

    n: Any
    data: Any
    known: Any
    params: Any
    any_rows: bool

    @classmethod
    def of(cls, n: Any, data: Arrays, known: Arrays, params: Arrays, any_rows: bool) -> Example:
        return cls(n, typed(tuple(data)), typed(tuple(known)), typed(tuple(params)), any_rows)

    def points(self, program: Program) -> Any:
        """Flat vectors."""
        about = program.description
        return self.several(sum(slot.unconstrained.size for slot in about.slots), dtype=about.dtype)

    def values(self, program: Program) -> tuple[Any, ...]:
        """The latents' values."""
        return tuple(self.several(*t.shape, dtype=t.dtype) for t in program.description.latents.values())

    def keys(self) -> Any:
        """Random keys, as numbers."""
        one = one_key()
        return self.several(*one.shape, dtype=one.dtype)

    def several(self, *shape: int, dtype: Any) -> Any:
        return jax.ShapeDtypeStruct((self.n, *shape), dtype)

    def read(self, program: Program, function: str) -> Any:
        """What a function reads of `known`."""
        return tuple(self.known[i] for i in program.uses(function))


def preparing_functions(program: Program, example: Example) -> Iterator[Exportable]:
    """What is done once per data set, but for the host's part."""
    lowered = program.lowered
    computed = jax.eval_shape(lowered.computed, example.data)
    yield Exportable("computed", lowered.computed, (example.data,))
    statistics = [tuple(jax.ShapeDtypeStruct(t.shape, t.dtype) for t in n.type.items) for n in lowered.kernels]  # type: ignore[union-attr]
    yield Exportable("assembled", lowered.assembled, (example.data, computed, statistics))

    def conditions(computed: Arrays) -> list[Any]:
        asked = zip(lowered.checks, lowered.checked(computed), strict=True)
        return [condition(check.op, jnp, values)[0] for check, values in asked if isinstance(check.op, Check)]

    yield Exportable("conditions", conditions, (computed,))


def density_functions(program: Program, example: Example) -> Iterator[Exportable]:
    """The log density and its derivatives."""
    z = example.points(program)
    arguments = (example.read(program, "log_density"), example.params, z)
    yield Exportable("log_density", over(program.density, 1), arguments)
    # which sums share a loop depends on how many entries they have, so that for any number none do
    both = jax.value_and_grad(program.density, argnums=2) if example.any_rows else value_and_grad(program.density)
    yield Exportable("log_density_and_grad", over(both, 1), arguments)

    def product(known: Any, params: Any, z: Any, v: Any) -> Any:
        return jax.jvp(jax.grad(partial(program.density, known, params)), (z,), (v,))[1]

    yield Exportable("hvp", over(product, 2), (*arguments, z))
    if example.params:
        yield Exportable("params_gradient", over(jax.grad(program.density, argnums=1), 1), arguments)


def site_functions(program: Program, example: Example) -> Iterator[Exportable]:
    """Of constrained values: the log joint with its gradient, and its terms."""
    lowered, values = program.lowered, example.values(program)
    arguments = (example.read(program, "log_joint"), example.params, values)
    joint = lowered.log_joint.only
    yield Exportable("log_joint", over(joint, 1), arguments)
    floats = [i for i, x in enumerate(values) if jnp.issubdtype(x.dtype, jnp.floating)]

    def gradient(known: Any, params: Any, values: Any) -> Any:
        def moved(floating: Any) -> Any:
            whole = dict(enumerate(values)) | dict(zip(floats, floating, strict=True))
            return joint(known, params, tuple(whole.values()))

        return jax.value_and_grad(moved)([values[i] for i in floats])

    yield Exportable("log_joint_and_grad", over(gradient, 1), arguments)
    yield terms_function(program, example)


def terms_function(program: Program, example: Example) -> Exportable:
    """The sites' log probabilities, unsummed."""
    arguments = (example.read(program, "terms"), example.params, example.values(program))
    return Exportable("terms", over(program.lowered.terms.__call__, 1), arguments)


def space_functions(program: Program, example: Example) -> Iterator[Exportable]:
    """From the flat vector to constrained values."""
    lowered, z = program.lowered, example.points(program)
    for name, function in (("values", lowered.values), ("deterministics", lowered.deterministics)):
        assert function is not None
        arguments = (example.read(program, name), example.params, z)
        yield Exportable(name, over(_of_z(function), 1), arguments)
        ct = jax.eval_shape(over(_of_z(function), 1), *arguments)
        yield Exportable(f"{name}_pulled_back", over(_pulled_back(_of_z(function)), 2), (*arguments, ct))


def unconstrain_function(program: Program, example: Example) -> Exportable:
    """From constrained values to the flat vector."""
    inverse = partial(unconstrained, program.graph_with_supports, program.description.dtype)
    return Exportable("unconstrain", over(inverse, 1), (example.data, example.params, example.values(program)))


def drawing_functions(program: Program, example: Example, given_always: Sequence[str]) -> Iterator[Exportable]:
    """Draws, and the prior as a transform of the unit cube where there is one.

    Args:
        program: of the whole model.
        example: types of its arguments.
        given_always: the sites that can't be drawn.
    """
    given: dict[str, Any] = {}
    for name, t in drawn_types(program, example, given_always).items():
        value = example.several(*t.shape, dtype=t.dtype)
        given[name] = value if name in given_always else (value, example.several(*t.shape, dtype=np.bool_))

    def sample(data: Any, params: Any, key: Any, given: Any) -> Any:
        return draw(program.model, data, params, jax.random.wrap_key_data(key), given)

    yield Exportable("sample", over(sample, 2), (example.data, example.params, example.keys(), given))
    try:
        require_quantiles(program.model)
    except ModelError:
        return
    transform = partial(prior_transform, program.model, program.lowered.slots)
    yield Exportable("prior_transform", over(transform, 1), (example.data, example.params, example.points(program)))


def drawn_types(program: Program, example: Example, given_always: Sequence[str]) -> dict[str, Any]:
    """The types of what one draw of each site is."""
    latents = program.description.latents
    given = {name: jax.ShapeDtypeStruct(latents[name].shape, latents[name].dtype) for name in given_always}
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(partial(draw, program.model), example.data, example.params, key, given)


def param_functions(program: Program, example: Example) -> Iterator[Exportable]:
    """Observed values, and what is asked of params: initial values, and the way onto their constraints and back."""
    model = program.model
    yield Exportable("observed", partial(observed_values, model), (example.data, example.params))
    if not example.params:
        return
    constraints = [rebuild(op.constraint, ()) for op in model.ops(Param)]

    def start(data: Arrays, keys: Any) -> Any:
        return param_values.starts(model, data, [jax.random.wrap_key_data(key) for key in keys])

    one = one_key()
    keys = jax.ShapeDtypeStruct((len(inputs(model, Input.KEY)), *one.shape), one.dtype)
    yield Exportable("initial_params", start, (example.data, keys))
    for name, moves in (
        ("params_constrained", [biject_to(c) for c in constraints]),
        ("params_unconstrained", [biject_to(c).inv for c in constraints]),
        ("params_allowed", [partial(param_values.allowed, c) for c in constraints]),
    ):
        yield Exportable(name, partial(_each, moves), (example.params,))


def _each(moves: Sequence[Call], arrays: Arrays) -> list[Any]:
    return [move(x) for move, x in zip(moves, arrays, strict=True)]


def over(function: Call, points: int) -> Call:
    """A function of one point each, mapped over the leading axis of its last `points` arguments."""

    def many(*arguments: Any) -> Any:
        cut = len(arguments) - points
        if not jax.tree.leaves(arguments[cut:]):  # the values of a model without latents: there is one such point
            return jax.tree.map(lambda x: jnp.asarray(x)[None], function(*arguments))
        return jax.vmap(partial(function, *arguments[:cut]))(*arguments[cut:])

    return many


def one_key() -> jax.ShapeDtypeStruct:
    """The type of a random key as numbers."""
    return jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))


def typed(tree: Any) -> Any:
    """The types of arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.asarray(x).dtype), tree)


def _of_z(function: Any) -> Call:
    return lambda known, params, z: function(known, params, (z,))


def _pulled_back(function: Call) -> Call:
    def call(known: Any, params: Any, z: Any, cotangents: Any) -> Any:
        return jax.vjp(partial(function, known, params), z)[1](cotangents)[0]

    return call


def exported(functions: Sequence[Exportable], sizes: Sizes, platforms: Sequence[str]) -> tuple[Any, list[Any]]:
    """The function as StableHLO, which takes the arrays that it closes over first; and these arrays.

    Args:
        functions: the function at each of the numbers of rows of `sizes`.
        sizes: the symbolic ones.
        platforms: to run on.

    Raises:
        DiffersError: it is not one function for all numbers of rows.
    """
    traced = [jax.make_jaxpr(f.call, return_shape=True)(*f.arguments) for f in functions]
    structure = jax.tree.structure(traced[0][1])
    closed = [c for c, _ in traced]
    kept = [i for i, values in enumerate(zip(*(c.consts for c in closed), strict=True)) if is_one(values)]

    def call(constants: Any, *arguments: Any) -> Any:
        given = dict(zip(kept, constants, strict=False))
        leaves = evaluated(closed, sizes.line, jax.tree.leaves(arguments), given)
        return jax.tree.unflatten(structure, leaves)

    constants = [jnp.asarray(closed[0].consts[i]) for i in kept]
    arguments = jax.tree.map(lambda *types: on_line(types, sizes.line), *(f.arguments for f in functions))
    first = [*typed(constants), *sizes.witness]
    return export.export(jax.jit(call), platforms=tuple(platforms))(first, *arguments), constants


__all__ = [
    "Example",
    "Exportable",
    "Sizes",
    "preparing_functions",
    "density_functions",
    "drawing_functions",
    "drawn_types",
    "exported",
    "param_functions",
    "site_functions",
    "space_functions",
    "terms_function",
    "unconstrain_function",
]
