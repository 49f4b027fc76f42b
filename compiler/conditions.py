"""What data must satisfy beside lying in NumPyro's sets; in numpy on the host, or traced for a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.compiler.jax_compat import is_tracer
from plait.ir.spec import Leaf, Part, Spec, Static


def finite_in(part: Part) -> Part:
    """The finite elements of a set: infinity counts as a positive number, but nobody observed it."""
    return Spec(_Finite, (("base", part),))


def below(inclusive: bool) -> Part:
    """Numbers below the one leaf."""
    return Spec(_Below, (("high", Leaf(0)), ("inclusive", Static(inclusive))))


def off_edge(points: Sequence[float], event_ndim: int, density_known: bool) -> Part:
    """Values that are none of some points, unless their log density is known, is the one leaf, and is finite."""
    log_density = Leaf(0) if density_known else Static(-np.inf)
    fields = (("event_dim", Static(event_ndim)), ("log_density", log_density), ("points", Static(tuple(points))))
    return Spec(_OffEdge, fields)


def symmetric() -> Part:
    """Symmetric matrices."""
    return Static(_Symmetric())


def has_factor() -> Part:
    """Matrices for which a Cholesky factor was found: the one leaf."""
    return Spec(_HasFactor, (("factor", Leaf(0)),))


def _numpy_of(*arrays: Any) -> Any:
    """The module whose functions take these arrays."""
    return jnp if any(map(is_tracer, arrays)) else np


class _Condition:
    """Like a constraint of NumPyro's, on numpy arrays."""

    event_dim: int = 0


class _Finite:
    base: Any

    @property
    def event_dim(self) -> int:
        return int(self.base.event_dim)

    def __call__(self, x: Any) -> Any:
        event = tuple(range(x.ndim - self.event_dim, x.ndim))
        xp = _numpy_of(x)
        return xp.asarray(self.base(x)) & xp.isfinite(x).all(axis=event)


class _Below(_Condition):
    high: Any
    inclusive: bool

    def __call__(self, x: Any) -> Any:
        return x <= self.high if self.inclusive else x < self.high


class _OffEdge(_Condition):
    log_density: Any
    points: tuple[float, ...]

    def __call__(self, x: Any) -> Any:
        xp = _numpy_of(x, self.log_density)
        on_edge = xp.isin(x, xp.asarray(self.points)).any(axis=tuple(range(x.ndim - self.event_dim, x.ndim)))
        return ~on_edge | xp.isfinite(self.log_density)


class _Symmetric(_Condition):
    event_dim = 2

    def __call__(self, x: Any) -> Any:
        xp = _numpy_of(x)
        largest = xp.abs(x).max(axis=(-2, -1), keepdims=True)
        # a matrix product in float32 is symmetric to about 1e-6 of its largest element
        return (xp.abs(x - xp.swapaxes(x, -2, -1)) <= 1e-4 * largest).all(axis=(-2, -1))


class _HasFactor(_Condition):
    factor: Any
    event_dim = 2

    def __call__(self, x: Any) -> Any:
        return _numpy_of(self.factor).isfinite(self.factor).all(axis=(-2, -1))


__all__ = ["below", "finite_in", "has_factor", "off_edge", "symmetric"]
