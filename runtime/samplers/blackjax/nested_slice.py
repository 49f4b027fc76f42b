"""BlackJAX's nested slice sampling on a compiled model.

Yallup, Kroupa and Handley, Nested slice sampling (2026), arXiv:2601.23252; Skilling, Nested sampling for general
Bayesian computation, Bayesian Analysis 1 (2006).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from plait.runtime import (
    CompiledModel,
    Draws,
    ModelError,
    OnProgress,
    Progress,
    constrained_draws,
    one_key,
    optional,
    prior_points,
    reporting,
    require,
)
from plait.runtime.samplers.arguments import at_least, positive
from plait.runtime.samplers.batches import numpy_seed
from plait.runtime.samplers.blackjax.start import checked_likelihood
from plait.runtime.samplers.loop import (
    Kept,
    compiled_loop,
    constants_as_arguments,
    run_until_done,
    stepping_until,
    strongly_typed,
)
from plait.runtime.samplers.weights import equal_weights

VOLUMES = 200  # simulated sequences of prior volumes, from which the evidence's error is computed


def sample(
    compiled: CompiledModel,
    key: Any,
    *,
    live: int = 500,
    delete: int | None = None,
    inner_steps: int | None = None,
    precision: float = 1e-3,
    draws: int | None = None,
    progress: bool | OnProgress = True,
) -> Draws:
    """Draws from the posterior and the log evidence, by nested sampling with hit-and-run slice moves.

    Needs no gradient, and finds several modes where prior draws lie in all of them.

    Args:
        compiled: the model; its latents have proper priors.
        key: a jax random key.
        live: live points; the evidence's error falls with their square root.
        delete: live points that are replaced at once, side by side, at most half of `live`; default a tenth.
        inner_steps: slice moves for a new point; default the larger of 5 and twice the dimensions. With too few the
            evidence is too high.
        precision: the run ends when the live points hold less than this share of the evidence.
        draws: how many; default the effective size of the weighted points.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            before compilation and after each block of steps, whose ``details`` have the ``log_evidence`` so far and
            the ``remaining`` share of it.

    Returns:
        Draws (1, draws), of equal weight and in random order: points of weight above 1 / draws come several times.
        ``log_evidence`` and its error (nats) are mean and sd over simulated prior volumes; the error does not know of
        points that `inner_steps` has left correlated. ``stats`` has ``log_likelihood`` (nats).

    Raises:
        MissingExtraError: blackjax is not installed.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: there are no prior draws to start from (see `plait.runtime.prior_points`), or none of them has a
            positive likelihood.
        ValueError: a count is too small, or `delete` too large.

    Warns:
        RuntimeWarning: the log likelihood was NaN at a prior draw; it counts as impossible.
    """
    require("blackjax")  # before anything slow
    delete = max(1, live // 10) if delete is None else delete
    inner_steps = max(5, 2 * compiled.dim) if inner_steps is None else inner_steps
    at_least(10, live=live)
    at_least(1, delete=delete, inner_steps=inner_steps, draws=1 if draws is None else draws)
    positive(precision=precision)
    if 2 * delete > live:
        raise ValueError(f"at most half of the live points are replaced at once, got {delete=} of {live=}")
    start_key, run_key, volume_key, key = jax.random.split(one_key(key), 4)
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        z = prior_points(compiled, start_key, live)
        checked_likelihood(compiled, z)
        start, step = _algorithm(compiled, inner_steps, delete)
        state = jax.jit(start)(z)
        data, pure = constants_as_arguments(step, (state, run_key))
        guarded = stepping_until(lambda carry: _is_done(carry[0], precision), lambda data, carry, _: pure(data, carry))
        block = compiled_loop(guarded, data, (state, run_key), ())
        report(Progress("compile", 1, 1))
        (state, _), dead = run_until_done(block, (state, run_key), Progress("nested", 0, None), report, _details)
    _require_moves(dead)
    points = _joined(dead, state.particles)
    log_weights = _log_weights(volume_key, points)
    totals = logsumexp(log_weights, axis=0)
    rng = np.random.default_rng(numpy_seed(key))
    chosen = equal_weights(rng, logsumexp(log_weights - totals, axis=1), draws)
    stats = {"log_likelihood": points["log_likelihood"][None, chosen]}
    return constrained_draws(compiled, points["position"][None, chosen], stats, (totals.mean(), totals.std(ddof=1)))


# -- the algorithm --------------------------------------------------------------------------------------


def _algorithm(compiled: CompiledModel, inner_steps: int, delete: int) -> Any:
    """Of BlackJAX's parts: ``start(z)`` of all live points, and ``step((state, key))``."""

    def log_likelihood(z: Any) -> Any:
        value = compiled.total_log_likelihood(z)
        return jnp.where(value < jnp.inf, value, -jnp.inf)  # NaN, too

    nss = optional("blackjax").nss(compiled.log_prior, log_likelihood, inner_steps, num_delete=delete)

    def step(carry: tuple[Any, Any]) -> tuple[Any, Kept]:
        state, key = carry
        key, step_key = jax.random.split(key)
        state, info = nss.step(step_key, state)
        kept = _arrays(info.particles) | {
            "moved": info.update_info.is_accepted.any(),
            "log_evidence": _log_evidence(state.integrator),
            "remaining": jnp.exp(_remaining(state.integrator)),
        }
        return strongly_typed((state, key)), kept

    return lambda z: strongly_typed(nss.init(z)), step


