"""`plait draw`: every format to a file or the terminal, of a source or of a saved model."""

import json
import os

import pytest

from plait.ir.drawing.drawing import DETAILS, FORMATS
from plait.options import Detail, Format
from tests.cli.conftest import ROOT, run
from tests.ir.drawing.reading import Dot, Mermaid, Svg

SCHOOLS = ROOT / "examples/eight_schools.py"
NAMES = {"mu", "tau", "raw", "theta", "obs"}
READERS = {
    "svg": lambda text: {lines[0] for _, _, lines in Svg(text).nodes},
    "dot": lambda text: {attributes["label"].split("\n")[0] for attributes, _ in Dot(text).nodes.values()},
    "mermaid": lambda text: {lines[0] for _, lines, _ in Mermaid(text).nodes.values()},
    "json": lambda text: {node["name"] for node in json.loads(text)["nodes"]},
    "text": lambda text: {line.strip("│ ").split()[1] for line in text.splitlines() if line.strip("│ ")[:1] in "○●◌□"},
}


def printed(*args):
    result = run("draw", *args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def error_of(*args):
    result = run("draw", *args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("error: ").rstrip("\n")


def test_the_terminal_shows_sites_parents_and_plates(saved):
    shown = printed(SCHOOLS)
    assert shown == printed(saved)
    assert "○ mu     ~ Normal(0, 5)" in shown
    assert "◌ theta  = mu + tau * raw" in shown
    assert "← mu, tau, raw" in shown
    assert " schools 8 ─╮" in shown


@pytest.mark.parametrize("form", READERS)
def test_each_format_to_the_terminal_and_to_a_file(saved, form, tmp_path):
    shown = printed(saved, "--format", form)
    assert READERS[form](shown) >= NAMES
    suffix = {"mermaid": "mmd", "text": "txt"}.get(form, form)
    path = tmp_path / f"m.{suffix}"
    assert printed(saved, "-o", path) == f"wrote {path}\n"
    assert path.read_text(encoding="utf-8") == shown
    other = tmp_path / "any"
    printed(saved, "--output", other, "--format", form)
    assert other.read_text(encoding="utf-8") == shown


def test_a_png(saved, tmp_path):
    printed(saved, "-o", tmp_path / "m.png")
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert error_of(saved, "--format", "png") == "a PNG is no text: name its file with --output model.png"


def test_shapes_and_details():
    assert "f64[schools:8]" not in printed(SCHOOLS)
    assert "f64[schools:8]" in printed(SCHOOLS, "--shapes")
    assert "f32[schools:8]" in printed(SCHOOLS, "--shapes", "--float32")
    nodes = {d: len(json.loads(printed(SCHOOLS, "--format", "json", "--detail", d))["nodes"]) for d in DETAILS}
    assert nodes["sites"] <= nodes["code"] < nodes["equations"]


def test_the_graph_after_a_pass(saved):
    density = json.loads(printed(SCHOOLS, "--after", "split_stages", "--format", "json"))
    assert {node["kind"] for node in density["nodes"]} >= {"value", "log_density"}
    assert density == json.loads(printed(saved, "--after", "split_stages", "--format", "json"))
    assert {
        node["name"] for node in json.loads(printed(SCHOOLS, "--after", "trace", "--format", "json"))["nodes"]
    } >= NAMES
    assert "there is no pass 'fusee'; did you mean 'fuse'?" in error_of(SCHOOLS, "--after", "fusee")
    assert "holds the graphs as traced and after the last pass" in error_of(saved, "--after", "fuse")


def test_other_data_and_switched_off_passes(tmp_path, saved):
    (tmp_path / "d.json").write_text('{"sigma": [1, 2, 3], "y": [1, 2, 3]}')
    assert " schools 3 ─╮" in printed(SCHOOLS, "--data", tmp_path / "d.json")
    assert printed(SCHOOLS, "--without", "fuse") == printed(SCHOOLS)
    for option in (("--data", tmp_path / "d.json"), ("--without", "fuse")):
        assert "was compiled before" in error_of(saved, *option)


def test_unknown_names_of_formats_and_details(saved, tmp_path):
    sentence = error_of(saved, "-o", tmp_path / "m.bmp")
    assert sentence == "there is no format 'bmp': a drawing is one of svg, png, dot, mermaid, json, text"
    assert "there is no format for a file called 'm'" in error_of(saved, "-o", tmp_path / "m")
    for option in ("--format", "--detail"):
        result = run("draw", saved, option, "nothing")
        assert result.exit_code == 2
        assert "nothing" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_in_one_step(saved, tmp_path):
    path = tmp_path / "m.svg"
    path.write_text("before")
    os.link(path, tmp_path / "kept")
    printed(saved, "-o", path)
    assert Svg(path.read_text(encoding="utf-8")).nodes
    assert (tmp_path / "kept").read_text() == "before", "it was written over, not replaced"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept", "m.svg"]


def test_a_folder_that_is_not_there(saved, tmp_path):
    path = tmp_path / "nowhere" / "m.svg"
    assert error_of(saved, "-o", path) == f"can't write {path}: there is no folder {path.parent}"
    folder = tmp_path / "m.svg"
    folder.mkdir()
    assert error_of(saved, "-o", folder) == f"can't write {folder}: it is a folder"
    assert [p.name for p in tmp_path.iterdir()] == ["m.svg"]


def test_the_options_offer_what_there_is():
    """They stand in `plait.options` as well, which a shell imports when somebody presses the tabulator."""
    assert tuple(Detail) == DETAILS
    assert tuple(Format) == tuple(FORMATS)
