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


def summed_factors(ppl: ModuleType, X: Array, y: Array, k: Array, g: Array, w: Array) -> None:
    """Rows of normal, Poisson and logistic regressions and a dot product, each summed in one factor."""
    b = ppl.sample("b", dist.Normal(jnp.zeros(2), 1).to_event(1))
    a = ppl.sample("a", dist.Normal(jnp.zeros(3), 1).to_event(1))
    s = ppl.sample("s", dist.HalfNormal(1))
    r, eta = y - X @ b, a[g]
    ppl.factor("squares", -0.5 * jnp.sum((r / s) ** 2) - y.shape[0] * jnp.log(s) - jnp.sum(jnp.abs(r)))
    ppl.factor("counts", jnp.sum(k * eta - jnp.exp(eta)))
    ppl.factor("dot", jnp.dot(w, y - eta) / s)
    with ppl.plate("rows", y.shape[0]), ppl.handlers.mask(mask=k > 0):
        ppl.factor("sides", (k > 1) * eta - jnp.log1p(jnp.exp(eta)))


def summed_factors_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    X, g = rng.normal(size=(30, 2)), rng.choice([0, 2], 30)
    rows = {"y": rng.normal(size=30), "k": rng.poisson(2.0, 30).astype(float), "w": rng.normal(size=30)}
    return {"X": X, "g": g} | rows


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
