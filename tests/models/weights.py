"""Sites that count more or less than once: scale, mask, masks on distributions, imputation."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from .model import Array


def scaled(ppl: ModuleType, y: Array) -> None:
    """Scales 2.5, 0.4 and their product 1.0: on a positive latent (its Jacobian too), a factor and rows."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.handlers.scale(scale=2.5):
        tau = ppl.sample("tau", dist.HalfNormal(1))
        ppl.factor("penalty", -jnp.square(mu))
        with ppl.plate("rows", y.shape[0]), ppl.handlers.scale(scale=0.4):
            theta = ppl.sample("theta", dist.Normal(mu, tau))
    with ppl.handlers.scale(scale=3.0), ppl.plate("again", y.shape[0]):
        ppl.sample("y", dist.Normal(theta, 0.7), obs=y)


def masked_observations(ppl: ModuleType, seen: Array, y: Array) -> None:
    """Only rows with seen_i count; y_i is NaN elsewhere and must reach neither value nor gradient."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    sigma = ppl.sample("sigma", dist.HalfNormal(1))
    with ppl.plate("rows", y.shape[0]):
        with ppl.handlers.mask(mask=seen):
            ppl.sample("y", dist.Normal(mu, sigma), obs=y)
        ppl.sample("y2", dist.StudentT(4, mu, 1.5).mask(seen), obs=y)


def masked_latents(ppl: ModuleType, keep: Array, y: Array) -> None:
    """tau_i ~ HalfNormal(1) counts where keep_i, and so does its Jacobian; a whole site is masked out."""
    with ppl.handlers.mask(mask=False):
        off = ppl.sample("off", dist.HalfNormal(1))
    with ppl.plate("rows", y.shape[0]):
        with ppl.handlers.mask(mask=keep):
            tau = ppl.sample("tau", dist.HalfNormal(1))
            ppl.factor("penalty", -tau)
        with ppl.handlers.mask(mask=keep), ppl.handlers.scale(scale=2.0):
            ppl.sample("y", dist.Normal(off, tau), obs=y)


def imputed(ppl: ModuleType, seen: Array, y: Array) -> None:
    """y_i given where seen_i, else latent y_unobserved_i; z ~ N(sum y, 1) reads the completed y."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", y.shape[0]):
        filled = ppl.sample("y", dist.Normal(mu, 1), obs=y, obs_mask=seen)
    ppl.sample("z", dist.Normal(jnp.sum(filled), 1), obs=0.5)


def rows_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0.3, -1.2, 0.8, 1.9])}


def nan_data() -> dict[str, np.ndarray]:
    return {"seen": np.array([True, False, True, True]), "y": np.array([0.3, np.nan, -0.8, 1.1])}


def kept_data() -> dict[str, np.ndarray]:
    return {"keep": np.array([True, False, True]), "y": np.array([0.3, 2.0, -0.8])}
