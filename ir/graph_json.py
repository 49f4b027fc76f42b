"""The JSON form of a graph, for machines and for drawing; `docs/json.md` says what each field means.

It reads nodes through the general attributes of `Op` only (`text`, `label`, `category`, `applies`, `literal`, `bodies`,
`enter`, `facts`, `owner`), so a new op is shown without a change here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from plait.ir.expressions import body_inputs, expressions, unbroadcast
from plait.ir.owners import owners
from plait.ir.records import to_data
from plait.ir.text import node_names
from plait.ir.types import TupleType, Type

# This file stands below ir.graph, which writes itself with it.
Nodes = Any  # a Graph
AnyNode = Any

SCHEMA = "plait.graph/1"


def to_json(graph: Nodes) -> dict[str, Any]:
    """The graph as what `json.dumps(…, allow_nan=False)` takes.

    Args:
        graph: what to write.

    Returns:
        ``{"schema": …, "nodes": […], "outputs": […]}``, equal in every process.
    """
    return {"schema": SCHEMA, **_graph(graph, {})}


def _graph(graph: Nodes, inputs: Mapping[AnyNode, str]) -> dict[str, Any]:
    names = node_names(graph)
    ids = _ids(graph, names)
    words, whose = expressions(graph, inputs, vectors=False), owners(graph)
    outputs = [{"role": out.role.value, "name": out.name, "node": ids[out.node]} for out in graph.outputs]
    return {"nodes": [_node(n, names, ids, words, whose.get(n)) for n in graph.nodes], "outputs": outputs}


def _ids(graph: Nodes, names: Mapping[AnyNode, str]) -> dict[AnyNode, str]:
    """The names of the text form; scalar constants, which share theirs with equal ones, get ``#0``, ``#1``, …"""
    taken = {name for node, name in names.items() if node.op.literal is None}
    free = (name for i in itertools.count() if (name := f"#{i}") not in taken)
    return {n: name if n.op.literal is None else next(free) for n, name in names.items()}


def _node(
    node: AnyNode,
    names: Mapping[AnyNode, str],
    ids: Mapping[AnyNode, str],
    words: Mapping[AnyNode, str],
    owner: str | None,
) -> dict[str, Any]:
    op = node.op
    args = [ids[a] for a in node.args]
    bodies = [_graph(body, inner) for body, inner in zip(op.bodies, body_inputs(node, words), strict=True)]
    return {
        "id": ids[node],
        "name": op.label or None,
        "op": op.applies or op.mnemonic,
        "kind": op.category,
        "args": args,
        "text": op.literal or op.text([names[a] for a in node.args]),
        "type": _type(node.type),
        "loc": None if node.loc is None else to_data(node.loc),
        "owner": owner,
        **({"words": words[node]} if op.category == "code" else {}),
        **op.facts(args, [words[unbroadcast(a)] for a in node.args]),
        **({"bodies": bodies} if bodies else {}),
    }


def _type(t: Type) -> dict[str, Any]:
    if isinstance(t, TupleType):
        return {"items": [_type(item) for item in t.items]}
    return {"dtype": str(t.dtype), "shape": list(t.shape), "axes": list(t.axes), "support": t.support}


__all__ = ["SCHEMA", "to_json"]
