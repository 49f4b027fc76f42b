"""What is made stable has the true value and derivative at every point, however far out; near misses stay."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.special import erf, erfc, ndtr
from jax.scipy.stats import norm

import plait
from plait.compiler.importer import Builder
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.lower.gradient import imported
from plait.compiler.passes.simplify import simplify
from plait.compiler.passes.stabilize import made_stable, stabilize
from plait.compiler.stable import facts
from plait.compiler.stable.rewriting import primitives
from plait.ir.graph import Graph, Output, Role
from plait.ir.ops import Apply, Input, LogProb, from_aval
from plait.ir.spec import family
from tests.helpers import line

ROUNDING = {np.float64: 1e-13, np.float32: 3e-6}
dtypes = pytest.mark.parametrize("dtype", ROUNDING, ids=["f64", "f32"])

# -- expressions -----------------------------------------------------------------------------------------


def graph_of(function, *args):
    """The graph of a function of arrays."""
    closed = jax.make_jaxpr(function)(*args)
    builder = Builder()
    inputs = [builder.add(Input(f"x{i}", Input.DATA, from_aval(v.aval))) for i, v in enumerate(closed.jaxpr.invars)]
    (out,) = builder.inline(closed, inputs)
    return simplify(Graph(tuple(builder.nodes), (Output(Role.RESULT, "0", out),)))


def as_function(graph):
    """What a graph computes."""
    inputs, wanted = graph.of(Input), [graph.output(Role.RESULT)]
    return lambda *args: evaluate(graph, dict(zip(inputs, args, strict=True)), wanted)[0]


def value_and_slopes(function, *args):
    """An elementwise function's values and its derivatives in each argument, op by op."""
    out, back = jax.vjp(function, *args)
    return [out, *back(jnp.ones_like(out))]


def true_value_and_slopes(truth, *args):
    """The same to 50 digits; what is true is written so that nothing cancels."""
    points = list(zip(*(np.asarray(a, float).tolist() for a in args), strict=True))
    with mp.workdps(60):
        values = [truth(*map(mp.mpf, point)) for point in points]
        orders = [tuple(int(i == k) for k in range(len(args))) for i in range(len(args))]
        slopes = [[slope_at(truth, point, order) for point in points] for order in orders]
        return [np.array([float(x) for x in row]) for row in (values, *slopes)]


def slope_at(truth, point, order):
    return mp.diff(truth, tuple(map(mp.mpf, point)), order)


def close(got, wanted, rounding):
    """Within rounding of each number; what underflows may be 0."""
    tiny = 1e-300 if got.dtype == np.float64 else 1e-36
    np.testing.assert_allclose(np.asarray(got, float), wanted, rtol=rounding, atol=tiny)


def log_sigmoid(x):
    return -mp.log1p(mp.exp(-x))


def log_tail(z):
    """log(½·erfc(z))"""
    return mp.log(tail(z)) if z > 0 else mp.log1p(-tail(-z))


def tail(z):
    """½·erfc(z)"""
    return mp.erfc(z) / 2


HALF = (
    lambda x: 0.5 * erfc(x),
    lambda x: erfc(x) / 2,
    lambda x: 0.5 * (1 - erf(x)),
    lambda x: (1 - erf(x)) / 2,
    lambda x: 0.5 - 0.5 * erf(x),
)
OTHER_HALF = (
    lambda x: 0.5 * (1 + erf(x)),
    lambda x: (1 + erf(x)) / 2,
    lambda x: 0.5 + 0.5 * erf(x),
)


def log_of(forms):
    return tuple(lambda x, f=f: jnp.log(f(x)) for f in forms)


def log_of_rest(forms):
    return tuple(lambda x, f=f: jnp.log(1 - f(x)) for f in forms)


def log1p_of_minus(forms):
    return tuple(lambda x, f=f: jnp.log1p(-f(x)) for f in forms)


RANDOM = np.random.default_rng(0).normal(size=3) * 5
EVERYWHERE = np.array([-800.0, -37.5, -15.0, -0.7, -1e-20, 0.0, 1e-20, 0.7, 15.0, 37.5, 800.0, *RANDOM])
BELOW_ZERO = -np.abs(np.array([800.0, 100.0, 37.5, 15.0, 0.8, 0.69, 0.5, 1e-3, 1e-10, 1e-20, *RANDOM, 3.0]))
ABOVE_MINUS_ONE = np.array([-0.99, -0.5, -1e-10, -1e-20, 0, 1e-20, 1e-10, 0.5, 3, 1e5, 1e20, *np.abs(RANDOM)])
TO_80 = np.clip(EVERYWHERE, -80, 80)  # where an exponential is a number in float32

