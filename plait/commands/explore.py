"""``plait explore``: everything there is to see of a model, as one page of HTML."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from plait.model_file import read_data, require_file, split_target
from plait.options import Cache, Data, Debug, DtypeOption, Float64, Target, Without
from plait.output import require_place, writing
from plait.session import session, with_fixed_params


def explore(
    target: Target,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The page; MODEL.html where none is named.")
    ] = None,
    at: Annotated[
        Path | None,
        typer.Option("--at", metavar="FILE.json", help="Look at these constrained values; sites left out are random."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random points.")] = 0,
    source: Annotated[
        Path | None, typer.Option("--source", metavar="MODEL.py", help="The file that a saved model was made from.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    data: Data = None,
    dtype: DtypeOption = None,
    float64: Float64 = None,
    without: Without = None,
    cache: Cache = None,
    debug: Debug = False,
) -> None:
    """Write a page that shows source, graphs, passes, terms and code.

    One file of HTML, which needs no network: it has the model's source in it, and no data.
    """
    with session(target, float64, dtype, debug, cache) as on:
        from plait.runtime.explore.explore import explore as write

        path = Path(f"{split_target(target)[0].stem}.html") if output is None else output
        require_place(path)
        if source is not None:
            require_file(source)
        opened = on.opened(data, without)
        compiled, values = with_fixed_params(opened.compiled, seed), None if at is None else read_data(at)
        with writing(path):
            write(compiled, path, at=values, seed=seed, title=opened.name, source=source)
        on.out.print(f"wrote {path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser", soft_wrap=True)
        if show:
            webbrowser.open(path.resolve().as_uri())
