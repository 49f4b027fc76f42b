"""`Elbo`: a model and its guide as one jitted evidence lower bound, for any optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from plait.compiler.explain import explain
from plait.compiler.explanation import Explanation
from plait.compiler.jax_compat import is_tracer
from plait.compiler.kernels.cells import LayoutChangedError
from plait.compiler.lower.sampler import drawn_shapes
from plait.compiler.members import unstacked
from plait.ir.errors import BindError, DataError
from plait.ir.types import Shape
from plait.runtime import param_values
from plait.runtime.data import rebound_arrays
from plait.runtime.elbo_program import Arrays, Data, ElboProgram
from plait.runtime.given import draws_shape, one_key
from plait.runtime.guide_checks import require_same_starts
from plait.runtime.params import packed
from plait.runtime.program import Program

Params = Mapping[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Elbo:
    """The evidence lower bound of a model and its guide, bound to data. Immutable; `bind` makes another.

    For a guide q and a model p the bound is ``E_q[log p(z, data) − log q(z)] ≤ log p(data)``, estimated by the mean
    over `num_particles` draws of q (Kingma and Welling 2014; Ranganath et al. 2014). Its gradient goes through the
    draws. Each particle draws the minibatches of plates with a `subsample_size` anew; plates of one name have the same
    indices in model and guide.

    Params are unconstrained here, a dict of arrays (or a module's pytree of them) by name, which any optimizer moves.
    All functions are pure, and usable inside jit, vmap, grad and scan.
    """

    _program: ElboProgram
    _data: Data
    _known: Arrays | None  # None where rows are evaluated as they are written

    # -- data -------------------------------------------------------------------------------------------

    @classmethod
    def bound(cls, program: ElboProgram, data: Data) -> Elbo:
        """The program on data: runs the checks on them, and computes their statistics."""
        if any(map(is_tracer, (*data.model, *data.guide))):
            return cls(program, data, None)
        with jax.ensure_compile_time_eval():
            return cls(program, data, _known_of(program, data))

    def bind(self, **new: Any) -> Elbo:
        """This ELBO on other data, by the names of the model's arguments; those not named stay.

        Nothing is traced again. Where the model's statistics do not fit the new data (see `CompiledModel.explain`) rows
        are evaluated as they are written, which is compiled once.

        Raises:
            BindError: an argument has another shape, dtype, structure or static value; says which.
            DataError: the data contradict the model.
        """
        return Elbo.bound(self._program, self._rebound(new))

    def _rebound(self, new: Mapping[str, Any]) -> Data:
        program = self._program
        model = rebound_arrays(program.model.description.data, self._data.model, new)
        theirs = {}
        for name in new.keys() & program.guide_arguments.keys():
            there = program.guide_arguments[name]
            if there is None:
                raise BindError(f"argument {name!r} of the model is several arguments of the guide; give both the same")
            theirs[there] = new[name]
        return Data(model, rebound_arrays(program.guide.description.data, self._data.guide, theirs))

    # -- params -----------------------------------------------------------------------------------------

    @property
    def num_particles(self) -> int:
        """Draws of the guide in one estimate."""
        return self._program.num_particles

    def init(self, key: Any) -> dict[str, Any]:
        """Unconstrained initial values of the params of guide and model, by name; random ones are drawn with `key`.

        Each is an array, or a module's pytree of arrays. A param of both has one entry, drawn once.

        Raises:
            ModelError: a param of both starts at different numbers.
        """
        model_key, guide_key = jax.random.split(one_key(key))
        program, (of_model, of_guide) = self._program, self._program.with_indices(self._data)
        mine, theirs = _initial(program.model, of_model, model_key), _initial(program.guide, of_guide, guide_key)
        require_same_starts(program.model, program.guide, mine, theirs)
        values = theirs | mine
        moved = param_values.transformed(program.constraints, values, inverse=True)
        # a weak type would make an optimizer's first step differ in type from the next ones
        return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), moved)

    def constrain(self, params: Params) -> dict[str, Any]:
        """Values of the params under their constraints, by name."""
        return self._program.constrained(params)

    def unconstrain(self, values: Params) -> dict[str, Any]:
        """The inverse of `constrain`."""
        return param_values.transformed(self._program.constraints, values, inverse=True)

    # -- the bound --------------------------------------------------------------------------------------

    def loss(self, params: Params, key: Any, /, **data: Any) -> Any:
        """Minus an estimate of the ELBO (nats, a scalar).

        Args:
            params: unconstrained, by name, as `init` gives them.
            key: a jax random key; another one for each step.
            **data: arguments of the model in place of those bound, of the same shapes. A caller's jit or scan may trace
                them: a minibatch by hand. Rows are then evaluated as they are written, and values are not checked.

        Raises:
            ValueNamesError: a param is missing, unknown or misshaped.
            BindError: data have another shape, dtype, structure or static value.
        """
        program = self._program
        return self._estimate(program.loss, program.loss_of_rows, params, key, data)

    def loss_and_grad(self, params: Params, key: Any, /, **data: Any) -> tuple[Any, dict[str, Any]]:
        """`loss` and its gradient, by name like `params`, in one pass."""
        program = self._program
        value, grad = self._estimate(program.loss_and_grad, program.loss_and_grad_of_rows, params, key, data)
        return value, grad

    def _estimate(
        self, fused: Callable[..., Any], by_row: Callable[..., Any], params: Params, key: Any, new: Mapping[str, Any]
    ) -> Any:
        key = one_key(key)
        if new:
            return by_row(self._rebound(new), params, key)
        return by_row(self._data, params, key) if self._known is None else fused(self._known, self._data, params, key)

    # -- draws ------------------------------------------------------------------------------------------

    def sample(self, params: Params, key: Any, shape: Shape | int = (), /, **data: Any) -> dict[str, Any]:
        """Draws from the guide: the approximate posterior.

        Args:
            params: unconstrained, by name.
            key: a jax random key.
            shape: of independent draws; goes before every site's shape.
            **data: as for `loss`.

        Returns:
            The model's latents by name, constrained, of shape ``shape + site``. Where the guide or the model takes a
            subsample, the indices of each draw by the name of the plate.
        """
        found, n = self._drawn(self._program.draws, params, key, shape, data)
        return unstacked(found, self._program.model.description.families, n)

    def predict(self, params: Params, key: Any, shape: Shape | int = (), /, **data: Any) -> dict[str, Any]:
        """Draws from the approximate posterior predictive: what `sample` returns, and given that the rest of the model.

        Args:
            params: unconstrained, by name.
            key: a jax random key.
            shape: of independent draws; goes before every site's shape.
            **data: as for `loss`.

        Returns:
            By name: latents, observed sites (replicates, not the data), deterministics, and indices of subsamples. For
            data of other shapes compile the model and give `sample`'s draws to `CompiledModel.sample`.
        """
        found, n = self._drawn(self._program.predictions, params, key, shape, data)
        return unstacked(found, self._program.model.description.families, n)

    def _drawn(
        self, draws: Callable[..., Any], params: Params, key: Any, shape: Any, new: Mapping[str, Any]
    ) -> tuple[dict[str, Any], int]:
        shape, key = draws_shape(shape), one_key(key)
        data = self._rebound(new) if new else self._data
        found = draws(data, params, jax.random.split(key, math.prod(shape)))
        order = {name: i for i, name in enumerate(drawn_shapes(self._program.model.model))}
        ordered = sorted(found, key=lambda name: order.get(name, -1))  # jit sorts the names; indices come first
        return {name: jnp.reshape(found[name], (*shape, *found[name].shape[1:])) for name in ordered}, len(shape)

    def explain(self) -> Explanation:
        """What is evaluated of the model, at which cost, and why rows were not fused; print it."""
        model = self._program.model if self._known is not None else self._program.on_rows
        return explain(model.history, None, model.notes, None if self._known is None else self._data.model)

    def __repr__(self) -> str:
        program = self._program
        about = program.model.description
        latents = ", ".join(about.members(about.latents))
        params = ", ".join(program.constraints)
        return f"Elbo(latents: {latents or 'none'}; params: {params or 'none'}; particles: {self.num_particles})"


def _initial(program: Program, data: Arrays, key: Any) -> dict[str, Any]:
    return packed(program.description.params, program.initial_params(data, key))


# -- looking at data --------------------------------------------------------------------------------------


def _known_of(program: ElboProgram, data: Data) -> Arrays | None:
    """What the model's program knows of data after they have been checked; None where it is other in each particle.

    Raises:
        DataError: the data contradict the model or the guide.
    """
    for step in range(program.steps):
        of_model, of_guide = program.with_indices(data, step)
        try:
            computed = _checked(program.model, of_model)
            _checked(program.guide, of_guide)
        except DataError as e:
            raise _with_place(e, program, step) from None
    if program.in_model:
        return None
    try:
        return program.model.lowered.finished(data.model, computed)
    except LayoutChangedError:
        return None


def _with_place(error: DataError, program: ElboProgram, step: int) -> DataError:
    """An index in a minibatch is none of the user's data."""
    if not step:
        return error
    starts = [f"element {step * p.size % (p.full_size or p.size)} of plate {n!r}" for n, p in program.plates.items()]
    return DataError(f"{str(error).removesuffix(f' ({error.loc})')}; index 0 is {', '.join(starts)}", error.loc)


def _checked(program: Program, data: Arrays) -> Arrays:
    computed: Arrays = program.computed(data)
    program.require(computed)
    return computed
