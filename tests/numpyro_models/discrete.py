"""Discrete latents: a log joint of constrained values, and no unconstrained density."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from .case import Case


def labelled_mixture(y, n_components=2):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(n_components)))
    with numpyro.plate("components", n_components):
        means = numpyro.sample("means", dist.Normal(0, 2))
    with numpyro.plate("N", len(y)):
        z = numpyro.sample("z", dist.Categorical(weights), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(means[z], 0.5), obs=y)


def hidden_abundance(counts):
    rate = numpyro.sample("rate", dist.Gamma(4.0, 0.5))
    p = numpyro.sample("p", dist.Beta(4, 2))
    with numpyro.plate("sites", counts.shape[0], dim=-2):
        abundance = numpyro.sample("abundance", dist.Poisson(rate))
        with numpyro.plate("visits", counts.shape[1], dim=-1):
            numpyro.sample("counts", dist.Binomial(abundance + 3, p), obs=counts)


def spike_and_slab(x, y):
    with numpyro.plate("predictors", x.shape[1]):
        included = numpyro.sample("included", dist.Bernoulli(0.3))
        beta = numpyro.sample("beta", dist.Normal(0, 2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(x @ (beta * included), sigma), obs=y)


def switch_point(counts):
    early, late = numpyro.sample("rates", dist.Exponential(0.5).expand([2]))
    switch = numpyro.sample("switch", dist.DiscreteUniform(0, len(counts) - 1))
    with numpyro.plate("years", len(counts)):
        numpyro.sample("counts", dist.Poisson(jnp.where(jnp.arange(len(counts)) < switch, early, late)), obs=counts)


def _cases():
    rng = np.random.default_rng(110)
    x = rng.normal(size=(6, 3))
    return (
        Case(labelled_mixture, (rng.normal(size=7),), discrete=True),
        Case(hidden_abundance, lambda: (jnp.array([[0, 2, 1], [1, 1, 0], [2, 2, 2], [0, 0, 1]]),), discrete=True),
        Case(spike_and_slab, (x, x[:, 0] + rng.normal(size=6)), discrete=True),
        Case(switch_point, (rng.poisson(3, 8),), discrete=True),
    )


CASES = _cases()
