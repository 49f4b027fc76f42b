"""What a gradient of a Gaussian likelihood costs as its rows grow: plait, NumPyro, and JAX written by hand.

    python benchmarks/rows.py [--sizes 1000 1000000] [--models normal blr] [--rounds 9] [--x64] [--json FILE]

normal: y_i ~ N(mu, sigma). regression: 20 predictors. blr: 100 rows and 5 coefficients, as sblrc of posteriordb has.
kidiq: 434 rows and 4 coefficients, one of them an interaction. radon: intercepts and slopes that vary by county,
919 rows in 85 counties and 12,573 in 386. Data are drawn from the models; --sizes are those of the first two.

By hand is what an expert would write: sufficient statistics from NumPy in float64 (a mean and a sum of squares, or
the least squares of all rows or of each county), then a density of the flat vector that never sees a row. All three
are compared at the point where they start: value and gradient, or the script stops.

  in a jit  microseconds for a value and gradient in a jitted `fori_loop` of gradient steps, whose values are summed.
            Data and statistics are its arguments, not its constants, so that XLA folds nothing of them.
  Python    microseconds for a call from Python that waits for value and gradient.

Medians over rounds, in one process that runs the three in turn. CPU microseconds add up over cores; the ratios are
theirs.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import initialize_model
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, whichever is installed

import plait

Array = Any
Data = dict[str, np.ndarray]
Model = Callable[..., None]  # of the library that has the primitives, and the data
Statistics = tuple[Array, ...]
Gradient = Callable[[Any], tuple[Any, Any]]  # of a point: value and gradient

SIZES = (1000, 10_000, 100_000, 1_000_000)
LIBRARIES = ("by hand", "plait", "NumPyro")
PLACES = ("in a jit", "Python")
CLOCKS: dict[str, Callable[[], float]] = {"CPU": time.process_time, "wall": time.perf_counter}
ROUNDS = 9
SECONDS = 0.05  # that a round of one variant takes about
START = 0.1  # each entry of the point


# -- models, as a user writes them ------------------------------------------------------------------------


def normal(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 10))
    sigma = ppl.sample("sigma", dist.HalfNormal(5))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, sigma), obs=y)


def regression(ppl: ModuleType, x: Array, y: Array) -> None:
    alpha = ppl.sample("alpha", dist.Normal(0, 5))
    beta = ppl.sample("beta", dist.Normal(0, 2).expand([x.shape[1]]).to_event(1))
    sigma = ppl.sample("sigma", dist.HalfNormal(5))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(alpha + x @ beta, sigma), obs=y)


def blr(ppl: ModuleType, x: Array, y: Array) -> None:
    beta = ppl.sample("beta", dist.Normal(0, 10).expand([x.shape[1]]).to_event(1))
    sigma = ppl.sample("sigma", dist.HalfNormal(10))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def kidiq(ppl: ModuleType, hs: Array, iq: Array, score: Array) -> None:
    """Children's test scores on their mothers' schooling and IQ, with the interaction (Gelman & Hill 2007, ch. 3)."""
    level = ppl.sample("level", dist.Normal(0, 100))
    by_hs = ppl.sample("by_hs", dist.Normal(0, 20))
    by_iq = ppl.sample("by_iq", dist.Normal(0, 20))
    by_both = ppl.sample("by_both", dist.Normal(0, 20))
    sigma = ppl.sample("sigma", dist.HalfNormal(20))
    with ppl.plate("children", len(score)):
        ppl.sample("score", dist.Normal(level + by_hs * hs + by_iq * iq + by_both * hs * iq, sigma), obs=score)


def radon(ppl: ModuleType, county: Array, floor: Array, y: Array, counties: int) -> None:
    """Log radon with an intercept and a slope for each county (Gelman & Hill 2007, ch. 13)."""
    level_mean = ppl.sample("level_mean", dist.Normal(0, 5))
    level_sd = ppl.sample("level_sd", dist.HalfNormal(2))
    slope_mean = ppl.sample("slope_mean", dist.Normal(0, 5))
    slope_sd = ppl.sample("slope_sd", dist.HalfNormal(2))
    with ppl.plate("counties", counties):
        level = ppl.sample("level", dist.Normal(level_mean, level_sd))
        slope = ppl.sample("slope", dist.Normal(slope_mean, slope_sd))
    sigma = ppl.sample("sigma", dist.HalfNormal(2))
    with ppl.plate("homes", len(y)):
        ppl.sample("y", dist.Normal(level[county] + slope[county] * floor, sigma), obs=y)


# -- data -------------------------------------------------------------------------------------------------


def normal_data(rng: np.random.Generator, n: int) -> Data:
    return {"y": rng.normal(1.0, 2.0, n)}


def regression_data(rng: np.random.Generator, n: int, columns: int = 20) -> Data:
    x = rng.normal(size=(n, columns))
    return {"x": x, "y": x @ rng.normal(size=columns) + rng.normal(size=n)}


def kidiq_data(rng: np.random.Generator, n: int) -> Data:
    hs, iq = 1.0 * (rng.uniform(size=n) < 0.79), rng.normal(0, 15, n)
    return {"hs": hs, "iq": iq, "score": 82 + 2.8 * hs + (1 - 0.5 * hs) * iq + rng.normal(0, 18, n)}


def radon_data(rng: np.random.Generator, n: int, counties: int) -> Data:
    """Few counties have most of the homes, many a few, some of those all on one floor."""
    sizes = 1 + rng.multinomial(n - counties, rng.dirichlet(np.full(counties, 0.7)))
    county, floor = np.repeat(np.arange(counties), sizes), 1.0 * (rng.uniform(size=n) < 0.2)
    level, slope = rng.normal(1.4, 0.3, counties), rng.normal(-0.7, 0.4, counties)
    return {"county": county, "floor": floor, "y": level[county] + slope[county] * floor + rng.normal(0, 0.7, n)}


# -- densities by hand: statistics of the data once, then a density of (statistics, z) --------------------


def normal_statistics(y: np.ndarray) -> Statistics:
    return y.mean(), ((y - y.mean()) ** 2).sum(), np.float64(len(y))


def normal_density(s: Statistics, z: Array) -> Array:
    mean, squares, n = s
    mu, log_sigma = z[0], z[1]
    return _rows(n * (mu - mean) ** 2 + squares, n, log_sigma) + _normal(mu, 10) + _half_normal(log_sigma, 5)


def regression_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    return least_squares(np.column_stack([np.ones(len(y)), x]), y)


def regression_density(s: Statistics, z: Array) -> Array:
    priors = _normal(z[0], 5) + _normal(z[1:-1], 2) + _half_normal(z[-1], 5)
    return _rows(_squares(s, z[:-1]), s[-1], z[-1]) + priors


def blr_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    return least_squares(x, y)


def blr_density(s: Statistics, z: Array) -> Array:
    return _rows(_squares(s, z[:-1]), s[-1], z[-1]) + _normal(z[:-1], 10) + _half_normal(z[-1], 10)


def kidiq_statistics(hs: np.ndarray, iq: np.ndarray, score: np.ndarray) -> Statistics:
    return least_squares(np.column_stack([np.ones(len(hs)), hs, iq, hs * iq]), score)


def kidiq_density(s: Statistics, z: Array) -> Array:
    priors = _normal(z[0], 100) + _normal(z[1:4], 20) + _half_normal(z[4], 20)
    return _rows(_squares(s, z[:4]), s[-1], z[4]) + priors


def radon_statistics(county: np.ndarray, floor: np.ndarray, y: np.ndarray, counties: int) -> Statistics:
    """The least squares of each county, entry by entry: (R_00, R_01, R_11, intercept, slope), (counties,) each."""
    design = np.column_stack([np.ones(len(y)), floor])
    each = [least_squares(design[county == c], y[county == c]) for c in range(counties)]
    r, best, squares, n = (np.stack(parts) for parts in zip(*each, strict=True))
    return r[:, 0, 0], r[:, 0, 1], r[:, 1, 1], best[:, 0], best[:, 1], squares.sum(), n.sum()


def radon_density(s: Statistics, z: Array) -> Array:
    """The log density of `radon` at the flat vector, from each county's 2 × 2 least-squares statistics."""
    r00, r01, r11, best_level, best_slope, squares, n = s
    counties = best_level.shape[0]
    level, slope = z[4 : 4 + counties], z[4 + counties : -1]
    dl, ds = level - best_level, slope - best_slope
    quadratic = ((r00 * dl + r01 * ds) ** 2 + (r11 * ds) ** 2).sum() + squares
    groups = _normal_around(level, z[0], z[1]) + _normal_around(slope, z[2], z[3])
    hyper = _normal(z[0], 5) + _half_normal(z[1], 2) + _normal(z[2], 5) + _half_normal(z[3], 2)
    return _rows(quadratic, n, z[-1]) + groups + hyper + _half_normal(z[-1], 2)


