"""Nested slice sampling by BlackJAX: right posteriors and evidences, impossible regions, live progress."""

from __future__ import annotations

import importlib.util

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.runtime.samplers.blackjax.nested_slice import sample
from tests.runtime import priors
from tests.runtime.adapters import (
    Y,
    eight_schools,
    eight_schools_evidence,
    near_eight_schools,
    near_log_evidence,
    near_normal_mean,
    normal_mean,
    normal_mean_log_evidence,
    nothing_to_sample,
)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def schools():
    """(draws, reports) of eight schools."""
    seen = []
    with jax.enable_x64(True):
        return sample(eight_schools(), jax.random.key(0), progress=seen.append), seen


def test_eight_schools(schools):
    draws, _ = schools
    near_eight_schools(draws)
    near_log_evidence(draws, eight_schools_evidence())
    assert draws.chains == 1
    assert draws.draws > 1000
    assert draws.stats["log_likelihood"].shape == (1, draws.draws)


def test_the_statistics_are_the_models(schools):
    draws, _ = schools
    z = draws.unconstrained[0, :50]
    expected = jax.vmap(eight_schools().total_log_likelihood)(z)
    np.testing.assert_allclose(draws.stats["log_likelihood"][0, :50], expected, rtol=1e-12)


def test_progress_is_live(schools):
    draws, seen = schools
    assert [p.phase for p in seen[:2]] == ["compile", "compile"]
    steps = seen[2:]
    assert len(steps) > 3
    assert [p.done for p in steps] == sorted({p.done for p in steps})
    assert all(p.phase == "nested" and p.total is None for p in steps)
    assert 0 < steps[-1].details["remaining"] < 1e-3
    assert steps[-1].details["log_evidence"] == pytest.approx(draws.log_evidence, abs=0.05)


def test_a_conjugate_posterior_and_its_evidence_in_float32():
    with jax.enable_x64(False):
        compiled = plait.compile(normal_mean, y=Y.astype(np.float32))
        draws = sample(compiled, jax.random.PRNGKey(0), draws=1000)
    assert draws.unconstrained.dtype == draws.values["mu"].dtype == np.float32
    assert draws.draws == 1000
    near_normal_mean(draws)
    near_log_evidence(draws, normal_mean_log_evidence())


def test_where_the_likelihood_is_zero_or_nan_there_are_no_draws():
    mean, log_evidence = priors.half_possible_posterior()
    with pytest.warns(RuntimeWarning, match=r"NaN at \d+ of 500 prior draws.*unconstrained, x = -") as caught:
        draws = sample(plait.compile(priors.half_possible), jax.random.key(0))
    assert caught[0].filename == __file__
    x = draws.values["x"]
    assert (x > 0).all()
    assert abs(x.mean() - mean) < 5 * x.std() / np.sqrt(500)
    near_log_evidence(draws, log_evidence)


def test_without_data_the_evidence_is_one_and_the_draws_are_the_priors():
    draws = sample(plait.compile(priors.uninformed), jax.random.key(0))
    assert draws.log_evidence == pytest.approx(0, abs=0.01)  # by the trapezoidal rule in the volume
    assert draws.draws > 400
    assert abs(draws.values["x"].mean()) < 5 / np.sqrt(500)


def test_a_plateau_below_the_maximum_is_refused():
    def model():
        x = plait.sample("x", dist.Normal(0, 1))
        # One live point in a thousand or so has another likelihood than the others, and no slice finds it.
        plait.factor("step", 1.0 * (x > 3.09))

    with pytest.raises(plait.ModelError, match="nested sampling is stuck at step"):
        sample(plait.compile(model), jax.random.key(3), live=1000, inner_steps=1)


def test_errors(monkeypatch):
    compiled, key = plait.compile(normal_mean, y=Y), jax.random.key(0)
    for wrong in ({"live": 9}, {"delete": 0}, {"inner_steps": 0}, {"draws": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            sample(compiled, key, **wrong)
    with pytest.raises(ValueError, match=r"at most half of the live points .* got delete=60 of live=100"):
        sample(compiled, key, live=100, delete=60)
    with pytest.raises(ValueError, match="precision"):
        sample(compiled, key, precision=0.0)
    with pytest.raises(TypeError, match="one jax random key"):
        sample(compiled, 0)
    with pytest.raises(plait.ModelError, match="no latent site"):
        sample(nothing_to_sample(), key)
    with pytest.raises(plait.ModelError, match="zero or NaN at all of 500 prior draws"):
        sample(plait.compile(priors.impossible), key)
    with pytest.raises(plait.ModelError, match="density is scaled"):
        sample(plait.compile(priors.scaled), key)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(plait.MissingExtraError, match=r"blackjax is not installed: pip install 'plait\[samplers\]'"):
        sample(compiled, key)
