"""Groups that share a prior, centered and non-centered, with rows that find their group by an index."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.infer.reparam import LocScaleReparam, TransformReparam

from .model import Array


def eight_schools(ppl: ModuleType, sigma: Array, y: Array | None = None) -> None:
    """theta_j ~ N(mu, tau), y_j ~ N(theta_j, sigma_j)."""
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", sigma.shape[0]):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("obs", dist.Normal(theta, sigma), obs=y)


def eight_schools_noncentered(ppl: ModuleType, sigma: Array, y: Array | None = None) -> Array:
    """raw_j ~ N(0, 1), theta_j = mu + tau raw_j, y_j ~ N(theta_j, sigma_j)."""
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfNormal(5))
    with ppl.plate("schools", sigma.shape[0]):
        raw = ppl.sample("raw", dist.Normal(0, 1))
        theta = ppl.deterministic("theta", mu + tau * raw)
        ppl.sample("obs", dist.Normal(theta, sigma), obs=y)
    return theta


def eight_schools_data() -> dict[str, np.ndarray]:
    return {
        "sigma": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
        "y": np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    }


def eight_schools_reparam(ppl: ModuleType, sigma: Array, y: Array | None = None) -> None:
    """The centered model, un-centered by `handlers.reparam`; the scale through `TransformReparam`."""

    def centered() -> None:
        mu = ppl.sample("mu", dist.Normal(0, 5))
        tau = ppl.sample("tau", dist.TransformedDistribution(dist.Normal(0, 1), dist.transforms.ExpTransform()))
        with ppl.plate("schools", len(sigma)):
            theta = ppl.sample("theta", dist.Normal(mu, tau))
            ppl.sample("y", dist.Normal(theta, sigma), obs=y)

    config = {"theta": LocScaleReparam(0.3), "tau": TransformReparam()}
    ppl.handlers.reparam(centered, config=config)()


def radon(ppl: ModuleType, county: Array, floor: Array, uranium: Array, y: Array | None = None) -> None:
    """alpha_c ~ N(gamma_0 + gamma_1 u_c, tau), y_i ~ N(alpha_{c(i)} + beta x_i, sigma)."""
    gamma = ppl.sample("gamma", dist.Normal(0, 1).expand([2]).to_event(1))
    tau = ppl.sample("tau", dist.HalfNormal(1))
    beta = ppl.sample("beta", dist.Normal(0, 1))
    sigma = ppl.sample("sigma", dist.Exponential(1))
    with ppl.plate("counties", uranium.shape[0]):
        alpha = ppl.sample("alpha", dist.Normal(gamma[0] + gamma[1] * uranium, tau))
    with ppl.plate("houses", floor.shape[0]):
        ppl.sample("y", dist.Normal(alpha[county] + beta * floor, sigma), obs=y)


def radon_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "county": np.array([0, 0, 2, 1, 2, 2, 3, 0, 1, 2]),
        "floor": np.array([0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0]),
        "uranium": rng.normal(size=4),
        "y": rng.normal(1.3, 0.8, size=10),
    }


def correlated_slopes(ppl: ModuleType, group: Array, x: Array, y: Array | None = None) -> None:
    """L ~ LKJ(2), b_g ~ N(0, diag(tau) L), y_i ~ N(x_i . b_{g(i)}, sigma): a Cholesky factor as support."""
    corr = ppl.sample("L", dist.LKJCholesky(2, concentration=2.0))
    tau = ppl.sample("tau", dist.HalfNormal(1).expand([2]).to_event(1))
    sigma = ppl.sample("sigma", dist.HalfNormal(1))
    with ppl.plate("groups", N_GROUPS):
        b = ppl.sample("b", dist.MultivariateNormal(jnp.zeros(2), scale_tril=tau[:, None] * corr))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(jnp.sum(x * b[group], axis=-1), sigma), obs=y)


N_GROUPS = 3


def correlated_slopes_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {
        "group": np.array([0, 1, 1, 2, 0, 2, 2]),
        "x": np.stack([np.ones(7), rng.normal(size=7)], axis=1),
        "y": rng.normal(size=7),
    }
