"""Scans whose carries are known ahead are computed side by side, with the same density and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.ops import LogProb, Scan

Y = np.random.default_rng(0).normal(size=7)


def compare(model, *args, scans):
    """The default compile and the one with its scans as they are; `scans` are left of the former's."""
    with jax.enable_x64(True):
        compiled = plait.compile(model, *args)
        plain = plait.compile(model, *args, passes={"vectorize_scans": False})
        z = np.random.default_rng(1).uniform(-1, 1, compiled.dim)
        for got, wanted in zip(compiled.log_density_and_grad(z), plain.log_density_and_grad(z), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11)
        values = compiled.constrain(z)
        for name, term in plain.log_prob_terms(values).items():
            np.testing.assert_allclose(compiled.log_prob_terms(values)[name], term, rtol=1e-11)
    graph = dict(compiled.history)["vectorize_scans"]
    assert len(graph.of(Scan)) == scans
    return graph


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lag", [1, 2, 3, 9])
def test_an_autoregression_reads_a_shifted_array(lag, reverse):
    def model(y):
        phi = plait.sample("phi", dist.Normal(0, 1))

        def step(past, t):
            x = plait.sample("x", dist.Normal(phi * past[0] + 0.1 * t, 1))
            return (*past[1:], x), x

        last, xs = jax.lax.scan(step, tuple(jnp.arange(1.0, lag + 1)), jnp.arange(7.0), reverse=reverse)
        plait.sample("y", dist.Normal(xs + last[-1], 1), obs=y)

    graph = compare(model, Y, scans=0)
    assert sum(isinstance(n.op, LogProb) for n in graph) == 3


def test_a_carry_that_needs_itself_stays_in_a_scan_that_does_nothing_else():
    def model(y):
        a = plait.sample("a", dist.Uniform(0, 1))

        def step(carry, y_t):
            level, before = carry
            plait.sample("y", dist.Normal(level + before, 1), obs=y_t)
            return (a * y_t + (1 - a) * level, y_t), None

        jax.lax.scan(step, (0.0, 0.0), y)

    graph = compare(model, Y, scans=1)
    (scan,) = graph.ops(Scan)
    assert not scan.body.of(LogProb)
    assert scan.n_carry == 1


def test_what_every_step_shares_is_computed_once():
    def model(y):
        s = plait.sample("s", dist.HalfNormal(1))

        def step(before, y_t):
            x = plait.sample("x", dist.Normal(before, jnp.exp(s)))
            plait.sample("y", dist.Normal(x, jnp.exp(s)), obs=y_t)
            return x, None

        jax.lax.scan(step, 0.0, y)

    graph = compare(model, Y, scans=0)
    assert [n.type.shape for n in graph if getattr(getattr(n.op, "primitive", None), "name", "") == "exp"] == [()]


def test_a_scan_in_a_scan():
    def model(y):
        s = plait.sample("s", dist.HalfNormal(1))

        def outer(before, row):
            def inner(x, y_t):
                x = plait.sample("x", dist.Normal(x, s))
                plait.sample("y", dist.Normal(x, 1), obs=y_t)
                return x, None

            last, _ = jax.lax.scan(inner, before, row)
            return last, None

        jax.lax.scan(outer, 0.0, y)

    compare(model, np.random.default_rng(3).normal(size=(3, 4)), scans=0)


def test_plates_and_events_in_the_body():
    def model(y):
        L = plait.sample("L", dist.LKJCholesky(2, 1.0))

        def step(before, row):
            with plait.plate("units", 3):
                x = plait.sample("x", dist.MultivariateNormal(before, scale_tril=L))
                plait.sample("y", dist.Normal(x, 1).to_event(1), obs=row)
            return x, None

        jax.lax.scan(step, jnp.zeros((3, 2)), y)

    compare(model, np.random.default_rng(3).normal(size=(4, 3, 2)), scans=0)


def test_indices_in_a_loops_body_are_checked_like_others():
    def model(g, y):
        with plait.plate("groups", 3):
            b = plait.sample("b", dist.Normal(0, 1))

        def step(carry, row):
            plait.sample("y", dist.Normal(b[row[0]], 1), obs=row[1])
            return carry, None

        jax.lax.scan(step, 0.0, (g, y))

    with pytest.raises(plait.DataError, match="index 'g' is out of range"):
        plait.compile(model, np.array([0, 1, 3]), np.zeros(3))
