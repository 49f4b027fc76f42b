"""Cells: the rows whose parameters are the same entries of the frontier.

alpha[county], beta[county]   ⇒   a cell for every county: all entries of alpha, all entries of beta
alpha[county], gamma[sex]     ⇒   a cell for every pair that occurs: gathered entries

How cells are laid out (`Layout`) is part of the program, which rows are in which cell is up to the data: `assign`
answers for other data, as long as they fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from plait.ir.types import Shape

OUTSIDE = -1  # the position of what a gather reads outside of its array and fills with a number or NaN


class LayoutChangedError(Exception):
    """The data do not fit into the layout that the program was made for; another program is needed."""


@dataclass(frozen=True)
class Along:
    """Cell c reads entry [before, c, after] of a source that is viewed as (…, cells, rest)."""

    source: int
    before: int
    rest: int
    after: int


@dataclass(frozen=True)
class Taken:
    """Cell c reads the entry of a source that the `slot`-th array of positions says."""

    source: int
    slot: int


@dataclass(frozen=True)
class Fixed:
    """All cells read the entry at one position of a source."""

    source: int
    position: int


Entry = Along | Taken | Fixed


@dataclass(frozen=True)
class Layout:
    """How cells read a frontier.

    Attributes:
        size: the number of cells, those included that have no rows.
        entries: what each column reads, in the columns' order.
        taken: how many arrays of positions there are; 0 where the cells are the levels of one factor.
        occupied: the cells that have rows, in the data that the layout was made for.
    """

    size: int
    entries: tuple[Along | Taken, ...]
    taken: int = 0
    occupied: int = field(default=1, compare=False)


ONE = Layout(1, ())


def lay_out(columns: Sequence[tuple[int, Shape, np.ndarray]]) -> Layout:
    """The layout of cells.

    Args:
        columns: (source, its shape, positions of shape (rows,)); the cells are the distinct rows of the positions.
    """
    if not columns:
        return ONE
    distinct = len(np.unique(joined(np.stack([c[2] for c in columns]))))
    for entries, size in _levels(columns):
        if size <= 2 * distinct + 8:
            return Layout(size, entries, 0, distinct)
    slots: dict[bytes, int] = {}
    for _, _, positions in columns:
        slots.setdefault(positions.tobytes(), len(slots))
    taken = tuple(Taken(source, slots[positions.tobytes()]) for source, _, positions in columns)
    return Layout(bucket(distinct), taken, len(slots), distinct)


def assign(layout: Layout, columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The cells of rows.

    Args:
        layout: of the columns.
        columns: positions of shape (rows,).

    Returns:
        The cell of each row, and for each slot the positions that cells take, of shape (taken, size).

    Raises:
        LayoutChangedError: the data need another layout.
    """
    _require(all(np.all(p >= 0) for p in columns))
    if not layout.taken:
        cells = [_along(entry, layout.size, p) for entry, p in zip(layout.entries, columns, strict=True)]
        _require(all(np.array_equal(cells[0], c) for c in cells))
        return cells[0], np.zeros((0, layout.size), np.int32)
    by_slot: dict[int, np.ndarray] = {}
    for entry, positions in zip(layout.entries, columns, strict=True):
        assert isinstance(entry, Taken)
        _require(np.array_equal(by_slot.setdefault(entry.slot, positions), positions))
    keys = np.stack([by_slot[slot] for slot in range(layout.taken)])
    _, first, cell = np.unique(joined(keys), return_index=True, return_inverse=True)
    _require(len(first) <= layout.size)
    taken = np.zeros((layout.taken, layout.size), np.int32)  # cells without rows count nothing, wherever they read
    taken[:, : len(first)] = keys[:, first]
    return cell.reshape(-1), taken


def _levels(columns: Sequence[tuple[int, Shape, np.ndarray]]) -> Iterator[tuple[tuple[Along, ...], int]]:
    """The ways in which all columns read whole axes of one length, with the cell in step."""
    _, shape, positions = columns[0]
    for axis, size in enumerate(shape):
        entries = []
        for source, its_shape, p in columns:
            entry = next(
                (e for e in _views(source, its_shape, size, p) if _in_step(e, size, p, shape, axis, positions)), None
            )
            if entry is None:
                break
            entries.append(entry)
        else:
            yield tuple(entries), size


def _views(source: int, shape: Shape, size: int, positions: np.ndarray) -> Iterator[Along]:
    """How a column may read an axis of that size, going by its first row."""
    start = int(positions[0]) if len(positions) else 0
    for axis in (d for d, n in enumerate(shape) if n == size):
        rest = math.prod(shape[axis + 1 :])
        yield Along(source, start // (size * rest), rest, start % rest)


def _in_step(entry: Along, size: int, p: np.ndarray, shape: Shape, axis: int, first: np.ndarray) -> bool:
    wanted = first // math.prod(shape[axis + 1 :]) % size
    return bool(np.array_equal((entry.before * size + wanted) * entry.rest + entry.after, p))


def _along(entry: Entry, size: int, positions: np.ndarray) -> np.ndarray:
    assert isinstance(entry, Along)
    cell = (positions - entry.after) // entry.rest - entry.before * size
    _require(np.array_equal((entry.before * size + cell) * entry.rest + entry.after, positions))
    _require(bool(np.all((cell >= 0) & (cell < size))))
    return cell


def joined(keys: np.ndarray) -> np.ndarray:
    """One number for each row, equal where all positions are."""
    joined = np.zeros(keys.shape[1], np.int64)
    for key in keys.astype(np.int64):
        span = int(key.max(initial=0)) + 1
        if int(joined.max(initial=0)) >= 2**62 // span:  # too many to count on: number those that occur
            joined = np.unique(joined, return_inverse=True)[1].reshape(-1)
        joined = joined * span + key
    return joined


def bucket(n: int) -> int:
    """Room for some more cells, so that other data seldom need another program: the next of 8, 9, 10, …, 18, 20, …."""
    if n <= 8:
        return 8
    step = 2 ** (n - 1).bit_length() // 8
    return -(-n // step) * step


def _require(fits: bool) -> None:
    if not fits:
        raise LayoutChangedError("rows are not where they were")


__all__ = [
    "ONE",
    "OUTSIDE",
    "Along",
    "Entry",
    "Fixed",
    "Layout",
    "LayoutChangedError",
    "Taken",
    "assign",
    "bucket",
    "joined",
    "lay_out",
]