def least_squares(design: np.ndarray, y: np.ndarray) -> Statistics:
    """(R, b, s, n) with ``|y - X c|^2 = |R (c - b)|^2 + s`` for every c; R is square, whatever the rank of X."""
    best, *_ = np.linalg.lstsq(design, y)
    r = np.linalg.qr(design, mode="r")
    square = np.zeros((design.shape[1], design.shape[1]))
    square[: len(r)] = r
    return square, best, ((y - design @ best) ** 2).sum(), np.float64(len(y))


def _squares(s: Statistics, coefficients: Array) -> Array:
    r, best, squares, _ = s
    u = r @ (coefficients - best)
    return jnp.dot(u, u) + squares


def _rows(squares: Array, n: Array, log_sigma: Array) -> Array:
    """Log likelihood of n rows with this sum of squares around their means."""
    return -0.5 * squares / jnp.exp(log_sigma) ** 2 - n * (log_sigma + 0.5 * math.log(2 * math.pi))


def _normal(x: Array, scale: float) -> Array:
    """Of Normal(0, scale), summed."""
    return -0.5 / scale**2 * jnp.sum(x * x) - jnp.size(x) * math.log(scale * math.sqrt(2 * math.pi))


def _normal_around(x: Array, mean: Array, log_scale: Array) -> Array:
    return _rows(jnp.sum((x - mean) ** 2), x.size, log_scale)


