"""The two functions that sums over exponential families are centred with, for numpy and for JAX.

They are those with which C. Loader (2000, Fast and accurate computation of binomial probabilities) evaluates the
densities of R.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

# 1/(2k + 1) of the series of artanh; with |v| < 0.1 the first one left out is below 1e-17 of the sum.
_ARTANH = tuple(1 / k for k in range(3, 21, 2))
# The series of log Γ (Abramowitz and Stegun 6.1.41): the first one left out is below 1e-16 at 10, and 1e-10 at 4.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def divergence(xp: Any, a: Any, b: Any, log_a: Any) -> Any:
    """``a − b − b·log(a/b)``, to relative accuracy also where a ≈ b; it is `a` where b = 0."""
    near = xp.abs(b - a) < 0.1 * (a + b)
    v = xp.where(near, b - a, 0.0) / xp.where(near, a + b, 1.0)
    series = (b - a) * v + 2 * b * v**3 * _polynomial(_ARTANH, v * v)
    # Of the quotient while it is of order one; it may overflow, and `log_a` may be known where `a` underflows.
    mid = (b < 16 * a) & (a < 16 * b)
    quotient = xp.where(mid, a, 1.0) / xp.where(mid, b, 1.0)
    log_ratio = xp.where(mid, xp.log(quotient), log_a - xp.log(xp.where(b > 0, b, 1.0)))
    return xp.where(near, series, a - b - b * xp.where(b > 0, log_ratio, 0.0))


def stirling_rest(xp: Any, log_gamma: Callable[[Any], Any], x: Any) -> Any:
    """``log Γ(x + 1) − (x·log x − x)`` for x ≥ 0: of the order of log x, and 0 at 0."""
    below = x < (10.0 if xp.result_type(x) == np.float64 else 4.0)  # from there on the series is exact to the dtype
    large, small = xp.where(below, 10.0, x), xp.where(below, x, 1.0)
    series = 0.5 * xp.log(2 * math.pi * large) + _polynomial(_STIRLING, 1 / (large * large)) / large
    return xp.where(below, log_gamma(small + 1) - small * xp.log(xp.where(small > 0, small, 1.0)) + small, series)


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    result = 0.0 * x
    for coefficient in reversed(coefficients):
        result = result * x + coefficient
    return result


def host_divergence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a − b − b·log(a/b)``, in float64."""
    return np.asarray(divergence(np, a, b, np.log(np.where(a > 0, a, 1.0))))


def host_rest(x: np.ndarray) -> np.ndarray:
    """``log x! − (x·log x − x)``, in float64."""
    return np.asarray(stirling_rest(np, scipy.special.gammaln, x))


__all__ = ["divergence", "host_divergence", "host_rest", "stirling_rest"]
