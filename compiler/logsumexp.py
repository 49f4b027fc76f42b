"""log Σ exp whose value and derivatives share the exponentials.

The derivative of ``log Σ_k exp a_k`` to a_k is the share ``exp(a_k − m) / Σ_j exp(a_j − m)``, m being the largest: the
value has computed these exponentials already. Derivatives of jax's own pass through the logarithm and the sum, or
compute exponentials anew. Where all components are −inf the value is −inf and every share 0, not NaN.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def log_sum_exp(*parts: Any) -> Array:
    """``log Σ exp`` of arrays of one shape: of two as ``max + log1p(exp(−|difference|))``."""
    return _of_two(*parts) if len(parts) == 2 else _of_parts(*parts)


@jax.custom_jvp
def _of_two(a: Array, b: Array) -> Array:
    return jnp.maximum(a, b) + jnp.log1p(jnp.exp(-jnp.abs(_difference(a, b))))


@_of_two.defjvp
def _of_two_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    possible = jnp.maximum(*primals) != -jnp.inf
    shares = _shares(_difference(*primals))
    of_a, of_b = (jnp.where(possible, share, 0.0) * t for share, t in zip(shares, tangents, strict=True))
    return _of_two(*primals), of_a + of_b


def _difference(a: Array, b: Array) -> Array:
    """0 where both are infinite, as their sum is. Not 0 wherever they are equal: that would have no derivative."""
    d = a - b
    return jnp.where(d != d, 0.0, d)


@jax.custom_jvp
def _shares(d: Array) -> tuple[Array, Array]:
    """``1/(1 + exp(−d))`` and its complement, of the exponential that the value has; accurate in both tails."""
    e = jnp.exp(-jnp.abs(d))
    one, large = jnp.ones_like(e), 1 / (1 + e)
    return jnp.where(d >= 0, one, e) * large, jnp.where(d >= 0, e, one) * large


@_shares.defjvp
def _shares_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (d,), (t,) = primals, tangents
    of_a, of_b = _shares(d)
    change = of_a * of_b * t
    return (of_a, of_b), (change, -change)


@jax.custom_jvp
def _of_parts(*parts: Array) -> Array:
    top, _, total = _exponentials(*parts)
    return top + jnp.log(total)


@_of_parts.defjvp
def _of_parts_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    top, each, total = _exponentials(*primals)
    tangent = functools.reduce(operator.add, (e * t for e, t in zip(each, tangents, strict=True)))
    return top + jnp.log(total), tangent / jnp.where(total > 0, total, 1.0)


def _exponentials(*parts: Array) -> tuple[Array, list[Array], Array]:
    top = _finite(functools.reduce(jnp.maximum, parts))
    each = [jnp.exp(a - top) for a in parts]
    return top, each, functools.reduce(operator.add, each)


@jax.custom_jvp
def log_sum_exp_along(a: Array) -> Array:
    """``log Σ exp`` along the first axis, so that what lies side by side in memory are rows, not components."""
    top = _finite(jnp.max(a, 0))
    return top + jnp.log(jnp.sum(jnp.exp(a - top), 0))


@log_sum_exp_along.defjvp
def _along_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Array, Array]:
    (a,), (t,) = primals, tangents
    top = _finite(jnp.max(a, 0))
    each = jnp.exp(a - top)
    total = jnp.sum(each, 0)
    return top + jnp.log(total), jnp.sum(each * t, 0) / jnp.where(total > 0, total, 1.0)


def _finite(top: Array) -> Array:
    """The shares do not depend on what is subtracted, so neither do their derivatives."""
    return jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0.0))


__all__ = ["log_sum_exp", "log_sum_exp_along"]
