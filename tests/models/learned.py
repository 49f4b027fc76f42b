"""Models with `param` sites: values that are optimized, not sampled."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.example_libraries import stax
from numpyro.distributions import constraints

from .model import Array


def empirical_bayes(ppl: ModuleType, y: Array) -> None:
    """theta_i ~ N(m, tau), y_i ~ N(theta_i, 1), where m (real) and tau (positive) are params."""
    m = ppl.param("m", jnp.array([0.25, -0.5, 1.0]))
    tau = ppl.param("tau", 1.5, constraint=constraints.positive)
    with ppl.plate("rows", y.shape[0]):
        theta = ppl.sample("theta", dist.Normal(m, tau))
        ppl.sample("y", dist.Normal(theta, 1), obs=y)


def empirical_bayes_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0.3, -1.2, 0.8])}


def neural_regression(ppl: ModuleType, x: Array, y: Array | None = None) -> None:
    """y_i ~ N(net(x_i), sigma), net a stax network of two dense layers whose weights are one param site."""
    layers = stax.serial(stax.Dense(3), stax.Relu, stax.Dense(1))
    net = ppl.module("net", layers, input_shape=(x.shape[1],))
    sigma = ppl.sample("sigma", dist.HalfNormal(1))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(net(x)[:, 0], sigma), obs=y)


def neural_regression_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(10)
    return {"x": rng.normal(size=(6, 2)), "y": rng.normal(size=6)}
