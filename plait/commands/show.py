"""``plait show``: a graph of the model, as text, DOT or JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from plait.after import After, graph_after, saved_after, saved_json
from plait.ir.drawing.drawing import draw
from plait.options import Data, Debug, DtypeOption, Float64, Json, Target, Without
from plait.runtime.artifact.load import Saved
from plait.session import fail, session

if TYPE_CHECKING:
    from plait.ir.graph import Graph


def show(
    target: Target,
    data: Data = None,
    after: After = "trace",
    lines: Annotated[bool, typer.Option("--lines", help="End each node with the model's line.")] = False,
    dot: Annotated[bool, typer.Option("--dot", help="Print Graphviz DOT of the sites: `plait draw` has more.")] = False,
    as_json: Json = False,
    dtype: DtypeOption = None,
    float64: Float64 = None,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Print a model's graph, as text, DOT or JSON.

    As traced, or after a pass; a saved model has the graphs as traced and after the last pass.
    """
    if dot and as_json:
        fail("--dot and --json exclude each other: a graph is printed in one form", 2, False)
    with session(target, float64, dtype, debug) as at:
        if at.saved is not None:
            at.refuse_for_saved(data, without)
            typer.echo(_of_saved(at.saved, after, lines, dot, as_json), nl=dot or as_json)
        else:
            typer.echo(_of_graph(graph_after(target, data, without, after), lines, dot, as_json), nl=dot or as_json)


def _of_graph(graph: Graph, lines: bool, dot: bool, as_json: bool) -> str:
    from plait.ir.text import to_text

    if dot:
        return graph.draw().dot
    return json.dumps(graph.to_json(), allow_nan=False) if as_json else to_text(graph, lines=lines)


def _of_saved(saved: Saved, after: str, lines: bool, dot: bool, as_json: bool) -> str:
    if as_json:
        return json.dumps(saved_json(saved, after), allow_nan=False)
    if dot:
        return draw(saved_json(saved, after)).dot
    picture = saved.pictures.traced if saved_after(saved, after) == "traced" else saved.pictures.density
    return picture.with_lines if lines else picture.text