def _is_done(state: Any, precision: float) -> Any:
    """Whether the live points hold no more than that share of the evidence, or are all equally likely."""
    values = state.particles.loglikelihood
    return (_remaining(state.integrator) < np.log(precision)) | (values.min() == values.max())


def _log_evidence(integrator: Any) -> Any:
    return jnp.logaddexp(integrator.logZ, integrator.logZ_live)


def _remaining(integrator: Any) -> Any:
    """The log of the live points' share of the evidence."""
    return integrator.logZ_live - _log_evidence(integrator)


def _details(progress: Progress, kept: Kept) -> Progress:
    return replace(progress, details={name: float(kept[name][-1]) for name in ("log_evidence", "remaining")})


# -- the result -----------------------------------------------------------------------------------------


def _arrays(particles: Any) -> Kept:
    """Of points, by name."""
    return {
        "position": particles.position,
        "log_likelihood": particles.loglikelihood,
        "birth": particles.loglikelihood_birth,
    }


def _joined(dead: Kept, live: Any) -> Kept:
    """All points of a run on the host, (n, …)."""
    last = {name: np.asarray(x) for name, x in _arrays(live).items()}
    return {name: np.concatenate([dead[name].reshape(-1, *x.shape[1:]), x]) if dead else x for name, x in last.items()}


def _log_weights(key: Any, points: Kept) -> np.ndarray:
    """(n, VOLUMES): log likelihood plus the log of the simulated prior volume, in float64."""
    base, utils = optional("blackjax.ns.base"), optional("blackjax.ns.utils")
    with jax.enable_x64(True):
        likelihood, birth = (jnp.asarray(points[name], np.float64) for name in ("log_likelihood", "birth"))
        info = base.NSInfo(base.StateWithLogLikelihood(None, likelihood, likelihood, birth), None)
        return np.asarray(utils.log_weights(key, info, VOLUMES))


def _require_moves(dead: Kept) -> None:
    stuck = ~dead["moved"] if dead else np.zeros(0, bool)
    if stuck.any():
        step = int(np.argmax(stuck))
        raise ModelError(
            f"nested sampling is stuck at step {step}: no slice move found a point above the log likelihood "
            f"{float(np.max(dead['log_likelihood'][step])):.6g} of the points to be replaced, as if the likelihood had "
            "a plateau there, or differed by less than its rounding; use float64, or plait.samplers.dynesty"
        )


__all__ = ["sample"]
