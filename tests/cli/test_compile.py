"""``plait compile`` and ``plait info``: what is written, what is said of it, and what is never overwritten."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pty
import re
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

import plait
from plait.commands.compile import Summary
from plait.compiler.passes import PIPELINE
from plait.compiler.report import Report
from plait.runtime.artifact import container
from plait.runtime.artifact.about import SavedArray, SavedFunctions, SavedInfo, SavedSite
from plait.runtime.artifact.parts import PARTS
from tests.cli.conftest import ROOT, run

EIGHT_SCHOOLS = ROOT / "examples/eight_schools.py"
HEAD = "import numpy as np, jax, jax.numpy as jnp, plait\nimport numpyro.distributions as dist\n"
TINY = """
def model(y):
    mu = plait.sample("mu", dist.Normal(0, 5))
    plait.sample("y", dist.Normal(mu, 1), obs=y)

def data():
    return {"y": np.arange(3.0)}
"""
DRAWN = """
def model(y, power):
    w = plait.param("w", lambda key: jax.random.normal(key, (2,)))
    k = plait.sample("k", dist.Poisson(3.0))
    plait.sample("y", dist.Normal(w.sum() + k**power, 1), obs=y)

def data():
    return {"y": np.arange(3.0), "power": 2}
"""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path):
    def write(source: str, name: str = "m.py") -> Path:
        path = tmp_path / name
        path.write_text(HEAD + textwrap.dedent(source), encoding="utf-8")
        return path

    return write


def error_of(*args: object) -> str:
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


# -- plait compile ----------------------------------------------------------------------------------------


def test_the_summary(saved):
    out = saved.with_suffix(".txt").read_text(encoding="utf-8")
    assert out.startswith("eight_schools.py: eight_schools   data: sigma [8], y [8]\n  mu     ~ Normal(0, 5) ")
    size = saved.stat().st_size
    assert re.search(rf"^{re.escape(str(saved))}: {size / 1000:.3g} kB, \d+ functions for cpu$", out, re.M)
    assert re.search(r"^10 unconstrained values, float64; compiled in [\d.]+ s, exported in [\d.]+ s$", out, re.M)


def test_the_file_is_the_compiled_model(saved):
    from plait.model_file import load

    with jax.enable_x64(True):
        compiled = plait.compile(load(str(EIGHT_SCHOOLS)).function, **load(str(EIGHT_SCHOOLS)).data)
        loaded = plait.load(saved)
        z = np.linspace(-1, 1, 10)
        value, gradient = compiled.log_density_and_grad(z)
        found = loaded.log_density_and_grad(z)
    np.testing.assert_allclose(found[0], value, 1e-12)
    np.testing.assert_allclose(found[1], gradient, 1e-12)


def test_json_and_the_default_name(write):
    write(TINY)
    result = run("compile", "m.py:model", "--platform", "cpu", "--dtype", "float32", "--json", "--without", "fuse")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert Summary.from_json(found).file == "m.model.plait"
    path = Path("m.model.plait")
    assert (found["schema"], found["file"], found["bytes"]) == ("plait.compile/1", str(path), path.stat().st_size)
    assert (found["precision"], found["platforms"], found["dim"]) == ("float32", ["cpu"], 1)
    assert found["sites"] == ["mu", "y"]
    assert found["seconds"].keys() == {"compile", "export"}
    assert plait.load(path).dtype == np.float32
    assert "compiled in float32, and float64 is asked for" in error_of("sample", path, "--float64")
    again = run("compile", "m.py", "-o", path, "--platform", "cpu")
    assert again.exit_code == 0, "a saved model is written anew"
    assert json.loads(run("info", path, "--json").stdout)["precision"] == "float64"


def test_what_is_not_overwritten(write):
    path = write(TINY)
    before = path.read_bytes()
    assert "m.py is no saved model and is not overwritten" in error_of("compile", path, "-o", path)
    Path("notes.txt").write_text("mine")
    assert "is not overwritten" in error_of("compile", path, "-o", "notes.txt")
    assert "there is no folder nowhere" in error_of("compile", path, "-o", "nowhere/m.plait")
    assert "it is a folder" in error_of("compile", path, "-o", ".")
    assert path.read_bytes() == before
    assert Path("notes.txt").read_text() == "mine"


def test_a_saved_model_is_not_compiled_again(saved):
    assert error_of("compile", saved) == f"{saved} is compiled: give the MODEL.py that it was made of"


def test_an_unknown_platform_is_refused_at_once(write):
    result = run("compile", write(TINY), "--platform", "gpu")
    assert result.exit_code == 2
    assert "'cpu', 'cuda', 'rocm', 'tpu'" in result.stderr


def test_rows_of_no_data_are_refused_by_name(write):
    assert "there is no data array for rows= 'x'" in error_of(
        "compile", write(TINY), "--platform", "cpu", "--rows", "x"
    )


def test_precision_is_said_once(write):
    assert "--dtype float32 and --float64 contradict" in error_of(
        "compile", write(TINY), "--dtype", "float32", "--float64"
    )


def test_random_params_are_drawn_and_a_model_without_density_is_saved(write):
    write(DRAWN)
    result = run("compile", "m.py", "--platform", "cpu", "--seed", "3", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["dim"] is None
    assert "the random ones drawn with seed 3" in result.stderr
    with jax.enable_x64(True):
        loaded = plait.load("m.plait")
        assert not loaded.has_random_params
        assert loaded.params["w"].shape == (2,)
    found = json.loads(run("info", "m.plait", "--json").stdout)
    assert found["dim"] is None
    assert "it is discrete" in found["no_log_density"]
    assert found["static"] == {"power": "2"}
    assert found["params"] == "bound"
    text = run("info", "m.plait").stdout
    assert re.search(r"^fixed +power = 2 *$", text, re.M)
    assert re.search(r"^log density +none: latent 'k' has no unconstrained density", text, re.M)
    checked = run("check", "m.plait")
    assert checked.exit_code == 0, checked.output
    assert "every term is finite at a prior draw (seed 0)" in " ".join(checked.stdout.split())


def test_progress_names_each_pass_and_each_part_that_is_exported(write, monkeypatch):
    seen = []
    monkeypatch.setattr("plait.commands.compile.reporting", lambda _: contextlib.nullcontext(seen.append))
    result = run("compile", write(TINY), "--platform", "cpu", "--without", "fuse")
    assert result.exit_code == 0, result.output
    compiling = [p for p in seen if p.phase == "compile the model"]
    passes = [p.name for p in PIPELINE if p.name != "fuse"]
    assert [p.step for p in compiling] == ["trace", *passes, "data", ""]
    assert [p.done for p in compiling] == list(range(len(passes) + 3))
    assert {p.total for p in compiling} == {len(passes) + 2}
    exporting = seen[len(compiling) :]
    assert [p.done for p in exporting] == list(range(exporting[0].total + 1))
    assert list(dict.fromkeys(p.step for p in exporting)) == ["data", "whole", *PARTS, "unscaled", ""]


def test_progress_is_shown_on_a_terminal(write):
    path = write(TINY)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "plait", "compile", str(path), "--platform", "cpu", "--json"]
    environment = os.environ | {"COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True, env=environment) as child:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # how Linux says that the other end is closed
            pass
        out = child.stdout.read()
    os.close(ours)
    assert child.returncode == 0, shown
    assert json.loads(out)["sites"] == ["mu", "y"]
    lines = re.sub(r"\x1b\[[\d;?]*\w", "", shown.decode())
    assert re.search(r"compile the model .*18/18", lines)
    total = json.loads(out)["functions"]
    assert f"{total}/{total}" in lines


# -- plait info -------------------------------------------------------------------------------------------


def test_info_says_what_is_in_the_file(saved):
    result = run("info", saved)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("schools.plait   ")
    for line in (
        r"  tau    ~ HalfCauchy\(5\) +latent +positive numbers",
        r"  obs    ~ Normal\(theta, sigma\)  \[schools:8\]  observed",
        "log density  of 10 unconstrained values, compiled in float64",
        r"data         sigma  float64\[8\]",
        "runs on      cpu; also here, on cpu",
        rf"jax          {jax.__version__}; here {jax.__version__}; in Python with jax_enable_x64",
    ):
        assert re.search(f"^{line} *$", result.stdout, re.M), line
    found = json.loads(run("info", saved, "--json").stdout)
    assert SavedInfo.from_json(found).bytes == sum(found["members"].values())
    assert found["dim"] == 10
    assert [(s["name"], s["kind"]) for s in found["sites"]][-2:] == [("theta", "deterministic"), ("obs", "observed")]
    with jax.enable_x64(True):
        assert found["data"] == [
            {"name": name, "dtype": str(x.dtype), "shape": list(x.shape), "any_rows": False}
            for name, x in plait.load(saved).data.items()
        ]


def test_info_reads_what_cant_run_here(saved, monkeypatch):
    """Of another platform; plait.load refuses it, and so do the commands that run it."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    found = json.loads(run("info", saved, "--json").stdout)
    assert (found["here"], found["runs_here"]) == ("tpu", False)
    assert "runs on      cpu; not here, on tpu" in run("info", saved).stdout
    assert "was saved for cpu, and this process runs on tpu" in error_of("sample", saved)


