"""The graph as networkx sees it, and what depends on what."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.drawing.site_graph import site_graph
from plait.ir.graph import Graph, Node, Output, Role, ancestors, downstream, make, rewrite, with_outputs
from plait.ir.ops import AddN, Const, Input, Sum
from plait.ir.types import ArrayType

F32 = np.dtype("float32")
SCALAR = ArrayType(F32, ())


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


def graph_of(model, *args):
    return plait.compile(model, *args).graph


def parents(model, *args):
    drawn = site_graph(graph_of(model, *args).to_json())
    return {name: sorted(drawn.predecessors(name)) for name in drawn}


# -- networkx ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history():
    def model(x, y):
        b = plait.sample("b", N())
        s = plait.sample("s", dist.HalfNormal(1.0))
        with plait.plate("rows", 3):
            plait.sample("y", dist.Normal(b * b - x * b, s), obs=y)

    return plait.compile(model, np.ones(3, np.float32), np.zeros(3, np.float32)).history


def test_networkx_has_every_node_and_edge(history):
    for _, graph in history:
        seen = graph.to_networkx()
        assert isinstance(seen, nx.DiGraph)
        assert nx.is_directed_acyclic_graph(seen)
        assert set(seen) == set(graph.nodes)
        assert set(seen.edges) == {(a, n) for n in graph for a in n.args}
        for node, found in seen.nodes(data=True):
            assert (found["op"], found["type"], found["loc"]) == (node.op, node.type, node.loc)


def test_edges_say_where_their_arguments_stand(history):
    """The arguments of a node can be read back from its edges, also where one stands twice (``b * b``)."""
    for _, graph in history:
        seen = graph.to_networkx()
        for node in graph:
            found = {}
            for arg, _, edge in seen.in_edges(node, data=True):
                for position in edge["positions"] if "positions" in edge else [edge["position"]]:
                    found[position] = arg
            assert tuple(found[i] for i in sorted(found)) == node.args


def test_networkx_sorts_the_graph_in_its_own_order(history):
    graph = history[0][1]
    place = {node: i for i, node in enumerate(graph)}
    assert list(nx.lexicographical_topological_sort(graph.to_networkx(), key=place.get)) == list(graph)


def test_ancestors_and_descendants_agree_with_networkx(history):
    for _, graph in history:
        seen = graph.to_networkx()
        for node in graph.nodes[::5]:
            assert ancestors([node]) == nx.ancestors(seen, node) | {node}
            assert downstream(graph, lambda n, node=node: n is node) == nx.descendants(seen, node) | {node}


# -- rewriting ----------------------------------------------------------------------------------------------


def small():
    x = make(Input("x", Input.DATA, ArrayType(F32, (3,))))
    total = make(Sum(), [x])
    dead = make(Sum(), [x])
    both = make(AddN(F32), [total, total])
    return Graph((x, total, dead, both), (Output(Role.RESULT, "out", both),))


def test_what_no_output_needs_goes():
    graph = small()
    kept = with_outputs(graph.nodes, graph.outputs)
    assert kept.nodes == (graph.nodes[0], graph.nodes[1], graph.nodes[3])


def test_rewrite_keeps_what_it_does_not_touch():
    graph = small()
    same = rewrite(graph, lambda node, args: None)
    assert same.output(Role.RESULT) is graph.output(Role.RESULT)


def test_rewrite_replaces_a_node_for_all_its_users():
    def rule(node, args):
        return make(Const(2.0, SCALAR)) if isinstance(node.op, Sum) else None

    new = rewrite(small(), rule)
    out = new.output(Role.RESULT)
    assert [type(a.op) for a in out.args] == [Const, Const]
    assert out.args[0] is out.args[1]


def test_rewrite_takes_several_nodes_for_one():
    def rule(node, args):
        if not isinstance(node.op, Sum):
            return None
        one = make(Const(1.0, SCALAR))
        same = make(node.op, args)
        return [same, one, make(AddN(F32), [same, one])]

    new = rewrite(small(), rule)
    assert [type(n.op).__name__ for n in ancestors_in_order(new)] == ["Input", "Sum", "Const", "AddN", "AddN"]


def ancestors_in_order(graph):
    needed = ancestors([graph.output(Role.RESULT)])
    return [n for n in graph if n in needed]


def test_two_sites_that_look_alike_never_merge():
    def model():
        plait.sample("x", N())
        plait.sample("y", N())

    compiled = plait.compile(model)
    assert list(compiled.log_prob_terms({"x": 0.0, "y": 1.0})) == ["x", "y"]
    assert compiled.dim == 2


# -- what depends on what -------------------------------------------------------------------------------------


def test_row_96_through_a_deterministic():
    def model():
        a = plait.sample("a", N())
        d = plait.deterministic("d", 2 * a)
        plait.sample("o", N(d), obs=0.0)

    assert parents(model) == {"a": [], "d": ["a"], "o": ["d"]}


def test_row_97_a_factor_is_a_node():
    def model():
        a = plait.sample("a", N())
        b = plait.sample("b", N())
        plait.factor("f", -(a**2))
        plait.sample("c", N(b))

    assert parents(model) == {"a": [], "b": [], "f": ["a"], "c": ["b"]}


@pytest.mark.parametrize(("code", "above"), [(lambda a: a * 0, ["a"]), (jnp.zeros_like, [])])
def test_row_98_an_edge_where_the_value_is_read(code, above):
    def model():
        a = plait.sample("a", N())
        plait.sample("b", N(code(a)))

    assert parents(model)["b"] == above


def chain(step_first):
    def model(y):
        def step(x, y_t):
            new = plait.sample("x", N(x))
            plait.sample("y", N(new if step_first else x), obs=y_t)
            return new, None

        jax.lax.scan(step, jnp.float32(0.0), y)

    return model


@pytest.mark.parametrize("step_first", [True, False])
def test_row_99_a_latent_chain(step_first):
    drawn = site_graph(graph_of(chain(step_first), np.zeros(4, np.float32)).to_json())
    edges = {(a, b): bool(t) for a, b, t in drawn.edges(data="temporal")}
    assert edges == {("x", "x"): True, ("x", "y"): not step_first}


def test_a_scan_hands_its_last_value_on():
    def model():
        last, xs = jax.lax.scan(lambda x, _: (plait.sample("x", N(x)),) * 2, plait.sample("x0", N()), None, length=3)
        plait.sample("a", N(last))
        plait.sample("b", N(xs.sum()))

    found = parents(model)
    assert {name: found[name] for name in ("a", "b")} == {"a": ["x"], "b": ["x"]}
    assert set(found["x"]) == {"x0", "x"}


def test_control_flow_and_helpers_are_code():
    def model(x):
        a = plait.sample("a", N())
        b = plait.sample("b", N())
        c = jax.lax.cond(a > 0, lambda: b, lambda: 2 * b)
        plait.sample("y", N(jax.jit(jnp.sin)(c) * x), obs=0.0)

    assert parents(model, np.array(1.0, np.float32)) == {"a": [], "b": [], "x (data)": [], "y": ["a", "b", "x (data)"]}


def test_a_mask_and_a_scale_are_parents():
    def model(keep):
        w = plait.sample("w", dist.HalfNormal(1.0))
        with plait.handlers.mask(mask=keep), plait.handlers.scale(scale=w):
            plait.sample("y", N(), obs=0.0)

    assert parents(model, np.array(True))["y"] == ["keep (data)", "w"]


def test_an_observed_value_that_is_random_is_a_parent():
    def model():
        a = plait.sample("a", N())
        plait.sample("y", N(), obs=a)

    assert parents(model)["y"] == ["a"]


def test_the_repr_of_a_node_does_not_grow_with_its_ancestors(history):
    """jax prints what it jits: a repr that walks shared arguments would take exponential time."""
    x = history[0][1].nodes[0]
    for _ in range(200):
        x = Node(x.op, (x, x), x.type)
    assert len(repr(x)) < 200
    assert all(len(repr(graph)) < 200 for _, graph in history)