# By the name of the fact: what a user may write, the truth, and where it holds.
EXPRESSIONS = {
    "log(sigmoid(x)) → −softplus(−x)": (
        (
            lambda x: jnp.log(jax.nn.sigmoid(x)),
            lambda x: jnp.log(1 / (1 + jnp.exp(-x))),
            lambda x: jnp.log(1 / (jnp.exp(-x) + 1)),
            lambda x: jnp.log(jnp.exp(x) / (1 + jnp.exp(x))),
        ),
        log_sigmoid,
        EVERYWHERE,
    ),
    "log(1/(1 + exp(x))) → −softplus(x)": (
        (lambda x: jnp.log(1 / (1 + jnp.exp(x))),),
        lambda x: log_sigmoid(-x),
        EVERYWHERE,
    ),
    "log(1 − sigmoid(x)) → −softplus(x)": (
        (
            lambda x: jnp.log(1 - jax.nn.sigmoid(x)),
            lambda x: jnp.log(1 - 1 / (1 + jnp.exp(-x))),
            lambda x: jnp.log(1 - jnp.exp(x) / (1 + jnp.exp(x))),
        ),
        lambda x: log_sigmoid(-x),
        EVERYWHERE,
    ),
    "log1p(−sigmoid(x)) → −softplus(x)": (
        (
            lambda x: jnp.log1p(-jax.nn.sigmoid(x)),
            lambda x: jnp.log1p(-(1 / (1 + jnp.exp(-x)))),
            lambda x: jnp.log1p(-(jnp.exp(x) / (1 + jnp.exp(x)))),
        ),
        lambda x: log_sigmoid(-x),
        EVERYWHERE,
    ),
    "log(1 − 1/(1 + exp(x))) → −softplus(−x)": (
        (lambda x: jnp.log(1 - 1 / (1 + jnp.exp(x))),),
        log_sigmoid,
        EVERYWHERE,
    ),
    "log1p(−1/(1 + exp(x))) → −softplus(−x)": (
        (lambda x: jnp.log1p(-(1 / (1 + jnp.exp(x)))),),
        log_sigmoid,
        EVERYWHERE,
    ),
    "log(Φ(x)) → log_ndtr(x)": (
        (
            lambda x: jnp.log(norm.cdf(x)),
            lambda x: jnp.log(ndtr(x)),
            lambda x: jnp.log(dist.Normal(0.0, 1.0).cdf(x)),
        ),
        lambda x: log_tail(-x / mp.sqrt(2)),
        EVERYWHERE,
    ),
    "log(1 − Φ(x)) → log_ndtr(−x)": (
        (lambda x: jnp.log(1 - norm.cdf(x)),),
        lambda x: log_tail(x / mp.sqrt(2)),
        EVERYWHERE,
    ),
    "log1p(−Φ(x)) → log_ndtr(−x)": (
        (lambda x: jnp.log1p(-norm.cdf(x)),),
        lambda x: log_tail(x / mp.sqrt(2)),
        EVERYWHERE,
    ),
    "log(½·erfc(x)) → log_ndtr(−√2·x)": (
        log_of(HALF),
        log_tail,
        EVERYWHERE,
    ),
    "log(1 − ½·erfc(x)) → log_ndtr(√2·x)": (
        log_of_rest(HALF),
        lambda x: log_tail(-x),
        EVERYWHERE,
    ),
    "log1p(−½·erfc(x)) → log_ndtr(√2·x)": (
        log1p_of_minus(HALF),
        lambda x: log_tail(-x),
        EVERYWHERE,
    ),
    "log(½·(1 + erf(x))) → log_ndtr(√2·x)": (
        log_of(OTHER_HALF),
        lambda x: log_tail(-x),
        EVERYWHERE,
    ),
    "log(1 − ½·(1 + erf(x))) → log_ndtr(−√2·x)": (
        log_of_rest(OTHER_HALF),
        log_tail,
        EVERYWHERE,
    ),
    "log1p(−½·(1 + erf(x))) → log_ndtr(−√2·x)": (
        log1p_of_minus(OTHER_HALF),
        log_tail,
        EVERYWHERE,
    ),
    "log(erfc(x)) → log_ndtr(−√2·x) + log 2": (
        (lambda x: jnp.log(erfc(x)),),
        lambda x: mp.log(2) + log_tail(x),
        np.where(EVERYWHERE < 0.1, -2.0, EVERYWHERE),  # it is 0 at 0, as a sum of two logarithms
    ),
    "log(exp(x)) → x": ((lambda x: jnp.log(jnp.exp(x)),), lambda x: x, EVERYWHERE),
    "log(1 + exp(x)) → softplus(x)": (
        (lambda x: jnp.log(1 + jnp.exp(x)), lambda x: jnp.log(jnp.exp(x) + jnp.ones(x.shape, x.dtype))),
        lambda x: mp.log1p(mp.exp(x)),
        EVERYWHERE,
    ),
    "log1p(exp(x)) → softplus(x)": (
        (lambda x: jnp.log1p(jnp.exp(x)),),
        lambda x: mp.log1p(mp.exp(x)),
        EVERYWHERE,
    ),
    "max(x, 0) + log1p(exp(−|x|)) → softplus(x)": (
        (
            lambda x: jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))),
            lambda x: jnp.log1p(jnp.exp(-jnp.abs(x))) + jnp.clip(x, 0),
        ),
        lambda x: mp.log1p(mp.exp(x)),
        EVERYWHERE,
    ),
    "log(1 − exp(x)) → log1mexp(x)": (
        (lambda x: jnp.log(1 - jnp.exp(x)),),
        lambda x: mp.log1p(-mp.exp(x)),
        BELOW_ZERO,
    ),
    "log1p(−exp(x)) → log1mexp(x)": (
        (lambda x: jnp.log1p(-jnp.exp(x)),),
        lambda x: mp.log1p(-mp.exp(x)),
        BELOW_ZERO,
    ),
    "log(1 + x) → log1p(x)": (
        (lambda x: jnp.log(1 + x), lambda x: jnp.log(x + 1.0)),
        mp.log1p,
        ABOVE_MINUS_ONE,
    ),
    "log(1 − x) → log1p(−x)": ((lambda x: jnp.log(1 - x),), lambda x: mp.log1p(-x), -ABOVE_MINUS_ONE),
    "1 − Φ(x) → Φ(−x)": (
        (lambda x: 1 - norm.cdf(x),),
        lambda x: tail(x / mp.sqrt(2)),
        np.clip(EVERYWHERE, -12, 12),
    ),
    "exp(x) − 1 → expm1(x)": ((lambda x: jnp.exp(x) - 1,), mp.expm1, TO_80),
    "1 − exp(x) → −expm1(x)": ((lambda x: 1 - jnp.exp(x),), lambda x: -mp.expm1(x), TO_80),
}


