"""What is evaluated, term by term: at which stage, at what cost, and which line of the model it came from."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from plait.compiler.certificate import Certificate
from plait.compiler.certify import rolled
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
from plait.ir.types import Loc, TupleType


@dataclass(frozen=True)
class Term:
    """One term of the log density.

    Attributes:
        name: of the site; ``log|J| name`` for the Jacobian of its bijector.
        text: the term as the user wrote it.
        evaluated: what is evaluated in its stead, in the field's notation; empty where the rows themselves are.
        reason: why rows of data were not fused; empty where they were, and for latents.
        edit: the smallest change of the model that would let them fuse, where there is one.
        shape: of the unsummed term.
        rows: how many the user wrote, and how many are evaluated.
        stage: "prepare" where data alone decide it, else "call".
        flops: elementwise operations of each call that no earlier term already did.
        written_flops: the same, if the rows were evaluated.
        bytes: of data and statistics that each call reads.
        written_bytes: the same, if the rows were evaluated.
        prepared: operations done once per data set, those in JAX.
        loc: the user's line.
    """

    name: str
    text: str
    evaluated: str
    reason: str
    edit: str
    shape: str
    rows: tuple[int, int]
    stage: str
    flops: int
    written_flops: int
    bytes: int
    written_bytes: int
    prepared: int
    loc: Loc | None


@dataclass(frozen=True)
class Explanation:
    """The terms and the passes' effect; ``print`` shows both as tables.

    Attributes:
        terms: in the order of the program.
        passes: (pass, nodes after it, operations).
        certificate: of ``check=``.
        notes: what kept sites of one loop apart, or a loop from being traced once; what was made stable.
    """

    terms: tuple[Term, ...]
    passes: tuple[tuple[str, int, int], ...]
    certificate: Certificate | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        out = io.StringIO()
        console = Console(file=out, width=110, force_terminal=False, markup=False, highlight=False)
        console.print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def __rich__(self) -> Group:
        parts: list[Any] = [Text(_totals(self.terms)), _term_table(self.terms)]
        parts += [line for t in self.terms for line in _in_words(t)]
        if any(t.evaluated for t in self.terms):
            parts.append(Text(_legend(self.terms), style="dim"))
        parts += map(Text, _shortened(self.notes))
        if self.certificate is not None:
            c = self.certificate
            whole = f"; not taken apart: {', '.join(c.whole)}" if c.whole else ""
            parts.append(Text(f"checked: {len(c.rows)} comparisons, worst relative error {c.worst:.1e}{whole}"))
        return Group(*parts)


LEGEND = {  # what is in the rules' notation, and in no name of a model
    "n·": "n: rows",
    "Σ": "Σ: over rows",
    "‖R": "R: triangular factor of the design",
    "φ̂": "φ̂: least-squares fit",
    "RSS": "RSS: its residual sum of squares",
    "Tᵀ": "TᵀT: scatter matrix",
    "ȳ": "ȳ: mean",
    "Zᵀw": "Zᵀw: what each coefficient counts",
    "Σ_c": "c: cell, the rows with the same parameters",
    "Σ_k exp": "k: component, value and gradient share exp",
}


def _legend(terms: Sequence[Term]) -> str:
    """The symbols that occur, all of them computed once from the data."""
    used = " ".join(t.evaluated for t in terms)
    return f"({'; '.join(text for symbol, text in LEGEND.items() if symbol in used)})"


MOST_NOTES = 8  # that are printed


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


def _fused(history: Sequence[tuple[str, Graph]], data: Sequence[Any] | None) -> dict[str, _AsWritten]:
    """The rules' answers by site; they are asked again, as nobody else wants to know."""
    names = [name for name, _ in history]
    if "fuse" not in names:
        return {}
    found = {}
    for term in answers(history[names.index("fuse") - 1][1], data):
        if isinstance(term.answer, Refused):
            found[term.site] = _AsWritten("", term.answer.reason, term.answer.edit)
        else:
            found[term.site] = _AsWritten(term.notation, "", "", term.rows, term.answer.cells)
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


def _shortened(notes: Sequence[str]) -> list[str]:
    more = len(notes) - MOST_NOTES
    return [*notes[:MOST_NOTES], *([f"… and {more} more such notes"] if more > 0 else [])]


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


def _term_table(terms: Sequence[Term]) -> Table:
    file = next((t.loc for t in terms if t.loc), None)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("term", overflow="fold")
    for column in ("rows", "operations", "bytes read"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(str(file).rpartition(":")[0] if file else "line", no_wrap=True)
    for t in [t for t in terms if not (t.name.startswith(_JACOBIAN) and t.flops == 0)]:
        here = "" if t.loc is None else f":{t.loc.line}" if file and t.loc.file == file.file else str(t.loc)
        cells = _change(*t.rows), _change(t.written_flops, t.flops), _change(t.written_bytes, t.bytes)
        table.add_row(t.name if t.name.startswith(_JACOBIAN) else t.text, *cells, here)
    return table


_JACOBIAN = "log|J|"


def _in_words(term: Term) -> list[Text]:
    """What became of a term, on a line of its own."""
    if term.evaluated:
        return [Text(f"{term.name} ⇒ {term.evaluated}", style="green")]
    if term.reason:
        edit = f"; to fuse them: {term.edit}" if term.edit else ""
        return [Text(f"{term.name} keeps its rows: {term.reason}{edit}", style="yellow")]
    return []


def _change(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def _totals(terms: Sequence[Term]) -> str:
    before, after = sum(t.written_flops for t in terms), sum(t.flops for t in terms)
    fewer = f" ({before / after:,.0f} times fewer)" if 0 < 2 * after < before else ""
    return f"operations of a call: {_change(before, after)}{fewer}"


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


__all__ = ["Explanation", "Term", "explain"]
