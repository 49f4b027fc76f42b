"""Graphs and models show themselves in a notebook; nothing is run, traced or compiled for it."""

import sys
from types import SimpleNamespace

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.drawing import drawing as drawings
from tests.helpers import counting
from tests.ir.drawing.reading import Dot, Svg
from tests.runtime.artifact.golden.write import FOLDER


@pytest.fixture(scope="module")
def model():
    """A compiled model that counts its calls, and the same from a file."""
    calls = SimpleNamespace(count=0)

    def schools(sigma, y):
        calls.count += 1
        mu = plait.sample("mu", dist.Normal(0.0, 5.0))
        with plait.plate("schools", 4):
            theta = plait.sample("theta", dist.Normal(mu, 1.0))
            plait.sample("y", dist.Normal(theta, sigma), obs=y)

    compiled = plait.compile(schools, np.ones(4, np.float32), np.zeros(4, np.float32))
    return SimpleNamespace(calls=calls, compiled=compiled)


@pytest.fixture(scope="module")
def loaded(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("drawn") / "schools.plait"
    model.compiled.save(path, platforms=["cpu"])
    return plait.load(path)


def test_a_graph_a_model_and_a_loaded_model_show_themselves(model, loaded):
    compiled = model.compiled
    for shown in (compiled, loaded, compiled.graph, compiled.density_graph, compiled.draw(), loaded.draw()):
        bundle = shown._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "text/html"}
        assert bundle["text/html"] == shown._repr_html_()
        assert Svg(bundle["text/html"]).nodes
    assert compiled._repr_html_() == loaded._repr_html_() == compiled.draw()._repr_html_()
    assert compiled._repr_mimebundle_()["text/plain"] == repr(compiled)
    assert "~ Normal(mu, 1)" in str(compiled.draw())


def test_drawing_neither_runs_nor_traces_nor_compiles(model, loaded):
    """The counters do count: a new compile moves both."""
    before = model.calls.count
    with counting() as count:
        for shown in (model.compiled, loaded):
            shown._repr_html_()
            for detail in ("sites", "code", "equations"):
                drawing = shown.draw(detail=detail, shapes=True)
                assert all((drawing.svg, drawing.png, drawing.dot, drawing.mermaid, drawing.text, drawing.to_json()))
        model.compiled.density_graph.draw()
    assert (model.calls.count - before, count.traces, count.compiles) == (0, 0, 0)
    with counting() as count:
        plait.compile(lambda: plait.sample("x", dist.Normal(0.0, 1.0)))
    assert count.traces > 0


def test_a_loaded_model_draws_as_it_was_compiled(model, loaded):
    for detail in ("sites", "code", "equations"):
        assert loaded.draw(detail=detail).dot == model.compiled.draw(detail=detail).dot


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.plait")), ids=lambda p: p.stem)
def test_files_of_earlier_versions_are_drawn(path):
    """Their graphs do not say whose a node is, nor its words."""
    with jax.enable_x64(True):
        loaded = plait.load(path)
    for detail in ("sites", "code", "equations"):
        drawing = loaded.draw(detail=detail)
        assert set(loaded.shapes) <= {node.id for node in drawing.picture.nodes}
        assert Dot(drawing.dot).edges
        assert Svg(drawing.svg).nodes


def test_a_large_picture_is_not_laid_out_by_itself(model, monkeypatch):
    monkeypatch.setattr(drawings, "MOST_AT_ONCE", 2)
    assert model.compiled._repr_html_() == "<p>4 nodes: <code>.save('model.svg')</code> lays them out.</p>"
    assert "<svg" in model.compiled.draw().svg


def test_no_graphviz_and_no_browser_is_asked_for(model, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "graphviz", None)
    assert "<svg" in model.compiled.draw().svg
    assert model.compiled.draw().png


def test_a_file_is_written_whole_or_not_at_all(model, tmp_path, monkeypatch):
    path = tmp_path / "model.svg"
    path.write_text("before")
    monkeypatch.setattr(drawings, "to_svg", lambda dot: (_ for _ in ()).throw(plait.DrawingError("no")))
    with pytest.raises(plait.DrawingError):
        model.compiled.draw(path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["model.svg"]