@functools.cache
def truth_of(name, dtype):
    _, truth, points = EXPRESSIONS[name]
    return true_value_and_slopes(truth, points.astype(dtype))


@pytest.mark.parametrize("name", EXPRESSIONS)
@dtypes
def test_an_expression(name, dtype):
    written, _, points = EXPRESSIONS[name]
    with jax.enable_x64(dtype is np.float64):
        x = jnp.asarray(points, dtype)
        for function in written:
            graph = graph_of(function, x)
            assert [place.fact for place in made_stable(graph)] == [name]
            for got, wanted in zip(
                value_and_slopes(as_function(stabilize(graph)), x), truth_of(name, dtype), strict=True
            ):
                assert got.dtype == dtype
                close(got, wanted, ROUNDING[dtype])


def test_every_fact_has_a_test():
    tables = (facts.LOG, facts.LOG1P, facts.DIFFERENCE, facts.LOG_NEAR_ONE, facts.LOG_OF_PRODUCT, facts.SUM)
    assert {fact.name for table in tables for fact in table} == {*EXPRESSIONS, *OF_TWO}


def test_a_fact_needs_what_its_expression_has():
    tables = (facts.LOG, facts.LOG1P, facts.DIFFERENCE, facts.LOGIT, facts.PROBIT)
    needing = [fact for table in tables for fact in table if fact.needs]
    assert len(needing) > 20
    for fact in needing:
        assert fact.needs & primitives(imported(jax.make_jaxpr(fact.expression)(0.5))), fact.name


# -- of two variables, and sums ------------------------------------------------------------------------------

X = np.array([800.0, -800.0, 0.0, 1e-20, 3.0, -37.0, 2.5, 800.0])
Y = np.array([-800.0, -800.0, 0.0, -1e-20, 2.0, 40.0, 2.5, 799.0])
ABOVE_ZERO = np.array([2.0, 1e-15, 1.0, 0.5, 1e15, 3.0, 2.5, 0.1])
OF_TWO = {
    "log(exp(x) + exp(y)) → logaddexp(x, y)": (
        (lambda x, y: jnp.log(jnp.exp(x) + jnp.exp(y)),),
        lambda x, y: max(x, y) + mp.log1p(mp.exp(-abs(x - y))),
        lambda x, y: (1 / (1 + mp.exp(y - x)), 1 / (1 + mp.exp(x - y))),
        Y,
    ),
    "log(y·exp(x)) → log(y) + x": (
        (lambda x, y: jnp.log(y * jnp.exp(x)), lambda x, y: jnp.log(jnp.exp(x) * y)),
        lambda x, y: mp.log(y) + x,
        lambda x, y: (1, 1 / y),
        ABOVE_ZERO,
    ),
    "log(exp(x) / y) → x − log(y)": (
        (lambda x, y: jnp.log(jnp.exp(x) / y),),
        lambda x, y: x - mp.log(y),
        lambda x, y: (1, -1 / y),
        ABOVE_ZERO,
    ),
    "log(y / exp(x)) → log(y) − x": (
        (lambda x, y: jnp.log(y / jnp.exp(x)),),
        lambda x, y: mp.log(y) - x,
        lambda x, y: (-1, 1 / y),
        ABOVE_ZERO,
    ),
}


def check_stable(function, args, names, wanted, dtype):
    """A function is rewritten by facts of these names, to these values and derivatives."""
    graph = graph_of(function, *args)
    assert [place.fact for place in made_stable(graph)] == names
    for got, right in zip(value_and_slopes(as_function(stabilize(graph)), *args), wanted, strict=True):
        assert got.dtype == dtype
        close(got, right, ROUNDING[dtype])


@pytest.mark.parametrize("name", OF_TWO)
@dtypes
def test_two_variables(name, dtype):
    written, truth, slopes, second = OF_TWO[name]
    with jax.enable_x64(dtype is np.float64):
        x, y = jnp.asarray(X, dtype), jnp.asarray(second, dtype)
        points = [(mp.mpf(float(a)), mp.mpf(float(b))) for a, b in zip(x, y, strict=True)]
        with mp.workdps(60):
            columns = [(truth(*p), *slopes(*p)) for p in points]
            wanted = np.array([[float(v) for v in row] for row in columns]).T
        for function in written:
            check_stable(function, (x, y), [name], wanted, dtype)


ROWS = np.array(
    [
        [800.0, -800.0, 0.0],
        [-800.0, -801.0, -802.0],
        [1e-20, 0.0, -1e-20],
        [0.3, -1.2, 2.0],
        [-np.inf, 750.0, 751.0],
        [900.0, 900.0, -np.inf],
    ]
)
WEIGHTS = np.array([[0.2, 0.5, 0.3]] * 5 + [[0.0, 1.0, 1.0]])


