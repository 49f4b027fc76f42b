"""Draws from the prior as flat vectors, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import plait
from plait.runtime import prior_points
from tests.runtime import priors
from tests.runtime.adapters import eight_schools, nothing_to_sample


@pytest.mark.parametrize("x64", [True, False])
def test_the_points_follow_the_prior(x64):
    with jax.enable_x64(x64):
        compiled = eight_schools()
        z = prior_points(compiled, jax.random.key(0), (4, 500))
        assert (z.shape, z.dtype) == ((4, 500, 10), compiled.dtype)
        values = compiled.constrain(z.reshape(-1, 10))
    assert stats.kstest(values["mu"], stats.norm(0, 5).cdf).pvalue > 1e-3
    assert stats.kstest(values["tau"], stats.halfnorm(0, 5).cdf).pvalue > 1e-3
    assert stats.kstest(np.ravel(values["raw"]), stats.norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (priors.improper, r"each latent needs a proper one: site 'x' \(ImproperUniform\) has no draws"),
        (priors.masked, r"of latent 'x' its density is masked.*priors.py"),
        (priors.masks_itself, r"of latent 'x' the distribution is masked by .mask.*priors.py"),
        (priors.scaled, r"of latent 'x' its density is scaled.*priors.py"),
    ],
)
def test_a_prior_that_is_not_drawn_from_is_refused(model, message):
    with pytest.raises(plait.ModelError, match=message):
        prior_points(plait.compile(model), jax.random.key(0), 3)


def test_a_scale_of_one_is_no_scale():
    assert np.isfinite(prior_points(plait.compile(priors.scaled_by_one), jax.random.key(0), 3)).all()


def test_draws_on_the_edge_of_a_support_are_refused():
    with pytest.raises(plait.ModelError, match="100 prior draws have x on the edge of its support in float32"):
        prior_points(plait.compile(priors.underflowing), jax.random.key(0), 100)


def test_nothing_to_draw():
    with pytest.raises(plait.ModelError, match="no latent site"):
        prior_points(nothing_to_sample(), jax.random.key(0), 3)


def test_a_subsampled_plate_scales_its_latents():
    def model(rows):
        with plait.plate("rows", 10, subsample_size=5):
            plait.sample("x", dist.Normal(0, 1))
        plait.factor("data", rows.sum())

    with pytest.raises(plait.ModelError, match="of latent 'x' its density is scaled"):
        prior_points(plait.compile(plait.handlers.seed(model, 0), jnp.ones(3)), jax.random.key(0), 3)
