"""Multivariate normal rows by their scatter matrix: against sums in long double, and models without the rule."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.kernels.cells import ONE, Fixed, lay_out
from plait.compiler.kernels.scatter import ScatterStatistics
from plait.compiler.passes.fuse import answers
from plait.compiler.rules.multivariate_normal import MultivariateNormalCells
from plait.compiler.rules.term import Refused
from tests.helpers import refused, same_density

N, J, D = 40, 3, 3
RNG = np.random.default_rng(5)
FACTOR = np.array([[1.0, 0, 0], [0.4, 0.7, 0], [-0.3, 0.2, 1.5]])
GROUP = np.repeat([0, 2], N // 2)[RNG.permutation(N)]  # group 1 is empty
Y = RNG.normal(size=(N, D)) @ FACTOR.T + RNG.normal(size=(J, D))[GROUP]
EPS = {np.float64: 2e-14, np.float32: 4e-6}  # of the sum of absolute terms


ONLY_SHARED = "; only one that all rows share, or the rows of a group, has statistics of fixed size"

# -- the statistics and the formula, against row by row in long double -----------------------------------------


def truth(y, mean, factor, weights):
    """The sum and the sum of the absolute terms. Source: the density, with L⁻¹(y − μ) by forward substitution."""
    y, mean, factor, weights = (np.asarray(x, np.longdouble) for x in (y, mean, factor, weights))
    rest = (y - mean).T
    solved = np.zeros_like(rest)
    for i in range(len(factor)):
        solved[i] = (rest[i] - factor[i, :i] @ solved[:i]) / factor[i, i]
    constant = -np.log(np.diagonal(factor)).sum() - len(factor) / np.longdouble(2) * np.log(2 * np.longdouble(np.pi))
    terms = -0.5 * (solved**2).sum(axis=0)
    sizes = weights * (np.abs(terms) + np.abs(np.log(np.diagonal(factor))).sum() + len(factor))
    return (weights * (terms + constant)).sum(), max(sizes.sum(), 1.0)


def by_scatter(y, mean, factor, weights=None, group=None, known=False, dtype=np.float64):
    """The sum by the rule's statistics: of `mean` of shape (d,), or (groups, d) with `group`."""
    n, d = y.shape
    layout = ONE
    args = [y, *([mean] if known else []), *([] if weights is None else [weights])]
    if group is not None:
        positions = group[:, None] * d + np.arange(d)
        layout = lay_out([(0, mean.shape, p) for p in positions.T])
        args.append(positions)
    kernel = ScatterStatistics((n,), d, layout, known, weights is not None, group is not None, np.dtype(dtype))
    found = kernel(*args)
    assert [x.shape for x in found] == list(kernel.shapes().values())
    entries = layout.entries if group is not None else [Fixed(0, i) for i in range(d)]
    formula = MultivariateNormalCells(tuple(kernel.shapes()), layout, () if known else tuple(entries))
    sources = [] if known else [mean]
    with jax.enable_x64(dtype == np.float64):
        given = [jnp.asarray(x, np.int32 if x.dtype.kind == "i" else dtype) for x in (factor, *sources, *found)]
        value = formula(*given)
    assert value.dtype == dtype
    return float(value)


def agrees(y, mean, factor, weights=None, group=None, dtype=np.float64, **options):
    y, mean, factor = (np.asarray(x, dtype) for x in (y, mean, factor))
    found = by_scatter(y, mean, factor, weights, group, dtype=dtype, **options)
    rows = mean if group is None else mean[group]
    right, size = truth(np.nan_to_num(y), np.nan_to_num(rows), factor, np.ones(len(y)) if weights is None else weights)
    assert abs(found - right) <= EPS[dtype] * size, (found, right, size)


MEAN = np.array([0.3, -0.2, 0.1])
MEANS = RNG.normal(size=(J, D))
NEAR_SINGULAR = np.array([[1.0, 0, 0], [1.0, 1e-6, 0], [2.0, 1e-6, 1e-5]])
HUGE = 1e8 + np.round(Y * 1e3) * 2.0**-20  # numbers of float64
ROUGH = 1e8 + np.round(Y) * 8  # and of float32
WEIGHTS = RNG.uniform(0.1, 2.0, N) * (np.arange(N) % 4 > 0)

