"""The command line: what it prints, and one line with exit code 2 for whatever is wrong with a model."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import plait
from plait.cli import app
from plait.compiler.explanation import Explanation
from plait.model_file import load
from tests.helpers import open_netcdf
from tests.runtime.posteriors import eight_schools_means

ROOT = Path(__file__).resolve().parents[2]
EIGHT_SCHOOLS = "examples/eight_schools.py"
HEAD = "import numpy as np, jax.numpy as jnp, plait\nimport numpyro.distributions as dist\n"
SHORT = ["--warmup", "20", "--draws", "20", "--chains", "2"]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """As in a shell at the root of the repository; a model file is imported, with its folder on the path."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def model(tmp_path):
    """Writes a model file, three lines of imports first."""

    def write(source: str) -> str:
        path = tmp_path / "m.py"
        path.write_text(HEAD + textwrap.dedent(source), encoding="utf-8")
        return str(path)

    return write


def run(*args: str):
    return CliRunner().invoke(app, args)


def error_of(*args: str, code: int = 2) -> str:
    """The one line of an error."""
    result = run(*args)
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# -- plait sample ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eight_schools(tmp_path_factory):
    """(what a whole run prints, the draws that it writes)."""
    output = tmp_path_factory.mktemp("draws") / "draws.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        result = run("sample", EIGHT_SCHOOLS, "--target-accept", "0.9", "-o", str(output))
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout, np.load(output)


def test_eight_schools_has_its_posterior(eight_schools):
    out, _ = eight_schools
    data = load(EIGHT_SCHOOLS).data
    for name, exact in eight_schools_means(**data, tau_prior="HalfCauchy").items():
        row = re.search(rf"^{name} +([-\d. ]+)$", out, re.M)[1]
        mean, sd, _, _, ess, _, r_hat = map(float, row.split())
        assert abs(mean - exact) < 5 * sd / ess**0.5
        assert r_hat < 1.02


def test_sites_plan_and_table_are_shown(eight_schools):
    out, _ = eight_schools
    assert out.startswith("eight_schools.py: eight_schools   data: sigma [8], y [8]\n")
    for line in (
        r"  mu     ~ Normal\(0, 5\) +latent",
        r"  raw    ~ Normal\(0, 1\) +\[schools:8\]  latent",
        r"  theta  = mu \+ tau \* raw +\[8\] +deterministic",
        r"  obs    ~ Normal\(theta, sigma\)  \[schools:8\]  observed",
        r"log density of 10 unconstrained values, compiled in .* s:",
        r"4 chains × 1000 draws, 1000 warm-up each, in .* s: step size .*, \d+ divergences",
        r" +mean +sd +hdi_3% +hdi_97% +ess_bulk +ess_tail +r_hat",
        r"theta\[7\] .*",
    ):
        assert re.search(f"^{line} *$", out, re.M), line
    assert "\x1b" not in out


def test_draws_are_written(eight_schools):
    _, draws = eight_schools
    assert {name: draws[name].shape for name in draws} == {
        "mu": (4, 1000),
        "tau": (4, 1000),
        "raw": (4, 1000, 8),
        "theta": (4, 1000, 8),
    }
    assert draws["mu"].dtype == np.float64


