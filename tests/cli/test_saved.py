"""The commands on a saved model: as on its source, or one sentence that says why not."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import plait
from plait.compiler.explanation import Explanation
from tests.cli.conftest import ROOT, run
from tests.helpers import open_netcdf

EIGHT_SCHOOLS = ROOT / "examples/eight_schools.py"
QUICK = ("--sampler", "scipy", "--draws", "50")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def json_file(tmp_path):
    def write(values: object) -> str:
        path = tmp_path / "values.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        return str(path)

    return write


def error_of(*args: object) -> str:
    result = run(*args)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


def means(out: str) -> dict[str, float]:
    return {name: float(mean) for name, mean in re.findall(r"^(\w+(?:\[\d\])?) +(-?[\d.]+) .* \d\.\d{3}$", out, re.M)}


def test_sample_draws_what_the_source_draws(saved, tmp_path):
    """The same table of sites, the same draws of the same seed, and a whole file for ArviZ."""
    files = tmp_path / "source.npz", tmp_path / "saved.npz"
    outs = []
    for target, file in zip((EIGHT_SCHOOLS, saved), files, strict=True):
        result = run("sample", target, *QUICK, "-o", file)
        assert result.exit_code == 0, result.output
        outs.append(result.stdout.splitlines())
    source, from_file = outs
    assert from_file[0] == "schools.plait   data: sigma [8], y [8]"
    assert from_file[1:6] == source[1:6], "the sites"
    assert re.fullmatch(r"log density of 10 unconstrained values, loaded in [\d.]+ s:", from_file[7])
    a, b = map(np.load, files)
    assert sorted(a) == sorted(b)
    for name in a:
        np.testing.assert_allclose(b[name], a[name], rtol=1e-4, atol=1e-4)


def test_new_data_and_a_file_for_arviz(saved, json_file, tmp_path):
    """Whole numbers in JSON are numbers for a model of floats."""
    new = json_file({"y": [100, 100, 100, 100, 100, 100, 100, 100]})
    result = run("sample", saved, *QUICK, "--data", new, "--save", tmp_path / "draws.nc")
    assert result.exit_code == 0, result.output
    draws = open_netcdf(tmp_path / "draws.nc")
    assert (draws["observed_data"]["obs"] == 100).all()
    assert draws["log_likelihood"]["obs"].shape == (4, 50, 8)
    assert draws["posterior_predictive"]["obs"].dims == (
        "chain",
        "draw",
        "schools",
    )
    assert float(draws["posterior"]["theta"].mean()) > 15
    assert "there is no argument" in (wrong := error_of("sample", saved, "--data", json_file({"z": [1.0]}))) or (
        "'z'" in wrong
    )
    assert "compiled for f64[8]" in error_of("sample", saved, "--data", json_file({"y": [1.0, 2.0]}))


def test_neither_the_source_nor_numpyro_is_needed(saved):
    """A process without NumPyro."""
    code = (
        "import sys; sys.modules['numpyro'] = None; from plait.cli import app;"
        f"app(['explain', {str(saved)!r}], standalone_mode=False);"
        f"app(['show', {str(saved)!r}], standalone_mode=False); app(['check', {str(saved)!r}], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "value and gradient are finite at 20 random points" in done.stdout


def test_explain_and_show_print_as_of_the_source(saved):
    for args in (
        ("explain",),
        ("explain", "--json"),
        ("show",),
        ("show", "--lines"),
        ("show", "--dot"),
        ("show", "--after", "split_stages"),
        ("show", "--json", "--after", "split_stages"),
    ):
        command, *options = args
        source, from_file = (run(command, target, *options) for target in (EIGHT_SCHOOLS, saved))
        assert from_file.exit_code == 0, from_file.output
        assert from_file.stdout == source.stdout, args
    back = Explanation.from_json(json.loads(run("explain", saved, "--json").stdout))
    assert back.passes[0][0] == "trace"


def test_what_is_printed_was_written_when_it_was_compiled(saved, json_file):
    assert error_of("show", saved, "--after", "fuse").startswith(
        f"{saved} holds the graphs as traced and after the last pass: --after trace or --after split_stages"
    )
    data = json_file({"y": [0.0] * 8})
    for command in ("show", "explain"):
        assert "give its MODEL.py with --data" in error_of(command, saved, "--data", data)
        assert "give its MODEL.py with --without" in error_of(command, saved, "--without", "fuse")
    assert "give --without to `plait compile`" in error_of("sample", saved, "--without", "fuse")


def test_a_file_decides_the_precision(saved):
    before = jax.dtypes.canonicalize_dtype(np.float64)
    assert run("check", saved, "--dtype", "float64").exit_code == 0
    assert jax.dtypes.canonicalize_dtype(np.float64) == before
    for option in (("--float32",), ("--dtype", "float32")):
        wrong = error_of("sample", saved, *option)
        assert wrong.startswith(f"{saved} was compiled in float64, and float32 is asked for")


def test_check_looks_at_points(saved, json_file):
    result = run("check", saved)
    assert result.exit_code == 0, result.output
    out = " ".join(result.stdout.split())
    assert f"no pass is proved: {saved} holds no source to compare with" in out
    assert "value and gradient are finite at 20 random points" in out
    point = {"mu": 1.0, "tau": 2.0, "raw": [0.5] * 8}
    good = run("check", saved, "--at", json_file(point))
    assert good.exit_code == 0, good.output
    with jax.enable_x64(True):
        joint = float(plait.load(saved).log_joint({k: np.asarray(v) for k, v in point.items()}))
    assert float(re.search(r"log joint (\S+) nats: every term is finite", good.stdout)[1]) == pytest.approx(joint, 1e-9)
    bad = run("check", saved, "--at", json_file(point | {"raw": [0.5] * 7 + [1e200]}))
    assert bad.exit_code == 3, bad.output
    line = 1 + EIGHT_SCHOOLS.read_text().splitlines().index('        raw = plait.sample("raw", dist.Normal(0, 1))')
    assert f"log probability of 'raw' at [7] is -inf (eight_schools.py:{line})" in bad.stdout
    assert "no latent 'b'" in error_of("check", saved, "--at", json_file({"b": 1.0}))


def test_bench_times_plait_alone(saved):
    result = run("bench", saved, "--repeats", "1")
    assert result.exit_code == 0, result.output
    out = " ".join(result.stdout.split())
    assert "schools.plait holds no source for NumPyro to run, so plait's figures stand alone" in out
    assert "ready: load and first gradient" in out
    assert len(re.search(r"^gradient in a jit, µs +(.*)$", result.stdout, re.M)[1].split()) == 2
