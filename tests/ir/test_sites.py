"""Sites are shown in the words of the model's author."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.sites import site_lines
from plait.render import data_line

X = np.linspace(0, 1, 3)


def lines_of(model, **data) -> list[tuple[str, ...]]:
    compiled = plait.compile(model, **data)
    return [(s.name, s.text, s.shape, s.kind) for s in site_lines(compiled.graph)]


def test_kinds_of_sites():
    def model(x, seen, y):
        scale = plait.param("scale", 1.0, constraint=dist.constraints.positive)
        a = plait.sample("a", dist.Normal(0, scale))
        eta = plait.deterministic("eta", a * x)
        plait.factor("penalty", -a)
        with plait.plate("rows", 3):
            plait.sample("y", dist.Normal(eta, 0.5), obs=y, obs_mask=seen)
        with plait.plate("again", 3), plait.handlers.mask(mask=seen), plait.handlers.scale(scale=2.0):
            plait.sample("z", dist.Normal(eta, 1), obs=y)

    found = lines_of(model, x=X, seen=X > 0.1, y=X)
    assert found[:4] == [
        ("scale", "in positive", "", "param"),
        ("a", "~ Normal(0, scale)", "", "latent"),
        ("eta", "= a * x", "[3]", "deterministic"),
        ("penalty", "+= -a", "", "factor"),
    ]
    assert ("z", "~ Normal(eta, 1)", "[again:3]", "observed, masked, scaled") in found


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        (lambda a, b, x, i: a + b * x, "a + b * x"),
        (lambda a, b, x, i: (a + b) * x, "(a + b) * x"),
        (lambda a, b, x, i: a - (b - x), "a - (b - x)"),
        (lambda a, b, x, i: -(a + x) / 2, "-(a + x) / 2"),
        (lambda a, b, x, i: jnp.exp(a) * x, "exp(a) * x"),
        (lambda a, b, x, i: b[i], "b[i]"),
        (lambda a, b, x, i: b[0] + x, "b[…] + x"),
        (lambda a, b, x, i: jnp.outer(b, b)[i, 1], "(b[:, None] * b)[i, 1]"),
        (lambda a, b, x, i: jnp.outer(b, b)[i, i], "(b[:, None] * b)[i, i]"),
        (lambda a, b, x, i: b @ (x[:, None] * x), "b @ (x[:, None] * x)"),
        (lambda a, b, x, i: jnp.einsum("i,ji->j", b, x[:, None] * x), "f(b, x)"),
        (lambda a, b, x, i: jnp.cumsum(b) + x * a, "f(b) + x * a"),
        (lambda a, b, x, i: a + b + x + a * b + b * x + a / b + x / b + x, "f(a, b, x) + x"),
        (lambda a, b, x, i: a + jnp.array([1.0, 2.0, 4.0]), "a + [1, 2, 4]"),
        (lambda a, b, x, i: a * jnp.full(3, 0.5), "a * 0.5"),
    ],
)
def test_expressions(expression, shown):
    def model(x, i, y):
        a = plait.sample("a", dist.Normal(0, 1))
        b = plait.sample("b", dist.Normal(0, 1).expand([3]).to_event(1))
        with plait.plate("rows", 3):
            plait.sample("y", dist.Normal(expression(a, b, x, i), 1), obs=y)

    _, _, y = lines_of(model, x=X, i=np.array([2, 0, 1]), y=X)
    assert y == ("y", f"~ Normal({shown}, 1)", "[rows:3]", "observed")


def test_a_scan_shows_its_previous_step():
    def model(y):
        tau = plait.sample("tau", dist.HalfNormal(1))

        def step(x, y):
            x = plait.sample("x", dist.Normal(x, tau))
            plait.sample("y", dist.Normal(x, 1), obs=y)
            return x, None

        jax.lax.scan(step, 0.0, y)

    assert lines_of(model, y=X)[1:] == [
        ("x", "~ Normal(previous x, tau)", "[steps:3]", "latent"),
        ("y", "~ Normal(x, 1)", "[steps:3]", "observed"),
    ]


def test_the_data_line():
    compiled = plait.compile(lambda x: plait.sample("a", dist.Normal(x.sum(), 1)), X)
    assert data_line(compiled.data) == "x [3]"
