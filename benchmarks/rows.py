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

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from side_by_side import (
    Array,
    Data,
    Hand,
    Model,
    Statistics,
    arguments,
    half_normal_prior,
    least_squares,
    normal_around,
    normal_prior,
    normal_rows,
    prepared,
    report,
    require_agreement,
    squares_around,
)

from plait.timing import Prepared

SIZES = (1000, 10_000, 100_000, 1_000_000)


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
    priors = normal_prior(mu, 10) + half_normal_prior(log_sigma, 5)
    return normal_rows(n * (mu - mean) ** 2 + squares, n, log_sigma) + priors


def regression_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    return least_squares(np.column_stack([np.ones(len(y)), x]), y)


def regression_density(s: Statistics, z: Array) -> Array:
    priors = normal_prior(z[0], 5) + normal_prior(z[1:-1], 2) + half_normal_prior(z[-1], 5)
    return normal_rows(squares_around(s, z[:-1]), s[-1], z[-1]) + priors


def blr_statistics(x: np.ndarray, y: np.ndarray) -> Statistics:
    return least_squares(x, y)


def blr_density(s: Statistics, z: Array) -> Array:
    priors = normal_prior(z[:-1], 10) + half_normal_prior(z[-1], 10)
    return normal_rows(squares_around(s, z[:-1]), s[-1], z[-1]) + priors


def kidiq_statistics(hs: np.ndarray, iq: np.ndarray, score: np.ndarray) -> Statistics:
    return least_squares(np.column_stack([np.ones(len(hs)), hs, iq, hs * iq]), score)


def kidiq_density(s: Statistics, z: Array) -> Array:
    priors = normal_prior(z[0], 100) + normal_prior(z[1:4], 20) + half_normal_prior(z[4], 20)
    return normal_rows(squares_around(s, z[:4]), s[-1], z[4]) + priors


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
    groups = normal_around(level, z[0], z[1]) + normal_around(slope, z[2], z[3])
    hyper = normal_prior(z[0], 5) + half_normal_prior(z[1], 2) + normal_prior(z[2], 5) + half_normal_prior(z[3], 2)
    return normal_rows(quadratic, n, z[-1]) + groups + hyper + half_normal_prior(z[-1], 2)


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


def densities(case: Case, n: int) -> dict[str, Prepared]:
    """All three on the same data, and in agreement."""
    drawn = case.data(np.random.default_rng(0), n)
    found = prepared(case.model, drawn, case.static or {}, Hand(case.statistics, case.density))
    # Up to the rounding of a sum over the rows.
    require_agreement(found, 100 * float(np.finfo(jnp.zeros(0).dtype).eps) * math.sqrt(math.log2(n)))
    return found


def cases(options: Any) -> Iterator[tuple[str, int, Callable[[], dict[str, Prepared]]]]:
    """Of the chosen models: the name, the number of rows, and what prepares the densities."""
    for model in options.models:
        for n in CASES[model].rows or options.sizes:
            yield model, n, functools.partial(densities, CASES[model], n)


def main() -> None:
    """Prints the table."""
    parser = arguments(__doc__, CASES)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="rows of normal and regression")
    options: Any = parser.parse_args()
    report(options, cases(options))


if __name__ == "__main__":
    main()
