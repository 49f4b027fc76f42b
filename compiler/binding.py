"""Binding time: what is known before any value is, from data and constants alone."""

from __future__ import annotations

from plait.ir.graph import Graph, Node, downstream
from plait.ir.ops import Input, Param, Sample, Value


def known_nodes(graph: Graph) -> set[Node]:
    """The nodes that depend on nothing but data and constants; every random or given value is not one."""
    return set(graph.nodes) - downstream(graph, _is_free)


def _is_free(node: Node) -> bool:
    if isinstance(node.op, Input):
        return node.op.kind != Input.DATA
    return isinstance(node.op, (Value, Param, Sample))
