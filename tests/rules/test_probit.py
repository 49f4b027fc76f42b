"""Probit rows: one log Φ for each, right in both tails."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from tests.rules.normal_models import answer

RNG = np.random.default_rng(2)
X = RNG.normal(size=60)
Y = RNG.integers(0, 2, 60)
GROUP = RNG.integers(0, 4, 60)

FORMS = {
    "cdf": jax.scipy.stats.norm.cdf,
    "erf": lambda x: 0.5 * (1 + jax.lax.erf(x / jnp.sqrt(2.0))),
    "complement": lambda x: 1 - jax.scipy.stats.norm.cdf(-x),
}


def rows(form, x, y, group=None, trials=None):
    b = plait.sample("b", dist.Normal(0, 1))
    a = plait.sample("a", dist.Normal(0, 1).expand([4]).to_event(1))
    eta = b * x if group is None else a[group]
    with plait.plate("rows", len(y)):
        p = FORMS[form](eta)
        plait.sample("y", dist.Bernoulli(p) if trials is None else dist.Binomial(trials, p), obs=y)


def log_phi(x):
    return mpmath.log(mpmath.erfc(-mpmath.mpf(float(x)) / mpmath.sqrt(2)) / 2)


def mills(x):
    """φ/Φ."""
    x = mpmath.mpf(float(x))
    return mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi) / mpmath.exp(log_phi(x))


def truth(eta, y, n=1):
    """The log likelihood, but for binomial coefficients."""
    return float(sum(int(k) * log_phi(e) + int(n - k) * log_phi(-e) for e, k in zip(eta, y, strict=True)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("b", [0.0, 0.7, -30.0, 400.0])
def test_tails(form, b):
    with jax.enable_x64(True):
        compiled = plait.compile(rows, form, X, Y)
        assert "log Φ" in answer(compiled).notation
        a = np.zeros(4)
        priors = float(dist.Normal(0, 1).log_prob(np.append(a, b)).sum())
        value, slope = jax.value_and_grad(lambda b: compiled.log_joint({"b": b, "a": a}))(b)
        with mpmath.workdps(60):
            wanted = truth(b * X, Y)
            assert abs(float(value) - priors - wanted) <= 1e-11 * max(abs(wanted), abs(priors))
            exact = sum(x * s * mills(s * b * x) for x, s in zip(X, 2 * Y - 1, strict=True))
        assert float(slope) + b == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("trials", [None, 5])
def test_groups_and_trials(trials):
    y = Y if trials is None else RNG.integers(0, trials + 1, 60)
    with jax.enable_x64(True):
        both = [
            plait.compile(rows, "cdf", X, y, GROUP, trials, static=("form",), passes=p) for p in ({}, {"fuse": False})
        ]
        assert answer(both[0]).cells < 60
        z = RNG.normal(size=5)
        for derivative in (lambda f: f, jax.grad, *([jax.hessian] if trials is None else [])):
            fused, plain = (derivative(c.log_density)(z) for c in both)
            np.testing.assert_allclose(fused, plain, rtol=1e-10, atol=1e-12)
