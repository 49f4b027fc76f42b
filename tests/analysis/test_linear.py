"""The linear form of a predictor, evaluated, is the predictor; its frontier is of least size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plait.compiler.analysis.frontier import frontier
from plait.compiler.analysis.linear import LinearForm, linear_form
from plait.compiler.binding import known_nodes
from plait.compiler.importer import Builder
from plait.compiler.lower.evaluate import evaluate
from plait.ir.graph import Graph, Node
from plait.ir.ops import Input, array_type, from_aval

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 3))
G = RNG.integers(0, 4, 7)
LATENTS = {"a": RNG.normal(), "b": RNG.normal(size=3), "t": RNG.normal(size=4), "m": RNG.normal(size=(4, 3))}
DATA = {"x": RNG.normal(size=7), "X": X, "g": G, "h": RNG.integers(0, 3, 7), "on": RNG.uniform(size=7) < 0.5}
DATA["W"] = RNG.normal(size=(2, 7, 3))
DATA["k"] = np.asarray(2)

Code = Callable[[dict[str, Any], dict[str, Any]], Any]


class Predictor:
    """A predictor's graph, of unknown latents and known data."""

    def __init__(self, code: Code) -> None:
        self.builder = Builder()
        values = [*LATENTS.values(), *DATA.values()]
        names = [*LATENTS, *DATA]

        def run(*arrays: Any) -> Any:
            given = dict(zip(names, arrays, strict=True))
            return code(given, given)

        closed = jax.make_jaxpr(run)(*map(jnp.asarray, values))
        kinds = [Input.FLAT] * len(LATENTS) + [Input.DATA] * len(DATA)
        ops = [Input(n, kind, from_aval(v.aval)) for n, kind, v in zip(names, kinds, closed.jaxpr.invars, strict=True)]
        inputs = [self.builder.add(op) for op in ops]
        self.given = dict(zip(inputs, values, strict=True))
        (self.node,) = self.builder.inline(closed, inputs)

    @property
    def known(self) -> set[Node]:
        return known_nodes(Graph(tuple(self.builder.nodes)))

    def frontier(self) -> tuple[Node, ...]:
        return frontier(self.node, self.known)

    def form(self) -> LinearForm:
        return linear_form(self.builder, self.node, self.known, array_type(self.node).shape)

    def values(self, nodes: list[Node]) -> list[np.ndarray]:
        with jax.disable_jit():
            return [np.asarray(x) for x in evaluate(Graph(tuple(self.builder.nodes)), self.given, nodes)]


def test_which_positions_all_rows_read() -> None:
    """Those that data decide are not fixed, be they the same today."""

    def fixed(code: Code) -> list[list[int] | None]:
        return [None if b.fixed is None else b.fixed.tolist() for b in Predictor(code).form().blocks]

    assert fixed(lambda v, d: d["X"] @ v["b"] + v["a"]) == [[0, 1, 2], [0]]
    assert fixed(lambda v, d: v["t"][d["g"]] + v["t"][d["k"]]) == [None, None]


