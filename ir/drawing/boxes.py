"""The boxes of plates: one inside the other where that is how they lie, one box of both where they cross."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import networkx as nx

from plait.ir.drawing.characters import short
from plait.ir.drawing.site_graph import Frame


@dataclass(frozen=True)
class Box:
    """A box around values.

    Attributes:
        id: unique in its picture.
        label: ``schools 8``, ``rows 32 of 1000``, ``persons 5 × items 3``, ``scan 20 steps``.
        kind: "plate" or "scan".
        within: id of the box around it; None of an outermost one.
    """

    id: str
    label: str
    kind: str
    within: str | None


def boxes(frames: Mapping[str, Sequence[Frame]]) -> tuple[list[Box], dict[str, str]]:
    """The boxes of a picture.

    A box lies in another where all its values are in that plate. Two plates cross where each has values that the other
    has not: the values in both get a box of their own, which is named after both.

    Args:
        frames: of each value, by its key, in order.

    Returns:
        The boxes, outer ones first, and the innermost box of each value that is in one.
    """
    frames = {key: [_at_any_dim(frame) for frame in around] for key, around in frames.items()}
    extents: dict[Frame, set[str]] = {}
    for key, around in frames.items():
        for frame in around:
            extents.setdefault(frame, set()).add(key)
    found: dict[tuple[tuple[Frame, ...], ...], Box] = {}
    place = {}
    for key, around in frames.items():
        path: tuple[tuple[Frame, ...], ...] = ()
        for together in _path(around, extents):
            within, path = found[path].id if path else None, (*path, together)
            if path not in found:
                found[path] = Box(f"box{len(found)}", _label(together), _kind(together), within)
        if path:
            place[key] = found[path].id
    return list(found.values()), place


def _path(around: Sequence[Frame], extents: Mapping[Frame, set[str]]) -> list[tuple[Frame, ...]]:
    """The boxes around one value, outermost first; plates that cross are one."""
    crossing = nx.Graph()
    crossing.add_nodes_from(around)
    for a, b in itertools.combinations(around, 2):
        if not (extents[a] <= extents[b] or extents[b] <= extents[a]):
            crossing.add_edge(a, b)

    def outer_first(frame: Frame) -> tuple[int, int]:
        return -len(extents[frame]), around.index(frame)

    # those that cross in the order of the value's axes, as its shape says them
    groups = [tuple(sorted(group, key=around.index)) for group in nx.connected_components(crossing)]
    return sorted(groups, key=lambda group: min(map(outer_first, group)))


def _at_any_dim(frame: Frame) -> Frame:
    """A plate may be entered again at another axis, and is the same one."""
    return replace(frame, plate=replace(frame.plate, dim=0))


def _label(together: Sequence[Frame]) -> str:
    return " × ".join(map(_size, together))


def _size(frame: Frame) -> str:
    plate, name = frame.plate, short(frame.plate.name)
    if frame.scan:
        return f"{name} {plate.size:,} steps"
    return f"{name} {plate.size:,}" + (f" of {plate.full_size:,}" if plate.full_size is not None else "")


def _kind(together: Sequence[Frame]) -> str:
    return "scan" if any(frame.scan for frame in together) else "plate"


__all__ = ["Box", "boxes"]