def test_another_sampler_and_a_file_for_arviz(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = tmp_path / "draws.nc"
    result = run("sample", EIGHT_SCHOOLS, "--sampler", "scipy", "--draws", "50", "--save", str(path))
    assert result.exit_code == 0, result.output
    assert re.search(r"^4 chains × 50 draws, in [\d.]+ s: log evidence ", result.stdout, re.M)
    saved = open_netcdf(path)
    assert saved["posterior"]["theta"].dims == ("chain", "draw", "schools")
    assert saved["posterior_predictive"]["obs"].shape == (4, 50, 8)
    assert saved["log_likelihood"]["obs"].shape == (4, 50, 8)
    assert saved["prior"]["mu"].shape == (1, 500)
    assert saved["constant_data"]["sigma"].shape == (8,)
    assert saved["sample_stats"]["log_density"].shape == (4, 50)


def test_options_of_a_sampler_are_its_own():
    assert "no sampler 'nutpy'; did you mean 'nutpie'?" in error_of("sample", EIGHT_SCHOOLS, "--sampler", "nutpy")
    wrong = error_of("sample", EIGHT_SCHOOLS, "--sampler", "emcee", "--target-accept", "0.9")
    assert wrong == "emcee has no option 'target_accept'; it has walkers, warmup, draws, thin, moves, init"
    assert "it has live" in error_of("sample", EIGHT_SCHOOLS, "--sampler", "dynesty", "--set", "chains=3")
    assert "NAME=VALUE, got 'a'" in error_of("sample", EIGHT_SCHOOLS, "--set", "a")


def test_an_improper_prior_is_saved_without_its_draws(model, tmp_path):
    path = model(
        """
        def model(y):
            mu = plait.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
            plait.sample("y", dist.Normal(mu, 1), obs=y)
        def data():
            return {"y": 1.0}
        """
    )
    result = run("sample", path, "--sampler", "scipy", "--draws", "10", "--save", str(tmp_path / "draws.nc"))
    assert result.exit_code == 0, result.output
    assert "warning: no prior draws are saved: site 'mu'" in " ".join(result.stdout.split())
    assert open_netcdf(tmp_path / "draws.nc")["posterior_predictive"]["y"].shape == (4, 10)


def test_short_chains_are_warned_about(model):
    path = model(
        """
        def model(y):
            mu = plait.sample("mu", dist.Normal(0, 1))
            with plait.plate("groups", 30):
                theta = plait.sample("theta", dist.Normal(mu, 1))
            plait.sample("y", dist.Normal(theta.sum(), 1), obs=y)
        def data():
            return {"y": 1.0}
        """
    )
    result = run("sample", path, *SHORT, "--float32")
    assert result.exit_code == 0, result.output
    assert "warning: the effective sample size is below 200 for " in result.stdout
    assert "theta[7]" in result.stdout
    assert not re.search(r"^theta\[8\] ", result.stdout, re.M), "the table shows a long site in part"
    assert "… 22 more of theta" in result.stdout


def test_params_are_held_fixed(model):
    path = model(
        """
        def model(y):
            m = plait.param("m", lambda key: 1.0)
            mu = plait.sample("mu", dist.Normal(m, 1))
            plait.sample("y", dist.Normal(mu, 1), obs=y)
        def data():
            return {"y": np.ones(3)}
        """
    )
    result = run("sample", path, *SHORT, "--all")
    assert result.exit_code == 0, result.output
    assert "warning: params are held at their initial values" in result.stdout


# -- plait show, plait explain --------------------------------------------------------------------------


def test_show_prints_the_traced_graph():
    result = run("show", EIGHT_SCHOOLS)
    assert result.exit_code == 0
    assert result.stdout.startswith("sigma: f64[8] = data 'sigma'\n")
    assert "obs: f64[schools:8] = observe Normal(theta, sigma) obs=y\n" in result.stdout


def test_show_in_float32_with_lines():
    result = run("show", EIGHT_SCHOOLS, "--float32", "--lines")
    line = 1 + (ROOT / EIGHT_SCHOOLS).read_text().splitlines().index('    mu = plait.sample("mu", dist.Normal(0, 5))')
    assert f"mu: f32[] = sample Normal(0, 5)  # eight_schools.py:{line}\n" in result.stdout


def test_show_after_a_pass():
    assert "log density = " in run("show", EIGHT_SCHOOLS, "--after", "unconstrain").stdout
    assert error_of("show", EIGHT_SCHOOLS, "--after", "unconstrian").endswith("did you mean 'unconstrain'?")
    both = ["--after", "simplify", "--without", "simplify"]
    assert "both asked for and switched off" in error_of("show", EIGHT_SCHOOLS, *both)


def test_show_survives_what_a_later_pass_refuses(model):
    path = model(
        "def model(y): plait.sample('y', dist.Normal(0, 1), obs=y)\ndef data(): return {'y': np.array(np.nan)}"
    )
    assert "observe Normal(0, 1)" in run("show", path).stdout


def test_show_dot():
    assert run("show", EIGHT_SCHOOLS, "--dot").stdout.startswith("digraph")


def test_show_json():
    graph = json.loads(run("show", EIGHT_SCHOOLS, "--json").stdout)
    assert graph["schema"] == "plait.graph/1"
    (obs,) = [n for n in graph["nodes"] if n["kind"] == "observed"]
    assert (obs["id"], obs["site"]["distribution"]) == ("obs", "Normal(theta, sigma)")
    assert obs["loc"]["file"] == str(ROOT / EIGHT_SCHOOLS)


def test_show_json_after_a_pass():
    graph = json.loads(run("show", EIGHT_SCHOOLS, "--json", "--after", "fuse", "--float32").stdout)
    (density,) = [out["node"] for out in graph["outputs"] if out["role"] == "log density"]
    assert {n["id"]: n["type"]["dtype"] for n in graph["nodes"]}[density] == "float32"


def test_a_graph_is_shown_in_one_form():
    assert error_of("show", EIGHT_SCHOOLS, "--dot", "--json").startswith("--dot and --json exclude each other")
    assert error_of("show", "no_such_file.py", "--json") == "there is no file no_such_file.py"


def test_explain_json_prints_as_explain_does():
    printed = run("explain", EIGHT_SCHOOLS).stdout
    back = Explanation.from_json(json.loads(run("explain", EIGHT_SCHOOLS, "--json").stdout))
    assert printed.startswith(f"{back}\n")


def test_explain():
    result = run("explain", EIGHT_SCHOOLS, "--without", "simplify")
    assert result.exit_code == 0
    assert "HalfCauchy(5)" in result.stdout
    assert "trace" in result.stdout
    assert "simplify " not in result.stdout


def test_version():
    assert run("--version").stdout == f"plait {plait.__version__}\n"


# -- errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["sample", "show", "explain"])
def test_a_missing_file(command):
    assert error_of(command, "examples/eight_school.py").endswith("did you mean examples/eight_schools.py?")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def model(:", "SyntaxError: invalid syntax (m.py:3)"),
        ("x = undefined", "NameError: name 'undefined' is not defined (m.py:3)"),
        ("def model(): pass\ndef data(): return 1 / 0", "ZeroDivisionError: division by zero (m.py:4)"),
        ("def model(x): x.nothing()\ndef data(): return {'x': np.ones(2)}", "(m.py:3)"),
        ("def model(x): return jnp.ones(4) + x\ndef data(): return {'x': np.ones(3)}", "(4,), (3,) (m.py:3)"),
        ("def model(): plait.sample('a', 3)", "(m.py:3)"),
        ("def model():\n    for _ in range(2): plait.sample('a', dist.Normal(0, 1))", "'a'"),
        ("def model(): plait.sample('k', dist.Poisson(3.0))", "it is discrete"),
        ("def model(): pass", "the model has no latent site, so there is nothing to sample"),
        ("def model(y): plait.sample('y', dist.Exponential(1), obs=y)\ndef data(): return {'y': -np.ones(2)}", "'y'"),
    ],
)
def test_errors_of_a_model(model, source, sentence):
    assert sentence in error_of("sample", model(source))


