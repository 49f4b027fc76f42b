"""What is evaluated, term by term: at which stage, at what cost, and which line of the model it came from.

How it reads, and its JSON. `explain.py` makes it; a saved one is read and printed without jax and numpyro.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text

from plait.compiler.certificate import Certificate
from plait.compiler.cost_analysis import CostAnalysis
from plait.compiler.report import Report
from plait.ir.records import ADDED
from plait.ir.types import Loc


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
        rule: that took its rows; empty where none did.
        refusals: (rule, why it does not apply), of the rules that were asked before.
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
    rule: str = field(default="", metadata=ADDED)
    refusals: tuple[tuple[str, str], ...] = field(default=(), metadata=ADDED)


@dataclass(frozen=True)
class Explanation(Report):
    """The terms and the passes' effect; ``print`` shows both as tables.

    Attributes:
        terms: in the order of the program.
        passes: (pass, nodes after it, operations).
        certificate: of ``check=``.
        notes: what kept sites of one loop apart, or a loop from being traced once; what was made stable.
        cost_analysis: what XLA says of the compiled function, where it was asked.
    """

    schema: ClassVar[str] = "plait.explanation/1"
    what: ClassVar[str] = "the explanation"

    terms: tuple[Term, ...]
    passes: tuple[tuple[str, int, int], ...]
    certificate: Certificate | None = None
    notes: tuple[str, ...] = ()
    cost_analysis: CostAnalysis | None = None

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
        if self.cost_analysis is not None:
            parts.append(Text(str(self.cost_analysis)))
        return Group(*parts)


# -- as text ----------------------------------------------------------------------------------------------

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


def _shortened(notes: Sequence[str]) -> list[str]:
    more = len(notes) - MOST_NOTES
    return [*notes[:MOST_NOTES], *([f"… and {more} more such notes"] if more > 0 else [])]


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


__all__ = ["Explanation", "Term"]
