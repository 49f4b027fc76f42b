"""Latent chains: sites inside a plain `lax.scan` for plait, inside NumPyro's own `scan` in the twins."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan as numpyro_scan

from .model import Array

Scan = Callable[..., Any]
Step = Callable[[Any, Any], tuple[Any, None]]
LENGTH = 5


def random_walk(ppl: ModuleType, y: Array | None = None) -> None:
    """x_t ~ N(x_{t-1}, tau) in a scan, y_t ~ N(x_t, 1/2) in a plate after it."""
    _random_walk(ppl, jax.lax.scan, y)


def random_walk_twin(ppl: ModuleType, y: Array | None = None) -> None:
    """`random_walk` for NumPyro."""
    _random_walk(ppl, numpyro_scan, y)


def _random_walk(ppl: ModuleType, scan: Scan, y: Array | None) -> None:
    tau = ppl.sample("tau", dist.HalfNormal(1))

    def step(x: Array, _: None) -> tuple[Array, Array]:
        x = ppl.sample("x", dist.Normal(x, tau))
        return x, x

    _, walk = scan(step, jnp.zeros(()), None, length=LENGTH)
    with ppl.plate("time", LENGTH):
        ppl.sample("y", dist.Normal(walk, 0.5), obs=y)


def state_space(ppl: ModuleType, y: Array) -> None:
    """x_t ~ N(phi x_{t-1}, 1), y_t ~ N(x_t, sigma) and log p -= x_t^2 / 10, all in the body."""
    _state_space(ppl, jax.lax.scan, y)


def state_space_twin(ppl: ModuleType, y: Array) -> None:
    """`state_space` for NumPyro."""
    _state_space(ppl, numpyro_scan, y)


def _state_space(ppl: ModuleType, scan: Scan, y: Array) -> None:
    phi = ppl.sample("phi", dist.Uniform(-1, 1))
    sigma = ppl.sample("sigma", dist.LogNormal(0, 0.5))
    start = ppl.sample("x_0", dist.Normal(0, 1))

    def step(x: Array, y_t: Array) -> tuple[Array, Array]:
        x = ppl.sample("x", dist.Normal(phi * x, 1))
        ppl.sample("y", dist.Normal(x, sigma), obs=y_t)
        ppl.factor("pull", -(x**2) / 10)
        return x, x

    scan(step, start, y)


def positive_walk(ppl: ModuleType, y: Array) -> None:
    """s_t ~ Gamma(20, 20 / s_{t-1}), y_t ~ N(0, s_t): a constrained site, so a Jacobian in every step."""
    _positive_walk(ppl, jax.lax.scan, y)


def positive_walk_twin(ppl: ModuleType, y: Array) -> None:
    """`positive_walk` for NumPyro."""
    _positive_walk(ppl, numpyro_scan, y)


def _positive_walk(ppl: ModuleType, scan: Scan, y: Array) -> None:
    def step(s: Array, y_t: Array) -> tuple[Array, None]:
        s = ppl.sample("s", dist.Gamma(20, 20 / s))
        ppl.sample("y", dist.Normal(0, s), obs=y_t)
        return s, None

    scan(step, jnp.ones(()), y)


def plate_in_scan(ppl: ModuleType, y: Array) -> None:
    """x_{t,i} ~ N(x_{t-1,i}, tau), y_{t,i} ~ N(x_{t,i}, 1), the plate over i in the body: shape (T, 3)."""
    _plate_in_scan(ppl, jax.lax.scan, y)


def plate_around_scan(ppl: ModuleType, y: Array) -> None:
    """The same with the plate over i opened around the scan."""
    tau = ppl.sample("tau", dist.HalfNormal(1))
    with ppl.plate("units", y.shape[1]):
        jax.lax.scan(_unit_step(ppl, tau), jnp.zeros(y.shape[1]), y)


def plate_scan_twin(ppl: ModuleType, y: Array) -> None:
    """Both for NumPyro, whose scan hides its sites from a plate around it: the plate stands in the body."""
    _plate_in_scan(ppl, numpyro_scan, y)


def _plate_in_scan(ppl: ModuleType, scan: Scan, y: Array) -> None:
    tau = ppl.sample("tau", dist.HalfNormal(1))
    step = _unit_step(ppl, tau)

    def step_in_plate(x: Array, y_t: Array) -> tuple[Array, None]:
        with ppl.plate("units", y.shape[1]):
            return step(x, y_t)

    scan(step_in_plate, jnp.zeros(y.shape[1]), y)


def _unit_step(ppl: ModuleType, tau: Array) -> Step:
    def step(x: Array, y_t: Array) -> tuple[Array, None]:
        x = ppl.sample("x", dist.Normal(x, tau))
        ppl.sample("y", dist.Normal(x, 1), obs=y_t)
        return x, None

    return step


def vector_walk(ppl: ModuleType, y: Array) -> None:
    """p_t ~ Dirichlet(1 + 5 p_{t-1}), y_t ~ Categorical(p_t): a carried simplex."""
    _vector_walk(ppl, jax.lax.scan, y)


def vector_walk_twin(ppl: ModuleType, y: Array) -> None:
    """`vector_walk` for NumPyro."""
    _vector_walk(ppl, numpyro_scan, y)


def _vector_walk(ppl: ModuleType, scan: Scan, y: Array) -> None:
    def step(p: Array, y_t: Array) -> tuple[Array, None]:
        p = ppl.sample("p", dist.Dirichlet(1 + 5 * p))
        ppl.sample("y", dist.Categorical(probs=p), obs=y_t)
        return p, None

    scan(step, jnp.ones(3) / 3, y)


def series_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0.2, 0.9, -0.4, -0.1, 0.6])}


def panel_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(11).normal(size=(4, 3))}


def choices_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0, 2, 2, 1])}
