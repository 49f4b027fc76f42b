"""Exponential families: many rows with the same parameters as a few numbers per cell.

    Σ_i w_i·log p(y_i | λ)   ⇒   −n·D(λ, ȳ) + constant          (here Poisson, over the rows of one cell)

The left side costs a pass over the rows at every evaluation, the right side a handful of operations per cell. Written
with plain sums it would also be less accurate: ``Σy·log λ − n·λ − Σlog y!`` is a small difference of huge numbers where
counts are large. So each family is centred on its data wherever its terms have opposite signs: `_divergence` measures
how far the parameters are from the best fit, and the density at the best fit is a constant that the host computes in
float64. Where all terms have one sign (Bernoulli, categorical, geometric) plain sums are accurate as they are.

The split is the Pythagorean identity of exponential families, ``Σ D(λ, y_i) = n·D(λ, ȳ) + Σ D(ȳ, y_i)`` (Banerjee et
al. 2005, Clustering with Bregman divergences, §3.1). `_divergence` and `_stirling_rest` are the two functions with
which C. Loader (2000, Fast and accurate computation of binomial probabilities) evaluates the densities of R.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.special
from jax import Array
from jax.scipy.special import gammaln, xlog1py, xlogy
from numpyro.distributions.util import clamp_probs

Statistics = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Family:
    """A distribution whose log likelihood needs a few numbers per cell.

    ``statistics(y, weights, cell, n_cells, known)`` runs on the host: `y` is ``(N, *event)``, `weights` and `cell` are
    ``(N,)``, the arrays of `known` have the leading axis N. A row of weight 0 may hold anything. The results are
    float64 with the leading axis `n_cells`.

    ``log_density(*parameters, *statistics)`` is traceable: parameters of ``(n_cells, *event)``, or what broadcasts to
    it, to ``(n_cells,)`` nats, the weighted sum of each cell's rows with all constants. A cell without weight is 0 and
    has no derivative, whatever its parameters are. Statistics are data: no derivative is taken in them.
    """

    parameters: tuple[str, ...]
    symbols: tuple[str, ...]  # of the parameters in `notation`
    known: tuple[str, ...]
    statistics: Callable[[np.ndarray, np.ndarray, np.ndarray, int, tuple[np.ndarray, ...]], Statistics]
    log_density: Callable[..., Array]
    notation: str


# -- weighted sums over the rows of each cell, on the host ---------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """The rows that count, in the order of their cells: the weight and the cell of each."""

    weights: np.ndarray
    cell: np.ndarray
    n_cells: int

    @property
    def n(self) -> np.ndarray:
        """The weight of each cell."""
        return self.sum(np.ones_like(self.weights))

    def sum(self, x: np.ndarray) -> np.ndarray:
        return self.reduced(np.add, x.T * self.weights, 0.0).T

    def mean(self, x: np.ndarray) -> np.ndarray:
        """The mean of each cell, 0 where it is empty."""
        return _ratio(self.sum(x), self.n)

    def least(self, x: np.ndarray) -> np.ndarray:
        """The least value of each cell, 1 where it is empty."""
        return self.reduced(np.minimum, x, 1.0)

    def reduced(self, ufunc: np.ufunc, x: np.ndarray, empty: float) -> np.ndarray:
        """Over the rows, which are the last axis; by `reduceat`, as it adds in pairs: a running sum loses digits."""
        present, starts = np.unique(self.cell, return_index=True)
        result = np.full((*x.shape[:-1], self.n_cells), empty)
        if len(present):
            result[..., present] = ufunc.reduceat(np.ascontiguousarray(x), starts, axis=-1)
        return result


def _positive(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 1.0)


def _ratio(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    return (x.T / _positive(n)).T


def _over_rows(function: Callable[..., Statistics]) -> Callable[..., Statistics]:
    """``function(rows, y, *known)`` as the statistics of a family: in float64, without the rows of weight 0."""

    def statistics(
        y: np.ndarray, weights: np.ndarray, cell: np.ndarray, n_cells: int, known: tuple[np.ndarray, ...]
    ) -> Statistics:
        kept = np.flatnonzero(np.asarray(weights) > 0)
        order = kept[np.argsort(np.asarray(cell)[kept], kind="stable")]
        rows = _Rows(np.asarray(weights, float)[order], np.asarray(cell)[order], n_cells)
        return function(rows, *(np.asarray(x, float)[order] for x in (y, *known)))

    return statistics


# -- what is centred on the data -----------------------------------------------------------------------------

# 1/(2k + 1) of the series of artanh; with |v| < 0.1 the first one left out is below 1e-17 of the sum.
_ARTANH = tuple(1 / k for k in range(3, 21, 2))
# The series of log Γ (Abramowitz and Stegun 6.1.41): the first one left out is below 1e-16 at 10, and 1e-10 at 4.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def _divergence(xp: Any, a: Any, b: Any, log_a: Any) -> Any:
    """``a − b − b·log(a/b)``, to relative accuracy also where a ≈ b; it is `a` where b = 0."""
    near = xp.abs(b - a) < 0.1 * (a + b)
    v = xp.where(near, b - a, 0.0) / xp.where(near, a + b, 1.0)
    series = (b - a) * v + 2 * b * v**3 * _polynomial(_ARTANH, v * v)
    # Of the quotient while it is of order one; it may overflow, and `log_a` may be known where `a` underflows.
    mid = (b < 16 * a) & (a < 16 * b)
    quotient = xp.where(mid, a, 1.0) / xp.where(mid, b, 1.0)
    log_ratio = xp.where(mid, xp.log(quotient), log_a - xp.log(xp.where(b > 0, b, 1.0)))
    return xp.where(near, series, a - b - b * xp.where(b > 0, log_ratio, 0.0))


def _stirling_rest(xp: Any, log_gamma: Callable[[Any], Any], x: Any) -> Any:
    """``log Γ(x + 1) − (x·log x − x)`` for x ≥ 0: of the order of log x, and 0 at 0."""
    below = x < (10.0 if xp.result_type(x) == np.float64 else 4.0)  # from there on the series is exact to the dtype
    large, small = xp.where(below, 10.0, x), xp.where(below, x, 1.0)
    series = 0.5 * xp.log(2 * math.pi * large) + _polynomial(_STIRLING, 1 / (large * large)) / large
    return xp.where(below, log_gamma(small + 1) - small * xp.log(xp.where(small > 0, small, 1.0)) + small, series)


def _polynomial(coefficients: tuple[float, ...], x: Any) -> Any:
    result = 0.0 * x
    for coefficient in reversed(coefficients):
        result = result * x + coefficient
    return result


def host_divergence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a − b − b·log(a/b)``, in float64."""
    return np.asarray(_divergence(np, a, b, np.log(np.where(a > 0, a, 1.0))))


def host_rest(x: np.ndarray) -> np.ndarray:
    """``log x! − (x·log x − x)``, in float64."""
    return np.asarray(_stirling_rest(np, scipy.special.gammaln, x))


@jax.custom_jvp
def _from(a: Array, b: Array) -> Array:
    """The divergence of `a` from `b`."""
    return _divergence(jnp, a, b, jnp.log(a))


def _log_quotient(b: Array, a: Array) -> Array:
    """``log(b/a)``, and 0 where it is infinite."""
    mid, positive = (b < 16 * a) & (a < 16 * b), (a > 0) & (b > 0)
    close = jnp.log1p(jnp.where(mid, b - a, 0.0) / jnp.where(mid, a, 1.0))
    return jnp.where(mid, close, jnp.log(jnp.where(positive, b, 1.0)) - jnp.log(jnp.where(positive, a, 1.0)))


_from.defjvps(
    lambda tangent, _, a, b: tangent * jnp.where(b > 0, (a - b) / jnp.where(b > 0, a, 1.0), 1.0),
    lambda tangent, _, a, b: tangent * _log_quotient(b, a),
)


@jax.custom_jvp
def _from_log(log_a: Array, b: Array) -> Array:
    """The divergence of `a` from `b`, where `a` may be too small to be held otherwise."""
    return _divergence(jnp, jnp.exp(log_a), b, log_a)


_from_log.defjvps(lambda tangent, _, log_a, b: tangent * (jnp.exp(log_a) - b), None)


def _filled(n: Array, parameter: Array, value: float) -> Array:
    """A parameter with a harmless value in empty cells, which hence add nothing to any derivative."""
    return jnp.where(n > 0, parameter, value)


# -- counts: s of n successes, or n split among K categories -------------------------------------------------
#
# Bernoulli, geometric and categorical rows have no binomial coefficient: all their terms are negative, and
# Σ_k s_k·log p_k is accurate as it stands. For the others, with p̂ = s/m, m = Σs, it is −m·Σ_k D(p_k, p̂_k) + constant.


def _outcomes(rows: _Rows, y: np.ndarray) -> Statistics:
    """Bernoulli: how many ones, how many zeros."""
    return rows.sum(y), rows.sum(1 - y)


def _waits(rows: _Rows, y: np.ndarray) -> Statistics:
    """Geometric: one success each, after y failures."""
    return rows.n, rows.sum(y)


def _categories(rows: _Rows, y: np.ndarray) -> Statistics:
    """Categorical: how often each, up to the largest that was seen, as the data do not say how many there are."""
    k = int(y.max(initial=-1)) + 1
    flat = np.bincount(rows.cell * k + y.astype(int), weights=rows.weights, minlength=rows.n_cells * k)
    return (flat.reshape(rows.n_cells, k).astype(float),)


def _splits(rows: _Rows, counts: np.ndarray, extra: np.ndarray | float = 0.0) -> Statistics:
    """Counts ``(N, K)``: their total, its share in each category, and the log density at these shares.

    ``log n! − Σlog y_k! + Σy_k·log p̂_k = R(n) − ΣR(y_k) − ΣD(n·p̂_k, y_k)``, R being `_stirling_rest`.
    """
    n = counts.sum(-1)
    shares = _ratio(rows.sum(counts), rows.sum(n))
    fitted = n[:, None] * shares[rows.cell]
    at_best = host_rest(n) - (host_rest(counts) + host_divergence(fitted, counts)).sum(-1) + extra
    return rows.sum(n), shares, rows.n * rows.mean(at_best)


def _binomial(rows: _Rows, y: np.ndarray, total_count: np.ndarray) -> Statistics:
    return _splits(rows, np.stack([y, total_count - y], axis=-1))


def _multinomial(rows: _Rows, y: np.ndarray, total_count: np.ndarray) -> Statistics:
    return _splits(rows, y)  # the data check has made sure that they sum to total_count


def _negative_binomial(rows: _Rows, y: np.ndarray, concentration: np.ndarray) -> Statistics:
    """As y of y + r: Γ(y + r)/(Γ(r)·y!) is the binomial coefficient of y + r and y, times r/(y + r)."""
    return _splits(rows, np.stack([y, concentration], axis=-1), -np.log1p(y / concentration))


def _two_probs(p: Array, s: Array, f: Array) -> Array:
    """Σ s·log p + f·log(1 − p); p = 1 is allowed where nothing failed."""
    p = _filled(s + f, p, 0.5)
    return xlogy(s, p) + xlog1py(f, -jnp.where(f > 0, p, 0.0))


def _two_logits(logits: Array, s: Array, f: Array) -> Array:
    log_p, log_q = _log_probs(_filled(s + f, logits, 0.0))
    return s * jnp.where(s > 0, log_p, 0.0) + f * jnp.where(f > 0, log_q, 0.0)


def _log_probs(logits: Array) -> tuple[Array, Array]:
    return -jax.nn.softplus(-logits), -jax.nn.softplus(logits)


def _clamped(log_density: Callable[..., Array]) -> Callable[..., Array]:
    """NumPyro keeps the probabilities of some distributions off 0 and 1: log 0 is −708 there (−87 in float32)."""
    return lambda p, *statistics: log_density(clamp_probs(p), *statistics)


