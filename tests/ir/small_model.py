"""The model of the golden texts, printed in a process of its own: ``python -c 'from … import dump; dump()'``.

With it the JSON of its graphs, and of models with branches, scans and params.
"""

import json
import sys

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import plait
from plait.ir.hash import structural_hash
from tests.models import MODELS, SCAN_MODELS


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
    """Prints name, text and hash of the graph after each pass, and as text the JSON of it, as JSON."""
    texts = [(name, str(graph), structural_hash(graph)) for name, graph in compiled().history]
    json.dump({"texts": texts, "json": jsons()}, sys.stdout)


def jsons():
    """The JSON of graphs, as text."""
    graphs = [graph for _, graph in compiled().history]
    for model in (*MODELS, *SCAN_MODELS):
        if model.name in ("empirical_bayes", "switching_walk"):
            found = plait.compile(model.bind(plait), **model.args(np.float32))
            graphs += [found.graph, found.density_graph]
    return [json.dumps(graph.to_json()) for graph in graphs]
