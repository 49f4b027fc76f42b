"""The sites of a model in a few lines, in the words of its author."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from plait.ir.expressions import body_inputs, expressions, unbroadcast
from plait.ir.graph import Graph, Node
from plait.ir.ops import Cond, Deterministic, Factor, Observe, Param, Sample, Scan, Site
from plait.ir.site_line import SiteLine
from plait.ir.spec import spec_text, unexpanded
from plait.ir.types import ArrayType


def site_lines(graph: Graph) -> list[SiteLine]:
    """The sites, factors, params and deterministics of a model graph, in program order."""
    return list(_lines(graph, {}, ()))


def _lines(graph: Graph, inputs: Mapping[Node, str], steps: Sequence[int]) -> Iterator[SiteLine]:
    shown = expressions(graph, inputs)
    for node in graph:
        if isinstance(node.op, Scan):
            (body,) = body_inputs(node, shown)
            yield from _lines(node.op.body, body, (*steps, node.op.length))
        elif isinstance(node.op, Cond):
            yield from _branch_lines(node, node.op, shown, steps)
        elif (line := _line(node, shown, steps)) is not None:
            yield line


def _branch_lines(node: Node, op: Cond, shown: Mapping[Node, str], steps: Sequence[int]) -> Iterator[SiteLine]:
    """The sites of a cond once: what they are in each branch, where the branches say different things."""
    branches = [
        {line.name: line for line in _lines(branch, inputs, steps)}
        for branch, inputs in zip(op.branches, body_inputs(node, shown), strict=True)
    ]
    for name, line in branches[0].items():
        said = dict.fromkeys(branch[name].text for branch in branches)
        yield replace(line, text=" or ".join(said))


def _line(node: Node, shown: Mapping[Node, str], steps: Sequence[int]) -> SiteLine | None:
    args = [shown[unbroadcast(a)] for a in node.args]
    shape = _shape(node.type, steps) if isinstance(node.type, ArrayType) else ""
    match node.op:
        case Factor() as op:
            # Its type ends with the empty event of NumPyro's Unit.
            return SiteLine(op.name, f"+= {args[0]}", shape.replace(", 0]", "]").replace("[0]", ""), "factor")
        case Sample() | Observe() as op:
            kind = "observed" if isinstance(op, Observe) else "latent"
            kind += ", masked" * (Site.MASK in op.extras) + ", scaled" * (Site.SCALE in op.extras)
            return SiteLine(op.name, f"~ {spec_text(unexpanded(op.dist), args)}", shape, kind)
        case Deterministic() as op:
            return SiteLine(op.name, f"= {args[0]}", shape, "deterministic")
        case Param() as op:
            return SiteLine(f"{op.name}{op.path}", f"in {spec_text(op.constraint, args)}", shape, "param")
    return None


def _shape(t: ArrayType, steps: Sequence[int]) -> str:
    axes = [f"steps:{n}" for n in steps]
    axes += [f"{a}:{n}" if a else str(n) for a, n in zip(t.axes, t.shape, strict=True)]
    return f"[{', '.join(axes)}]" if axes else ""


__all__ = ["SiteLine", "site_lines"]
