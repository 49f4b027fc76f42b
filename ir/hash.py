"""The hash of a graph's structure: equal for equal programs, in every process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plait.ir.contents import contents, digest
from plait.ir.graph import Graph, Node


def structural_hash(graph: Graph) -> str:
    """SHA-256 over ops, parameters, types, constants and edges, all in order; the user's lines do not count."""
    return digest(_graph(graph))


def _graph(graph: Graph) -> Iterator[str]:
    place = {node: i for i, node in enumerate(graph)}
    for node in graph:
        yield from _node(node, place)
    for out in graph.outputs:
        yield f"{out.role.value} {out.name} {place[out.node]}"


def _node(node: Node, place: Mapping[Node, int]) -> Iterator[str]:
    yield f"{node.type} {getattr(node.type, 'weak', '')} {[place[a] for a in node.args]}"
    yield from contents(node.op, {Graph: _graph})
