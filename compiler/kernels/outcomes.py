"""Rows of a distribution as counts of two outcomes: how many of the one, of the other, and what is constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import scipy.special

from plait.compiler.kernels.cells import LayoutChangedError
from plait.compiler.kernels.divergence import host_rest

Counts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _bernoulli(y: np.ndarray) -> Counts:
    """One trial."""
    return y, 1 - y, np.zeros_like(y)


def _binomial(y: np.ndarray, total_count: np.ndarray) -> Counts:
    """``log C(n, y) = R(n) − R(y) − R(n − y) − y·log(y/n) − (n − y)·log(1 − y/n)``, R being Stirling's rest."""
    f = total_count - y
    n = np.where(total_count > 0, total_count, 1.0)
    at_best = host_rest(total_count) - host_rest(y) - host_rest(f)
    return y, f, at_best - scipy.special.xlogy(y, y / n) - scipy.special.xlogy(f, f / n)


def _geometric(y: np.ndarray) -> Counts:
    """One success after y failures."""
    return np.ones_like(y), y, np.zeros_like(y)


def _negative_binomial(y: np.ndarray, total_count: np.ndarray) -> Counts:
    """Those of y of y + r, times r/(y + r)."""
    s, f, constant = _binomial(y, y + total_count)
    return s, f, constant - np.log1p(y / total_count)


def _as_given(s: np.ndarray, f: np.ndarray) -> Counts:
    """The counts of a factor, whatever they are."""
    require_finite(s, f)
    return s, f, np.zeros_like(s)


def require_finite(*counts: np.ndarray) -> None:
    """Raises LayoutChangedError where a factor's rows count what is no number: then they are evaluated as written."""
    if not all(np.isfinite(x).all() for x in counts):
        raise LayoutChangedError("a factor's rows count what is no number")


COUNTS: dict[str, Callable[..., Counts]] = {  # of the values and the known parameters
    "bernoulli": _bernoulli,
    "binomial": _binomial,
    "geometric": _geometric,
    "negative_binomial": _negative_binomial,
    "as_given": _as_given,
}
CountsName = Annotated[str, frozenset(COUNTS)]

__all__ = ["COUNTS", "CountsName", "require_finite"]
