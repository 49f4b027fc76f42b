"""Sites inside `lax.cond` and `lax.switch`; NumPyro's twins choose the parameters with `jnp.where` instead."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan as numpyro_scan

from .model import Array


def regimes(ppl: ModuleType, y: Array) -> None:
    """x ~ U(0, 1 + s) and precise data if u > 0, else x ~ U(0, 2) under a scale and noisy data."""
    s = ppl.sample("s", dist.HalfNormal(1))
    u = ppl.sample("u", dist.Normal(0, 1))

    def calm(width: Array) -> Array:
        x = ppl.sample("x", dist.Uniform(0.0, 1 + width))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(x, 0.5), obs=y)
        return ppl.deterministic("level", 2 * x)

    def stormy(width: Array) -> Array:
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(width, 3.0), obs=y)
        x = ppl.sample("x", dist.Uniform(0.0, 2.0 + 0 * width))
        return ppl.deterministic("level", x - width)

    level = jax.lax.cond(u > 0, calm, stormy, s)
    ppl.sample("z", dist.Normal(level, 1), obs=0.3)


def regimes_twin(ppl: ModuleType, y: Array) -> None:
    """`regimes` for NumPyro."""
    s = ppl.sample("s", dist.HalfNormal(1))
    u = ppl.sample("u", dist.Normal(0, 1))
    x = ppl.sample("x", dist.Uniform(0.0, jnp.where(u > 0, 1 + s, 2.0)))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(jnp.where(u > 0, x, s), jnp.where(u > 0, 0.5, 3.0)), obs=y)
    level = ppl.deterministic("level", jnp.where(u > 0, 2 * x, x - s))
    ppl.sample("z", dist.Normal(level, 1), obs=0.3)


def regimes_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0.4, 1.1, -0.2])}


def switching_walk(ppl: ModuleType, regime: Array, y: Array) -> None:
    """A chain in a scan whose step is one of three, by a known regime, with a latent and a plate in each."""
    scale = ppl.sample("scale", dist.HalfNormal(1))

    def stay(x: Array, y_t: Array) -> Array:
        return _step(ppl, x, 0.1 * scale, y_t)

    def drift(x: Array, y_t: Array) -> Array:
        return _step(ppl, x + 1, scale, y_t)

    def jump(x: Array, y_t: Array) -> Array:
        return _step(ppl, 0 * x, 5 * scale, y_t)

    def step(x: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        return jax.lax.switch(now[0], [stay, drift, jump], x, now[1]), None

    jax.lax.scan(step, jnp.zeros(()), (regime, y))


def switching_walk_twin(ppl: ModuleType, regime: Array, y: Array) -> None:
    """`switching_walk` for NumPyro."""
    scale = ppl.sample("scale", dist.HalfNormal(1))

    def step(x: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        k, y_t = now
        loc = jnp.stack([x, x + 1, 0 * x])[k]
        return _step(ppl, loc, jnp.array([0.1, 1, 5])[k] * scale, y_t), None

    numpyro_scan(step, jnp.zeros(()), (regime, y))


def _step(ppl: ModuleType, loc: Array, sd: Array, y_t: Array) -> Array:
    x = ppl.sample("x", dist.Normal(loc, sd))
    with ppl.plate("sensors", 2):
        ppl.sample("y", dist.Normal(x, 0.5), obs=y_t)
    return x


def switching_walk_data() -> dict[str, np.ndarray]:
    return {"regime": np.array([0, 2, 1, 0]), "y": np.arange(8.0).reshape(4, 2) / 5}
