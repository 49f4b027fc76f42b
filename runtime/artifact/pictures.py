"""A model's sites and graphs as they are printed: what a file has in their stead, where graphs are JSON alone."""

from __future__ import annotations

from dataclasses import dataclass

from plait.ir.site_line import SiteLine


@dataclass(frozen=True)
class Picture:
    """A graph as people read it.

    Attributes:
        text: a line a node.
        with_lines: the same, each node with the user's line.
        dot: Graphviz.
    """

    text: str
    with_lines: str
    dot: str


@dataclass(frozen=True)
class Pictures:
    """What the commands show of a model.

    Attributes:
        sites: those of the model, in program order; sites that a loop made are one.
        traced: the model graph.
        density: the graph after the last pass.
    """

    sites: tuple[SiteLine, ...]
    traced: Picture
    density: Picture


__all__ = ["Picture", "Pictures"]
