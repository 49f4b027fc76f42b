"""One model in plait, in NumPyro and as JAX written by hand: in agreement, then timed in turn.

`rows.py` and `fusion.py` say which models, and what is written by hand for each; `models.py` has its own table.
`plait.timing` says what is measured.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.infer.util import initialize_model
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, whichever is installed

import plait
from plait.timing import CLOCKS, START, Prepared, measure

Array = Any
Data = dict[str, np.ndarray]
Model = Callable[..., None]  # of the library that has the primitives, and the data
Statistics = tuple[Array, ...]
Record = dict[str, Any]

LIBRARIES = ("by hand", "plait", "NumPyro")
ROUNDS = 9


# -- three densities of one model -------------------------------------------------------------------------


@dataclass(frozen=True)
class Hand:
    """What an expert would write for a model.

    Attributes:
        statistics: of the data, in float64.
        density: of the statistics and the flat vector.
    """

    statistics: Callable[..., Statistics]
    density: Callable[[Statistics, Array], Array]


def prepared(model: Model, drawn: Data, static: Mapping[str, int], hand: Hand | None) -> dict[str, Prepared]:
    """All of them on the same data, in the precision that jax is set to."""
    dtype = jnp.zeros(0).dtype
    data = {k: v.astype(dtype) if v.dtype.kind == "f" else v.astype(np.int32) for k, v in drawn.items()}
    compiled = plait.compile(functools.partial(model, plait, **static), **data)
    z = START * jnp.cos(jnp.arange(compiled.dim, dtype=dtype))  # all different: a wrong order would show
    by_site = with_numpyro(model, data, static, {slot.name: z[slot.offset :] for slot in compiled.slots})
    gradient = compiled.log_density_and_grad
    found = {} if hand is None else {"by hand": by_hand(hand, data, static, z)}
    return found | {"plait": Prepared(gradient, gradient, z, 1, lambda g: g), "NumPyro": by_site}


def by_hand(hand: Hand, data: Data, static: Mapping[str, int], z: Array) -> Prepared:
    in_float64 = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in data.items()}
    known = tuple(known_as(s, z.dtype) for s in hand.statistics(**in_float64, **static))
    gradient = jax.value_and_grad(hand.density, argnums=1)
    jitted = jax.jit(gradient)
    return Prepared(functools.partial(gradient, known), lambda z: jitted(known, z), z, 1, lambda g: g)


def known_as(statistic: np.ndarray, dtype: Any) -> Array:
    """On the device, in this precision; indices as int32."""
    return jnp.asarray(statistic, np.int32 if np.asarray(statistic).dtype.kind in "iu" else dtype)


def with_numpyro(model: Model, data: Data, static: Mapping[str, int], begins: Mapping[str, Array]) -> Prepared:
    """Its potential energy of a dictionary of sites; data are arguments of the jitted function.

    `begins` holds the sites in plait's order, each with the point from its first entry on.
    """
    arrays = {k: jnp.asarray(v) for k, v in data.items()}
    run = functools.partial(model, numpyro, **static)
    info = initialize_model(jax.random.key(0), run, model_kwargs=arrays, dynamic_args=True)
    shapes = {site: x.shape for site, x in info.param_info.z.items()}
    point = {site: z[: math.prod(shapes[site])].reshape(shapes[site]) for site, z in begins.items()}

    def gradient(arrays: Any, z: Any) -> Any:
        return jax.value_and_grad(info.potential_fn(**arrays))(z)

    def flat(g: Any) -> Array:
        return -jnp.concatenate([jnp.ravel(g[site]) for site in begins])

    jitted = jax.jit(gradient)
    return Prepared(functools.partial(gradient, arrays), lambda z: jitted(arrays, z), point, -1, flat)


def require_agreement(found: Mapping[str, Prepared], allowed: float) -> None:
    """Of values and gradients, up to this error relative to the largest entry.

    Raises:
        SystemExit: values or gradients differ.
    """
    results = {library: p.called(p.point) for library, p in found.items()}
    value = {library: found[library].uphill * float(result[0]) for library, result in results.items()}
    gradient = {library: np.asarray(found[library].flat(result[1])) for library, result in results.items()}
    for library in found:
        for what, mine, plaits in (("value", value, value["plait"]), ("gradient", gradient, gradient["plait"])):
            error = np.max(np.abs(mine[library] - plaits)) / np.max(np.abs(plaits))
            if not error <= allowed:
                raise SystemExit(f"{library}: the {what} differs from plait's by {error:.1e}, relatively")


# -- pieces of densities by hand --------------------------------------------------------------------------


def normal_rows(squares: Array, n: Array, log_sigma: Array) -> Array:
    """Log likelihood of n rows with this sum of squares around their means."""
    return -0.5 * squares / jnp.exp(log_sigma) ** 2 - n * (log_sigma + 0.5 * math.log(2 * math.pi))


def normal_prior(x: Array, scale: float) -> Array:
    """Of Normal(0, scale), summed."""
    return -0.5 / scale**2 * jnp.sum(x * x) - jnp.size(x) * math.log(scale * math.sqrt(2 * math.pi))


def normal_around(x: Array, mean: Array, log_scale: Array) -> Array:
    return normal_rows(jnp.sum((x - mean) ** 2), x.size, log_scale)


def half_normal_prior(log_x: Array, scale: float) -> Array:
    """Of HalfNormal(scale), with the log Jacobian of exp."""
    return -0.5 / scale**2 * jnp.exp(log_x) ** 2 + math.log(math.sqrt(2 / math.pi) / scale) + log_x


def least_squares(design: np.ndarray, y: np.ndarray) -> Statistics:
    """(R, b, s, n) with ``|y - X c|^2 = |R (c - b)|^2 + s`` for every c; R is square, whatever the rank of X."""
    best, *_ = np.linalg.lstsq(design, y)
    r = np.linalg.qr(design, mode="r")
    square = np.zeros((design.shape[1], design.shape[1]))
    square[: len(r)] = r
    return square, best, ((y - design @ best) ** 2).sum(), np.float64(len(y))


def squares_around(s: Statistics, coefficients: Array) -> Array:
    """The sum of squares of `least_squares` at these coefficients."""
    r, best, squares, _ = s
    u = r @ (coefficients - best)
    return jnp.dot(u, u) + squares


# -- the table --------------------------------------------------------------------------------------------


def arguments(about: str | None, models: Iterable[str]) -> argparse.ArgumentParser:
    """What a program takes that measures these models."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(models), metavar="NAME", default=list(models))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--x64", action="store_true", help="in float64 instead of float32")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    return parser


