"""``plait show``: a graph of the model, as text, DOT or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import plait
from plait.ir.errors import ArtifactError, PassError, PlaitError
from plait.model_file import load
from plait.options import Data, Debug, DtypeOption, Float64, Json, Target, Without, stages, starting_with
from plait.runtime.artifact.load import Saved
from plait.session import fail, session, switches

if TYPE_CHECKING:
    from plait.ir.graph import Graph


def show(
    target: Target,
    data: Data = None,
    after: Annotated[
        str,
        typer.Option(
            metavar="PASS", help="trace, or a pass: `plait explain` lists them.", autocompletion=starting_with(stages)
        ),
    ] = "trace",
    lines: Annotated[bool, typer.Option("--lines", help="End each node with the model's line.")] = False,
    dot: Annotated[bool, typer.Option("--dot", help="Print Graphviz DOT.")] = False,
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
            typer.echo(_of_graph(_graph_after(target, data, without, after), lines, dot, as_json), nl=dot or as_json)


def _of_graph(graph: Graph, lines: bool, dot: bool, as_json: bool) -> str:
    from plait.ir.dot import to_dot
    from plait.ir.text import to_text

    if dot:
        return to_dot(graph)
    return json.dumps(graph.to_json(), allow_nan=False) if as_json else to_text(graph, lines=lines)


def _of_saved(saved: Saved, after: str, lines: bool, dot: bool, as_json: bool) -> str:
    last = saved.explanation.passes[-1][0]
    if after not in ("trace", last):
        raise ArtifactError(
            f"{saved.path} holds the graphs as traced and after the last pass: --after trace or --after {last}; give "
            f"the model's MODEL.py to see it after {after!r}"
        )
    traced = after == "trace"
    if as_json:
        return json.dumps(saved.graphs["traced" if traced else "density"], allow_nan=False)
    picture = saved.pictures.traced if traced else saved.pictures.density
    return picture.dot if dot else picture.with_lines if lines else picture.text


def _graph_after(target: str, data: Path | None, without: Sequence[str] | None, after: str) -> Graph:
    """The graph after a pass, also where a later pass finds that the model can't be compiled."""
    known = stages()
    if after not in known:
        near = get_close_matches(after, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise PassError(f"there is no pass {after!r}; {hint}")
    if after in (without or ()):
        raise PassError(f"pass {after!r} is both asked for and switched off")
    graphs: dict[str, Graph] = {}
    model = load(target, data)
    args, kwargs = model.arguments()
    try:
        plait.compile(model.function, *args, passes=switches(without), on_graph=graphs.__setitem__, **kwargs)
    except PlaitError as error:
        if after not in graphs or isinstance(error, PassError):
            raise
    return graphs[after]
