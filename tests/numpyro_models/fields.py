"""Gaussian processes, fields on a map, and matrices with priors."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.hsgp.approximation import hsgp_squared_exponential

from .case import Case


def kernel(x, z, variance, length, jitter=0.0):
    distance = (x[:, None] - z[None, :]) / length
    return variance * jnp.exp(-0.5 * distance**2) + jitter * jnp.eye(len(x))


def gp_regression(x, y):
    variance = numpyro.sample("variance", dist.LogNormal(0.0, 1.0))
    length = numpyro.sample("length", dist.InverseGamma(5.0, 5.0))
    noise = numpyro.sample("noise", dist.HalfNormal(0.5))
    covariance = kernel(x, x, variance, length) + (noise**2 + 1e-6) * jnp.eye(x.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(loc=jnp.zeros(x.shape[0]), covariance_matrix=covariance), obs=y)


def gp_classification(x, y=None):
    length = numpyro.sample("length", dist.Gamma(4.0, 4.0))
    amplitude = numpyro.sample("amplitude", dist.HalfNormal(2.0))
    eta = numpyro.sample("eta", dist.Normal(0, 1).expand([len(x)]).to_event(1))
    f = numpyro.deterministic("f", jnp.linalg.cholesky(kernel(x, x, amplitude**2, length, 1e-6)) @ eta)
    with numpyro.plate("N", len(x)):
        numpyro.sample("y", dist.Bernoulli(logits=f), obs=y)


def gp_counts(x, counts):
    mean = numpyro.sample("mean", dist.Normal(1, 1))
    tril = jnp.linalg.cholesky(kernel(x, x, 0.5, 1.2, 1e-6))
    field = numpyro.sample("field", dist.MultivariateNormal(jnp.zeros(len(x)), scale_tril=tril))
    with numpyro.plate("cells", len(x)):
        numpyro.sample("counts", dist.Poisson(jnp.exp(mean + field)), obs=counts)


def basis_gp(x, y):
    length = numpyro.sample("length", dist.InverseGamma(5.0, 5.0))
    amplitude = numpyro.sample("amplitude", dist.HalfNormal(1.0))
    f = hsgp_squared_exponential(x[:, None], alpha=amplitude, length=length, ell=3.0, m=6, non_centered=True)
    with numpyro.plate("N", x.shape[0]):
        numpyro.sample("y", dist.Normal(f, 0.3), obs=y)


def disease_map(neighbors, population, cases):
    intercept = numpyro.sample("intercept", dist.Normal(-2, 1))
    tau = numpyro.sample("tau", dist.Gamma(2.0, 2.0))
    alpha = numpyro.sample("alpha", dist.Beta(2, 2))
    phi = numpyro.sample("phi", dist.CAR(jnp.zeros(len(population)), alpha, tau, neighbors))
    with numpyro.plate("areas", len(population)):
        numpyro.sample("cases", dist.Poisson(population * jnp.exp(intercept + phi)), obs=cases)


def intrinsic_field(edges, y):
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("areas", y.shape[0]):
        phi = numpyro.sample("phi", dist.Normal(0, 3))
        numpyro.sample("y", dist.Normal(phi * sigma, 0.5), obs=y)
    start, end = edges
    numpyro.factor("pairwise", -0.5 * jnp.sum((phi[start] - phi[end]) ** 2))
    numpyro.factor("centered", dist.Normal(0, 0.01 * len(phi)).log_prob(phi.sum()))


def wishart_precision(y):
    n_dims = y.shape[1]
    precision = numpyro.sample("precision", dist.Wishart(n_dims + 2.0, jnp.eye(n_dims)))
    mean = numpyro.sample("mean", dist.MultivariateNormal(jnp.zeros(n_dims), precision_matrix=0.1 * jnp.eye(n_dims)))
    with numpyro.plate("N", y.shape[0]):
        numpyro.sample("y", dist.MultivariateNormal(mean, precision_matrix=precision), obs=y)


def factor_analysis(y, n_factors=2):
    n, p = y.shape
    loadings = numpyro.sample("loadings", dist.Normal(0, 1).expand([p, n_factors]).to_event(2))
    noise = numpyro.sample("noise", dist.HalfNormal(1).expand([p]).to_event(1))
    lower = jnp.tril(loadings)
    with numpyro.plate("N", n):
        numpyro.sample("y", dist.LowRankMultivariateNormal(jnp.zeros(p), lower, noise), obs=y)


def matrix_factorization(ratings, rows, cols, shape, rank=2):
    n_users, n_films = shape
    with numpyro.plate("rank", rank, dim=-1):
        with numpyro.plate("users", n_users, dim=-2):
            u = numpyro.sample("u", dist.Normal(0, 1))
        with numpyro.plate("films", n_films, dim=-2):
            v = numpyro.sample("v", dist.Normal(0, 1))
    sd = numpyro.sample("sd", dist.Gamma(2, 2))
    numpyro.sample("ratings", dist.Normal(jax.vmap(jnp.dot)(u[rows], v[cols]), sd), obs=ratings)


def _cases():
    rng = np.random.default_rng(105)
    x = np.sort(rng.uniform(-2, 2, 8))
    y = np.sin(2 * x) + 0.2 * rng.normal(size=8)
    ring = np.roll(np.eye(6), 1, axis=1)
    edges = np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    counts = rng.poisson(3, 8)
    rows, cols = rng.integers(0, 4, 10), rng.integers(0, 3, 10)
    return (
        Case(gp_regression, (x, y)),
        Case(gp_classification, (x, (y > 0).astype(int))),
        Case(gp_counts, (x, counts)),
        Case(basis_gp, (x, y)),
        Case(disease_map, (ring + ring.T, rng.uniform(20, 60, 6), rng.poisson(5, 6)), static=("neighbors",)),
        Case(intrinsic_field, (edges, rng.normal(size=6))),
        Case(wishart_precision, (rng.normal(size=(8, 3)),)),
        Case(factor_analysis, (rng.normal(size=(7, 4)),)),
        Case(matrix_factorization, (rng.normal(size=10), rows, cols, (4, 3))),
    )


CASES = _cases()