def report(options: Any, cases: Iterable[tuple[str, int, Callable[[], Mapping[str, Prepared]]]]) -> list[Record]:
    """Measures the densities of each model and number of rows, and prints the table."""
    jax.config.update("jax_enable_x64", options.x64)
    records: list[Record] = []
    console = Console(width=140)
    with console.status("measuring") as status:
        for model, n, densities in cases:
            status.update(f"{model}, N = {n:,}")
            records += [{"model": model, "n": n, **record} for record in measure(densities(), options.rounds)]
            if options.json:  # after each, as the whole takes minutes
                options.json.write_text(json.dumps(records, indent=1))
    console.print(table(records))
    return records


def table(records: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each model, size and place; a dash where nothing is written by hand."""
    shown = Table("model", "N", "", box=None)
    for clock in CLOCKS:
        for library in LIBRARIES:
            shown.add_column(f"{library}\n{clock} µs", justify="right")
    shown.add_column("plait /\nby hand", justify="right")
    shown.add_column("NumPyro /\nplait", justify="right")
    for (model, n, place), by in by_place(records).items():
        figures = [f"{by[lib][clock]:.4g}" if lib in by else "–" for clock in CLOCKS for lib in LIBRARIES]
        ratios = (ratio(by, "plait", "by hand"), ratio(by, "NumPyro", "plait"))
        shown.add_row(model, f"{n:,}", place, *figures, *("–" if r is None else f"{r:.2f}" for r in ratios))
    return shown


def by_place(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int, str], dict[str, Mapping[str, Any]]]:
    """The libraries' records of each model, size and place."""
    found: dict[tuple[str, int, str], dict[str, Mapping[str, Any]]] = {}
    for record in records:
        found.setdefault((record["model"], record["n"], record["place"]), {})[record["library"]] = record
    return found


def ratio(by: Mapping[str, Mapping[str, Any]], over: str, under: str) -> float | None:
    """Of two libraries' CPU time; None where one of them is absent."""
    return by[over]["CPU"] / by[under]["CPU"] if over in by and under in by else None
