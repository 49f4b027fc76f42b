"""The rows of a multinomial regression: covariates and outcomes with the rows last, the distinct ones once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.special

from plait.compiler.kernels.cells import LayoutChangedError
from plait.compiler.kernels.divergence import host_rest
from plait.compiler.kernels.rows import codes, stand_ins
from plait.ir.types import Shape


@dataclass(frozen=True)
class CategoryRows:
    """Of the rows of a `Softmax`.

    Called with the outcomes (or their counts), the weights where there are such, and the covariates.

    Attributes:
        rows: the batch shape.
        categories: how many there are.
        counts: whether the values are counts of all categories.
        weighted: whether rows have weights.
        widths: how many columns each array of covariates has.
        intercept: whether a column of ones goes before them.
        size: room for so many rows.
        distinct: whether rows of equal covariates are one.
    """

    rows: Shape
    categories: int
    counts: bool
    weighted: bool
    widths: tuple[int, ...]
    intercept: bool
    size: int
    distinct: bool
    name: ClassVar[str] = "category_rows"

    @property
    def is_counted(self) -> bool:
        """Whether there are counts of each category, instead of one outcome a row."""
        return self.counts or self.weighted or self.distinct

    def shapes(self) -> dict[str, Shape]:
        """`design`: of the covariates. `outcomes`: which, or how often each. `constant`: of the multinomials."""
        outcomes = (self.categories, self.size) if self.is_counted else (self.size,)
        return {"design": (sum(self.widths) + self.intercept, self.size), "outcomes": outcomes, "constant": ()}

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The arrays of `shapes`.

        Raises:
            LayoutChangedError: there are more distinct rows than there is room for.
        """
        n, given = math.prod(self.rows), iter(arrays)
        event = (self.categories,) if self.counts else ()
        y = np.broadcast_to(next(given), (*self.rows, *event)).reshape(n, *event)
        weight = np.broadcast_to(next(given), (n,)) if self.weighted else np.ones(n)
        counted = weight > 0
        covariates = [np.broadcast_to(next(given), (n, k)).T for k in self.widths]
        design = np.concatenate([np.ones((int(self.intercept), n)), *covariates])
        source = stand_ins(weight)
        design = design if source is None else design[:, source]
        if not self.is_counted:
            return design, y, np.zeros(())
        y = np.where(counted, y.T, 0).T
        cell, first = np.arange(n), np.arange(n)
        if self.distinct:
            _, first, cell = np.unique(codes(list(design), n), return_index=True, return_inverse=True)
            if len(first) > self.size:
                raise LayoutChangedError("there are more distinct rows")
        each = y if self.counts else np.arange(self.categories) == y[:, None]
        weighted = np.where(counted, weight, 0.0)[:, None] * each
        table = np.stack([np.bincount(cell.reshape(-1), w, self.size) for w in weighted.T])
        read = np.full(self.size, first[0])  # where there is room left
        read[: len(first)] = first
        return (
            design[:, read],
            table,
            np.sum(np.where(counted, weight, 0.0) * _log_ways(y)) if self.counts else np.zeros(()),
        )


def _log_ways(counts: np.ndarray) -> np.ndarray:
    """``log n!/Π y_k! = R(n) − ΣR(y_k) − Σ y_k·log(y_k/n)``, R being Stirling's rest."""
    counts = counts.astype(float)
    n = counts.sum(-1)
    shares = counts / np.where(n > 0, n, 1.0)[:, None]
    return np.asarray(host_rest(n) - (host_rest(counts) + scipy.special.xlogy(counts, shares)).sum(-1))


__all__ = ["CategoryRows"]