EXPRESSIONS: dict[str, Code] = {
    "scalar": lambda v, d: v["a"] + 0 * d["x"],
    "offset": lambda v, d: d["x"] - v["a"],
    "product": lambda v, d: -v["a"] * d["x"] / d["X"][:, 0] * 2.0,
    "design": lambda v, d: v["a"] + d["X"] @ v["b"],
    "design from the left": lambda v, d: v["b"] @ d["X"].T,
    "design of a slice": lambda v, d: d["X"][:, :2] @ v["b"][1:],
    "matrix": lambda v, d: d["X"] @ v["m"].T,
    "matrix from the left": lambda v, d: v["m"] @ d["X"].T,
    "two matrices": lambda v, d: d["X"].T @ (d["X"] @ v["m"].T + d["x"][:, None]),
    "batches": lambda v, d: jnp.einsum("knp,kp->kn", d["W"], v["m"][:2]),
    "batches of matrices": lambda v, d: jnp.einsum("knp,kjp->knj", d["W"], v["m"].reshape(2, 2, 3)),
    "batches from the left": lambda v, d: jnp.einsum("kjp,knp->kjn", v["m"].reshape(2, 2, 3), d["W"]),
    "two contracted": lambda v, d: jnp.tensordot(d["W"][:, :, 0] @ d["X"], v["m"][2:] * 2.0 + 1.0, 2) + 0 * d["x"],
    "sum": lambda v, d: (v["m"][d["g"]] * d["X"]).sum(-1),
    "sum over the first axis": lambda v, d: (v["m"] * d["W"][0, :4]).sum(0)[d["h"]],
    "sum of two axes": lambda v, d: (d["W"][:, :4] * v["m"]).sum((0, 2))[d["g"]],
    "mean": lambda v, d: v["t"][d["g"]] - v["t"].mean(),
    "sum of an offset": lambda v, d: (v["m"] + d["X"][:4]).sum(1)[d["g"]],
    "broadcast scalar sum": lambda v, d: (v["a"] * jnp.ones((7, 3))).sum(1),
    "groups": lambda v, d: v["t"][d["g"]],
    "groups by two": lambda v, d: v["m"][d["g"], d["h"]],
    "one column": lambda v, d: v["m"][d["g"], 1] * d["x"] + v["m"][d["g"], 0],
    "column, then group": lambda v, d: v["m"][:, 2][d["g"]],
    "a table of groups": lambda v, d: v["t"][jnp.stack([d["g"], d["h"]])],
    "negative index": lambda v, d: v["t"][d["g"] - 4],
    "negative literals": lambda v, d: v["t"][np.array([-1, 0, -3])] + v["t"][-1],
    "index of a sum": lambda v, d: (v["t"] * 2.0 + d["x"][:4])[d["g"]],
    "index of an index": lambda v, d: v["t"][d["g"]][d["h"]],
    "take": lambda v, d: jnp.take(v["m"], d["h"], axis=1),
    "take along": lambda v, d: jnp.take_along_axis(v["m"], d["h"][:4, None], 1),
    "known scalar index": lambda v, d: v["t"][d["k"]] + v["m"][d["k"]][d["h"]],
    "dynamic slice": lambda v, d: jax.lax.dynamic_slice(v["t"], (d["k"] - 1,), (2,))[d["g"] % 2] * d["x"],
    "stride": lambda v, d: v["t"][::2] + v["t"][1::2] * d["x"][:2],
    "reverse": lambda v, d: v["m"][::-1, ::-1] * d["W"][0, :4],
    "transpose": lambda v, d: v["m"].T[d["h"], d["g"]],
    "moved axes": lambda v, d: jnp.moveaxis(v["m"][None] * d["W"][:, :4], 0, 2),
    "reshape": lambda v, d: (v["m"] + 1.0).reshape(12)[d["g"]] + v["m"].reshape(2, 6)[1, d["h"]],
    "squeeze": lambda v, d: jnp.squeeze(v["m"][2:3] * d["W"][0, :1], 0),
    "broadcast": lambda v, d: v["t"][:, None] * d["x"] + v["b"][0],
    "broadcast of a group": lambda v, d: jnp.broadcast_to(v["t"][d["g"]][:, None], (7, 3)) + v["b"],
    "tile": lambda v, d: jnp.tile(v["b"], (7, 1)) * d["X"],
    "repeat": lambda v, d: jnp.repeat(v["b"], np.array([2, 4, 1])) * d["x"],
    "select": lambda v, d: jnp.where(d["on"], v["a"] * d["x"], d["x"]),
    "select of two": lambda v, d: jnp.where(d["on"], v["t"][d["g"]] + 1.0, v["b"][d["h"]] * d["x"]),
    "select an offset": lambda v, d: jnp.where(d["on"], d["x"] + v["a"], 3.0),
    "select what is not a number": lambda v, d: jnp.where(d["on"], v["a"] / jnp.where(d["on"], d["x"], 0.0), v["b"][0]),
    "select of three": lambda v, d: jax.lax.select_n(d["h"], v["t"][d["g"]], d["x"], v["a"] * d["x"] + 1.0),
    "select by a scalar": lambda v, d: jax.lax.select(d["on"][0], v["t"] * d["x"][:4], v["t"][::-1] + 1.0),
    "concatenated": lambda v, d: jnp.concatenate([jnp.zeros(1), v["b"]])[d["g"]],
    "stacked": lambda v, d: jnp.stack([v["a"], v["b"][0]])[d["h"] % 2] * d["x"],
    "cumulative": lambda v, d: jnp.cumsum(v["t"])[d["g"]],
    "not linear": lambda v, d: jnp.exp(v["t"])[d["g"]] * d["x"] + v["a"] * v["b"][d["h"]],
    "product of latents": lambda v, d: (v["t"] * v["a"])[d["g"]] + v["t"][d["g"]],
    "one source twice": lambda v, d: v["t"][d["g"]] - v["t"][d["h"]] * d["x"],
    "no columns": lambda v, d: d["X"][:, :0] @ v["b"][:0] + v["a"],
    "no rows": lambda v, d: (v["m"][d["g"][:0]] * d["X"][:0]).sum(-1) + d["X"][:0] @ v["b"],
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_offset_and_columns_add_up_to_the_predictor(name: str) -> None:
    with jax.enable_x64(True):
        predictor = Predictor(EXPRESSIONS[name])
        form = predictor.form()
        parts = [form.offset] + [n for b in form.blocks for n in (b.index, b.coefficient)]
        nodes = [n for n in parts if n is not None]
        assert set(nodes) <= predictor.known
        (wanted, *found) = predictor.values([predictor.node, *form.frontier, *nodes])
    value = dict(zip([*form.frontier, *nodes], found, strict=True))
    n = wanted.size
    total = np.zeros(n) if form.offset is None else np.broadcast_to(value[form.offset], n)
    for block in form.blocks:
        index = value[block.index]
        assert index.shape in ((n, block.k), (1, block.k))
        columns = np.ravel(value[form.frontier[block.source]])[index]
        if block.coefficient is not None:
            coefficient = value[block.coefficient]
            assert coefficient.shape in ((n, block.k), (1, block.k), (n, 1), (1, 1))
            columns = columns * coefficient
        total = total + np.broadcast_to(columns.sum(1), n)
    np.testing.assert_allclose(total, wanted.ravel(), rtol=1e-12, atol=1e-12)


# What the fewest numbers are: none of these predictors is a function of fewer that are affine in them.
SMALLEST = {
    "scalar": 1, "design": 1 + 3, "design of a slice": 2, "matrix": 12, "sum": 7, "mean": 4, "groups": 4,
    "groups by two": 7, "one column": 7, "negative literals": 3, "known scalar index": 1 + 3, "stride": 2,
    "broadcast": 5, "select": 1, "concatenated": 3, "not linear": 4 + 3,
    "one source twice": 4, "dynamic slice": 2, "no columns": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", SMALLEST)
def test_the_frontier_is_of_least_size(name: str) -> None:
    with jax.enable_x64(True):
        found = Predictor(EXPRESSIONS[name]).frontier()
    assert sum(array_type(n).size for n in found) == SMALLEST[name], [str(n.op) for n in found]


def test_a_predictor_of_fewer_numbers_than_its_latents_is_its_own_frontier() -> None:
    predictor = Predictor(lambda v, d: d["X"][:2] @ v["b"])
    assert predictor.frontier() == (predictor.node,)


def test_what_is_known_has_no_frontier() -> None:
    predictor = Predictor(lambda v, d: d["x"] * 2.0)
    form = predictor.form()
    assert form.frontier == form.blocks == ()
    np.testing.assert_array_equal(predictor.values([form.offset])[0], predictor.values([predictor.node])[0])


def test_rows_are_counted_over_the_batch_shape() -> None:
    """A predictor of shape (1, 4) in rows of shape (3, 4)."""
    with jax.enable_x64(True):
        predictor = Predictor(lambda v, d: (v["t"][:3][d["g"][:4] % 3] * d["x"][:4])[None])
        form = linear_form(predictor.builder, predictor.node, predictor.known, (3, 4))
        (block,) = form.blocks
        index, coefficient = predictor.values([block.index, block.coefficient])
    np.testing.assert_array_equal(index[:, 0], np.tile(G[:4] % 3, 3))
    np.testing.assert_array_equal(coefficient[:, 0], np.tile(DATA["x"][:4], 3))


def test_one_entry_for_all_rows_is_not_written_out() -> None:
    predictor = Predictor(lambda v, d: v["a"] + d["x"] * v["b"][1])
    assert [array_type(b.index).shape for b in predictor.form().blocks] == [(1, 1), (1, 1)]
