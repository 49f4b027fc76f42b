"""``plait bench``: what value and gradient cost, and getting ready for them, beside NumPyro on the same model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.text import Text

import plait
from plait.ir.errors import ModelError
from plait.model_file import ModelFile
from plait.options import Data, Debug, DtypeOption, Float64, Target, Without
from plait.render import console, timing_table
from plait.runtime.artifact.load import open_saved
from plait.runtime.compiled import CompiledModel
from plait.session import Opened, Session, fail, one_line, session, switches, warn, where, with_fixed_params
from plait.timing import START, Prepared, measure, seconds

DISAGREE = 1  # exit code
POINTS = 3  # random ones at which both densities are compared
READY = 3  # times that getting ready is measured, at most
# Of values relative to the sum of the terms' magnitudes, of gradients to their largest entry; NumPyro's constant of the
# negative binomial is off by 7e-8 at most.
ALLOWED = {np.dtype("float64"): 1e-7, np.dtype("float32"): 5e-4}


def bench(
    target: Target,
    data: Data = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds, whose medians are shown.")] = 9,
    seed: Annotated[int, typer.Option(help="Of the points at which both densities are compared.")] = 0,
    dtype: DtypeOption = None,
    float64: Float64 = None,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Time value and gradient beside NumPyro on the same model.

    After comparing both densities. Of a saved model plait's figures stand alone.
    """
    with session(target, float64, dtype, debug) as at:
        out, model = at.out, at.opened(data, without)
        compiled = model.compiled
        if compiled.param_shapes:
            warn(out, "params are held at their initial values")
            compiled = with_fixed_params(compiled, seed)
        if not compiled.dim:
            raise ModelError("the model has no latent site, so there is no gradient to time")
        out.print(model.title)
        out.print(f"{compiled.dim} unconstrained values, {compiled.dtype}, {jax.default_backend()}\n")
        _require_finite(compiled)
        theirs = _theirs(at, model, compiled)
        if theirs is not None:
            errors = _errors(compiled, theirs, seed)
            if not max(errors) <= ALLOWED.get(np.dtype(compiled.dtype), ALLOWED[np.dtype("float32")]):
                fail(_disagreement(errors), DISAGREE, debug)
            out.print(
                f"the densities agree at {POINTS} random points: relative error {errors[0]:.1e} of values, "
                f"{errors[1]:.1e} of gradients\n"
            )
        again = partial(_made_again, at, model.file, data, without)
        _timings(out, compiled, again, theirs, repeats, "load" if model.file is None else "compile")


# -- both libraries -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Theirs:
    """The model under NumPyro."""

    density: Callable[[Any], Prepared]  # at a flat vector of plait's
    ready: Callable[[], Any]


def _theirs(at: Session, model: Opened, compiled: CompiledModel) -> _Theirs | None:
    """The model under NumPyro; None, with the reason printed, where NumPyro can't run it."""
    if model.file is None:
        warn(at.out, f"{model.name} holds no source for NumPyro to run, so plait's figures stand alone")
        at.out.print()
        return None
    return _numpyro(at.out, at.target, model.file, compiled)


def _numpyro(out: Console, target: str, model: ModelFile, compiled: CompiledModel) -> _Theirs | None:
    from plait import with_numpyro

    try:
        function = with_numpyro.numpyro_function(model)
        given = with_numpyro.arguments(model, function)
        params = compiled.params

        def density(z: Any) -> Prepared:
            return with_numpyro.prepared(function, given, params, _by_site(compiled, z))

        density(_start(compiled)).called(_by_site(compiled, _start(compiled)))
    except Exception as e:  # the user's code under another library
        at = where(e, target)
        reason = str(e) if isinstance(e, with_numpyro.NumPyroError) else one_line(e)
        warn(out, f"NumPyro can't run this model, so plait's figures stand alone: {reason}{f' ({at})' if at else ''}")
        out.print()
        return None
    return _Theirs(density, partial(with_numpyro.ready, function, given, params))


def _by_site(compiled: CompiledModel, z: Any) -> dict[str, Any]:
    """The parts of the flat vector: NumPyro's bijectors are plait's, so its unconstrained values are the same."""
    return {
        slot.name: jnp.reshape(z[slot.offset : slot.offset + slot.unconstrained.size], slot.unconstrained.shape)
        for slot in compiled.slots
    }


def _start(compiled: CompiledModel) -> Any:
    return START * jnp.cos(jnp.arange(compiled.dim, dtype=compiled.dtype))