SUMS = {
    "ordinary": (Y, MEAN, FACTOR),
    "far from the data": (Y, MEAN + 1e4, FACTOR),
    "a huge mean": (HUGE, 1e8 + MEAN * 2.0**-10, FACTOR * 2.0**-10),
    "a huge mean and a small spread": (HUGE, HUGE.mean(axis=0), FACTOR * 1e-4),
    "collinear columns": (Y[:, [0, 0, 1]] * [1.0, 2.0, 1.0], MEAN, FACTOR),
    "equal columns of ones": (np.ones((N, D)), MEAN, FACTOR),
    "a column of zeros": (Y * [1.0, 0.0, 1.0], MEAN, FACTOR),
    "a factor that is nearly singular": (Y, MEAN, NEAR_SINGULAR),
    "a tiny scale": (Y * 1e-150, MEAN * 1e-150, FACTOR * 1e-150),
    "more columns than rows": (Y[:2], MEAN, FACTOR),
    "one row": (Y[:1], MEAN, FACTOR),
    "no row": (Y[:0], MEAN, FACTOR),
    "one column": (Y[:, :1], MEAN[:1], FACTOR[:1, :1]),
    "many rows": (np.tile(Y, (300, 1)), MEAN, FACTOR),
}


@pytest.mark.parametrize(("y", "mean", "factor"), SUMS.values(), ids=SUMS)
def test_one_mean(y, mean, factor):
    agrees(y, mean, factor)
    agrees(y, mean, factor, known=True)


@pytest.mark.parametrize(
    ("y", "mean", "factor"), [(Y, MEAN, FACTOR), (ROUGH, np.full(D, 1e8), 16 * FACTOR)], ids=["ordinary", "huge"]
)
def test_one_mean_in_float32(y, mean, factor):
    agrees(y, mean, factor, dtype=np.float32)
    agrees(y, mean, factor, dtype=np.float32, known=True)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["all count the same", "weights"])
@pytest.mark.parametrize("offset", [0.0, 1e8], ids=["ordinary", "huge"])
def test_a_mean_for_each_group(offset, weights, dtype):
    y, means = (ROUGH, 1e8 + 8 * np.round(MEANS)) if offset else (Y, MEANS)
    agrees(y, means, (16 if offset else 1) * FACTOR, weights, GROUP, dtype=dtype)


@pytest.mark.parametrize("known", [False, True])
def test_rows_without_weight_may_hold_anything(known):
    y = np.where(WEIGHTS[:, None] > 0, Y, [np.nan, np.inf, -1e300])
    agrees(np.where(np.isfinite(y), y, np.nan), MEAN, FACTOR, WEIGHTS, known=known)
    assert by_scatter(y, MEAN, FACTOR, WEIGHTS, known=known) == by_scatter(Y, MEAN, FACTOR, WEIGHTS, known=known)
    assert by_scatter(y, MEAN, FACTOR, 0 * WEIGHTS, known=known) == 0


def test_a_known_mean_of_each_row():
    agrees(Y, MEANS[GROUP], FACTOR, WEIGHTS, known=True)
    agrees(HUGE, HUGE.mean(axis=0) + MEANS[GROUP], FACTOR, known=True)


# -- models ---------------------------------------------------------------------------------------------------


def vector(name, *size):
    return plait.sample(name, dist.Normal(jnp.zeros(size or D), 1.0))


def factor(name):
    scale = plait.sample(f"{name}_scale", dist.LogNormal(jnp.zeros(D), 0.5))
    return scale[:, None] * plait.sample(f"{name}_corr", dist.LKJCholesky(D, 2.0))


def tril(d):
    given = dist.MultivariateNormal(vector("tril_mean"), scale_tril=factor("tril"))
    plait.sample("tril", given, obs=d["y"])


def covariance_and_groups(d):
    half, mean = factor("covariance"), vector("covariance_mean", J, D)
    given = dist.MultivariateNormal(mean[d["g"]], covariance_matrix=half @ half.T)
    plait.sample("covariance_and_groups", given, obs=d["y"])


