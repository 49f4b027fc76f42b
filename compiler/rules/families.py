"""Exponential families: many rows with the same parameters as a few numbers per cell.

    Σ_i w_i·log p(y_i | λ)   ⇒   −n·D(λ, ȳ) + constant          (here Poisson, over the rows of one cell)

The left side costs a pass over the rows at every evaluation, the right side a handful of operations per cell. Written
with plain sums it would also be less accurate: ``Σy·log λ − n·λ − Σlog y!`` is a small difference of huge numbers where
counts are large. So each family is centred on its data wherever its terms have opposite signs: `divergence` measures
how far the parameters are from the best fit, and the density at the best fit is a constant that the host computes in
float64. Where all terms have one sign (Bernoulli, categorical, geometric) plain sums are accurate as they are.

The split is the Pythagorean identity of exponential families, ``Σ D(λ, y_i) = n·D(λ, ȳ) + Σ D(ȳ, y_i)`` (Banerjee et
al. 2005, Clustering with Bregman divergences, §3.1). The statistics are in `kernels.exponential_families`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln, xlog1py, xlogy
from numpyro.distributions.util import clamp_probs

from plait.compiler.kernels.divergence import divergence, stirling_rest


@dataclass(frozen=True)
class Family:
    """A distribution whose log likelihood needs a few numbers per cell.

    ``log_density(*parameters, *statistics)`` is traceable: parameters of ``(n_cells, *event)``, or what broadcasts to
    it, to ``(n_cells,)`` nats, the weighted sum of each cell's rows with all constants. A cell without weight is 0 and
    has no derivative, whatever its parameters are. Statistics are data: no derivative is taken in them.
    """

    parameters: tuple[str, ...]
    symbols: tuple[str, ...]  # of the parameters in `notation`
    known: tuple[str, ...]
    log_density: Callable[..., Array]
    notation: str


# -- what is centred on the data -----------------------------------------------------------------------------


@jax.custom_jvp
def _from(a: Array, b: Array) -> Array:
    """The divergence of `a` from `b`."""
    return divergence(jnp, a, b, jnp.log(a))


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
    return divergence(jnp, jnp.exp(log_a), b, log_a)


_from_log.defjvps(lambda tangent, _, log_a, b: tangent * (jnp.exp(log_a) - b), None)


def _filled(n: Array, parameter: Array, value: float) -> Array:
    """A parameter with a harmless value in empty cells, which hence add nothing to any derivative."""
    return jnp.where(n > 0, parameter, value)


# -- counts: s of n successes, or n split among K categories -------------------------------------------------
#
# Bernoulli, geometric and categorical rows have no binomial coefficient: all their terms are negative, and
# Σ_k s_k·log p_k is accurate as it stands. For the others, with p̂ = s/m, m = Σs, it is −m·Σ_k D(p_k, p̂_k) + constant.


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


def _poisson_rate(rate: Array, n: Array, mean: Array, constant: Array) -> Array:
    return constant - n * _from(_filled(n, rate, 1.0), mean)


def _exponential_rate(rate: Array, n: Array, mean: Array) -> Array:
    """``log λ − λ·y``: its two terms are of the order of the sum unless the data themselves are one point."""
    rate = _filled(n, rate, 1.0)
    return n * (jnp.log(rate) - rate * mean)


def _half_normal_scale(scale: Array, n: Array, rms: Array) -> Array:
    """``½·log(2/π) − log σ − ½·(y/σ)²``."""
    scale = _filled(n, scale, 1.0)
    return n * (0.5 * math.log(2 / math.pi) - jnp.log(scale) - 0.5 * (rms / scale) ** 2)


def _pareto_tail(scale: Array, alpha: Array, n: Array, least: Array, above: Array, log_mean: Array) -> Array:
    """``log α − α·log(y/s) − log y``, where log(y/s) = log(y/min y) + log(min y/s), both positive."""
    scale, alpha = _filled(n, scale, 1.0), _filled(n, alpha, 1.0)
    return n * (jnp.log(alpha) - alpha * (above + jnp.log1p((least - scale) / scale)) - log_mean)


# -- concentrations ------------------------------------------------------------------------------------------


def log_gamma_rest(concentration: Array) -> Array:
    """``x·log x − x − log Γ(x)``, of the order of log x."""
    return jnp.log(concentration) - stirling_rest(jnp, gammaln, concentration)


def _gamma_shape(concentration: Array, rate: Array, n: Array, mean: Array, excess: Array, rest: Array) -> Array:
    """``α·log β + (α − 1)·log y − β·y − log Γ(α)``, over the rows of a cell.

    It is ``−D(β·ȳ, α) + (α·log α − α − log Γ(α)) − α·(log ȳ − mean of log y) − mean of log y``, n times.
    """
    alpha, rate = jnp.broadcast_arrays(_filled(n, concentration, 1.0), _filled(n, rate, 1.0))
    return n * (log_gamma_rest(alpha) - _from(rate * mean, alpha) - alpha * excess + rest)


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


def _family(parameters: str, known: str, log_density: Callable[..., Array], notation: str) -> Family:
    names, symbols = zip(*(p.split("=") for p in parameters.split()), strict=True)
    return Family(names, symbols, tuple(known.split()), log_density, notation)


_GAMMA_POISSON = _family(
    "rate=β",
    "concentration",
    _negative_binomial_rate,
    "Σα·log β − Σ(y + α)·log(1 + β)",
)

FAMILIES: dict[type, Family] = {
    dist.BernoulliProbs: _family("probs=p", "", _clamped(_two_probs), "Σy·log p + Σ(1 − y)·log(1 − p)"),
    dist.BernoulliLogits: _family("logits=η", "", _two_logits, "Σy·η − n·log(1 + exp η)"),
    dist.BinomialProbs: _family("probs=p", "total_count", _clamped(_binomial_probs), "Σy·log p + Σ(n − y)·log(1 − p)"),
    dist.BinomialLogits: _family("logits=η", "total_count", _binomial_logits, "Σy·η − Σn·log(1 + exp η)"),
    dist.GeometricProbs: _family("probs=p", "", _two_probs, "n·log p + Σy·log(1 − p)"),
    dist.GeometricLogits: _family("logits=η", "", _two_logits, "n·η − Σ(y + 1)·log(1 + exp η)"),
    dist.NegativeBinomialProbs: _family("probs=p", "total_count", _binomial_probs, "Σy·log p + Σr·log(1 − p)"),
    dist.NegativeBinomialLogits: _family("logits=η", "total_count", _binomial_logits, "Σy·η − Σ(y + r)·log(1 + exp η)"),
    dist.NegativeBinomial2: _GAMMA_POISSON,
    dist.GammaPoisson: _GAMMA_POISSON,
    dist.CategoricalProbs: _family("probs=p", "", _category_probs, "Σ_k n_k·log p_k"),
    dist.CategoricalLogits: _family("logits=η", "", _category_logits, "Σ_k n_k·η_k − n·log Σexp η_k"),
    dist.MultinomialProbs: _family("probs=p", "total_count", _multinomial_probs, "Σ_k Σy_k·log p_k"),
    dist.MultinomialLogits: _family("logits=η", "total_count", _multinomial_logits, "Σ_k Σy_k·η_k − Σn·log Σexp η_k"),
    dist.Poisson: _family("rate=λ", "", _poisson_rate, "Σy·log λ − n·λ"),
    dist.Exponential: _family("rate=λ", "", _exponential_rate, "n·log λ − λ·Σy"),
    dist.HalfNormal: _family("scale=σ", "", _half_normal_scale, "−n·log σ − Σy²/(2σ²)"),
    dist.Pareto: _family("scale=s alpha=α", "", _pareto_tail, "n·log α + n·α·log s − (α + 1)·Σlog y"),
    dist.Gamma: _family("concentration=α rate=β", "", _gamma_shape, "n·(α·log β − log Γ(α)) + (α − 1)·Σlog y − β·Σy"),
    dist.InverseGamma: _family(
        "concentration=α rate=β", "", _gamma_shape, "n·(α·log β − log Γ(α)) − (α + 1)·Σlog y − β·Σ1/y"
    ),
    dist.Beta: _family(
        "concentration1=a concentration0=b",
        "",
        _beta_concentrations,
        "(a − 1)·Σlog y + (b − 1)·Σlog(1 − y) − n·log B(a, b)",
    ),
    dist.Dirichlet: _family("concentration=α", "", _dirichlet_concentration, "Σ_k (α_k − 1)·Σlog y_k − n·log B(α)"),
}

__all__ = ["FAMILIES", "Family", "log_gamma_rest"]
