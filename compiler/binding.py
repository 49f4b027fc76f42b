"""Binding time: what is known before any value is, from data and constants alone."""

from __future__ import annotations

from plait.ir.fused import Kernel
from plait.ir.graph import Graph, Node, ancestors, downstream
from plait.ir.ops import Hoist, Input, Item, Param, Sample, Value


def known_nodes(graph: Graph) -> set[Node]:
    """The nodes that depend on nothing but data and constants; every random or given value is not one.

    What the host's kernels compute is known; code on it is left to the call, as jax can't trace through the host.
    """
    return set(graph.nodes) - downstream(graph, _is_free)


def data_names(node: Node) -> list[str]:
    """The model's arguments that a node depends on."""
    ops = (n.op for n in ancestors([node]))
    return sorted({op.name for op in ops if isinstance(op, Input) and op.kind == Input.DATA})


def _is_free(node: Node) -> bool:
    if any(isinstance(a.op, Item) and isinstance(a.args[0].op, Kernel) for a in node.args):
        return not isinstance(node.op, Hoist)
    if isinstance(node.op, Input):
        return node.op.kind != Input.DATA
    return isinstance(node.op, (Value, Param, Sample))
