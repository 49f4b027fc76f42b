"""``plait check``: the certificate, and why a density is not finite at a point.

A saved model has no source to compare with: of it only the second.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from plait.finite import Look
from plait.model_file import ModelFile, read_data
from plait.options import Cache, Data, Debug, DtypeOption, Float64, Target, Without
from plait.runtime.compiled import CompiledModel
from plait.runtime.random_values import random_values
from plait.session import session, warn, with_fixed_params

PASS_BREAKS, NOT_FINITE = 1, 3  # exit codes


def check(
    target: Target,
    data: Data = None,
    points: Annotated[int, typer.Option(min=1, help="Random points of the certificate.")] = 2,
    at: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Constrained values by site; sites that it leaves out are random."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the points at which the density is looked at.")] = 0,
    dtype: DtypeOption = None,
    float64: Float64 = None,
    without: Without = None,
    cache: Cache = None,
    debug: Debug = False,
) -> None:
    """Prove every pass, and find what is not finite.

    At random points, or at --at: value and gradient after every pass beside a reference in float64, and the first term
    that is infinite or NaN. A saved model has no source, so that no pass is proved.
    """
    with session(target, float64, dtype, debug, cache) as run:
        out = run.out
        began = time.perf_counter()
        model = run.opened(data, without)
        out.print(model.title)
        compiled = _with_params(out, model.compiled, seed)
        values = None if at is None else _completed(out, compiled, read_data(at, "site names"), seed)
        look = Look(out, compiled, run.saved)
        if model.file is None:
            warn(out, f"no pass is proved: {target} holds no source to compare with; give its MODEL.py\n")
        else:
            _prove(out, compiled, model.file, points, began)
        if not (look.random_points(seed) if values is None else look.point(values)):
            raise typer.Exit(NOT_FINITE)


def _prove(out: Console, compiled: CompiledModel, model: ModelFile, points: int, began: float) -> None:
    from plait.runtime.compile import certificate_of  # imports NumPyro

    out.print(Text("\ncertificate: value and gradient after each pass, beside the reference in float64\n", "bold"))
    certificate = certificate_of(compiled, model.function, points=points)
    out.print(certificate)
    out.print(Text(f"compiled and checked in {time.perf_counter() - began:.1f} s\n", "dim"))
    if certificate.broken is not None:
        raise typer.Exit(PASS_BREAKS)


def _with_params(out: Console, compiled: CompiledModel, seed: int) -> CompiledModel:
    if not compiled.param_shapes:
        return compiled
    warn(out, "params are held at their initial values")
    return with_fixed_params(compiled, seed)


def _completed(out: Console, compiled: CompiledModel, given: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The values of a point, what it leaves out at random; looked at before anything slow runs."""
    covered = {site for name in given for site in compiled.families.get(name, (name,))}
    left_out = [name for name in compiled.shapes if name not in covered]
    drawn = random_values(compiled, seed) if left_out else {}
    values = {**given, **{name: drawn[name] for name in left_out}}
    compiled.log_joint(values)  # refuses names and shapes that are wrong
    if left_out:
        warn(out, f"random values (seed {seed}) for what the point leaves out: {', '.join(left_out)}")
    return values