def _category_probs(p: Array, counts: Array) -> Array:
    p = jnp.where(counts > 0, p[..., : counts.shape[-1]], 1.0)
    log_p = jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), -jnp.inf)
    return (counts * jnp.where(counts > 0, log_p, 0.0)).sum(-1)


def _category_logits(logits: Array, counts: Array) -> Array:
    logits = _filled(counts.sum(-1, keepdims=True), logits, 0.0)
    log_p = jax.nn.log_softmax(logits)[..., : counts.shape[-1]]
    return (counts * jnp.where(counts > 0, log_p, 0.0)).sum(-1)


def _binomial_probs(p: Array, m: Array, shares: Array, constant: Array) -> Array:
    p = _filled(m, p, 0.5)
    return _split_in_two(p, 1 - p, m, shares, constant)


def _split_in_two(p: Array, q: Array, m: Array, shares: Array, constant: Array) -> Array:
    return constant - m * _from(jnp.stack([p, q], -1), shares).sum(-1)


def _binomial_logits(logits: Array, m: Array, shares: Array, constant: Array) -> Array:
    log_p = jnp.stack(_log_probs(_filled(m, logits, 0.0)), -1)
    return constant - m * _from_log(log_p, shares).sum(-1)


def _negative_binomial_rate(rate: Array, m: Array, *statistics: Array) -> Array:
    """The probability is ``1/(1 + β)``, its complement ``β/(1 + β)``."""
    rate = _filled(m, rate, 1.0)
    return _split_in_two(1 / (1 + rate), 1 / (1 + 1 / rate), m, *statistics)


def _multinomial_probs(p: Array, m: Array, shares: Array, constant: Array) -> Array:
    """NumPyro does not divide by Σp, so the terms of first order stay: they are 0 only if Σp is 1."""
    p = _filled(m[:, None], p, 1.0)
    return constant - m * jnp.where(m > 0, (_from(p, shares) - (p - shares)).sum(-1), 0.0)


def _multinomial_logits(logits: Array, m: Array, shares: Array, constant: Array) -> Array:
    log_p = jax.nn.log_softmax(_filled(m[:, None], logits, 0.0))
    return constant - m * _from_log(log_p, shares).sum(-1)


# -- rates and scales ----------------------------------------------------------------------------------------


def _poisson(rows: _Rows, y: np.ndarray) -> Statistics:
    """``y·log λ − λ − log y! = −D(λ, y) − R(y)``, at λ = ȳ."""
    mean = rows.mean(y)
    return rows.n, mean, rows.n * rows.mean(-host_divergence(mean[rows.cell], y) - host_rest(y))


def _poisson_rate(rate: Array, n: Array, mean: Array, constant: Array) -> Array:
    return constant - n * _from(_filled(n, rate, 1.0), mean)


def _exponential(rows: _Rows, y: np.ndarray) -> Statistics:
    return rows.n, rows.mean(y)


def _exponential_rate(rate: Array, n: Array, mean: Array) -> Array:
    """``log λ − λ·y``: its two terms are of the order of the sum unless the data themselves are one point."""
    rate = _filled(n, rate, 1.0)
    return n * (jnp.log(rate) - rate * mean)


def _half_normal(rows: _Rows, y: np.ndarray) -> Statistics:
    """The root of the mean square, by way of the mean, as squares may overflow."""
    mean = _positive(rows.mean(y))
    return rows.n, mean * np.sqrt(rows.mean((y / mean[rows.cell]) ** 2))


def _half_normal_scale(scale: Array, n: Array, rms: Array) -> Array:
    """``½·log(2/π) − log σ − ½·(y/σ)²``."""
    scale = _filled(n, scale, 1.0)
    return n * (0.5 * math.log(2 / math.pi) - jnp.log(scale) - 0.5 * (rms / scale) ** 2)


def _pareto(rows: _Rows, y: np.ndarray) -> Statistics:
    least = rows.least(y)
    return rows.n, least, rows.mean(np.log(y / least[rows.cell])), rows.mean(np.log(y))


