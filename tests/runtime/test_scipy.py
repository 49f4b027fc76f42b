"""What SciPy's optimizers get: the density in their shape, and second derivatives where a method reads them."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

import plait
from plait.runtime.samplers.scipy import (
    maximum_a_posteriori,
    negative_hessian,
    negative_hvp,
    negative_log_density,
)
from tests.runtime.adapters import Y, eight_schools, normal_mean

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def schools():
    with jax.enable_x64(True):
        yield eight_schools()


pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("jacobian", [True, False])
def test_densities_in_scipys_shape(schools, jacobian):
    fun = negative_log_density(schools, jacobian=jacobian)
    z = np.random.default_rng(0).normal(size=10)
    value, grad = fun(z)
    assert type(value) is float
    assert value == pytest.approx(-float(schools.log_density(z, jacobian=jacobian)), rel=1e-13)
    np.testing.assert_allclose(grad, approx_fprime(z, lambda z: fun(z)[0], 1e-7), rtol=1e-4, atol=1e-5)
    hessian = negative_hessian(schools, jacobian=jacobian)(z)
    differences = [approx_fprime(z, lambda z, i=i: fun(z)[1][i], 1e-6) for i in range(10)]
    np.testing.assert_allclose(hessian, differences, rtol=1e-4, atol=1e-4)
    v = np.arange(10.0)
    np.testing.assert_allclose(negative_hvp(schools, jacobian=jacobian)(z, v), hessian @ v, rtol=1e-10, atol=1e-10)


def test_in_ones_own_call(schools):
    found = minimize(
        negative_log_density(schools), np.zeros(10), jac=True, method="Newton-CG", hessp=negative_hvp(schools)
    )
    assert found.success
    assert np.abs(schools.log_density_and_grad(found.x)[1]).max() < 1e-3


@pytest.mark.parametrize("method", ["BFGS", "TNC", "Newton-CG", "trust-exact"])
def test_methods_agree(method):
    compiled = plait.compile(normal_mean, y=Y)
    mode = maximum_a_posteriori(compiled, KEY, starts=2, method=method)
    assert float(mode.values["mu"]) == pytest.approx(Y.sum() / 1.5**2 / (1 / 4 + 4 / 1.5**2), rel=1e-4)
    assert mode.converged


def test_methods_without_gradients_are_refused(schools):
    with pytest.raises(ValueError, match=r"method is one of L-BFGS-B, .*got 'Nelder-Mead'"):
        maximum_a_posteriori(schools, KEY, method="Nelder-Mead")