def test_files_that_are_no_saved_models(saved, tmp_path):
    whole = saved.read_bytes()
    damaged = tmp_path / "damaged.plait"
    damaged.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    assert "is damaged" in error_of("info", damaged)
    newer = bytearray(whole[:-32])
    newer[8:12] = struct.pack("<I", container.VERSION + 1)
    damaged.write_bytes(bytes(newer) + hashlib.sha256(newer).digest())
    assert f"has format {container.VERSION + 1}" in error_of("info", damaged)
    damaged.write_text("hello")
    assert "is no saved model" in error_of("info", damaged)
    assert "plait compile" in error_of("info", EIGHT_SCHOOLS)
    assert error_of("info", "damage.plait").endswith("did you mean damaged.plait?")


def test_a_saved_model_may_have_any_name(saved, tmp_path):
    path = tmp_path / "schools.bin"
    path.write_bytes(saved.read_bytes())
    assert run("info", path).stdout.startswith("schools.bin   ")


# -- both -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Summary, SavedInfo, SavedSite, SavedArray, SavedFunctions])
def test_every_field_is_documented(cls):
    page = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|([^|]*)\|", page, re.M)
    known = {name.strip(" `") for row in rows for name in row.split(",")}
    assert {f.name for f in dataclasses.fields(cls)} <= known
    assert not issubclass(cls, Report) or re.search(f"^## .*: `{cls.schema}`$", page, re.M)
