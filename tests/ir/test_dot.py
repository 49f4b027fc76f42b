"""The drawing: plates are nested boxes, observed sites are shaded, strange names stay names."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.dot import to_dot


class Drawing:
    """DOT source read back: nodes with their attributes and the boxes around them, and edges."""

    TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|->|[{}\[\];=,]|[^\s{}\[\];=,"]+)')

    def __init__(self, source):
        self.nodes, self.boxes, self.edges = {}, {}, []
        tokens, position = [], 0
        while position < len(source.rstrip()):
            match = self.TOKEN.match(source, position)
            assert match, f"not DOT: {source[position : position + 40]!r}"
            tokens.append(match[1])
            position = match.end()
        assert tokens[:3] == ["digraph", "model", "{"]
        assert tokens.count("{") == tokens.count("}")
        self.read(tokens[3:], [])

    def read(self, tokens, path):
        while tokens:
            head = tokens.pop(0)
            if head == "}":
                path = path[:-1]
            elif head == "subgraph":
                path = [*path, tokens.pop(0)]
                assert tokens.pop(0) == "{"
            elif head == ";":
                continue
            elif head == "label":
                tokens.pop(0)
                self.boxes[tuple(path)] = unquoted(tokens.pop(0))
            elif tokens[0] == "=":
                del tokens[:2]
            elif tokens[0] == "->":
                tokens.pop(0)
                self.edges.append((unquoted(head), unquoted(tokens.pop(0)), self.attributes(tokens)))
            elif head in ("node", "graph"):
                self.attributes(tokens)
            else:
                self.nodes[unquoted(head)] = (self.attributes(tokens), tuple(path))

    @staticmethod
    def attributes(tokens):
        found = {}
        if tokens[0] == "[":
            tokens.pop(0)
            while (name := tokens.pop(0)) != "]":
                if name != ",":
                    assert tokens.pop(0) == "="
                    found[name] = tokens.pop(0).strip('"')
        return found

    def box_of(self, node):
        """The labels of the boxes around a node, outermost first."""
        path = self.nodes[node][1]
        return [self.boxes[path[: i + 1]].split()[0] for i in range(len(path))]


def unquoted(token):
    """A quoted name as it was; Graphviz reads a backslash before n as a new line."""
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], token[1:-1]) if token[0] == '"' else token


def draw(model, *args):
    return Drawing(to_dot(plait.compile(model, *args).graph))


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


@pytest.fixture(scope="module")
def nested():
    def model(x, y):
        mu = plait.sample("mu", N())
        p = plait.param("p", 1.0)
        with plait.plate("columns", 2, dim=-1):
            a = plait.sample("a", N(mu * p))
            with plait.plate("rows", 3, dim=-2):
                d = plait.deterministic("d", a * x)
                plait.sample("y", N(d), obs=y)
        plait.factor("tie", -(mu**2))

    return draw(model, np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32))


def test_plates_are_nested_boxes_with_name_and_size(nested):
    assert {name: nested.box_of(name) for name in ("mu", "a", "d", "y", "tie")} == {
        "mu": [], "a": ["columns"], "d": ["columns", "rows"], "y": ["columns", "rows"], "tie": [],
    }  # fmt: skip
    assert sorted(label.split() for label in nested.boxes.values()) == [["columns", "2"], ["rows", "3"]]


def test_kinds_of_sites_look_different(nested):
    style = {name: attributes for name, (attributes, _) in nested.nodes.items()}
    assert "filled" in style["y"]["style"]
    assert "fillcolor" in style["y"]
    assert "fillcolor" not in style["a"]
    assert style["d"]["style"] == "dashed"
    assert style["tie"]["shape"] == "box"
    assert len({tuple(sorted((k, v) for k, v in s.items() if k != "label")) for s in style.values()}) == 6
    assert style["a"]["label"] == "a ~ Normal"


def test_edges_go_through_code_and_stop_at_sites(nested):
    assert sorted((a, b) for a, b, _ in nested.edges) == [
        ("a", "d"), ("d", "y"), ("mu", "a"), ("mu", "tie"), ("p", "a"), ("x (data)", "d"),
    ]  # fmt: skip


def test_crossed_plates():
    def model():
        with plait.plate("i", 2, dim=-1):
            a = plait.sample("a", N())
            plait.sample("a2", N())
        with plait.plate("j", 3, dim=-2):
            b = plait.sample("b", N())
        with plait.plate("i", 2, dim=-1), plait.plate("j", 3, dim=-2):
            plait.sample("y", N(a + b), obs=0.0)

    drawn = draw(model)
    assert (drawn.box_of("a"), drawn.box_of("b"), drawn.box_of("y")) == (["i"], ["j"], ["i", "j"])


def test_boxes_have_names_of_their_own():
    def model():
        with plait.plate("i", 2, dim=-2):
            for k in range(3):
                with plait.plate(f"k{k}", 2 + k, dim=-1):
                    plait.sample(f"x{k}", N())

    source = to_dot(plait.compile(model).graph)
    names = re.findall(r"subgraph (\S+)", source)
    assert len(names) == len(set(names)) == 4
    # Graphviz draws a box around those subgraphs only
    assert all(name.strip('"').startswith("cluster") for name in names)


@pytest.mark.parametrize("lag", [1, 2])
def test_temporal_edges_of_a_scan_are_dashed(lag):
    def model(y):
        s = plait.sample("s", dist.HalfNormal(1.0))

        def step(carry, y_t):
            x = plait.sample("x", dist.Normal(carry[-1], s))
            plait.sample("y", N(x), obs=y_t)
            return (x, *carry[:-1]), None

        jax.lax.scan(step, (jnp.float32(0.0),) * lag, y)

    drawn = draw(model, np.zeros(4, np.float32))
    edges = {(a, b): attributes.get("style") for a, b, attributes in drawn.edges}
    assert edges == {("x", "x"): "dashed", ("s", "x"): None, ("x", "y"): None}
    assert drawn.box_of("x") == drawn.box_of("y") == ["scan"]
    assert drawn.box_of("s") == []


def test_a_scan_without_sites_is_code():
    def model(y):
        a = plait.sample("a", N())
        _, means = jax.lax.scan(lambda c, t: (c + t, c), a, y)
        with plait.plate("rows", 4):
            plait.sample("y", N(means), obs=y)

    drawn = draw(model, np.zeros(4, np.float32))
    assert {(a, b) for a, b, _ in drawn.edges} >= {("a", "y")}
    assert not any(attributes for _, _, attributes in drawn.edges)


@pytest.mark.parametrize(
    "name",
    ["<script>", 'say "x"', "back\\slash", "ends in \\", "two\nlines", "a -> b", "]; }", "ünï", "node", "a.b/c$d"],
)
def test_strange_names_stay_names(name):
    def model():
        with plait.plate(f"plate {name}", 2):
            x = plait.sample(name, N())
        plait.sample("child", N(x), obs=0.0)

    drawn = draw(model)
    assert set(drawn.nodes) == {name, "child"}
    assert [(a, b) for a, b, _ in drawn.edges] == [(name, "child")]
    assert list(drawn.boxes.values()) == [f"plate {name}  2"]


def test_the_same_model_draws_the_same():
    def model():
        x = plait.sample("x", N())
        y = plait.sample("y", N())
        plait.sample("z", N(x + y), obs=0.0)

    assert to_dot(plait.compile(model).graph) == to_dot(plait.compile(model).graph)


def test_the_empty_model():
    assert draw(lambda: None).nodes == {}
