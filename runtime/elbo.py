"""`plait.elbo`: a model and its guide as one jitted evidence lower bound, for any optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from numpyro.infer.autoguide import AutoGuide

from plait.compiler.analysis.cells import LayoutChangedError
from plait.compiler.arguments import Arguments, guide_arguments, split_arguments
from plait.compiler.explain import Explanation, explain
from plait.compiler.host_checks import require
from plait.compiler.jax_compat import is_tracer
from plait.compiler.lower.sampler import drawn_shapes
from plait.compiler.members import member_names, unstacked
from plait.compiler.passes import PIPELINE
from plait.compiler.subsampling import subsamples, with_open_indices
from plait.compiler.trace import trace
from plait.ir.errors import BindError, DataError, ModelError, SiteTypeError
from plait.ir.types import PlateFrame, Shape
from plait.ir.verify import verify
from plait.runtime import params as param_sites
from plait.runtime.data import rebound_arrays
from plait.runtime.elbo_program import Arrays, Data, ElboProgram
from plait.runtime.given import draws_shape, one_key
from plait.runtime.guide_checks import require_guide, require_same_starts
from plait.runtime.program import Program, build

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
        model = rebound_arrays(program.model.arguments, self._data.model, new)
        theirs = {}
        for name in new.keys() & program.guide_arguments.keys():
            there = program.guide_arguments[name]
            if there is None:
                raise BindError(f"argument {name!r} of the model is several arguments of the guide; give both the same")
            theirs[there] = new[name]
        return Data(model, rebound_arrays(program.guide.arguments, self._data.guide, theirs))

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
        moved = param_sites.transformed(program.constraints, values, inverse=True)
        # a weak type would make an optimizer's first step differ in type from the next ones
        return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), moved)

    def constrain(self, params: Params) -> dict[str, Any]:
        """Values of the params under their constraints, by name."""
        return self._program.constrained(params)

    def unconstrain(self, values: Params) -> dict[str, Any]:
        """The inverse of `constrain`."""
        return param_sites.transformed(self._program.constraints, values, inverse=True)

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
        return unstacked(found, self._program.model.families, n)

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
        return unstacked(found, self._program.model.families, n)

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
        latents = ", ".join(member_names(list(program.model.latents), program.model.families))
        params = ", ".join(program.constraints)
        return f"Elbo(latents: {latents or 'none'}; params: {params or 'none'}; particles: {self.num_particles})"


def elbo(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    /,
    *args: Any,
    num_particles: int = 1,
    static: Sequence[str] = (),
    **kwargs: Any,
) -> Elbo:
    """Builds the ELBO of a model and a guide on their arguments, which both are called with.

    Each is called as `plait.compile` calls a model: once, and never again for other params, keys or data.

    Args:
        model: calls plait's or NumPyro's primitives.
        guide: draws every latent of the model, in its shape and inside its support, from distributions with
            reparametrized draws; or one of `numpyro.infer.autoguide`, for a model in NumPyro's primitives.
        *args: arguments of model and guide. Arrays are data, which `Elbo.bind` and `Elbo.loss` can replace.
        num_particles: draws of the guide in one estimate; more of them make it and its gradient less noisy.
        static: names of the model's arguments that are used as Python values.
        **kwargs: keyword arguments of both.

    Returns:
        The ELBO, bound to the data.

    Raises:
        ModelError: model or guide can't be compiled, or the guide is none of this model; names the site and the line.
        BindError: the arguments do not fit one of them.
        DataError: the data contradict the model.
    """
    if num_particles < 1:
        raise SiteTypeError(f"num_particles is a positive integer, got {num_particles!r}")
    static = (static,) if isinstance(static, str) else static
    _set_up(guide, args, kwargs)
    of_model = split_arguments(model, args, kwargs, static)
    of_guide, names = guide_arguments(model, guide, of_model, args, kwargs, static)
    theirs, in_guide, watch = _compiled(guide, of_guide, _ONLY_DRAWS)
    mine, in_model, seen = _compiled(model, of_model, {}, watch.plates)
    require_guide(mine, theirs, watch.auxiliary)
    plates = {name: (watch.plates | seen.plates)[name] for name in (*in_guide, *in_model)}
    program = ElboProgram(mine, theirs, num_particles, plates, in_model, in_guide, names)
    return Elbo.bound(program, Data(of_model.arrays, of_guide.arrays))


# The guide's graph is drawn from; of the passes on its density those are run that look at the data.
_ONLY_DRAWS = {p.name: p.name in ("simplify", "reroll", "check_data") for p in PIPELINE if p.optional}


def _set_up(guide: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """An autoguide runs its model when it is first called, eagerly, as NumPyro's SVI does."""
    if not isinstance(guide, AutoGuide) or guide.prototype_trace is not None:
        return
    try:
        with numpyro.handlers.block(), numpyro.handlers.seed(rng_seed=0):
            guide(*args, **kwargs)
    except ModelError as e:
        raise ModelError(
            f"{type(guide).__name__} runs models in NumPyro's primitives, and this one calls plait's; write the guide "
            "as a function, or the model with numpyro",
            e.loc,
        ) from None


def _compiled(
    function: Callable[..., Any],
    arguments: Arguments,
    switches: Mapping[str, bool],
    decided: Mapping[str, PlateFrame] = MappingProxyType({}),
) -> tuple[Program, tuple[str, ...], subsamples]:
    """The program of a model or guide, the plates whose indices are its last inputs, and what it says of its sites."""
    watch = subsamples(decided)

    def run(*args: Any, **kwargs: Any) -> None:
        watch.reset()  # a model whose loop can't be traced at once is called again
        with watch:
            function(*args, **kwargs)

    traced, notes = trace(run, arguments)
    graph, plates = with_open_indices(traced)
    verify(graph)
    data = None if plates or any(map(is_tracer, arguments.arrays)) else arguments.arrays
    return replace(build(graph, switches, arguments, data=data), notes=notes), plates, watch


def _initial(program: Program, data: Arrays, key: Any) -> dict[str, Any]:
    return param_sites.packed(program.model, param_sites.initial(program.model, data, key))


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
    lowered = program.lowered
    computed: Arrays = program.computed(data)
    for check, values in zip(lowered.checks, lowered.checked(computed), strict=True):
        require(check, values, program.families)
    return computed