def precision_and_known_mean(d):
    half = factor("precision")
    given = dist.MultivariateNormal(d["mean"], precision_matrix=half @ half.T)
    plait.sample("precision_and_known_mean", given, obs=d["y"])


def known_factor(d):
    plait.sample(
        "known_factor", dist.MultivariateNormal(vector("known_factor_mean"), scale_tril=d["factor"]), obs=d["y"]
    )


def no_mean(d):
    plait.sample("no_mean", dist.MultivariateNormal(0.0, scale_tril=factor("no_mean")), obs=d["y"])


def a_known_mean_in_each_row(d):
    given = dist.MultivariateNormal(d["means"], scale_tril=factor("a_known_mean_in_each_row"))
    plait.sample("a_known_mean_in_each_row", given, obs=d["y"])


def a_scalar_as_mean(d):
    mean = plait.sample("a_scalar_as_mean_mean", dist.Normal(0.0, 1.0))
    plait.sample("a_scalar_as_mean", dist.MultivariateNormal(mean, scale_tril=d["factor"]), obs=d["y"])


def groups_about_a_mean(d):
    mean = vector("groups_about_a_mean_mu") + 0.5 * vector("groups_about_a_mean_a", J, D)
    given = dist.MultivariateNormal(mean[d["g"]], scale_tril=d["factor"])
    plait.sample("groups_about_a_mean", given, obs=d["y"])


def masked(d):
    given = dist.MultivariateNormal(vector("masked_mean", J, D)[d["g"]], scale_tril=factor("masked"))
    with plait.handlers.mask(mask=d["mask"]):
        plait.sample("masked", given, obs=jnp.where(d["mask"][:, None], d["y"], jnp.nan))


def weighted(d):
    given = dist.MultivariateNormal(vector("weighted_mean"), scale_tril=d["factor"])
    with plait.handlers.scale(scale=d["weights"]), plait.handlers.mask(mask=d["mask"]):
        plait.sample("weighted", given, obs=d["y"])


def two_axes(d):
    given = dist.MultivariateNormal(vector("two_axes_mean", 2, D), scale_tril=d["factor"])
    with plait.handlers.scale(scale=0.5):
        plait.sample("two_axes", given, obs=d["y"].reshape(N // 2, 2, D))


def an_event_of_rows(d):
    given = dist.MultivariateNormal(vector("an_event_of_rows_mean"), scale_tril=d["factor"]).expand([N]).to_event(1)
    plait.sample("an_event_of_rows", given, obs=d["y"])


WAYS = (
    *(tril, covariance_and_groups, precision_and_known_mean, known_factor, no_mean, a_known_mean_in_each_row),
    *(a_scalar_as_mean, groups_about_a_mean, masked, weighted, two_axes, an_event_of_rows),
)
ROWS = {
    "y": Y,
    "g": GROUP,
    "factor": FACTOR,
    "mean": MEAN,
    "means": MEANS[GROUP],
    "mask": np.arange(N) % 4 > 0,
    "weights": RNG.uniform(0.1, 2.0, N),
    "x": RNG.normal(size=N),
}


def each_of(*ways):
    def model(d):
        for way in ways:
            way(d)

    return model


def answered(compiled):
    return {a.site: a.answer for a in answers(dict(compiled.history)["unconstrain"], compiled._data)}


def compare(model, *args, rtol, **new):
    """What became of each site; value and gradient, on other data where such are given, are those without the pass."""
    fused, plain = plait.compile(model, *args), plait.compile(model, *args, passes={"fuse": False})
    found = answered(fused)
    fused, plain = fused.bind(**new), plain.bind(**new)
    same_density(fused, plain, rtol)
    return found


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-11), ("float32", 2e-5)])
def test_models(dtype, rtol):
    with jax.enable_x64(dtype == "float64"):
        found = compare(each_of(*WAYS), ROWS, rtol=rtol)
    cells = {name: a.reason if isinstance(a, Refused) else a.cells for name, a in found.items()}
    wanted = {way.__name__: 1 for way in WAYS} | dict.fromkeys(("covariance_and_groups", "groups_about_a_mean"), J)
    assert cells == wanted | {"masked": J, "two_axes": 2}


