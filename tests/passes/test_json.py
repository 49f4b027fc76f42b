"""Every model, after every pass, as JSON; and its explanation there and back. One compilation for each model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import plait
from plait.compiler.certificate import Certificate, Row
from plait.compiler.cost_analysis import CostAnalysis
from plait.compiler.explanation import Explanation, Term
from plait.ir.graph import Graph
from plait.ir.sites import site_lines
from plait.ir.types import ArrayType, Loc
from tests.models import EMPTY, MODELS, SCAN_MODELS, Model, some

DOCS = (Path(__file__).resolve().parents[2] / "docs/json.md").read_text(encoding="utf-8")
# Of a node, in this order; what an op has to say besides comes after them.
COMMON = ["id", "name", "op", "kind", "args", "text", "type", "loc"]


@pytest.mark.parametrize("model", [*some([*MODELS, *SCAN_MODELS]), EMPTY], ids=lambda m: m.name)
def test_every_model(model: Model) -> None:
    with jax.enable_x64(True):
        compiled = plait.compile(model.bind(plait), **model.args(np.float64))
        explained = compiled.explain()
    for graph in {graph.nodes: graph for _, graph in compiled.history}.values():  # those that a pass changed
        data = through_json(graph.to_json())
        assert data.pop("schema") == "plait.graph/1"
        is_graph(data, graph)
        assert keys_of(data) <= documented()
        assert [kind for kind in sorted(kinds_of(data)) if f"`{kind}`" not in DOCS] == []
    kinds = {line.name: line.kind.partition(",")[0] for line in site_lines(compiled.graph)}
    assert kinds_of_sites(through_json(compiled.graph.to_json())) == kinds

    data = through_json(explained.to_json())
    back = Explanation.from_json(data)
    assert back == explained
    assert str(back) == str(explained)
    assert keys_of(data) <= documented()


def through_json(data: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(data, allow_nan=False)
    assert "0x" not in text
    back: dict[str, Any] = json.loads(text)
    assert back == data
    return back


def is_graph(data: dict[str, Any], graph: Graph) -> None:
    """The nodes and edges of `data` are those of a graph, in its order."""
    assert list(data) == ["nodes", "outputs"]
    seen: dict[str, Any] = {}
    for shown, node in zip(data["nodes"], graph.nodes, strict=True):
        assert list(shown)[: len(COMMON)] == COMMON
        assert shown["id"] not in seen
        assert [seen[a] for a in shown["args"]] == list(node.args)
        seen[shown["id"]] = node
        assert bool(shown["loc"]) == bool(node.loc)
        types = shown["type"].get("items", [shown["type"]])
        for one, t in zip(types, (node.type,) if isinstance(node.type, ArrayType) else node.type.items, strict=True):
            assert (one["dtype"], one["shape"]) == (str(t.dtype), list(t.shape))
            assert len(one["axes"]) == len(one["shape"])
        for body, inner in zip(shown.get("bodies", []), node.op.bodies, strict=True):
            is_graph(body, inner)
    for shown, out in zip(data["outputs"], graph.outputs, strict=True):
        assert (shown["role"], shown["name"], seen[shown["node"]]) == (out.role.value, out.name, out.node)


def kinds_of_sites(data: dict[str, Any]) -> dict[str, str]:
    """The kind of every site, those in bodies too; a module's params with their paths, as `site_lines` has them."""
    found = {}
    for node in data["nodes"]:
        if "site" in node:
            found[node["site"]["name"] + node["site"].get("path", "")] = node["kind"]
        for body in node.get("bodies", []):
            found |= kinds_of_sites(body)
    return found


def kinds_of(data: dict[str, Any]) -> set[str]:
    """The kinds of all nodes and the roles of all outputs."""
    found = {node["kind"] for node in data["nodes"]} | {out["role"] for out in data["outputs"]}
    return found.union(*(kinds_of(body) for node in data["nodes"] for body in node.get("bodies", [])))


def keys_of(data: Any) -> set[str]:
    if isinstance(data, dict):
        return set(data).union(*map(keys_of, data.values()))
    return set().union(*map(keys_of, data)) if isinstance(data, list) else set()


def documented() -> set[str]:
    """The fields in the tables of `docs/json.md`, whose rows begin with their names."""
    return set(fields_of_tables())


def fields_of_tables() -> Iterator[str]:
    for line in DOCS.splitlines():
        if line.startswith("| `"):
            yield from (name.strip(" `") for name in line.split("|")[1].split(","))


@pytest.mark.parametrize("cls", [Explanation, Term, CostAnalysis, Certificate, Row, Loc])
def test_every_field_of_an_explanation_is_documented(cls: type) -> None:
    assert {f.name for f in dataclasses.fields(cls)} <= documented()
