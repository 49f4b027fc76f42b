"""What losses keep of the values of rows, by cells of equal rows and in all; the losses are in `rules.losses`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import scipy.special

from plait.compiler.kernels.cells import LayoutChangedError
from plait.compiler.kernels.divergence import host_divergence, host_rest
from plait.compiler.kernels.outcomes import COUNTS, CountsName, require_finite
from plait.ir.types import Shape

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Rows:
    """Rows of values, in float64.

    Attributes:
        y: the values, of shape (rows,), as all here that has no other one.
        weight: what each row counts.
        cell: which ones are equal.
        size: how many cells there is room for.
        known: the loss's known parameters.
        offset: of the predictor, where the loss takes it.
        first: a row of each cell.
    """

    y: np.ndarray
    weight: np.ndarray
    cell: np.ndarray
    size: int
    known: tuple[np.ndarray, ...]
    offset: np.ndarray
    first: np.ndarray

    def sum(self, x: np.ndarray | float) -> np.ndarray:
        """Of each cell, of shape (size,)."""
        return np.bincount(self.cell, self.weight * x, self.size)

    def total(self, x: np.ndarray | float) -> np.ndarray:
        """Of all rows."""
        return np.asarray(np.sum(self.weight * x))


class Kept(ABC):
    """What a loss keeps.

    Attributes:
        takes_offset: whether the first parameter's known offset is part of it.
        by_value: whether only rows of the same value may share a cell.
        n_kept: how many numbers it is of each cell.
        n_totals: how many it is of all rows together.
    """

    takes_offset: ClassVar[bool] = False
    by_value: ClassVar[bool] = False
    n_totals: ClassVar[int] = 0

    if TYPE_CHECKING:  # an attribute or a property

        @property
        def n_kept(self) -> int: ...

    def totals(self, size: int) -> tuple[Shape, ...]:
        """The shapes of what is kept of all rows, where there is room for `size` cells."""
        return ((),) * self.n_totals

    @abstractmethod
    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        """What is kept of cells, each of shape (size,), and of all rows; in float64."""


def _filled(has_rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Cells without rows read the parameters of the first that has some, and have its centre."""
    return np.where(has_rows, centre, centre[np.argmax(has_rows)])


@dataclass(frozen=True)
class Signs(Kept):
    """1 or −1 for a Bernoulli row that counts once."""

    n_kept = 1

    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        signs = np.ones(rows.size)
        signs[rows.cell] = np.where(rows.y > 0, 1.0, -1.0)
        return [signs], []


@dataclass(frozen=True)
class Outcomes(Kept):
    """How often the one outcome was seen and how often the other; and the constant, as `COUNTS` says."""

    distribution: CountsName
    n_kept = 2
    n_totals = 1

    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        s, f, constant = COUNTS[self.distribution](rows.y, *rows.known)
        return [rows.sum(s), rows.sum(f)], [rows.total(constant)]


@dataclass(frozen=True)
class Exceedances(Kept):
    """Sums of counts, and how many of them exceed j, for as many j as there is room for (`above`)."""

    above: int
    n_kept = 2

    def totals(self, size: int) -> tuple[Shape, ...]:
        """How many counts exceed j, and the constant."""
        return (self.above,), ()

    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        y = rows.y.astype(np.int64)
        if y.max(initial=0) > self.above:
            raise LayoutChangedError("there are larger counts")
        counts = np.bincount(y, rows.weight, self.above + 1)
        exceeding = counts[::-1].cumsum()[::-1][1:]
        return [rows.sum(rows.y), rows.sum(1.0)], [exceeding, -rows.total(scipy.special.gammaln(rows.y + 1))]


@dataclass(frozen=True)
class Events(Kept):
    """Of ``a·η − b·exp η``: a, b and the fit. Poisson counts (a = y, b = 1) or exponential times (a = 1, b = y).

    An offset is folded into b, so that exposures don't keep rows apart.
    """

    of_counts: bool
    takes_offset = True
    n_kept = 3
    n_totals = 1

    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        y, exposure = rows.y, np.exp(rows.offset)
        one = np.ones_like(y)
        a, b = (y, exposure) if self.of_counts else (one, y * exposure)
        a_sum, b_sum = rows.sum(a), rows.sum(b)
        both = (a_sum > 0) & (b_sum > 0)
        ratio = np.where(both, a_sum, 1.0) / np.where(both, b_sum, 1.0)  # the fit of each cell
        fitted = np.where(both, ratio, 0.0)[rows.cell] * b
        if self.of_counts:
            constant = -host_divergence(fitted, y) - host_rest(y)
        else:  # where all y are 0 there is no fit, and the 1 of d + 1 is taken back
            constant = rows.offset + np.log(ratio)[rows.cell] - np.where(both[rows.cell], fitted, 1.0)
        b_alone = b_sum > 0 if self.of_counts else np.zeros(rows.size, bool)  # then b is in the centre
        centre = np.log(np.where(b_alone & ~both, 1.0 / np.where(b_alone, b_sum, 1.0), ratio))
        # -b and d + 1 instead of b and d: two operations of each row less
        shifted = -np.where(both, a_sum, b_alone * 1.0) / math.e
        return [a_sum, shifted, _filled(a_sum + b_sum > 0, centre) - 1], [rows.total(constant)]


