"""Multinomial regressions: the likelihood in 50 digits, however the logits are written, and what is none."""

from functools import partial

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.util import log_density

import plait
from plait.compiler.rules.term import Fusion, Refused
from tests.rules.normal_models import answer, exact

RNG = np.random.default_rng(5)
N, P = 48, 3
X = RNG.normal(size=(N, P))
LEVELS = RNG.integers(0, 2, (N, P)).astype(float)  # 8 distinct rows


def outcomes(k, seed=0):
    return np.random.default_rng(seed).integers(0, k, N)


def counts(k, total=9):
    return RNG.multinomial(total, np.full(k, 1 / k), N)


def plain(b, a, x):
    return x @ b + a


def intercepts_first(b, a, x):
    return a + jnp.einsum("np,kp->nk", x, b.T)


def no_intercept(b, a, x):
    return x @ b


def reference(b, a, x):
    return jnp.concatenate([jnp.zeros((len(x), 1)), x @ b[:, 1:] + a[1:]], axis=1)


def reference_last(b, a, x):
    return jnp.concatenate([x @ b[:, 1:], jnp.zeros((len(x), 1))], axis=1)


def in_two_parts(b, a, x):
    return x[:, :1] @ b[:1] + a + x[:, 1:] @ b[1:]


def model(ppl, logits, x, y, k, mask=True, scale=1.0, total=None):
    b = ppl.sample("b", dist.Normal(0, 1).expand([P, k]).to_event(2))
    a = ppl.sample("a", dist.Normal(0, 1).expand([k]).to_event(1))
    with ppl.plate("rows", len(y)), ppl.handlers.scale(scale=scale), ppl.handlers.mask(mask=mask):
        eta = logits(b, a, x)
        rows = dist.Categorical(logits=eta) if total is None else dist.Multinomial(total, logits=eta)
        ppl.sample("y", rows, obs=y)


def compiled(logits, x, y, k, passes=None, **how):
    return plait.compile(partial(model, plait, logits), x, y, k, passes=passes or {}, **how)


def truth(eta, y, weight, k):
    """The log likelihood and the sum of its terms' magnitudes, of logits that are exact already."""
    total, size = mpmath.mpf(0), mpmath.mpf(0)
    for i in range(len(eta)):
        if weight[i] > 0:
            norm = mpmath.log(sum(mpmath.exp(e) for e in eta[i]))
            seen = [int(y[i] == c) for c in range(k)] if y.ndim == 1 else [int(n) for n in y[i]]
            term = sum(n * (e - norm) for n, e in zip(seen, eta[i], strict=True))
            if y.ndim == 2:
                term += mpmath.loggamma(sum(seen) + 1) - sum(mpmath.loggamma(n + 1) for n in seen)
            total += weight[i] * term
            size += weight[i] * abs(term)
    return total, size


def point(k, size=1.0, seed=1):
    rng = np.random.default_rng(seed)
    return {"b": size * rng.normal(size=(P, k)), "a": size * rng.normal(size=k)}


def check(fused, unfused, v, wanted, size, error=1e-10):
    """The value against the truth, derivatives against the rows' own."""
    priors = sum(float(dist.Normal(0, 1).log_prob(x).sum()) for x in v.values())
    assert abs(float(fused.log_joint(v)) - priors - float(wanted)) <= error * float(size) + 1e-12 * abs(priors)
    both = [jax.jit(jax.grad(c.log_joint))(v) for c in (fused, unfused)]
    for name in v:
        np.testing.assert_allclose(both[0][name], both[1][name], rtol=1e-9, atol=1e-9 * float(size))


FORMS = (plain, intercepts_first, no_intercept, reference, reference_last, in_two_parts)
EDGES = {
    "few": (plain, X, outcomes(3), 3, {}),
    "many categories": (plain, X, outcomes(11), 11, {}),
    "distinct rows": (plain, LEVELS, outcomes(4), 4, {}),
    "distinct rows, many categories": (reference, LEVELS, outcomes(10), 10, {}),
    "two categories": (plain, X, outcomes(2), 2, {}),
    "a category never seen": (plain, LEVELS, np.minimum(outcomes(4), 2), 4, {}),
    "one outcome alone": (plain, X, np.zeros(N, int), 3, {}),
    "weighted": (plain, X, outcomes(3), 3, {"scale": RNG.uniform(0.2, 3, N)}),
    "masked": (plain, LEVELS, np.where(X[:, 0] > 0, outcomes(3), 77), 3, {"mask": X[:, 0] > 0}),
    "counts": (plain, X, counts(3), 3, {"total": 9}),
    "counts of distinct rows": (in_two_parts, LEVELS, counts(3), 3, {"total": 9}),
    "weighted counts": (plain, X, counts(9), 9, {"total": 9, "scale": RNG.uniform(0.2, 3, N)}),
}


