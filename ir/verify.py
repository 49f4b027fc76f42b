"""The invariants of a graph, one small function each; every pass's result goes through all of them."""

from __future__ import annotations

from plait.ir.errors import InternalError
from plait.ir.graph import Graph, Node
from plait.ir.ops import Deterministic, Param, Plate, Site


def verify(graph: Graph, known: frozenset[Node] = frozenset()) -> None:
    """Raises InternalError where an invariant is broken.

    Args:
        graph: the graph that a pass returned.
        known: nodes of a graph that was verified before; a node is immutable, so its type need not be
            inferred again.
    """
    arguments_come_first(graph)
    outputs_are_inside(graph)
    types_follow_the_rules(graph, known)
    site_names_are_unique(graph)
    plates_fit_their_axes(graph)
    for node in graph:
        for body in node.op.bodies:
            verify(body, known)


def arguments_come_first(graph: Graph) -> None:
    """The order is topological and no node stands twice."""
    seen: set[Node] = set()
    for node in graph:
        if node in seen:
            raise InternalError(f"node {node.op} stands in the graph twice", node.loc)
        if not seen.issuperset(node.args):
            raise InternalError(f"an argument of {node.op} does not come before it", node.loc)
        seen.add(node)


def outputs_are_inside(graph: Graph) -> None:
    """What somebody outside reads is computed."""
    inside = set(graph.nodes)
    for out in graph.outputs:
        if out.node not in inside:
            raise InternalError(f"output {out.role.value} {out.name!r} is not in the graph", out.node.loc)


def types_follow_the_rules(graph: Graph, known: frozenset[Node]) -> None:
    """Each type is what the op's rule infers from the arguments' types."""
    for node in graph:
        if node not in known and node.op.infer(tuple(a.type for a in node.args)) != node.type:
            raise InternalError(f"{node.op.mnemonic} does not have the type {node.type}", node.loc)


def site_names_are_unique(graph: Graph) -> None:
    """No two sites share a name."""
    seen: set[tuple[str, int]] = set()
    for node in graph:
        if isinstance(node.op, (Site, Deterministic, Param)):
            key = (node.op.name, getattr(node.op, "part", 0))
            if key in seen:
                raise InternalError(f"two sites are called {node.op.name!r}", node.loc)
            seen.add(key)


def plates_fit_their_axes(graph: Graph) -> None:
    """A site's axis that carries a plate's name has the plate's size."""
    for node in graph.of(Site, Plate):
        op, t = node.op, node.type
        frames = op.plates if isinstance(op, Site) else (op.frame,)  # type: ignore[attr-defined]
        sizes = {frame.name: frame.size for frame in frames}
        for axis, n in zip(t.axes, t.shape, strict=True):  # type: ignore[union-attr]
            if axis is not None and n not in (1, sizes.get(axis)):
                raise InternalError(f"axis {axis!r} of {op.mnemonic} has size {n}", node.loc)
