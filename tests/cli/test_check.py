"""``plait check``: the certificate as a table, the pass that breaks, and the term that is not finite."""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import plait.runtime.program as driver
from plait.cli import app
from plait.compiler.lower.evaluate import RULES
from plait.compiler.passes import PIPELINE
from plait.ir.graph import make, rewrite
from plait.ir.ops import LogProb

HEAD = "import numpy as np, jax, jax.numpy as jnp, plait\nimport numpyro.distributions as dist\n"
NORMAL = """
def model(y):
    mu = plait.sample("mu", dist.Normal(0, 5))
    tau = plait.sample("tau", dist.HalfNormal(5))
    with plait.plate("rows", 3):
        plait.sample("y", dist.Normal(mu, tau), obs=y)

def data():
    return {"y": np.arange(3.0)}
"""
LOG = """
def model(y):
    a = plait.sample("a", dist.Normal(0, 1))
    rate = jnp.log(a)
    with plait.plate("rows", 3):
        plait.sample("y", dist.Normal(rate, 1), obs=y)

def data():
    return {"y": np.arange(3.0)}
"""


@pytest.fixture
def model(tmp_path):
    def write(source: str) -> str:
        path = tmp_path / "m.py"
        path.write_text(HEAD + textwrap.dedent(source), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def point(tmp_path):
    def write(values: object) -> str:
        path: Path = tmp_path / "point.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        return str(path)

    return write


def run(*args: str):
    return CliRunner().invoke(app, ["check", *args])


def words(text: str) -> str:
    """Without the line breaks of a terminal."""
    return " ".join(text.split())


def test_a_right_model_has_a_row_for_each_pass(model):
    result = run(model(NORMAL), "--points", "1")
    assert result.exit_code == 0, result.output
    rows = {
        m[1]: m[0].split() for m in re.finditer(r"^(\w+) .*e[-+]\d\d +\S+ +\S+ +\S+e[-+]\d\d$", result.stdout, re.M)
    }
    assert list(rows) == ["trace", *(p.name for p in PIPELINE)]
    assert rows["split_stages"][1] == rows["split_stages"][2], "value and reference, in seven digits"
    assert rows["split_stages"][4] == rows["split_stages"][5], "their gradients"
    out = words(result.stdout)
    assert "every pass agrees with the reference at 1 random point, worst relative error" in out
    assert "value and gradient are finite at 20 random points" in out
    assert "\x1b" not in result.stdout


class Wrong(LogProb):
    """A log_prob that computes something else."""


def test_a_pass_that_breaks_is_named(model, monkeypatch):
    """The table ends with it; its value is the wrong one."""

    def wrong(graph):
        def rule(node, args):
            if not isinstance(node.op, LogProb) or node.op.site != "mu":
                return None
            return make(Wrong(node.op.ins, node.op.out, "mu", node.op.dist, False, False), args, node.loc)

        return rewrite(graph, rule)

    rule = RULES[LogProb]
    monkeypatch.setitem(RULES, Wrong, lambda op, args: rule(op, args) - 1.0)
    broken = tuple(replace(p, run=wrong) if p.name == "late_gathers" else p for p in PIPELINE)
    monkeypatch.setattr(driver, "PIPELINE", broken)
    result = run(model(NORMAL), "--without", "expand", "--without", "simplify_terms")
    assert result.exit_code == 1, result.output
    assert "pass 'late_gathers' changes the density" in words(result.stdout)
    value, reference = re.search(r"^late_gathers +(\S+) +(\S+)", result.stdout, re.M).groups()
    assert float(value) == pytest.approx(float(reference) - 1, abs=1e-5)
    assert not re.search(r"^unconstrain", result.stdout, re.M)


def test_random_points_that_are_not_finite(model):
    result = run(model(LOG), "--points", "1")
    assert result.exit_code == 3, result.output
    out = words(result.stdout)
    assert re.search(r"more points? ha(ve|s) no finite density|at 1 random point,", out)
    assert re.search(r"not finite at \d+ of 20 random points", out)
    assert "log probability of 'y' at rows[0] is nan (m.py:8)" in out
    assert re.search(r"loc is nan: log of -\S+ \(m.py:6\)", out)


def test_a_given_point(model, point):
    path = model(LOG)
    bad = run(path, "--points", "1", "--at", point({"a": -0.5}))
    assert (bad.exit_code, "loc is nan: log of -0.5 (m.py:6)" in bad.stdout) == (3, True), bad.output
    good = run(path, "--points", "1", "--at", point({"a": 0.5}))
    assert good.exit_code == 0, good.output
    assert "log joint" in good.stdout
    assert "log density" in good.stdout


def test_a_point_may_leave_sites_out(model, point):
    result = run(model(NORMAL), "--points", "1", "--at", point({"mu": 0.5}))
    assert result.exit_code == 0, result.output
    assert "random values (seed 0) for what the point leaves out: tau" in words(result.stdout)


def test_a_model_that_is_finite_nowhere_proves_nothing(model):
    source = LOG.replace("jnp.log(a)", "jnp.log(-jnp.abs(a))")
    result = run(model(source))
    assert result.exit_code == 3, result.output
    out = words(result.stdout)
    assert "nothing is proved: the density is not finite at any of 20 random points" in out
    assert "not finite at 20 of 20 random points" in out


def test_a_discrete_latent_is_looked_at_where_the_prior_draws(model):
    source = """
    def model():
        k = plait.sample("k", dist.Bernoulli(0.5))
        plait.sample("x", dist.Normal(jnp.log(k - 2.0), 1), obs=0.0)
    """
    result = run(model(source), "--points", "1")
    assert result.exit_code == 3, result.output
    assert "a prior draw (seed 0), as the model has no unconstrained density" in words(result.stdout)
    assert re.search(r"log of -[12].0 \(m.py:6\)", result.stdout)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [({"b": 1.0}, "no latent 'b'"), ({"a": [1.0, 2.0]}, "shape"), ([1], "expected an object keyed by site names")],
)
def test_a_wrong_point_is_one_line(model, point, values, sentence):
    result = run(model(LOG), "--at", point(values))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert sentence in line
    assert "certificate" not in result.stdout, "it is looked at before the slow part"
