"""Pathfinder by BlackJAX: exact where the posterior is normal, importance weights elsewhere."""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import plait
from plait.runtime.samplers.blackjax.pathfinder import _smoothed, sample
from tests.runtime.adapters import Y, eight_schools, eight_schools_data, normal_mean, nothing_to_sample
from tests.runtime.posteriors import eight_schools_means

COVARIANCE = np.array([[2.0, 0.8], [0.8, 1.0]])
MEAN = np.array([1.0, -3.0])


pytestmark = pytest.mark.usefixtures("float64")


def correlated():
    plait.sample(
        "x", dist.MultivariateNormal(jnp.asarray(MEAN, float), covariance_matrix=jnp.asarray(COVARIANCE, float))
    )


@pytest.fixture(scope="module")
def schools():
    """(draws, reports) of eight schools."""
    seen = []
    with jax.enable_x64(True):
        return sample(eight_schools(), jax.random.key(0), pool=4000, draws=4000, progress=seen.append), seen


def test_a_normal_posterior_is_found_exactly():
    with jax.enable_x64(False):
        compiled = plait.compile(correlated)
        draws = sample(compiled, jax.random.PRNGKey(0), paths=4, resample=False)
    assert draws.values["x"].shape == (4, 1000, 2)
    assert draws.values["x"].dtype == np.float32
    x = draws.values["x"].reshape(-1, 2)
    assert (abs(x.mean(axis=0) - MEAN) < 5 * np.sqrt(np.diag(COVARIANCE) / len(x))).all()
    np.testing.assert_allclose(np.cov(x.T), COVARIANCE, atol=5 * 2 * np.sqrt(2 / len(x)))
    exact = stats.multivariate_normal(MEAN, COVARIANCE).logpdf(x).reshape(4, 1000)
    np.testing.assert_allclose(draws.stats["log_density"], exact, atol=1e-4)
    # The approximation's own density is that of its draws.
    np.testing.assert_allclose(draws.stats["log_approximation"], exact, atol=0.3)
    assert abs(draws.stats["log_importance"]).max() < 0.3
    assert (draws.stats["pareto_k"] < 0.7).all()


def test_importance_brings_eight_schools_near(schools):
    draws, _ = schools
    # Near, and no nearer with more draws: the normal approximations miss a small tau.
    assert 0.4 < draws.stats["pareto_k"][0, 0] < 1
    exact = eight_schools_means(**eight_schools_data(), tau_prior="HalfNormal")
    assert abs(draws.values["mu"].mean() - exact["mu"]) < 0.5
    assert abs(draws.values["tau"].mean() - exact["tau"]) < 0.9
    assert draws.unconstrained.shape == (1, 4000, 10)
    np.testing.assert_allclose(
        draws.stats["log_importance"], draws.stats["log_density"] - draws.stats["log_approximation"], rtol=1e-12
    )
    expected = jax.vmap(eight_schools().log_density)(draws.unconstrained[0, :50])
    np.testing.assert_allclose(draws.stats["log_density"][0, :50], expected, rtol=1e-12)


def test_progress_is_live(schools):
    _, seen = schools
    assert [p.phase for p in seen[:2]] == ["compile", "compile"]
    assert [(p.phase, p.done, p.total) for p in seen[2:]] == [("paths", i + 1, 8) for i in range(8)]
    # The lower bound of the log evidence.
    assert all(-40 < p.details["elbo"] < -31 for p in seen[2:])


def test_smoothing_is_psis():
    az = pytest.importorskip("arviz")
    ratios = stats.t(3).rvs(2000, random_state=0)
    weights, k = _smoothed(np.append(ratios, -np.inf))
    theirs, their_k = az.psislw(ratios)
    # ArviZ's prior of the shape differs a little.
    np.testing.assert_allclose(weights[:-1], theirs, atol=0.05)
    assert weights[-1] == -np.inf
    assert k == pytest.approx(float(their_k), abs=0.1)
    assert _smoothed(np.zeros(100))[1] == 0
    assert _smoothed(np.array([0.0, 1.0]))[1] == np.inf


def test_errors(monkeypatch):
    compiled, key = plait.compile(normal_mean, y=Y), jax.random.key(0)
    for wrong in ({"paths": 0}, {"draws": 0}, {"pool": 0}, {"elbo_draws": 0}, {"max_iterations": 1}, {"history": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            sample(compiled, key, **wrong)
    with pytest.raises(TypeError, match="one jax random key"):
        sample(compiled, 0)
    with pytest.raises(plait.ValueNamesError, match=r"init has shape \(8, 1\)"):
        sample(compiled, key, init=jnp.zeros((3, 1)))
    with pytest.raises(plait.ModelError, match="no latent site"):
        sample(nothing_to_sample(), key)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(plait.MissingExtraError, match=r"blackjax is not installed: pip install 'plait\[samplers\]'"):
        sample(compiled, key)
