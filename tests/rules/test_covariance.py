"""One vector of an unknown covariance: the density in 50 digits, its derivatives, and what is no such vector."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.rules.covariance import log_normal
from plait.compiler.rules.term import Fusion, Refused
from tests.rules.normal_models import answer

RNG = np.random.default_rng(8)
N = 9
X = np.sort(RNG.normal(size=N))
Y = RNG.normal(size=N)


def kernel(height, length, noise, xp=jnp):
    return height**2 * xp.exp(-0.5 * ((X[:, None] - X) / length) ** 2) + noise**2 * xp.eye(N)


def latents():
    return [plait.sample(name, dist.HalfNormal(1.0)) for name in ("height", "length", "noise")]


def by_covariance(y):
    plait.sample("y", dist.MultivariateNormal(jnp.zeros(N), covariance_matrix=kernel(*latents())), obs=y)


def by_factor(y):
    plait.sample("y", dist.MultivariateNormal(0.0, scale_tril=jnp.linalg.cholesky(kernel(*latents()))), obs=y)


def with_a_mean(y):
    level = plait.sample("level", dist.Normal(0, 1))
    mean = level * X + jnp.sin(level)
    plait.sample("y", dist.MultivariateNormal(mean, covariance_matrix=kernel(*latents())), obs=y)


def of_an_lkj(y):
    factor = plait.sample("factor", dist.LKJCholesky(N, 2.0))
    plait.sample("y", dist.MultivariateNormal(jnp.zeros(N), scale_tril=factor), obs=y)


def rows(y):
    matrix = kernel(*latents())
    with plait.plate("rows", 3):
        plait.sample("y", dist.MultivariateNormal(jnp.zeros(N), covariance_matrix=matrix), obs=y)


def masked(y):
    with plait.handlers.scale(scale=2.0):
        by_covariance(y)


def exact_density(height, length, noise):
    """By a decomposition of its own, from the matrix as it is in float64."""
    matrix = mpmath.matrix(kernel(height, length, noise, np).tolist())
    y = mpmath.matrix(Y.tolist())
    solved = mpmath.lu_solve(matrix, y)
    quadratic = sum(a * b for a, b in zip(y, solved, strict=True))
    return -(quadratic + mpmath.log(mpmath.det(matrix)) + N * mpmath.log(2 * mpmath.pi)) / 2


@pytest.mark.parametrize("noise", [1.0, 1e-3])
def test_the_value(noise):
    with jax.enable_x64(True), mpmath.workdps(60):
        matrix = jnp.asarray(kernel(1.3, 0.7, noise, np))
        wanted = exact_density(1.3, 0.7, noise)
        assert float(log_normal(matrix, jnp.asarray(Y))) == pytest.approx(float(wanted), rel=1e-10)


def test_a_slope_is_a_difference_of_exact_values():
    with jax.enable_x64(True), mpmath.workdps(60):
        slope = jax.grad(lambda s: log_normal(kernel(1.3, s, 0.2), jnp.asarray(Y)))(0.7)
        step = 2.0**-18  # what rounds the matrix is 1e-11 of this
        wanted = (exact_density(1.3, 0.7 + step, 0.2) - exact_density(1.3, 0.7 - step, 0.2)) / (2 * step)
        assert float(slope) == pytest.approx(float(wanted), rel=1e-7)


@pytest.mark.parametrize("model", [by_covariance, by_factor, with_a_mean], ids=lambda f: f.__name__)
def test_models(model):
    with jax.enable_x64(True):
        fused, plain = (plait.compile(model, Y, passes=p) for p in ({}, {"fuse": False}))
        assert isinstance(answer(fused), Fusion)
        for z in (np.zeros(fused.dim), RNG.normal(size=fused.dim)):
            for derivative in (lambda f: f, jax.grad, jax.hessian):
                got, wanted = (derivative(c.log_density)(z) for c in (fused, plain))
                np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-9)
        other = fused.bind(y=Y[::-1])
        assert float(other.log_density(z)) == pytest.approx(float(plain.bind(y=Y[::-1]).log_density(z)), rel=1e-10)


def test_float32():
    fused, plain = (plait.compile(by_covariance, Y.astype(np.float32), passes=p) for p in ({}, {"fuse": False}))
    z = np.zeros(3, np.float32)
    for derivative in (lambda f: f, jax.grad):
        got, wanted = (derivative(c.log_density)(z) for c in (fused, plain))
        np.testing.assert_allclose(got, wanted, rtol=2e-5)


def test_no_positive_definite_matrix_is_no_number():
    assert np.isnan(log_normal(-jnp.eye(3), jnp.ones(3)))


@pytest.mark.parametrize(("model", "y"), [(of_an_lkj, Y), (rows, RNG.normal(size=(3, N))), (masked, Y)])
def test_near_misses(model, y):
    with jax.enable_x64(True):
        near, plain = (plait.compile(model, y, passes=p) for p in ({}, {"fuse": False}))
        assert isinstance(answer(near), Refused)
        z = RNG.normal(size=near.dim)
        assert float(near.log_density(z)) == pytest.approx(float(plain.log_density(z)), rel=1e-13)
