"""The scatter matrix of multivariate normal rows, as a triangle, and the means of their cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from plait.compiler.kernels.cells import Layout, assign
from plait.compiler.kernels.families import in_cells
from plait.compiler.kernels.least_squares import require_finite, triangle
from plait.ir.types import Shape


@dataclass(frozen=True)
class ScatterStatistics:
    """Of the rows of a `MultivariateNormalCells`.

    Called with the values, then the known location where it is known, then the weights where there are such, and then
    the positions of the location by which cells differ.

    Attributes:
        rows: the batch shape.
        d: the length of a value.
        layout: of the cells.
        known_location: whether it is data.
        weighted: whether rows have weights.
        cells_differ: whether there is more than one location.
        dtype: of the program.
    """

    rows: Shape
    d: int
    layout: Layout
    known_location: bool
    weighted: bool
    cells_differ: bool
    dtype: np.dtype
    name: ClassVar[str] = "scatter_statistics"

    def shapes(self) -> dict[str, Shape]:
        """`totals`: the sum of weights and the constant. `scatter`: T, with TᵀT the scatter about the cells' means.

        `cells`, where the location is free: the roots of their weights, their centres, and by how much the means differ
        from these, times the root.
        """
        cells: dict[str, Shape] = {"cells": (self.layout.size, 1 + 2 * self.d)}
        shapes: dict[str, Shape] = {"totals": (2,), "scatter": (self.d, self.d)}
        shapes |= {} if self.known_location else cells
        return shapes | ({"taken": (self.layout.taken, self.layout.size)} if self.layout.taken else {})

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The statistics, in the order of `shapes`.

        Raises:
            LayoutChangedError: the rows do not fit into the layout.
        """
        n, given = math.prod(self.rows), iter(arrays)
        y = self._vectors(next(given))
        y = y - self._vectors(next(given)) if self.known_location else y
        weight = np.broadcast_to(next(given), (n,)).astype(np.float64) if self.weighted else np.ones(n)
        cell, taken = np.zeros(n, np.int64), np.zeros((0, 1), np.int32)
        if self.cells_differ:
            cell, taken = assign(self.layout, list(in_cells(next(given), n, self.d).T))
        counted = weight > 0
        y, weight, cell = y[counted], weight[counted], cell[counted]
        require_finite(y)
        found = {"totals": np.array([np.sum(weight), -0.5 * self.d * math.log(2 * math.pi) * np.sum(weight)])}
        if not self.known_location:
            count = np.bincount(cell, weight, self.layout.size)
            centre = _means(y, weight, cell, count).astype(self.dtype).astype(np.float64)
            y = y - centre[cell]
            rest = _means(y, weight, cell, count)
            y = y - rest[cell]
            root = np.sqrt(count)[:, None]
            found["cells"] = np.concatenate([root, centre, root * rest], axis=1)
        found |= {"scatter": triangle(np.sqrt(weight)[:, None] * y), "taken": taken}
        return tuple(found[name] for name in self.shapes())

    def _vectors(self, x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x, (*self.rows, self.d)).reshape(-1, self.d).astype(np.float64)


def _means(y: np.ndarray, weight: np.ndarray, cell: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Weighted means of cells, 0 where they are empty."""
    sums = np.stack([np.bincount(cell, weight * column, len(count)) for column in y.T], axis=1)
    return sums / np.where(count > 0, count, 1.0)[:, None]


__all__ = ["ScatterStatistics"]
