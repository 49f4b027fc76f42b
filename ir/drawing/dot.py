"""A picture as DOT, the language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plait.ir.drawing.characters import printable
from plait.ir.drawing.picture import Drawn, Picture
from plait.ir.drawing.words import lines_of, tooltip

FONT = "Helvetica,Arial,sans-serif"

# How a node of each kind looks; the others are code.
STYLES: Mapping[str, Mapping[str, str]] = {
    "latent": {"shape": "ellipse", "style": "filled", "fillcolor": "white"},
    "observed": {"shape": "ellipse", "style": "filled", "fillcolor": "#d4d4d4"},
    "deterministic": {"shape": "ellipse", "style": "dashed"},
    "factor": {"shape": "box", "style": "filled", "fillcolor": "#4a4a4a", "fontcolor": "white"},
    "param": {"shape": "hexagon", "margin": "0.02"},
    "module": {"shape": "component", "margin": "0.25,0.08"},
    "data": {"shape": "box", "style": "rounded", "color": "#8a8a8a", "fontcolor": "#5a5a5a"},
    "value": {"shape": "ellipse", "style": "filled", "fillcolor": "white"},
    "log_prob": {"shape": "box", "style": "filled", "fillcolor": "#e4ecf7", "color": "#3b6ea8"},
    "fused": {"shape": "box", "style": "filled,bold", "fillcolor": "#dff0e0", "color": "#2f7d3b"},
    "log_det_jacobian": {"shape": "box", "style": "filled", "fillcolor": "#f3ecd9", "color": "#9a7420"},
    "log_density": {"shape": "doubleoctagon"},
    "flat": {"shape": "ellipse", "style": "dotted"},
    "kernel": {"shape": "cylinder", "color": "#2f7d3b"},
    "hoist": {"shape": "box", "style": "dotted"},
}
CODE = {
    "shape": "box", "style": "rounded", "color": "#b0b0b0", "fontcolor": "#404040", "fontsize": "11", "height": "0.3",
    "margin": "0.18,0.06",
}  # fmt: skip


def to_dot(shown: Picture, *, shapes: bool = False) -> str:
    """DOT source of a picture.

    Args:
        shown: the picture.
        shapes: whether nodes say dtype, shape and support.
    """
    ids = _ids(shown)
    lines = [
        "digraph model {",
        f'  graph [fontname="{FONT}", bgcolor=white, rankdir=TB, nodesep=0.3, ranksep=0.4, compound=true];',
        f'  node [fontname="{FONT}", fontsize=13, margin="0.12,0.06", height=0.4];',
        '  edge [color="#606060", arrowsize=0.7];',
        *_boxes(shown, None, "  ", ids, shapes),
    ]
    for edge in shown.edges:
        style = " [style=dashed, constraint=false]" if edge.temporal else ""
        lines.append(f"  {quoted(ids[edge.tail])} -> {quoted(ids[edge.head])}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def _ids(shown: Picture) -> dict[str, str]:
    """How nodes are called: like in the picture, without characters that XML, where these names end up, can't hold.

    Graphviz keeps names that begin with % to itself.
    """
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for node in shown.nodes:
        name = "_" * node.id.startswith("%") + printable(node.id)
        while name in taken:
            name += "'"
        taken.add(name)
        ids[node.id] = name
    return ids


def _boxes(shown: Picture, within: str | None, indent: str, ids: Mapping[str, str], shapes: bool) -> Iterator[str]:
    for node in shown.nodes:
        if node.box == within:
            yield f"{indent}{quoted(ids[node.id])} [{_looks(node, shapes)}];"
    for box in shown.boxes:
        if box.within == within:
            style = "rounded,dashed" if box.kind == "scan" else "rounded"
            yield f"{indent}subgraph cluster_{box.id} {{"
            yield (
                f'{indent}  label={quoted(box.label)}; style="{style}"; color="#808080"; fontcolor="#505050"; '
                "fontsize=12; labeljust=r; labelloc=b;"
            )
            yield from _boxes(shown, box.id, indent + "  ", ids, shapes)
            yield f"{indent}}}"


def _looks(node: Drawn, shapes: bool) -> str:
    label = "\n".join(lines_of(node, shapes))
    attributes = {"label": label, "class": node.kind, "tooltip": tooltip(node), **STYLES.get(node.kind, CODE)}
    return ", ".join(f"{name}={quoted(value)}" for name, value in attributes.items())


def quoted(text: str) -> str:
    """A string of DOT that Graphviz writes as this text; it would read backslashes and entities of HTML."""
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


__all__ = ["CODE", "STYLES", "quoted", "to_dot"]
