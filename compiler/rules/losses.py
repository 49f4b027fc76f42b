"""Losses of generalized linear models: what rows with a predictor η add up to, value and slope from one exponential.

A loss keeps what it needs of the values (`kept`, on the host in float64, by cells of equal rows) and evaluates

    two sides     Σ s·log σ(η) + f·log σ(−η)     Bernoulli, binomial, geometric, negative binomial
    exponential   Σ a·η − b·exp η                Poisson, exponential, gamma, with η the logarithm of the rate
    as written    Σ w·log p(y | parameters)      NumPyro's own density

McCullagh & Nelder (1989), Generalized Linear Models, 2.2. Sums of large terms of opposite sign are centred on the data:
the exponential ones are written in η − log(a/b), the distance from the fit of the row alone.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax import Array

from plait.compiler.analysis.cells import LayoutChangedError
from plait.compiler.rules.families import host_divergence, host_rest, log_gamma_rest
from plait.compiler.stable.functions import inverse_mills, log_ndtr
from plait.ir.types import Shape

Arrays = Sequence[np.ndarray]
FACTORS = 8  # of a product whose logarithm is taken once; each is at most 2


# -- one exponential for value and slope ---------------------------------------------------------------------


@jax.custom_jvp
def _two_slopes(eta: Array, s: Array, f: Array) -> Array:
    """``s·σ(−η) − f·σ(η)``."""
    e = jnp.exp(-jnp.abs(eta))
    return jnp.where(eta >= 0, s * e - f, s - f * e) / (1 + e)


_two_slopes.defjvps(
    lambda t, _, eta, s, f: -t * (s + f) * jax.nn.sigmoid(eta) * jax.nn.sigmoid(-eta),
    lambda t, _, eta, s, f: t * jax.nn.sigmoid(-eta),
    lambda t, _, eta, s, f: -t * jax.nn.sigmoid(eta),
)


@jax.custom_jvp
def two_sided(eta: Array, s: Array, f: Array) -> Array:
    """``Σ s·log σ(η) + f·log σ(−η)``; s and f are data."""
    log = jnp.log1p(jnp.exp(-jnp.abs(eta)))
    return jnp.sum(s * jnp.minimum(eta, 0.0) - f * jnp.maximum(eta, 0.0) - (s + f) * log)


two_sided.defjvps(lambda t, _, eta, s, f: jnp.vdot(_two_slopes(eta, s, f), t), None, None)


@jax.custom_jvp
def two_sided_in(r: Array, eta: Array, s: Array, w: Array) -> Array:
    """``Σ s·log σ(η) + r·w·log σ(−η)``; s and w are data."""
    return two_sided(eta, s, r * w)


two_sided_in.defjvps(
    lambda t, _, r, eta, s, w: -t * jnp.vdot(w, jax.nn.softplus(eta)),
    lambda t, _, r, eta, s, w: jnp.vdot(_two_slopes(eta, s, r * w), t),
    None,
    None,
)


@jax.custom_jvp
def _slopes(margin: Array) -> Array:
    """``σ(−m)``."""
    e = jnp.exp(-jnp.abs(margin))
    return jnp.where(margin >= 0, e, 1.0) / (1 + e)


_slopes.defjvps(lambda t, _, margin: -t * jax.nn.sigmoid(margin) * jax.nn.sigmoid(-margin))


@jax.custom_jvp
def one_sided(margin: Array) -> Array:
    """``Σ log σ(m)``, with one logarithm for several rows."""
    return jnp.sum(jnp.minimum(margin, 0.0)) - _sum_log1p(jnp.exp(-jnp.abs(margin)))


one_sided.defjvps(lambda t, _, margin: jnp.vdot(_slopes(margin), t))


def _sum_log1p(x: Array) -> Array:
    """``Σ log(1 + x)`` for 0 ≤ x ≤ 1, as the logarithm of products of `FACTORS` of them.

    (1 + a)(1 + b) = 1 + (a + b + ab), whose digits are all kept also where a and b are tiny.
    """
    n = len(x) // FACTORS * FACTORS
    parts = list(x[:n].reshape(FACTORS, -1))
    while len(parts) > 1:
        parts = [a + b + a * b for a, b in zip(parts[::2], parts[1::2], strict=True)]
    whole = [parts[0], x[n:]] if n and n < len(x) else [parts[0]] if n else [x]
    return functools.reduce(jnp.add, (jnp.sum(jnp.log1p(part)) for part in whole))


@jax.custom_jvp
def probit_sides(eta: Array, s: Array, f: Array) -> Array:
    """``Σ s·log Φ(η) + f·log Φ(−η)``; s and f are data."""
    return jnp.vdot(s, log_ndtr(eta)) + jnp.vdot(f, log_ndtr(-eta))


probit_sides.defjvps(lambda t, _, eta, s, f: jnp.vdot(s * inverse_mills(eta) - f * inverse_mills(-eta), t), None, None)


@jax.custom_jvp
def probit_margins(margin: Array) -> Array:
    """``Σ log Φ(m)``."""
    return jnp.sum(log_ndtr(margin))


probit_margins.defjvps(lambda t, _, margin: jnp.vdot(inverse_mills(margin), t))


# -- what a loss is ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rows:
    """Rows as a loss gets them, on the host.

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


