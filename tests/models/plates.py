"""Plates inside plates and plates across plates, with dims that are given and dims that are allocated."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from .model import Array


def nested_explicit(ppl: ModuleType, y: Array) -> None:
    """mu_s ~ N(0, 1), theta_{c,s} ~ N(mu_s, tau), y_{c,s} ~ N(theta_{c,s}, 1), at dims -1 and -2."""
    tau = ppl.sample("tau", dist.HalfNormal(1))
    with ppl.plate("schools", y.shape[1], dim=-1):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        with ppl.plate("classes", y.shape[0], dim=-2):
            theta = ppl.sample("theta", dist.Normal(mu, tau))
            ppl.sample("y", dist.Normal(theta, 1), obs=y)


def nested_allocated(ppl: ModuleType, y: Array) -> None:
    """The same nest without dims: the outer plate takes -1, the inner -2, the innermost -3."""
    with ppl.plate("schools", y.shape[2]):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        with ppl.plate("classes", y.shape[1]):
            sigma = ppl.sample("sigma", dist.Gamma(2, 1))
            with ppl.plate("pupils", y.shape[0]):
                ppl.sample("y", dist.Normal(mu, sigma), obs=y)


def nested_outer_left(ppl: ModuleType, y: Array) -> None:
    """Outer plate at -2, so mu has shape (3, 1); the inner plate is allocated at -1."""
    with ppl.plate("rows", y.shape[0], dim=-2):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        with ppl.plate("columns", y.shape[1]):
            ppl.sample("y", dist.Normal(mu, 0.5), obs=y)


def crossed(ppl: ModuleType, y: Array) -> None:
    """y_{r,c} ~ N(mu + a_r + b_c, sigma); each plate object is entered twice."""
    mu = ppl.sample("mu", dist.Normal(0, 2))
    sigma = ppl.sample("sigma", dist.LogNormal(0, 0.5))
    rows = ppl.plate("rows", y.shape[0], dim=-2)
    columns = ppl.plate("columns", y.shape[1], dim=-1)
    with rows:
        a = ppl.sample("a", dist.Normal(0, 1))
    with columns:
        b = ppl.sample("b", dist.Normal(0, 1))
    with rows, columns:
        ppl.sample("y", dist.Normal(mu + a + b, sigma), obs=y)


def same_size_plates(ppl: ModuleType, y: Array) -> None:
    """Two crossed plates of one size, so that a mix-up of their axes changes no shape, only the value."""
    with ppl.plate("senders", y.shape[0], dim=-2):
        out = ppl.sample("out", dist.Normal(0, 1))
    with ppl.plate("receivers", y.shape[1], dim=-1):
        into = ppl.sample("into", dist.Normal(1, 2))
        with ppl.plate("senders_again", y.shape[0], dim=-2):
            ppl.sample("y", dist.Normal(out - 2 * into, 1), obs=y)


def subsampled(ppl: ModuleType, y: Array, rows: Array, columns: Array) -> None:
    """Two crossed plates, 3 of 5 rows and 2 of 4 columns, with positive latents of the rows and a param of each."""

    def model() -> None:
        sd = ppl.param("sd", jnp.full(5, 0.5), constraint=constraints.positive)
        mu = ppl.sample("mu", dist.Normal(0, 1))
        over_rows = ppl.plate("rows", 5, subsample_size=3, dim=-2)
        with over_rows as r:
            local = ppl.sample("local", dist.LogNormal(mu, sd[r, None]))
        with over_rows, ppl.plate("columns", 4, subsample_size=2, dim=-1):
            batch = ppl.subsample(y, event_dim=0)
            ppl.sample("y", dist.Normal(local, 1), obs=batch)
            ppl.factor("f", -0.1 * mu**2)

    ppl.handlers.substitute(model, data={"rows": jnp.asarray(rows), "columns": jnp.asarray(columns)})()


def minibatch_data() -> dict[str, np.ndarray]:
    y = np.random.default_rng(7).normal(size=(5, 4))
    return {"y": y, "rows": np.array([4, 0, 3]), "columns": np.array([1, 2])}


def matrix_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(4).normal(size=(3, 4))}


def square_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(5).normal(size=(3, 3))}


def cube_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(6).normal(size=(2, 3, 2))}
