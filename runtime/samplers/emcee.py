"""emcee's ensemble of walkers, which needs no gradient, on a compiled model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from plait.runtime import (
    CompiledModel,
    Draws,
    OnProgress,
    Progress,
    constrained_draws,
    one_key,
    optional,
    reporting,
    start_points,
)
from plait.runtime.samplers.arguments import at_least
from plait.runtime.samplers.batches import OnBatches, numpy_seed
from plait.runtime.samplers.undefined import NanRejected

WALKERS = 32  # at least, by default
BALL = 1e-2  # sd of the walkers around one starting point: emcee wants them to differ
REPORT_SECONDS = 0.1


def sample(
    compiled: CompiledModel,
    key: Any,
    *,
    walkers: int | None = None,
    warmup: int = 2000,
    draws: int = 2000,
    thin: int | Literal["autocorrelation"] = 1,
    moves: Any = None,
    init: Any = None,
    progress: bool | OnProgress = True,
) -> Draws:
    """Draws from the posterior by emcee's ensemble sampler, all walkers in one call of the density.

    A point where the log density is NaN is rejected, as NumPyro's and Stan's samplers reject it, and a warning at the
    end says how many there were and where the first one is: a NaN is an error of the model.

    Args:
        compiled: the model.
        key: a jax random key.
        walkers: how many, even and at least ``2 * dim + 2``; default the least such number from 32 on.
        warmup: iterations of each walker, not kept.
        draws: kept iterations of each walker.
        thin: keeps every `thin`-th of `draws` iterations: what is left out is not computed again. With
            "autocorrelation" half of the shortest integrated autocorrelation time.
        moves: emcee's, default differential evolution (80%), which mixes better than the stretch move (20%) for more
            than a few dimensions. Avoid the ``DESnookerMove`` of emcee up to 3.1.6: its acceptance ratio is wrong
            (dfm/emcee#531), and so are the draws.
        init: unconstrained starting points, (walkers, dim), or (dim,) for a small ball around it; default
            `CompiledModel.init_params`.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            a few times a second.

    Returns:
        Draws with walkers in the place of chains. Its ``stats`` are ``log_density`` (nats, with the Jacobian), and
        ``acceptance_rate``, a walker's own in all its draws.

    Raises:
        MissingExtraError: emcee is not installed.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: the model has nothing to sample, or no usable starting point.
        ValueError: too few walkers or an odd number of them, or a count is too small.

    Warns:
        RuntimeWarning: the log density was NaN somewhere.
    """
    emcee = optional("emcee")  # before anything slow
    at_least(1, draws=draws)
    at_least(0, warmup=warmup)
    if thin != "autocorrelation":
        at_least(1, thin=thin)
    least = 2 * compiled.dim + 2
    walkers = max(WALKERS, least) if walkers is None else walkers
    at_least(least, walkers=walkers)
    if walkers % 2:
        raise ValueError(f"walkers are moved in two halves, so there is an even number of them, got {walkers=}")
    start_key, ball_key, key = jax.random.split(one_key(key), 3)
    if init is not None and jnp.shape(init) == (compiled.dim,):
        init = jnp.asarray(init) + BALL * jax.random.normal(ball_key, (walkers, compiled.dim))
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        z = np.asarray(start_points(compiled, start_key, walkers, init), np.float64)
        density = NanRejected(log_prob_fn(compiled), compiled.names)
        moves = [(emcee.moves.DEMove(), 0.8), (emcee.moves.StretchMove(), 0.2)] if moves is None else moves
        sampler = emcee.EnsembleSampler(walkers, compiled.dim, density, vectorize=True, moves=moves)
        state = emcee.State(z, random_state=np.random.RandomState(numpy_seed(key)).get_state())
        state.log_prob = density(z)  # compiles
        report(Progress("compile", 1, 1))
        state = _phase(sampler, state, Progress("warmup", 0, warmup), report)
        sampler.reset()
        _phase(sampler, state, Progress("draws", 0, draws), report)
    density.warn(stacklevel=3)
    return _draws(compiled, sampler, thin)


def log_prob_fn(compiled: CompiledModel) -> Callable[[Any], Any]:
    """The log density (nats) as ``emcee.EnsembleSampler(…, vectorize=True)`` and zeus want it.

    Of flat unconstrained vectors (n, dim) it gives float64 (n,), of one (dim,) a float. Another n compiles nothing
    (batches are padded to powers of two), and any number of threads may call it. A NaN is returned as it is, and emcee
    raises then: a NaN is an error of the model, which -inf would hide.
    """
    return OnBatches(compiled, compiled.log_density)


def _phase(sampler: Any, state: Any, progress: Progress, report: OnProgress) -> Any:
    """All iterations of a phase; gives the last state."""
    reported = time.perf_counter()
    states = sampler.sample(state, iterations=progress.total, skip_initial_state_check=progress.phase != "warmup")
    for done, new in enumerate(states, 1):
        state = new
        if done == progress.total or time.perf_counter() - reported > REPORT_SECONDS:
            acceptance = float(sampler.acceptance_fraction.mean())
            report(Progress(progress.phase, done, progress.total, details={"acceptance": acceptance}))
            reported = time.perf_counter()
    return state


def _draws(compiled: CompiledModel, sampler: Any, thin: int | Literal["autocorrelation"]) -> Draws:
    z, density = sampler.get_chain(), sampler.get_log_prob()  # (draws, walkers, …)
    if thin == "autocorrelation":
        times = optional("emcee").autocorr.integrated_time(z, tol=0)
        step = max(1, int(np.nanmin(times, initial=len(z)) / 2))
    else:
        step = thin
    kept = slice(step - 1, None, step)
    density = np.swapaxes(density[kept], 0, 1)
    acceptance = np.broadcast_to(sampler.acceptance_fraction[:, None], density.shape)
    z = np.swapaxes(z[kept], 0, 1).astype(compiled.dtype)
    return constrained_draws(compiled, z, {"acceptance_rate": acceptance, "log_density": density})


__all__ = ["log_prob_fn", "sample"]
