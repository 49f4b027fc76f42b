"""``plait check``: the certificate, and why a density is not finite at a point."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console
from rich.text import Text

from plait.compiler.nonfinite.report import NonFinite
from plait.ir.ops import Param
from plait.model_file import read_data
from plait.render import model_title
from plait.runtime.compile import certificate_of
from plait.runtime.compiled import CompiledModel
from plait.runtime.start import RADIUS
from plait.session import Data, Debug, Float64, Target, Without, compiled_file, session, warn, with_fixed_params

STARTS = 20  # random points at which value and gradient are evaluated
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
    float64: Float64 = True,
    without: Without = None,
    debug: Debug = False,
) -> None:
    """Prove every pass at random points, and find the first term that is infinite or NaN."""
    with session(target, float64, debug) as out:
        began = time.perf_counter()
        model, compiled, _ = compiled_file(target, data, without)
        out.print(model_title(model.path.name, model.name, compiled.graph))
        compiled = _with_params(out, compiled, seed)
        values = None if at is None else _completed(out, compiled, read_data(at, "site names"), seed)
        out.print(Text("\ncertificate: value and gradient after each pass, beside the reference in float64\n", "bold"))
        certificate = certificate_of(compiled, model.function, points=points)
        out.print(certificate)
        out.print(Text(f"compiled and checked in {time.perf_counter() - began:.1f} s\n", "dim"))
        if certificate.broken is not None:
            raise typer.Exit(PASS_BREAKS)
        if not (_random_points(out, compiled, seed) if values is None else _point(out, compiled, values)):
            raise typer.Exit(NOT_FINITE)


def _with_params(out: Console, compiled: CompiledModel, seed: int) -> CompiledModel:
    if not compiled.graph.of(Param):
        return compiled
    warn(out, "params are held at their initial values")
    return with_fixed_params(compiled, seed)


def _completed(out: Console, compiled: CompiledModel, given: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The values of a point, what it leaves out at random; looked at before anything slow runs."""
    covered = {site for name in given for site in compiled.families.get(name, (name,))}
    left_out = [name for name in compiled.shapes if name not in covered]
    drawn = _random_values(compiled, seed) if left_out else {}
    values = {**given, **{name: drawn[name] for name in left_out}}
    compiled.log_joint(values)  # refuses names and shapes that are wrong
    if left_out:
        warn(out, f"random values (seed {seed}) for what the point leaves out: {', '.join(left_out)}")
    return values


def _point(out: Console, compiled: CompiledModel, values: Mapping[str, Any]) -> bool:
    """Whether the densities are finite at constrained values; prints what is not."""
    found = compiled.find_nonfinite(values)
    if found is not None:
        out.print(_shown(found))
        return False
    out.print(f"log joint {float(compiled.log_joint(values)):.10g} nats: every term and the gradient are finite")
    if not compiled.has_log_density or not set(values) <= _latents(compiled):
        return True  # the log density is that of the data, not of a value given for an observed site
    z = compiled.unconstrain(values)
    if not np.isfinite(z).all():
        entry = compiled.names[int(np.argmin(np.isfinite(z)))]
        out.print(f"{entry} is on the edge of its support: there is no unconstrained point of these values")
        return True
    return _flat_point(out, compiled, z)


def _latents(compiled: CompiledModel) -> set[str]:
    """Their names, one by one and of families."""
    return set(compiled.shapes) | {
        name for name, sites in compiled.families.items() if set(sites) <= set(compiled.shapes)
    }


def _flat_point(out: Console, compiled: CompiledModel, z: Any) -> bool:
    found = compiled.find_nonfinite(z)
    if found is not None:
        out.print(_shown(found))
        return False
    value = float(compiled.log_density(z))
    out.print(f"log density {value:.10g} nats, unconstrained: every term, log Jacobian and the gradient are finite")
    return True


def _random_points(out: Console, compiled: CompiledModel, seed: int) -> bool:
    """Whether the density is finite at random points; prints the first thing that is not."""
    if not compiled.has_log_density:
        return _prior_draw(out, compiled, seed)
    starts = np.random.default_rng(seed).uniform(-RADIUS, RADIUS, (STARTS, compiled.dim)).astype(compiled.dtype)
    answers = [compiled.log_density_and_grad(z) for z in starts]
    bad = [i for i, (v, g) in enumerate(answers) if not (np.isfinite(v) and np.isfinite(g).all())]
    where = f"{STARTS} random points of ({-RADIUS:g}, {RADIUS:g}) (seed {seed})"
    if not bad:
        out.print(f"value and gradient are finite at {where}")
        return True
    out.print(Text(f"value or gradient is not finite at {len(bad)} of {where}; at the first of them", "bold"))
    found = compiled.find_nonfinite(starts[bad[0]])
    if found is not None:
        out.print(_shown(found))
    return False


def _prior_draw(out: Console, compiled: CompiledModel, seed: int) -> bool:
    found = compiled.find_nonfinite(_random_values(compiled, seed))
    where = f"a prior draw (seed {seed}), as the model has no unconstrained density"
    if found is None:
        out.print(f"every term and the gradient are finite at {where}")
        return True
    out.print(Text(f"not finite at {where}", "bold"))
    out.print(_shown(found))
    return False


def _random_values(compiled: CompiledModel, seed: int) -> dict[str, Any]:
    """Of the unconstrained space, or where there is none of the prior."""
    if compiled.has_log_density:
        z = np.random.default_rng(seed).uniform(-RADIUS, RADIUS, compiled.dim)
        return compiled.constrain(z.astype(compiled.dtype))
    drawn = compiled.sample(jax.random.key(seed))
    return {name: drawn[name] for name in compiled.shapes}


def _shown(found: NonFinite) -> Text:
    first, *rest = str(found).split("\n")
    return Text.assemble((first, "bold red"), *(f"\n{line}" for line in rest))