class Loss(ABC):
    """What rows of a distribution add up to.

    Attributes:
        name: for the text of a graph.
        symbols: of the parameters in `notation`: those of rows, then those that all rows share.
        takes_offset: whether the first parameter's known offset is part of what it keeps.
        by_value: whether only rows of the same value may share a cell.
        n_kept: how many numbers it keeps of each cell.
        n_totals: how many it keeps of all rows together.
        notation: of the sum over rows.
    """

    name: ClassVar[str]
    takes_offset: ClassVar[bool] = False
    by_value: ClassVar[bool] = False
    n_totals: ClassVar[int] = 0

    if TYPE_CHECKING:  # attributes or properties

        @property
        def symbols(self) -> tuple[str, ...]: ...

        @property
        def n_kept(self) -> int: ...

        @property
        def notation(self) -> str: ...

    def totals(self, size: int) -> tuple[Shape, ...]:
        """The shapes of what is kept of all rows, where there is room for `size` cells."""
        return ((),) * self.n_totals

    @abstractmethod
    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
        """What is kept of cells, and of all rows; in float64."""

    @abstractmethod
    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        """The sum over the rows, in nats.

        Args:
            parameters: those of rows, of shape (size,) or (); then those that all share, raveled.
            kept: of shape (size,).
            totals: as `totals` says.
        """


def _in_rows(parameter: Array, kept: Sequence[Array]) -> Array:
    return jnp.broadcast_to(parameter, kept[0].shape)


LINKS = {"logit": (one_sided, two_sided, "−Σlog(1 + exp ∓η)"), "probit": (probit_margins, probit_sides, "Σlog Φ(±η)")}


