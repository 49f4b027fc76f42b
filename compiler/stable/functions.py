"""Logarithms of sums, differences and tails, accurate wherever the result is a number.

They are written in plain primitives, so that `late_gathers` can compute them once for each group, and with `where`
instead of `max` and `abs`, so that every derivative is right at 0, too. In `where` the branch that is not taken is
computed at a harmless value: 0 · NaN is NaN in a derivative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def softplus(x: Array) -> Array:
    """``log(1 + exp(x))``."""
    positive = x > 0
    return jnp.where(positive, x, 0.0) + jnp.log1p(jnp.exp(jnp.where(positive, -x, x)))


def log1mexp(x: Array) -> Array:
    """``log(1 − exp(x))``, x ≤ 0 (Mächler 2012, Accurately computing log(1 − exp(−|a|)))."""
    near = x > -math.log(2)
    return jnp.where(
        near,
        jnp.log(-jnp.expm1(jnp.where(near, x, -1.0))),
        jnp.log1p(-jnp.exp(jnp.where(near, -1.0, x))),
    )


def expm1(x: Array) -> Array:
    """``exp(x) − 1``; jax's own has the derivative ``(exp(x) − 1) + 1``, which is 0 from x = −37 on down."""
    near = x > -0.5
    return jnp.where(near, jnp.expm1(jnp.where(near, x, 0.0)), jnp.exp(jnp.where(near, -1.0, x)) - 1.0)


def log_add_exp(x: Array, y: Array) -> Array:
    """``log(exp(x) + exp(y))``, −inf where both are."""
    first = x > y
    high, low = jnp.where(first, x, y), jnp.where(first, y, x)
    below = jnp.where(jnp.isfinite(high), low - high, 0.0)
    return high + jnp.log1p(jnp.exp(below))


def log_product(x: Array, y: Array) -> Array:
    """``log(y·exp(x))``; as it stands while exp(x) is an ordinary number, since a sum of logarithms may cancel."""
    inside, outside = _split(x)
    return jnp.log(y * jnp.exp(inside)) + outside


def log_quotient(x: Array, y: Array) -> Array:
    """``log(exp(x) / y)``, in the same way."""
    inside, outside = _split(x)
    return jnp.log(jnp.exp(inside) / y) + outside


def _split(x: Array) -> tuple[Array, Array]:
    """x as a number of ordinary size, which has its derivative, and the rest, which is 0 for most."""
    rest = jax.lax.stop_gradient(jnp.where(jnp.abs(x) < 40, 0.0, x))
    return jnp.where(jnp.isfinite(x), x - rest, 0.0), rest


def log_sum_exp(x: Array, axes: Sequence[int], weights: Array | None = None) -> Array:
    """``log(Σ w·exp(x))`` over axes, −inf where every x is. A weight may be 0, whatever its x is, and negative."""
    counted = x if weights is None else jnp.where(weights != 0, x, -jnp.inf)
    top = jnp.max(counted, axis=tuple(axes), keepdims=True)
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0.0))
    if weights is None:
        total = jnp.sum(jnp.exp(x - top), axis=tuple(axes))
    else:  # what has no weight may lie far above the rest
        total = jnp.sum(weights * jnp.exp(jnp.minimum(x - top, 80.0)), axis=tuple(axes))
    return jnp.log(total) + jnp.squeeze(top, tuple(axes))


# (−1)ⁿ·(2n − 1)!!: the terms of erfc's asymptotic series (Abramowitz and Stegun 7.1.23) in 1/(2z²). Where it is used
# the first one left out is below 1e-17 in float64, and below 1e-9 in float32.
_MILLS = tuple(float((-1) ** n * math.prod(range(1, 2 * n, 2))) for n in range(11))


def _tail(z: Array) -> tuple[Array, Array, Array]:
    """Where erfc is so small that its series counts, z there, and the series; elsewhere those of where it begins."""
    from_here = (20.0 if z.dtype == np.float64 else 10.0) / math.sqrt(2)
    far = z > from_here
    t = jnp.where(far, z, from_here)
    series = jnp.zeros_like(t)
    for coefficient in reversed(_MILLS):
        series = series * (0.5 / t / t) + coefficient
    return far, t, series


def log_half_erfc(z: Array) -> Array:
    """``log(½·erfc(z))``, which is log Φ(−√2·z), for all z: its tails neither underflow nor lose digits."""
    far, t, series = _tail(z)
    upper = z > 0
    half = 0.5 * jax.lax.erfc(jnp.where(far, 1.0, jnp.where(upper, z, -z)))
    near = jnp.where(upper, jnp.log(jnp.where(upper, half, 1.0)), jnp.log1p(-half))
    return jnp.where(far, -t * t - jnp.log(2 * math.sqrt(math.pi) * t) + jnp.log(series), near)


def log_ndtr(x: Array) -> Array:
    """``log Φ(x)``."""
    return log_half_erfc(x * -math.sqrt(0.5))


def inverse_mills(x: Array) -> Array:
    """The derivative of log Φ, ``φ(x)/Φ(x)``."""
    z = x * -math.sqrt(0.5)
    far, t, series = _tail(z)
    inside = jnp.where(far, 1.0, z)
    near = jnp.exp(-inside * inside) / jax.lax.erfc(inside)
    return math.sqrt(2 / math.pi) * jnp.where(far, math.sqrt(math.pi) * t / series, near)


__all__ = [
    "expm1",
    "inverse_mills",
    "log1mexp",
    "log_add_exp",
    "log_half_erfc",
    "log_ndtr",
    "log_product",
    "log_quotient",
    "log_sum_exp",
    "softplus",
]
