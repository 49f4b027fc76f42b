"""Mixtures and hidden Markov models: value, gradient and second derivatives beside the same model as it was written."""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.scipy.special import logsumexp
from numpyro.contrib.control_flow import scan as numpyro_scan
from numpyro.infer.util import log_density

import plait
from plait.compiler.passes.share_exps import components
from plait.ir.ops import Apply, Scan
from tests.helpers import same_density

N = 9
RNG = np.random.default_rng(8)
Y = RNG.normal(size=N)
COUNTS = RNG.poisson(2.0, N)
TOLERANCE = {"float64": 1e-10, "float32": 2e-5}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def shared(compiled):
    """The numbers of components, sorted."""
    return sorted(components(dict(compiled.history)["share_exps"]))


def compare(model, *args, dtype="float64", found=()):
    """Value and gradient are those without the pass, which found sums over so many components."""
    with jax.enable_x64(dtype == "float64"):
        compiled = plait.compile(model, *args)
        same_density(compiled, plait.compile(model, *args, passes={"share_exps": False}), TOLERANCE[dtype])
        assert shared(compiled) == sorted(found)
    return compiled


def parameters(k=3):
    w = plait.sample("w", dist.Dirichlet(jnp.ones(k)))
    loc = plait.sample("loc", dist.Normal(0, 2).expand([k]).to_event(1))
    scale = plait.sample("scale", dist.HalfNormal(2).expand([k]).to_event(1))
    return w, loc, scale


# -- by distribution ------------------------------------------------------------------------------------------


def by_distribution(y, counts, ok, weights):
    w, loc, scale = parameters()
    logits = plait.sample("logits", dist.Normal(0, 1).expand([N, 2]).to_event(2))
    which = dist.Categorical(probs=w)
    normal = dist.Normal(loc, scale)
    tril = jnp.eye(2) * scale[:, None, None]
    means = jnp.stack([loc, -loc], -1)
    with plait.plate("rows", N):
        plait.sample("normal", dist.MixtureSameFamily(which, normal), obs=y)
        of_rows = dist.Categorical(logits=logits)
        plait.sample("by_row", dist.Mixture(of_rows, [dist.Normal(loc[0], 1), dist.StudentT(3.0, loc[1], 2)]), obs=y)
        plait.sample("poisson", dist.MixtureSameFamily(which, dist.Poisson(scale)), obs=counts)
        plait.sample("bits", dist.MixtureSameFamily(which, dist.Bernoulli(logits=loc)), obs=counts > 1)
        vectors = dist.MixtureSameFamily(which, dist.MultivariateNormal(means, scale_tril=tril))
        plait.sample("vectors", vectors, obs=jnp.stack([y, y + 1], -1))
        independent = dist.MixtureSameFamily(which, dist.Normal(means, 1).to_event(1))
        plait.sample("events", independent, obs=jnp.stack([y, y + 1], -1))
        with plait.handlers.mask(mask=ok), plait.handlers.scale(scale=weights):
            plait.sample("weighted", dist.MixtureSameFamily(which, normal), obs=jnp.where(ok, y, jnp.nan))
    plait.sample("as_event", dist.MixtureSameFamily(which, normal).expand([N]).to_event(1), obs=2 * y)


@each_dtype
def test_mixtures_by_distribution(dtype):
    args = Y, COUNTS, Y < 0.5, RNG.uniform(0.5, 2, N)
    compiled = compare(by_distribution, *args, dtype=dtype, found=[2] + [3] * 7)
    said = {t.name: (t.evaluated, t.reason) for t in compiled.explain().terms}
    assert said["normal"] == ("Σ log Σ_k exp(·)  over k = 1 … 3", "")
    assert said["by_row"] == ("Σ log Σ_k exp(·)  over k = 1 … 2", "")
    assert said["w"][0] == ""
    assert "k: component" in str(compiled.explain())


# -- written out ----------------------------------------------------------------------------------------------


def spellings(y):
    """The same mixture of two, again and again."""
    w, loc, scale = parameters(2)
    log_w, column = jnp.log(w), y[:, None]
    each = [log_w[k] + dist.Normal(loc[k], scale[k]).log_prob(y) for k in range(2)]
    with plait.plate("rows", N):
        plait.factor("last", logsumexp(log_w + dist.Normal(loc, scale).log_prob(column), -1))
        plait.factor("kept", logsumexp(log_w + dist.Normal(loc, scale).log_prob(column), 1, keepdims=True)[:, 0])
        plait.factor("stacked", jax.nn.logsumexp(jnp.stack(each), 0))
        plait.factor("stacked_last", logsumexp(log_w + jnp.stack([e - log_w[0] for e in each], -1), -1))
        plait.factor("added", jnp.logaddexp(*each))
    plait.factor("all", logsumexp(jnp.stack(each)[:, :1], 0))


