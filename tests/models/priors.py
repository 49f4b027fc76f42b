"""Many small priors of a few families, each written on a line of its own, as regressions have them."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from .model import Array


def small_priors(ppl: ModuleType, x: Array, kept: Array, weight: Array, y: Array | None = None) -> None:
    """Coefficients and scales one by one, by stretches and alternating; free, known, vector-valued, weighted."""
    b = [
        ppl.sample("b0", dist.Normal(0, 10)),
        ppl.sample("b1", dist.Normal(0, 2.5)),
        ppl.sample("b2", dist.Normal(0.5, 1)),
        ppl.sample("b3", dist.Normal(x[0], 1)),
        ppl.sample("b4", dist.Normal(jnp.zeros(3), jnp.array([1.0, 2.0, 3.0]))).sum(),
    ]
    s = [
        ppl.sample("s0", dist.HalfNormal(1)),
        ppl.sample("s1", dist.HalfNormal(2)),
        ppl.sample("s2", dist.Exponential(1.5)),
        ppl.sample("s3", dist.HalfNormal(2).expand([2])).sum(),
        ppl.sample("s4", dist.HalfNormal(0.5)),
    ]
    c = [
        ppl.sample("c0", dist.Normal(b[0], s[0])),
        ppl.sample("t0", dist.Beta(2, 3)),
        ppl.sample("c1", dist.Normal(b[1], s[1])),
        ppl.sample("t1", dist.Beta(2, 2)),
        ppl.sample("c2", dist.Normal(b[2], s[0])),
    ]
    with ppl.handlers.scale(scale=weight):
        w = [
            ppl.sample("w0", dist.Gamma(3, 2)),
            ppl.sample("w1", dist.Gamma(2, 2)),
            ppl.sample("w2", dist.Gamma(4, 3)),
            ppl.sample("w3", dist.Gamma(5, 4)),
        ]
    with ppl.handlers.mask(mask=kept):
        m = [
            ppl.sample("m0", dist.Normal(0, 1)),
            ppl.sample("m1", dist.Normal(1, 2)),
            ppl.sample("m2", dist.Normal(0, 3)),
            ppl.sample("m3", dist.Normal(2, 1)),
        ]
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(sum(b) + sum(c) * x, sum(s) + sum(w)), obs=y)
        ppl.sample("z", dist.Normal(sum(m), 1), obs=x)


def small_priors_data() -> dict[str, np.ndarray]:
    return {
        "x": np.array([-0.4, 0.3, 1.1]),
        "kept": np.array(False),
        "weight": np.array(0.7),
        "y": np.array([0.2, -1.0, 2.5]),
    }
