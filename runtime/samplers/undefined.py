"""Log densities that are NaN somewhere: they count as impossible there, and somebody is told."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


class NanRejected:
    """A log density that is -inf where it would be NaN, and remembers that; any number of threads may call it.

    Args:
        density: of numpy arrays (n, dim), to (n,), or (dim,), to a float.
        names: of the entries of a point.
        at_once: whether to warn at the first NaN; else `warn` does when it is called.
    """

    def __init__(self, density: Callable[[Any], Any], names: tuple[str, ...], *, at_once: bool = False) -> None:
        self.density = density
        self.names = names
        self.at_once = at_once
        self.points = 0
        self.nans = 0
        self.possible = False  # whether it was above -inf anywhere
        self.first: np.ndarray | None = None
        self.lock = threading.Lock()

    def __call__(self, z: Any) -> Any:
        values = self.density(z)
        if isinstance(values, float) and values > -np.inf:  # the common case, at once
            with self.lock:
                self.points += 1
                self.possible = True
            return values
        undefined = np.isnan(values)
        with self.lock:
            self.points += np.size(values)
            self.possible |= bool(np.any(values > -np.inf))
            is_first = self.first is None and bool(np.any(undefined))
            if is_first:
                self.first = np.atleast_2d(z)[np.atleast_1d(undefined)][0]
            self.nans += int(np.sum(undefined))
        if is_first and self.at_once:
            self.warn(stacklevel=3)
        return np.where(undefined, -np.inf, values) if np.ndim(values) else float(-np.inf if undefined else values)

    def warn(self, what: str = "log density", *, stacklevel: int) -> None:
        """RuntimeWarning if there was a NaN."""
        if self.first is not None:
            where = ", ".join(f"{name} = {x:.6g}" for name, x in zip(self.names[:6], self.first, strict=False))
            more = ", …" if len(self.names) > 6 else ""
            warnings.warn(
                f"the {what} was NaN at {self.nans} of {self.points} points, which were rejected: the draws are right "
                f"only if it is zero there; the first is, unconstrained, {where}{more}: find_nonfinite says why",
                RuntimeWarning,
                stacklevel=stacklevel,
            )


__all__ = ["NanRejected"]