# -- near misses ----------------------------------------------------------------------------------------------


def covariances_of_groups(d):
    scale = plait.sample("scales", dist.LogNormal(jnp.zeros((J, D)), 0.5))
    halves = scale[d["g"]][:, :, None] * d["factor"]
    plait.sample("covariances_of_groups", dist.MultivariateNormal(0.0, scale_tril=halves), obs=d["y"])


def a_regression(d):
    mean = d["x"][:, None] * vector("slopes")
    plait.sample("a_regression", dist.MultivariateNormal(mean, scale_tril=d["factor"]), obs=d["y"])


def a_mean_for_each_row(d):
    given = dist.MultivariateNormal(vector("row_means", N, D), scale_tril=d["factor"])
    plait.sample("a_mean_for_each_row", given, obs=d["y"])


def few_rows(d):
    given = dist.MultivariateNormal(vector("few_mean"), scale_tril=d["factor"])
    plait.sample("few_rows", given, obs=d["y"][:5])


def one_row(d):
    plait.sample("one_row", dist.MultivariateNormal(vector("one_mean"), scale_tril=d["factor"]), obs=d["y"][0])


def unknown_mask(d):
    mean = vector("mask_mean")
    with plait.handlers.mask(mask=d["x"] > mean[0]):
        plait.sample("unknown_mask", dist.MultivariateNormal(mean, scale_tril=d["factor"]), obs=d["y"])


def low_rank(d):
    mean = vector("low_rank_mean")
    given = dist.LowRankMultivariateNormal(mean, d["factor"][:, :1], jnp.ones(D))
    plait.sample("low_rank", given, obs=d["y"])


NEAR = {
    covariances_of_groups: "its covariance differs from row to row",
    a_regression: "its parameter loc is computed row by row" + ONLY_SHARED,
    a_mean_for_each_row: f"its {N} rows cost no more than their {D} × {D} scatter matrix would",
    few_rows: f"its 5 rows cost no more than their {D} × {D} scatter matrix would",
    one_row: f"its 1 rows cost no more than their {D} × {D} scatter matrix would",
    unknown_mask: "its mask or scale depends on latents",
    low_rank: "no sufficient statistics are known for LowRankMultivariateNormal",
}


def test_near_misses():
    with jax.enable_x64(True):
        found = compare(each_of(*NEAR), ROWS, rtol=1e-11)
    reasons = {name: a.reason if isinstance(a, Refused) else a for name, a in found.items()}
    assert reasons == {way.__name__: reason for way, reason in NEAR.items()}


# -- other data -----------------------------------------------------------------------------------------------


def rows_of_groups(y, g):
    scale = plait.sample("scale", dist.LogNormal(0.0, 0.5))
    given = dist.MultivariateNormal(vector("mean", J, D)[g], scale_tril=scale * jnp.asarray(FACTOR))
    plait.sample("y", given, obs=y)  # here


def test_other_groups():
    with jax.enable_x64(True):
        compare(rows_of_groups, Y, GROUP, y=Y[::-1] + 1, g=np.arange(N) % J, rtol=1e-11)
        fused = plait.compile(rows_of_groups, Y, GROUP)
        assert fused.bind(g=np.arange(N) % J)._program is fused._program


def test_traced_data():
    with jax.enable_x64(True):
        fused = plait.compile(rows_of_groups, Y, GROUP)
        z, many = np.linspace(-1, 1, fused.dim), np.stack([Y, Y[::-1] + 1])
        found = jax.jit(jax.vmap(lambda y: fused.bind(y=y).log_density(z)))(many)
        np.testing.assert_allclose(found, [fused.bind(y=y).log_density(z) for y in many], rtol=1e-12)


def test_wrong_data():
    wrong = Y.copy()
    wrong[4, 1] = np.nan
    with jax.enable_x64(True):
        fused = plait.compile(rows_of_groups, Y, GROUP)
        assert not isinstance(answered(fused)["y"], Refused)
        with refused(plait.DataError, at=rows_of_groups):
            fused.bind(y=wrong)
        with refused(plait.DataError, at=rows_of_groups):
            plait.compile(rows_of_groups, wrong, GROUP)
