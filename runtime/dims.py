"""The names of the axes of sites' values: the plates."""

from __future__ import annotations

from collections.abc import Mapping

from plait.compiler.members import Stack
from plait.ir.graph import Graph
from plait.ir.ops import Cond, Deterministic, Factor, Scan, Site, array_type
from plait.ir.types import ArrayType
from plait.runtime.description import Dims


def site_dims(graph: Graph, families: Mapping[str, Stack], steps: int = 0) -> dict[str, Dims]:
    """For each of the user's sites the plates of its axes, None for an axis of an event or of a scan's steps.

    Args:
        graph: the model graph, loops rolled.
        families: where the user's sites are in the values of families.
        steps: how many scans the graph is the body of.
    """
    found: dict[str, Dims] = {}
    for node in graph:
        match node.op:
            case Scan():
                found |= site_dims(node.op.body, families, steps + 1)
            case Cond():
                found |= site_dims(node.op.branches[0], families, steps)
            case Factor():
                pass
            case Site():
                axes = node.op.type.axes
                missing = len(node.op.drawn) - len(axes)  # an observed value may lack axes
                found |= _members(node.op.name, (*(None,) * (steps + missing), *axes), families)
            case Deterministic():
                found |= _members(node.op.name, (*(None,) * steps, *_by_plates(node.op, array_type(node))), families)
    return found


def _by_plates(op: Deterministic, value: ArrayType) -> Dims:
    """The axes that have the sizes of the open plates in their places, where all of them have."""
    depth = max((-frame.dim for frame in op.plates), default=0)
    names = {depth + frame.dim: frame for frame in op.plates}
    if depth > value.ndim or any(value.shape[i] != frame.size for i, frame in names.items()):
        return value.axes
    return tuple(names[i].name if i in names else axis for i, axis in enumerate(value.axes))


def _members(name: str, dims: Dims, families: Mapping[str, Stack]) -> dict[str, Dims]:
    """The same for each of the user's sites, where this one stands for several."""
    if name not in families:
        return {name: dims}
    family = families[name]
    own = (*dims[: family.axis], *dims[family.axis + family.axes :])
    return dict.fromkeys(family.names, own)


__all__ = ["site_dims"]
