"""The layout of values: of the flat unconstrained vector, with what keeps a latent out of it, and of families."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from plait.compiler.members import Stack
from plait.compiler.supports import is_known_inside, unconstrained_type
from plait.ir.graph import Graph, Node
from plait.ir.ops import Deterministic, Scan, Site, Value, array_type
from plait.ir.spec import Static
from plait.ir.types import ArrayType, Slot


def obstacles(graph: Graph) -> list[tuple[Node, str]]:
    """The latents that no bijection reaches, each with the reason; while there is one there is no log density."""
    found = [(node, _obstacle(node)) for node in graph.of(Value)]
    return [(node, why) for node, why in found if why is not None]


def layout(graph: Graph) -> tuple[Slot, ...]:
    """The slots of z in program order; empty while there is an obstacle."""
    if obstacles(graph):
        return ()
    slots: list[Slot] = []
    offset = 0
    for node in graph.of(Value):
        u = _unconstrained(node)
        slots.append(Slot(node.op.name, offset, u, array_type(node)))  # type: ignore[attr-defined]
        offset += u.size
    return tuple(slots)


def _unconstrained(node: Node) -> ArrayType:
    op = node.op
    assert isinstance(op, Value)
    leaves = tuple(array_type(a) for a in op.leaves(node.args))
    return unconstrained_type(op.support, leaves, replace(op.type, axes=(None,) * op.type.ndim))


def _obstacle(node: Node) -> str | None:
    op = node.op
    assert isinstance(op, Value)
    if is_known_inside(op.support):
        return "its support changes from step to step of a scan, or from branch to branch"
    if op.family == "Delta":
        return "it is a Delta, whose density is no density on the reals"
    constraint = op.support.value if isinstance(op.support, Static) else None
    if getattr(constraint, "is_discrete", False) or not np.issubdtype(op.type.dtype, np.floating):
        return "it is discrete"
    try:
        _unconstrained(node)
    except NotImplementedError:
        return f"NumPyro has no bijection onto its support {constraint}"
    return None


def stacks(graph: Graph, scans: int = 0) -> dict[str, Stack]:
    """The families among a model graph's sites and deterministics, by name."""
    found: dict[str, Stack] = {}
    for node in graph:
        for body in node.op.bodies:
            found |= stacks(body, scans + isinstance(node.op, Scan))
        if isinstance(node.op, (Site, Deterministic)) and node.op.members is not None:
            m = node.op.members
            found[node.op.name] = Stack(m.names, scans - m.steps, m.steps + m.axes)
    return found
