"""The Laplace approximation: exact for a normal posterior, the inverse Hessian at the mode, and flat directions named.

Of eight schools it is an approximation, and far from the posterior: so it is compared with what it means, not with
the posterior's means.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.stats import multivariate_normal

import plait
from plait.runtime.samplers import optax as by_optax
from plait.runtime.samplers import scipy as by_scipy
from tests.runtime.adapters import (
    Y,
    eight_schools,
    near_normal_mean,
    normal_mean,
    normal_mean_posterior,
)
from tests.runtime.test_modes import eight_schools_density

KEY = jax.random.key(0)
each = pytest.mark.parametrize("engine", [by_scipy, by_optax], ids=["scipy", "optax"])
REAL = dist.ImproperUniform(dist.constraints.real, (), ())


pytestmark = pytest.mark.usefixtures("float64")


@each
def test_a_normal_posterior_is_its_own_approximation(engine):
    compiled = plait.compile(normal_mean, y=Y)
    found = engine.laplace(compiled, KEY)
    mean, sd = normal_mean_posterior()
    assert float(found.mode.values["mu"]) == pytest.approx(mean, rel=1e-9)
    assert found.covariance == pytest.approx(sd**2, rel=1e-9)
    evidence = multivariate_normal(np.zeros(4), 1.5**2 * np.eye(4) + 2**2).logpdf(Y)
    assert found.log_evidence == pytest.approx(evidence, rel=1e-9)
    draws = engine.sample(compiled, KEY, draws=2000)
    near_normal_mean(draws)
    assert draws.unconstrained.shape == (4, 2000, 1)
    # Importance weights are all the same: the evidence.
    np.testing.assert_allclose(draws.stats["log_importance_ratio"], evidence, rtol=1e-9)


def test_eight_schools_at_the_mode():
    compiled = eight_schools()
    found = by_scipy.laplace(compiled, KEY)
    mode = minimize(lambda z: -eight_schools_density(z), np.zeros(10), method="BFGS", options={"gtol": 1e-7}).x
    np.testing.assert_allclose(found.mode.unconstrained, mode, atol=1e-5)
    slope = lambda z: approx_fprime(z, lambda z: -eight_schools_density(z), 1e-5)  # noqa: E731
    hessian = np.stack([(slope(mode + h) - slope(mode - h)) / 2e-4 for h in 1e-4 * np.eye(10)])
    np.testing.assert_allclose(found.covariance, np.linalg.inv(hessian), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(by_optax.laplace(compiled, KEY).covariance, found.covariance, rtol=1e-5, atol=1e-6)


def test_draws_have_the_moments_and_weights_of_the_approximation():
    compiled = eight_schools()
    found = by_scipy.laplace(compiled, KEY)
    draws = found.sample(jax.random.key(1), chains=2, draws=3000)
    z = draws.unconstrained.reshape(-1, 10)
    sd = np.sqrt(np.diag(found.covariance))
    assert (abs(z.mean(axis=0) - found.mode.unconstrained) < 5 * sd / np.sqrt(len(z))).all()
    np.testing.assert_allclose(np.cov(z.T), found.covariance, atol=5 * sd.max() ** 2 / np.sqrt(len(z)))
    density = jax.vmap(compiled.log_density)(z)
    approximate = multivariate_normal(found.mode.unconstrained, found.covariance).logpdf(z)
    np.testing.assert_allclose(draws.stats["log_density"].ravel(), density, rtol=1e-9)
    np.testing.assert_allclose(draws.stats["log_importance_ratio"].ravel(), density - approximate, rtol=1e-7, atol=1e-7)
    assert (found.sample(jax.random.key(1), chains=2, draws=3000).unconstrained == draws.unconstrained).all()


def test_scales_may_differ_by_any_factor():
    def scales():
        plait.sample("small", dist.Normal(0, 1e-7))
        plait.sample("large", dist.Normal(0, 1e7))

    found = by_scipy.laplace(plait.compile(scales), KEY, init=jnp.array([1e-7, 1e7]))
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), [1e-7, 1e7], rtol=1e-9)


def test_float32():
    with jax.enable_x64(False):
        compiled = plait.compile(normal_mean, y=Y.astype(np.float32))
        draws = by_scipy.sample(compiled, KEY, draws=2000)
    assert draws.unconstrained.dtype == np.float32
    near_normal_mean(draws)
    assert draws.stats["log_importance_ratio"].std() < 1e-5


# -- what has no approximation ------------------------------------------------------------------------------


def only_their_sum():
    a, b = plait.sample("a", REAL), plait.sample("b", REAL)
    c = plait.sample("c", dist.Normal(0, 1))
    plait.sample("y", dist.Normal(a + b, 1 + 0 * c), obs=1.0)


@pytest.mark.parametrize("x64", [True, False])
def test_a_flat_direction_is_named(x64):
    with jax.enable_x64(x64), pytest.raises(plait.ConvergenceError) as caught:
        by_scipy.laplace(plait.compile(only_their_sum), KEY)
    message = str(caught.value)
    assert "flat along " in message
    assert "'a' (" in message
    assert "'b' (" in message
    assert "'c'" not in message
    assert "+1.00" in message
    assert "-1.00" in message


def test_a_density_that_does_not_depend_on_an_entry():
    def free():
        plait.sample("x", dist.Normal(0, 1))
        plait.sample("free", dist.ImproperUniform(dist.constraints.real, (3,), ()))

    with pytest.raises(plait.ConvergenceError, match=r"flat along 'free\[\d\]' \(\+1\.00\), so the data"):
        by_scipy.laplace(plait.compile(free), KEY)


def test_a_saddle_is_no_mode():
    def saddle():
        x, y = plait.sample("x", REAL), plait.sample("y", REAL)
        plait.factor("f", -((x**2 - 1) ** 2) - y**2)

    with pytest.raises(plait.ConvergenceError, match=r"not a maximum, but rises along 'x' \(\+1\.00\)"):
        by_scipy.laplace(plait.compile(saddle), KEY, init=jnp.zeros(2))


def test_a_kink_is_no_mode():
    with pytest.raises(plait.ConvergenceError, match=r"no maximum was found.* along 'x'.*kink"):
        by_scipy.laplace(plait.compile(lambda: plait.sample("x", dist.Laplace(0.3, 1.0))), KEY)
