"""What one compile yields, whatever the data: graphs, lowered functions, and their jitted forms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax

from plait.compiler.arguments import Arguments
from plait.compiler.certificate import Certificate
from plait.compiler.explain import explain
from plait.compiler.explanation import Explanation
from plait.compiler.host_checks import require
from plait.compiler.jax_compat import is_tracer
from plait.compiler.kernels.cells import LayoutChangedError
from plait.compiler.lower.density import Function, Lowered, lower, unconstrained
from plait.compiler.lower.gradient import is_reversible, value_and_grad, with_gradient
from plait.compiler.lower.prior_transform import prior_transform, require_quantiles
from plait.compiler.lower.sampler import draw
from plait.compiler.nonfinite.find import Point, find
from plait.compiler.nonfinite.frames import Frame
from plait.compiler.nonfinite.report import NonFinite
from plait.compiler.observed import observed_values
from plait.compiler.parts import passes_of
from plait.compiler.passes import PIPELINE, run_passes
from plait.compiler.variants import unobserved, unscaled
from plait.ir.errors import InternalError, ValueNamesError
from plait.ir.graph import Graph, Op, Role
from plait.ir.ops import Input, Param, Value, inputs
from plait.ir.parts import WHOLE, Part
from plait.ir.types import ArrayType
from plait.runtime import param_values
from plait.runtime.describe import describe
from plait.runtime.description import Description
from plait.runtime.functions import BATCH
from plait.runtime.stage_graph import TRACED, StageGraph
from plait.runtime.start import find_start
from plait.runtime.tempered import Density, Tempered

Jitted = Callable[..., Any]


@dataclass(frozen=True, eq=False, repr=False)
class Program:
    """Shared by a compiled model and everything that `bind` makes of it, so nothing compiles twice.

    Each jitted function is made when it is first asked for.

    Attributes:
        traced: the graph as traced.
        model: the same with its loops rolled: of what there are draws, params and observed sites.
        lowered: the functions of the density graph.
        history: (pass, graph after it), from the traced graph on.
        arguments: the model's arguments at compile; `bind` compares with them.
        switches: optional passes by name, False for those that are off.
        notes: sentences of the trace, such as why it has an ordinary loop.
        part: which addends `log_density` sums.
        again: compiles the model from its source on other data arrays.
    """

    traced: Graph
    model: Graph
    lowered: Lowered
    history: tuple[tuple[str, Graph], ...]
    arguments: Arguments
    switches: Mapping[str, bool] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    part: Part = WHOLE
    again: Callable[[Sequence[Any]], Any] | None = None

    @cached_property
    def description(self) -> Description:
        """What it says of itself."""
        return describe(self.traced, self.model, self.graph_with_supports, self.lowered, self.arguments)

    @property
    def model_json(self) -> Mapping[str, Any]:
        """The JSON form of the model graph, the sites that loops made as one each."""
        return self.model.to_json()

    @property
    def has_source(self) -> bool:
        """Whether the lines that it names are in files that are here."""
        return True

    @property
    def stages(self) -> tuple[StageGraph, ...]:
        """The graph after each pass, with a sentence on what the pass does."""
        told = {p.name: p.sentence for p in PIPELINE}
        return tuple(StageGraph(name, told.get(name, TRACED), graph.to_json()) for name, graph in self.history)

    @property
    def density_graph(self) -> Graph:
        """The graph after the last pass."""
        return self.lowered.graph

    @property
    def graph_with_supports(self) -> Graph:
        """The graph whose values know their supports and whose bijectors are still ops."""
        return dict(self.history)["unconstrain"]

    # -- data -------------------------------------------------------------------------------------------

    @cached_property
    def computed(self) -> Jitted:
        """Of the data arrays: what JAX can trace of `prepare`."""
        return jax.jit(self.lowered.computed)

    def prepared(self, data: Sequence[Any]) -> tuple[Program, tuple[Any, ...]]:
        """The program that fits the data, and what it knows of them, after they have been checked.

        Nobody can look at data that a caller's jit or vmap traces: these are not checked.

        Raises:
            DataError: the data contradict the model.
        """
        if any(map(is_tracer, data)):
            program = self.on_traced_data if self.lowered.kernels else self
            return program, program.lowered.finished(data, program.computed(tuple(data)))
        with jax.ensure_compile_time_eval():  # also where the caller's jit is tracing
            return self._checked(data)

    def _checked(self, data: Sequence[Any]) -> tuple[Program, tuple[Any, ...]]:
        for fitting in self.fitting(data):
            computed = fitting.computed(tuple(data))
            if fitting is self:
                self.require(computed)
            try:
                return fitting, fitting.lowered.finished(data, computed)
            except LayoutChangedError:
                continue
        raise InternalError("a program does not fit the data that it was made for")

    def uses(self, function: str) -> tuple[int, ...]:
        """The places, among what `prepared` knows of data, of what one of the functions below reads."""
        return getattr(self.lowered, function).uses

    def require(self, computed: Sequence[Any]) -> None:
        """Raises DataError where data, of which these values were `computed`, contradict the model."""
        for check, values in zip(self.lowered.checks, self.lowered.checked(computed), strict=True):
            require(check, values, self.description.families)

    @cached_property
    def log_joint(self) -> Jitted:
        """Of (known, params, values)."""
        return jax.jit(self.lowered.log_joint.only)

    @cached_property
    def terms(self) -> Jitted:
        """Of (known, params, values)."""
        return jax.jit(self.lowered.terms.__call__)

    @cached_property
    def terms_of_draws(self) -> Jitted:
        """Of (known, params, values stacked n times): the terms, stacked."""

        def many(known: Any, params: Any, values: Any) -> Any:
            return jax.lax.map(partial(self.lowered.terms, known, params), values, batch_size=BATCH)

        return jax.jit(many)

    @cached_property
    def observed(self) -> Jitted:
        """Of (data, params): the observed values by site or family."""
        return jax.jit(partial(observed_values, self.model))

    @cached_property
    def log_density(self) -> Jitted:
        """Of (known, params, z)."""
        return jax.jit(self.differentiated)

    @cached_property
    def log_density_and_grad(self) -> Jitted:
        """Of (known, params, z); the gradient is with respect to z."""
        return jax.jit(value_and_grad(self.density))

    @cached_property
    def jacobians(self) -> Jitted:
        """Of (known, params, z): the log-det-Jacobian of each latent's bijector, summed."""
        density = self.lowered.log_density
        assert density is not None
        jacobians = replace(density, results=self.density_graph.named(Role.JACOBIAN))
        return jax.jit(lambda known, params, z: jacobians(known, params, (z,)))

    @cached_property
    def hessian(self) -> Jitted:
        """Of (known, params, z): with respect to z."""
        return jax.jit(jax.hessian(self.density, argnums=2))

    @cached_property
    def hvp(self) -> Jitted:
        """Of (known, params, z, v): the Hessian with respect to z times v, forward over reverse."""

        def product(known: Any, params: Any, z: Any, v: Any) -> Any:
            return jax.jvp(jax.grad(partial(self.density, known, params)), (z,), (v,))[1]

        return jax.jit(product)

    @cached_property
    def values(self) -> Jitted:
        """Of (known, params, z), with any leading axes of z."""
        return jax.jit(partial(_batched, _required(self.lowered.values)))

    @cached_property
    def deterministics(self) -> Jitted:
        """Of (known, params, z), with any leading axes of z."""
        return jax.jit(partial(_batched, _required(self.lowered.deterministics)))

    @cached_property
    def unconstrain(self) -> Jitted:
        """Of (data, params, values), with the same leading axes of all values, as many as `axes` says."""

        def call(data: Any, params: Any, values: Any, axes: int) -> Any:
            function = partial(unconstrained, self.graph_with_supports, self.description.dtype, data, params)
            for _ in range(axes):
                function = jax.vmap(function)
            return function(values)

        return jax.jit(call, static_argnums=3)

    @cached_property
    def start(self) -> Jitted:
        """Of (known, params, keys (n,)): n points and whether each is usable."""
        dim, dtype = sum(slot.unconstrained.size for slot in self.lowered.slots), self.description.dtype
        value_and_grad = jax.value_and_grad(self.density, argnums=2)

        def many(known: Any, params: Any, keys: Any) -> Any:
            return jax.vmap(partial(find_start, partial(value_and_grad, known, params), dim, dtype))(keys)

        return jax.jit(many)

    @cached_property
    def sample(self) -> Jitted:
        """Of (data, params, keys (n,), given values stacked n times)."""

        def many(data: Any, params: Any, keys: Any, given: Any) -> Any:
            return jax.vmap(partial(draw, self.model, data, params))(keys, given)

        return jax.jit(many)

    @cached_property
    def prior_transform(self) -> Jitted:
        """Of (data, params, u), with any leading axes of u: latents and deterministics.

        Raises:
            ModelError: a latent has no inverse CDF.
        """
        require_quantiles(self.model)

        def call(data: Any, params: Any, u: Any) -> dict[str, Any]:
            function = partial(prior_transform, self.model, self.lowered.slots, data, params)
            return _over_axes(function, u)

        return jax.jit(call)

    def freed(self, names: Collection[str]) -> Program:
        """The program in which these observed sites are latent."""
        key = frozenset(names)
        if key not in self._freed:
            self._freed[key] = self._variant(unobserved(self.traced, key))
        return self._freed[key]

    @cached_property
    def _freed(self) -> dict[frozenset[str], Program]:
        return {}

    def fitting(self, data: Sequence[Any]) -> Iterator[Program]:
        """This program and those that were made for other data of its model; the last one is made for these data."""
        yield self
        if not self.lowered.kernels:
            return
        yield from [program for kernels, program in self._relatives.items() if kernels]
        built = self._again(data)
        yield self._relatives.setdefault(tuple(n.op for n in built.lowered.kernels), built)  # what is compiled is kept

    @cached_property
    def _relatives(self) -> dict[tuple[Op, ...], Program]:
        """By their kernels."""
        return {}

    @cached_property
    def on_traced_data(self) -> Program:
        """The program without statistics of the host, for data that the caller's jit or vmap traces."""
        return self._again(None)

    def _again(self, data: Sequence[Any] | None) -> Program:
        made = build(self.traced, self.switches, self.arguments, data=data, part=self.part)
        return replace(made, notes=self.notes, again=self.again)

    def of(self, part: Part, data: Sequence[Any] | None) -> Program:
        """The program whose log density is a part of this one's.

        Args:
            part: which addends.
            data: what the statistics of the host are laid out for; without, there are none.
        """
        key = part, data is None
        if key not in self._parts:
            self._parts[key] = build(self.traced, self.switches, self.arguments, data=data, part=part)
        return self._parts[key]

    @cached_property
    def _parts(self) -> dict[tuple[Part, bool], Program]:
        return {}

    def tempered(self, prior: Program, likelihood: Program) -> Tempered:
        """The functions of both, prior + beta · likelihood, compiled once for all data that these programs fit."""
        both = Tempered(*(Density(p.differentiated, value_and_grad(p.differentiated)) for p in (prior, likelihood)))
        return self._tempered.setdefault((prior, likelihood), both)

    @cached_property
    def _tempered(self) -> dict[tuple[Program, Program], Tempered]:
        return {}

    @cached_property
    def unscaled(self) -> Program:
        """The program in which each observation counts once."""
        return self._variant(unscaled(self.traced))

    def _variant(self, traced: Graph) -> Program:
        """Without most passes: what they computed from observed values or summed over rows is not wanted."""
        kept = {"simplify", "reroll"} & {name for name, _ in self.history}
        return build(traced, {p.name: p.name in kept for p in PIPELINE if p.optional}, self.arguments)

    # -- params -----------------------------------------------------------------------------------------

    def initial_params(self, data: Sequence[Any], key: Any = None) -> tuple[Any, ...]:
        """The arrays of the params' initial values, the random ones drawn with a key."""
        return param_values.initial(self.model, self.description.params, data, key)

    def require_params(self, arrays: Sequence[Any]) -> None:
        """Raises ValueNamesError where a param's value does not satisfy its constraint."""
        param_values.require_allowed(self.model, self.description.params, arrays, "is given as", ValueNamesError)

    def transformed_params(self, given: Mapping[str, Any], inverse: bool) -> dict[str, Any]:
        """Params by site moved onto their constraints, or back."""
        return param_values.transformed(param_values.constraints_of(self.model), given, inverse)

    # -- looking ----------------------------------------------------------------------------------------

    def explain(self, certificate: Certificate | None, data: Sequence[Any] | None) -> Explanation:
        """What is evaluated of the program, made for these data; None where they are traced."""
        with jax.enable_x64(_is_wide(self.traced)):  # as when it was compiled: the rules are asked again
            return explain(self.history, certificate, self.notes, data)

    def find_nonfinite(
        self,
        data: Sequence[Any],
        params: Sequence[Any],
        at: Sequence[Any],
        density: float,
        gradient: Mapping[str, Any],
        *,
        unconstrained: bool,
    ) -> NonFinite | None:
        """The first thing that is infinite or NaN at a point.

        Args:
            data: the data arrays.
            params: the arrays of the params.
            at: the latents' values, or the flat vector alone.
            density: the log density there, or the log joint.
            gradient: its gradient, by name of the entry of z, or by latent.
            unconstrained: whether the point is the flat vector.
        """
        graph = self.graph_with_supports
        given = dict(zip(inputs(graph, Input.DATA), data, strict=True))
        given |= zip(graph.of(Param), params, strict=True)
        given |= zip(inputs(graph, Input.FLAT) if unconstrained else graph.of(Value), at, strict=True)
        point = Point(self.traced, self.model, Frame(graph, given), self.description.families, unconstrained)
        return find(point, density, gradient)

    @cached_property
    def differentiated(self) -> Callable[..., Any]:
        """`density`, which gives the gradient of `log_density_and_grad` to whoever differentiates it."""
        return with_gradient(self.density) if is_reversible(self.lowered.graph) else self.density

    def density(self, known: Sequence[Any], params: Sequence[Any], z: Any) -> Any:
        """`log_density`, not jitted."""
        return _required(self.lowered.log_density).only(known, params, (z,))