def _require_finite(compiled: CompiledModel) -> None:
    value, gradient = compiled.log_density_and_grad(_start(compiled))
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise ModelError("value or gradient is not finite near 0, where they would be timed; `plait check` says why")


def _errors(compiled: CompiledModel, theirs: _Theirs, seed: int) -> tuple[float, float]:
    """The worst relative errors of value and gradient between both densities, NaN where one is finite alone."""
    rng = np.random.default_rng(seed)
    mine = jax.jit(compiled.log_density_and_grad)
    density = theirs.density(_start(compiled))
    found = []
    for z in rng.uniform(-2, 2, (POINTS, compiled.dim)).astype(compiled.dtype):
        terms = compiled.log_prob_terms(compiled.constrain(z))
        (value, gradient), (energy, slope) = mine(z), density.called(_by_site(compiled, z))
        scale = 1 + sum(float(np.sum(np.abs(t), where=np.isfinite(t))) for t in terms.values())
        largest = max(1.0, float(np.max(np.abs(gradient), where=np.isfinite(gradient), initial=0.0)))
        found.append((_error(value, -energy) / scale, _error(gradient, density.flat(slope)) / largest))
    return max(v for v, _ in found), max(g for _, g in found)


def _error(a: Any, b: Any) -> float:
    """The largest difference; equal infinities and NaNs have none."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.max(np.where(same, 0.0, np.abs(a - b))))


def _disagreement(errors: tuple[float, float]) -> str:
    return (
        f"NumPyro's density of this model is another one than plait's, so nothing is timed: at random points the "
        f"values differ by {errors[0]:.2g} and the gradients by {errors[1]:.2g}, relatively; `plait check` compares "
        "plait's with a reference of its own"
    )


# -- figures --------------------------------------------------------------------------------------------


def _timings(
    out: Console,
    compiled: CompiledModel,
    again: Callable[[], CompiledModel],
    theirs: _Theirs | None,
    repeats: int,
    made: str,
) -> None:
    z = _start(compiled)
    gradient = compiled.log_density_and_grad
    densities = {"plait": Prepared(gradient, gradient, z, 1, lambda g: g)}
    readies: dict[str, Callable[[], Any]] = {"plait": partial(_ready, again, compiled.params)}
    if theirs is not None:
        densities["NumPyro"] = theirs.density(z)
        readies["NumPyro"] = theirs.ready
    _say("getting ready, again and again …")
    ready = _ready_seconds(readies, min(repeats, READY))
    _say("timing value and gradient …")
    records = measure(densities, repeats)
    out.print(timing_table(records, ready, list(densities)))
    theirs_ready = "" if theirs is None else " (NumPyro: initialize_model and first gradient)"
    out.print(
        Text(
            f"gradient: and value, medians of {repeats} rounds in turn; ready: {made} and first gradient{theirs_ready}"
            f" with jax's caches cleared, medians of {min(repeats, READY)}",
            "dim",
        )
    )


def _say(text: str) -> None:
    """To who waits at a terminal, once: a live display would spend CPU time while it is measured."""
    err = console(stderr=True)
    if err.is_terminal:
        err.print(Text(text, "dim"))


def _made_again(at: Session, model: ModelFile | None, data: Path | None, without: list[str] | None) -> CompiledModel:
    """From the source as it was read, or from the saved file anew."""
    if model is None:
        assert at.saved is not None
        return replace(at, saved=open_saved(at.saved.path)).opened(data, None).compiled
    args, kwargs = model.arguments()
    return plait.compile(model.function, *args, passes=switches(without), **kwargs)


def _ready(again: Callable[[], CompiledModel], params: Mapping[str, Any]) -> Any:
    compiled = again()
    return compiled.log_density_and_grad(jnp.zeros(compiled.dim, compiled.dtype), params or None)


def _ready_seconds(readies: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, tuple[float, ...]]:
    """By library and clock, from cold caches."""
    spent: dict[str, list[tuple[float, ...]]] = {library: [] for library in readies}
    for _ in range(repeats):
        for library, ready in readies.items():
            jax.clear_caches()  # else whoever is first would pay for what both need
            spent[library].append(seconds(partial(_awaited, ready), 1))
    return {library: tuple(map(statistics.median, zip(*all_, strict=True))) for library, all_ in spent.items()}


def _awaited(ready: Callable[[], Any], n: int) -> None:
    for _ in range(n):
        jax.block_until_ready(ready())
