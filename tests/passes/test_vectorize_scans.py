"""Scans whose carries are known ahead are computed side by side, with the same density and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.ops import Apply, LogProb, Scan

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


def plain_scan(step):
    """A model whose factor is what a scan without sites leaves in its carry."""

    def model(y):
        a = plait.sample("a", dist.Uniform(0, 1))
        last, _ = jax.lax.scan(lambda c, y_t: (step(a, c, y_t), None), 0.0, y)
        plait.factor("last", last)

    return model


def primitives(graph):
    return {n.op.primitive.name for n in graph if isinstance(n.op, Apply)}


def test_a_plain_scan_is_given_what_is_costly_of_its_steps():
    graph = compare(plain_scan(lambda a, c, y: jnp.tanh(a * c) + jnp.exp(a * y)), Y, scans=1)
    (scan,) = graph.ops(Scan)
    assert "tanh" in primitives(scan.body)
    assert "exp" not in primitives(scan.body)
    assert "exp" in primitives(graph)


def test_a_step_computes_itself_what_is_cheap_if_it_would_have_to_read_more():
    graph = compare(plain_scan(lambda a, c, y: a * c * (y + 1) + c * (y * y) + y), Y, scans=1)
    (scan,) = graph.ops(Scan)
    assert scan.n_consts + scan.n_carry + 1 == len(scan.ins)
    # one array in the place of another is no more to read
    graph = compare(plain_scan(lambda a, c, y: a * c + a * (y + 1)), Y, scans=1)
    (scan,) = graph.ops(Scan)
    assert scan.n_consts + scan.n_carry + 1 == len(scan.ins)
    assert [n.type.shape for n in graph if "add" in str(getattr(n.op, "primitive", "")) and n.type.shape] == [(7,)]


def test_a_plain_scan_whose_carry_is_given_is_gone():
    compare(plain_scan(lambda a, c, y: a * y), Y, scans=0)


def test_a_plain_scan_with_branches_or_an_order_to_jax_stays():
    def branch(a, c, y):
        return c + jax.lax.cond(y > 0, lambda: jnp.sqrt(a * y), lambda: 0.0 * a)

    compare(plain_scan(branch), Y, scans=0)

    def unrolled(y):
        a = plait.sample("a", dist.Uniform(0, 1))
        plait.factor("last", jax.lax.scan(lambda c, y_t: (a * c + jnp.exp(y_t), None), 0.0, y, unroll=7)[0])

    graph = compare(unrolled, Y, scans=0)
    assert "scan" in primitives(graph)
