"""Sums over rows from a few numbers per cell, against NumPyro row by row and against mpmath."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from plait.compiler.kernels import divergence, exponential_families
from plait.compiler.rules import families
from plait.compiler.rules.families import FAMILIES

N, CELLS, K = 40, 4, 3
EMPTY = 2  # the cell that no row belongs to
EPS32 = float(np.finfo(np.float32).eps)


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True), numpyro.validation_enabled(False), mp.workdps(60):
        yield


# -- log densities of one row from textbooks, in mpmath ------------------------------------------------------


def times(count, log):
    """``count·log()``, where 0·log 0 = 0."""
    return count * log() if count else mp.mpf(0)


def two(p, q, s, f):
    return times(s, lambda: mp.log(p)) + times(f, lambda: mp.log(q))


def sigmoid(logits):
    return 1 / (1 + mp.exp(-logits)), 1 / (1 + mp.exp(logits))


def softmax(logits):
    total = mp.fsum(map(mp.exp, logits))
    return [mp.exp(x) / total for x in logits]


def choose(counts):
    return mp.loggamma(mp.fsum(counts) + 1) - mp.fsum(mp.loggamma(x + 1) for x in counts)


def binomial(p, q, y, n):
    return choose([y, n - y]) + two(p, q, y, n - y)


def negative_binomial(p, q, y, r):
    return mp.loggamma(y + r) - mp.loggamma(r) - mp.loggamma(y + 1) + two(p, q, y, r)


def multinomial(p, y):
    return choose(y) + mp.fsum(times(count, lambda x=x: mp.log(x)) for count, x in zip(y, p, strict=True))


def gamma(a, b, y):
    return a * mp.log(b) - mp.loggamma(a) + (a - 1) * mp.log(y) - b * y


def dirichlet(a, y):
    beta = mp.fsum(map(mp.loggamma, a)) - mp.loggamma(mp.fsum(a))
    return mp.fsum((x - 1) * mp.log(v) for x, v in zip(a, y, strict=True)) - beta


# -- the families --------------------------------------------------------------------------------------------

Drawn = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class Case:
    """How to draw from a family, its density, and data at which naive sums lose digits: ``(parameters, known, y)``."""

    family: type
    parameters: tuple[Drawn, ...]
    draw: Callable[..., Any]  # of a generator, the number of rows, parameters and known
    density: Callable[..., Any]
    known: tuple[Drawn, ...] = ()
    nasty: list[tuple[tuple, tuple, Any]] = field(default_factory=list)
    make: Callable[..., Any] | None = None  # of parameters and known: the distribution
    agrees: float = 1e-12  # as far as NumPyro itself is right


def between(low, high, *event):
    return lambda rng, n: rng.uniform(low, high, (n, *event))


def count(low, high):
    return lambda rng, n: rng.integers(low, high, n).astype(float)


def simplex(rng, n):
    return rng.dirichlet(np.full(K, 3.0), n)


def as_probs(logits):
    return 1 / (1 + np.exp(-logits))


def categories(rng, n, p):
    return (rng.random((n, 1)) > np.cumsum(p, -1)[..., :-1]).sum(-1)


def multinomials(rng, n, p, size):
    return np.stack([rng.multinomial(int(s), row) for s, row in zip(size, p, strict=True)]).astype(float)


def exp_normalized(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def rng():
    return np.random.default_rng(7)


TIGHT_BETA = rng().beta(1e4, 2e4, 8)
TIGHT_DIRICHLET = rng().dirichlet([1e4, 2e4, 5e4], 8)
ORDINARY = np.array([3, 0, 11, 8, 6, 25, 1, 9.0])
HUGE = rng().binomial(2_000_000, 0.5, 8).astype(float)
BITS = np.array([1, 0, 0, 1, 1, 0, 1, 1.0])
HUGE_SPLITS = rng().multinomial(3_000_000, [0.2, 0.3, 0.5], 8).astype(float)
FIRST = np.array([[10.0, 0, 0]] * 8)

BETALN = 1e-6  # of jax.scipy.special.betaln, which is wrong in the eighth digit from arguments of about 8 on

CASES = [
    Case(
        dist.BernoulliProbs,
        (between(0.1, 0.9),),
        lambda rng, n, p: rng.binomial(1, p),
        lambda p, y: two(p, 1 - p, y, 1 - y),
        nasty=[((1e-12,), (), BITS), ((1e-12,), (), 0 * BITS), ((1 - 2**-20,), (), BITS)],
    ),
    Case(
        dist.BernoulliLogits,
        (between(-3, 3),),
        lambda rng, n, x: rng.binomial(1, as_probs(x)),
        lambda x, y: two(*sigmoid(x), y, 1 - y),
        nasty=[((x,), (), y) for x in (-800.0, 800.0, 1e-9) for y in (BITS, 0 * BITS, 0 * BITS + 1)],
    ),
    Case(
        dist.BinomialProbs,
        (between(0.1, 0.9),),
        lambda rng, n, p, size: rng.binomial(size.astype(int), p),
        binomial_probs := lambda p, y, n: binomial(p, 1 - p, y, n),
        (count(0, 12),),
        [
            ((0.5,), (2e6,), HUGE),
            ((0.50001,), (2e6,), HUGE),
            ((0.9,), (2e6,), HUGE),
            ((1e-12,), (1e6,), 0 * HUGE),
            ((1e-12,), (1e6,), BITS),
            ((1 - 2**-20,), (7.0,), 0 * BITS + 7),
        ],
    ),
    Case(
        dist.BinomialLogits,
        (between(-3, 3),),
        lambda rng, n, x, size: rng.binomial(size.astype(int), as_probs(x)),
        lambda x, y, n: binomial(*sigmoid(x), y, n),
        (count(0, 12),),
        [((x,), (2e6,), y) for x in (0.0, 1e-4, -800.0, 800.0, -20.0) for y in (HUGE, 0 * HUGE, 0 * HUGE + 2e6, BITS)],
    ),
    Case(
        dist.GeometricProbs,
        (between(0.1, 0.9),),
        lambda rng, n, p: rng.geometric(p) - 1,
        lambda p, y: two(p, 1 - p, 1, y),
        nasty=[((1e-12,), (), BITS), ((1e-6,), (), HUGE), ((1 - 2**-20,), (), 0 * BITS)],
    ),
    Case(
        dist.GeometricLogits,
        (between(-3, 3),),
        lambda rng, n, x: rng.geometric(as_probs(x)) - 1,
        lambda x, y: two(*sigmoid(x), 1, y),
        nasty=[((x,), (), y) for x in (-800.0, 800.0, -14.0, 40.0) for y in (BITS, 0 * BITS, HUGE)],
    ),
    Case(
        dist.NegativeBinomialProbs,
        (between(0.1, 0.9),),
        lambda rng, n, p, r: rng.negative_binomial(r, 1 - p),
        lambda p, y, r: negative_binomial(p, 1 - p, y, r),
        (between(0.5, 5),),
        [
            ((0.5,), (1e6,), HUGE),
            ((1e-12,), (3.0,), BITS),
            ((1e-12,), (3.0,), 0 * BITS),
            ((0.999999,), (0.5,), HUGE),
            ((0.7,), (2.5,), ORDINARY),
        ],
        lambda p, r: dist.NegativeBinomialProbs(r, p),
        BETALN,
    ),
    Case(
        dist.NegativeBinomialLogits,
        (between(-3, 3),),
        lambda rng, n, x, r: rng.negative_binomial(r, 1 - as_probs(x)),
        lambda x, y, r: negative_binomial(*sigmoid(x), y, r),
        (between(0.5, 5),),
        [((x,), (r,), y) for x, r in [(0.0, 1e6), (-800.0, 3.0), (800.0, 3.0), (15.0, 0.5)] for y in (HUGE, BITS)],
        lambda x, r: dist.NegativeBinomialLogits(r, x),
    ),
    Case(
        dist.NegativeBinomial2,
        (between(0.3, 3),),
        lambda rng, n, b, r: rng.poisson(rng.gamma(r) / b),
        rated := lambda b, y, r: negative_binomial(1 / (1 + b), b / (1 + b), y, r),
        (between(0.5, 5),),
        rates := [
            ((b,), (r,), y) for b, r in [(1.0, 1e6), (1e-6, 3.0), (1e12, 3.0), (1e4, 1e10)] for y in (HUGE, BITS)
        ],
        lambda b, r: dist.NegativeBinomial2(r / b, r),
        BETALN,
    ),
    Case(
        dist.GammaPoisson,
        (between(0.3, 3),),
        lambda rng, n, b, r: rng.poisson(rng.gamma(r) / b),
        rated,
        (between(0.5, 5),),
        rates,
        lambda b, r: dist.GammaPoisson(r, b),
        BETALN,
    ),
    Case(
        dist.CategoricalProbs,
        (simplex,),
        categories,
        lambda p, y: mp.log(p[int(y)]),
        nasty=[
            ((np.array([1e-12, 0.75, 0.25 - 1e-12]),), (), BITS),
            ((np.array([0.0, 0.75, 0.25]),), (), 0 * BITS + 1),
        ],
    ),
    Case(
        dist.CategoricalLogits,
        (between(-3, 3, K),),
        lambda rng, n, x: categories(rng, n, exp_normalized(x)),
        lambda x, y: mp.log(softmax(x)[int(y)]),
        nasty=[((np.array(x),), (), BITS) for x in ([-800.0, 800, 0], [800.0, 800, 800], [0, 0, -800.0])],
    ),
    Case(
        dist.MultinomialProbs,
        (simplex,),
        multinomials,
        lambda p, y, n: multinomial(p, y),
        (count(0, 12),),
        [
            ((np.array([0.2, 0.3, 0.5]),), (3e6,), HUGE_SPLITS),
            ((np.array([0.1, 0.3, 0.6]),), (3e6,), HUGE_SPLITS),
            ((np.array([1 - 2e-12, 1e-12, 1e-12]),), (10.0,), FIRST),
            ((np.array([1e-12, 0.5, 0.5 - 1e-12]),), (10.0,), FIRST),
        ],
    ),
    Case(
        dist.MultinomialLogits,
        (between(-3, 3, K),),
        lambda rng, n, x, size: multinomials(rng, n, exp_normalized(x), size),
        lambda x, y, n: multinomial(softmax(x), y),
        (count(0, 12),),
        [
            ((np.log([0.2, 0.3, 0.5]),), (3e6,), HUGE_SPLITS),
            ((np.array([800.0, 0, -800]),), (10.0,), FIRST),
            ((np.array([-800.0, 0, 800]),), (10.0,), FIRST),
            ((np.array([30.0, 0, 0]),), (10.0,), FIRST),
        ],
    ),
    Case(
        dist.Poisson,
        (between(0.5, 8),),
        lambda rng, n, rate: rng.poisson(rate),
        lambda rate, y: times(y, lambda: mp.log(rate)) - rate - mp.loggamma(y + 1),
        nasty=[((rate,), (), y) for rate in (1e6, 1.001e6, 1e-12, 1e12) for y in (HUGE, BITS, 0 * BITS)],
    ),
    Case(
        dist.Exponential,
        (between(0.5, 3),),
        lambda rng, n, rate: rng.exponential(1 / rate),
        lambda rate, y: mp.log(rate) - rate * y,
        nasty=[((rate,), (), rng().exponential(1 / rate, 8)) for rate in (1e-12, 1e12, np.e)],
    ),
    Case(
        dist.HalfNormal,
        (between(0.5, 3),),
        lambda rng, n, scale: scale * np.abs(rng.normal(size=n)),
        lambda scale, y: mp.log(2 / mp.pi) / 2 - mp.log(scale) - y**2 / (2 * scale**2),
        nasty=[((scale,), (), scale * np.abs(rng().normal(size=8))) for scale in (1e-12, 1e12, 0.3)],
    ),
    Case(
        dist.Pareto,
        (between(0.5, 1), between(0.5, 3)),
        lambda rng, n, scale, alpha: scale * (1 + rng.pareto(alpha, n)),
        lambda scale, alpha, y: mp.log(alpha) + alpha * mp.log(scale) - (alpha + 1) * mp.log(y),
        nasty=[((s, a), (), s * (1.0001 + rng().pareto(a, 8))) for s, a in [(1.0, 0.2), (1e6, 1e4), (1e-6, 1e3)]],
    ),
    Case(
        dist.Gamma,
        (between(0.5, 3), between(0.5, 3)),
        lambda rng, n, a, b: rng.gamma(a) / b,
        gamma,
        nasty=[
            ((a, b), (), rng().gamma(a0, size=8) / b)
            for a0, b in [(0.1, 1e6), (9.0, 1.0), (1e4, 1.0), (1e4, 1e-6), (1e6, 1e6)]
            for a in (a0, 1.01 * a0)
        ],
    ),
    Case(
        dist.InverseGamma,
        (between(0.5, 3), between(0.5, 3)),
        lambda rng, n, a, b: b / rng.gamma(a),
        lambda a, b, y: gamma(a, b, 1 / y) - 2 * mp.log(y),
        nasty=[
            ((a, b), (), b / rng().gamma(a0, size=8))
            for a0, b in [(0.1, 1e6), (9.0, 1.0), (1e4, 1.0), (1e4, 1e-6), (1e6, 1e6)]
            for a in (a0, 1.01 * a0)
        ],
    ),
    Case(
        dist.Beta,
        (between(0.5, 3), between(0.5, 3)),
        lambda rng, n, a, b: rng.beta(a, b),
        lambda a, b, y: dirichlet([a, b], [y, 1 - y]),
        nasty=[
            ((1e4, 2e4), (), TIGHT_BETA),
            ((1.1e4, 2e4), (), TIGHT_BETA),
            ((0.3, 1e3), (), rng().beta(0.3, 1e3, 8)),
            ((1.0, 1.0), (), TIGHT_BETA),
        ],
    ),
    Case(
        dist.Dirichlet,
        (between(0.5, 3, K),),
        lambda rng, n, a: np.stack([rng.dirichlet(row) for row in a]),
        dirichlet,
        nasty=[
            ((np.array([1e4, 2e4, 5e4]),), (), TIGHT_DIRICHLET),
            ((np.array([1e4, 2.1e4, 5e4]),), (), TIGHT_DIRICHLET),
            ((np.array([0.1, 1.0, 1e3]),), (), TIGHT_DIRICHLET),
        ],
    ),
]
each_family = pytest.mark.parametrize("case", CASES, ids=lambda case: case.family.__name__)
each_nasty = pytest.mark.parametrize(
    ("case", "index"),
    [pytest.param(case, i, id=f"{case.family.__name__}-{i}") for case in CASES for i in range(len(case.nasty))],
)


def make(case, parameters, known):
    if case.make is not None:
        return case.make(*parameters, *known)
    return case.family(*parameters, *known)


@cache
def ours(case):
    """Values per cell, and the derivatives of their sum weighted by `out`."""

    def total(parameters, out, statistics):
        values = FAMILIES[case.family].log_density(*parameters, *statistics)
        return out @ values, values

    return jax.jit(jax.value_and_grad(total, has_aux=True))


@cache
def numpyros(case):
    """The same by NumPyro, row by row."""

    def total(parameters, out, weights, cell, y, known):
        rows = make(case, [p[cell] for p in parameters], known).log_prob(y)
        values = jax.ops.segment_sum(weights * rows, cell, out.shape[0])
        return out @ values, values

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def statistics(case, y, weights, cell, n_cells, known):
    found = exponential_families.statistics(case.family.__name__, y, weights, cell, n_cells, known)
    assert all(x.dtype == np.float64 and x.shape[0] == n_cells for x in found)
    return found


def drawn(case, n, n_cells):
    """Parameters of each cell, and rows that come from them; `EMPTY` has none."""
    generator = np.random.default_rng(1)
    parameters = tuple(p(generator, n_cells) for p in case.parameters)
    cell = generator.integers(0, n_cells, n)
    if n_cells > 1:
        cell = np.where(cell == EMPTY, 0, cell)
    known = tuple(x(generator, n) for x in case.known)
    y = case.draw(generator, n, *(p[cell] for p in parameters), *known)
    return parameters, known, cell, y


def same(found, expected, rtol):
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = np.abs(y).max(initial=1.0)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * scale)


# -- against NumPyro -----------------------------------------------------------------------------------------


@each_family
@pytest.mark.parametrize("n_cells", [1, CELLS])
def test_values_and_gradients_are_numpyros(case, n_cells):
    parameters, known, cell, y = drawn(case, N, n_cells)
    out = np.linspace(0.5, 2.0, n_cells)
    for weights in (np.ones(N), np.linspace(0.1, 3.0, N)):
        found = ours(case)(parameters, out, statistics(case, y, weights, cell, n_cells, known))
        same(found, numpyros(case)(parameters, out, weights, cell, y, known), rtol=case.agrees)


@each_family
def test_masked_rows_may_hold_nan(case):
    parameters, known, cell, y = drawn(case, N, CELLS)
    masked = np.arange(N) % 3 == 0
    weights = np.where(masked, 0.0, 0.5)
    spoilt = [np.where(np.reshape(masked, (N,) + (1,) * (np.ndim(x) - 1)), np.nan, x) for x in (y, *known)]
    out = np.ones(CELLS)
    found = ours(case)(parameters, out, statistics(case, spoilt[0], weights, cell, CELLS, tuple(spoilt[1:])))
    same(found, numpyros(case)(parameters, out, weights, cell, y, known), rtol=case.agrees)


@each_family
def test_an_empty_cell_is_exactly_zero_whatever_its_parameters_are(case):
    parameters, known, cell, y = drawn(case, N, CELLS)
    found = statistics(case, y, np.ones(N), cell, CELLS, known)
    for bad in (0.0, np.inf, np.nan):
        spoilt = tuple(np.where(np.arange(CELLS).reshape(-1, *[1] * (p.ndim - 1)) == EMPTY, bad, p) for p in parameters)
        (_, values), gradients = ours(case)(spoilt, np.ones(CELLS), found)
        assert values[EMPTY] == 0
        assert all((g[EMPTY] == 0).all() for g in gradients)
        assert np.isfinite(values).all()
        assert all(np.isfinite(g).all() for g in gradients)


@each_family
def test_one_row(case):
    parameters, known, cell, y = (jax.tree.map(lambda x: x[:1], part) for part in drawn(case, N, 1))
    found = ours(case)(parameters, np.ones(1), statistics(case, y, np.ones(1), cell, 1, known))
    same(found, numpyros(case)(parameters, np.ones(1), np.ones(1), cell, y, known), rtol=case.agrees)


@each_family
def test_no_row(case):
    parameters, known, cell, y = drawn(case, N, CELLS)
    nothing = statistics(case, y[:0], np.ones(0), cell[:0], CELLS, tuple(x[:0] for x in known))
    assert all((x == 0).all() for x in jax.tree.leaves(ours(case)(parameters, np.ones(CELLS), nothing)))


@each_family
def test_the_fields_are_those_that_numpyro_stores(case):
    parameters, known, _, _ = drawn(case, CELLS, CELLS)
    stored = vars(make(case, parameters, known))
    for name, value in zip(FAMILIES[case.family].parameters, parameters, strict=True):
        np.testing.assert_allclose(stored[name], value, rtol=1e-14)
    for name, value in zip(FAMILIES[case.family].known, known, strict=True):
        np.testing.assert_array_equal(stored[name], value)


@pytest.mark.parametrize(
    ("family", "known"),
    [(dist.BernoulliProbs, ()), (dist.BinomialProbs, (np.array([1.0]),))],
    ids=["Bernoulli", "Binomial"],
)
@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("y", [0, 1])
def test_probabilities_of_zero_and_one_are_clamped_as_numpyros(family, known, p, y):
    y = np.array([y])
    found = exponential_families.statistics(family.__name__, y, np.ones(1), np.zeros(1, int), 1, known)
    (value,) = FAMILIES[family].log_density(jnp.array([p]), *found)
    np.testing.assert_allclose(value, family(p, *known).log_prob(y)[0], rtol=1e-12, atol=1e-300)


def test_a_certain_success_after_no_failure():
    """``1·log 1``, where NumPyro says −inf."""
    found = exponential_families.statistics("GeometricProbs", np.zeros(3), np.ones(3), np.zeros(3, int), 1, ())
    value, slope = jax.value_and_grad(lambda p: FAMILIES[dist.GeometricProbs].log_density(p, *found)[0])(1.0)
    assert (value, slope) == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float32_stays_float32(dtype):
    for case in CASES:
        parameters, known, cell, y = drawn(case, N, CELLS)
        found = [x.astype(dtype) for x in statistics(case, y, np.ones(N), cell, CELLS, known)]
        at = [jnp.asarray(p, dtype) for p in parameters]
        assert jax.eval_shape(FAMILIES[case.family].log_density, *at, *found).dtype == dtype


@pytest.mark.parametrize("x", [0.0, 1e-12, 0.5, 3.0, 9.99, 10.0, 11.5, 30.0, 1e6])
def test_what_remains_of_a_log_factorial(x):
    right = mp.loggamma(mp.mpf(x) + 1) - (x * mp.log(x) - x if x else 0)
    np.testing.assert_allclose(divergence.host_rest(np.array(x)), float(right), rtol=0, atol=5e-15)


@pytest.mark.parametrize("b", [1e-12, 1.0, 1e6])
@pytest.mark.parametrize(
    "ratio", [1e-280, 0.06, 0.07, 0.8, 0.82, 1 - 1e-9, 1.0, 1 + 1e-9, 1.22, 1.25, 15.9, 16.1, 1e300]
)
def test_a_divergence_keeps_its_digits(ratio, b):
    a = ratio * b
    right = mp.mpf(a) - b - b * (mp.log(mp.mpf(a)) - mp.log(mp.mpf(b)))
    np.testing.assert_allclose(divergence.host_divergence(np.array(a), np.array(b)), float(right), rtol=2e-14)
    np.testing.assert_allclose(families._from(jnp.array(a), jnp.array(b)), float(right), rtol=2e-14)


def test_every_family_has_a_case():
    assert [case.family for case in CASES] == sorted(FAMILIES, key=[case.family for case in CASES].index)
    assert {family.__name__ for family in FAMILIES} == set(exponential_families.FAMILIES)
    assert all(case.nasty for case in CASES)


@pytest.mark.parametrize("case", [case for case in CASES if case.family in (dist.Poisson, dist.Gamma, dist.Beta)])
def test_sums_over_many_rows_keep_their_digits(case):
    """In the order that is the worst for a running sum: from small to large."""
    n = 300_000
    parameters, known, cell, y = drawn(case, n, 1)
    y = np.sort(y)
    (value, _), _ = ours(case)(parameters, np.ones(1), statistics(case, y, np.ones(n), cell, 1, known))
    rows = np.asarray(make(case, parameters, known).log_prob(y))
    assert abs(float(value) - math.fsum(rows)) <= 1e-14 * math.fsum(np.abs(rows))


@each_family
def test_parameters_may_be_broadcast(case):
    """One vector of parameters for all cells: ``(*event)``."""
    parameters, known, cell, y = drawn(case, N, CELLS)
    found = statistics(case, y, np.ones(N), cell, CELLS, known)
    shared = tuple(p[0] for p in parameters)
    repeated = tuple(np.broadcast_to(p[0], p.shape) for p in parameters)
    (_, values), _ = ours(case)(shared, np.ones(CELLS), found)
    (_, expected), _ = ours(case)(repeated, np.ones(CELLS), found)
    assert values.shape == (CELLS,)
    same(values, expected, rtol=1e-14)


# -- against mpmath ------------------------------------------------------------------------------------------


def exact(x):
    return [mp.mpf(float(v)) for v in x] if np.ndim(x) else mp.mpf(float(x))


def truth(case, parameters, known, y):
    """The log density of each row, and its derivative in each number of each parameter."""
    rows = [
        lambda *p, v=v, k=k: mp.re(case.density(*p, v, *map(exact, k)))
        for v, k in zip(y, zip(*known, strict=True) if known else [()] * len(y), strict=True)
    ]
    at = [exact(p) for p in parameters]
    values = [row(*at) for row in rows]
    return [values, *([slope(row, at, i, j) for row in rows] for i, j in numbers(at))]


def numbers(at):
    return [(i, j) for i, p in enumerate(at) for j in range(len(p) if isinstance(p, list) else 1)]


def slope(row, at, i, j):
    """A central difference with 60 digits: its error is the square of the step."""

    def moved(step):
        p = at[i]
        new = [*p[:j], p[j] + step, *p[j + 1 :]] if isinstance(p, list) else p + step
        return row(*at[:i], new, *at[i + 1 :])

    size = abs(at[i][j] if isinstance(at[i], list) else at[i])
    step = (size or 1) * mp.mpf(10) ** -20
    return (moved(step) - moved(-step)) / (2 * step)


def errors(computed, rows):
    """The error of each computed sum, relative to the sum over the rows of the absolute terms."""
    result = [abs(mp.mpf(float(x)) - mp.fsum(terms)) / size(terms) for x, terms in zip(computed, rows, strict=True)]
    return np.array([float(x) if mp.isfinite(x) else np.inf for x in result])


def size(terms):
    return mp.fsum(map(abs, terms)) or mp.mpf(1)


def measured(case, index, dtype):
    """The errors of ours, of NumPyro's, and of exact sums over rounded data: of the value, then of each derivative."""
    parameters, known, y = case.nasty[index]
    parameters = tuple(np.asarray(p, dtype)[None] for p in parameters)
    y = np.asarray(y, dtype)
    known = tuple(np.full(len(y), x, dtype) for x in known)
    cell, ones = np.zeros(len(y), int), np.ones(len(y), dtype)
    found = [x.astype(dtype) for x in statistics(case, y, ones, cell, 1, known)]
    data = y.astype(int) if issubclass(case.family, (dist.CategoricalProbs, dist.CategoricalLogits)) else y
    with jax.enable_x64(dtype == np.float64):
        got = ours(case)(parameters, ones[:1], found)
        theirs = numpyros(case)(parameters, ones[:1], ones, cell, data, known)
    assert all(x.dtype == dtype for x in jax.tree.leaves(got))
    flat = [np.concatenate([np.ravel(x) for x in (values, *grads)]) for (_, values), grads in (got, theirs)]
    at, eps = [p[0] for p in parameters], mp.mpf(float(np.finfo(dtype).eps))
    right = truth(case, at, known, [exact(v) for v in y])
    moved = truth(case, at, known, [mp.matrix(exact(v)) * (1 + eps) if np.ndim(v) else exact(v) * (1 + eps) for v in y])
    rounded = [float(abs(mp.fsum(m) - mp.fsum(r)) / size(r)) for m, r in zip(moved, right, strict=True)]
    return errors(flat[0], right), errors(flat[1], right), np.array(rounded)


@each_nasty
def test_float64_is_the_true_sum(case, index):
    found, _, _ = measured(case, index, np.float64)
    assert (found <= 1e-11).all(), found


@each_nasty
def test_float32_is_as_good_as_numpyros_or_as_data_in_float32(case, index):
    """A statistic in float32 is off by its own rounding, however accurate the rest is: that counts in derivatives."""
    found, theirs, rounded = measured(case, index, np.float32)
    rounded[0] = 0
    assert (found <= np.maximum(4 * (EPS32 + rounded), 2 * theirs)).all(), (found, theirs, rounded)
    assert found[0] <= 1e-5, found  # NumPyro's own sum may have no digit at all
