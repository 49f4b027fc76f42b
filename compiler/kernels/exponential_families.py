"""The sufficient statistics of exponential families, by cells; `rules.families` has the densities that they are for.

Sums of terms of one sign are plain sums. Others are centred on the data: what is kept is the best fit and, as a
constant in float64, the log density there (Banerjee et al. 2005, Clustering with Bregman divergences, §3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.special

from plait.compiler.kernels.divergence import host_divergence, host_rest

Statistics = tuple[np.ndarray, ...]


def statistics(
    family: str, y: np.ndarray, weights: np.ndarray, cell: np.ndarray, n_cells: int, known: tuple[np.ndarray, ...]
) -> Statistics:
    """What the log density of a family needs of its rows.

    Args:
        family: the name of NumPyro's class, one of `FAMILIES`.
        y: the values, of shape (N, *event).
        weights: of shape (N,); a row of weight 0 may hold anything.
        cell: of each row, of shape (N,).
        n_cells: a cell may have no rows.
        known: the known parameters, with the leading axis N.

    Returns:
        Arrays of float64 with the leading axis `n_cells`.
    """
    kept = np.flatnonzero(np.asarray(weights) > 0)
    order = kept[np.argsort(np.asarray(cell)[kept], kind="stable")]
    rows = _Rows(np.asarray(weights, float)[order], np.asarray(cell)[order], n_cells)
    return FAMILIES[family](rows, *(np.asarray(x, float)[order] for x in (y, *known)))


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

    ``log n! − Σlog y_k! + Σy_k·log p̂_k = R(n) − ΣR(y_k) − ΣD(n·p̂_k, y_k)``, R being `stirling_rest`.
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


def _poisson(rows: _Rows, y: np.ndarray) -> Statistics:
    """``y·log λ − λ − log y! = −D(λ, y) − R(y)``, at λ = ȳ."""
    mean = rows.mean(y)
    return rows.n, mean, rows.n * rows.mean(-host_divergence(mean[rows.cell], y) - host_rest(y))


def _exponential(rows: _Rows, y: np.ndarray) -> Statistics:
    return rows.n, rows.mean(y)


def _half_normal(rows: _Rows, y: np.ndarray) -> Statistics:
    """The root of the mean square, by way of the mean, as squares may overflow."""
    mean = _positive(rows.mean(y))
    return rows.n, mean * np.sqrt(rows.mean((y / mean[rows.cell]) ** 2))


def _pareto(rows: _Rows, y: np.ndarray) -> Statistics:
    least = rows.least(y)
    return rows.n, least, rows.mean(np.log(y / least[rows.cell])), rows.mean(np.log(y))


def _gamma(rows: _Rows, y: np.ndarray, jacobian: float = -1.0) -> Statistics:
    """The mean, by how much its log exceeds the mean log, and the part that no parameter is in."""
    mean = _positive(rows.mean(y))
    center = mean[rows.cell]
    return rows.n, mean, rows.mean(host_divergence(y, center) / center), jacobian * rows.mean(np.log(y))


def _inverse_gamma(rows: _Rows, y: np.ndarray) -> Statistics:
    """Those of 1/y, whose own density is 1/y² times the one asked for."""
    return _gamma(rows, 1 / y, 1.0)


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


FAMILIES: dict[str, Callable[..., Statistics]] = {
    "BernoulliProbs": _outcomes,
    "BernoulliLogits": _outcomes,
    "BinomialProbs": _binomial,
    "BinomialLogits": _binomial,
    "GeometricProbs": _waits,
    "GeometricLogits": _waits,
    "NegativeBinomialProbs": _negative_binomial,
    "NegativeBinomialLogits": _negative_binomial,
    "NegativeBinomial2": _negative_binomial,
    "GammaPoisson": _negative_binomial,
    "CategoricalProbs": _categories,
    "CategoricalLogits": _categories,
    "MultinomialProbs": _multinomial,
    "MultinomialLogits": _multinomial,
    "Poisson": _poisson,
    "Exponential": _exponential,
    "HalfNormal": _half_normal,
    "Pareto": _pareto,
    "Gamma": _gamma,
    "InverseGamma": _inverse_gamma,
    "Beta": _beta,
    "Dirichlet": _dirichlet,
}
FamilyName = Annotated[str, frozenset(FAMILIES)]

__all__ = ["FAMILIES", "FamilyName", "statistics"]
