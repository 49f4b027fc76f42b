"""What is evaluated, term by term: at which stage, at what cost, and which line of the model it came from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from plait.compiler.certify import Certificate, rolled
from plait.compiler.passes.reroll import look_alikes
from plait.ir.graph import Graph, Node, Role, ancestors
from plait.ir.ops import Apply, Cond, Const, Hoist, Scan, Typed, Value, array_type
from plait.ir.sites import site_lines
from plait.ir.types import Loc, TupleType


@dataclass(frozen=True)
class Term:
    """One term of the log density.

    Attributes:
        name: of the site; ``log|J| name`` for the Jacobian of its bijector.
        text: the term in the model's words.
        shape: of the unsummed term.
        stage: "prepare" where data alone decide it, else "call".
        flops: elementwise operations of each call that no earlier term already did.
        prepared: the same, done once per data set.
        loc: the user's line.
    """

    name: str
    text: str
    shape: str
    stage: str
    flops: int
    prepared: int
    loc: Loc | None


@dataclass(frozen=True)
class Explanation:
    """The terms and the passes' effect; ``print`` shows both as tables.

    Attributes:
        terms: in the order of the program.
        passes: (pass, nodes after it, operations).
        certificate: of ``check=``.
        notes: what kept sites of one loop apart, or a loop from being traced once.
    """

    terms: tuple[Term, ...]
    passes: tuple[tuple[str, int, int], ...]
    certificate: Certificate | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        out = io.StringIO()
        console = Console(file=out, width=110, force_terminal=False, markup=False)
        console.print(_term_table(self.terms))
        history = " → ".join(f"{name} {nodes}" for name, nodes, _ in self.passes)
        console.print(f"nodes after each pass: {history}", soft_wrap=True)
        for note in _shortened(self.notes):
            console.print(note, soft_wrap=True)
        if self.certificate is not None:
            c = self.certificate
            whole = f"; not taken apart: {', '.join(c.whole)}" if c.whole else ""
            console.print(f"checked: {len(c.rows)} comparisons, worst relative error {c.worst:.1e}{whole}")
        return out.getvalue()

    def __rich__(self) -> Group:
        return Group(_term_table(self.terms), *map(Text, _shortened(self.notes)))


MOST_NOTES = 8  # that are printed


def explain(
    history: Sequence[tuple[str, Graph]], certificate: Certificate | None, notes: Sequence[str] = ()
) -> Explanation:
    """Explains a compile from the graphs after each pass.

    Args:
        history: of the compile.
        certificate: of ``check=``.
        notes: what the trace has to say.
    """
    graph = history[-1][1]
    texts = {line.name: f"{line.name} {line.text}" for line in site_lines(rolled(history))}
    prepared = _prepared(graph)
    done: set[Node] = set()
    terms = []
    outputs = [(name, name, n) for name, n in graph.named(Role.TERM).items()]
    outputs += [(f"log|J| {name}", name, n) for name, n in graph.named(Role.JACOBIAN).items()]
    for name, site, node in outputs:
        mine = _ancestors_up_to_values(node) - done
        done |= mine
        now = sum(flops(n) for n in mine if n not in prepared)
        before = sum(flops(n) for n in mine if n in prepared)
        stage = "prepare" if node in prepared else "call"
        text = texts.get(site, "") if name == site else "log |dx/du|"
        shape = str(array_type(node)).partition("[")[2].rpartition("]")[0]
        terms.append(Term(name, text, f"[{shape}]", stage, now, before, node.loc))
    passes = tuple((name, len(g.nodes), sum(flops(n) for n in g)) for name, g in history)
    return Explanation(tuple(terms), passes, certificate, (*notes, *_kept_apart(history)))


def _shortened(notes: Sequence[str]) -> list[str]:
    more = len(notes) - MOST_NOTES
    return [*notes[:MOST_NOTES], *([f"… and {more} more such notes"] if more > 0 else [])]


def _kept_apart(history: Sequence[tuple[str, Graph]]) -> list[str]:
    """What `reroll` says of look-alikes; the search is made again, as nobody else wants to know."""
    names = [name for name, _ in history]
    return [str(apart) for apart in look_alikes(history[names.index("reroll") - 1][1])] if "reroll" in names else []


def flops(node: Node) -> int:
    """Elementwise operations of a node: one per result element, 2·m·n·k for a matrix product."""
    op = node.op
    if isinstance(op, Scan):
        return op.length * sum(flops(n) for n in op.body)
    if isinstance(op, Cond):
        return max(sum(flops(n) for n in branch) for branch in op.branches)
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
    if not isinstance(op, Typed):
        return 0
    return sum(t.size for t in (op.out.items if isinstance(op.out, TupleType) else (op.out,)))


_FREE = frozenset({"broadcast_in_dim", "reshape", "squeeze", "convert_element_type", "copy", "transpose", "slice"})


def _term_table(terms: Sequence[Term]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("term", "evaluated", "shape", "stage"):
        table.add_column(column, overflow="fold")
    for column in ("ops/call", "ops/data set"):
        table.add_column(column, justify="right")
    table.add_column("line")
    for t in terms:
        table.add_row(t.name, t.text, t.shape, t.stage, str(t.flops), str(t.prepared), str(t.loc or ""))
    return table


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
