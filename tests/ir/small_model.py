"""The model of the golden texts, printed in a process of its own: ``python -c 'from … import dump; dump()'``."""

import json
import sys

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import plait
from plait.ir.hash import structural_hash


def model(group, y=None):
    mu = plait.sample("mu", dist.StudentT(4.0, 0.0, 2.0))
    with plait.plate("groups", 2):
        a = plait.sample("a", dist.HalfNormal(1.0))
        plait.deterministic("total", mu + a)
    with plait.plate("rows", 3), plait.handlers.scale(scale=2.0):
        plait.sample("y", dist.Normal(mu * a[group], jnp.array([0.5, 1.0, 2.0])), obs=y)
    plait.factor("tie", -(mu**2))
    x = 0.0
    for i in range(3):
        x = plait.sample(f"x_{i}", dist.Normal(x, 1.0 + i))
        plait.factor(f"pull_{i}", -jnp.abs(x))


def compiled():
    return plait.compile(model, np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3], np.float32))


def dump():
    """Prints name, text and hash of the graph after each pass, as JSON."""
    json.dump([(name, str(graph), structural_hash(graph)) for name, graph in compiled().history], sys.stdout)
