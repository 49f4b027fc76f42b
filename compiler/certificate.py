"""What was compared after each pass, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text

from plait.compiler.report import Report


@dataclass(frozen=True)
class Row:
    """One comparison: errors are relative to the sum of the terms' magnitudes.

    Attributes:
        stage: the pass, or "trace".
        point: the number of the random point.
        unconstrained: whether this is the log density of z; else the log joint of the constrained values.
        value: after the pass (nats).
        reference: of the interpreter, in float64.
        value_error: relative.
        gradient_error: of the worst entry, relative.
        gradient: the Euclidean norm of the gradient after the pass.
        gradient_reference: of the interpreter's gradient.
        changed: whether the pass changed the graph.
        holds: whether both errors are allowed.
    """

    stage: str
    point: int
    unconstrained: bool
    value: float
    reference: float
    value_error: float
    gradient_error: float
    gradient: float
    gradient_reference: float
    changed: bool
    holds: bool


@dataclass(frozen=True)
class Certificate(Report):
    """What `check=` compared; ``print`` shows it pass by pass.

    Attributes:
        rows: by point and pass; of a certificate that is broken up to the pass that breaks.
        whole: sites that the reference could not loop over.
        large: sites of so many elements that the reference took some of them one by one and the others in one batch.
        skipped: points that were left out, as the reference's value or gradient is not finite there.
    """

    schema: ClassVar[str] = "plait.certificate/1"
    what: ClassVar[str] = "the certificate"

    rows: tuple[Row, ...]
    whole: tuple[str, ...]
    large: tuple[str, ...] = ()
    skipped: int = 0

    @property
    def worst(self) -> float:
        """The largest error, of value or gradient."""
        return max((max(r.value_error, r.gradient_error) for r in self.rows), default=0.0)

    @property
    def broken(self) -> Row | None:
        """The first comparison that fails; None where all hold."""
        return next((row for row in self.rows if not row.holds), None)

    @property
    def proves(self) -> bool:
        """Whether something was compared and all of it holds."""
        return bool(self.rows) and self.broken is None

    @property
    def points(self) -> int:
        """How many points were compared."""
        return len({row.point for row in self.rows})

    @property
    def verdict(self) -> str:
        """One sentence."""
        row = self.broken
        if not self.rows:
            return (
                f"nothing is proved: the density is not finite at any of {self.skipped} random points; "
                "CompiledModel.find_nonfinite says why"
            )
        if row is None:
            points = f"{self.points} random point{'s' * (self.points != 1)}"
            return f"every pass agrees with the reference at {points}, worst relative error {self.worst:.1e}{self._but}"
        return (
            f"pass {row.stage!r} changes the density: log density {row.value:.12g}, reference {row.reference:.12g} "
            f"(relative error {row.value_error:.2g}, of the gradient {row.gradient_error:.2g}) at a random point; "
            f"switch it off with passes={{{row.stage!r}: False}} and report this model"
        )

    @property
    def _but(self) -> str:
        """What the comparison left out."""
        parts = [f"not taken apart: {', '.join(self.whole)}"] if self.whole else []
        if self.large:
            parts.append(f"large, so only some elements one by one: {', '.join(self.large)}")
        if self.skipped:
            parts.append(f"{self.skipped} more points have no finite density")
        return "".join(f"; {part}" for part in parts)

    def __rich__(self) -> Group:
        verdict = Text(self.verdict, "bold" if self.proves else "bold red")
        return Group(self._table(), Text(self._legend, "dim"), verdict) if self.rows else Group(verdict)

    @property
    def _legend(self) -> str:
        spaces = {row.unconstrained for row in self.rows}
        values = {True: "log density of z", False: "log joint of the constrained values"}
        first = next((row.stage for row in self.rows if row.unconstrained), "")
        of = f"{values[False]}, from {first} on {values[True]}" if len(spaces) > 1 else values[spaces.pop()]
        return f"(=: the pass changed nothing; in nats: {of}; errors: relative, the worst of all points)"

    def _table(self) -> Table:
        """A row for each pass: value and gradient at the last point compared, the worst errors of all points."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("after", no_wrap=True)
        for column in ("value", "reference", "error", "|gradient|", "reference", "error"):
            table.add_column(column, justify="right", no_wrap=True)
        shown = self.broken.point if self.broken is not None else 0
        for row in [r for r in self.rows if r.point == shown]:
            same = [r for r in self.rows if r.stage == row.stage]
            worst = [
                f"{max(errors):.1e}" for errors in ([r.value_error for r in same], [r.gradient_error for r in same])
            ]
            style = "bold red" if not row.holds else "" if row.changed else "dim"
            name = row.stage if row.changed else f"{row.stage} ="
            numbers = [f"{row.value:.7g}", f"{row.reference:.7g}", worst[0]]
            numbers += [f"{row.gradient:.5g}", f"{row.gradient_reference:.5g}", worst[1]]
            table.add_row(Text(name, style), *(Text(text, style) for text in numbers))
        return table


__all__ = ["Certificate", "Row"]
