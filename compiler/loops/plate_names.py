"""Names of plates that are each step's own: ``rows_0``, ``rows_1``, … are the plate ``rows_*`` of all steps."""

from __future__ import annotations

from dataclasses import replace

from plait.compiler.loops.state import visible
from plait.ir.graph import Graph, Node, make, rewrite
from plait.ir.ops import Deterministic, Plate, Site
from plait.ir.types import ArrayType, PlateFrame


def with_visible_plates(graph: Graph) -> Graph:
    """The graph whose plates have names that a user can read, in loops and branches too."""

    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        op = node.op.with_bodies([with_visible_plates(body) for body in node.op.bodies])
        match op:
            case Plate(frame, t):
                op = replace(op, frame=_frame(frame), type=_type(t))
            case Site():
                op = replace(op, plates=tuple(map(_frame, op.plates)), type=_type(op.type))
            case Deterministic():
                op = replace(op, plates=tuple(map(_frame, op.plates)))
        return None if op == node.op and args == node.args else make(op, args, node.loc)

    return rewrite(graph, rule)


def _frame(frame: PlateFrame) -> PlateFrame:
    return replace(frame, name=visible(frame.name))


def _type(t: ArrayType) -> ArrayType:
    return replace(t, axes=tuple(None if a is None else visible(a) for a in t.axes))


__all__ = ["with_visible_plates"]
