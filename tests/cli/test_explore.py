"""``plait explore``: where the page goes, what is in it, and what is refused."""

from __future__ import annotations

import base64
import gzip
import json
import re
import webbrowser

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from tests.cli.conftest import ROOT, run

MODEL = """
import numpy as np, numpyro.distributions as dist, plait

def model(y):
    x = plait.sample("x", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(x, 1.0), obs=y)

def data():
    return {"y": np.array([1.0, 2.0])}
"""


def content(path):
    """The data of a page."""
    packed = re.search(
        r'<script type="application/octet-stream"[^>]*>([^<]*)</script>', path.read_text(encoding="utf-8")
    )
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "line.py"
    path.write_text(MODEL, encoding="utf-8")
    return path


def test_the_page_is_named_after_the_model(model):
    result = run("explore", model)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("wrote line.html: ")
    page = content(model.with_suffix(".html"))
    assert page["title"] == "line.py: model"
    assert page["source"] == {"file": "line.py", "first_line": 1, "text": MODEL}
    assert {site["name"]: site["line"] for site in page["sites"]} == {"x": 5, "y": 6}
    assert page["precision"] == "float64"
    assert list(model.parent.glob(".*")) == []


def test_a_saved_model_has_a_page_too_with_its_source_where_it_is_given(saved, tmp_path):
    out = tmp_path / "page.html"
    assert run("explore", saved, "-o", out).exit_code == 0
    alone = content(out)
    assert (alone["source"], alone["title"]) == (None, "schools.plait")
    assert "--source" in alone["no_source"]
    source = ROOT / "examples/eight_schools.py"
    assert run("explore", saved, "-o", out, "--source", source).exit_code == 0
    page = content(out)
    assert page["source"]["text"] == source.read_text(encoding="utf-8")
    lines = page["source"]["text"].splitlines()
    for site in page["sites"]:
        assert site["kind"] == "data" or f'"{site["name"]}"' in lines[site["line"] - 1]


def test_the_user_names_a_point(model, tmp_path):
    point = tmp_path / "at.json"
    point.write_text('{"x": 1e400}', encoding="utf-8")
    assert run("explore", model, "--at", point).exit_code == 0
    named, *_ = content(model.with_suffix(".html"))["points"]
    assert (named["name"], named["values"]["x"]) == ("the given values", "inf")
    assert named["first"]["site"] == "x"
    assert named["first"]["line"] == 5


def test_options_of_the_compile_reach_it(model):
    assert run("explore", model, "--float32", "--without", "fuse").exit_code == 0
    page = content(model.with_suffix(".html"))
    assert page["precision"] == "float32"
    assert "fuse" not in [stage["name"] for stage in page["stages"]]


def test_the_browser_opens_where_it_is_asked_for(model, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    run("explore", model)
    assert opened == []
    run("explore", model, "--open")
    assert opened == [model.with_suffix(".html").as_uri()]


def test_what_is_wrong_is_said_and_leaves_what_was_there(model, tmp_path):
    page = model.with_suffix(".html")
    page.write_text("mine", encoding="utf-8")
    (tmp_path / "at.json").write_text('{"z": 1}', encoding="utf-8")
    for options, says in (
        (("--at", tmp_path / "at.json"), "'z'"),
        (("--at", tmp_path / "none.json"), "none.json"),
        (("--source", tmp_path / "none.py"), "none.py"),
        (("-o", tmp_path / "none/page.html"), "none/page.html"),
    ):
        result = run("explore", model, *options)
        assert result.exit_code == 2, result.output
        assert says in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert page.read_text(encoding="utf-8") == "mine"


def test_as_a_function(tmp_path):
    def drawn(y):
        loc = plait.param("loc", jax.random.normal)
        plait.sample("y", dist.Normal(plait.sample("x", dist.Normal(loc, 1.0)), 1.0), obs=y)

    compiled, told = plait.compile(drawn, np.float32(1.0)), []
    with pytest.raises(plait.ModelError, match="random initial value"):
        plait.explore(compiled, tmp_path / "page.html", progress=False)
    fixed = compiled.with_params(compiled.init_param_values(jax.random.key(0)))
    path = plait.explore(fixed, tmp_path / "page.html", progress=told.append)
    page = content(path)
    assert page["title"] == "test_explore.py"
    assert "def drawn(y):" in page["source"]["text"]
    assert [(p.done, p.total) for p in told] == [(i, 4) for i in range(5)]
