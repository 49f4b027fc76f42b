"""The words of a node: its lines, and what is said of it where there is room for one."""

from __future__ import annotations

from plait.ir.drawing.characters import printable, short
from plait.ir.drawing.picture import Drawn


def lines_of(node: Drawn, shapes: bool) -> list[str]:
    """The lines of a node, none of which breaks: name, distribution or expression, and dtype, shape and support."""
    name, *others = map(short, [node.name, node.text, f"{node.type} {node.support}".strip() if shapes else ""])
    return [f"{name}  ×{node.count}" if node.count > 1 else name, *filter(None, others)]


def tooltip(node: Drawn) -> str:
    """``mu: f64[] real (model.py:5)``."""
    where = f" ({node.loc})" if node.loc else ""
    return printable(f"{node.name}: {node.type} {node.support}".rstrip() + where)


__all__ = ["lines_of", "tooltip"]
