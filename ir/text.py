"""The text form: one line a node, the same grammar at every stage; and the hash of a graph's structure."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from plait.ir.graph import Graph, Node
from plait.ir.ops import Const, Deterministic, Input, Param, Plate, Scan, Site, Value


def to_text(graph: Graph, *, lines: bool = False) -> str:
    """The graph as text.

    Args:
        graph: what to print.
        lines: whether each node ends with the user's line.

    Returns:
        ``name: type = op arguments`` for each node (scalar constants stand in their users), then the outputs.
    """
    return "\n".join(_graph_lines(graph, lines, "")) + "\n"


def _graph_lines(graph: Graph, lines: bool, indent: str) -> list[str]:
    names = node_names(graph)
    out: list[str] = []
    for node in graph:
        if _inline(node):
            continue
        loc = f"  # {node.loc}" if lines and node.loc else ""
        out.append(f"{indent}{names[node]}: {node.type} = {node.op.text([names[a] for a in node.args])}{loc}")
        if isinstance(node.op, Scan):
            out += _graph_lines(node.op.body, lines, indent + "    ")
    for o in graph.outputs:
        name = f" {o.name}" if o.name else ""
        out.append(f"{indent}{o.role.value}{name} = {names[o.node]}")
    return out


def node_names(graph: Graph) -> dict[Node, str]:
    """A unique name for each node: a site's own, `%3` for code, the number itself for a scalar constant."""
    wanted = {n: _own_name(n) for n in graph}
    uses = Counter(name for name in wanted.values() if name)
    names: dict[Node, str] = {}
    counter = 0
    for node in graph:
        own = wanted[node]
        if _inline(node):
            names[node] = node.op.text([])
        elif own and uses[own] == 1:
            names[node] = own
        else:
            names[node] = f"%{counter}"
            counter += 1
    return names


def structural_hash(graph: Graph) -> str:
    """SHA-256 over the text and the constants' bytes: equal for equal programs, in every process."""
    digest = hashlib.sha256(to_text(graph).encode())
    for node in graph:
        if isinstance(node.op, Const) and not _inline(node):
            digest.update(_bytes(node.op.value))
    return digest.hexdigest()


def _own_name(node: Node) -> str | None:
    op: Any = node.op
    if isinstance(op, (Site, Input, Value, Deterministic)):
        return str(op.name)
    if isinstance(op, Param):
        return f"{op.name}{op.path}"
    return f"{op.frame.name}" if isinstance(op, Plate) else None


def _inline(node: Node) -> bool:
    return isinstance(node.op, Const) and node.op.is_scalar and node.op.text([]) != "const"


def _bytes(value: Any) -> bytes:
    array = np.asarray(value)
    return f"{array.dtype}{array.shape}".encode() + array.tobytes()


__all__ = ["node_names", "structural_hash", "to_text"]
