"""Finite mixtures and a hidden Markov model with the component summed out, by a distribution and by hand."""

from types import ModuleType

import jax
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


def hidden_markov(ppl: ModuleType, y: Array) -> None:
    """y_t ~ N(loc[s_t], 1) with states s_t summed out by the forward algorithm, in a plain `lax.scan`."""
    stay = ppl.sample("stay", dist.Beta(4, 2))
    loc = ppl.sample("loc", dist.Normal(jnp.array([-1.0, 1.0]), 1).to_event(1))
    log_p = jnp.log(jnp.array([[0.0, 1.0], [1.0, 0.0]]) + jnp.array([[1.0, -1.0], [-1.0, 1.0]]) * stay)

    def step(log_alpha: Array, y_t: Array) -> tuple[Array, None]:
        return logsumexp(log_alpha[:, None] + log_p, axis=0) + dist.Normal(loc, 1).log_prob(y_t), None

    log_alpha, _ = jax.lax.scan(step, dist.Normal(loc, 1).log_prob(y[0]) - jnp.log(2.0), y[1:])
    ppl.factor("y", logsumexp(log_alpha))


def mixture_data() -> dict[str, np.ndarray]:
    return {"y": np.array([-1.3, -0.8, 0.1, 0.9, 1.6])}
