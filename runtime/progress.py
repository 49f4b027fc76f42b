"""How far a running sampler is: what adapters report, and the live bar that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text


@dataclass(frozen=True)
class Progress:
    """Where a running sampler or optimizer stands; adapters report one after each block of iterations.

    Attributes:
        phase: "compile" (while XLA compiles, nothing else is known), "warmup", "draws", or a sampler's own word.
        done: iterations of this phase so far, of each chain.
        total: iterations of this phase, of each chain; None where nobody knows before the phase is over.
        divergences: divergent transitions of this phase so far, over all chains; None for samplers without.
        step_size: mean over the chains of the last one used; None before there is one and for samplers without.
        details: other numbers worth showing, by name: ``{"loss": 12.5}``.
        step: what is being done, where each step is something else: a pass, a function that is exported.
    """

    phase: str
    done: int
    total: int | None
    divergences: int | None = None
    step_size: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    step: str = ""


OnProgress = Callable[[Progress], None]

_LABELS = {"compile": "compiling the sampler", "warmup": "warm-up"}


@contextmanager
def reporting(progress: bool | OnProgress) -> Iterator[OnProgress]:
    """What an adapter calls with each `Progress`, by the keyword ``progress`` that its user gave.

    Args:
        progress: True for a live bar on the standard error if that is a terminal, False for nothing, or a callable
            that gets each `Progress`.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress is True, False or a function of a Progress, got {progress!r}")
    if callable(progress):
        yield progress
    elif progress:
        with _live_bars() as show:
            yield show
    else:
        yield lambda report: None


@contextmanager
def _live_bars() -> Iterator[OnProgress]:
    """A bar for each phase, on the standard error; nothing where that is no terminal."""
    out = Console(stderr=True, markup=False, highlight=False, emoji=False)
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=24),
        _Counts(),
        TextColumn("{task.fields[details]} ", markup=False),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=out, disable=not out.is_terminal) as bars:
        tasks = {}

        def show(report: Progress) -> None:
            compiling = report.phase == "compile"
            total = None if compiling else report.total
            if report.phase not in tasks:
                label = _LABELS.get(report.phase, report.phase)
                tasks[report.phase] = bars.add_task(label, total=total, details="")
            task = tasks[report.phase]
            if compiling:
                bars.update(task, visible=report.total is None or report.done < report.total)
            else:
                bars.update(task, total=total, completed=report.done, details=_details(report))

        yield show


class _Counts(MofNCompleteColumn):
    """``300/1000``; of a task whose length is unknown what is done, once something is."""

    def render(self, task: Task) -> Text:
        if task.total is not None:
            return super().render(task)
        return Text(f"{int(task.completed)}" if task.completed else "", "progress.download")


def _details(report: Progress) -> str:
    parts = [f"{name} {value:.4g}" for name, value in report.details.items()]
    if report.step:
        parts.insert(0, report.step)
    if report.step_size is not None:
        parts.insert(0, f"step size {report.step_size:.3g}")
    if report.divergences is not None:
        parts.append(f"divergences {report.divergences}")
    return "  ".join(parts)


__all__ = ["OnProgress", "Progress", "reporting"]
