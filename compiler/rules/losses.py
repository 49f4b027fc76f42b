"""Losses of generalized linear models: what rows with a predictor η add up to, value and slope from one exponential.

A loss keeps what it needs of the values (`kernels.kept`: on the host in float64, by cells of equal rows) and evaluates

    two sides     Σ s·log σ(η) + f·log σ(−η)     Bernoulli, binomial, geometric, negative binomial
    exponential   Σ a·η − b·exp η                Poisson, exponential, gamma, with η the logarithm of the rate
    as written    Σ w·log p(y | parameters)      NumPyro's own density

McCullagh & Nelder (1989), Generalized Linear Models, 2.2. Sums of large terms of opposite sign are centred on the data:
the exponential ones are written in η − log(a/b), the distance from the fit of the row alone.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

from plait.compiler.kernels.kept import (
    Events,
    Exceedances,
    GammaMeans,
    Kept,
    Levels,
    Multiples,
    NormalMeans,
    Outcomes,
    Signs,
    Values,
)
from plait.compiler.rules.families import log_gamma_rest
from plait.compiler.stable.functions import inverse_mills, log_ndtr

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


class Loss(ABC):
    """What rows of a distribution add up to.

    Attributes:
        symbols: of the parameters in `notation`: those of rows, then those that all rows share.
        kept: what it needs of the values.
        notation: of the sum over rows.
    """

    if TYPE_CHECKING:  # attributes or properties

        @property
        def symbols(self) -> tuple[str, ...]: ...

        @property
        def kept(self) -> Kept: ...

        @property
        def notation(self) -> str: ...

    @abstractmethod
    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        """The sum over the rows, in nats.

        Args:
            parameters: those of rows, of shape (size,) or (); then those that all share, raveled.
            kept: what is kept of cells, of shape (size,).
            totals: of the shapes of ``kept.totals``.
        """


def _in_rows(parameter: Array, kept: Sequence[Array]) -> Array:
    return jnp.broadcast_to(parameter, kept[0].shape)


LINKS = {"logit": (one_sided, two_sided, "−Σlog(1 + exp ∓η)"), "probit": (probit_margins, probit_sides, "Σlog Φ(±η)")}


@dataclass(frozen=True)
class Margins(Loss):
    """Bernoulli rows that count once each: ``Σ log σ(±η)``, or ``Σ log Φ(±η)``."""

    link: str
    symbols = ("η",)
    kept = Signs()

    @property
    def notation(self) -> str:
        return LINKS[self.link][2]

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        return LINKS[self.link][0](_in_rows(parameters[0], kept) * kept[0])


@dataclass(frozen=True)
class TwoSided(Loss):
    """Counts of two outcomes."""

    kept: Outcomes
    notation: str
    link: str = "logit"
    symbols = ("η",)

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        return LINKS[self.link][1](_in_rows(parameters[0], kept), kept[0], kept[1]) + totals[0]


@dataclass(frozen=True)
class Dispersed(Loss):
    """A negative binomial with one unknown concentration r, of the logarithm of its rate, ``−η + log r``.

    ``Γ(y + r)/Γ(r) = Π_{j < y} (r + j)``, so that what the counts add up to needs no gamma function: the totals are how
    many of them exceed j.
    """

    kept: Exceedances
    symbols = ("log β", "r")
    notation = "Σr·log β − Σ(y + r)·log(1 + β) + Σ_j n(y > j)·log(r + j)"

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        log_rate, r = parameters[0], jnp.squeeze(parameters[1])
        exceeding, constant = totals
        rising = jnp.vdot(exceeding, jnp.log(r + jnp.arange(self.kept.above)))
        return two_sided_in(r, -_in_rows(log_rate, kept), kept[0], kept[1]) + rising + constant


@dataclass(frozen=True)
class Exponential(Loss):
    """``Σ a·η − b·exp η``, of Poisson counts (a = y, b = 1) or exponential times (a = 1, b = y).

    An offset is folded into b, so that exposures don't keep rows apart.
    """

    kept: Events
    symbols = ("log λ",)

    @property
    def notation(self) -> str:
        return "Σy·log λ − Σλ" if self.kept.of_counts else "Σlog λ − Σλ·y"

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        a, b, centre = kept
        d = parameters[0] - centre
        return jnp.sum(a * d + b * jnp.exp(d)) + totals[0]


@dataclass(frozen=True)
class Rates(Loss):
    """``Σ a·η − b·exp η`` with any numbers a and b, those of a factor; no constant of a density belongs to it."""

    symbols = ("η",)
    kept = Multiples()
    notation = "Σa·η − Σb·exp η"

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        a, b, centre = kept
        d = _in_rows(parameters[0], kept) - centre
        rates = jnp.exp(jnp.where(b != 0, d, 0.0))  # what counts nothing may have any rate
        return jnp.sum(a * (d + 1) - b * rates) + totals[0]


@dataclass(frozen=True)
class GammaRate(Loss):
    """Gamma rows of one concentration α: ``Σ α·(η + log y) − y·exp η − log y − log Γ(α)``, η = log rate."""

    symbols = ("log β", "α")
    kept = GammaMeans()
    notation = "α·Σlog β − Σβ·y + (α − 1)·Σlog y − n·log Γ(α)"

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

    kept: NormalMeans
    symbols = ("μ", "σ")
    notation = "−½ (Σ_c n_c (ȳ_c − μ_c)² + RSS)/σ² − n·log σ"

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

    kept: Levels
    symbols = ("η", "c")
    notation = "Σlog σ(c_y − η) + Σlog σ(η − c_y₋₁) + Σ_k n_k·log(1 − exp(c_k₋₁ − c_k))"

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
    kept: Values

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.fields

    @property
    def notation(self) -> str:
        return f"Σ_i {'n_i·' if self.kept.counted else ''}log {self.cls.__name__}(y_i)"

    def log_density(self, parameters: Sequence[Array], kept: Sequence[Array], totals: Sequence[Array]) -> Array:
        given = dict(zip(self.fields, parameters, strict=True))
        rows = self.cls(**given, validate_args=False).log_prob(kept[0])
        return jnp.vdot(kept[1], rows) if self.kept.counted else jnp.sum(rows)


__all__ = [
    "AsWritten",
    "Dispersed",
    "Exponential",
    "GammaRate",
    "Loss",
    "Margins",
    "Ordered",
    "Rates",
    "Squares",
    "TwoSided",
    "one_sided",
    "two_sided",
]
