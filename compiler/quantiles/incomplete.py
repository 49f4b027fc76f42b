"""Logs of the regularized incomplete gamma and beta functions, of the logarithm and the logit of a variate.

With t = log x and s = logit x they are log-concave, and neither a tiny x nor a tiny probability underflows:

    P(a, x)    = e^c Σ_n x^n / ((a+1) … (a+n)),      c = a t - x - log Γ(a+1)
    Q(a, x)    = e^c a / (x+1-a - 1(1-a)/(x+3-a - …))
    I(x; a, b) = e^c / (1 + d_1/(1 + d_2/(1 + …))),  c = a log x + b log(1-x) - log(a B(a, b))

Sources: NIST Digital Library of Mathematical Functions, 8.11.4, 8.9.2 and 8.17.22. c loses no digits for large a and b:
it is a divergence from the mode plus Stirling's series (C. Loader, Fast and accurate computation of binomial
probabilities, 2000). The loops have derivatives in forward mode, so those with respect to a and b come from the very
expansions (R. J. Boik, J. F. Robison-Cox, Derivatives of the incomplete beta function, J. Stat. Soft. 3, 1998).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_LARGE = 10.0  # from here on Stirling's series has all the digits of float64
_MOST = 100_000  # terms; √(36 a) of them are needed near the mode, so this is for a and b beyond 10^8
_TINY = 1e-30  # in place of a denominator of zero


# -- gamma --------------------------------------------------------------------------------------------------


def log_gamma_tails(a: Any, t: Any) -> tuple[Any, Any]:
    """(log P, log Q) of Gamma(a, 1) at x = exp(t)."""
    x, c = jnp.exp(t), log_gamma_scale(a, t)
    below = x < a + 1
    log_p = c + jnp.log(_gamma_series(a, jnp.where(below, x, 0.0)))
    log_q = c + jnp.log(a * _gamma_fraction(a, jnp.where(below, a + 1, x)))
    return jnp.where(below, log_p, _log_1m_exp(log_q)), jnp.where(below, _log_1m_exp(log_p), log_q)


def log_gamma_scale(a: Any, t: Any) -> Any:
    """c: the log density of t, less log a."""
    large = jnp.where(a < _LARGE, _LARGE, a)
    away = t - jnp.log(large)
    far = large * (away - jnp.expm1(away)) - 0.5 * jnp.log(2 * jnp.pi * large) - _stirling(large)
    return jnp.where(a < _LARGE, a * t - jnp.exp(t) - log_rising(0.0, a), far)


def _gamma_series(a: Any, x: Any) -> Any:
    def step(shape: Any, state: _State) -> _State:
        a, x = shape
        term = state.change * x / (a + state.n)
        return _State(state.n + 1, state.total + term, term, state.d)

    one = jnp.ones_like(x)
    return _summed(step, (a, x), _State(jnp.ones((), x.dtype), one, one, one))


def _gamma_fraction(a: Any, x: Any) -> Any:
    return 1 / _continued(lambda shape, n: (-n * (n - shape[0]), shape[1] + 2 * n + 1 - shape[0]), (a, x), x + 1 - a)


# -- beta ---------------------------------------------------------------------------------------------------


def log_beta_tails(a: Any, b: Any, s: Any) -> tuple[Any, Any]:
    """(log I, log (1 - I)) of Beta(a, b) at x = 1/(1 + exp(-s))."""
    # by its own tail where the fraction converges quickly, else by the other one's
    mine = jax.nn.sigmoid(s) * (a + b + 2) < a + 1
    first, second, s = jnp.where(mine, a, b), jnp.where(mine, b, a), jnp.where(mine, s, -s)
    log_near = log_beta_scale(first, second, s) - jnp.log(_beta_fraction(first, second, jax.nn.sigmoid(s)))
    log_far = _log_1m_exp(log_near)
    return jnp.where(mine, log_near, log_far), jnp.where(mine, log_far, log_near)


def log_beta_scale(a: Any, b: Any, s: Any) -> Any:
    """c: the log density of s, less log a."""
    direct = a * jax.nn.log_sigmoid(s) + b * jax.nn.log_sigmoid(-s) + log_inverse_beta(a, b)
    large_a, large_b = (jnp.where(x < _LARGE, _LARGE, x) for x in (a, b))
    swap = large_a > large_b
    less, more, s = jnp.where(swap, large_b, large_a), jnp.where(swap, large_a, large_b), jnp.where(swap, -s, s)
    n = less + more
    away = s - jnp.log(less / more)
    divergence = less * away - n * jnp.log1p(less / n * jnp.expm1(away))
    series = _stirling(n) - _stirling(less) - _stirling(more)
    far = divergence + 0.5 * jnp.log(large_b / (2 * jnp.pi * large_a * n)) + series
    return jnp.where(jnp.minimum(a, b) < _LARGE, direct, far)


def log_inverse_beta(a: Any, b: Any) -> Any:
    """-log(a B(a, b)), with all digits where one of a and b is small."""
    less, more = jnp.where(a < b, a, b), jnp.where(a < b, b, a)
    return log_rising(more, less) - log_rising(0.0, less) - jnp.log1p(a / b)


def _beta_fraction(a: Any, b: Any, x: Any) -> Any:
    """1 + d_1/(1 + d_2/(1 + …)), two steps at a time: 1 + d_1 - d_1 d_2/(1 + d_2 + d_3 - d_3 d_4/(…))."""

    def odd(shape: Any, m: Any) -> Any:  # d_{2m+1}
        a, b, x = shape
        return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))

    def even(shape: Any, m: Any) -> Any:  # d_{2m}
        a, b, x = shape
        return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))

    def pair(shape: Any, m: Any) -> tuple[Any, Any]:
        return -odd(shape, m - 1) * even(shape, m), 1 + even(shape, m) + odd(shape, m)

    return _continued(pair, (a, b, x), 1 + odd((a, b, x), 0.0))


# -- parts --------------------------------------------------------------------------------------------------


def _log_1m_exp(x: Any) -> Any:
    """log(1 - exp(x)) for x < 0."""
    x = jnp.minimum(x, 0.0)
    near = x > -0.69
    return jnp.where(near, jnp.log(-jnp.expm1(jnp.where(near, x, -1.0))), jnp.log1p(-jnp.exp(jnp.where(near, -1.0, x))))


def log_rising(z: Any, k: Any) -> Any:
    """log Γ(z+k+1) - log Γ(z+1), with all digits also for tiny k."""
    product = sum(jnp.log1p(k / (z + i)) for i in range(1, 11))  # up to where Stirling's series holds
    large = z + 10
    n = large + k
    return (large + 0.5) * jnp.log1p(k / large) + k * (jnp.log(n) - 1) + _stirling(n) - _stirling(large) - product


def _stirling(z: Any) -> Any:
    """log Γ(z+1) - ((z + 1/2) log z - z + log(2π)/2), for z from 10 on; DLMF 5.11.1."""
    w = 1 / (z * z)
    return (1 / 12 - w * (1 / 360 - w * (1 / 1260 - w * (1 / 1680 - w * (1 / 1188 - w * 691 / 360360))))) / z


class _State(NamedTuple):
    """Of a sum: the number of the next term, the total, the last term, and what the next one needs besides."""

    n: Any
    total: Any
    change: Any
    d: Any

    @property
    def goes_on(self) -> Any:
        return jnp.any(jnp.abs(self.change) > 0.1 * np.finfo(self.total.dtype).eps * jnp.abs(self.total))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _summed(step: Callable[[Any, _State], _State], shape: Any, start: _State) -> Any:
    """The total when no element of it changes any more, of ``step(shape, state)``."""

    def goes_on(state: _State) -> Any:
        return (state.n < _MOST) & state.goes_on

    return jax.lax.while_loop(goes_on, partial(step, shape), start).total


@_summed.defjvp
def _summed_jvp(step: Callable[[Any, _State], _State], primals: Any, tangents: Any) -> tuple[Any, Any]:
    # until neither changes: for whole numbers a sum may end at a term whose derivative is not zero
    def dual_step(state: Any) -> Any:
        return jax.jvp(step, (primals[0], state[0]), (tangents[0], state[1]))

    def goes_on(state: Any) -> Any:
        return (state[0].n < _MOST) & (state[0].goes_on | state[1].goes_on)

    value, tangent = jax.lax.while_loop(goes_on, dual_step, (primals[1], tangents[1]))
    return value.total, tangent.total


def _continued(part: Callable[[Any, Any], tuple[Any, Any]], shape: Any, first: Any) -> Any:
    """first + a_1/(b_1 + a_2/(b_2 + …)); `part` is (shape, n) ↦ (a_n, b_n), n a float from 1 on.

    By Steed's algorithm (A. R. Barnett and others, Comput. Phys. Commun. 8, 1974): convergents are summed, so that
    rounding does not grow with their number, as it does in Lentz' product.
    """

    def step(shape: Any, state: _State) -> _State:
        numerator, denominator = part(shape, state.n)
        d = 1 / _not_zero(denominator + numerator * state.d)
        change = -numerator * state.d * d * state.change
        return _State(state.n + 1, state.total + change, change, d)

    one = jnp.ones((), first.dtype)
    numerator, denominator = part(shape, one)
    d = 1 / _not_zero(denominator)
    return _summed(step, shape, _State(one + 1, first + numerator * d, numerator * d, d))


def _not_zero(x: Any) -> Any:
    return jnp.where(jnp.abs(x) < _TINY, _TINY, x)


__all__ = [
    "log_beta_scale", "log_beta_tails", "log_gamma_scale", "log_gamma_tails", "log_inverse_beta", "log_rising",
]  # fmt: skip
