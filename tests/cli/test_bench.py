"""``plait bench``: one model under plait and under NumPyro, compared before it is timed."""

from __future__ import annotations

import re
import sys
import textwrap

import numpy as np
import numpyro
import pytest
from typer.testing import CliRunner

import plait
from plait.cli import app
from plait.model_file import load
from plait.with_numpyro import numpyro_function

HEAD = "import numpy as np, jax, jax.numpy as jnp\nimport numpyro.distributions as dist\n"
BODY = """
def model(y):
    mu = {0}sample("mu", dist.Normal(0, 5))
    tau = {0}sample("tau", dist.HalfNormal(5))
    with {0}plate("rows", 3):
        {0}sample("y", dist.Normal(mu, tau), obs=y)
    {0}factor("f", -mu**2)

def data():
    return {{"y": np.arange(3.0)}}
"""
IMPORTS = {
    "import plait": "plait.",
    "import plait as numpyro": "numpyro.",
    "from plait import sample, plate, factor": "",
    "import numpyro": "numpyro.",
}


@pytest.fixture
def write(tmp_path):
    def write(source: str, name: str = "m.py") -> str:
        path = tmp_path / name
        path.write_text(HEAD + textwrap.dedent(source), encoding="utf-8")
        return str(path)

    return write


def run(*args: str):
    return CliRunner().invoke(app, ["bench", *args, "--repeats", "1"])


def sites_of(path: str) -> dict:
    """The trace of the file's model by NumPyro's own handlers; empty where it does not call NumPyro."""
    function = numpyro_function(load(path))
    seeded = numpyro.handlers.seed(function, 0)
    return numpyro.handlers.trace(seeded).get_trace(np.arange(3.0))


@pytest.mark.parametrize("line", IMPORTS)
def test_each_way_to_import_the_primitives(write, line):
    path = write(f"{line}\n{BODY.format(IMPORTS[line])}")
    trace = sites_of(path)
    assert {name: site["type"] for name, site in trace.items()} == {
        "mu": "sample", "tau": "sample", "rows": "plate", "y": "sample", "f": "sample",
    }  # fmt: skip
    np.testing.assert_array_equal(trace["y"]["value"], np.arange(3.0))
    assert sys.modules["plait"] is plait
    assert plait.compile(load(path).function, np.arange(3.0)).dim == 2, "the first run's model is plait's as before"


def test_handlers_and_files_beside_the_model(write, tmp_path):
    (tmp_path / "its_priors.py").write_text(
        "import plait, numpyro.distributions as dist\nfrom plait.handlers import scale\n"
        "def prior():\n    with scale(scale=2.0):\n        return plait.sample('mu', dist.Normal(0, 1))\n"
    )
    path = write("from its_priors import prior\ndef model(y): prior()\ndef data(): return {'y': np.ones(3)}")
    before = load(path).function
    assert sites_of(path)["mu"]["scale"] == 2
    assert plait.compile(before, np.ones(3)).dim == 1


def test_both_are_timed(write):
    result = run(write(f"import plait\n{BODY.format('plait.')}"), "--float32")
    assert result.exit_code == 0, result.output
    assert "2 unconstrained values, float32, cpu" in result.stdout
    assert re.search(r"agree at 3 random points: relative error \S+e-0[6-9]|0\.0e\+00", result.stdout)
    for row in ("gradient in a jit, µs", "gradient from Python, µs", "ready, s"):
        figures = re.search(rf"^{row} +(.*)$", result.stdout, re.M)[1].split()
        assert len(figures) == 6, "for each clock plait, NumPyro and their ratio"
        for mine, theirs, ratio in (figures[:3], figures[3:]):
            assert float(ratio.rstrip("x")) == pytest.approx(number(theirs) / number(mine), rel=0.02)


def number(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "for i in plait.plate('rows', 3): plait.sample(f'y_{i}', dist.Normal(a, 1), obs=y[i])",
            "not iterable (m.py:7)",
        ),
        ("plait.random_module('w', None, {})", "it calls plait.random_module, which NumPyro does not have"),
    ],
    ids=["loop", "random_module"],
)
def test_plait_alone_where_numpyro_cant_run_the_model(write, source, reason, monkeypatch):
    monkeypatch.setattr(plait, "random_module", lambda *args: None)
    path = write(
        f"""
import plait
def model(y):
    a = plait.sample("a", dist.Normal(0, 1))
    {source}
def data():
    return {{"y": np.arange(3.0)}}
"""
    )
    result = run(path)
    assert result.exit_code == 0, result.output
    assert "plait's figures stand alone" in " ".join(result.stdout.split())
    assert reason in " ".join(result.stdout.split())
    assert len(re.search(r"^gradient in a jit, µs +(.*)$", result.stdout, re.M)[1].split()) == 2


def test_densities_that_disagree_are_not_timed(write):
    """A model may do something else under NumPyro, as this one asks which library it is."""
    path = write(
        """
        import plait
        def model(y):
            a = plait.sample("a", dist.Normal(0, 1))
            if plait.__name__ == "plait" and hasattr(plait, "compiler"):
                plait.factor("f", -(a**2))
            plait.sample("y", dist.Normal(a, 1), obs=y)
        def data():
            return {"y": np.array(1.0)}
        """
    )
    result = run(path)
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert "NumPyro's density of this model is another one than plait's, so nothing is timed" in line
    assert "ready" not in result.stdout


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("plait.sample('k', dist.Poisson(3.0))", "it is discrete"),
        ("plait.sample('y', dist.Normal(0, 1), obs=1.0)", "no latent site"),
        ("plait.factor('f', jnp.log(-1 - plait.sample('a', dist.Normal(0, 1)) ** 2))", "not finite near 0"),
    ],
)
def test_what_has_no_gradient_to_time(write, body, sentence):
    result = run(write(f"import plait\ndef model(): {body}"))
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert sentence in line