@each_dtype
def test_mixtures_written_out(dtype):
    compiled = compare(spellings, Y, dtype=dtype, found=[2] * 6)
    with jax.enable_x64(dtype == "float64"):
        terms = compiled.log_prob_terms(compiled.constrain(np.zeros(compiled.dim, dtype)))
    for name in ("kept", "stacked", "added"):
        np.testing.assert_allclose(terms[name], terms["last"], rtol=1e-4)


@pytest.mark.parametrize("k", [1, 3, 17])
def test_any_number_of_components(k):
    def model(y):
        w, loc, scale = parameters(max(k, 2))
        each = [jnp.log(w[i]) + dist.Normal(loc[i], scale[i]).log_prob(y) for i in range(k)]
        with plait.plate("rows", N):
            plait.factor("stacked", logsumexp(jnp.stack(each), 0))
            plait.factor("last", logsumexp((jnp.log(w) + dist.Normal(loc, scale).log_prob(y[:, None]))[:, :k], -1))

    compare(model, Y, found=[k, k])


def test_rows_and_tables_of_rows():
    """One row; no axis but the components'; components on an axis in the middle."""

    def model(y, table):
        w, loc, scale = parameters()
        plait.factor("one", logsumexp(jnp.log(w) + dist.Normal(loc, scale).log_prob(y[:1, None]), -1))
        plait.factor("none", logsumexp(jnp.log(w) + loc))
        middle = jnp.log(w)[:, None] + dist.Normal(loc[:, None], scale[:, None]).log_prob(table[:, None, :])
        plait.factor("middle", logsumexp(middle, axis=1))
        plait.factor("pair", logsumexp(middle[:, :2], axis=1))
        plait.factor("roots", logsumexp(jnp.cbrt(middle), axis=1))

    compare(model, Y, RNG.normal(size=(4, 5)), found=[2, 3, 3, 3, 3])


def test_second_derivatives():
    """Also where two components are equal, as they are where a sampler starts."""

    def model(y):
        loc = plait.sample("loc", dist.Normal(0, 2).expand([2]).to_event(1))
        more = plait.sample("more", dist.Normal(0, 2).expand([3]).to_event(1))
        with plait.plate("rows", N):
            plait.sample(
                "two", dist.MixtureSameFamily(dist.Categorical(logits=jnp.zeros(2)), dist.Normal(loc, 1)), obs=y
            )
            plait.factor("three", logsumexp(dist.Normal(more, 1).log_prob(y[:, None]), -1))

    with jax.enable_x64(True):
        compiled = plait.compile(model, Y)
        plain = plait.compile(model, Y, passes={"share_exps": False})
        for z in (jnp.zeros(5), jnp.array(RNG.normal(size=5))):
            wanted = jax.hessian(plain.log_density)(z)
            np.testing.assert_allclose(jax.hessian(compiled.log_density)(z), wanted, rtol=1e-9, atol=1e-9)
    assert shared(compiled) == [2, 3]


# -- one edit away --------------------------------------------------------------------------------------------


@jax.custom_jvp
def logaddexp(a, b):
    return 2.0 * jnp.maximum(a, b)


logaddexp.defjvps(lambda t, _, a, b: t, lambda t, _, a, b: t)


@jax.custom_jvp
def weighted(a, w):
    return a @ jnp.ones(2) * w


weighted.defjvps(lambda t, _, a, w: t @ jnp.ones(2) * w, lambda t, _, a, w: a @ jnp.ones(2) * t)

NEAR = {
    "weights of exponentials": lambda a: logsumexp(a, -1, b=jnp.array([0.3, 0.7])),
    "two axes": lambda a: logsumexp(a, (0, 1)),
    "another maximum": lambda a: jnp.log(jnp.exp(a - a.max()).sum(-1)) + a.max(),
    "a derivative through the maximum": lambda a: jnp.log(jnp.exp(a - a.max(-1, keepdims=True)).sum(-1)) + a.max(-1),
    "another sum is added": lambda a: jnp.log(jnp.exp(a - a[:, :1]).sum(-1)) + a[:, 1],
    "the user's own logaddexp": lambda a: logaddexp(a[:, 0], a[:, 1]),
    "the user's own of arrays that do not broadcast": lambda a: weighted(a, a[:, 0]),
}


def test_near_misses():
    def model(y):
        loc = plait.sample("loc", dist.Normal(0, 2).expand([2]).to_event(1))
        for name, f in NEAR.items():
            plait.factor(name, f(dist.Normal(loc, 1).log_prob(y[:, None])))

    compare(model, Y, found=[])


# -- nasty numbers ----------------------------------------------------------------------------------------------