@dataclass(frozen=True)
class Multiples(Kept):
    """Of ``a·η − b·exp η`` with any numbers a and b, those of a factor: a, b and the fit."""

    takes_offset = True
    n_kept = 3
    n_totals = 1

    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        a, (b,) = rows.y, rows.known
        require_finite(a, b)
        largest = np.full(rows.size, -np.inf)
        np.maximum.at(largest, rows.cell, rows.offset)
        largest = np.where(np.isfinite(largest), largest, 0.0)
        a_sum = rows.sum(a)
        b_sum = rows.sum(b * np.exp(rows.offset - largest[rows.cell]))
        both = (a_sum > 0) & (b_sum > 0)
        centre = np.where(both, np.log(np.where(both, a_sum, 1.0)) - np.log(np.where(both, b_sum, 1.0)), 0.0) - largest
        constant = a * (rows.offset + centre[rows.cell] - 1.0)
        return [a_sum, np.where(both, a_sum, b_sum), centre], [rows.total(constant)]


@dataclass(frozen=True)
class GammaMeans(Kept):
    """Weights and means of gamma rows; in all their weight, by how much log ȳ exceeds the mean log, and Σlog y."""

    takes_offset = True
    n_kept = 2
    n_totals = 3

    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        n, y = rows.sum(1.0), rows.y * np.exp(rows.offset)
        mean = np.where(n > 0, rows.sum(y), 1.0) / np.where(n > 0, n, 1.0)
        # log ȳ − mean of log y, but positive in each row
        excess = host_divergence(y, mean[rows.cell]) / mean[rows.cell]
        return [n, _filled(n > 0, -np.log(mean))], [rows.total(1.0), rows.total(excess), rows.total(np.log(rows.y))]


@dataclass(frozen=True)
class NormalMeans(Kept):
    """Weights and means of normal rows, or of their logs; in all their weight, the root of RSS, and the constant."""

    of_log: bool
    n_kept = 2
    n_totals = 3

    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        y = np.log(rows.y) if self.of_log else rows.y
        n = rows.sum(1.0)
        mean = rows.sum(y) / np.where(n > 0, n, 1.0)
        mean += rows.sum(y - mean[rows.cell]) / np.where(n > 0, n, 1.0)
        spread = rows.total((y - mean[rows.cell]) ** 2)
        constant = -rows.total(0.5 * np.log(2 * np.pi) + (y if self.of_log else 0.0))
        return [n, mean], [rows.total(1.0), np.sqrt(spread), constant]


@dataclass(frozen=True)
class Levels(Kept):
    """Of ordered rows: how many have a cutpoint above and how many one below."""

    cutpoints: int
    by_value = True
    n_kept = 2

    def totals(self, size: int) -> tuple[Shape, ...]:
        """Which cutpoint is above and which below each row, and how often each gap between two is meant."""
        return (self.cutpoints, size), (self.cutpoints, size), (self.cutpoints - 1,)

    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        y, n = rows.y[rows.first].astype(np.int64), rows.sum(1.0)
        above, below = np.zeros((2, self.cutpoints, rows.size))
        here = np.arange(len(y))
        upper, lower = y < self.cutpoints, y > 0
        above[y[upper], here[upper]] = 1.0
        below[y[lower] - 1, here[lower]] = 1.0
        between = np.bincount(rows.y.astype(np.int64), rows.weight, self.cutpoints + 1)[1 : self.cutpoints]
        return [n * above.sum(0), n * below.sum(0)], [above, below, between]


@dataclass(frozen=True)
class Values(Kept):
    """The values themselves, and where they are `counted` how often each."""

    counted: bool
    by_value = True

    @property
    def n_kept(self) -> int:
        return 1 + self.counted

    def of(self, rows: Rows) -> tuple[Arrays, Arrays]:
        y = np.full(rows.size, rows.y[rows.first[0]])  # where there is room left
        y[: len(rows.first)] = rows.y[rows.first]
        return [y, rows.sum(1.0)] if self.counted else [y], []


__all__ = [
    "Events", "Exceedances", "GammaMeans", "Kept", "Levels", "Multiples", "NormalMeans", "Outcomes", "Rows", "Signs",
    "Values",
]  # fmt: skip
