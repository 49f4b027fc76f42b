"""Modes of posteriors by SciPy and Optax alike: closed forms, the best of several starts, and what is no mode."""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from scipy.optimize import minimize as scipys

import plait
from plait.runtime.samplers import optax as by_optax
from plait.runtime.samplers import scipy as by_scipy
from tests.helpers import compiled as compile_with
from tests.models import hierarchical
from tests.runtime.adapters import Y, eight_schools, eight_schools_data, normal_mean, nothing_to_sample

each = pytest.mark.parametrize("engine", [by_scipy, by_optax], ids=["scipy", "optax"])
KEY = jax.random.key(0)


pytestmark = pytest.mark.usefixtures("float64")


def bounded():
    plait.sample("rate", dist.Gamma(3.0, 2.0))
    plait.sample("p", dist.Beta(3.0, 2.0))
    plait.deterministic("twice", 2 * plait.sample("x", dist.Normal(1, 2)))


@each
def test_closed_forms_with_and_without_the_jacobian(engine):
    compiled = plait.compile(bounded)
    mode = engine.maximum_a_posteriori(compiled, KEY)
    # Of the values: (a - 1) / b and (a - 1) / (a + b - 2).
    found = {name: float(value) for name, value in mode.values.items()}
    assert found == pytest.approx({"rate": 1.0, "p": 2 / 3, "x": 1.0, "twice": 2.0}, rel=1e-5)
    assert mode.converged
    assert mode.iterations > 0
    assert mode.log_density == pytest.approx(float(compiled.log_joint({n: found[n] for n in ("rate", "p", "x")})))
    # Of log(rate) and logit(p): a / b and a / (a + b).
    unconstrained = engine.maximum_a_posteriori(compiled, KEY, jacobian=True)
    found = {name: float(value) for name, value in unconstrained.values.items()}
    assert found == pytest.approx({"rate": 1.5, "p": 0.6, "x": 1.0, "twice": 2.0}, rel=1e-5)
    assert unconstrained.log_density == pytest.approx(float(compiled.log_density(unconstrained.unconstrained)))
    assert (mode.jacobian, unconstrained.jacobian) == (False, True)


def eight_schools_density(z):
    """Up to a constant, by hand: mu, log(tau), raw."""
    data = eight_schools_data()
    mu, tau, raw = z[0], np.exp(z[1]), z[2:]
    rows = ((data["y"] - mu - tau * raw) / data["sigma"]) ** 2
    return -0.5 * (mu**2 / 25 + tau**2 / 25 + raw @ raw + rows.sum()) + z[1]


@each
def test_eight_schools(engine):
    seen = []
    mode = engine.maximum_a_posteriori(eight_schools(), KEY, jacobian=True, starts=3, progress=seen.append)
    independent = scipys(lambda z: -eight_schools_density(z), np.zeros(10), method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(mode.unconstrained, independent.x, atol=1e-4)
    assert eight_schools_density(mode.unconstrained) >= -independent.fun - 1e-8
    assert mode.values["theta"].shape == (8,)
    assert [p.phase for p in seen[:2]] == ["compile", "compile"]
    assert {p.phase for p in seen[2:]} == {"optimize"}
    done = [p.done for p in seen[2:]]
    assert done == sorted(set(done))
    assert all(p.details for p in seen[2:])


def two_modes():
    """log(0.3 exp(-50 (x + 1)²) + 0.7 exp(-50 (x - 1)²))."""
    x = plait.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
    plait.factor("wells", jnp.logaddexp(jnp.log(0.3) - 50 * (x + 1) ** 2, jnp.log(0.7) - 50 * (x - 1) ** 2))


@each
def test_the_best_of_several_starts(engine):
    compiled = plait.compile(two_modes)
    both = engine.maximum_a_posteriori(compiled, KEY, starts=2, init=jnp.array([[-0.9], [0.9]]))
    assert both.values["x"] == pytest.approx(1, abs=1e-6)
    lower = engine.maximum_a_posteriori(compiled, KEY, init=jnp.array([-0.9]))
    assert lower.values["x"] == pytest.approx(-1, abs=1e-6)


@each
def test_an_unbounded_density_is_refused(engine):
    # The centered model's density grows without bound as tau goes to 0 and theta to mu.
    compiled = compile_with(hierarchical.eight_schools, **eight_schools_data())
    found = engine.maximum_a_posteriori(compiled, KEY, strict=False)
    assert not found.converged
    assert "no maximum was found" in found.message
    assert "on the way" in found.message


@each
def test_too_few_iterations_are_refused(engine):
    with pytest.raises(plait.ConvergenceError, match=r"gradient .* along '.*more iterations"):
        engine.maximum_a_posteriori(eight_schools(), KEY, max_iterations=2)


@each
def test_a_higher_end_that_is_no_maximum_is_not_passed_over(engine):
    def slope_beside_a_hill():
        x = plait.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
        plait.factor("ground", jnp.where(x > 0, -((x - 1) ** 2), -(x**3)))

    compiled = plait.compile(slope_beside_a_hill)
    with pytest.raises(plait.ConvergenceError):
        engine.maximum_a_posteriori(compiled, KEY, starts=2, init=jnp.array([[0.9], [-2.0]]))


@each
def test_float32(engine):
    with jax.enable_x64(False):
        compiled = plait.compile(bounded)
        mode = engine.maximum_a_posteriori(compiled, KEY)
    assert mode.unconstrained.dtype == mode.values["rate"].dtype == np.float32
    assert float(mode.values["rate"]) == pytest.approx(1, rel=1e-2)
    assert mode.converged


@each
def test_errors(engine):
    compiled = plait.compile(normal_mean, y=Y)
    find = engine.maximum_a_posteriori
    with pytest.raises(ValueError, match="starts=0"):
        find(compiled, KEY, starts=0)
    with pytest.raises(ValueError, match="max_iterations=0"):
        find(compiled, KEY, max_iterations=0)
    with pytest.raises(TypeError, match="one jax random key"):
        find(compiled, 0)
    with pytest.raises(plait.ValueNamesError, match=r"init has shape \(8, 1\)"):
        find(compiled, KEY, init=jnp.zeros((3, 1)))
    with pytest.raises(plait.ModelError, match="no finite log density"):
        find(compiled, KEY, init=jnp.array([np.nan]))
    with pytest.raises(plait.ModelError, match="no latent site"):
        find(nothing_to_sample(), KEY)
    with pytest.raises(ValueError, match="draws=0"):
        engine.sample(compiled, KEY, draws=0)


def test_an_optimizer_that_is_given():
    mode = by_optax.maximum_a_posteriori(plait.compile(bounded), KEY, optimizer=optax.adam(0.1), max_iterations=3000)
    assert float(mode.values["rate"]) == pytest.approx(1, rel=1e-4)
    assert mode.iterations < 3000


def test_missing_packages_name_the_extra(monkeypatch):
    compiled = plait.compile(normal_mean, y=Y)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for call in (by_optax.maximum_a_posteriori, by_optax.laplace, by_optax.sample):
        with pytest.raises(plait.MissingExtraError, match=r"optax is not installed: pip install 'plait\[samplers\]'"):
            call(compiled, KEY)
    with pytest.raises(plait.MissingExtraError, match=r"optax is not installed"):
        by_optax.minimize(lambda x: x**2, 1.0)
