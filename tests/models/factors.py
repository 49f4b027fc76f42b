"""Terms written by hand, values named on the way, and terms that no latent reaches."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from .model import Array


def factors(ppl: ModuleType, y: Array) -> None:
    """log p -= mu^4 / 9 + sum(mu arange(3)) + sum_i |y_i - mu| + N mu^2 / 2, the last two in a plate."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    ppl.factor("scalar", -(mu**4) / 9)
    ppl.factor("vector", -mu * jnp.arange(3.0))
    with ppl.plate("rows", y.shape[0]):
        ppl.factor("rows_term", -jnp.abs(y - mu))
        # A scalar under a plate counts once for each of its elements.
        ppl.factor("broadcast", -0.5 * mu**2)


def factors_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0.3, 2.5, -0.7])}


def deterministic_chain(ppl: ModuleType, x: Array, y: Array | None = None) -> Array:
    """rate_i = exp(a x_i), its sum named too, and both feed sites further down."""
    a = ppl.sample("a", dist.Normal(0, 0.5))
    with ppl.plate("rows", x.shape[0]):
        rate = ppl.deterministic("rate", jnp.exp(a * x))
        ppl.sample("y", dist.Exponential(rate), obs=y)
    total = ppl.deterministic("total", jnp.sum(rate))
    b = ppl.sample("b", dist.Normal(total, 1))
    return ppl.deterministic("shifted", b + 1)


def deterministic_chain_data() -> dict[str, np.ndarray]:
    return {"x": np.array([-0.5, 0.2, 1.0]), "y": np.array([0.4, 2.1, 0.7])}


def one_latent(ppl: ModuleType, heads: Array, x: Array, y: Array) -> None:
    """p ~ Beta(2, 2), heads ~ Binomial(10, p), beside an observed site and a factor made of data alone."""
    p = ppl.sample("p", dist.Beta(2, 2))
    ppl.sample("heads", dist.Binomial(10, p), obs=heads)
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(2 * x, 1), obs=y)
    ppl.factor("known", -jnp.sum(x**2))


def one_latent_data() -> dict[str, np.ndarray]:
    return {"heads": np.array(7), "x": np.array([0.1, -0.4]), "y": np.array([0.5, -1.0])}


def empty(ppl: ModuleType) -> None:
    """No site at all: the density is 0."""


def empty_data() -> dict[str, np.ndarray]:
    return {}
