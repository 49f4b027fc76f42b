"""``plait draw``: a picture of the model, as an image, as source for other programs, or in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.after import graph_after, saved_json
from plait.ir.drawing import drawing
from plait.ir.drawing.drawing import FORMATS, Drawing, format_of
from plait.ir.drawing.terminal import to_terminal
from plait.model_file import ModelFileError
from plait.options import Data, Debug, Detail, DtypeOption, Float64, Format, Target, Without, stages, starting_with
from plait.output import require_place, writing
from plait.session import Session, session


def draw(
    target: Target,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it; the end of FILE is the format.")
    ] = None,
    form: Annotated[Format | None, typer.Option("--format", help="Where no FILE says it.")] = None,
    detail: Annotated[
        Detail, typer.Option(help="The sites; the code between them, too; or every equation.")
    ] = Detail.SITES,
    shapes: Annotated[bool, typer.Option("--shapes", help="Say dtype, shape and support of each site.")] = False,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="PASS",
            help="Draw the graph after a pass instead of the model; the last one's is the density.",
            autocompletion=starting_with(stages),
        ),
    ] = None,
    data: Data = None,
    dtype: DtypeOption = None,
    float64: Float64 = None,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Draw a model: its sites, plates as boxes, observed sites shaded.

    In the terminal, or into a file as SVG, PNG, DOT, Mermaid, JSON or text. A saved model is drawn without its source.
    """
    with session(target, float64, dtype, debug) as at:
        form = Format(format_of(output, form)) if output is not None or form is not None else None
        if form is Format.PNG and output is None:
            raise ModelFileError("a PNG is no text: name its file with --output model.png")
        if output is not None:
            require_place(output)
        shown = _drawn(at, after, detail, shapes, data, without)
        if output is not None:
            with writing(output):
                shown.save(output, form)
            at.out.print(f"wrote {output}", soft_wrap=True)
        elif form is None:
            at.out.print(to_terminal(shown.picture, shapes=shapes))
        else:
            typer.echo(FORMATS[form](shown), nl=False)


def _drawn(
    at: Session, after: str | None, detail: str, shapes: bool, data: Path | None, without: list[str] | None
) -> Drawing:
    if at.saved is not None:
        at.refuse_for_saved(data, without)
    if after is None:
        return at.opened(data, without).compiled.draw(detail=detail, shapes=shapes)
    graph = graph_after(at.target, data, without, after).to_json() if at.saved is None else saved_json(at.saved, after)
    return drawing.draw(graph, detail=detail, shapes=shapes)
