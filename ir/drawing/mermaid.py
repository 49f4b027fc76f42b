"""A picture as a flowchart of Mermaid, which GitHub, GitLab and Jupyter draw from Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plait.ir.drawing.characters import printable
from plait.ir.drawing.picture import Drawn, Picture
from plait.ir.drawing.words import lines_of

# The brackets that make a shape, by kind; the others are boxes.
_SHAPES: Mapping[str, tuple[str, str]] = {
    "latent": ("([", "])"),
    "observed": ("([", "])"),
    "value": ("([", "])"),
    "deterministic": ("([", "])"),
    "param": ("{{", "}}"),
    "module": ("[[", "]]"),
    "data": ("(", ")"),
    "kernel": ("[(", ")]"),
}
_CLASSES: Mapping[str, str] = {
    "observed": "fill:#d4d4d4,stroke:#333,color:#000",
    "deterministic": "fill:#fff,stroke:#333,color:#000,stroke-dasharray:4 3",
    "factor": "fill:#4a4a4a,stroke:#333,color:#fff",
    "data": "fill:#fff,stroke:#8a8a8a,color:#5a5a5a",
    "log_prob": "fill:#e4ecf7,stroke:#3b6ea8,color:#000",
    "fused": "fill:#dff0e0,stroke:#2f7d3b,color:#000",
    "log_det_jacobian": "fill:#f3ecd9,stroke:#9a7420,color:#000",
}
_OTHERS = "fill:#fff,stroke:#333,color:#000"


def to_mermaid(shown: Picture, *, shapes: bool = False) -> str:
    """Mermaid source of a picture.

    Args:
        shown: the picture.
        shapes: whether nodes say dtype, shape and support.
    """
    ids = {node.id: f"n{i}" for i, node in enumerate(shown.nodes)}
    boxes = _boxes(shown, None, "  ", ids, shapes)
    edges = (f"  {ids[e.tail]} {'-.->' if e.temporal else '-->'} {ids[e.head]}" for e in shown.edges)
    kinds = dict.fromkeys(node.kind for node in shown.nodes)
    looks = (f"  classDef {kind} {_CLASSES.get(kind, _OTHERS)}" for kind in kinds)
    return "\n".join(["flowchart TB", *boxes, *edges, *looks]) + "\n"


def _boxes(shown: Picture, within: str | None, indent: str, ids: Mapping[str, str], shapes: bool) -> Iterator[str]:
    for node in shown.nodes:
        if node.box == within:
            yield f"{indent}{ids[node.id]}{_node(node, shapes)}"
    for box in shown.boxes:
        if box.within == within:
            yield f'{indent}subgraph {box.id}["{_escaped(box.label)}"]'
            yield from _boxes(shown, box.id, indent + "  ", ids, shapes)
            yield f"{indent}end"


def _node(node: Drawn, shapes: bool) -> str:
    begin, end = _SHAPES.get(node.kind, ("[", "]"))
    label = "<br/>".join(map(_escaped, lines_of(node, shapes)))
    return f'{begin}"{label}"{end}:::{node.kind}'


def _escaped(text: str) -> str:
    """Every character that Mermaid, Markdown or HTML reads as more than itself, by its number."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in printable(text))


_PLAIN = frozenset(" ,.:=+-/()[]~×…")

__all__ = ["to_mermaid"]
