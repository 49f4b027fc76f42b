"""The rows of a term, the distinct ones once where they repeat, as arrays with the rows last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from plait.compiler.kernels.cells import OUTSIDE, LayoutChangedError, joined
from plait.compiler.kernels.kept import Kept, Rows
from plait.ir.types import Shape

LARGEST = 300.0  # offset of a logarithm, so that the exponential times data has room


@dataclass(frozen=True)
class LeafData:
    """The known part of a leaf: which arrays it has.

    Attributes:
        has_offset: whether there is an offset; it is the loss's where that takes it (`takes_offset`).
        blocks: for each block its columns, whether they are read by position, and whether they have coefficients.
    """

    has_offset: bool
    blocks: tuple[tuple[int, bool, bool], ...]

    @property
    def width(self) -> int:
        """The columns that all rows multiply by the same entries."""
        return sum(k for k, is_read, has in self.blocks if has and not is_read)


@dataclass(frozen=True)
class RowStatistics:
    """Of the rows of a `RowTerms`.

    Called with the values, then the weights where there are such, the known parameters of the loss, then of each leaf
    its offset and for each block the positions where it is read by them and the coefficients where it has such; then
    the known columns.

    Attributes:
        rows: the batch shape.
        kept: what is kept of the values.
        weighted: whether rows have weights.
        known: how many known parameters the loss has.
        leaves: in the order of the arrays.
        takes_offset: whether the first leaf's offset is part of what the loss keeps.
        columns: how many known columns there are.
        slots: for each column of positions which array of distinct ones it is.
        size: room for so many rows.
        distinct: whether equal rows are one.
    """

    rows: Shape
    kept: Kept
    weighted: bool
    known: int
    leaves: tuple[LeafData, ...]
    takes_offset: bool
    columns: int
    slots: tuple[int, ...]
    size: int
    distinct: bool
    name: ClassVar[str] = "row_statistics"

    @property
    def n(self) -> int:
        """The number of rows."""
        return math.prod(self.rows)

    def shapes(self) -> dict[str, Shape]:
        """The results: a design for each leaf that has one, all else that differs by row, totals, positions."""
        shapes: dict[str, Shape] = {
            f"design {i}": (leaf.width, self.size) for i, leaf in enumerate(self.leaves) if leaf.width
        }
        width = self.n_plain + self.kept.n_kept
        shapes |= {"rows": (width, self.size)} if width else {}
        shapes |= {f"total {i}": shape for i, shape in enumerate(self.kept.totals(self.size))}
        return shapes | ({"taken": (max(self.slots) + 1, self.size)} if self.slots else {})

    @property
    def n_plain(self) -> int:
        """Rows of `rows` that are coefficients of what is read by position, offsets, and known columns."""
        coefficients = sum(k for leaf in self.leaves for k, is_read, has in leaf.blocks if is_read and has)
        return coefficients + sum(leaf.has_offset for leaf in self.leaves) - self.takes_offset + self.columns

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The arrays of `shapes`.

        Raises:
            LayoutChangedError: there are more distinct rows than there is room for, or positions that differ now.
        """
        found = self.read(arrays)
        keys = [*found.positions, *found.plain, *(x for d in found.designs for x in d)]
        cell, first = self._cells([*keys, found.y] if self.kept.by_value else keys)
        offset = found.offset if self.takes_offset else np.zeros(self.n)
        rows = Rows(found.y.astype(float), found.weight.astype(float), cell, self.size, found.known, offset, first)
        kept, totals = self.kept.of(rows)
        read = np.full(self.size, first[0])  # where there is room left
        read[: len(first)] = first
        results = [d[:, read] for d in found.designs if len(d)]
        columns = [*(x[read] for x in found.plain), *kept]
        results += [np.stack(columns)] if columns else []
        return (*results, *totals, *self._taken(found.positions, read))

    def _taken(self, positions: Sequence[np.ndarray], read: np.ndarray) -> list[np.ndarray]:
        by_slot: dict[int, np.ndarray] = {}
        for slot, p in zip(self.slots, positions, strict=True):
            if not np.array_equal(by_slot.setdefault(slot, p), p):
                raise LayoutChangedError("positions differ")
        return [np.stack([by_slot[i] for i in range(len(by_slot))])[:, read]] if by_slot else []

    def read(self, arrays: Sequence[np.ndarray]) -> Read:
        """The arrays by what they are; a row that does not count may hold anything, and is a copy of one that does.

        Raises:
            LayoutChangedError: the data cannot be fused, as the message says at the end of a sentence.
        """
        given, n = iter(arrays), self.n
        y = np.broadcast_to(next(given), self.rows).reshape(-1)
        weight = np.broadcast_to(next(given), (n,)) if self.weighted else np.ones(n)
        source = stand_ins(weight)

        def columns(k: int = 1) -> list[np.ndarray]:
            x = next(given)
            x = np.broadcast_to(x.reshape(len(x), -1), (n, k)).T
            return list(x if source is None else x[:, source])

        def column() -> np.ndarray:
            x = np.broadcast_to(next(given), self.rows).reshape(-1)
            return x if source is None else x[source]

        known = tuple(column().astype(float) for _ in range(self.known))
        offset = np.zeros(n)
        plain: list[np.ndarray] = []
        offsets: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        designs: list[np.ndarray] = []
        for i, leaf in enumerate(self.leaves):
            if leaf.has_offset and i == 0 and self.takes_offset:
                offset = columns()[0].astype(float)
            elif leaf.has_offset:
                offsets += columns()
            dense: list[np.ndarray] = []
            for k, is_read, has in leaf.blocks:
                positions += columns(k) if is_read else []
                if has:
                    (plain if is_read else dense).extend(columns(k))
            designs.append(np.stack(dense) if dense else np.zeros((0, n)))
        others = [column() for _ in range(self.columns)]
        if any(np.any(p == OUTSIDE) for p in positions):
            raise LayoutChangedError("it reads parameters by an index that is out of range")
        if not np.all(np.abs(offset) <= LARGEST):
            raise LayoutChangedError("its rate is multiplied by data that are negative, 0, infinite or far from 1")
        plain += [*offsets, *others]
        if not all(np.isfinite(x).all() for x in (*plain, *designs)):
            raise LayoutChangedError("its parameters are computed from data that are not finite")
        y = y if source is None else y[source]
        return Read(y, weight, known, offset, plain, designs, positions)

    def _cells(self, keys: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The cell of each row, and a row of each cell."""
        if not self.distinct:
            everyone = np.arange(self.n)
            return everyone, everyone
        _, first, cell = np.unique(codes(keys, self.n), return_index=True, return_inverse=True)
        if len(first) > self.size:
            raise LayoutChangedError("there are more distinct rows")
        return cell.reshape(-1), first


@dataclass(frozen=True)
class Read:
    """The arrays of rows: `plain` are (rows,), `designs` (columns, rows) for each leaf, `positions` (rows,)."""

    y: np.ndarray
    weight: np.ndarray
    known: tuple[np.ndarray, ...]
    offset: np.ndarray
    plain: list[np.ndarray]
    designs: list[np.ndarray]
    positions: list[np.ndarray]


def stand_ins(weight: np.ndarray) -> np.ndarray | None:
    """For each row itself, or one that counts where it does not; None where all do.

    Raises:
        LayoutChangedError: none does.
    """
    counted = weight > 0
    if not counted.any():
        raise LayoutChangedError("none of its rows counts")
    return None if counted.all() else np.where(counted, np.arange(len(weight)), np.argmax(counted))


def codes(keys: Sequence[np.ndarray], n: int) -> np.ndarray:
    """One number for each row, equal where all keys are."""
    return joined(np.stack([np.unique(k, return_inverse=True)[1].reshape(-1) for k in keys])) if keys else np.zeros(n)


def count_distinct(keys: Sequence[np.ndarray], n: int, most: int) -> int | None:
    """How many distinct rows there are; None where there are more than `most`."""
    code = np.zeros(n, np.int64)
    for key in keys:
        code = np.unique(codes([code, key], n), return_inverse=True)[1].reshape(-1)
        if int(code.max(initial=-1)) >= most:
            return None
    return int(code.max(initial=-1)) + 1


__all__ = ["LeafData", "Read", "RowStatistics", "codes", "count_distinct", "stand_ins"]
