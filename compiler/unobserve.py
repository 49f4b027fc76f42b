"""Observed sites as latent ones: the model at other values of them."""

from __future__ import annotations

from collections.abc import Collection

from plait.ir.graph import Graph, Node, make, rewrite
from plait.ir.ops import Observe, Sample


def observed_names(graph: Graph) -> list[str]:
    """The observed sites in program order, those in loops and branches too."""
    found = []
    for node in graph:
        if node.op.bodies:
            found += observed_names(node.op.bodies[0])
        elif isinstance(node.op, Observe):
            found.append(node.op.name)
    return found


def unobserved(graph: Graph, names: Collection[str]) -> Graph:
    """The model graph with these observed sites free: ``observe Normal(m, 1) obs=y  ⇒  sample Normal(m, 1)``."""

    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        op = node.op
        if op.bodies:
            return make(op.with_bodies([unobserved(body, names) for body in op.bodies]), args, node.loc)
        if not isinstance(op, Observe) or op.name not in names:
            return None
        kept = [extra for extra in op.extras if extra != op.OBS]
        extras = [args[op.n_leaves + op.extras.index(extra)] for extra in kept]
        free = Sample(
            op.name, op.dist, op.n_leaves, op.event_ndim, op.plates, tuple(kept), op.type, op.drawn
        )  # fmt: skip
        return make(free, [*op.leaves(args), *extras], node.loc)

    return rewrite(graph, rule)
