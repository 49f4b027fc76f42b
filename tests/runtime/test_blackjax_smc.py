"""Sequential Monte Carlo by BlackJAX: right posteriors and evidences, impossible regions, live progress."""

from __future__ import annotations

import importlib.util

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.runtime.samplers.blackjax.smc import _mean_evidence, sample
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
    assert draws.unconstrained.shape == (4, 1000, 10)
    assert draws.stats["acceptance_rate"].shape == (4, 1000)
    assert abs(draws.stats["acceptance_rate"].mean() - 0.8) < 0.1


def test_progress_is_live(schools):
    _, seen = schools
    assert [p.phase for p in seen[:2]] == ["compile", "compile"]
    steps = seen[2:]
    assert [p.done for p in steps] == list(range(1, len(steps) + 1))
    betas = [p.details["beta"] for p in steps]
    assert betas == sorted(betas)
    assert 0 < betas[0] < 1
    # Particles are moved once more where they have arrived.
    assert betas[-2:] == [1, 1]
    assert all(p.phase == "tempering" and p.total is None and p.step_size > 0 for p in steps)


def test_a_conjugate_posterior_and_its_evidence_in_float32():
    with jax.enable_x64(False):
        compiled = plait.compile(normal_mean, y=Y.astype(np.float32))
        draws = sample(compiled, jax.random.PRNGKey(2), chains=6, particles=500, moves=3)
    assert draws.unconstrained.dtype == draws.values["mu"].dtype == np.float32
    near_normal_mean(draws)
    near_log_evidence(draws, normal_mean_log_evidence())


def test_where_the_likelihood_is_zero_or_nan_there_are_no_draws():
    mean, log_evidence = priors.half_possible_posterior()
    with pytest.warns(RuntimeWarning, match=r"NaN at \d+ of 2000 prior draws.*unconstrained, x = -") as caught:
        draws = sample(plait.compile(priors.half_possible), jax.random.key(0), particles=500, moves=3)
    assert caught[0].filename == __file__
    x = draws.values["x"]
    assert (x > 0).all()
    assert abs(x.mean() - mean) < 5 * x.std() / np.sqrt(1000)
    near_log_evidence(draws, log_evidence)


def test_what_is_too_steep_to_be_tempered_is_refused():
    def model():
        x = plait.sample("x", dist.Normal(0, 1))
        plait.factor("steep", -1e30 * abs(x))

    with pytest.raises(plait.ModelError, match=r"stuck at inverse temperature .*: no step from there leaves 0.7"):
        sample(plait.compile(model), jax.random.key(0), chains=1, particles=50, moves=1)


def test_the_evidence_of_several_populations_is_their_mean():
    log_evidence, error = _mean_evidence(np.log([1.0, 2.0, 3.0]) - 900)
    assert log_evidence + 900 == pytest.approx(np.log(2))
    assert error == pytest.approx(1 / np.sqrt(3) / 2)
    only, unknown = _mean_evidence(np.array([-3.0]))
    assert only == pytest.approx(-3)
    assert np.isnan(unknown)


def test_errors(monkeypatch):
    compiled, key = plait.compile(normal_mean, y=Y), jax.random.key(0)
    for wrong in ({"chains": 0}, {"particles": 1}, {"moves": 0}, {"leapfrog_steps": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            sample(compiled, key, **wrong)
    with pytest.raises(ValueError, match="target_ess"):
        sample(compiled, key, target_ess=1.0)
    with pytest.raises(TypeError, match="one jax random key"):
        sample(compiled, 0)
    with pytest.raises(plait.ModelError, match="no latent site"):
        sample(nothing_to_sample(), key)
    with pytest.raises(plait.ModelError, match="zero or NaN at all of 1000 prior draws"):
        sample(plait.compile(priors.impossible), key)
    with pytest.raises(plait.ModelError, match="likelihood is infinite at a prior draw, unconstrained x = -"):
        sample(plait.compile(priors.infinite), key)
    with pytest.raises(plait.ModelError, match="needs a proper one"):
        sample(plait.compile(priors.improper), key)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(plait.MissingExtraError, match=r"blackjax is not installed: pip install 'plait\[samplers\]'"):
        sample(compiled, key)
