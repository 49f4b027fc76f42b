"""The statistics of rows of an exponential family, by cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from plait.compiler.kernels.cells import Layout, LayoutChangedError, assign
from plait.compiler.kernels.exponential_families import FamilyName, statistics
from plait.ir.types import Shape


@dataclass(frozen=True)
class FamilyStatistics:
    """Of the rows of a `FamilyCells`.

    Called with the values, then the weights where there are such, then the known parameters of the rows, then those
    that all rows share, and then the positions of each parameter by which cells differ.

    Attributes:
        rows: the batch shape.
        event: the shape of a value of one row.
        layout: of the cells.
        weighted: whether rows have weights.
        known: how many known parameters of rows there are.
        shared: how many parameters are known and the same in all rows.
        keys: for each parameter by which cells differ how many elements its event has.
        family: the name of the distribution's class.
        categories: how many there are, where the parameters have events.
    """

    rows: Shape
    event: Shape
    layout: Layout
    weighted: bool
    known: int
    shared: int
    keys: tuple[int, ...]
    family: FamilyName
    categories: int
    name: ClassVar[str] = "family_statistics"

    def shapes(self) -> dict[str, Shape]:
        """Of what is computed."""
        none = np.zeros(0)
        y, cell = np.zeros((0, *self.event)), none.astype(int)
        found = statistics(self.family, y, none, cell, self.layout.size, (none,) * self.known)
        shapes: dict[str, Shape] = {
            f"{i}": x.shape if x.ndim == 1 else (len(x), self.categories or x.shape[1]) for i, x in enumerate(found)
        }
        shapes |= {f"shared {i}": () for i in range(self.shared)}
        return shapes | ({"taken": (self.layout.taken, self.layout.size)} if self.layout.taken else {})

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The statistics, the shared parameters, and the positions that cells take where they are gathered.

        Raises:
            LayoutChangedError: the rows do not fit into the layout.
        """
        n = math.prod(self.rows)
        given = iter(arrays)
        y = self._in_rows(next(given), self.event)
        weight = np.broadcast_to(next(given), (n,)) if self.weighted else np.ones(n)
        known = tuple(self._in_rows(next(given), ()) for _ in range(self.known))
        shared = tuple(_one_value(next(given)) for _ in range(self.shared))
        columns = [x for width, p in zip(self.keys, given, strict=True) for x in in_cells(p, n, width).T]
        cell, taken = assign(self.layout, columns) if columns else (np.zeros(n, np.int64), None)
        found = statistics(self.family, y, weight, cell, self.layout.size, known)
        positions = [] if taken is None or not self.layout.taken else [taken]
        return tuple(
            _padded(x, shape) for x, shape in zip((*found, *shared, *positions), self.shapes().values(), strict=True)
        )

    def _in_rows(self, x: np.ndarray, event: Shape) -> np.ndarray:
        return np.broadcast_to(x, (*self.rows, *event)).reshape(-1, *event)


def in_cells(positions: np.ndarray, n: int, width: int) -> np.ndarray:
    """Positions of a parameter's elements, of shape (rows, elements)."""
    return np.broadcast_to(positions if len(positions) == 1 else positions.reshape(n, width), (n, width))


def _one_value(x: np.ndarray) -> np.ndarray:
    """Of an array that is one number, written out."""
    if x.size and not (x == x.flat[0]).all():
        raise LayoutChangedError("a parameter differs from row to row")
    return np.asarray(x.flat[0] if x.size else 1.0)


def _padded(x: np.ndarray, shape: Shape) -> np.ndarray:
    """With zeros for categories that do not occur."""
    return x if x.shape == shape else np.pad(x, [(0, m - n) for n, m in zip(x.shape, shape, strict=True)])


__all__ = ["FamilyStatistics", "in_cells"]
