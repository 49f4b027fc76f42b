"""Rows 96 to 99: the graph of the sites."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer.inspect import get_model_relations

import plait
from plait.ir.drawing.site_graph import site_graph
from tests.helpers import both, compiled

Y = np.zeros(4, np.float32)


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


def parents(ppl, model):
    """The parents of each site."""
    if ppl is numpyro:
        return get_model_relations(partial(model, numpyro))["sample_sample"]
    graph = site_graph(compiled(model).graph.to_json())
    return {name: list(graph.predecessors(name)) for name in graph}


def through_a_deterministic(ppl):
    a = ppl.sample("a", N())
    d = ppl.deterministic("d", a + 1)
    ppl.sample("o", N(d), obs=0.0)


@both
def test_row_96_a_deterministic_stands_between(ppl):
    assert parents(ppl, through_a_deterministic) == {"a": [], "d": ["a"], "o": ["d"]}


@both
def test_row_97_a_factor_is_a_node_with_its_parents(ppl):
    def model(ppl):
        a = ppl.sample("a", N())
        ppl.sample("b", N())
        ppl.factor("f", -(a**2))

    assert parents(ppl, model) == {"a": [], "b": [], "f": ["a"]}


@both
def test_row_98_an_edge_through_a_product_with_zero(ppl):
    def model(ppl):
        a = ppl.sample("a", N())
        ppl.sample("b", N(a * 0))

    assert parents(ppl, model) == {"a": [], "b": ["a"]}


@both
def test_row_98_no_edge_through_zeros_of_a_shape(ppl):
    def model(ppl):
        a = ppl.sample("a", N())
        ppl.sample("b", N(jnp.zeros_like(a)))

    assert parents(ppl, model) == {"a": [], "b": []}


def chain(ppl):
    tau = ppl.sample("tau", dist.HalfNormal(1.0))

    def step(x, y):
        x = ppl.sample("x", dist.Normal(x, tau))
        ppl.sample("y", N(x), obs=y)
        return x, None

    jax.lax.scan(step, jnp.float32(0.0), Y)


def test_row_99_the_edge_from_the_step_before():
    edges = site_graph(compiled(chain).graph.to_json()).edges(data="temporal", default=False)
    assert set(edges) == {("x", "x", True), ("tau", "x", False), ("x", "y", False)}


def test_row_99_no_edge_where_the_steps_are_independent():
    def model():
        def step(carry, y):
            x = plait.sample("x", N())
            plait.sample("y", N(x), obs=y)
            return carry, None

        jax.lax.scan(step, jnp.float32(0.0), Y)

    assert set(site_graph(plait.compile(model).graph.to_json()).edges) == {("x", "y")}