def nasty(ppl, y, w):
    """Weights that are zero, and data so far away that components differ by thousands."""
    loc = ppl.sample("loc", dist.Normal(0, 2).expand([2]).to_event(1))
    with ppl.plate("rows", y.shape[0]):
        ppl.sample("y", dist.MixtureSameFamily(dist.Categorical(probs=w), dist.Normal(loc, 0.01)), obs=y)
        ppl.factor("by_hand", logsumexp(jnp.log(w) + dist.Normal(loc, 0.01).log_prob(y[:, None]), -1))


@pytest.mark.parametrize("w", [(0.3, 0.7), (1.0, 0.0), (0.0, 1.0)])
def test_against_50_digits(w):
    y, w = np.array([-4.0, 0.3, 7.0]), np.array(w)
    with jax.enable_x64(True):
        compiled = plait.compile(partial(nasty, plait), y, w)
        z = np.array([0.4, -0.6])
        value, gradient = compiled.log_density_and_grad(z)
        theirs = jax.value_and_grad(lambda z: log_density(partial(nasty, numpyro), (y, w), {}, {"loc": z})[0])
        numpyros, slope = jax.jit(theirs)(z)

    def density(z):
        mp, total = mpmath.mpf, -mpmath.fsum(mpmath.mpf(x) ** 2 for x in z) / 8 - mpmath.log(8 * mpmath.pi)
        for row in y:
            parts = [mp(p) * mpmath.exp(-((mp(row) - m) ** 2) / (2 * mp(0.01) ** 2)) for p, m in zip(w, z, strict=True)]
            total += 2 * mpmath.log(mpmath.fsum(parts) / (mp(0.01) * mpmath.sqrt(2 * mpmath.pi)))
        return total

    with mpmath.workdps(50):
        z = [mpmath.mpf(x) for x in z]
        wanted = density(z)
        change = [mpmath.diff(lambda x, i=i: density([*z[:i], x, *z[i + 1 :]]), z[i]) for i in range(2)]
        assert abs(float(value) - wanted) <= 1e-10 * abs(wanted)
        np.testing.assert_allclose(gradient, np.array(change, float), rtol=1e-10, atol=1e-10 * float(abs(wanted)))
    np.testing.assert_allclose(numpyros, value, rtol=1e-10)
    np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-9 * float(abs(wanted)))


def test_a_row_that_nothing_explains():
    """Its value is −inf, and the gradient is a number."""

    def model(y, by_two):
        loc = plait.sample("loc", dist.Normal(0, 2).expand([3]).to_event(1))
        log_p = jnp.where(y[:, None] > 5, -jnp.inf, dist.Normal(loc, 1).log_prob(y[:, None]))
        plait.factor("by_hand", logsumexp(log_p[:, : 2 if by_two else 3], -1))

    for by_two in (False, True):
        compiled = plait.compile(model, np.array([0.0, 9.0]), by_two=by_two)
        value, gradient = compiled.log_density_and_grad(jnp.zeros(3))
        assert value == -jnp.inf
        assert np.isfinite(gradient).all()


# -- hidden Markov models ---------------------------------------------------------------------------------------


def hmm(scan, y, k=2, ppl=plait):
    P = ppl.sample("P", dist.Dirichlet(jnp.ones(k)).expand([k]).to_event(1))
    loc = ppl.sample("loc", dist.Normal(0, 2).expand([k]).to_event(1))
    log_p = jnp.log(P)

    def step(log_alpha, y_t):
        return logsumexp(log_alpha[:, None] + log_p, axis=0) + dist.Normal(loc, 1).log_prob(y_t), None

    log_alpha, _ = scan(step, dist.Normal(loc, 1).log_prob(y[0]) - jnp.log(k), y[1:])
    ppl.factor("y", logsumexp(log_alpha))


def in_a_for_loop(step, init, xs):
    return jax.lax.fori_loop(0, len(xs), lambda t, a: step(a, xs[t])[0], init), None


@pytest.mark.parametrize(
    ("scan", "k", "dtype"),
    [(jax.lax.scan, 3, "float64"), (numpyro_scan, 2, "float64"), (in_a_for_loop, 2, "float32")],
    ids=["scan", "numpyro's scan", "fori_loop"],
)
def test_the_forward_algorithm(scan, k, dtype):
    with jax.enable_x64(dtype == "float64"):
        compiled = plait.compile(partial(hmm, scan, k=k), Y)
        same_density(
            compiled,
            plait.compile(partial(hmm, scan, k=k), Y, passes={"share_exps": False, "vectorize_scans": False}),
            TOLERANCE[dtype],
        )
    assert shared(compiled) == [k, k]
    recurrence = dict(compiled.history)["expand"].of(Scan)[-1].op.body
    names = {n.op.primitive.name for n in recurrence if isinstance(n.op, Apply)}
    assert not names & {"square", "integer_pow", "div"}  # of the normal density: all steps at once, before
    (term,) = (t for t in compiled.explain().terms if t.name == "y")
    assert term.evaluated == f"Σ log Σ_k exp(·)  over k = 1 … {k}"
