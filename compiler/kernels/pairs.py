"""How often each outcome was seen in each group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from plait.compiler.kernels.cells import LayoutChangedError
from plait.ir.types import Shape


@dataclass(frozen=True)
class PairCounts:
    """Of the rows of a `PickedMixture`.

    Called with the outcomes, then the weights where there are such, and the group of each row where there are groups.

    Attributes:
        rows: the batch shape.
        groups: how many there are.
        outcomes: how many there are.
        size: room for so many pairs that occur; 0 where all of them are counted, in a table.
        weighted: whether rows have weights.
        width: how many positions in the groups' array each row reads.
    """

    rows: Shape
    groups: int
    outcomes: int
    size: int
    weighted: bool
    width: int
    name: ClassVar[str] = "pair_counts"

    def shapes(self) -> dict[str, Shape]:
        """`counts`: a table, or of the pairs whose group and outcome are `taken`."""
        if not self.size:
            return {"counts": (self.groups, self.outcomes)}
        return {"counts": (self.size,), "taken": (2, self.size)}

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The arrays of `shapes`.

        Raises:
            LayoutChangedError: more pairs occur than there is room for, or rows don't read groups.
        """
        n, given = math.prod(self.rows), iter(arrays)
        y = np.broadcast_to(next(given), self.rows).reshape(-1).astype(np.int64)
        weight = np.broadcast_to(next(given), (n,)) if self.weighted else np.ones(n)
        group = groups_of(next(given), n, self.width)
        if group is None:
            raise LayoutChangedError("rows don't read whole rows of a table")
        counted = weight > 0
        pair = np.where(counted, group * self.outcomes + y, 0)
        if not self.size:
            table = np.bincount(pair, np.where(counted, weight, 0.0), self.groups * self.outcomes)
            return (table.reshape(self.groups, self.outcomes),)
        seen, cell = np.unique(pair, return_inverse=True)
        if len(seen) > self.size:
            raise LayoutChangedError("more pairs occur")
        taken = np.zeros((2, self.size), np.int64)
        taken[:, : len(seen)] = seen // self.outcomes, seen % self.outcomes
        return np.bincount(cell.reshape(-1), np.where(counted, weight, 0.0), self.size), taken


def groups_of(positions: np.ndarray, n: int, width: int) -> np.ndarray | None:
    """The row of a table that each one reads, of shape (n,); None where some read anything else."""
    table = np.broadcast_to(positions.reshape(-1, width), (n, width)).astype(np.int64)
    group = table[:, 0] // width
    whole = np.array_equal(table, group[:, None] * width + np.arange(width)) and bool(np.all(group >= 0))
    return group if whole else None


__all__ = ["PairCounts", "groups_of"]
