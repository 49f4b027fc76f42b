"""The words of a node: its lines, and what is said of it where there is room for one."""

from __future__ import annotations

from plait.ir.drawing.picture import Drawn


def lines_of(node: Drawn, shapes: bool) -> list[str]:
    """The lines of a node, none of which breaks: name, distribution or expression, and dtype, shape and support."""
    name = f"{node.name}  ×{node.count}" if node.count > 1 else node.name
    lines = [name, *filter(None, [node.text])]
    if shapes:
        lines += filter(None, [f"{node.type} {node.support}".strip()])
    return [printable(line) for line in lines]


def tooltip(node: Drawn) -> str:
    """``mu: f64[] real (model.py:5)``."""
    where = f" ({node.loc})" if node.loc else ""
    return printable(f"{node.name}: {node.type} {node.support}".rstrip() + where)


def printable(text: str) -> str:
    """The text on one line; characters that control a terminal, a page or the layout are written as Python does."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


__all__ = ["lines_of", "printable", "tooltip"]
