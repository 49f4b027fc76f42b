"""The dynesty adapter: right posteriors and evidences, densities for loops of one's own, and no NaN unnoticed."""

from __future__ import annotations

import importlib.util
import warnings
from concurrent.futures import ThreadPoolExecutor

import dynesty
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import plait
from plait.runtime.samplers.dynesty import loglikelihood, prior_transform, sample
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
def conjugate():
    """(compiled, draws, reports) of a model whose posterior and evidence are known."""
    seen = []
    with jax.enable_x64(True):
        compiled = plait.compile(normal_mean, y=Y)
        return compiled, sample(compiled, jax.random.key(1), live=400, progress=seen.append), seen


def test_a_conjugate_posterior_and_its_evidence(conjugate):
    compiled, draws, _ = conjugate
    near_normal_mean(draws)
    near_log_evidence(draws, normal_mean_log_evidence(), errors=3)
    assert draws.chains == 1
    assert draws.draws > 500
    expected = jax.vmap(compiled.total_log_likelihood)(draws.unconstrained[0])
    np.testing.assert_allclose(draws.stats["log_likelihood"][0], expected, rtol=1e-9)


def test_progress_is_live(conjugate):
    _, draws, seen = conjugate
    assert [p.phase for p in seen[:2]] == ["compile", "compile"]
    steps = seen[2:]
    assert len(steps) > 3
    assert [p.done for p in steps] == sorted(p.done for p in steps)
    assert all(p.phase == "nested" and p.total is None for p in steps)
    assert steps[-1].details["log_evidence"] == pytest.approx(draws.log_evidence, abs=0.05)
    assert steps[-1].details["calls"] > steps[-1].done


def test_eight_schools():
    draws = sample(eight_schools(), jax.random.key(0), live=250)
    near_eight_schools(draws)
    near_log_evidence(draws, eight_schools_evidence(), errors=3)


def test_dynamic_in_float32():
    with jax.enable_x64(False):
        compiled = plait.compile(normal_mean, y=Y.astype(np.float32))
        draws = sample(compiled, jax.random.PRNGKey(0), live=100, dynamic=True, effective=1500, draws=1000)
    assert draws.draws == 1000
    assert draws.unconstrained.dtype == draws.values["mu"].dtype == np.float32
    near_normal_mean(draws)
    near_log_evidence(draws, normal_mean_log_evidence(), errors=3, at_most=0.2)


def test_the_same_key_gives_the_same_draws():
    compiled = plait.compile(normal_mean, y=Y)
    one, two = (sample(compiled, jax.random.key(5), live=30, progress=False) for _ in range(2))
    np.testing.assert_array_equal(one.unconstrained, two.unconstrained)
    assert one.log_evidence == two.log_evidence


# -- the densities for one's own loop -----------------------------------------------------------------------


@pytest.mark.parametrize("x64", [True, False])
def test_the_cube_is_the_prior_up_to_its_edges(x64):
    with jax.enable_x64(x64):
        compiled = eight_schools()
        to_z, log_l = prior_transform(compiled), loglikelihood(compiled)
        u = np.random.default_rng(0).uniform(size=(400, 10))
        u[0], u[1], u[2], u[3] = 0, 1, 1e-300, 1 - 1e-16
        z = to_z(u)
        assert (z.shape, z.dtype) == ((400, 10), np.float64)
        assert np.isfinite(z).all()
        np.testing.assert_allclose(z[5], to_z(u[5]), rtol=1e-5)
        values = compiled.constrain(z)
        np.testing.assert_allclose(values["mu"][4:], stats.norm(0, 5).ppf(u[4:, 0]), rtol=2e-4, atol=1e-4)
        np.testing.assert_allclose(values["tau"][4:], stats.halfnorm(0, 5).ppf(u[4:, 1]), rtol=2e-3)
        found = log_l(z)
        assert (found.shape, found.dtype) == ((400,), np.float64)
        assert not np.isnan(found).any()
        assert log_l(z[7]) == pytest.approx(found[7], rel=1e-5)
        assert isinstance(log_l(z[7]), float)


def test_they_run_in_dynesty_itself():
    compiled = plait.compile(normal_mean, y=Y)
    sampler = dynesty.NestedSampler(
        loglikelihood(compiled), prior_transform(compiled), 1, nlive=50, rstate=np.random.default_rng(0)
    )
    sampler.run_nested(print_progress=False, maxcall=300)
    assert sampler.results.samples.shape[1] == 1


def test_any_thread_may_call_them():
    compiled = eight_schools()
    to_z, log_l = prior_transform(compiled), loglikelihood(compiled)
    u = np.random.default_rng(0).uniform(size=(64, 10))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: log_l(to_z(row)), u))
    np.testing.assert_allclose(found, log_l(to_z(u)), rtol=1e-12)


# -- impossible and undefined -------------------------------------------------------------------------------


def test_where_the_likelihood_is_zero_or_nan_there_are_no_draws():
    mean, log_evidence = priors.half_possible_posterior()
    with pytest.warns(RuntimeWarning, match=r"log likelihood was NaN at \d+ .*unconstrained, x = -") as caught:
        draws = sample(plait.compile(priors.half_possible), jax.random.key(0), live=200)
    assert caught[-1].filename == __file__
    x = draws.values["x"]
    assert (x > 0).all()
    assert abs(x.mean() - mean) < 5 * x.std() / np.sqrt(200)
    near_log_evidence(draws, log_evidence, at_most=0.2)


def test_the_first_nan_is_told_in_ones_own_loop():
    log_l = loglikelihood(plait.compile(priors.half_possible))
    with pytest.warns(RuntimeWarning, match="NaN at 1 of 3 points"):
        found = log_l(np.array([[1.0], [-1.0], [-3.0]]))
    assert np.isfinite(found).tolist() == [True, False, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert log_l(np.array([-3.0])) == -np.inf


def test_a_likelihood_that_is_zero_everywhere_is_the_users_error():
    def model():
        x = plait.sample("x", dist.Normal(0.0, 1.0))
        plait.factor("never", jnp.where(x > 50.0, 0.0, -jnp.inf))

    for dynamic in (False, True):
        with pytest.raises(plait.ModelError, match=r"zero or NaN at all of \d+ points of the prior: .*find_nonfinite"):
            sample(plait.compile(model), jax.random.key(0), dynamic=dynamic, live=10)


# -- errors -------------------------------------------------------------------------------------------------


def test_errors(conjugate, monkeypatch):
    compiled, *_ = conjugate
    key = jax.random.key(0)
    for wrong in ({"live": 2}, {"effective": 0}, {"draws": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            sample(compiled, key, **wrong)
    with pytest.raises(ValueError, match="precision"):
        sample(compiled, key, precision=0.0)
    with pytest.raises(TypeError, match="one jax random key"):
        sample(compiled, 0)
    with pytest.raises(plait.ModelError, match="no latent site"):
        sample(nothing_to_sample(), key)
    for model in (priors.improper, priors.masked, priors.scaled, priors.masks_itself):
        with pytest.raises(plait.ModelError, match=r"latent 'x' .* has no prior transform"):
            sample(plait.compile(model), key)
    with pytest.raises(ValueError, match=r"shape \(n, 1\)"):
        prior_transform(compiled)(np.zeros((3, 2)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(plait.MissingExtraError, match=r"dynesty is not installed: pip install 'plait\[samplers\]'"):
        sample(compiled, key)