def weight_of(how):
    return np.where(np.broadcast_to(how.get("mask", True), N), np.broadcast_to(how.get("scale", 1.0), N), 0.0)


def agrees(logits, x, y, k, how, size=1.0):
    passes = {"check_data": False} if "mask" in how else {}
    fused = compiled(logits, x, y, k, passes, **how)
    assert isinstance(answer(fused), Fusion), answer(fused)
    v = point(k, size)
    in_jax = "jnp" in logits.__code__.co_names
    eta = exact(logits(v["b"], v["a"], x)) if in_jax else logits(*map(exact, (v["b"], v["a"], x)))
    wanted, magnitude = truth(eta, y, weight_of(how), k)
    check(fused, compiled(logits, x, y, k, passes | {"fuse": False}, **how), v, wanted, magnitude)
    return fused


@pytest.mark.parametrize("logits", FORMS, ids=lambda f: f.__name__)
def test_forms(logits):
    with jax.enable_x64(True):
        agrees(logits, X, outcomes(4), 4, {})


@pytest.mark.parametrize("name", EDGES)
def test_edges(name):
    logits, x, y, k, how = EDGES[name]
    with jax.enable_x64(True):
        fused = agrees(logits, x, y, k, how)
        if "distinct" in name:
            assert answer(fused).cells <= 8


@pytest.mark.parametrize("k", [3, 10])
def test_enormous_logits_keep_their_digits(k):
    with jax.enable_x64(True):
        agrees(no_intercept, X, np.argmax(X @ point(k, 800)["b"], axis=1), k, {}, size=800)


def test_hessian():
    with jax.enable_x64(True):
        both = [compiled(plain, LEVELS, outcomes(3), 3, p) for p in ({}, {"fuse": False})]
        for z in (np.zeros(both[0].dim), RNG.normal(size=both[0].dim)):
            fused, rows = (jax.hessian(c.log_density)(z) for c in both)
            np.testing.assert_allclose(fused, rows, rtol=1e-9, atol=1e-11)


def test_float32():
    fused = compiled(plain, X.astype(np.float32), outcomes(3), 3)
    v = {n: x.astype(np.float32) for n, x in point(3).items()}
    run = partial(model, numpyro, plain, X.astype(np.float32), outcomes(3), 3)
    wanted = jax.jit(lambda v: log_density(run, (), {}, v)[0])(v)
    np.testing.assert_allclose(fused.log_joint(v), wanted, rtol=2e-6)


def test_other_data():
    with jax.enable_x64(True):
        fused, v = compiled(plain, LEVELS, outcomes(3), 3), point(3)
        for x, y in ((LEVELS[::-1], outcomes(3, 1)), (X, outcomes(3, 2)), (0 * X, outcomes(3))):
            alone = compiled(plain, x, y, 3, {"fuse": False})
            np.testing.assert_allclose(fused.bind(x=x, y=y).log_joint(v), alone.log_joint(v), rtol=1e-12)


def test_a_softmax_of_probabilities():
    """`stabilize` makes logits of it, less the largest of each row, which all categories have in common."""

    def probabilities(x, y):
        b = plait.sample("b", dist.Normal(0, 1).expand([P, 3]).to_event(2))
        with plait.plate("rows", N):
            plait.sample("y", dist.Categorical(jax.nn.softmax(x @ b)), obs=y)

    with jax.enable_x64(True):
        fused = plait.compile(probabilities, LEVELS, outcomes(3))
        assert answer(fused).cells == 8
        plain_rows = plait.compile(probabilities, LEVELS, outcomes(3), passes={"fuse": False})
        z = RNG.normal(size=fused.dim)
        np.testing.assert_allclose(fused.log_density(z), plain_rows.log_density(z), rtol=1e-12)


def nonlinear(b, a, x):
    return jnp.tanh(x @ b)


def shifted_by_category(b, a, x):
    return x @ b - jnp.exp(a)


def of_rows(b, a, x):
    return x @ b + x[:, :1]


def latent_covariates(b, a, x):
    return (x * a[0]) @ b


@pytest.mark.parametrize(
    "logits", [nonlinear, shifted_by_category, of_rows, latent_covariates], ids=lambda f: f.__name__
)
def test_near_misses(logits):
    with jax.enable_x64(True):
        near, rows = (compiled(logits, X, outcomes(3), 3, p) for p in ({}, {"fuse": False}))
        assert isinstance(answer(near), Refused)
        assert "its parameter logits is computed row by row" in answer(near).reason
        np.testing.assert_allclose(near.log_joint(point(3)), rows.log_joint(point(3)), rtol=1e-13)
