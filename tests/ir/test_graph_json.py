"""The JSON form of graphs: a golden file, what the user named, and what a file that is given away must not say.

``PLAIT_UPDATE_GOLDEN=1 pytest tests/ir/test_graph_json.py`` writes the file anew. Every model, after every pass:
`tests/passes/test_json.py`.
"""

from __future__ import annotations

import functools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.extend.core import Primitive
from numpyro.distributions import constraints

import plait
from plait.ir.expressions import expressions
from plait.ir.graph import Graph, Op, Output, Role, make
from plait.ir.ops import Apply, Const
from plait.ir.types import ArrayType
from tests.ir import drawn_model

GOLDEN = Path(__file__).with_name("drawn_model.json")


def json_of(model, *args, **kwargs):
    """Through JSON, as whoever reads it has it."""
    return json.loads(json.dumps(plait.compile(model, *args, **kwargs).graph.to_json(), allow_nan=False))


def sites_of(graph):
    return {n["site"]["name"]: n["site"] for n in graph["nodes"] if "site" in n}


# -- golden -------------------------------------------------------------------------------------------------------


def without_place(graph):
    """The file's base name instead of its path; which call on the line it is differs between versions of Python."""
    for node in graph["nodes"]:
        if node["loc"]:
            assert node["loc"].keys() == {"file", "line", "call"}
            node["loc"] = f"{Path(node['loc']['file']).name}:{node['loc']['line']}"
        for body in node.get("bodies", ()):
            without_place(body)
    return graph