def shares(rows, weights):
    """w·exp(x)/Σ w·exp(x), exp(x)/Σ w·exp(x), and log Σ w·exp(x) as two addends."""
    with np.errstate(divide="ignore"):
        top = np.where(weights > 0, rows, -np.inf).max(-1, keepdims=True)
    raw = np.exp(rows - top)
    total = (weights * raw).sum(-1, keepdims=True)
    return weights * raw / total, raw / total, np.log(total[:, 0]), top[:, 0]


def softmaxes(x):
    return jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True)


SUMS = {
    "over the last axis": (lambda x: jnp.log(jnp.exp(x).sum(-1)), 0.0),
    "kept": (lambda x: jnp.log(jnp.exp(x).sum(-1, keepdims=True))[:, 0], 0.0),
    "over the first axis": (lambda x: jnp.log(jnp.exp(x.T).sum(0)), 0.0),
    "mean": (lambda x: jnp.log(jnp.exp(x).mean(-1)), -np.log(3)),
    "times a number": (lambda x: jnp.log(0.25 * jnp.exp(x).sum(-1)), np.log(0.25)),
}


@pytest.mark.parametrize("name", SUMS)
@dtypes
def test_logsumexp(name, dtype):
    function, shift = SUMS[name]
    with jax.enable_x64(dtype is np.float64):
        x = jnp.asarray(ROWS, dtype)
        slope, _, *value = shares(ROWS, np.ones_like(ROWS))
        check_stable(function, (x,), ["log(Σ exp(x)) → logsumexp"], [sum(value) + shift, slope], dtype)
        assert (stable(function, x)(jnp.full_like(x, -jnp.inf)) == -np.inf).all()


def stable(function, *args):
    return as_function(stabilize(graph_of(function, *args)))


@dtypes
def test_weighted_logsumexp(dtype):
    """A weight of 0 has the right derivative, too; at −∞ it is 0."""
    with jax.enable_x64(dtype is np.float64):
        x, w = jnp.asarray(ROWS, dtype), jnp.asarray(WEIGHTS, dtype)
        in_x, in_w, *addends = shares(ROWS, WEIGHTS)
        value = sum(addends)
        names = ["log(Σ w·exp(x)) → logsumexp"]
        check_stable(lambda x, w: jnp.log((w * jnp.exp(x)).sum(-1)), (x, w), names, [value, in_x, in_w], dtype)
        one = stable(lambda x, w: jnp.log((jnp.exp(x) * w).sum(-1)), x, w[0])
        np.testing.assert_allclose(one(x, w[0])[:5], value[:5], rtol=ROUNDING[dtype])
        unweighted = stable(lambda x, w: jnp.log((w * jnp.exp(x)).sum(-1)), x[0], w[0])
        assert np.isnan(unweighted(x[3], -w[0]))  # the logarithm of a negative number, as before
        assert unweighted(jnp.asarray([900.0, 1.0, 2.0], dtype), jnp.asarray([0, 1, 0], dtype)) == 1


@pytest.mark.parametrize(
    ("softmax", "fact"),
    [(jax.nn.softmax, "log(exp(x) / y) → x − log(y)"), (softmaxes, "log(softmax(x)) → log_softmax(x)")],
    ids=["of jax", "written out"],
)
@dtypes
def test_log_softmax(softmax, fact, dtype):
    rows = ROWS[:4]
    with jax.enable_x64(dtype is np.float64):
        x = jnp.asarray(rows, dtype)
        share, _, log_total, top = shares(rows, np.ones_like(rows))
        graph = graph_of(lambda x: jnp.log(softmax(x)), x)
        assert [place.fact for place in made_stable(graph)] == [fact]
        function = as_function(stabilize(graph))
        close(function(x), (rows - top[:, None]) - log_total[:, None], ROUNDING[dtype])
        jacobian = jax.vmap(jax.jacobian(lambda row: function(jnp.stack([row] * 4))[0]))(x)
        np.testing.assert_allclose(jacobian, np.eye(3) - share[:, None], atol=ROUNDING[dtype])


@dtypes
def test_logaddexp_at_infinity(dtype):
    with jax.enable_x64(dtype is np.float64):
        x = jnp.asarray([-np.inf, -np.inf, np.inf, np.inf, 1.0, np.nan, 1.0], dtype)
        y = jnp.asarray([-np.inf, 2.0, np.inf, -np.inf, np.inf, 0.0, np.nan], dtype)
        got = stable(lambda x, y: jnp.log(jnp.exp(x) + jnp.exp(y)), x, y)(x, y)
        np.testing.assert_array_equal(got, [-np.inf, 2.0, np.inf, np.inf, np.inf, np.nan, np.nan])


AT_INFINITY = {
    "softplus": (lambda x: jnp.log(1 + jnp.exp(x)), [0, np.inf, np.nan]),
    "log sigmoid": (lambda x: jnp.log(jax.nn.sigmoid(x)), [-np.inf, 0, np.nan]),
    "log1mexp": (lambda x: jnp.log(1 - jnp.exp(x)), [0, np.nan, np.nan]),
    "log_ndtr": (lambda x: jnp.log(norm.cdf(x)), [-np.inf, 0, np.nan]),
    "expm1": (lambda x: jnp.exp(x) - 1, [-1, np.inf, np.nan]),
    "log1p": (lambda x: jnp.log(1 + x), [np.nan, np.inf, np.nan]),
}


