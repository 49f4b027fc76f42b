"""Truncated distributions: the probabilities of the whole one between the bounds, then its inverse CDF.

P(X ≤ x) = (1 - u) P(X ≤ low) + u P(X ≤ high), and P(X > x) alike: sums of positive numbers, exact in either tail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from numpyro.distributions import Cauchy, Laplace, Logistic, Normal, SoftLaplace, StudentT

from plait.compiler.quantiles import scalars
from plait.compiler.quantiles.roots import logit_beta_cdf
from plait.compiler.quantiles.tails import Tails

_Standard = tuple[Callable[[Any, Any], Any], Callable[[Any, Tails], Any]]


def _laplace_below(d: Any, z: Any) -> Any:
    half = jnp.exp(-jnp.abs(z)) / 2
    return jnp.where(z < 0, half, 1 - half)


def _soft_laplace_below(d: Any, z: Any) -> Any:
    half = jnp.arctan(jnp.exp(-jnp.abs(z))) * 2 / jnp.pi
    return jnp.where(z < 0, half, 1 - half)


# What NumPyro truncates, all symmetric: P(Z ≤ z), which is P(Z > -z), and the inverse.
_STANDARD: dict[type, _Standard] = {
    Normal: (lambda d, z: ndtr(z), lambda d, p: scalars.normal(p)),
    Cauchy: (lambda d, z: jnp.arctan2(jnp.ones_like(z), -z) / jnp.pi, lambda d, p: scalars.cauchy(p)),
    Laplace: (_laplace_below, lambda d, p: scalars.laplace(p)),
    Logistic: (lambda d, z: jax.nn.sigmoid(z), lambda d, p: scalars.logistic(p)),
    SoftLaplace: (_soft_laplace_below, lambda d, p: scalars.soft_laplace(p)),
    StudentT: (
        lambda d, z: logit_beta_cdf(d.df / 2, d.df / 2, 2 * jnp.arcsinh(z / jnp.sqrt(d.df))),
        lambda d, p: scalars.student_t(d.df, p),
    ),
}


def of_left_truncated(d: Any, p: Tails) -> Any:
    """Bounded below."""
    return _between(d.base_dist, d.low, None, p)


def of_right_truncated(d: Any, p: Tails) -> Any:
    """Bounded above."""
    return _between(d.base_dist, None, d.high, p)


def of_two_sided_truncated(d: Any, p: Tails) -> Any:
    """Bounded below and above."""
    return _between(d.base_dist, d.low, d.high, p)


def _between(d: Any, low: Any, high: Any, p: Tails) -> Any:
    """NaN where so little is between the bounds that floating point has no digits of it."""
    below, quantile = _STANDARD[type(d)]

    def tails_at(bound: Any) -> Tails:
        z = (bound - d.loc) / d.scale
        return Tails(below(d, z), below(d, -z))

    zero, one = jnp.zeros_like(p.lower), jnp.ones_like(p.lower)
    at_low = Tails(zero, one) if low is None else tails_at(low)
    at_high = Tails(one, zero) if high is None else tails_at(high)
    mixed = Tails(*(p.upper * a + p.lower * b for a, b in zip(at_low, at_high, strict=True)))
    x = d.loc + d.scale * quantile(d, mixed)
    held = jnp.clip(x, low, high)  # rounding may take it past a bound, which is no change of its slope
    x = x + jax.lax.stop_gradient(jnp.where(held == x, 0.0, held - x))
    mass = jnp.where(at_low.is_lower, at_high.lower - at_low.lower, at_low.upper - at_high.upper)
    return jnp.where(mass > 1e3 * np.finfo(mass.dtype).tiny, x, jnp.nan)


__all__ = ["of_left_truncated", "of_right_truncated", "of_two_sided_truncated"]
