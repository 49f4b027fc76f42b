"""The emcee adapter: right posteriors, one compiled program for any batch, and no NaN that goes unnoticed."""

from __future__ import annotations

import importlib.util
import math
import warnings

import emcee
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.runtime.samplers.emcee import log_prob_fn, sample
from tests.runtime.adapters import (
    Y,
    eight_schools,
    near_eight_schools,
    near_normal_mean,
    normal_mean,
    nothing_to_sample,
)
from tests.runtime.compiles import Compiles

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def conjugate():
    """(compiled, draws, reports) of a model whose posterior is known."""
    seen = []
    with jax.enable_x64(True):
        compiled = plait.compile(normal_mean, y=Y)
        draws = sample(compiled, jax.random.key(1), warmup=300, draws=600, progress=seen.append)
    return compiled, draws, seen


def test_a_conjugate_posterior(conjugate):
    compiled, draws, _ = conjugate
    near_normal_mean(draws)
    assert draws.unconstrained.shape == (32, 600, 1)  # walkers are its chains
    assert {k: v.shape for k, v in draws.stats.items()} == dict.fromkeys(("acceptance_rate", "log_density"), (32, 600))
    density = jax.vmap(jax.vmap(compiled.log_density))(draws.unconstrained)
    np.testing.assert_allclose(draws.stats["log_density"], density, rtol=1e-12)
    moved = (np.diff(draws.unconstrained[..., 0]) != 0).mean(axis=1)
    np.testing.assert_allclose(draws.stats["acceptance_rate"][:, 0], moved, atol=2e-3)


def test_eight_schools():
    draws = sample(eight_schools(), jax.random.key(0), warmup=1000, draws=2000)
    near_eight_schools(draws)
    times = emcee.autocorr.integrated_time(np.swapaxes(draws.unconstrained, 0, 1), tol=0)
    assert times.max() < 60  # the stretch move alone has about 120


def test_thinning_by_autocorrelation_keeps_what_was_computed(conjugate):
    compiled, draws, _ = conjugate
    options = {"warmup": 300, "draws": 600}
    thinned = sample(compiled, jax.random.key(1), thin="autocorrelation", **options)
    times = emcee.autocorr.integrated_time(np.swapaxes(draws.unconstrained, 0, 1), tol=0)
    step = int(times.min() / 2)
    assert step > 1
    np.testing.assert_array_equal(thinned.unconstrained, draws.unconstrained[:, step - 1 :: step])
    near_normal_mean(thinned)
    fixed = sample(compiled, jax.random.key(1), thin=200, **options)
    np.testing.assert_array_equal(fixed.unconstrained, draws.unconstrained[:, 199::200])
    np.testing.assert_array_equal(fixed.stats["log_density"], draws.stats["log_density"][:, 199::200])


def test_starting_points(conjugate):
    compiled, *_ = conjugate
    options = {"warmup": 0, "draws": 1, "walkers": 4}
    ball = sample(compiled, jax.random.key(0), init=np.array([0.5]), **options).unconstrained
    assert len(np.unique(ball)) == 4
    assert (abs(ball - 0.5) < 0.3).all()
    given = np.array([[0.1], [0.2], [0.3], [0.4]])
    moved = sample(compiled, jax.random.key(0), init=given, **options).unconstrained[:, 0]
    assert (moved == given).any()  # a walker that stayed


def test_progress_is_live(conjugate):
    _, _, reports = conjugate
    assert [p.phase for p in reports[:2]] == ["compile", "compile"]
    for phase, total in (("warmup", 300), ("draws", 600)):
        done = [p.done for p in reports if p.phase == phase]
        assert len(done) > 1
        assert done == sorted(set(done))
        assert done[-1] == total
    assert all(0 < p.details["acceptance"] < 1 for p in reports[2:])
    assert all(p.divergences is None and p.step_size is None for p in reports)


