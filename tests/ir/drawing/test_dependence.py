"""Edges against numbers: whatever moves a site's term when a latent moves is an edge, through deterministics or not."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

import plait
from tests.models import MODELS, SCAN_MODELS, some


@pytest.mark.parametrize("model", some(some([*MODELS, *SCAN_MODELS])), ids=lambda m: m.name)
def test_every_dependence_of_a_term_is_an_edge(model):
    with jax.enable_x64(True):
        compiled = plait.compile(model.bind(plait), **model.args(np.float64))
        found = dependences(compiled.with_params(compiled.init_param_values(jax.random.key(0))))
    drawn = compiled.draw().picture
    assert found <= direct(drawn)
    assert {name for pair in found for name in pair} <= {node.id for node in drawn.nodes}


def dependences(compiled):
    """(a, b) where the term of b has a derivative in the latent a, by automatic differentiation at two points."""
    family = {name: pattern for pattern, names in compiled.families.items() for name in names}

    def mixed(values):
        terms = compiled.log_prob_terms(values)
        return {name: jnp.sum(t * jnp.sin(1.0 + jnp.arange(t.size)).reshape(t.shape)) for name, t in terms.items()}

    found = set()
    for seed in (1, 2):
        z = jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, compiled.dim))
        values = compiled.constrain(z, stacked=True)
        slopes = jax.device_get(jax.jit(jax.jacrev(mixed, allow_int=True))(values))
        for term, by_latent in slopes.items():
            moved = [latent for latent, slope in by_latent.items() if slope.dtype.kind == "f" and np.any(slope != 0)]
            found |= {(latent, family.get(term, term)) for latent in moved}
    return {(a, b) for a, b in found if a != b}


def direct(drawn):
    """The edges, and those that paths through deterministics make."""
    graph = nx.DiGraph((e.tail, e.head) for e in drawn.edges)
    for node in drawn.nodes:
        if node.kind == "deterministic" and node.id in graph:
            before, after = list(graph.predecessors(node.id)), list(graph.successors(node.id))
            graph.add_edges_from((a, b) for a in before for b in after)
    return set(graph.edges)
