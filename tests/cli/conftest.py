"""What tests of the command line share: a saved model, and how a command is run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plait.cli import app

ROOT = Path(__file__).resolve().parents[2]


def run(*args: object):
    """A command in this process."""
    return CliRunner().invoke(app, [str(a) for a in args], prog_name="plait")


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Eight schools in float64 for this platform, as `plait compile` writes it; what that printed is beside it."""
    path = tmp_path_factory.mktemp("saved") / "schools.plait"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        result = run("compile", ROOT / "examples/eight_schools.py", "-o", path, "--platform", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    path.with_suffix(".txt").write_text(result.stdout, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def path_and_modules(monkeypatch):
    """A command imports the model's file, with its folder on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "__plait_model__", raising=False)