def _pareto_tail(scale: Array, alpha: Array, n: Array, least: Array, above: Array, log_mean: Array) -> Array:
    """``log α − α·log(y/s) − log y``, where log(y/s) = log(y/min y) + log(min y/s), both positive."""
    scale, alpha = _filled(n, scale, 1.0), _filled(n, alpha, 1.0)
    return n * (jnp.log(alpha) - alpha * (above + jnp.log1p((least - scale) / scale)) - log_mean)


# -- concentrations ------------------------------------------------------------------------------------------


def log_gamma_rest(concentration: Array) -> Array:
    """``x·log x − x − log Γ(x)``, of the order of log x."""
    return jnp.log(concentration) - _stirling_rest(jnp, gammaln, concentration)


def _gamma(rows: _Rows, y: np.ndarray, jacobian: float = -1.0) -> Statistics:
    """The mean, by how much its log exceeds the mean log, and the part that no parameter is in."""
    mean = _positive(rows.mean(y))
    center = mean[rows.cell]
    return rows.n, mean, rows.mean(host_divergence(y, center) / center), jacobian * rows.mean(np.log(y))


def _inverse_gamma(rows: _Rows, y: np.ndarray) -> Statistics:
    """Those of 1/y, whose own density is 1/y² times the one asked for."""
    return _gamma(rows, 1 / y, 1.0)


def _gamma_shape(concentration: Array, rate: Array, n: Array, mean: Array, excess: Array, rest: Array) -> Array:
    """``α·log β + (α − 1)·log y − β·y − log Γ(α)``, over the rows of a cell.

    It is ``−D(β·ȳ, α) + (α·log α − α − log Γ(α)) − α·(log ȳ − mean of log y) − mean of log y``, n times.
    """
    alpha, rate = jnp.broadcast_arrays(_filled(n, concentration, 1.0), _filled(n, rate, 1.0))
    return n * (log_gamma_rest(alpha) - _from(rate * mean, alpha) - alpha * excess + rest)


def _beta(rows: _Rows, y: np.ndarray) -> Statistics:
    return _composition(rows, np.stack([np.log(y), np.log1p(-y)], axis=-1))


def _dirichlet(rows: _Rows, y: np.ndarray) -> Statistics:
    return _composition(rows, np.log(y))


def _composition(rows: _Rows, logs: np.ndarray) -> Statistics:
    """The geometric means, made to sum to one, by how much they fell short of it, and −Σlog y."""
    means = rows.mean(logs)
    total = scipy.special.logsumexp(means, axis=-1)
    shortfall = np.where(rows.n > 0, -total, 0.0)
    return rows.n, np.exp(means - total[:, None]), shortfall, -means.sum(-1)


def _dirichlet_concentration(concentration: Array, n: Array, shares: Array, shortfall: Array, rest: Array) -> Array:
    """``log Γ(A) − Σlog Γ(α_k) + Σ(α_k − 1)·log y_k``, with A = Σα_k, as −ΣD(A·ĝ_k, α_k) and terms of order log A."""
    alpha = _filled(n[:, None], concentration, 1.0)
    total = alpha.sum(-1)
    rests = log_gamma_rest(alpha).sum(-1) - log_gamma_rest(total)
    return n * (rests - _from(total[:, None] * shares, alpha).sum(-1) - total * shortfall + rest)


def _beta_concentrations(concentration1: Array, concentration0: Array, *statistics: Array) -> Array:
    both = jnp.stack(jnp.broadcast_arrays(concentration1, concentration0), axis=-1)
    return _dirichlet_concentration(both, *statistics)


# -- the table -----------------------------------------------------------------------------------------------
#
# By NumPyro's classes and the fields that they store; the densities are those of NumPyro's documentation. A negative
# binomial in its mean keeps α/mean as its rate, and so does the gamma-Poisson mixture that it is. Where r varies by
# row, the rows of a cell share p (or the rate), not the mean.


def _family(
    parameters: str, known: str, statistics: Callable[..., Statistics], log_density: Callable[..., Array], notation: str
) -> Family:
    names, symbols = zip(*(p.split("=") for p in parameters.split()), strict=True)
    return Family(names, symbols, tuple(known.split()), _over_rows(statistics), log_density, notation)


