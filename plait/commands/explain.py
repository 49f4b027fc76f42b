"""``plait explain``: what is evaluated, and at which cost."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from plait.options import Data, Debug, DtypeOption, Float64, Json, Target, Without
from plait.session import session


def explain(
    target: Target,
    data: Data = None,
    cost_analysis: Annotated[
        bool, typer.Option("--cost-analysis", help="Compile it, and add what XLA counts: operations, memory.")
    ] = False,
    as_json: Json = False,
    dtype: DtypeOption = None,
    float64: Float64 = None,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Print what is evaluated, term by term, with its cost.

    As tables, or as JSON. Of a saved model it is what was written when it was compiled.
    """
    with session(target, float64, dtype, debug) as at:
        if at.saved is not None:
            at.refuse_for_saved(data, without)
        if at.saved is not None and not cost_analysis:
            explained = at.saved.explanation
        else:
            explained = at.opened(data, without).compiled.explain(cost_analysis=cost_analysis)
        if as_json:
            typer.echo(json.dumps(explained.to_json(), allow_nan=False))
            return
        typer.echo(str(explained))
        history = " → ".join(f"{name} {nodes}" for name, nodes, _ in explained.passes)
        typer.echo(f"nodes after each pass: {history}")
