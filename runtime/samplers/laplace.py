"""The Laplace approximation: a normal distribution of the flat unconstrained vector, at the mode of its density.

Its covariance is the inverse of the negative Hessian there. Tierney and Kadane (1986), Accurate approximations for
posterior moments and marginal densities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from plait.runtime import CompiledModel, ConvergenceError, Draws, constrained_draws, one_key
from plait.runtime.samplers.arguments import at_least
from plait.runtime.samplers.batches import OnBatches, OnPoints
from plait.runtime.samplers.modes import Mode

NEWTON_STEPS = 10  # at most, from where an optimizer ended
DECREMENT = 1e-4  # nats: how much a quadratic may still promise at the mode
BATCH = 1024  # draws whose density is evaluated at a time
SHOWN = 5  # entries of a flat direction


@dataclass(frozen=True, eq=False)
class Laplace:
    """A normal approximation in unconstrained space.

    Attributes:
        compiled: the model.
        mode: of the density with the Jacobian: the normal's mean.
        covariance: of the flat vector, (dim, dim), float64.
        log_evidence: log of the integral of the approximation (nats): of the data's probability, where the model's
            density is normalized.
    """

    compiled: CompiledModel
    mode: Mode
    covariance: np.ndarray
    log_evidence: float

    def sample(self, key: Any, *, chains: int = 4, draws: int = 1000) -> Draws:
        """Independent draws of the approximation.

        Args:
            key: a jax random key.
            chains: how many rows the draws come in.
            draws: of each.

        Returns:
            Draws whose ``stats`` are ``log_density``, the model's, and ``log_importance_ratio``, that minus the
            approximation's (nats): what Pareto-smoothed importance sampling takes to correct them.
        """
        at_least(1, chains=chains, draws=draws)
        model, dim = self.compiled, self.compiled.dim
        noise = np.asarray(jax.random.normal(one_key(key), (chains * draws, dim), model.dtype), np.float64)
        factor = np.linalg.cholesky(self.covariance)
        z = (self.mode.unconstrained + noise @ factor.T).astype(model.dtype)
        density = OnBatches(model, model.log_density)
        target = np.concatenate([density(z[i : i + BATCH]) for i in range(0, len(z), BATCH)])
        half_log_det = np.log(np.diag(factor)).sum()
        approximate = -0.5 * (noise**2).sum(axis=1) - 0.5 * dim * math.log(2 * math.pi) - half_log_det
        stats = {"log_density": target, "log_importance_ratio": target - approximate}
        by_chain = {name: values.reshape(chains, draws) for name, values in stats.items()}
        evidence = self.log_evidence, math.nan
        return constrained_draws(model, z.reshape(chains, draws, dim), by_chain, evidence)


def draws_by(
    laplace: Callable[..., Laplace],
    compiled: CompiledModel,
    key: Any,
    chains: int,
    draws: int,
    options: Mapping[str, Any],
) -> Draws:
    """Draws of the approximation that an adapter's `laplace` finds with these options."""
    at_least(1, chains=chains, draws=draws)
    start_key, key = jax.random.split(one_key(key))
    return laplace(compiled, start_key, **options).sample(key, chains=chains, draws=draws)


def laplace_at(compiled: CompiledModel, mode: Mode) -> Laplace:
    """The approximation at a mode of the density with the Jacobian, after Newton's method has made it exact.

    Raises:
        ConvergenceError: it is no strict maximum, as the density is flat or rises in a direction; names its entries.
    """
    density = OnPoints(compiled, compiled.log_density_and_grad)
    hessian = OnPoints(compiled, compiled.hessian)
    noise = float(np.finfo(compiled.dtype).eps)
    z = mode.unconstrained.astype(np.float64)
    value, grad = density(z)
    for _ in range(NEWTON_STEPS):
        covariance = _covariance(compiled, -hessian(z), noise)
        step = covariance @ grad
        if 0.5 * grad @ step <= noise * max(1.0, abs(value)):
            break
        nearer, gradient = density(z + step)
        if not nearer >= value:
            break
        z, value, grad = z + step, nearer, gradient
    covariance = _covariance(compiled, -hessian(z), noise)
    left = float(0.5 * grad @ covariance @ grad)
    if left > DECREMENT + 10 * noise * abs(value):
        raise ConvergenceError(
            f"the log density is no quadratic at its mode: Newton's method ends where a step promises {left:.3g} nats, "
            "as at a kink; sample instead of a Laplace approximation"
        )
    log_det = np.linalg.slogdet(covariance).logabsdet
    evidence = value + 0.5 * (compiled.dim * math.log(2 * math.pi) + log_det)
    point = z.astype(compiled.dtype)
    values = {name: np.asarray(v) for name, v in compiled.constrain(point, deterministic=True).items()}
    exact = replace(mode, values=values, unconstrained=point, log_density=value)
    return Laplace(compiled, exact, covariance, float(evidence))


def _covariance(compiled: CompiledModel, precision: np.ndarray, noise: float) -> np.ndarray:
    """The inverse of the negative Hessian, judged in the scale of each entry."""
    precision = 0.5 * (precision + precision.T)
    if not np.isfinite(precision).all():
        row = int(np.argmin(np.isfinite(precision).all(axis=1)))
        raise ConvergenceError(f"the Hessian at the mode is not finite in {compiled.names[row]!r}")
    scale = np.sqrt(np.abs(np.diag(precision)))
    scale[scale == 0] = 1.0
    curvatures, directions = np.linalg.eigh(precision / np.outer(scale, scale))
    if curvatures[0] <= 10 * len(scale) * noise:
        raise ConvergenceError(_flat(compiled, curvatures[0], directions[:, 0], 10 * len(scale) * noise))
    root = directions / np.sqrt(curvatures) / scale[:, None]
    return root @ root.T


def _flat(compiled: CompiledModel, curvature: float, direction: np.ndarray, tolerance: float) -> str:
    order = np.argsort(-np.abs(direction))
    largest = direction[order[0]]
    named = [i for i in order if abs(direction[i]) >= 0.1 * abs(largest)]
    shown = ", ".join(f"{compiled.names[i]!r} ({direction[i] / largest:+.2f})" for i in named[:SHOWN])
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    what = "flat" if abs(curvature) <= tolerance else "not a maximum, but rises"
    return (
        f"there is no Laplace approximation: the log density is {what} along {shown}{more}, so the data and the priors "
        "do not determine them; give them proper priors, or leave one out"
    )


__all__ = ["Laplace", "draws_by", "laplace_at"]
