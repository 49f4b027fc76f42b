"""Inverse CDFs of univariate distributions, each of a distribution and tail probabilities.

A formula reads the tail that has all its digits, so that neither end loses any; the ends of the interval give the ends
of the support.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import erfinv, ndtri

from plait.compiler.quantiles.roots import log_gamma_quantile, logit_beta_quantile
from plait.compiler.quantiles.tails import Tails

# -- standard variates ----------------------------------------------------------------------------------------


def normal(p: Tails) -> Any:
    """Of Normal(0, 1)."""
    return _odd(ndtri, p)


def exponential(p: Tails) -> Any:
    """Of Exponential(1)."""
    return jnp.where(p.is_lower, -jnp.log1p(-p.lower), -jnp.log(p.upper))


def half_normal(p: Tails) -> Any:
    """Of HalfNormal(1)."""
    return jnp.where(p.is_lower, jnp.sqrt(2.0) * erfinv(p.lower), -ndtri(p.upper / 2))


def half_cauchy(p: Tails) -> Any:
    """Of HalfCauchy(1)."""
    return jnp.where(p.is_lower, jnp.tan(jnp.pi / 2 * p.lower), 1 / jnp.tan(jnp.pi / 2 * p.upper))


def student_t(df: Any, p: Tails) -> Any:
    """Of StudentT(df): √df sinh(s/2), s the logit of a Beta(df/2, df/2).

    M. C. Jones, Student's simplest distribution, The Statistician 51, 2002: t = √df (2x - 1) / (2 √(x (1-x))).
    """
    return jnp.sqrt(df) * jnp.sinh(logit_beta_quantile(df / 2, df / 2, p) / 2)


def cauchy(p: Tails) -> Any:
    """Of Cauchy(0, 1)."""
    return _odd(lambda u: -1 / jnp.tan(jnp.pi * u), p)


def laplace(p: Tails) -> Any:
    """Of Laplace(0, 1)."""
    return _odd(lambda u: jnp.log(2 * u), p)


def logistic(p: Tails) -> Any:
    """Of Logistic(0, 1)."""
    return jnp.log(p.lower) - jnp.log(p.upper)


def soft_laplace(p: Tails) -> Any:
    """Of SoftLaplace(0, 1)."""
    return _odd(lambda u: jnp.log(jnp.tan(jnp.pi / 2 * u)), p)


def _odd(lower: Callable[[Any], Any], p: Tails) -> Any:
    """Of a distribution that is symmetric about 0, by its lower half."""
    half = lower(p.smaller)
    return jnp.where(p.is_lower, half, -half)


# -- locations and scales -------------------------------------------------------------------------------------


def of_location_and_scale(standard: Callable[[Tails], Any]) -> Callable[[Any, Tails], Any]:
    """loc + scale · standard."""
    return lambda d, p: d.loc + d.scale * standard(p)


def of_student_t(d: Any, p: Tails) -> Any:
    """loc + scale times that of StudentT(df)."""
    return d.loc + d.scale * student_t(d.df, p)


def of_uniform(d: Any, p: Tails) -> Any:
    """From the nearer end, so that both are exact."""
    width = d.high - d.low
    return jnp.where(p.is_lower, d.low + width * p.lower, d.high - width * p.upper)


def of_gumbel(d: Any, p: Tails) -> Any:
    """loc - scale log(-log u)."""
    return d.loc - d.scale * jnp.log(exponential(p.swapped))


def of_asymmetric_laplace(d: Any, p: Tails) -> Any:
    """An exponential of its own scale on either side of loc."""
    right = d.right_scale / (d.left_scale + d.right_scale)  # the probability above loc
    below = d.left_scale * jnp.log(p.lower / (1 - right))
    return d.loc + jnp.where(p.upper >= right, below, -d.right_scale * jnp.log(p.upper / right))


def of_levy(d: Any, p: Tails) -> Any:
    """loc + scale / z², z half-normal."""
    return d.loc + d.scale / half_normal(p.swapped) ** 2


# -- positive numbers and intervals ---------------------------------------------------------------------------


def of_exponential(d: Any, p: Tails) -> Any:
    """-log(1 - u) / rate."""
    return exponential(p) / d.rate


def of_weibull(d: Any, p: Tails) -> Any:
    """scale · (-log(1 - u))^(1/concentration)."""
    return d.scale * exponential(p) ** (1 / d.concentration)


def of_gompertz(d: Any, p: Tails) -> Any:
    """log(1 - log(1 - u)/concentration) / rate."""
    return jnp.log1p(exponential(p) / d.concentration) / d.rate


def of_dagum(d: Any, p: Tails) -> Any:
    """scale · (u^(-1/concentration) - 1)^(-1/sharpness)."""
    return d.scale * jnp.expm1(exponential(p.swapped) / d.concentration) ** (-1 / d.sharpness)


def of_gamma(d: Any, p: Tails) -> Any:
    """By `log_gamma_quantile`; tiny concentrations underflow to 0."""
    return jnp.exp(log_gamma_quantile(d.concentration, p)) / d.rate


def of_beta(d: Any, p: Tails) -> Any:
    """By `logit_beta_quantile`."""
    return jax.nn.sigmoid(logit_beta_quantile(d.concentration1, d.concentration0, p))


def of_kumaraswamy(d: Any, p: Tails) -> Any:
    """(1 - (1 - u)^(1/concentration0))^(1/concentration1)."""
    return (-jnp.expm1(-exponential(p) / d.concentration0)) ** (1 / d.concentration1)


def of_lower_truncated_power_law(d: Any, p: Tails) -> Any:
    """low · (1 - u)^(1/(1 + alpha))."""
    return d.low * jnp.exp(-exponential(p) / (1 + d.alpha))


def of_doubly_truncated_power_law(d: Any, p: Tails) -> Any:
    """x^k = upper · low^k + lower · high^k, k = 1 + alpha, divided by the greater of low^k and high^k."""
    k, ratio = 1 + d.alpha, jnp.log(d.high) - jnp.log(d.low)
    p_of = p.swapped_where(k < 0)
    share = jnp.exp(-jnp.abs(k) * ratio)
    mixed = jnp.where(p_of.is_lower, jnp.log(p_of.lower + p_of.upper * share), jnp.log1p(-p_of.upper * (1 - share)))
    power = jnp.where(k > 0, d.high, d.low) * jnp.exp(mixed / jnp.where(k == 0, 1.0, k))
    return jnp.where(k == 0, d.low * jnp.exp(p.lower * jnp.where(k == 0, ratio, 0.0)), power)
