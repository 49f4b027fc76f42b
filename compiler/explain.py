"""How an explanation is made: the graphs of a compile, term by term, with what the rules and passes answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from plait.compiler.certificate import Certificate
from plait.compiler.certify import rolled
from plait.compiler.explanation import Explanation, Term
from plait.compiler.importer import Builder
from plait.compiler.memo import remembered
from plait.compiler.passes.fuse import answers
from plait.compiler.passes.reroll import look_alikes
from plait.compiler.passes.share_exps import components
from plait.compiler.passes.stabilize import made_stable
from plait.compiler.rules.term import Refused
from plait.ir.fused import Kernel
from plait.ir.graph import Graph, Node, Role, ancestors
from plait.ir.ops import Apply, Cond, Const, Hoist, Input, Scan, Typed, Value, array_type, from_aval
from plait.ir.sites import site_lines
from plait.ir.types import TupleType


def explain(
    history: Sequence[tuple[str, Graph]],
    certificate: Certificate | None,
    notes: Sequence[str] = (),
    data: Sequence[Any] | None = None,
) -> Explanation:
    """Explains a compile from the graphs after each pass.

    Args:
        history: of the compile.
        certificate: of ``check=``.
        notes: what the trace has to say.
        data: that the program was made for; None where they are traced.
    """
    graph = history[-1][1]
    texts = {line.name: f"{line.name} {line.text}" for line in site_lines(rolled(history))}
    fused = _fused(history, data)
    prepared = _prepared(graph)
    in_sum = graph.named(Role.FUSED)
    as_written, as_evaluated = _Counted(prepared), _Counted(prepared)
    terms = []
    outputs = [(name, name, n) for name, n in graph.named(Role.TERM).items()]
    outputs += [(f"log|J| {name}", name, n) for name, n in graph.named(Role.JACOBIAN).items()]
    for name, site, node in outputs:
        written, now = as_written.term(node), as_evaluated.term(in_sum.get(name, node))
        at = fused.get(name, _AsWritten())
        n = math.prod(array_type(node).shape)
        evaluated = at.evaluated or _mixed(components(now.nodes))
        terms.append(
            Term(
                name,
                texts.get(site, "") if name == site else "log |dx/du|",
                evaluated,
                "" if evaluated else at.reason,
                "" if evaluated else at.edit,
                f"[{str(array_type(node)).partition('[')[2].rpartition(']')[0]}]",
                (at.rows or n, at.cells or n),
                "prepare" if node in prepared else "call",
                now.flops,
                written.flops,
                now.bytes,
                written.bytes,
                now.prepared,
                node.loc,
                at.rule,
                at.refusals,
            )
        )
    passes = tuple((name, len(g.nodes), sum(flops(n) for n in g)) for name, g in history)
    return Explanation(tuple(terms), passes, certificate, (*notes, *_kept_apart(history), *_made_stable(history)))


def _mixed(counts: Sequence[int]) -> str:
    """Of terms that sum over components, how many of them."""
    parts = [f"log Σ_k exp(·)  over k = 1 … {k}" for k in sorted(set(counts))]
    return "Σ " + ", ".join(parts) if parts else ""


@dataclass(frozen=True)
class _AsWritten:
    """What `fuse` made of a term; nothing by default."""

    evaluated: str = ""
    reason: str = ""
    edit: str = ""
    rows: int = 0
    cells: int = 0
    rule: str = ""
    refusals: tuple[tuple[str, str], ...] = ()


def _fused(history: Sequence[tuple[str, Graph]], data: Sequence[Any] | None) -> dict[str, _AsWritten]:
    """The rules' answers by site; they are asked again, as nobody else wants to know."""
    names = [name for name, _ in history]
    if "fuse" not in names:
        return {}
    found = {}
    for term in answers(history[names.index("fuse") - 1][1], data):
        if isinstance(term.answer, Refused):
            found[term.site] = _AsWritten("", term.answer.reason, term.answer.edit, refusals=term.refusals)
        else:
            cells = term.answer.cells
            found[term.site] = _AsWritten(term.notation, "", "", term.rows, cells, term.rule, term.refusals)
    return found


