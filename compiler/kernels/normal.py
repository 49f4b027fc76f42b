"""The statistics of normal rows with a linear predictor, from the columns of its normal form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from plait.compiler.kernels.cells import OUTSIDE, Layout, LayoutChangedError, assign
from plait.compiler.kernels.least_squares import least_squares
from plait.ir.types import Shape


@dataclass(frozen=True)
class NormalStatistics:
    """Of the rows of a `NormalCells`.

    Called with the response, then the offset, the weights and the known factor of the scale where there are such; then
    for each block of the predictor its positions and where it has any its coefficients; then the positions of the scale
    where they differ from row to row.

    Attributes:
        n: the number of rows.
        layout: of the cells.
        has: which of offset, weights and known factor of the scale are there.
        blocks: for each block of the predictor the number of its columns, and whether it has coefficients.
        columns: for each column of the design its block and its place there, local ones first: those that have a
            coefficient in each cell.
        k: how many of the columns are local.
        keys: (block, column) of the positions that make the cells; the block after the predictor's is the scale's.
        scale_varies: whether cells differ in their scale, so that nothing is pooled over them.
        log: whether the response is the logarithm of the values, as for LogNormal.
        dtype: of the program.
    """

    n: int
    layout: Layout
    has: tuple[bool, bool, bool]
    blocks: tuple[tuple[int, bool], ...]
    columns: tuple[tuple[int, int], ...]
    k: int
    keys: tuple[tuple[int, int], ...]
    scale_varies: bool
    log: bool
    dtype: np.dtype
    name: ClassVar[str] = "normal_statistics"

    @property
    def p(self) -> int:
        """How many columns have one coefficient for all cells."""
        return len(self.columns) - self.k

    def shapes(self) -> dict[str, Shape]:
        """The results and their shapes: few arrays, as each one costs a call from Python about a microsecond.

        `totals` are the sum of weights, the constant and the root of the residual sum of squares; `local` and `common`
        the triangle's rows, then the centre, then the rest. What is empty is left out.
        """
        k, p, c = self.k, self.p, self.layout.size
        shapes: dict[str, Shape] = {"totals": (3, c) if self.scale_varies else (3,)}
        shapes |= {"local": (k + 2, k, c)} if k else {}
        shapes |= {"common": (p + 2, p)} if p else {}
        shapes |= {"mixed": (k, c, p)} if k and p else {}
        return shapes | ({"taken": (self.layout.taken, c)} if self.layout.taken else {})

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The statistics, in the order of `shapes`.

        Raises:
            LayoutChangedError: the rows do not fit into the layout, or have a scale of another sign.
        """
        given = iter(arrays)
        y = _rows(next(given), self.n)
        offset, weight, factor = (_rows(next(given), self.n) if there else None for there in self.has)
        positions, coefficients = {}, {}
        for i, (k, has) in enumerate(self.blocks):
            positions[i] = next(given)
            coefficients[i] = _rows(next(given), self.n, k) if has else np.ones((self.n, k))
        if self.scale_varies:
            positions[len(self.blocks)] = next(given)
        if any(np.any(p == OUTSIDE) for p in positions.values()):
            raise LayoutChangedError("an index is out of range")
        cell, taken = self._cells(positions)
        weight = np.ones(self.n) if weight is None else weight
        counted = weight > 0
        y, factor = np.where(counted, y, 1.0), np.where(counted, 1.0 if factor is None else factor, 1.0)
        if not np.all(factor > 0):
            raise LayoutChangedError("a scale is not a positive multiple of what it is computed from")
        logs = np.log(factor) + 0.5 * np.log(2 * np.pi)
        if self.log:
            y = np.log(y)
            logs = logs + y
        y = y if offset is None else y - offset
        design = np.zeros((self.n, len(self.columns)))
        for j, (block, column) in enumerate(self.columns):
            design[:, j] = coefficients[block][:, column]
        size, k = self.layout.size, self.k
        s = least_squares(y, weight / factor**2, design[:, :k], design[:, k:], cell, size, self.dtype)
        if self.scale_varies:
            totals = np.stack(
                [np.bincount(cell, weight, size), -np.bincount(cell, weight * logs, size), np.sqrt(s.residual)]
            )
        else:
            totals = np.array([np.sum(weight), -np.sum(weight * logs), np.sqrt(np.sum(s.residual))])
        local = np.concatenate([s.local, s.local_centre[:, None], s.local_rest[:, None]], axis=1)
        found = {
            "totals": totals,
            "local": local.transpose(1, 2, 0),
            "common": np.concatenate([s.common, s.common_centre[None], s.common_rest[None]]),
            "mixed": s.mixed.transpose(1, 0, 2),
            "taken": taken,
        }
        return tuple(found[name] for name in self.shapes())

    def _cells(self, positions: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if not self.keys:
            return np.zeros(self.n, np.int64), np.zeros((0, 1))
        widths = [k for k, _ in self.blocks] + ([positions[len(self.blocks)].shape[-1]] if self.scale_varies else [])
        columns = [_rows(positions[b], self.n, widths[b])[:, j] for b, j in self.keys]
        return assign(self.layout, columns)


Sign = Annotated[float, frozenset({1.0, -1.0})]


@dataclass(frozen=True)
class SquareStatistics:
    """Of the rows of a weighted sum of squares: those of normal rows, without the constant of a density.

    Called as `normal` is, which has weights and no factor of a scale.

    Attributes:
        normal: of the rows.
        sign: of the weights, all of which have the same one; `normal` gets them positive.
    """

    normal: NormalStatistics
    sign: Sign
    name: ClassVar[str] = "square_statistics"

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The statistics, in the order of `normal.shapes`.

        Raises:
            LayoutChangedError: the rows do not fit into the layout, or can't be summed before they are known.
        """
        if not self.takes(arrays):
            raise LayoutChangedError("rows that count are not finite, or weights have another sign")
        at = 1 + self.normal.has[0]
        totals, *rest = self.normal(*arrays[:at], self.sign * arrays[at], *arrays[at + 1 :])
        return np.array([0.0, 0.0, totals[2]]), *rest

    def takes(self, arrays: Sequence[np.ndarray]) -> bool:
        """Whether all that counts is finite, and no weight has the other sign."""
        n, (has_offset, _, _) = self.normal.n, self.normal.has
        y, *rest = arrays
        offset = rest.pop(0) if has_offset else np.zeros(())
        weight = self.sign * _rows(rest.pop(0), n)
        rows = [_rows(y, n), _rows(offset, n), weight]
        for k, has in self.normal.blocks:
            rest.pop(0)
            rows += [_rows(rest.pop(0), n, k)] if has else []
        return bool(np.all(weight >= 0)) and all(np.isfinite(x[weight > 0]).all() for x in rows)


def _rows(x: np.ndarray, n: int, *k: int) -> np.ndarray:
    """In all rows; floats in float64."""
    x = np.broadcast_to(x if k else np.reshape(x, -1), (n, *k))
    return x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x


__all__ = ["NormalStatistics", "SquareStatistics"]
