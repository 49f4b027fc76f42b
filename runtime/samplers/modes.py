"""The mode of a posterior: which of several ends of an optimizer it is, and whether it is one at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from plait.runtime import CompiledModel, ConvergenceError
from plait.runtime.samplers.batches import OnBatches

SAME = 1e-3  # nats: an end without convergence that is higher by more is another maximum, or there is none


@dataclass(frozen=True, eq=False)
class Mode:
    """A maximum of a posterior density.

    Attributes:
        values: by site, latents and deterministics, constrained.
        unconstrained: (dim,), what `values` were computed from.
        log_density: there (nats), with the Jacobian of `constrain` if `jacobian`.
        jacobian: whether it is the maximum of the density of the unconstrained vector, instead of the values'.
        converged: whether the largest entry of the gradient is at most ``tolerance * max(1, |log_density|)``, and
            nothing higher was seen on the way from any start.
        iterations: of the optimizer, from the start that led here.
        message: the optimizer's, or what is wrong.
    """

    values: Mapping[str, np.ndarray]
    unconstrained: np.ndarray
    log_density: float
    jacobian: bool
    converged: bool
    iterations: int
    message: str


class End(NamedTuple):
    """Where an optimizer ended: the point (dim,), after how many iterations, and what it said.

    `highest` is the log density that it saw on its way, which is lost where it went off to infinity.
    """

    z: Any
    iterations: int
    message: str
    highest: float


def default_tolerance(compiled: CompiledModel) -> float:
    """Of a gradient, relative to the density: the cube root of the precision, 6e-6 in float64, 5e-3 in float32."""
    return float(np.finfo(compiled.dtype).eps ** (1 / 3))


def best_mode(compiled: CompiledModel, ends: Sequence[End], jacobian: bool, tolerance: float, strict: bool) -> Mode:
    """The highest end that is a maximum.

    Args:
        compiled: the model.
        ends: of the optimizer, from several starts.
        jacobian: whether the density maximized has it.
        tolerance: see `Mode`.
        strict: whether to refuse an end that is none.

    Raises:
        ConvergenceError: no end is a maximum, or one that is none is higher than those that are.
    """
    density = OnBatches(compiled, lambda z: compiled.log_density_and_grad(z, jacobian=jacobian))
    values, grads = density(np.stack([end.z for end in ends]))
    seen = float(np.fmax.reduce([*values, *(end.highest for end in ends)]))
    size = np.maximum(1, np.abs(values))
    slack = SAME + 10 * np.finfo(compiled.dtype).eps * size  # what rounding can do
    with np.errstate(invalid="ignore"):
        flat = np.isfinite(values) & (np.abs(grads).max(axis=1) <= tolerance * size)
        # Below what was seen on the way a flat end is another mode, or where the optimizer got lost.
        converged = flat & (seen <= values + slack)
    best = int(np.argmax(np.where(converged if converged.any() else np.isfinite(values), values, -np.inf)))
    message = ends[best].message if converged[best] else _why(compiled, ends[best], values[best], grads[best], seen)
    if strict and not converged[best]:
        raise ConvergenceError(message)
    constrained = compiled.constrain(ends[best].z, deterministic=True)
    return Mode(
        {name: np.asarray(value) for name, value in constrained.items()},
        np.asarray(ends[best].z),
        float(values[best]),
        jacobian,
        bool(converged[best]),
        ends[best].iterations,
        message,
    )


def _why(compiled: CompiledModel, end: End, value: float, grad: np.ndarray, seen: float) -> str:
    """What is wrong with an end that is no maximum."""
    steep = int(np.nanargmax(np.abs(grad))) if np.isfinite(grad).any() else 0
    return (
        f"no maximum was found: log density {value:.6g} (at most {seen:.6g} on the way), gradient {grad[steep]:.3g} "
        f"along {compiled.names[steep]!r}, at {end.z[steep]:.4g} unconstrained. Where the density is unbounded, as at "
        "a scale of 0 that group effects can follow, or has a kink, there is none to find; else it takes more "
        f"iterations, starts or tolerance. After {end.iterations} iterations the optimizer said: {end.message}"
    )


__all__ = ["End", "Mode", "best_mode", "default_tolerance"]