def _half_normal(log_x: Array, scale: float) -> Array:
    """Of HalfNormal(scale), with the log Jacobian of exp."""
    return -0.5 / scale**2 * jnp.exp(log_x) ** 2 + math.log(math.sqrt(2 / math.pi) / scale) + log_x


# -- the cases --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A model and how its data are drawn, with what an expert would write for it.

    Attributes:
        model: of the library and the data.
        data: of a generator and the number of rows.
        statistics: of the data, in float64.
        density: of the statistics and the flat vector.
        rows: the numbers of rows; () for those that the user asks for.
        static: arguments of model and statistics that are no data.
    """

    model: Model
    data: Callable[[np.random.Generator, int], Data]
    statistics: Callable[..., Statistics]
    density: Callable[[Statistics, Array], Array]
    rows: tuple[int, ...] = ()
    static: Mapping[str, int] | None = None


def counties(n: int, count: int) -> Case:
    data = functools.partial(radon_data, counties=count)
    return Case(radon, data, radon_statistics, radon_density, (n,), {"counties": count})


CASES = {
    "normal": Case(normal, normal_data, normal_statistics, normal_density),
    "regression": Case(regression, regression_data, regression_statistics, regression_density),
    "blr": Case(blr, functools.partial(regression_data, columns=5), blr_statistics, blr_density, (100,)),
    "kidiq": Case(kidiq, kidiq_data, kidiq_statistics, kidiq_density, (434,)),
    "radon 85": counties(919, 85),
    "radon 386": counties(12_573, 386),
}


@dataclass(frozen=True)
class Prepared:
    """One library's density of a case.

    Attributes:
        traceable: value and gradient, for use in a jit.
        called: the same as its users call it from Python.
        point: where to start, in the library's own shape.
        uphill: 1 for a log density, -1 for a potential energy.
        flat: the gradient in the order of plait's flat vector.
    """

    traceable: Gradient
    called: Gradient
    point: Any
    uphill: int
    flat: Callable[[Any], Array]


def prepared(case: Case, n: int) -> dict[str, Prepared]:
    """All three on the same data, and in agreement."""
    dtype = jnp.zeros(0).dtype
    drawn = case.data(np.random.default_rng(0), n)
    data = {k: v.astype(dtype) if v.dtype.kind == "f" else v.astype(np.int32) for k, v in drawn.items()}
    static = dict(case.static or {})
    compiled = plait.compile(functools.partial(case.model, plait, **static), **data)
    by_site = with_numpyro(case, data, static, [slot.name for slot in compiled.slots])
    z = jnp.full(compiled.dim, START)
    gradient = compiled.log_density_and_grad
    found = {
        "by hand": by_hand(case, data, static, z),
        "plait": Prepared(gradient, gradient, z, 1, lambda g: g),
        "NumPyro": by_site,
    }
    # Up to the rounding of a sum over the rows.
    require_agreement(found, 100 * float(jnp.finfo(dtype).eps) * math.sqrt(math.log2(n)))
    return found


def by_hand(case: Case, data: Data, static: Mapping[str, int], z: Array) -> Prepared:
    in_float64 = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in data.items()}
    known = tuple(jnp.asarray(s, z.dtype) for s in case.statistics(**in_float64, **static))
    gradient = jax.value_and_grad(case.density, argnums=1)
    jitted = jax.jit(gradient)
    return Prepared(functools.partial(gradient, known), lambda z: jitted(known, z), z, 1, lambda g: g)


def with_numpyro(case: Case, data: Data, static: Mapping[str, int], sites: Sequence[str]) -> Prepared:
    """Its potential energy of a dictionary of sites; data are arguments of the jitted function."""
    arrays = {k: jnp.asarray(v) for k, v in data.items()}
    model = functools.partial(case.model, numpyro, **static)
    info = initialize_model(jax.random.key(0), model, model_kwargs=arrays, dynamic_args=True)
    point = jax.tree.map(lambda x: jnp.full(x.shape, START), info.param_info.z)

    def gradient(arrays: Any, z: Any) -> Any:
        return jax.value_and_grad(info.potential_fn(**arrays))(z)

    def flat(g: Any) -> Array:
        return -jnp.concatenate([jnp.ravel(g[site]) for site in sites])

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


# -- time -------------------------------------------------------------------------------------------------


def measure(case: Case, n: int, rounds: int) -> list[dict[str, Any]]:
    """Microseconds of CPU and wall, for each library and place."""
    runs: dict[tuple[str, str], Callable[[int], Any]] = {}
    for library, density in prepared(case, n).items():
        runs[library, "in a jit"] = in_a_jit(density)
        runs[library, "Python"] = from_python(density)
    counts = {key: enough(run) for key, run in runs.items()}
    spent: dict[tuple[str, str], list[tuple[float, ...]]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            spent[key].append(tuple(1e6 * s / counts[key] for s in seconds(run, counts[key])))
    medians = {key: [statistics.median(part) for part in zip(*all_, strict=True)] for key, all_ in spent.items()}
    return [
        {"library": library, "place": place, **dict(zip(CLOCKS, figures, strict=True))}
        for (library, place), figures in medians.items()
    ]


def in_a_jit(density: Prepared) -> Callable[[int], Any]:
    """So many steps uphill, each too small to leave the neighbourhood of the point; the sum of the values."""
    flat, unflat = ravel_pytree(density.point)
    closed = jax.make_jaxpr(density.traceable)(density.point)  # its consts are the data or their statistics

    def value_and_grad(known: Any, z: Any) -> Any:
        value, *gradient = jax.core.eval_jaxpr(closed.jaxpr, known, *jax.tree.leaves(unflat(z)))
        return value, ravel_pytree(gradient)[0]

    def steps(n: Any, known: Any, size: Any, z: Any) -> Any:
        def step(_: Any, carry: Any) -> Any:
            z, total = carry
            value, gradient = value_and_grad(known, z)
            return z + size * gradient, total + value

        return jax.lax.fori_loop(0, n, step, (z, jnp.zeros_like(z, shape=())))

    steepest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(density.called(density.point)[1]))
    size = jnp.asarray(density.uphill * 1e-6 / steepest, flat.dtype)
    jitted, known = jax.jit(steps), [jnp.asarray(c) for c in closed.consts]
    return lambda n: jax.block_until_ready(jitted(n, known, size, flat))


def from_python(density: Prepared) -> Callable[[int], Any]:
    def run(n: int) -> None:
        for _ in range(n):
            jax.block_until_ready(density.called(density.point))

    return run


def enough(run: Callable[[int], Any], least: float = SECONDS) -> int:
    """How many gradients take about as long as a round should."""
    n = 1
    run(n)  # compiles
    while min(seconds(run, n)) < least and n < 10**6:
        n *= 2
    return n


def seconds(run: Callable[[int], Any], n: int) -> tuple[float, ...]:
    """By each clock."""
    starts = [clock() for clock in CLOCKS.values()]
    run(n)
    return tuple(clock() - start for clock, start in zip(CLOCKS.values(), starts, strict=True))


# -- the table --------------------------------------------------------------------------------------------


def table(records: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each model, size and place."""
    shown = Table("model", "N", "", box=None)
    for clock in CLOCKS:
        for library in LIBRARIES:
            shown.add_column(f"{library}\n{clock} µs", justify="right")
    shown.add_column("plait /\nby hand", justify="right")
    shown.add_column("NumPyro /\nplait", justify="right")
    of = {(r["model"], r["n"], r["place"], r["library"]): r for r in records}
    for model, n, place in dict.fromkeys((r["model"], r["n"], r["place"]) for r in records):
        by = {library: of[model, n, place, library] for library in LIBRARIES}
        figures = [f"{by[library][clock]:.4g}" for clock in CLOCKS for library in LIBRARIES]
        cpu = {library: by[library]["CPU"] for library in LIBRARIES}
        ratios = (cpu["plait"] / cpu["by hand"], cpu["NumPyro"] / cpu["plait"])
        shown.add_row(model, f"{n:,}", place, *figures, *(f"{ratio:.2f}" for ratio in ratios))
    return shown


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="rows of normal and regression")
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--x64", action="store_true", help="in float64 instead of float32")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options: Any = parser.parse_args()
    jax.config.update("jax_enable_x64", options.x64)
    records: list[dict[str, Any]] = []
    console = Console(width=140)
    with console.status("measuring") as status:
        for model in options.models:
            for n in CASES[model].rows or options.sizes:
                status.update(f"{model}, N = {n:,}")
                records += [{"model": model, "n": n, **r} for r in measure(CASES[model], n, options.rounds)]
    console.print(table(records))
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
