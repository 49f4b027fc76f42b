"""The inverse incomplete gamma and beta functions, from shapes of 0.001 to 10000, against scipy and mpmath."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import scipy.special as sp
from numpy.testing import assert_allclose

from plait.compiler.quantiles.roots import log_gamma_quantile, logit_beta_quantile
from plait.compiler.quantiles.tails import Tails

SHAPES = np.array([1e-3, 0.01, 0.3, 1.0, 3.0, 9.9, 10.0, 100.0, 1e4])
U = np.array([1e-12, 1e-6, 0.01, 0.3, 0.5, 0.7, 0.99, 1 - 2.0**-20])


@jax.jit
def log_gamma(a, u):
    return log_gamma_quantile(a, Tails.at(u))


@jax.jit
def logit_beta(a, b, u):
    return logit_beta_quantile(a, b, Tails.at(u))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 2e-4)])
def test_gamma_variates_are_scipys(dtype, rtol):
    a, u = (x.astype(dtype) for x in np.meshgrid(SHAPES, U, indexing="ij"))
    with jax.enable_x64(dtype is np.float64):
        t = np.asarray(log_gamma(a, u))
    assert t.dtype == dtype
    a, u, t = (x.astype(np.float64) for x in (a, u, t))
    expected = np.where(u < 0.5, sp.gammaincinv(a, u), sp.gammainccinv(a, 1 - u))
    assert_allclose(np.exp(t), expected, rtol=rtol, atol=1e-300)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 2e-4)])
def test_beta_variates_are_scipys(dtype, rtol):
    a, b, u = (x.astype(dtype) for x in np.meshgrid(SHAPES, SHAPES, U, indexing="ij"))
    with jax.enable_x64(dtype is np.float64):
        s = np.asarray(logit_beta(a, b, u))
    assert s.dtype == dtype
    a, b, u, s = (x.astype(np.float64) for x in (a, b, u, s))
    x, y = sp.betaincinv(a, b, u), sp.betaincinv(b, a, 1 - u)
    # the smaller one of x and 1 - x has digits; where that is in the other tail, 1 - u had lost those of scipy's
    assert_allclose(np.where(x < 0.5, sp.expit(s), 0.0), np.where(x < 0.5, x, 0.0), rtol=rtol, atol=1e-300)
    upper = (x >= 0.5) & (u > 1e-3)
    assert_allclose(np.where(upper, sp.expit(-s), 0.0), np.where(upper, y, 0.0), rtol=rtol, atol=1e-300)


@pytest.mark.parametrize(
    ("a", "b", "u"), [(1e-3, 1e4, 0.999), (1e4, 1e-3, 1e-12), (50.0, 0.3, 1e-12), (2.0, 3.0, 1e-300)]
)
def test_probabilities_in_far_tails_are_mpmaths(a, b, u):
    with jax.enable_x64(True), mp.workdps(40):
        s, t = mp.mpf(float(logit_beta(a, b, u))), mp.mpf(float(log_gamma(b, u)))
        beta = mp.betainc(a, b, 0, 1 / (1 + mp.exp(-s)), regularized=True)
        gamma = mp.gammainc(b, 0, mp.exp(t), regularized=True)
    assert_allclose(float(beta / mp.mpf(u)), 1.0, rtol=1e-10)
    assert_allclose(float(gamma / mp.mpf(u)), 1.0, rtol=1e-10)


def slope(function, x):
    """The derivative by five points."""
    h = 1e-3 * x
    far, near = (function(x + k * h) - function(x - k * h) for k in (2, 1))
    return (8 * near - far) / (12 * h)


# whole numbers end the sums early, equal ones are where formulas change sides, as 10 is
@pytest.mark.parametrize(("a", "b"), [(0.05, 0.3), (3.0, 3.0), (10.0, 3.0), (50.0, 50.0), (2.5, 400.0), (1.0, 10.0)])
@pytest.mark.parametrize("u", [1e-6, 0.2, 0.9])
def test_derivatives_with_respect_to_shapes(a, b, u):
    with jax.enable_x64(True):
        gamma, beta = jax.device_get((_gamma_slopes(a, u), _beta_slopes(a, b, u)))
    assert_allclose(gamma[0], slope(lambda a: np.log(sp.gammaincinv(a, u)), a), rtol=1e-7)
    assert_allclose(beta[0], slope(lambda a: sp.logit(sp.betaincinv(a, b, u)), a), rtol=1e-7)
    assert_allclose(beta[1], slope(lambda b: sp.logit(sp.betaincinv(a, b, u)), b), rtol=1e-7)


_gamma_slopes = jax.jit(jax.grad(log_gamma, (0, 1)))
_beta_slopes = jax.jit(jax.grad(logit_beta, (0, 1, 2)))


def test_second_derivatives_in_u():
    """Of x ~ Beta(2, 1), x = √u."""
    with jax.enable_x64(True):
        x = lambda u: jax.nn.sigmoid(logit_beta(2.0, 1.0, u))  # noqa: E731
        assert_allclose(jax.hessian(x)(0.3), -0.25 * 0.3**-1.5, rtol=1e-10)
        assert_allclose(jax.grad(jax.grad(x))(0.8), -0.25 * 0.8**-1.5, rtol=1e-10)


def test_the_ends_are_infinite():
    ends = jnp.array([0.0, 1.0])
    assert_allclose(log_gamma(2.0, ends), [-np.inf, np.inf])
    assert_allclose(logit_beta(2.0, 3.0, ends), [-np.inf, np.inf])


def test_tiny_shapes_underflow_to_zero():
    assert np.exp(log_gamma(0.01, jnp.array(1e-6))) == 0.0
    assert jax.nn.sigmoid(logit_beta(1e-3, 2.0, jnp.array(1e-6))) == 0.0
