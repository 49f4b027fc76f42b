"""MCLMC by BlackJAX: posteriors near enough, energy errors that are told, live progress."""

from __future__ import annotations

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.runtime.samplers.blackjax.mclmc import sample
from tests.runtime.adapters import Y, eight_schools, near_eight_schools, normal_mean, nothing_to_sample

STATS = {"log_density", "energy_variance", "diverging", "step_size", "decoherence_length"}
COVARIANCE = np.array([[2.0, 0.8], [0.8, 1.0]])


pytestmark = pytest.mark.usefixtures("float64")


def correlated():
    plait.sample("x", dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=jnp.asarray(COVARIANCE, float)))


@pytest.fixture(scope="module")
def schools():
    """(draws, reports) of eight schools."""
    seen = []
    with jax.enable_x64(True):
        return sample(eight_schools(), jax.random.key(0), progress=seen.append), seen


def test_eight_schools(schools):
    draws, _ = schools
    near_eight_schools(draws)
    assert draws.unconstrained.shape == (4, 1000, 10)
    assert {k: v.shape for k, v in draws.stats.items()} == dict.fromkeys(STATS, (4, 1000))


def test_the_statistics_make_sense(schools):
    draws, _ = schools
    stats = draws.stats
    expected = jax.vmap(eight_schools().log_density)(draws.unconstrained[0, :50])
    np.testing.assert_allclose(stats["log_density"][0, :50], expected, rtol=1e-9)
    # A median: single steps into the funnel have much larger errors.
    assert 0 < np.median(stats["energy_variance"]) < 5e-4
    assert draws.divergences == 0
    # The warm-up is each chain's own, and over.
    for name in ("step_size", "decoherence_length"):
        assert (stats[name] == stats[name][:, :1]).all()
        assert len(np.unique(stats[name])) == 4


def test_progress_is_live(schools):
    _, seen = schools
    assert [(p.phase, p.done, p.total) for p in seen[:4]] == [
        ("compile", 0, 1),
        ("compile", 1, 1),
        ("warmup", 0, None),
        ("warmup", 5000, 5000),
    ]
    done = [p.done for p in seen[4:]]
    assert len(done) > 3
    assert done == sorted(set(done))
    assert done[-1] == 1000
    assert all(p.phase == "draws" and p.step_size > 0 and p.divergences == 0 for p in seen[4:])


def test_a_normal_posterior_in_float32_with_small_energy_errors():
    with jax.enable_x64(False):
        compiled = plait.compile(correlated)
        draws = sample(compiled, jax.random.PRNGKey(0), chains=2, warmup=1000, energy_variance=1e-5)
    assert draws.values["x"].dtype == np.float32
    x = draws.values["x"].reshape(-1, 2)
    np.testing.assert_allclose(np.cov(x.T), COVARIANCE, atol=0.35)
    assert (abs(x.mean(axis=0)) < 0.25).all()
    assert 0 < draws.stats["energy_variance"].mean() < 1e-4


def test_errors(monkeypatch):
    compiled, key = plait.compile(correlated), jax.random.key(0)
    for wrong in ({"chains": 0}, {"draws": 0}, {"thin": 0}, {"warmup": 99}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            sample(compiled, key, **wrong)
    with pytest.raises(ValueError, match="energy_variance"):
        sample(compiled, key, energy_variance=0.0)
    with pytest.raises(TypeError, match="one jax random key"):
        sample(compiled, 0)
    with pytest.raises(plait.ModelError, match="needs two dimensions, got 1: use NUTS"):
        sample(plait.compile(normal_mean, y=Y), key)
    with pytest.raises(plait.ModelError, match="no latent site"):
        sample(nothing_to_sample(), key)
    with pytest.raises(plait.ModelError, match="chain 0 has no finite"):
        sample(compiled, key, init=jnp.array([math.nan, 0.0]))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(plait.MissingExtraError, match=r"blackjax is not installed: pip install 'plait\[samplers\]'"):
        sample(compiled, key)
