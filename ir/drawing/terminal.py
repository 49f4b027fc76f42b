"""A picture for terminals: a line for each value with what it reads, and boxes for plates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import ROUNDED
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from plait.ir.drawing.characters import short
from plait.ir.drawing.picture import Drawn, Picture

MARKS: Mapping[str, str] = {
    "latent": "○", "observed": "●", "deterministic": "◌", "factor": "■", "param": "◇", "module": "▣", "data": "□",
    "value": "○", "log_prob": "▪", "fused": "▪", "log_det_jacobian": "▪", "log_density": "Σ",
}  # fmt: skip
_STYLES = {
    "latent": "bold", "value": "bold", "observed": "cyan", "data": "dim", "factor": "magenta", "param": "magenta",
}  # fmt: skip


def to_terminal(shown: Picture, *, shapes: bool = False) -> Group:
    """What rich prints: values in program order, each with its parents; plates as boxes with name and size.

    Args:
        shown: the picture.
        shapes: whether values say dtype, shape and support.
    """
    return Group(*_boxes(shown, None, shapes), _legend(shown))


def to_text(shown: Picture, *, shapes: bool = False, width: int = 100) -> str:
    """The same as plain text.

    Args:
        shown: the picture.
        shapes: whether values say dtype, shape and support.
        width: of a line.
    """
    out = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with out.capture() as captured:
        out.print(to_terminal(shown, shapes=shapes))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _boxes(shown: Picture, within: str | None, shapes: bool) -> Iterator[Any]:
    """The values outside of inner boxes, each inner box where its first value stands."""
    rows: list[Drawn] = []
    drawn: set[str] = set()
    for node in shown.nodes:
        inner = _child(shown, node.box, within)
        if inner == within and node.box == within:
            rows.append(node)
        elif inner is not None and inner != within and inner not in drawn:
            if rows:
                yield _lines(shown, rows, shapes)
            rows = []
            drawn.add(inner)
            (box,) = (b for b in shown.boxes if b.id == inner)
            title = Text(box.label, "dim")
            content = Group(*_boxes(shown, inner, shapes))
            yield Panel(content, title=title, title_align="right", box=ROUNDED, border_style="dim", expand=False)
    if rows:
        yield _lines(shown, rows, shapes)


def _child(shown: Picture, box: str | None, within: str | None) -> str | None:
    """The box right inside `within` that a box is or lies in; `within` itself; None where it lies elsewhere."""
    parents = {b.id: b.within for b in shown.boxes}
    while box != within:
        if box is None:
            return None
        if parents[box] == within:
            return box
        box = parents[box]
    return within


def _lines(shown: Picture, nodes: list[Drawn], shapes: bool) -> Table:
    columns = zip(*(_cells(shown, node, shapes) for node in nodes), strict=True)
    filled = [column for column in columns if any(column)]  # rich breaks the others where one is empty
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in filled:
        table.add_column(overflow="fold")
    for row in zip(*filled, strict=True):
        table.add_row(*row)
    return table


def _cells(shown: Picture, node: Drawn, shapes: bool) -> list[Text]:
    title = f"{MARKS.get(node.kind, '·')} {short(node.name)}" + f" ×{node.count}" * (node.count > 1)
    cells = [Text(title, _STYLES.get(node.kind, "")), Text(short(node.text))]
    if shapes:
        cells.append(Text(short(f"{node.type} {node.support}".strip()), "dim"))
    return [*cells, Text(_reads(shown, node), "dim")]


def _reads(shown: Picture, node: Drawn) -> str:
    """``← mu, tau``; of a value of the step before ``x before``."""
    names = {other.id: other.name for other in shown.nodes}
    read = [short(names[e.tail]) + " before" * e.temporal for e in shown.edges if e.head == node.id]
    return f"← {', '.join(read)}" if read else ""


def _legend(shown: Picture) -> Text:
    kinds = [kind for kind in MARKS if any(node.kind == kind for node in shown.nodes)]
    return Text("  ".join(f"{MARKS[kind]} {kind.replace('_', ' ')}" for kind in kinds), "dim")


__all__ = ["to_terminal", "to_text"]
