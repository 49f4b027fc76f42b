"""`plait.elbo`: traces a model and its guide, and makes their evidence lower bound."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpyro
from numpyro.infer.autoguide import AutoGuide

from plait.compiler.arguments import Arguments, guide_arguments, split_arguments
from plait.compiler.jax_compat import is_tracer
from plait.compiler.passes import PIPELINE
from plait.compiler.subsampling import subsamples, with_open_indices
from plait.compiler.trace import trace
from plait.ir.errors import ModelError, SiteTypeError
from plait.ir.types import PlateFrame
from plait.ir.verify import verify
from plait.runtime.elbo import Elbo
from plait.runtime.elbo_program import Data, ElboProgram
from plait.runtime.guide_checks import require_guide
from plait.runtime.program import Program, build


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
    num_particles = _count(num_particles)
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


def _count(num_particles: Any) -> int:
    try:
        n = operator.index(num_particles)
    except TypeError:
        n = 0
    if n < 1:
        raise SiteTypeError(f"num_particles is a positive integer, got {num_particles!r}")
    return n


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