def lines_of(graph):
    """A line for each node: a diff that can be read."""
    rows = [*graph["nodes"], *graph["outputs"]]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_golden_json():
    graph = json_of(drawn_model.model, *drawn_model.ARGS)
    assert list(graph) == ["schema", "nodes", "outputs"]
    text = lines_of(without_place(graph))
    if os.environ.get("PLAIT_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_example_of_the_docs():
    page = (Path(__file__).resolve().parents[2] / "docs/json.md").read_text(encoding="utf-8")
    source, shown = re.search(r"```python\n(def model.*?)```.*?```json\n(.*?)```", page, re.S).groups()
    scope = {"plait": plait, "dist": dist}
    exec(compile(source, "model.py", "exec"), scope)
    graph = json_of(scope["model"], np.ones(3, np.float32), np.zeros(3, np.float32))
    (node,) = [n for n in graph["nodes"] if n["id"] == "y"]
    wanted = json.loads(shown)
    assert (node["loc"]["line"], node["loc"].keys()) == (wanted["loc"]["line"], wanted["loc"].keys())
    assert {**node, "loc": None} == {**wanted, "loc": None}
    assert list(node) == list(wanted)


# -- what the user named ------------------------------------------------------------------------------------------

NAMES = [
    "</script><script>alert(1)</script>",
    "a \"quoted\" 'name' \\ with\nlines",
    "θ̂ 模型 🙂",
    "%0",
    "#0",
    "1.0",
    " ",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_what_the_user_wrote(name):
    def model(y):
        x = plait.sample(name, dist.Normal(0.0, 1.0))
        with plait.plate(f"plate {name}", 2):
            plait.sample(f"of {name}", dist.Normal(jnp.sin(x), 1.0), obs=y)

    graph = json_of(model, np.zeros(2))
    sites = sites_of(graph)
    assert list(sites) == [name, f"of {name}"]
    assert sites[f"of {name}"]["plates"][0]["name"] == f"plate {name}"
    ids = [n["id"] for n in graph["nodes"]]
    assert len(ids) == len(set(ids))
    assert name in ids


def test_data_and_the_site_that_observes_them_may_share_a_name():
    def model(y):
        plait.sample("y", dist.Normal(0.0, 1.0), obs=y)

    graph = json_of(model, np.asarray(1.5))
    data, site = (next(n for n in graph["nodes"] if n["kind"] == kind) for kind in ("data", "observed"))
    assert (data["name"], site["name"], site["id"]) == ("y", "y", "y")
    assert site["site"]["obs"] == data["id"] != "y"


def test_masks_scales_and_what_was_observed_are_arguments():
    def model(seen, y):
        with plait.plate("rows", 3), plait.handlers.mask(mask=seen), plait.handlers.scale(scale=2.0):
            plait.sample("y", dist.Normal(0.0, 1.0), obs=y)
            plait.sample("x", dist.Normal(0.0, 1.0))
        plait.sample("z", dist.Normal(0.0, 1.0))

    graph = json_of(model, np.array([True, False, True]), np.zeros(3))
    by_id = {n["id"]: n for n in graph["nodes"]}
    y, x, z = sites_of(graph).values()
    assert by_id[y["obs"]]["kind"] == "data"
    for site in (y, x):
        assert by_id[site["mask"]]["name"] == "seen"
        assert by_id[site["scale"]]["value"] == 2.0
        assert {site["mask"], site["scale"]} <= set(by_id[site["name"]]["args"])
    assert [x["obs"], z["obs"], z["mask"], z["scale"]] == [None] * 4


def test_plates_stand_as_their_axes_do_with_the_size_of_the_whole():
    def model(rows):
        with plait.plate("columns", 2, dim=-1), plait.plate("rows", 10, 3, dim=-2):
            plait.sample("x", dist.Normal(0.0, 1.0))

    def given(rows):
        plait.handlers.substitute(model, data={"rows": rows})(rows)

    graph = json_of(given, np.array([1, 5, 7]))
    rows = {"name": "rows", "size": 3, "dim": -2, "full_size": 10}
    columns = {"name": "columns", "size": 2, "dim": -1, "full_size": None}
    assert sites_of(graph)["x"]["plates"] == [rows, columns]
    assert [n["plate"] for n in graph["nodes"] if n["kind"] == "plate"] == [columns, rows]
    (x,) = [n for n in graph["nodes"] if n["id"] == "x"]
    assert (x["type"]["shape"], x["type"]["axes"]) == ([3, 2], ["rows", "columns"])


def test_a_family_has_its_members():
    def model():
        for i in range(3):
            plait.sample(f"x_{i}", dist.Normal(0.0, 1.0))

    graph = plait.compile(model).rolled_graph.to_json()
    (site,) = sites_of(graph).values()
    assert site["members"] == {"names": ["x_0", "x_1", "x_2"], "axes": 1, "steps": 0}


def test_params_factors_and_deterministics_in_words():
    def model(x):
        scale = plait.param("scale", 1.0, constraint=constraints.positive)
        a = plait.sample("a", dist.Normal(0.0, scale))
        plait.deterministic("twice", 2 * a)
        plait.factor("pull", -a * scale)

    sites = sites_of(json_of(model, np.zeros(3)))
    assert (sites["scale"]["constraint"], sites["scale"]["path"]) == ("positive", "")
    assert (sites["a"]["family"], sites["a"]["distribution"]) == ("Normal", "Normal(0, scale)")
    assert sites["twice"]["expression"] == "2 * a"
    assert sites["pull"]["expression"] == "-a * scale"
    assert "family" not in sites["pull"]


def test_a_scans_body_reads_what_comes_in():
    def model(y):
        phi = plait.sample("phi", dist.Normal(0.0, 1.0))

        def step(x, y):
            x = plait.sample("x", dist.Normal(phi * x, 1.0))
            plait.sample("y", dist.Normal(x, 0.5), obs=y)
            return x, None

        jax.lax.scan(step, jnp.float32(0.0), y, reverse=True)

    graph = json_of(model, np.zeros(4, np.float32))
    (scan,) = [n for n in graph["nodes"] if n["kind"] == "scan"]
    assert scan["scan"] == {"length": 4, "reverse": True, "consts": 1, "carry": 1}
    (body,) = scan["bodies"]
    assert len([n for n in body["nodes"] if n["op"] == "input"]) == len(scan["args"])
    assert sites_of(body)["x"]["distribution"] == "Normal(phi * (previous x), 1)"
    assert [out["role"] for out in body["outputs"]] == ["result"]


class Within(constraints.greater_than):
    """It holds a function whose repr has an address."""

    def __init__(self):
        super().__init__(0.0)
        self.also = functools.partial(lambda x, y: x + y, y=1.0)


def test_addresses_are_left_out():
    def model():
        plait.param("p", 1.0, constraint=Within())

    (site,) = sites_of(json_of(model)).values()
    function = r"functools.partial\(<function [\w.<>]+>, y=1.0\)"
    assert re.fullmatch(rf"within\(also={function}, lower_bound=0.0\)", site["constraint"])
    out = ArrayType(np.dtype("float32"), ())
    code = make(Apply((), out, Primitive("two_ways"), (("ways", (model, "0x1f at 0")),)))
    (node,) = Graph((code,)).to_json()["nodes"]
    assert node["op"] == "two_ways"
    assert "0x" not in node["text"].replace("0x1f at 0", "")
    assert "<function test_addresses_are_left_out.<locals>.model>, '0x1f at 0'" in node["text"]


# -- constants and data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "shown"),
    [(2, 2), (True, True), (0.5, 0.5), (np.float32(0.1), 0.10000000149011612), (np.inf, "inf"), (-np.inf, "-inf"),
     (np.nan, "nan"), (np.int8(-3), -3), (np.complex64(1 + 2j), "(1+2j)")],
)  # fmt: skip
def test_scalars_have_their_value(number, shown):
    dtype = np.asarray(number).dtype
    node = make(Const(number, ArrayType(dtype, ())))
    (data,) = Graph((node,), (Output(Role.RESULT, "", node),)).to_json()["nodes"]
    assert json.loads(json.dumps(data["value"], allow_nan=False)) == shown
    assert type(data["value"]) is type(shown)


# Numbers that no program has by chance, and as whole numbers ones that no shape has.
SECRETS = np.array([0.7310585, 0.8175744, 0.9525741])
CODES = np.array([40961, 51439, 60493])
DIGITS = ("73105", "81757", "95257", "40961", "51439", "60493", "62831")


def holds_data(y, codes):
    """Constants in every place: parameters, observations, masks, scales, supports, indices, one number repeated."""
    loc = plait.sample("loc", dist.Normal(SECRETS, np.array([0.62831, 0.62831, 1.0])).to_event(1))
    plait.sample("low", dist.Uniform(SECRETS[:2], 1.0 + SECRETS[:2]).to_event(1))
    plait.param("scale", jnp.asarray(SECRETS), constraint=constraints.positive)
    plait.sample("within", dist.ImproperUniform(constraints.interval(np.zeros(3), SECRETS), (), (3,)))
    plait.deterministic("shifted", loc + SECRETS)
    plait.factor("pull", -jnp.sum((loc - jnp.asarray(SECRETS)) ** 2))
    table = jnp.zeros(70_000)
    plait.factor("looked_up", table[CODES].sum() + table[codes].sum())
    with plait.plate("rows", 3), plait.handlers.scale(scale=jnp.asarray(SECRETS)):
        plait.sample("y", dist.Normal(loc, SECRETS), obs=y)
        plait.sample("z", dist.Normal(loc, 1.0), obs=SECRETS)


def test_no_data_are_in_the_json_after_any_pass():
    compiled = plait.compile(holds_data, np.float32(SECRETS), CODES)
    for name, graph in compiled.history:
        text = json.dumps(graph.to_json())
        assert not [d for d in DIGITS if d in text], name
    shown = " ".join(expressions(compiled.graph, {}).values())
    assert any(d in shown for d in DIGITS), "short vectors are the only ones that expressions show"


# -- an op of tomorrow --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tomorrow(Op):
    """An op that the JSON form has not heard of."""

    mnemonic: ClassVar[str] = "tomorrow"

    def infer(self, args):
        return args[0]


def test_a_new_op_is_shown():
    one = make(Const(1.5, ArrayType(np.dtype("float32"), ())))
    node = make(Tomorrow(), [one])
    graph = Graph((one, node), (Output(Role.RESULT, "r", node),)).to_json()
    assert graph["nodes"][1] == {
        "id": "%0",
        "name": None,
        "op": "tomorrow",
        "kind": "tomorrow",
        "args": ["#0"],
        "text": "tomorrow 1.5",
        "type": {"dtype": "float32", "shape": [], "axes": [], "support": None},
        "loc": None,
        "owner": None,
    }
    assert graph["outputs"] == [{"role": "result", "name": "r", "node": "%0"}]
