"""JAX's own control flow in a model: loops and branches without sites, jitted helpers with them."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist

from .model import Array

Jit = Callable[..., Any]


def moving_average(ppl: ModuleType, y: Array) -> None:
    """e_t = y_t - mu - phi e_{t-1} by a plain `lax.scan`, y_t ~ N(mu + phi e_{t-1}, sigma)."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    phi = ppl.sample("phi", dist.Uniform(-1, 1))
    sigma = ppl.sample("sigma", dist.HalfNormal(1))

    def step(error: Any, y_t: Any) -> tuple[Any, Any]:
        mean = mu + phi * error
        return y_t - mean, mean

    _, means = jax.lax.scan(step, y[0] - mu, y)
    with ppl.plate("time", y.shape[0]):
        ppl.sample("y", dist.Normal(means, sigma), obs=y)


def series_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0.2, 0.9, -0.4, -0.1, 0.6])}


def branches(ppl: ModuleType, x: Array, y: Array | None = None) -> None:
    """slope = b if b > 0 else b / 10 by `lax.cond`, raised to the third power by `fori_loop`."""
    b = ppl.sample("b", dist.Normal(0, 1))
    slope = jax.lax.cond(b > 0, lambda v: v, lambda v: v / 10, b)
    cubed = jax.lax.fori_loop(0, 2, lambda _, v: v * slope, slope)
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(cubed * x, 1), obs=y)


def branches_data() -> dict[str, np.ndarray]:
    return {"x": np.array([-1.0, 0.5, 2.0]), "y": np.array([0.1, 0.4, -0.6])}


def jitted_helper(ppl: ModuleType, y: Array) -> None:
    """theta_i ~ N(mu, tau), y_i ~ N(theta_i, 1) with the plate and its sites inside a `jax.jit` helper."""
    _with_helper(ppl, y, jax.jit)


def unjitted_helper(ppl: ModuleType, y: Array) -> None:
    """`jitted_helper` for NumPyro, where a site inside `jit` leaks its tracer."""
    _with_helper(ppl, y, _no_jit)


def _with_helper(ppl: ModuleType, y: Array, jit: Jit) -> None:
    @jit
    def helper(mu: Array, tau: Array) -> Array:
        with ppl.plate("rows", y.shape[0]):
            return ppl.sample("theta", dist.Normal(mu, tau))

    mu = ppl.sample("mu", dist.Normal(0, 1))
    tau = ppl.sample("tau", dist.HalfNormal(1))
    theta = helper(mu, tau)
    with ppl.plate("again", y.shape[0]):
        ppl.sample("y", dist.Normal(theta, 1), obs=y)


def jitted_reuse(ppl: ModuleType, y: Array) -> None:
    """One jitted helper under two scopes, scales, plates and masks; JAX's cache must keep them apart."""
    _with_reuse(ppl, y, jax.jit)


def unjitted_reuse(ppl: ModuleType, y: Array) -> None:
    """`jitted_reuse` for NumPyro."""
    _with_reuse(ppl, y, _no_jit)


def _with_reuse(ppl: ModuleType, y: Array, jit: Jit) -> None:
    @jit
    def helper(y: Array) -> Array:
        sd = ppl.sample("sd", dist.HalfNormal(1))
        ppl.sample("y", dist.Normal(0, sd), obs=y)
        return sd

    with ppl.handlers.scope(prefix="a"):
        first = helper(y[0])
    with ppl.handlers.scope(prefix="b"), ppl.handlers.scale(scale=2.0):
        helper(y[0])
    with ppl.handlers.scope(prefix="c"), ppl.plate("rows", 2):
        # Same argument types as above: the plate alone makes this a new trace.
        rows = helper(y[0])
        with ppl.handlers.mask(mask=False), ppl.handlers.scope(prefix="d"):
            helper(y[0])
    ppl.factor("tie", -((first - rows.sum()) ** 2))


def _no_jit(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn
