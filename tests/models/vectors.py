"""Sites whose events are vectors."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from .model import Array


def vector_events(ppl: ModuleType, scale_tril: Array, y: Array | None = None) -> None:
    """mean ~ MVN(0, L L'), sd ~ HalfNormal(1)^3, y_i ~ prod_k N(mean_k, sd_k)."""
    mean = ppl.sample("mean", dist.MultivariateNormal(jnp.zeros(3), scale_tril=scale_tril))
    sd = ppl.sample("sd", dist.HalfNormal(1).expand([3]).to_event(1))
    with ppl.plate("rows", 4):
        ppl.sample("y", dist.Normal(mean, sd).to_event(1), obs=y)


def multivariate_rows(ppl: ModuleType, scale_tril: Array, y: Array | None = None) -> None:
    """m_i ~ MVN(0, L L'), y_i ~ MVN(m_i, s^2 L L'): multivariate latents and observations in a plate."""
    s = ppl.sample("s", dist.LogNormal(0, 0.5))
    with ppl.plate("rows", 4):
        m = ppl.sample("m", dist.MultivariateNormal(jnp.zeros(3), scale_tril=scale_tril))
        ppl.sample("y", dist.MultivariateNormal(m, scale_tril=s * scale_tril), obs=y)


def vector_data() -> dict[str, np.ndarray]:
    return {
        "scale_tril": np.array([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [-0.3, 0.2, 1.1]]),
        "y": np.random.default_rng(7).normal(size=(4, 3)),
    }


def expanded_events(ppl: ModuleType, y: Array) -> None:
    """Normal(0, 1).expand([3]).to_event(1), a matrix event and a plate that expands a vector event."""
    w = ppl.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
    m = ppl.sample("m", dist.Laplace(0, 1).expand([3, 2]).to_event(2))
    with ppl.plate("rows", y.shape[0]):
        v = ppl.sample("v", dist.Exponential(2).expand([3]).to_event(1))
        ppl.sample("y", dist.Normal((w + v) @ m, 1).to_event(1), obs=y)


def expanded_events_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(8).normal(size=(4, 2))}


def sample_shapes(ppl: ModuleType, y: Array) -> None:
    """sample_shape joins the batch shape: alone, and to the left of the plate's axis."""
    a = ppl.sample("a", dist.Normal(0, 1), sample_shape=(2,))
    with ppl.plate("rows", y.shape[1]):
        b = ppl.sample("b", dist.Normal(jnp.sum(a), 1), sample_shape=(2, 1))
        ppl.sample("y", dist.Normal(b, 1), obs=y)


def sample_shapes_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(9).normal(size=(2, 3))}


def inverted(ppl: ModuleType, y: Array | None = None) -> None:
    """A precision that is the inverse of a covariance, and a quadratic form with that inverse."""
    scale = ppl.sample("scale", dist.HalfNormal(1))
    loc = ppl.sample("loc", dist.Normal(jnp.zeros(3), 1).to_event(1))
    precision = jnp.linalg.inv(scale**2 * jnp.ones((3, 3)) + jnp.eye(3))
    ppl.factor("ridge", -0.5 * loc @ precision @ loc)
    ppl.sample("y", dist.MultivariateNormal(loc, precision_matrix=precision), obs=y)


def inverted_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0.5, -1.0, 0.3])}
