"""Models for samplers that go from prior to posterior: likelihoods that are 0 somewhere, priors without draws."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy.stats import norm, truncnorm

import plait


def half_possible():
    """x is standard normal, y normal around it and seen at 1, and x < 0 impossible; at x < -2 the likelihood is NaN."""
    x = plait.sample("x", dist.Normal(0, 1))
    plait.sample("y", dist.Normal(x, 1), obs=jnp.asarray(1.0))
    plait.factor("bound", jnp.where(x > 0, 0.0, jnp.where(x > -2, -jnp.inf, jnp.nan)))


def half_possible_posterior() -> tuple[float, float]:
    """Mean of x, which is normal with mean 1/2 and sd sqrt(1/2), cut at 0; and the log evidence."""
    uncut = norm(0.5, 0.5**0.5)
    cut = truncnorm((0 - uncut.mean()) / uncut.std(), np.inf, uncut.mean(), uncut.std())
    return float(cut.mean()), float(norm(0, 2**0.5).logpdf(1) + uncut.logsf(0))


def impossible():
    """A likelihood that is zero at all draws."""
    x = plait.sample("x", dist.Normal(0, 1))
    plait.factor("never", jnp.where(x > 100, 0.0, -jnp.inf))


def infinite():
    """A likelihood that is infinite at half of the draws."""
    x = plait.sample("x", dist.Normal(0, 1))
    plait.factor("always", jnp.where(x > 0, 0.0, jnp.inf))


def uninformed():
    """No data."""
    plait.sample("x", dist.Normal(0, 1))


def improper():
    plait.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
    plait.factor("pull", jnp.asarray(0.0))


def masked():
    with plait.handlers.mask(mask=jnp.asarray(False)):
        plait.sample("x", dist.Normal(0, 1))


def masks_itself():
    plait.sample("x", dist.Normal(0, 1).expand([2]).mask(jnp.array([True, False])).to_event(1))


def scaled():
    with plait.handlers.scale(scale=2.0):
        plait.sample("x", dist.Normal(0, 1))


def scaled_by_one():
    with plait.handlers.scale(scale=1.0):
        plait.sample("x", dist.Normal(0, 1))


def underflowing():
    """Most draws of x are 0 in float32."""
    plait.sample("x", dist.Gamma(1e-3, 1.0))
