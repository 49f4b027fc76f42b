"""The NumPyro adapter: right posteriors, the draws of NumPyro's own MCMC, live progress of vectorized chains."""

from __future__ import annotations

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC, NUTS

import plait
from plait.runtime.samplers.numpyro import potential_fn, sample
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
        draws = sample(compiled, jax.random.key(1), chains=3, warmup=300, draws=1500, progress=seen.append)
    return compiled, draws, seen


def test_a_conjugate_posterior(conjugate):
    _, draws, _ = conjugate
    near_normal_mean(draws)
    assert draws.unconstrained.shape == (3, 1500, 1)
    assert {k: v.shape for k, v in draws.stats.items()} == dict.fromkeys(STATS, (3, 1500))
    assert draws.stats["diverging"].dtype == bool
    assert (draws.stats["n_steps"] <= 2 ** draws.stats["tree_depth"] - 1).all()
    assert (draws.stats["n_steps"] >= 2 ** (draws.stats["tree_depth"] - 1)).all()
    assert abs(draws.stats["acceptance_rate"].mean() - 0.8) < 0.15
    # Warm-up is over: one step size for each chain.
    assert len(np.unique(draws.stats["step_size"])) == 3


def test_eight_schools():
    near_eight_schools(sample(eight_schools(), jax.random.key(0), target_accept=0.9))


def test_the_draws_are_those_of_numpyros_mcmc(conjugate):
    compiled, *_ = conjugate
    key, init = jax.random.key(3), jnp.array([[0.5], [-1.0]])
    ours = sample(compiled, key, chains=2, warmup=20, draws=20, init=init)
    mcmc = MCMC(
        NUTS(potential_fn=potential_fn(compiled)),
        num_warmup=20,
        num_samples=20,
        num_chains=2,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(jax.random.split(jax.random.split(key)[1], 2), init_params=init, extra_fields=("num_steps",))
    theirs = mcmc.get_samples(group_by_chain=True)
    np.testing.assert_allclose(ours.unconstrained, theirs, rtol=1e-6)
    np.testing.assert_array_equal(ours.stats["n_steps"], mcmc.get_extra_fields(group_by_chain=True)["num_steps"])


def test_chains_one_after_the_other(conjugate):
    compiled, *_ = conjugate
    seen = []
    draws = sample(
        compiled,
        jax.random.key(0),
        chains=2,
        warmup=200,
        draws=500,
        chain_method="sequential",
        dense_mass=True,
        progress=seen.append,
    )
    near_normal_mean(draws)
    assert {k: v.shape for k, v in draws.stats.items()} == dict.fromkeys(STATS, (2, 500))
    assert [(p.done, p.total) for p in seen[2:]] == [(0, None), (700, 700)]  # MCMC says nothing on the way


def test_progress_is_live(conjugate):
    _, _, reports = conjugate
    assert [p.phase for p in reports[:2]] == ["compile", "compile"]
    for phase, total in (("warmup", 300), ("draws", 1500)):
        done = [p.done for p in reports if p.phase == phase]
        assert len(done) > 3
        assert done == sorted(set(done))
        assert done[-1] == total
    assert all(p.step_size > 0 and p.divergences == 0 for p in reports[-3:])


def test_float32_and_an_old_key():
    with jax.enable_x64(False):
        compiled = plait.compile(normal_mean, y=Y.astype(np.float32))
        run = [sample(compiled, jax.random.PRNGKey(0), chains=1, warmup=0, draws=100) for _ in range(2)]
    np.testing.assert_array_equal(run[0].unconstrained, run[1].unconstrained)
    assert run[0].values["mu"].dtype == np.float32
    assert abs(run[0].values["mu"].mean() - 1.2) < 0.5


def test_potential_fn_is_the_negative_density(conjugate):
    compiled, *_ = conjugate
    z = jnp.array([0.3])
    value, slope = jax.value_and_grad(potential_fn(compiled))(z)
    expected, gradient = compiled.log_density_and_grad(z)
    assert value == -expected
    np.testing.assert_allclose(slope, -gradient, rtol=1e-12)


def test_errors(conjugate):
    compiled, *_ = conjugate
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="chains=0"):
        sample(compiled, key, chains=0)
    with pytest.raises(ValueError, match="warmup=-1"):
        sample(compiled, key, warmup=-1)
    with pytest.raises(ValueError, match="target_accept"):
        sample(compiled, key, target_accept=1.0)
    with pytest.raises(ValueError, match="chain_method is 'vectorized'"):
        sample(compiled, key, chain_method="side by side")
    with pytest.raises(TypeError, match="progress"):
        sample(compiled, key, progress="yes")
    with pytest.raises(TypeError, match="one jax random key"):
        sample(compiled, 0)
    with pytest.raises(plait.ValueNamesError, match=r"init has shape \(4, 1\)"):
        sample(compiled, key, init=jnp.zeros((3, 1)))
    with pytest.raises(plait.ModelError, match="chain 1 has no finite"):
        sample(compiled, key, chains=2, init=jnp.array([[0.0], [math.inf]]))
    with pytest.raises(plait.ModelError, match="no latent site"):
        sample(nothing_to_sample(), key)


def test_a_missing_package_is_named(conjugate, monkeypatch):
    # NumPyro is a dependency, so only a broken installation lacks it.
    compiled, *_ = conjugate
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(plait.MissingExtraError, match="numpyro is not installed: pip install numpyro"):
        sample(compiled, jax.random.key(0))
