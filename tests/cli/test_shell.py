"""What a shell sees: completion, exit codes in the help, and a cache of compiled code that is asked for."""

from __future__ import annotations

import re
import subprocess
import sys

import jax
import pytest
from typer.testing import CliRunner

from plait.cli import COMMANDS, app, imported
from tests.cli.conftest import ROOT, run


def completed(line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_PLAIT_COMPLETE": "complete_bash"}
    return CliRunner().invoke(app, [], prog_name="plait", env=words).stdout.split()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("plait sam", ["sample"]),
        ("plait c", ["check", "compile"]),
        ("plait sample m.py --sampler blackjax.s", ["blackjax.smc"]),
        ("plait sample m.py --without sta", ["stabilize", "stabilize_terms"]),
        ("plait sample m.py --without unc", []),
        ("plait show m.py --after unc", ["unconstrain"]),
        ("plait compile m.py --platform c", ["cpu", "cuda"]),
        ("plait check m.py --dtype float", ["float64", "float32"]),
        ("plait compile m.py --comp", ["--compilation-cache"]),
    ],
)
def test_a_shell_completes(line, wanted):
    assert completed(line) == wanted


def test_completion_as_a_process():
    """As the script that `--show-completion` prints asks for it."""
    script = run("--show-completion", "bash").stdout
    assert "_PLAIT_COMPLETE=complete_bash" in script
    environment = {"COMP_WORDS": "plait inf", "COMP_CWORD": "1", "_PLAIT_COMPLETE": "complete_bash"}
    environment |= {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "plait"], capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["info"], "")


def test_the_help_lists_commands_and_exit_codes():
    out = run("--help").stdout
    listed = out[out.index("Commands:") : out.index("Exit codes:")]
    assert re.findall(r"^  (\w+) ", listed, re.M) == list(COMMANDS)
    assert "..." not in listed, "each sentence fits"
    assert re.findall(r"^    (\d)  ", out, re.M) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_says_what_the_command_says(command):
    """Whose module the list does without."""
    assert imported(command).get_short_help_str(200) == COMMANDS[command].rstrip(".") + "."


def test_the_list_imports_no_command():
    code = "import sys; from plait.cli import app; app(['--help'], standalone_mode=False); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_page_has_every_command_and_option():
    page = (ROOT / "docs/command_line.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"## `plait {command}`" in page
        options = set(re.findall(r"(?<![\w-])--[\w-]+", run(command, "--help").stdout)) - {"--help"}
        missing = [option for option in options if f"`{option}" not in page]
        assert not missing, command
    for code in "0123":
        assert re.search(rf"^\| {code} \|", page, re.M)


def test_a_misspelt_command():
    result = run("sampl")
    assert result.exit_code == 2
    assert "Did you mean 'sample'?" in result.stderr


# -- --compilation-cache ----------------------------------------------------------------------------------


def test_compiled_code_is_kept_where_it_is_asked_for(saved, tmp_path):
    """And nowhere else, nor longer: jax is configured afterwards as before."""
    before = jax.config.jax_compilation_cache_dir
    folder = tmp_path / "cache"
    jax.clear_caches()
    result = run("sample", saved, "--sampler", "scipy", "--draws", "10", "--compilation-cache", folder)
    assert result.exit_code == 0, result.output
    kept = list(folder.iterdir())
    assert kept
    assert jax.config.jax_compilation_cache_dir == before
    jax.clear_caches()
    run("sample", saved, "--sampler", "scipy", "--draws", "11")
    assert list(folder.iterdir()) == kept


def test_the_environment_may_ask_for_it(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("PLAIT_COMPILATION_CACHE", str(tmp_path / "cache"))
    assert run("check", saved).exit_code == 0
    assert (tmp_path / "cache").is_dir()


def test_a_folder_that_cant_be_made(saved, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("check", saved, "--compilation-cache", tmp_path / "file")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: can't keep compiled code in {tmp_path / 'file'}: ")