_GAMMA_POISSON = _family(
    "rate=β",
    "concentration",
    _negative_binomial,
    _negative_binomial_rate,
    "Σα·log β − Σ(y + α)·log(1 + β)",
)

FAMILIES: dict[type, Family] = {
    dist.BernoulliProbs: _family("probs=p", "", _outcomes, _clamped(_two_probs), "Σy·log p + Σ(1 − y)·log(1 − p)"),
    dist.BernoulliLogits: _family("logits=η", "", _outcomes, _two_logits, "Σy·η − n·log(1 + exp η)"),
    dist.BinomialProbs: _family(
        "probs=p", "total_count", _binomial, _clamped(_binomial_probs), "Σy·log p + Σ(n − y)·log(1 − p)"
    ),
    dist.BinomialLogits: _family("logits=η", "total_count", _binomial, _binomial_logits, "Σy·η − Σn·log(1 + exp η)"),
    dist.GeometricProbs: _family("probs=p", "", _waits, _two_probs, "n·log p + Σy·log(1 − p)"),
    dist.GeometricLogits: _family("logits=η", "", _waits, _two_logits, "n·η − Σ(y + 1)·log(1 + exp η)"),
    dist.NegativeBinomialProbs: _family(
        "probs=p", "total_count", _negative_binomial, _binomial_probs, "Σy·log p + Σr·log(1 − p)"
    ),
    dist.NegativeBinomialLogits: _family(
        "logits=η", "total_count", _negative_binomial, _binomial_logits, "Σy·η − Σ(y + r)·log(1 + exp η)"
    ),
    dist.NegativeBinomial2: _GAMMA_POISSON,
    dist.GammaPoisson: _GAMMA_POISSON,
    dist.CategoricalProbs: _family("probs=p", "", _categories, _category_probs, "Σ_k n_k·log p_k"),
    dist.CategoricalLogits: _family("logits=η", "", _categories, _category_logits, "Σ_k n_k·η_k − n·log Σexp η_k"),
    dist.MultinomialProbs: _family("probs=p", "total_count", _multinomial, _multinomial_probs, "Σ_k Σy_k·log p_k"),
    dist.MultinomialLogits: _family(
        "logits=η", "total_count", _multinomial, _multinomial_logits, "Σ_k Σy_k·η_k − Σn·log Σexp η_k"
    ),
    dist.Poisson: _family("rate=λ", "", _poisson, _poisson_rate, "Σy·log λ − n·λ"),
    dist.Exponential: _family("rate=λ", "", _exponential, _exponential_rate, "n·log λ − λ·Σy"),
    dist.HalfNormal: _family("scale=σ", "", _half_normal, _half_normal_scale, "−n·log σ − Σy²/(2σ²)"),
    dist.Pareto: _family("scale=s alpha=α", "", _pareto, _pareto_tail, "n·log α + n·α·log s − (α + 1)·Σlog y"),
    dist.Gamma: _family(
        "concentration=α rate=β", "", _gamma, _gamma_shape, "n·(α·log β − log Γ(α)) + (α − 1)·Σlog y − β·Σy"
    ),
    dist.InverseGamma: _family(
        "concentration=α rate=β", "", _inverse_gamma, _gamma_shape, "n·(α·log β − log Γ(α)) − (α + 1)·Σlog y − β·Σ1/y"
    ),
    dist.Beta: _family(
        "concentration1=a concentration0=b",
        "",
        _beta,
        _beta_concentrations,
        "(a − 1)·Σlog y + (b − 1)·Σlog(1 − y) − n·log B(a, b)",
    ),
    dist.Dirichlet: _family(
        "concentration=α", "", _dirichlet, _dirichlet_concentration, "Σ_k (α_k − 1)·Σlog y_k − n·log B(α)"
    ),
}

__all__ = ["FAMILIES", "Family", "host_divergence", "host_rest", "log_gamma_rest"]
