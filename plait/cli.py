"""The command line: ``plait sample``, ``plait show``, ``plait explain``, ``plait check``, ``plait bench``.

Exit codes: 0 done; 2 the model, its data or the command are wrong; 1 the sampler failed, `check` found a pass that
changes the density, or `bench` densities that disagree; 3 `check` found a density or gradient that is not finite. An
error is one line on the standard error; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console

import plait
from plait.commands.bench import bench
from plait.commands.check import check
from plait.compiler.passes import PIPELINE
from plait.ir.errors import PassError, PlaitError
from plait.ir.graph import Graph
from plait.ir.ops import Param
from plait.ir.text import to_text
from plait.model_file import ModelFile, ModelFileError, load
from plait.render import model_title, posterior_table, site_table
from plait.runtime.compiled import CompiledModel
from plait.runtime.draws import Draws
from plait.runtime.extras import require
from plait.runtime.summary import diagnose, summary
from plait.session import (
    Data,
    Debug,
    Float64,
    Target,
    Without,
    compiled_file,
    fail,
    one_line,
    session,
    switches,
    warn,
    with_fixed_params,
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


@app.command()
def sample(
    target: Target,
    data: Data = None,
    chains: Annotated[int, typer.Option(min=1, help="Chains, side by side.")] = 4,
    warmup: Annotated[int, typer.Option(min=0, help="Adapting iterations of each chain.")] = 1000,
    draws: Annotated[int, typer.Option(min=4, help="Kept iterations of each chain.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 0,
    target_accept: Annotated[
        float, typer.Option(min=0.01, max=0.999, help="Acceptance rate that the step size is adapted to.")
    ] = 0.8,
    max_treedepth: Annotated[int, typer.Option(min=1, help="At most 2**this gradients a draw.")] = 10,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.npz", help="Write the draws, an array a site.")
    ] = None,
    every_row: Annotated[bool, typer.Option("--all", help="Show every entry of long sites.")] = False,
    float64: Float64 = True,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Compile a model and draw from its posterior with NUTS (BlackJAX)."""
    options: dict[str, Any] = {"chains": chains, "warmup": warmup, "draws": draws}
    options |= {"target_accept": target_accept, "max_treedepth": max_treedepth}
    with session(target, float64, debug) as out:
        require("arviz", "blackjax")
        _check_output(output)
        model, compiled, seconds = compiled_file(target, data, without)
        _print_model(out, model, compiled, seconds)
        if compiled.graph.of(Param):
            warn(out, "params are held at their initial values: sampling does not fit them")
            compiled = with_fixed_params(compiled, seed)
        result, seconds = _run(compiled, seed, options, debug)
        table = summary(result)
        _print_sampling(out, result, warmup, seconds)
        out.print(posterior_table(table, chains, compiled.families, every_row=every_row))
        for sentence in diagnose(result, table, max_treedepth=max_treedepth):
            warn(out, sentence)
        if output is not None:
            np.savez(output, **dict(result.values))  # type: ignore[arg-type]
            out.print(f"draws written to {output}")


@app.command()
def show(
    target: Target,
    data: Data = None,
    after: Annotated[
        str, typer.Option(metavar="PASS", help=f"trace, {', '.join(p.name for p in PIPELINE)}.")
    ] = "trace",
    lines: Annotated[bool, typer.Option("--lines", help="End each node with the model's line.")] = False,
    dot: Annotated[bool, typer.Option("--dot", help="Print Graphviz DOT.")] = False,
    float64: Float64 = True,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Print a model's graph: as traced, or after a pass."""
    with session(target, float64, debug):
        graph = _graph_after(target, data, without, after)
        if dot:
            from plait.ir.dot import to_dot

            typer.echo(to_dot(graph))
        else:
            typer.echo(to_text(graph, lines=lines), nl=False)


@app.command()
def explain(
    target: Target,
    data: Data = None,
    float64: Float64 = True,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Print what is evaluated, term by term, with its cost."""
    with session(target, float64, debug):
        _, compiled, _ = compiled_file(target, data, without)
        explained = compiled.explain()
        typer.echo(str(explained))
        history = " → ".join(f"{name} {nodes}" for name, nodes, _ in explained.passes)
        typer.echo(f"nodes after each pass: {history}")


app.command()(check)
app.command()(bench)


def main() -> None:
    """The ``plait`` command."""
    app(prog_name="plait")


# -- steps of the commands ------------------------------------------------------------------------------


def _run(compiled: CompiledModel, seed: int, options: Mapping[str, Any], debug: bool) -> tuple[Draws, float]:
    from plait.runtime.samplers import blackjax

    began = time.perf_counter()
    try:
        result = blackjax.sample(compiled, jax.random.key(seed), **options)
    except PlaitError:
        raise
    except Exception as e:
        fail(f"the sampler failed: {one_line(e)}", 1, debug)
    return result, time.perf_counter() - began


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


def _print_model(out: Console, model: ModelFile, compiled: CompiledModel, seconds: float) -> None:
    out.print(model_title(model.path.name, model.name, compiled.graph))
    out.print(site_table(compiled.rolled_graph))
    title = f"\nlog density of {compiled.dim} unconstrained values, compiled in {seconds:.1f} s:"
    out.print(title, style="bold")
    out.print(compiled.explain())


def _print_sampling(out: Console, draws: Draws, warmup: int, seconds: float) -> None:
    size, gradients = draws.stats["step_size"].mean(), draws.stats["n_steps"].mean()
    out.print(
        f"\n{draws.chains} chains × {draws.draws} draws, {warmup} warm-up each, in {seconds:.1f} s: step size "
        f"{size:.3g}, {gradients:.1f} gradients a draw, {draws.divergences} divergences",
        style="bold",
    )


def _check_output(output: Path | None) -> None:
    """Before anything slow runs."""
    if output is not None and output.suffix != ".npz":
        raise ModelFileError(f"can't write draws to {output}: it does not end in .npz")
    if output is not None and not output.parent.is_dir():
        raise ModelFileError(f"can't write draws to {output}: there is no folder {output.parent}")


if __name__ == "__main__":
    main()
