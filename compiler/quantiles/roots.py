"""The logarithm of a gamma variate and the logit of a beta variate, of their tail probabilities.

The densities of both are log-concave, hence so are their CDFs and survival functions (M. Bagnoli, T. Bergstrom,
Log-concave probability and its applications, Economic Theory 26, 2005). Newton's method on the log of a concave
function converges from everywhere: after one step it is on the side from which every step falls short of the root. So
nothing has to be bracketed; a step back can only be rounding, and ends it. Derivatives are those of implicit functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import digamma, ndtri, polygamma

from plait.compiler.quantiles.incomplete import (
    log_beta_scale,
    log_beta_tails,
    log_gamma_scale,
    log_gamma_tails,
    log_inverse_beta,
    log_rising,
)
from plait.compiler.quantiles.tails import Tails

_MOST = 100  # steps of Newton's method; from the normal approximation it takes 3 to 20


def log_gamma_quantile(concentration: Any, tails: Tails) -> Any:
    """log x of x ~ Gamma(concentration, 1); -inf and inf at the ends.

    Args:
        concentration: positive.
        tails: the probabilities below and above x. All broadcast.

    Returns:
        With derivatives, those with respect to the concentration once in reverse mode.
    """
    a, lower, upper = _floats(concentration, *tails)
    return _log_gamma(a, lower, upper)


def logit_beta_quantile(concentration1: Any, concentration0: Any, tails: Tails) -> Any:
    """log (x / (1 - x)) of x ~ Beta(concentration1, concentration0); -inf and inf at the ends.

    Args:
        concentration1: positive.
        concentration0: positive.
        tails: the probabilities below and above x. All broadcast.

    Returns:
        With derivatives, those with respect to the concentrations once in reverse mode.
    """
    a, b, lower, upper = _floats(concentration1, concentration0, *tails)
    return _logit_beta(a, b, lower, upper)


def logit_beta_cdf(concentration1: Any, concentration0: Any, s: Any) -> Any:
    """P(log (x / (1 - x)) ≤ s) of x ~ Beta(concentration1, concentration0), with all digits in its lower tail."""
    a, b, s = _floats(concentration1, concentration0, s)
    return jnp.exp(_beta_tail(a, b, s, jnp.ones_like(s, bool)))


def _floats(*xs: Any) -> list[Any]:
    dtype = jnp.result_type(float, *xs)
    return jnp.broadcast_arrays(*(jnp.asarray(x, dtype) for x in xs))


# -- gamma --------------------------------------------------------------------------------------------------


@jax.custom_jvp
def _log_gamma(a: Any, lower: Any, upper: Any) -> Any:
    below = lower <= upper
    log_target = jnp.log(_inside(lower, upper))
    # P ≤ x^a / Γ(a+1); Q ≤ exp(-r) at x = a + √(2ar) + r (B. Laurent, P. Massart, Ann. Stat. 28, 2000)
    least = (log_target + log_rising(0.0, a)) / a
    most = jnp.log(a + jnp.sqrt(-2 * a * log_target) - log_target)
    about = digamma(a) + jnp.sqrt(polygamma(1, a)) * _normal(lower, upper)
    sign = jnp.where(below, 1.0, -1.0).astype(a.dtype)

    def tail_and_slope(v: Any) -> tuple[Any, Any]:
        t = sign * v
        tail = _pick(below, log_gamma_tails(a, t))
        return tail, a * jnp.exp(log_gamma_scale(a, t) - tail)

    start = sign * about
    t = sign * _newton(tail_and_slope, log_target, start, jnp.where(below, least, -most))
    return _with_ends(t, lower, upper)


@partial(_log_gamma.defjvp, symbolic_zeros=True)
def _log_gamma_jvp(primals: Any, tangents: Any) -> Any:
    a, lower, upper = primals
    t = _log_gamma(a, lower, upper)
    tail, density = _gamma_tail(a, t, lower <= upper), jnp.log(a) + log_gamma_scale(a, t)
    by_shape = [(lambda x: _gamma_tail(x, t, lower <= upper), a, tangents[0])]
    return t, _implicit(t, tail, density, by_shape, lower, upper, tangents[1:])


@jax.custom_jvp
def _gamma_tail(a: Any, t: Any, below: Any) -> Any:
    return _pick(below, log_gamma_tails(a, t))


@partial(_gamma_tail.defjvp, symbolic_zeros=True)
def _gamma_tail_jvp(primals: Any, tangents: Any) -> Any:
    a, t, below = primals
    tail = _gamma_tail(a, t, below)
    slope = jnp.where(below, a, -a) * jnp.exp(log_gamma_scale(a, t) - tail)
    by_shape = _along(lambda x: _pick(below, log_gamma_tails(x, t)), a, tangents[0])
    return tail, by_shape + _times(slope, tangents[1])


# -- beta ---------------------------------------------------------------------------------------------------


@jax.custom_jvp
def _logit_beta(a: Any, b: Any, lower: Any, upper: Any) -> Any:
    below = lower <= upper  # the upper tail is the lower one of Beta(b, a)
    a, b = jnp.where(below, a, b), jnp.where(below, b, a)
    log_target = jnp.log(_inside(lower, upper))
    least = (log_target - log_inverse_beta(a, b)) / a  # I ≤ exp(a s) / (a B(a, b))
    deviation = jnp.sqrt(polygamma(1, a) + polygamma(1, b))
    about = digamma(a) - digamma(b) - deviation * jnp.abs(_normal(lower, upper))

    def tail_and_slope(s: Any) -> tuple[Any, Any]:
        tail = log_beta_tails(a, b, s)[0]
        return tail, a * jnp.exp(log_beta_scale(a, b, s) - tail)

    s = _newton(tail_and_slope, log_target, about, least)
    return _with_ends(jnp.where(below, s, -s), lower, upper)


@partial(_logit_beta.defjvp, symbolic_zeros=True)
def _logit_beta_jvp(primals: Any, tangents: Any) -> Any:
    a, b, lower, upper = primals
    s, below = _logit_beta(a, b, lower, upper), lower <= upper
    tail, density = _beta_tail(a, b, s, below), jnp.log(a) + log_beta_scale(a, b, s)
    by_shape = [
        (lambda x: _beta_tail(x, b, s, below), a, tangents[0]),
        (lambda x: _beta_tail(a, x, s, below), b, tangents[1]),
    ]
    return s, _implicit(s, tail, density, by_shape, lower, upper, tangents[2:])


@jax.custom_jvp
def _beta_tail(a: Any, b: Any, s: Any, below: Any) -> Any:
    return _pick(below, log_beta_tails(a, b, s))


@partial(_beta_tail.defjvp, symbolic_zeros=True)
def _beta_tail_jvp(primals: Any, tangents: Any) -> Any:
    a, b, s, below = primals
    tail = _beta_tail(a, b, s, below)
    slope = jnp.where(below, a, -a) * jnp.exp(log_beta_scale(a, b, s) - tail)
    by_shape = _along(lambda x: _pick(below, log_beta_tails(x, b, s)), a, tangents[0])
    by_shape += _along(lambda x: _pick(below, log_beta_tails(a, x, s)), b, tangents[1])
    return tail, by_shape + _times(slope, tangents[2])


# -- both ---------------------------------------------------------------------------------------------------


def _newton(tail_and_slope: Callable[[Any], tuple[Any, Any]], target: Any, start: Any, least: Any) -> Any:
    """Where a concave, rising function of v is `target`: not below `least`."""
    eps = np.finfo(target.dtype).eps

    def step(state: Any) -> Any:
        i, v, done = state
        tail, slope = tail_and_slope(v)
        new = jnp.maximum(v + (target - tail) / slope, least)
        ends = ((i > 0) & (new <= v)) | (jnp.abs(new - v) <= 2 * eps * jnp.abs(v)) | jnp.isnan(new)
        return i + 1, jnp.where(done, v, new), done | ends

    def goes_on(state: Any) -> Any:
        i, _, done = state
        return (i < _MOST) & ~jnp.all(done)

    # in floating point a start far to the left is no worse than `least`
    begin = (0, jnp.maximum(start, least), jnp.zeros_like(start, bool))
    return jax.lax.while_loop(goes_on, step, begin)[1]


def _implicit(t: Any, tail: Any, log_density: Any, by_shape: Any, lower: Any, upper: Any, tangents: Any) -> Any:
    """dt of log tail(t, shape) = log probability, where d tail / dt is the density or its negative."""
    below = lower <= upper
    of_lower, of_upper = (jnp.zeros_like(t) if isinstance(d, SymbolicZero) else d for d in tangents)
    by_probability = jnp.where(below, of_lower, -of_upper) * jnp.exp(-log_density)
    per_log = jnp.where(below, 1.0, -1.0) * jnp.exp(tail - log_density)
    return by_probability - per_log * sum(_along(*one) for one in by_shape)


def _along(function: Callable[[Any], Any], at: Any, tangent: Any) -> Any:
    """The derivative of an elementwise function along a tangent, in forward mode: it has a loop."""
    if isinstance(tangent, SymbolicZero):
        return jnp.zeros_like(at)
    return jax.jvp(function, (at,), (jnp.ones_like(at),))[1] * tangent


def _times(slope: Any, tangent: Any) -> Any:
    return jnp.zeros_like(slope) if isinstance(tangent, SymbolicZero) else slope * tangent


def _pick(below: Any, tails: tuple[Any, Any]) -> Any:
    return jnp.where(below, *tails)


def _inside(lower: Any, upper: Any) -> Any:
    """The smaller probability; at the ends of the interval, which `_with_ends` answers, some number."""
    smaller = jnp.minimum(lower, upper)
    return jnp.where(smaller > 0, smaller, 0.5)


def _normal(lower: Any, upper: Any) -> Any:
    z = ndtri(_inside(lower, upper))
    return jnp.where(lower <= upper, z, -z)


def _with_ends(t: Any, lower: Any, upper: Any) -> Any:
    t = jnp.where(jnp.isnan(lower + upper), jnp.nan, t)
    return jnp.where(lower == 0, -jnp.inf, jnp.where(upper == 0, jnp.inf, t))


__all__ = ["log_gamma_quantile", "logit_beta_cdf", "logit_beta_quantile"]
