"""BlackJAX's Pathfinder on a compiled model: normal approximations along the paths of an optimizer.

Zhang, Carpenter, Gelman and Vehtari, Pathfinder: parallel quasi-Newton variational inference, JMLR 23 (2022).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.runtime import (
    CompiledModel,
    Draws,
    ModelError,
    OnProgress,
    Progress,
    constrained_draws,
    one_key,
    optional,
    reporting,
    require,
    start_points,
)
from plait.runtime.samplers.arguments import at_least
from plait.runtime.samplers.batches import numpy_seed
from plait.runtime.samplers.blackjax.densities import logdensity
from plait.runtime.samplers.loop import constants_as_arguments
from plait.runtime.samplers.weights import equal_weights


def sample(
    compiled: CompiledModel,
    key: Any,
    *,
    paths: int = 8,
    draws: int = 1000,
    pool: int = 1000,
    elbo_draws: int = 100,
    max_iterations: int = 100,
    history: int = 10,
    resample: bool = True,
    init: Any = None,
    progress: bool | OnProgress = True,
) -> Draws:
    """Draws from an **approximation** of the posterior, in seconds: for a first look, and for starting points.

    Each path climbs to a mode by L-BFGS; of the normal approximations along it the one with the largest evidence lower
    bound gives `pool` draws. With `resample` they are weighted by the posterior over the approximation, with
    Pareto-smoothed weights: the draws are then near the posterior's where ``stats["pareto_k"]`` is below 0.7. Above
    it, as for most hierarchical models, the normal approximation misses much of the posterior, whatever the number of
    draws: use NUTS.

    Args:
        compiled: the model.
        key: a jax random key.
        paths: optimizer runs, each from a starting point of its own.
        draws: how many, resampled from the draws of all paths.
        pool: draws of each path's approximation.
        elbo_draws: draws from which the evidence lower bound of each approximation on a path is estimated.
        max_iterations: of the optimizer.
        history: pairs of steps and gradients that the inverse Hessian is made of.
        resample: whether to resample by importance; without, all draws are returned as the approximations gave them.
        init: unconstrained starting points, (dim,) or (paths, dim); default `CompiledModel.init_params`.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            before compilation and after each path, whose ``details`` have its ``elbo`` (nats).

    Returns:
        Draws (1, draws), in random order; or (paths, pool) without `resample`. ``stats`` has ``log_density`` (nats,
        with the Jacobian), ``log_approximation`` (of the path that a draw is from), ``log_importance``, their
        difference, and ``pareto_k``, the shape of the weights' tail, the same for all draws: inf where the pool is too
        small to say, 0 where all weights are equal.

    Raises:
        MissingExtraError: blackjax is not installed.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: the model has nothing to sample, no usable starting point, or no path found an approximation.
        ValueError: a count is too small.
    """
    require("blackjax")  # before anything slow
    at_least(1, paths=paths, draws=draws, pool=pool, elbo_draws=elbo_draws, history=history)
    at_least(2, max_iterations=max_iterations)
    start_key, path_key, key = jax.random.split(one_key(key), 3)
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        z = start_points(compiled, start_key, paths, init)
        keys = jax.random.split(path_key, paths)
        data, density = constants_as_arguments(logdensity(compiled), jax.ShapeDtypeStruct(z.shape[1:], z.dtype))
        path = _path(density, pool, elbo_draws, max_iterations, history)
        program = jax.jit(path).lower(data, keys[0], z[0]).compile()
        report(Progress("compile", 1, 1))
        found = []
        for i in range(paths):
            found.append(jax.tree.map(np.asarray, program(data, keys[i], z[i])))
            report(Progress("paths", i + 1, paths, details={"elbo": float(found[-1].pop("elbo"))}))
    pooled = {name: np.stack([one[name] for one in found]) for name in found[0]}
    return _draws(compiled, pooled, np.random.default_rng(numpy_seed(key)), draws if resample else None)


# -- the algorithm --------------------------------------------------------------------------------------


def _path(
    density: Callable[[Any, Any], Any], pool: int, elbo_draws: int, max_iterations: int, history: int
) -> Callable[[Any, Any, Any], dict[str, Any]]:
    """Of BlackJAX's parts: ``path(data, key, z)`` from one starting point."""
    pathfinder = optional("blackjax").pathfinder

    def path(data: Any, key: Any, z: Any) -> dict[str, Any]:
        fit_key, key = jax.random.split(key)
        here = partial(density, data)
        fit, _ = pathfinder.approximate(fit_key, here, z, elbo_draws, maxiter=max_iterations, maxcor=history)
        position, log_q = pathfinder.sample(key, fit, pool)
        return {
            "position": position,
            "log_density": jax.vmap(here)(position),
            "log_approximation": log_q,
            "elbo": fit.elbo,
        }

    return path


def _draws(compiled: CompiledModel, pooled: dict[str, Any], rng: np.random.Generator, draws: int | None) -> Draws:
    """The draws of all paths, or so many of them by importance; what is not finite has no weight."""
    log_importance = pooled["log_density"] - pooled["log_approximation"]
    log_importance = np.where(np.isfinite(log_importance), log_importance, -np.inf)
    usable = np.isfinite(pooled["position"]).all(axis=-1) & (log_importance > -np.inf)
    if not usable.any():
        raise ModelError(
            "no path found an approximation: its draws are not finite, or have no density; give starting points "
            "(init=…), or use NUTS"
        )
    weights, pareto_k = _smoothed(log_importance.ravel())
    stats = {name: pooled[name] for name in ("log_density", "log_approximation")}
    stats |= {"log_importance": log_importance, "pareto_k": np.full(log_importance.shape, pareto_k)}
    z = pooled["position"]
    if draws is not None:
        chosen = equal_weights(rng, weights, draws)
        z = z.reshape(-1, compiled.dim)[None, chosen]
        stats = {name: x.ravel()[None, chosen] for name, x in stats.items()}
    return constrained_draws(compiled, z, stats)


def _smoothed(log_importance: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed log weights and the shape of their tail, in float64."""
    finite = log_importance > -np.inf
    weights = np.full(log_importance.shape, -np.inf)
    with jax.enable_x64(True):
        smooth = jax.jit(optional("blackjax.diagnostics").psis_weights)
        weights[finite], shape = smooth(jnp.asarray(log_importance[finite], np.float64))
    # Of equal weights there is no tail to fit.
    return weights, float(np.nan_to_num(shape, nan=0.0, posinf=np.inf))


__all__ = ["sample"]
