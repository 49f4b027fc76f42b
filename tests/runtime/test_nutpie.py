"""The nutpie adapter: right posteriors from Rust's threads, in the model's precision, with live progress."""

from __future__ import annotations

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import nutpie
import pytest

import plait
from plait.runtime.samplers.nutpie import model, sample
from tests.runtime.adapters import (
    Y,
    eight_schools,
    near_eight_schools,
    near_normal_mean,
    normal_mean,
    nothing_to_sample,
)

STATS = {"acceptance_rate", "diverging", "energy", "n_steps", "tree_depth", "step_size"}


pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def conjugate():
    """(compiled, draws, reports) of a model whose posterior is known."""
    seen = []
    with jax.enable_x64(True):
        compiled = plait.compile(normal_mean, y=Y)
        draws = sample(compiled, jax.random.key(1), chains=3, draws=4000, progress=seen.append)
    return compiled, draws, seen


def test_a_conjugate_posterior(conjugate):
    _, draws, _ = conjugate
    near_normal_mean(draws)
    assert draws.unconstrained.shape == (3, 4000, 1)
    assert {k: v.shape for k, v in draws.stats.items()} == dict.fromkeys(STATS, (3, 4000))
    assert draws.stats["diverging"].dtype == bool
    assert abs(draws.stats["acceptance_rate"].mean() - 0.8) < 0.15


def test_eight_schools():
    near_eight_schools(sample(eight_schools(), jax.random.key(0), warmup=500, target_accept=0.9))


def test_energy_is_potential_and_kinetic(conjugate):
    compiled, draws, _ = conjugate
    density = np.asarray(jax.vmap(jax.vmap(compiled.log_density))(draws.unconstrained))
    kinetic = draws.stats["energy"] + density
    assert (kinetic > -1e-9).all()
    # Half a chi-squared of one degree of freedom, at both ends of a trajectory.
    assert abs(kinetic.mean() - 0.5) < 0.1


def test_the_same_key_gives_the_same_draws(conjugate):
    compiled, *_ = conjugate
    run = [sample(compiled, jax.random.PRNGKey(s), chains=3, warmup=50, draws=20, cores=2) for s in (2, 2, 3)]
    np.testing.assert_array_equal(run[0].unconstrained, run[1].unconstrained)
    assert not (run[0].unconstrained == run[2].unconstrained).any()


def test_chains_start_apart_or_at_init(conjugate):
    compiled, *_ = conjugate
    short = {"chains": 2, "warmup": 2, "draws": 2, "progress": False}
    first = sample(compiled, jax.random.key(0), **short).unconstrained[:, 0, 0]
    assert first[0] != first[1]
    far = sample(compiled, jax.random.key(0), init=jnp.array([1e6]), **short)
    assert (far.unconstrained > 1e5).all()


def test_progress_counts_every_iteration(conjugate):
    _, _, reports = conjugate
    assert [p.phase for p in reports[:2]] == ["compile", "compile"]
    for phase, total in (("warmup", 400), ("draws", 4000)):
        done = [p.done for p in reports if p.phase == phase]
        assert done == sorted(done)
        assert done[-1] == total
    assert len({p.done for p in reports if p.phase == "draws"}) > 3


def test_a_report_that_fails_stops_the_sampler(conjugate, monkeypatch):
    compiled, *_ = conjugate
    run, stopped = nutpie.sample, []

    def watched(*args, **kwargs):
        running = run(*args, **kwargs)
        cancel = running.cancel
        running.cancel = lambda: (stopped.append(True), cancel())
        return running

    def fails(progress):
        if progress.phase == "draws":
            raise ZeroDivisionError

    monkeypatch.setattr(nutpie, "sample", watched)
    with pytest.raises(ZeroDivisionError) as caught:
        sample(compiled, jax.random.key(0), draws=10**7, progress=fails)
    assert stopped == [True]
    assert caught.tb is not None  # which has held the sampler: it was not stopped for being collected


def test_float32():
    with jax.enable_x64(False):
        compiled = plait.compile(normal_mean, y=Y.astype(np.float32))
        draws = sample(compiled, jax.random.key(0), chains=2, draws=1000)
    assert draws.unconstrained.dtype == draws.values["mu"].dtype == np.float32
    near_normal_mean(draws)


def test_a_nan_is_rejected():
    def undefined_below_one():
        x = plait.sample("x", dist.Normal(0, 1))
        plait.factor("wrong", 0 * jnp.log(x + 1))

    draws = sample(plait.compile(undefined_below_one), jax.random.key(0), chains=2, init=jnp.full(1, 0.1))
    assert (draws.values["x"] > -1).all()
    assert draws.divergences > 0


def mixed(x, y):
    """Latents in plates, a matrix, a simplex, deterministics that are no floats."""
    with plait.plate("groups", 3):
        a = plait.sample("a", dist.Normal(0, 1).expand([2]).to_event(1))
    share = plait.sample("share", dist.Dirichlet(jnp.ones(3)))
    plait.deterministic("positive", a > 0)
    plait.deterministic("whole", jnp.int32(10 * share[0]))
    with plait.plate("rows", 4):
        plait.sample("y", dist.Normal(a.sum() + share @ x, 1), obs=y)


def test_the_model_for_ones_own_call():
    compiled = plait.compile(mixed, np.arange(3.0), Y)
    posterior = nutpie.sample(model(compiled), draws=50, tune=50, chains=2, seed=1, progress_bar=False)["posterior"]
    assert posterior["a"].dims == ("chain", "draw", "groups", "a_dim_1")
    assert posterior["share"].shape == (2, 50, 3)
    np.testing.assert_allclose(posterior["share"].values.sum(-1), 1)
    np.testing.assert_array_equal(posterior["positive"].values, posterior["a"].values > 0)
    np.testing.assert_array_equal(posterior["whole"].values, np.trunc(10 * posterior["share"].values[..., 0]))


def test_plates_of_one_name_and_two_lengths_keep_their_axes_apart():
    def two():
        with plait.handlers.scope(prefix="s", divider="/"), plait.plate("n", 2):
            plait.sample("a", dist.Normal(0, 1))
        with plait.plate("n", 3):
            plait.sample("b", dist.Normal(0, 1))

    posterior = nutpie.sample(model(plait.compile(two)), draws=5, tune=5, chains=1, progress_bar=False)["posterior"]
    assert (posterior["s/a"].shape, posterior["b"].shape) == ((1, 5, 2), (1, 5, 3))


def test_errors(conjugate):
    compiled, *_ = conjugate
    key = jax.random.key(0)
    for wrong in ({"chains": 0}, {"draws": 0}, {"warmup": 1}, {"max_treedepth": 0}, {"cores": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            sample(compiled, key, **wrong)
    with pytest.raises(ValueError, match="target_accept"):
        sample(compiled, key, target_accept=0.0)
    with pytest.raises(TypeError, match="one jax random key"):
        sample(compiled, 0)
    with pytest.raises(plait.ValueNamesError, match="init has shape"):
        sample(compiled, key, init=jnp.zeros((3, 1)))
    with pytest.raises(plait.ModelError, match="no finite log density"):
        sample(compiled, key, init=jnp.array([math.nan]))
    peak = plait.compile(lambda: plait.sample("x", dist.Normal(jnp.array([1.0, 0.0]), 1)))
    with pytest.raises(plait.ModelError, match=r"the gradient is 0 along 'x\[1\]' there"):
        sample(peak, key, init=jnp.zeros(2))
    with pytest.raises(plait.ModelError, match="no latent site"):
        sample(nothing_to_sample(), key)


def test_a_missing_package_names_the_extra(conjugate, monkeypatch):
    compiled, *_ = conjugate
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for call in (lambda: sample(compiled, jax.random.key(0)), lambda: model(compiled)):
        with pytest.raises(plait.MissingExtraError, match=r"nutpie is not installed: pip install 'plait\[samplers\]'"):
            call()