def test_float32():
    with jax.enable_x64(False):
        compiled = plait.compile(normal_mean, y=Y.astype(np.float32))
        draws = sample(compiled, jax.random.PRNGKey(0), warmup=300, draws=500)
    assert draws.unconstrained.dtype == draws.values["mu"].dtype == np.float32
    near_normal_mean(draws)


# -- the density for one's own loop -------------------------------------------------------------------------


def test_log_prob_fn_in_ones_own_sampler():
    compiled = eight_schools()
    density = log_prob_fn(compiled)
    sampler = emcee.EnsembleSampler(24, 10, density, vectorize=True)
    start = np.asarray(compiled.init_params(jax.random.key(0), (24,)))
    sampler.run_mcmc(start, 2)  # the whole ensemble, then its halves
    with Compiles() as compiles:
        sampler.run_mcmc(None, 20)
        assert density(start[:17]).dtype == np.float64
    assert compiles.count == 0
    assert density(start[0]) == pytest.approx(float(compiled.log_density(start[0])), rel=1e-13)


# -- NaN ----------------------------------------------------------------------------------------------------


def undefined_below_one():
    """A standard normal whose density is NaN at x < -1."""
    x = plait.sample("x", dist.Normal(0, 1))
    plait.factor("wrong", 0 * jnp.log(x + 1))


def test_a_nan_is_rejected_and_told():
    compiled = plait.compile(undefined_below_one)
    start = np.linspace(-0.5, 0.5, 8)[:, None]
    with pytest.warns(RuntimeWarning, match=r"NaN at \d+ of \d+ points.*unconstrained, x = -") as caught:
        draws = sample(compiled, jax.random.key(0), walkers=8, warmup=100, draws=1000, init=start)
    assert caught[0].filename == __file__
    x = draws.values["x"]
    assert (x > -1).all()
    # A standard normal above -1 has mean φ(1) / Φ(1).
    assert abs(x.mean() - 0.2876) < 0.1
    # In a loop of one's own it is not hidden.
    assert np.isnan(log_prob_fn(compiled)(np.array([[-2.0], [0.0]]))).tolist() == [True, False]


def test_a_density_that_is_zero_somewhere_is_no_error():
    def bounded():
        x = plait.sample("x", dist.Normal(0, 1))
        plait.factor("bound", jnp.where(x > 0, 0.0, -jnp.inf))

    compiled = plait.compile(bounded)
    start = np.linspace(0.1, 1.0, 8)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws = sample(compiled, jax.random.key(0), walkers=8, warmup=50, draws=500, init=start)
    assert (draws.values["x"] > 0).all()


# -- errors -------------------------------------------------------------------------------------------------


def test_errors(conjugate):
    compiled, *_ = conjugate
    key = jax.random.key(0)
    for wrong in ({"walkers": 2}, {"draws": 0}, {"warmup": -1}, {"thin": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            sample(compiled, key, **wrong)
    with pytest.raises(ValueError, match="even number of them, got walkers=7"):
        sample(compiled, key, walkers=7)
    with pytest.raises(ValueError, match="thin='automatic'"):
        sample(compiled, key, thin="automatic")
    with pytest.raises(TypeError, match="one jax random key"):
        sample(compiled, 0)
    with pytest.raises(plait.ValueNamesError, match=r"init has shape \(32, 1\)"):
        sample(compiled, key, init=jnp.zeros((3, 1)))
    with pytest.raises(plait.ModelError, match="no finite log density"):
        sample(compiled, key, init=jnp.array([math.nan]))
    with pytest.raises(plait.ModelError, match="no latent site"):
        sample(nothing_to_sample(), key)


def test_a_missing_package_names_the_extra(conjugate, monkeypatch):
    compiled, *_ = conjugate
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(plait.MissingExtraError, match=r"emcee is not installed: pip install 'plait\[samplers\]'"):
        sample(compiled, jax.random.key(0))