@dataclass(frozen=True)
class _Cost:
    """Of one term: the nodes that each call evaluates, their operations, the bytes read, operations done before."""

    nodes: tuple[Node, ...]
    flops: int
    bytes: int
    prepared: int


class _Counted:
    """Costs of terms one after the other: what several of them read is the first one's."""

    def __init__(self, prepared: AbstractSet[Node]) -> None:
        self.prepared = prepared
        self.done: set[Node] = set()

    def term(self, node: Node) -> _Cost:
        mine = _ancestors_up_to_values(node) - self.done
        self.done |= mine
        nodes = tuple(n for n in mine if n not in self.prepared)
        before = sum(flops(n) for n in mine if n in self.prepared)
        return _Cost(nodes, sum(map(flops, nodes)), sum(_bytes(n) for n in mine if isinstance(n.op, Hoist)), before)


def _bytes(node: Node) -> int:
    t = array_type(node)
    return t.size * t.dtype.itemsize


def _kept_apart(history: Sequence[tuple[str, Graph]]) -> list[str]:
    """What `reroll` says of look-alikes; the search is made again, as nobody else wants to know."""
    names = [name for name, _ in history]
    return [str(apart) for apart in look_alikes(history[names.index("reroll") - 1][1])] if "reroll" in names else []


def _made_stable(history: Sequence[tuple[str, Graph]]) -> list[str]:
    """What `stabilize` has rewritten; the search is made again, as nobody else wants to know."""
    names = [name for name, _ in history]
    if "stabilize" not in names:
        return []
    return [f"made stable: {place}" for place in made_stable(history[names.index("stabilize") - 1][1])]


def flops(node: Node) -> int:
    """Elementwise operations of a node: one per result element, 2·m·n·k for a matrix product."""
    op = node.op
    if isinstance(op, Scan):
        return op.length * sum(flops(n) for n in op.body)
    if isinstance(op, Cond):
        return max(sum(flops(n) for n in branch) for branch in op.branches)
    if isinstance(op, Apply) and "call_jaxpr" in op.parameters:  # a function with a derivative of its own
        return _flops_of(op.parameters["call_jaxpr"])
    if isinstance(op, Apply) and op.primitive.name == "dot_general":
        (contract, _), _ = op.parameters["dimension_numbers"]
        k = 1
        for axis in contract:
            k *= op.ins[0].shape[axis]
        return 2 * k * array_type(node).size
    if isinstance(op, Apply) and op.primitive.name in _FREE:
        return 0
    if isinstance(op, Apply) and op.primitive.name.startswith(("reduce", "cum", "arg")):
        return op.ins[0].size
    if not isinstance(op, Typed) or isinstance(op, Kernel):  # the host's
        return 0
    return sum(t.size for t in (op.out.items if isinstance(op.out, TupleType) else (op.out,)))


@remembered
def _flops_of(closed: Any) -> int:
    builder = Builder()
    builder.inline(closed, [builder.add(Input("", Input.BODY, from_aval(v.aval))) for v in closed.jaxpr.invars])
    return sum(map(flops, builder.nodes))


_FREE = frozenset({"broadcast_in_dim", "reshape", "squeeze", "convert_element_type", "copy", "transpose", "slice"})


def _prepared(graph: Graph) -> set[Node]:
    return ancestors(n for n in graph if isinstance(n.op, Hoist))


def _ancestors_up_to_values(node: Node) -> set[Node]:
    """What a term computes itself; a latent's value belongs to its own bijector."""
    found: set[Node] = set()
    todo = [node]
    while todo:
        n = todo.pop()
        if n not in found and not isinstance(n.op, (Value, Const)):
            found.add(n)
            todo.extend(n.args)
    return found


__all__ = ["explain", "flops"]
