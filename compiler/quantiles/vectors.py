"""From the cube to vectors and matrices, entry by entry: each has its distribution given those before it.

A distribution takes as many probabilities as its unconstrained value has numbers: K-1 for a simplex of K, n(n-1)/2 for
a correlation matrix. Probabilities and parameters broadcast over the axes in front.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import MultivariateNormal

from plait.compiler.quantiles.roots import log_gamma_quantile, logit_beta_quantile
from plait.compiler.quantiles.scalars import normal, student_t
from plait.compiler.quantiles.tails import Tails

# -- real vectors ---------------------------------------------------------------------------------------------


def of_multivariate_normal(d: Any, p: Tails) -> Any:
    """loc + L z."""
    return d.loc + _lower_times(d.scale_tril, normal(p))


def of_low_rank_normal(d: Any, p: Tails) -> Any:
    """loc + L z with the Cholesky factor of the whole covariance: as many z as entries."""
    return d.loc + _lower_times(jnp.linalg.cholesky(d.covariance_matrix), normal(p))


def of_car(d: Any, p: Tails) -> Any:
    """A multivariate normal by its precision."""
    return of_multivariate_normal(MultivariateNormal(d.mean, precision_matrix=d.precision_matrix), p)


def of_matrix_normal(d: Any, p: Tails) -> Any:
    """loc + L_row z L_column'."""
    return d.loc + d.scale_tril_row @ normal(p) @ d.scale_tril_column.mT


def of_random_walk(d: Any, p: Tails) -> Any:
    """Sums of normal steps."""
    return jnp.asarray(d.scale)[..., None] * jnp.cumsum(normal(p), axis=-1)


def of_multivariate_student_t(d: Any, p: Tails) -> Any:
    """Given z_1 … z_k of a standard one, z_{k+1} √((df + k) / (df + Σ z²)) is StudentT(df + k).

    P. Ding, On the conditional distribution of the multivariate t distribution, The American Statistician 70, 2016.
    """
    df = jnp.asarray(d.df)[..., None]
    grown = df + np.arange(p.lower.shape[-1])
    t = student_t(grown, p)
    factors = 1 + t[..., :-1] ** 2 / grown[..., :-1]  # of df + Σ z² from one entry to the next
    total = df * jnp.concatenate([jnp.ones_like(t[..., :1]), jnp.cumprod(factors, axis=-1)], axis=-1)
    return d.loc + _lower_times(d.scale_tril, t * jnp.sqrt(total / grown))


def _lower_times(matrix: Any, vector: Any) -> Any:
    """A lower triangular matrix times a vector; infinite entries of the vector do not meet the zeros above."""
    n = matrix.shape[-1]
    return jnp.sum(jnp.where(np.tri(n, dtype=bool), matrix * vector[..., None, :], 0.0), axis=-1)


# -- simplices ------------------------------------------------------------------------------------------------


def of_dirichlet(d: Any, p: Tails) -> Any:
    """Of what is left of the stick, entry k takes a part that is Beta(a_k, Σ_{j>k} a_j)."""
    a = d.concentration
    after = jnp.cumsum(a[..., :0:-1], axis=-1)[..., ::-1]
    s = logit_beta_quantile(a[..., :-1], after, p)
    left = jnp.cumsum(jax.nn.log_sigmoid(-s), axis=-1)
    none = jnp.zeros_like(left[..., :1])
    taken = jnp.concatenate([jax.nn.log_sigmoid(s), none], axis=-1)
    return jnp.exp(taken + jnp.concatenate([none, left], axis=-1))


# -- correlation and covariance matrices ----------------------------------------------------------------------


def of_lkj_cholesky(d: Any, p: Tails) -> Any:
    """The partial correlation of i and j given all before j < i is 2 Beta(c, c) - 1, c = η + (n - 2 - j)/2.

    D. Lewandowski, D. Kurowicka, H. Joe, Generating random correlation matrices based on vines and extended onion
    method, J. Multivariate Analysis 100, 2009, section 2.4. Row i of the factor is z_ij Π_{k<j} √(1 - z_ik²).
    """
    n = d.dimension
    c = jnp.asarray(d.concentration)[..., None] + (n - 2 - np.tril_indices(n, -1)[1]) / 2
    s = logit_beta_quantile(c, c, p)
    z = _lower_triangular(jnp.tanh(s / 2), n) + jnp.eye(n, dtype=s.dtype)
    log_rest = _lower_triangular(jnp.log(2.0) + (jax.nn.log_sigmoid(s) + jax.nn.log_sigmoid(-s)) / 2, n)
    before = jnp.cumsum(log_rest, axis=-1)[..., :-1]
    return z * jnp.exp(jnp.concatenate([jnp.zeros_like(before[..., :1]), before], axis=-1))


def of_wishart_cholesky(d: Any, p: Tails) -> Any:
    """M. S. Bartlett's decomposition: normal entries below a diagonal of chi variates with ν, ν-1, … degrees.

    The probabilities of the diagonal come last, as the diagonal does in the unconstrained vector.
    """
    n = d.event_shape[-1]
    df = jnp.asarray(d.concentration)[..., None] - np.arange(n)
    chi = jnp.exp((jnp.log(2.0) + log_gamma_quantile(df / 2, p.mapped(lambda u: u[..., -n:]))) / 2)
    entries = _lower_triangular(normal(p.mapped(lambda u: u[..., :-n])), n)
    return d.scale_tril @ (entries + chi[..., None] * jnp.eye(n, dtype=chi.dtype))


def _lower_triangular(entries: Any, n: int) -> Any:
    """Row by row, below a diagonal of zeros."""
    i, j = np.tril_indices(n, -1)
    return jnp.zeros((*entries.shape[:-1], n, n), entries.dtype).at[..., i, j].set(entries)


__all__ = [
    "of_car", "of_dirichlet", "of_lkj_cholesky", "of_low_rank_normal", "of_matrix_normal", "of_multivariate_normal",
    "of_multivariate_student_t", "of_random_walk", "of_wishart_cholesky",
]  # fmt: skip