def test_errors_of_the_command():
    assert "no pass 'simplfy'; did you mean 'simplify'?" in error_of("sample", EIGHT_SCHOOLS, "--without", "simplfy")
    assert "does not end in .nc or .npz" in error_of("sample", EIGHT_SCHOOLS, "-o", "draws.csv")
    assert "there is no folder nowhere" in error_of("sample", EIGHT_SCHOOLS, "-o", "nowhere/draws.npz")
    assert run("sample", EIGHT_SCHOOLS, "--chains", "0").exit_code == 2
    assert run("sample").exit_code == 2


def test_a_sampler_that_fails(monkeypatch):
    def broken(*args, **kwargs):
        raise MemoryError("out of\nmemory")

    monkeypatch.setattr(plait.samplers.blackjax, "sample", broken)
    assert error_of("sample", EIGHT_SCHOOLS, code=1) == "the sampler failed: MemoryError: out of"


def test_a_defect_of_plait(monkeypatch):
    monkeypatch.setattr(plait, "compile", lambda *args, **kwargs: 1 / 0)
    line = error_of("show", EIGHT_SCHOOLS, code=1)
    assert line == "ZeroDivisionError: division by zero (not in your file: --debug shows where)"


def test_debug_shows_the_traceback(model):
    result = run("show", model("x = undefined"), "--debug")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: NameError")


# -- as a process ---------------------------------------------------------------------------------------


COMMAND = [sys.executable, "-m", "plait"]


def test_an_error_is_one_line():
    done = subprocess.run([*COMMAND, "sample", "no.py"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no file no.py\n"


def test_progress_on_a_terminal_alone():
    """Live bars on a standard error that is a terminal, none of it in a standard output that is a pipe."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, "sample", EIGHT_SCHOOLS, *SHORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=ROOT) as child:
        os.close(theirs)
        shown = _all_of(ours)
        out = child.stdout.read()
    assert child.returncode == 0
    assert "\x1b" not in out
    assert "warm-up" not in out.replace("20 warm-up each", "")
    for text in ("compiling the sampler", "warm-up", "draws", "20/20", "step size", "divergences"):
        assert text in shown


def _all_of(terminal: int) -> str:
    """What is written to a terminal until nobody holds it; reading on, or the writer would block."""
    parts = []
    with open(terminal, "rb", buffering=0) as stream:
        try:
            while part := stream.read(4096):
                parts.append(part)
        except OSError:  # how Linux says that the other end is closed
            pass
    return b"".join(parts).decode()
