"""Where the user's sites are: in which order they run, and what the axes of their terms mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.compiler.members import Stack
from plait.compiler.nonfinite.frames import Index
from plait.ir.graph import Graph, Node
from plait.ir.ops import Scan, Site, array_type


@dataclass(frozen=True)
class Place:
    """Where a site of the user's is in the traced graph.

    Attributes:
        node: the site, which may stand for all steps of a loop over a plate.
        path: its position, that of each scan or branch around it before; with True for a scan that runs backwards,
            False for one that runs forwards, None for a branch.
        member: which one of the node's sites it is.
    """

    node: Node
    path: tuple[tuple[int, bool | None], ...]
    member: int

    def turn(self, steps: Index) -> tuple[Any, ...]:
        """What sorts sites at steps into the order in which they run."""
        left = iter(steps)
        turn: list[int] = []
        for position, backwards in self.path:
            step = next(left, 0) if backwards is not None else 0
            turn += [position, -step if backwards else step]
        return (*turn, self.member)

    def axes(self, n: int) -> tuple[str, ...]:
        """The names of the last `n` axes of one site's batch."""
        op, t = self.node.op, array_type(self.node)
        assert isinstance(op, Site)
        counted = op.members.axes if op.members is not None else 0
        names = [axis or "" for axis in t.axes[counted : t.ndim - op.event_ndim]]
        return (*[""] * (n - len(names)), *names[max(len(names) - n, 0) :])


def places(graph: Graph, path: tuple[tuple[int, bool | None], ...] = ()) -> dict[str, Place]:
    """The user's sites by name."""
    found: dict[str, Place] = {}
    for i, node in enumerate(graph):
        kind = node.op.reverse if isinstance(node.op, Scan) else None
        for body in node.op.bodies[:1]:  # branches hold the same sites
            found |= places(body, (*path, (i, kind)))
        if isinstance(node.op, Site):
            names = node.op.members.names if node.op.members is not None else (node.op.name,)
            found |= {name: Place(node, (*path, (i, None)), k) for k, name in enumerate(names)}
    return found


@dataclass(frozen=True)
class Located:
    """An entry of a site's term, in the user's words.

    Attributes:
        name: of the user's site.
        steps: of the scans around it, the outermost first.
        rest: the index in one site's term at one step.
    """

    name: str
    steps: Index
    rest: Index


def locate(name: str, index: Index, shape: Index, scans: int, families: Mapping[str, Stack]) -> Located:
    """What an entry of a term stands for; the term of a family has those of its members in it.

    Args:
        name: of a site or family.
        index: of the entry.
        shape: of the whole term.
        scans: how many of its leading axes are steps, where it is no family.
        families: the families.
    """
    family = families.get(name)
    if family is None:
        return Located(name, index[:scans], index[scans:])
    counted = slice(family.axis, family.axis + family.axes)
    which = int(np.ravel_multi_index(index[counted], shape[counted])) if index[counted] else 0
    return Located(family.names[which], index[: family.axis], index[counted.stop :])


def scans_around(graph: Graph, scans: int = 0) -> dict[str, int]:
    """How many scans are around each site of a model graph."""
    found: dict[str, int] = {}
    for node in graph:
        for body in node.op.bodies[:1]:
            found |= scans_around(body, scans + isinstance(node.op, Scan))
        if isinstance(node.op, Site):
            found[node.op.name] = scans
    return found


__all__ = ["Located", "Place", "locate", "places", "scans_around"]
