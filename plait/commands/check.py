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
from plait.ir.errors import CertificateError
from plait.ir.ops import Param
from plait.model_file import load, read_data
from plait.render import model_title
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
        given = None if at is None else read_data(at, "site names")
        compiled = _certified(out, target, data, without, points)
        if compiled.graph.of(Param):
            warn(out, "params are held at their initial values")
            compiled = with_fixed_params(compiled, seed)
        finite = _random_points(out, compiled, seed) if given is None else _point(out, compiled, given, seed)
        if not finite:
            raise typer.Exit(NOT_FINITE)


def _certified(out: Console, target: str, data: Path | None, without: list[str] | None, points: int) -> CompiledModel:
    """The compiled model, its certificate printed; ends the command where a pass breaks."""
    began = time.perf_counter()
    try:
        model, compiled, _ = compiled_file(target, data, without, check=points)
    except CertificateError as error:
        out.print(Text(f"{load(target, data).path.name}: after each pass, beside the reference in float64\n", "bold"))
        out.print(error.certificate)
        raise typer.Exit(PASS_BREAKS) from None
    out.print(model_title(model.path.name, model.name, compiled.graph))
    out.print(Text("\ncertificate: value and gradient after each pass, beside the reference in float64\n", "bold"))
    out.print(compiled.certificate)
    out.print(Text(f"compiled and checked in {time.perf_counter() - began:.1f} s\n", "dim"))
    return compiled


def _point(out: Console, compiled: CompiledModel, given: Mapping[str, Any], seed: int) -> bool:
    """Whether the densities are finite at constrained values; prints what is not."""
    values = dict(given)
    left_out = [name for name in compiled.shapes if name not in _covered(compiled, given)]
    if left_out:
        drawn = _random_values(compiled, np.random.default_rng(seed), seed)
        values |= {name: drawn[name] for name in left_out}
        warn(out, f"random values (seed {seed}) for what the point leaves out: {', '.join(left_out)}")
    found = compiled.find_nonfinite(values)
    if found is not None:
        out.print(_shown(found))
        return False
    out.print(f"log joint {float(compiled.log_joint(values)):.10g} nats: every term and the gradient are finite")
    if not compiled.has_log_density:
        return True
    z = compiled.unconstrain(values)
    if not np.isfinite(z).all():
        entry = compiled.names[int(np.argmin(np.isfinite(z)))]
        out.print(f"{entry} is on the edge of its support: there is no unconstrained point of these values")
        return True
    return _flat_point(out, compiled, z)


def _flat_point(out: Console, compiled: CompiledModel, z: Any) -> bool:
    found = compiled.find_nonfinite(z)
    if found is not None:
        out.print(_shown(found))
        return False
    value = float(compiled.log_density(z))
    out.print(f"log density {value:.10g} nats, unconstrained: every term, log Jacobian and the gradient are finite")
    return True


def _covered(compiled: CompiledModel, given: Mapping[str, Any]) -> set[str]:
    """The sites that values are given for; a family stands for its members."""
    return {site for name in given for site in compiled.families.get(name, (name,))}


def _random_points(out: Console, compiled: CompiledModel, seed: int) -> bool:
    """Whether the density is finite at random points; prints the first thing that is not."""
    rng = np.random.default_rng(seed)
    if not compiled.has_log_density:
        return _prior_draw(out, compiled, rng, seed)
    starts = rng.uniform(-RADIUS, RADIUS, (STARTS, compiled.dim)).astype(compiled.dtype)
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


def _prior_draw(out: Console, compiled: CompiledModel, rng: np.random.Generator, seed: int) -> bool:
    found = compiled.find_nonfinite(_random_values(compiled, rng, seed))
    where = f"a prior draw (seed {seed}), as the model has no unconstrained density"
    if found is None:
        out.print(f"every term and the gradient are finite at {where}")
        return True
    out.print(Text(f"not finite at {where}", "bold"))
    out.print(_shown(found))
    return False


def _random_values(compiled: CompiledModel, rng: np.random.Generator, seed: int) -> dict[str, Any]:
    """Of the unconstrained space, or where there is none of the prior."""
    if compiled.has_log_density:
        return compiled.constrain(rng.uniform(-RADIUS, RADIUS, compiled.dim).astype(compiled.dtype))
    drawn = compiled.sample(jax.random.key(seed))
    return {name: drawn[name] for name in compiled.shapes}


def _shown(found: NonFinite) -> Text:
    first, *rest = str(found).split("\n")
    return Text.assemble((first, "bold red"), *(f"\n{line}" for line in rest))