def build(
    traced: Graph,
    switches: Mapping[str, bool],
    arguments: Arguments,
    on_graph: Callable[[str, Graph], None] = lambda name, graph: None,
    data: Sequence[Any] | None = None,
    part: Part = WHOLE,
) -> Program:
    """The program of a traced graph: passes, then lower.

    Args:
        traced: the model graph.
        switches: optional passes by name, False for off.
        arguments: of the model.
        on_graph: called with each pass's name and result.
        data: what the statistics of the host are laid out for; without, there are none.
        part: which addends of the log density are summed.
    """
    history = [("trace", traced)]

    def record(name: str, graph: Graph) -> None:
        history.append((name, graph))
        on_graph(name, graph)

    density = run_passes(traced, passes_of(part, PIPELINE), switches, record, data)
    names = [name for name, _ in history]
    model = history[names.index("density") - 1][1]
    return Program(traced, model, lower(density), tuple(history), arguments, switches, part=part)


def _batched(function: Function, known: Any, params: Any, z: Any) -> dict[str, Any]:
    return _over_axes(lambda z: function(known, params, (z,)), z)


def _over_axes(function: Callable[[Any], dict[str, Any]], z: Any) -> dict[str, Any]:
    """A function of a vector at each of the vectors along the leading axes."""
    for _ in range(z.ndim - 1):
        function = jax.vmap(function)
    return function(z)


def _is_wide(graph: Graph) -> bool:
    """Whether a graph was traced with 64 bits."""
    return any(isinstance(node.type, ArrayType) and str(node.type.dtype) in _WIDE for node in graph)


_WIDE = frozenset({"float64", "int64", "uint64", "complex128"})


def _required(function: Function | None) -> Function:
    assert function is not None, "CompiledModel refuses before it asks"
    return function
