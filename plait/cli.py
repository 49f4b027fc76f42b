"""The command line: ``plait sample``, ``plait show``, ``plait explain``, ``plait check``, ``plait bench``.

Exit codes: 0 done; 2 the model, its data or the command are wrong; 1 the sampler failed, `check` found a pass that
changes the density, or `bench` densities that disagree; 3 `check` found a density or gradient that is not finite. An
error is one line on the standard error; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

import plait
from plait.commands.bench import bench
from plait.commands.check import check
from plait.commands.sample import sample
from plait.compiler.passes import PIPELINE
from plait.ir.errors import PassError, PlaitError
from plait.ir.graph import Graph
from plait.ir.text import to_text
from plait.model_file import load
from plait.session import (
    Data,
    Debug,
    Float64,
    Json,
    Target,
    Without,
    compiled_file,
    fail,
    session,
    switches,
)

app = typer.Typer(
    help="plait: a compiler for probabilistic models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"plait {plait.__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


app.command()(sample)


@app.command()
def show(
    target: Target,
    data: Data = None,
    after: Annotated[
        str, typer.Option(metavar="PASS", help=f"trace, {', '.join(p.name for p in PIPELINE)}.")
    ] = "trace",
    lines: Annotated[bool, typer.Option("--lines", help="End each node with the model's line.")] = False,
    dot: Annotated[bool, typer.Option("--dot", help="Print Graphviz DOT.")] = False,
    as_json: Json = False,
    float64: Float64 = True,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Print a model's graph: as traced, or after a pass; as text, DOT or JSON."""
    if dot and as_json:
        fail("--dot and --json exclude each other: a graph is printed in one form", 2, False)
    with session(target, float64, debug):
        graph = _graph_after(target, data, without, after)
        if dot:
            from plait.ir.dot import to_dot

            typer.echo(to_dot(graph))
        elif as_json:
            typer.echo(json.dumps(graph.to_json(), allow_nan=False))
        else:
            typer.echo(to_text(graph, lines=lines), nl=False)


@app.command()
def explain(
    target: Target,
    data: Data = None,
    as_json: Json = False,
    float64: Float64 = True,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Print what is evaluated, term by term, with its cost; as tables or JSON."""
    with session(target, float64, debug):
        _, compiled, _ = compiled_file(target, data, without)
        explained = compiled.explain()
        if as_json:
            typer.echo(json.dumps(explained.to_json(), allow_nan=False))
            return
        typer.echo(str(explained))
        history = " → ".join(f"{name} {nodes}" for name, nodes, _ in explained.passes)
        typer.echo(f"nodes after each pass: {history}")


app.command()(check)
app.command()(bench)


def main() -> None:
    """The ``plait`` command."""
    app(prog_name="plait")


# -- steps of the commands ------------------------------------------------------------------------------


def _graph_after(target: str, data: Path | None, without: list[str] | None, after: str) -> Graph:
    """The graph after a pass, also where a later pass finds that the model can't be compiled."""
    known = ["trace", *(p.name for p in PIPELINE)]
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


if __name__ == "__main__":
    main()
