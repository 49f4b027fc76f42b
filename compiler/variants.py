"""Other models made of one model graph: with observed sites free, or without scales."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

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
    """These observed sites are free: ``observe Normal(m, 1) obs=y  ⇒  sample Normal(m, 1)``."""

    def free(op: Observe, args: tuple[Node, ...], node: Node) -> Node | None:
        if op.name not in names:
            return None
        extras, given = _without(op, op.OBS, args)
        site = Sample(op.name, op.dist, op.n_leaves, op.event_ndim, op.plates, extras, op.type, op.drawn, op.members)
        return make(site, [*op.leaves(args), *given], node.loc)

    return with_observed(graph, free)


def unscaled(graph: Graph) -> Graph:
    """Each observation counts once: ``observe Normal(m, 1) obs=y scale=7  ⇒  observe Normal(m, 1) obs=y``."""

    def plain(op: Observe, args: tuple[Node, ...], node: Node) -> Node | None:
        if op.SCALE not in op.extras:
            return None
        extras, given = _without(op, op.SCALE, args)
        return make(replace(op, extras=extras), [*op.leaves(args), *given], node.loc)

    return with_observed(graph, plain)


def with_observed(graph: Graph, change: Callable[[Observe, tuple[Node, ...], Node], Node | None]) -> Graph:
    """The graph with other nodes for its observed sites, in loops and branches too."""

    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        if node.op.bodies:
            bodies = [with_observed(body, change) for body in node.op.bodies]
            return make(node.op.with_bodies(bodies), args, node.loc)
        return change(node.op, args, node) if isinstance(node.op, Observe) else None

    return rewrite(graph, rule)


def _without(op: Observe, extra: str, args: tuple[Node, ...]) -> tuple[tuple[str, ...], list[Node]]:
    kept = tuple(name for name in op.extras if name != extra)
    return kept, [args[op.n_leaves + op.extras.index(name)] for name in kept]