def _filled(has_rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Cells without rows read the parameters of the first that has some, and have its centre."""
    return np.where(has_rows, centre, centre[np.argmax(has_rows)])


@dataclass(frozen=True)
class Margins(Loss):
    """Bernoulli rows that count once each: ``Σ log σ(±η)``, or ``Σ log Φ(±η)``."""

    link: str
    name = "margins"
    symbols = ("η",)
    n_kept = 1

    @property
    def notation(self) -> str:
        return LINKS[self.link][2]

    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
        signs = np.ones(rows.size)
        signs[rows.cell] = np.where(rows.y > 0, 1.0, -1.0)
        return [signs], []

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        return LINKS[self.link][0](_in_rows(parameters[0], kept) * kept[0])


@dataclass(frozen=True)
class TwoSided(Loss):
    """Counts of two outcomes: ``counts(y, *known)`` says how many of the one, of the other, and what is constant."""

    counts: Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]
    notation: str
    link: str = "logit"
    name = "two_sided"
    symbols = ("η",)
    n_kept = 2
    n_totals = 1

    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
        s, f, constant = self.counts(rows.y, *rows.known)
        return [rows.sum(s), rows.sum(f)], [rows.total(constant)]

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        return LINKS[self.link][1](_in_rows(parameters[0], kept), kept[0], kept[1]) + totals[0]


Counts = tuple[np.ndarray, np.ndarray, np.ndarray]


def bernoulli(y: np.ndarray) -> Counts:
    """One trial."""
    return y, 1 - y, np.zeros_like(y)


def binomial(y: np.ndarray, total_count: np.ndarray) -> Counts:
    """``log C(n, y) = R(n) − R(y) − R(n − y) − y·log(y/n) − (n − y)·log(1 − y/n)``, R being Stirling's rest."""
    f = total_count - y
    n = np.where(total_count > 0, total_count, 1.0)
    at_best = host_rest(total_count) - host_rest(y) - host_rest(f)
    return y, f, at_best - scipy.special.xlogy(y, y / n) - scipy.special.xlogy(f, f / n)


def geometric(y: np.ndarray) -> Counts:
    """One success after y failures."""
    return np.ones_like(y), y, np.zeros_like(y)


def negative_binomial(y: np.ndarray, total_count: np.ndarray) -> Counts:
    """Those of y of y + r, times r/(y + r)."""
    s, f, constant = binomial(y, y + total_count)
    return s, f, constant - np.log1p(y / total_count)


@dataclass(frozen=True)
class Dispersed(Loss):
    """A negative binomial with one unknown concentration r, of the logarithm of its rate, ``−η + log r``.

    ``Γ(y + r)/Γ(r) = Π_{j < y} (r + j)``, so that what the counts add up to needs no gamma function: the totals are how
    many of them exceed j. As many as there is room for (`above`).
    """

    above: int
    name = "dispersed"
    symbols = ("log β", "r")
    n_kept = 2
    notation = "Σr·log β − Σ(y + r)·log(1 + β) + Σ_j n(y > j)·log(r + j)"

    def totals(self, size: int) -> tuple[Shape, ...]:
        """How many counts exceed j, and the constant."""
        return (self.above,), ()

    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
        y = rows.y.astype(np.int64)
        if y.max(initial=0) > self.above:
            raise LayoutChangedError("there are larger counts")
        counts = np.bincount(y, rows.weight, self.above + 1)
        exceeding = counts[::-1].cumsum()[::-1][1:]
        return [rows.sum(rows.y), rows.sum(1.0)], [exceeding, -rows.total(scipy.special.gammaln(rows.y + 1))]

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        log_rate, r = parameters[0], jnp.squeeze(parameters[1])
        exceeding, constant = totals
        rising = jnp.vdot(exceeding, jnp.log(r + jnp.arange(self.above)))
        return two_sided_in(r, -_in_rows(log_rate, kept), kept[0], kept[1]) + rising + constant


@dataclass(frozen=True)
class Exponential(Loss):
    """``Σ a·η − b·exp η``, of Poisson counts (a = y, b = 1) or exponential times (a = 1, b = y).

    An offset is folded into b, so that exposures don't keep rows apart.
    """

    of_counts: bool
    name = "exponential"
    takes_offset = True
    symbols = ("log λ",)
    n_kept = 3
    n_totals = 1

    @property
    def notation(self) -> str:
        return "Σy·log λ − Σλ" if self.of_counts else "Σlog λ − Σλ·y"

    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
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

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        a, b, centre = kept
        d = parameters[0] - centre
        return jnp.sum(a * d + b * jnp.exp(d)) + totals[0]


@dataclass(frozen=True)
class Rates(Loss):
    """``Σ a·η − b·exp η`` with any numbers a and b, those of a factor; no constant of a density belongs to it."""

    name = "rates"
    takes_offset = True
    symbols = ("η",)
    n_kept = 3
    n_totals = 1
    notation = "Σa·η − Σb·exp η"

    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
        a, (b,) = rows.y, rows.known
        require_finite_counts(a, b)
        largest = np.full(rows.size, -np.inf)
        np.maximum.at(largest, rows.cell, rows.offset)
        largest = np.where(np.isfinite(largest), largest, 0.0)
        a_sum = rows.sum(a)
        b_sum = rows.sum(b * np.exp(rows.offset - largest[rows.cell]))
        both = (a_sum > 0) & (b_sum > 0)
        centre = np.where(both, np.log(np.where(both, a_sum, 1.0)) - np.log(np.where(both, b_sum, 1.0)), 0.0) - largest
        constant = a * (rows.offset + centre[rows.cell] - 1.0)
        return [a_sum, np.where(both, a_sum, b_sum), centre], [rows.total(constant)]

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        a, b, centre = kept
        d = _in_rows(parameters[0], kept) - centre
        rates = jnp.exp(jnp.where(b != 0, d, 0.0))  # what counts nothing may have any rate
        return jnp.sum(a * (d + 1) - b * rates) + totals[0]


def require_finite_counts(*counts: np.ndarray) -> None:
    """Raises LayoutChangedError where a factor's rows count what is no number: then they are evaluated as written."""
    if not all(np.isfinite(x).all() for x in counts):
        raise LayoutChangedError("a factor's rows count what is no number")


def as_given(s: np.ndarray, f: np.ndarray) -> Counts:
    """The counts of a factor, whatever they are."""
    require_finite_counts(s, f)
    return s, f, np.zeros_like(s)


@dataclass(frozen=True)
class GammaRate(Loss):
    """Gamma rows of one concentration α: ``Σ α·(η + log y) − y·exp η − log y − log Γ(α)``, η = log rate."""

    name = "gamma_rate"
    takes_offset = True
    symbols = ("log β", "α")
    n_kept = 2
    n_totals = 3
    notation = "α·Σlog β − Σβ·y + (α − 1)·Σlog y − n·log Γ(α)"

    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
        n, y = rows.sum(1.0), rows.y * np.exp(rows.offset)
        mean = np.where(n > 0, rows.sum(y), 1.0) / np.where(n > 0, n, 1.0)
        excess = (
            host_divergence(y, mean[rows.cell]) / mean[rows.cell]
        )  # log ȳ − mean of log y, but positive in each row
        return [n, _filled(n > 0, -np.log(mean))], [rows.total(1.0), rows.total(excess), rows.total(np.log(rows.y))]

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        log_rate, alpha = parameters[0], jnp.squeeze(parameters[1])
        n, centre = kept
        count, excess, logs = totals
        d = log_rate - centre - jnp.log(alpha)
        rows = alpha * jnp.sum(n * (d + 1 - jnp.exp(d)))
        return rows + count * log_gamma_rest(alpha) - alpha * excess - logs


@dataclass(frozen=True)
class Squares(Loss):
    """Normal rows of one scale: ``−½ (Σ_c n_c (ȳ_c − μ_c)² + RSS)/σ² − n·log σ``; LogNormal ones in log y."""

    of_log: bool
    name = "squares"
    symbols = ("μ", "σ")
    n_kept = 2
    n_totals = 3
    notation = "−½ (Σ_c n_c (ȳ_c − μ_c)² + RSS)/σ² − n·log σ"

    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
        y = np.log(rows.y) if self.of_log else rows.y
        n = rows.sum(1.0)
        mean = rows.sum(y) / np.where(n > 0, n, 1.0)
        mean += rows.sum(y - mean[rows.cell]) / np.where(n > 0, n, 1.0)
        spread = rows.total((y - mean[rows.cell]) ** 2)
        constant = -rows.total(0.5 * np.log(2 * np.pi) + (y if self.of_log else 0.0))
        return [n, mean], [rows.total(1.0), np.sqrt(spread), constant]

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        mean, scale = parameters[0], jnp.squeeze(parameters[1])
        n, centre = kept
        count, root, constant = totals
        squares = jnp.vdot(n, jnp.square((centre - mean) / scale)) + jnp.square(root / scale)
        return -0.5 * squares - count * jnp.log(scale) + constant


@dataclass(frozen=True)
class Ordered(Loss):
    """Ordered logistic rows, with cutpoints c that all share: ``log(σ(c_y − η) − σ(c_{y−1} − η))``.

    The difference is ``σ(c_y − η)·σ(η − c_{y−1})·(1 − exp(c_{y−1} − c_y))``, whose last factor no row is in.
    """

    cutpoints: int
    name = "ordered"
    by_value = True
    symbols = ("η", "c")
    n_kept = 2
    notation = "Σlog σ(c_y − η) + Σlog σ(η − c_y₋₁) + Σ_k n_k·log(1 − exp(c_k₋₁ − c_k))"

    def totals(self, size: int) -> tuple[Shape, ...]:
        """Which cutpoint is above and which below each row, and how often each gap between two is meant."""
        return (self.cutpoints, size), (self.cutpoints, size), (self.cutpoints - 1,)

    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
        y, n = rows.y[rows.first].astype(np.int64), rows.sum(1.0)
        above, below = np.zeros((2, self.cutpoints, rows.size))
        here = np.arange(len(y))
        upper, lower = y < self.cutpoints, y > 0
        above[y[upper], here[upper]] = 1.0
        below[y[lower] - 1, here[lower]] = 1.0
        between = np.bincount(rows.y.astype(np.int64), rows.weight, self.cutpoints + 1)[1 : self.cutpoints]
        return [n * above.sum(0), n * below.sum(0)], [above, below, between]

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        eta, cutpoints = _in_rows(parameters[0], kept), parameters[1]
        above, below, between = totals
        upper, lower = (jnp.dot(cutpoints, one, precision=jax.lax.Precision.HIGHEST) for one in (above, below))
        sides = [upper - eta, eta - lower]
        rows = [two_sided(side, n, jnp.zeros_like(n)) for side, n in zip(sides, kept, strict=True)]
        gaps = jnp.where(between > 0, jnp.diff(cutpoints), 1.0)
        return rows[0] + rows[1] + jnp.vdot(between, jnp.log(-jnp.expm1(-gaps)))


@dataclass(frozen=True)
class AsWritten(Loss):
    """NumPyro's own density of rows, each distinct one once; `fields` are the parameters' names."""

    cls: type
    fields: tuple[str, ...]
    counted: bool
    name = "as_written"
    by_value = True

    @property
    def n_kept(self) -> int:
        return 1 + self.counted

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.fields

    @property
    def notation(self) -> str:
        return f"Σ_i {'n_i·' if self.counted else ''}log {self.cls.__name__}(y_i)"

    def kept(self, rows: Rows) -> tuple[Arrays, Arrays]:
        y = np.full(rows.size, rows.y[rows.first[0]])  # where there is room left
        y[: len(rows.first)] = rows.y[rows.first]
        return [y, rows.sum(1.0)] if self.counted else [y], []

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        given = dict(zip(self.fields, parameters, strict=True))
        rows = self.cls(**given, validate_args=False).log_prob(kept[0])
        return jnp.vdot(kept[1], rows) if self.counted else jnp.sum(rows)


__all__ = [
    "AsWritten",
    "Dispersed",
    "Exponential",
    "GammaRate",
    "Loss",
    "Margins",
    "Ordered",
    "Rates",
    "Rows",
    "Squares",
    "TwoSided",
    "as_given",
    "bernoulli",
    "binomial",
    "geometric",
    "negative_binomial",
    "one_sided",
    "two_sided",
]
