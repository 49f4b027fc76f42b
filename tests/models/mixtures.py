"""Finite mixtures with the component summed out, by a distribution and by hand."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import logsumexp

from .model import Array


def mixture(ppl: ModuleType, y: Array) -> None:
    """y_i ~ sum_k w_k N(loc_k, scale) by MixtureSameFamily."""
    w = ppl.sample("w", dist.Dirichlet(jnp.array([2.0, 2.0])))
    loc = ppl.sample("loc", dist.Normal(jnp.array([-1.0, 1.0]), 1).to_event(1))
    scale = ppl.sample("scale", dist.HalfNormal(1))
    components = dist.Normal(loc, scale)
    with ppl.plate("rows", y.shape[0]):
        ppl.sample("y", dist.MixtureSameFamily(dist.Categorical(probs=w), components), obs=y)


def handmade_mixture(ppl: ModuleType, y: Array) -> None:
    """The same density as a factor: log sum_k exp(log w_k + log N(y_i | loc_k, scale))."""
    w = ppl.sample("w", dist.Dirichlet(jnp.array([2.0, 2.0])))
    loc = ppl.sample("loc", dist.Normal(jnp.array([-1.0, 1.0]), 1).to_event(1))
    scale = ppl.sample("scale", dist.HalfNormal(1))
    with ppl.plate("rows", y.shape[0]):
        by_component = jnp.log(w) + dist.Normal(loc, scale).log_prob(y[:, None])
        ppl.factor("y", logsumexp(by_component, axis=-1))


def mixture_data() -> dict[str, np.ndarray]:
    return {"y": np.array([-1.3, -0.8, 0.1, 0.9, 1.6])}