@pytest.mark.parametrize("name", AT_INFINITY)
def test_infinities(name):
    function, wanted = AT_INFINITY[name]
    x = jnp.array([-np.inf, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(stable(function, x)(x), wanted)
    np.testing.assert_array_equal(function(x), wanted)


SMOOTH = {
    "softplus": (lambda x: jnp.log(1 + jnp.exp(x)), 0.25),
    "log_ndtr": (lambda x: jnp.log(norm.cdf(x)), -2 / np.pi),
    "expm1": (lambda x: jnp.exp(x) - 1, 1.0),
    "logaddexp": (lambda x: jnp.log(jnp.exp(x) + jnp.exp(-x)), 1.0),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives_at_zero(name):
    """Where branches meet a Hessian is right, too."""
    function, wanted = SMOOTH[name]
    found = jax.grad(jax.grad(stable(function, jnp.float32(0))))(jnp.float32(0))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


# -- near misses -----------------------------------------------------------------------------------------------

UNTOUCHED = {
    "log(2 + exp x)": lambda x: jnp.log(2 + jnp.exp(x)),
    "log(exp x - 1)": lambda x: jnp.log(jnp.exp(x) - 2),
    "log(1 + x + y)": lambda x: jnp.log(1.5 + x),
    "another x": lambda x: jnp.log(2.0 + jnp.exp(x) / (1.1 + jnp.exp(x))),
    "two different exponents": lambda x: jnp.exp(x) / (1 + jnp.exp(2 * x)),
    "1 - sigmoid by itself": lambda x: 1 - jax.nn.sigmoid(x),
    "sigmoid written out, by itself": lambda x: 1 / (1 + jnp.exp(-x)),
    "softmax by itself": jax.nn.softmax,
    "exp x - 2": lambda x: jnp.exp(x) - 2,
    "2 - Phi": lambda x: 2 - norm.cdf(x),
    "log of a half": lambda x: jnp.log(0.4 * (1 + erf(x))),
    "log of a sum": lambda x: jnp.log(jnp.abs(x).sum()),
    "log1p": jnp.log1p,
    "softplus of jax": jax.nn.softplus,
    "softplus by hand of two": lambda x: jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(2 * x))),
    "softplus by hand, from 1": lambda x: jnp.maximum(x, 1) + jnp.log1p(jnp.exp(-jnp.abs(x))),
    "logsumexp": jax.nn.logsumexp,
    "log_softmax": jax.nn.log_softmax,
    "logsumexp by hand": lambda x: jnp.log(jnp.exp(x - x.max()).sum()) + x.max(),
    "a product that is no exponential": lambda x: jnp.log(x * x),
    "integers": lambda x: jnp.arange(3) - 1,
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_near_misses(name):
    graph = graph_of(UNTOUCHED[name], jnp.ones(3))
    assert made_stable(graph) == []
    assert str(stabilize(graph)) == str(graph)


def test_the_written_form_stays_for_who_else_reads_it():
    graph = graph_of(lambda x: jnp.log(1 - jnp.exp(x)) + (1 - jnp.exp(x)), -jnp.ones(3))
    assert {place.fact for place in made_stable(graph)} == {
        "1 − exp(x) → −expm1(x)",
        "log(1 − exp(x)) → log1mexp(x)",
    }
    x = -jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(as_function(stabilize(graph))(x), np.log(1 - np.exp(x)) + 1 - np.exp(x), rtol=1e-6)


# -- probabilities ---------------------------------------------------------------------------------------------


def log_binomial(n, k):
    return mp.log(mp.binomial(n, k))


def log_p_and_q(logit):
    return log_sigmoid(logit), log_sigmoid(-logit)


def of_probit(x):
    return log_tail(-x / mp.sqrt(2)), log_tail(x / mp.sqrt(2))


LOGITS = np.array([-800.0, -45.0, -1e-20, 0.0, 0.7, 45.0, 800.0, 2.0])
Y = np.array([1, 0, 1, 0, 1, 0, 0, 1])
# The probability, what it is called, and the logarithms of p and 1 − p.
WRITTEN = {
    "sigmoid": (jax.nn.sigmoid, "sigmoid(x)", log_p_and_q),
    "written_out": (lambda x: 1 / (1 + jnp.exp(-x)), "sigmoid(x)", log_p_and_q),
    "exp_over": (lambda x: jnp.exp(x) / (1 + jnp.exp(x)), "sigmoid(x)", log_p_and_q),
    "minus": (lambda x: 1 / (1 + jnp.exp(x)), "1/(1 + exp(x))", lambda x: log_p_and_q(-x)),
    "complement": (lambda x: 1 - jax.nn.sigmoid(x), "1 − sigmoid(x)", lambda x: log_p_and_q(-x)),
    "gathered": (lambda x: jax.nn.sigmoid(x)[jnp.arange(8)], "sigmoid(x)", log_p_and_q),
    "reshaped": (lambda x: jax.nn.sigmoid(x.reshape(2, 4)).T.T.reshape(8), "sigmoid(x)", log_p_and_q),
    "probit": (norm.cdf, "Φ(x)", of_probit),
    "tail": (lambda x: 1 - norm.cdf(x), "1 − Φ(x)", lambda x: of_probit(-x)),
    "erf": (lambda x: 0.5 * (1 + erf(x / jnp.sqrt(2.0))), "½·(1 + erf(x))", of_probit),
    "erfc": (lambda x: 0.5 * erfc(-x / jnp.sqrt(2.0)), "½·erfc(x)", of_probit),
}
# The distribution, and its log density from log p and log (1 − p).
COUNTS = {
    "Bernoulli": (lambda p: dist.Bernoulli(probs=p), lambda y, a, b: a if y else b),
    "Binomial": (lambda p: dist.Binomial(5, probs=p), lambda y, a, b: log_binomial(5, y) + y * a + (5 - y) * b),
    "Geometric": (lambda p: dist.Geometric(probs=p), lambda y, a, b: a + y * b),
    "NegativeBinomial": (
        lambda p: dist.NegativeBinomialProbs(3.0, p),
        lambda y, a, b: mp.log(mp.binomial(y + 2, y)) + y * a + 3 * b,
    ),
}
BY_PROBABILITY = [("Bernoulli", name) for name in WRITTEN] + [(name, "sigmoid") for name in list(COUNTS)[1:]]


def counts_model(y):
    x = plait.sample("x", dist.Normal(0, 1).expand([8]).to_event(1))
    for name, how in BY_PROBABILITY:
        plait.sample(f"{name}_{how}", COUNTS[name][0](WRITTEN[how][0](x)), obs=y)


def simplices_model(y, n):
    w = plait.sample("w", dist.Normal(0, 1).expand([4, 3]).to_event(2))
    written = jnp.exp(w) / jnp.exp(w).sum(-1, keepdims=True)
    plait.sample("categorical", dist.Categorical(probs=jax.nn.softmax(w)), obs=y)
    plait.sample("written", dist.Categorical(probs=written), obs=y)
    plait.sample("gathered", dist.Categorical(probs=jax.nn.softmax(w)[jnp.array([3, 2, 1, 0])]), obs=y[::-1])
    plait.sample("multinomial", dist.Multinomial(5, probs=jax.nn.softmax(w)), obs=n)
    components = dist.Normal(jnp.zeros(3), jnp.ones(3))
    plait.sample("mixture", dist.MixtureSameFamily(dist.Categorical(jax.nn.softmax(w)), components), obs=jnp.zeros(4))


def stabilized_in(compiled):
    """By site, the family that its distribution had and has; and the facts."""
    graphs = dict(compiled.history)
    names = list(graphs)
    before = graphs[names[names.index("stabilize") - 1]]
    families = [{n.op.site: family(n.op.dist) for n in g.of(LogProb)} for g in (before, graphs["stabilize"])]
    changed = {site: (name, families[1][site]) for site, name in families[0].items() if families[1][site] != name}
    return changed, {place.fact for place in made_stable(before)}


def terms_and_slopes(compiled, values):
    """The terms by site, and the derivative of the sum of each."""
    found = jax.jit(lambda v: (compiled.log_prob_terms(v), jax.jacrev(lambda v: totals(compiled, v))(v)))(values)
    return jax.device_get(found)


def totals(compiled, values):
    return {site: term.sum() for site, term in compiled.log_prob_terms(values).items()}


@dtypes
def test_counts(dtype):
    with jax.enable_x64(dtype is np.float64):
        compiled = plait.compile(counts_model, Y, passes={"reroll": False})
        changed, found = stabilized_in(compiled)
        assert changed == {f"{name}_{how}": (f"{name}Probs", f"{name}Logits") for name, how in BY_PROBABILITY}
        assert found == {f"{name}Probs({WRITTEN[how][1]}) → {name}Logits" for name, how in BY_PROBABILITY}
        x = LOGITS.astype(dtype)
        terms, slopes = terms_and_slopes(compiled, {"x": x})
        for name, how in BY_PROBABILITY:
            truth, logs = COUNTS[name][1], WRITTEN[how][2]
            pairs = [(mp.mpf(float(u)), int(y)) for u, y in zip(x, Y, strict=True)]
            with mp.workdps(60):
                value = [float(truth(y, *logs(u))) for u, y in pairs]
                slope = [float(mp.diff(lambda t, y=y, f=truth, g=logs: f(y, *g(t)), u)) for u, y in pairs]
            site = f"{name}_{how}"
            rounding = ROUNDING[dtype]
            np.testing.assert_allclose(terms[site], value, rtol=rounding, atol=rounding)
            np.testing.assert_allclose(slopes[site]["x"], slope, rtol=rounding, atol=rounding)


@dtypes
def test_simplices(dtype):
    rows, y, n = ROWS[:4], np.array([1, 2, 0, 1]), np.array([[2, 2, 1]] * 4)
    with jax.enable_x64(dtype is np.float64):
        compiled = plait.compile(simplices_model, y, n)
        changed, found = stabilized_in(compiled)
        assert set(changed) == {"categorical", "written", "gathered", "multinomial"}  # and inside of the mixture
        assert found == {f"{name}Probs(softmax(x)) → {name}Logits" for name in ("Categorical", "Multinomial")}
        terms, slopes = terms_and_slopes(compiled, {"w": rows.astype(dtype)})
        share, _, log_total, top = shares(rows, np.ones_like(rows))
        log_p = (rows - top[:, None]) - log_total[:, None]
        chosen, rounding = np.eye(3)[y], ROUNDING[dtype]
        for site, order in (
            ("categorical", slice(None)),
            ("written", slice(None)),
            ("gathered", slice(None, None, -1)),
        ):
            np.testing.assert_allclose(terms[site], (log_p * chosen).sum(-1)[order], rtol=rounding, atol=rounding)
            np.testing.assert_allclose(slopes[site]["w"], chosen - share, rtol=rounding, atol=rounding)
        inside = next(n for n in dict(compiled.history)["stabilize"].of(LogProb) if n.op.site == "mixture")
        assert family(inside.op.dist.field("_mixing_distribution")) == "CategoricalLogits"
        np.testing.assert_allclose(terms["mixture"], -0.5 * np.log(2 * np.pi), rtol=rounding)
        in_all = np.log(30) + (log_p * n).sum(-1)
        np.testing.assert_allclose(terms["multinomial"], in_all, rtol=rounding, atol=rounding)
        np.testing.assert_allclose(slopes["multinomial"]["w"], n - 5 * share, rtol=rounding, atol=5 * rounding)


def kept(model, *args):
    """A model in which nothing is made stable."""
    compiled = plait.compile(model, *args)
    assert stabilized_in(compiled) == ({}, set())
    return compiled


def normal(*shape):
    return plait.sample("x", dist.Normal(0, 1).expand(shape).to_event(len(shape)))


KEPT = {
    "a softmax over another axis": lambda: dist.Categorical(probs=jax.nn.softmax(normal(3, 3), 0).T),
    "a softmax that is transposed": lambda: dist.Categorical(probs=jax.nn.softmax(normal(3, 3)).T),
    "sums that stand at other rows": lambda: dist.Categorical(probs=jnp.exp(x := normal(3, 3)) / jnp.exp(x).sum(-1)),
    "sums of something else": lambda: dist.Categorical(
        probs=jnp.exp(x := normal(3, 3)) / jnp.exp(2 * x).sum(-1, keepdims=True)
    ),
    "part of the categories": lambda: dist.Categorical(probs=jax.nn.softmax(normal(3, 4))[:, 1:]),
    "categories that are gathered": lambda: dist.Categorical(
        probs=jax.nn.softmax(normal(3, 4))[:, jnp.array([2, 0, 1])]
    ),
    "a probability by itself": lambda: dist.Bernoulli(probs=plait.sample("p", dist.Beta(1, 1).expand([3]))),
    "half of a sigmoid": lambda: dist.Bernoulli(probs=0.5 * jax.nn.sigmoid(normal(3))),
    "an exponential": lambda: dist.Bernoulli(probs=jnp.exp(-jnp.abs(normal(3)))),
}


@pytest.mark.parametrize("name", KEPT)
def test_probabilities_that_stay(name):
    kept(lambda: plait.sample("y", KEPT[name](), obs=np.array([0, 1, 1])))


def test_outcomes_that_are_impossible():
    """0 · ∞: binomial rows whose logit is −∞ keep their probability 0, and the density of it."""

    def model(absent, y):
        eta = jnp.where(absent, -jnp.inf, normal(3))
        plait.sample("binomial", dist.Binomial(4, probs=jax.nn.sigmoid(eta)), obs=y)
        plait.sample("bernoulli", dist.Bernoulli(probs=jax.nn.sigmoid(eta)), obs=jnp.minimum(y, 1))
        plait.sample("multinomial", dist.Multinomial(3, probs=jax.nn.softmax(eta)), obs=y)
        plait.sample("categorical", dist.Categorical(probs=jax.nn.softmax(eta)), obs=y[1])

    compiled = plait.compile(model, np.array([True, False, False]), np.array([0, 1, 2]))
    assert set(stabilized_in(compiled)[0]) == {"bernoulli", "categorical"}
    terms = compiled.log_prob_terms({"x": np.array([0.5, 0.25, -0.5])})
    assert all(np.isfinite(term).all() for term in terms.values())
    assert terms["bernoulli"][0] == 0
    assert abs(terms["binomial"][0]) < 1e-6


# -- matrices --------------------------------------------------------------------------------------------------


def count(graph, primitive):
    return sum(isinstance(n.op, Apply) and n.op.primitive.name == primitive for n in graph)


HILBERT = 1 / (1 + np.arange(6)[:, None] + np.arange(6))  # of condition number 1.5e7
VECTOR = np.array([1.0, -2.0, 3.0, -1.0, 0.5, 2.0])
TWO = np.stack([VECTOR, VECTOR[::-1] ** 2])
SYSTEMS = {
    "inv @ vector": (lambda s, x: jnp.linalg.inv(s) @ x, VECTOR),
    "inv @ matrix": (lambda s, x: jnp.linalg.inv(s) @ x, TWO.T),
    "vector @ inv": (lambda s, x: x @ jnp.linalg.inv(s), VECTOR),
    "matrix @ inv": (lambda s, x: x @ jnp.linalg.inv(s), TWO),
    "inv @ matrix.T": (lambda s, x: jnp.einsum("ij,kj->ik", jnp.linalg.inv(s), x), TWO),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_are_solved(name):
    """The residual of a solution is small whatever the condition; that of a product with an inverse is not."""
    function, x = SYSTEMS[name]
    with jax.enable_x64(True):
        skew = HILBERT + np.triu(HILBERT, 1) * 0.01
        graph = graph_of(function, skew, x)
        assert [place.fact for place in made_stable(graph)] == ["inv(S) @ x → solve(S, x)"]
        found = np.asarray(as_function(stabilize(graph))(skew, x))
        np.testing.assert_allclose(found, function(skew, x), rtol=1e-6)
        is_right = name in ("vector @ inv", "matrix @ inv")
        residual = found @ skew - x if is_right else skew @ found - (x.T if "matrix.T" in name else x)
        assert np.abs(residual).max() < 1e-14 * np.abs(found).max()


def covariance(scale):
    return scale**2 * jnp.ones((3, 3)) + jnp.eye(3)


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_a_precision_that_is_an_inverse(shape):
    """One Cholesky factor, of the covariance, and no system to solve for the inverse."""

    def model():
        precision = jnp.linalg.inv(covariance(plait.sample("s", dist.HalfNormal(1))))
        plait.sample("y", dist.MultivariateNormal(jnp.zeros(shape), precision_matrix=precision), obs=jnp.ones(shape))

    compiled = plait.compile(model, passes={"fuse": False})
    name = "MultivariateNormal(precision_matrix=inv(S)) → covariance_matrix=S"
    assert stabilized_in(compiled) == ({}, {name})
    last = compiled.history[-1][1]
    assert count(last, "cholesky") == 1
    assert count(last, "custom_linear_solve") == 0
    right = dist.MultivariateNormal(jnp.zeros(shape), covariance(0.7)).log_prob(jnp.ones(shape))
    np.testing.assert_allclose(compiled.log_prob_terms({"s": 0.7})["y"], right, rtol=1e-6)


OTHER_PRODUCTS = {
    "a solution": jnp.linalg.solve,
    "inverses of several": lambda s, x: jnp.linalg.inv(jnp.stack([s, s])) @ x,
    "not an inverse": lambda s, x: jnp.linalg.solve(s, jnp.ones((6, 6))) @ x,
    "a determinant": lambda s, x: jnp.linalg.slogdet(s)[1] * x,
}


@pytest.mark.parametrize("name", OTHER_PRODUCTS)
def test_products_that_stay(name):
    graph = graph_of(OTHER_PRODUCTS[name], HILBERT, VECTOR)
    assert made_stable(graph) == []


def test_one_decomposition_for_all_who_need_it():
    def model():
        s = covariance(plait.sample("s", dist.HalfNormal(1)))
        a = jnp.linalg.solve(s, jnp.ones(3)).sum() + (jnp.linalg.inv(s) @ jnp.arange(3.0)).sum()
        plait.factor("f", a + jnp.linalg.solve(s, jnp.arange(3.0)).sum())
        plait.sample("x", dist.MultivariateNormal(jnp.zeros(3), s), obs=jnp.ones(3))
        plait.sample("y", dist.MultivariateNormal(jnp.zeros(3), s), obs=jnp.zeros(3))
        plait.factor("g", jnp.linalg.cholesky(s).sum())

    last = plait.compile(model, passes={"fuse": False}).history[-1][1]
    assert count(last, "cholesky") == 1
    assert count(last, "lu") == 1


# -- in models -------------------------------------------------------------------------------------------------


def test_in_the_bodies_of_loops_and_branches():
    def model(y, which):
        def step(x, y):
            x = plait.sample("x", dist.Normal(x, 1.0))
            plait.sample("y", dist.Bernoulli(probs=jax.nn.sigmoid(jnp.sin(x))), obs=y)
            return jnp.tanh(x), jnp.log(1 + jnp.exp(x))

        def branch(x):
            plait.sample("z", dist.Normal(jnp.log(1 - jax.nn.sigmoid(x)), 1.0), obs=0.5)
            return x

        last, found = jax.lax.scan(step, 0.0, y)
        plait.factor("f", found.sum())
        jax.lax.cond(which > 0, branch, branch, last)

    compiled = plait.compile(model, np.array([0, 1, 1]), 1.0, passes={"vectorize_scans": False})
    assert stabilized_in(compiled)[1] == {
        "BernoulliProbs(sigmoid(x)) → BernoulliLogits",
        "log(1 + exp(x)) → softplus(x)",
        "log(1 − sigmoid(x)) → −softplus(x)",
    }


def test_rows_of_a_group_still_fuse():
    """A rate of each group and a probability of each group are computed once for each group."""
    group = np.arange(60) % 3

    def model(group, y):
        a = plait.sample("a", dist.Normal(0, 1).expand([3]).to_event(1))
        plait.sample("counts", dist.Poisson(jnp.log(1 + jnp.exp(a[group]))), obs=y)
        plait.sample("tails", dist.Poisson(-jnp.log(norm.cdf(a[group]))), obs=y)
        plait.sample("outcomes", dist.Bernoulli(probs=jax.nn.sigmoid(a[group])), obs=y > 0)

    compiled = plait.compile(model, group, np.arange(60) % 4)
    rows = {term.name: term.rows for term in compiled.explain().terms}
    assert rows["counts"] == rows["tails"] == rows["outcomes"] == (60, 3)


@pytest.mark.parametrize("family", [dist.Bernoulli, lambda logits: dist.Binomial(5, logits=logits)])
@dtypes
def test_logits_of_zero(family, dtype):
    """NumPyro's own derivative is 0 or 1 there instead of ½."""
    with jax.enable_x64(dtype is np.float64):
        compiled = plait.compile(lambda: plait.sample("y", family(logits=normal(2)), obs=np.array([0, 1])))
        n = 5 if family is not dist.Bernoulli else 1
        slope = compiled.log_density_and_grad(jnp.zeros(2, dtype))[1]
        np.testing.assert_allclose(slope, np.array([0, 1]) - n / 2, rtol=ROUNDING[dtype])


def explained():
    x = plait.sample("x", dist.Normal(0, 1))
    plait.factor("f", jnp.log(1 + jnp.exp(x)))  # here


def test_explain_says_so():
    compiled = plait.compile(explained)
    assert f"made stable: log(1 + exp(x)) → softplus(x)  {line(explained).strip('()')}" in str(compiled.explain())
    plain = plait.compile(explained, passes={"stabilize": False})
    assert "made stable" not in str(plain.explain())
