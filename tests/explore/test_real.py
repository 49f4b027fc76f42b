"""Pages of compiled models, from the trace to the browser: one selection holds what the compiler knows of a site."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.runtime.explore.data import page_data
from plait.runtime.explore.stages import Source
from tests.explore.conftest import Show

HOSTILE = "</script><script>alert(1)</script>"


def schools(y: Any) -> None:
    mu = plait.sample("mu", dist.Normal(0, 5))
    tau = plait.sample("tau", dist.HalfCauchy(5))
    with plait.plate("schools", 8):
        raw = plait.sample("raw", dist.Normal(0, 1))
        theta = plait.deterministic("theta", mu + tau * raw)
        plait.sample("y", dist.Normal(theta, 10.0), obs=y)


def crossed_in_time(y: Any) -> None:
    with plait.plate("persons", 3, dim=-2):
        ability = plait.sample("ability", dist.Normal(0, 1))
    with plait.plate("items", 2, dim=-1):
        difficulty = plait.sample("difficulty", dist.Normal(0, 1))
    with plait.plate("persons", 3, dim=-2), plait.plate("items", 2, dim=-1):
        plait.sample("right", dist.Bernoulli(logits=ability - difficulty), obs=y)

    def step(level: Any, _: Any) -> tuple[Any, None]:
        level = plait.sample("level", dist.Normal(level, 1.0))
        return level, None

    jax.lax.scan(step, np.float64(0.0), None, length=4)
    plait.factor("tie", -0.5 * ability.sum() ** 2)


def hostile(y: Any) -> None:
    for i in range(4):
        x = plait.sample(f"{HOSTILE} {i}", dist.Normal(0, 1))
    with plait.plate("<b>rows</b>", 2):
        plait.sample("{{data}} &amp; `x`", dist.Normal(x, 1.0), obs=y)


MODELS = {schools: np.arange(8.0), crossed_in_time: np.eye(3, 2, dtype=int), hostile: np.ones(2)}


@pytest.fixture(scope="module")
def pages() -> dict[str, Any]:
    with jax.enable_x64(True):
        return {model.__name__: data_of(model, y) for model, y in MODELS.items()}


def data_of(model: Any, y: Any) -> Any:
    source = Source(__file__, Path(__file__).read_text(encoding="utf-8"))
    return json.loads(json.dumps(page_data(plait.compile(model, y), model.__name__, source, None, 0, lambda p: None)))


@pytest.mark.parametrize("name", [model.__name__ for model in MODELS])
def test_a_click_on_a_site_finds_it_everywhere(pages: dict[str, Any], show: Show, name: str) -> None:
    data = pages[name]
    shown = show(data)
    terms = {term["site"] for term in data["terms"]}
    for site in [site for site in data["sites"] if site["kind"] != "data"]:
        nodes = site["members"] or [site["name"]]
        shown.click(f"[data-node={json.dumps(nodes[0])}]")
        assert shown.nodes() == nodes
        assert str(site["line"]) in shown.lines()
        shown.panel("terms")
        assert bool(shown.terms()) == (site["name"] in terms)
        shown.panel("text")
        assert shown.equations()


def test_a_scan_and_crossed_plates_are_boxes(pages: dict[str, Any], show: Show) -> None:
    shown = show(pages["crossed_in_time"])
    assert shown.all(".box-label text") == ["persons 3 −", "items 2 −", "persons 3 × items 2 −", "scan 4 steps −"]


def test_sites_of_a_loop_are_one_after_reroll(pages: dict[str, Any], show: Show) -> None:
    shown = show(pages["hostile"])
    nodes = set(shown.attributes("[data-node]", "data-node"))
    assert sum(name.startswith(HOSTILE) for name in nodes) == 4
    shown.click(".strip button:has-text('reroll')")
    assert sum(name.startswith(HOSTILE) for name in shown.attributes("[data-node]", "data-node")) == 1


@pytest.mark.parametrize("stage", ["StableHLO", "optimized HLO"])
def test_compiled_code_is_selected_with_its_site(pages: dict[str, Any], show: Show, stage: str) -> None:
    data = pages["schools"]
    shown = show(data)
    shown.node("tau")
    shown.click(f".strip button:has-text('{stage}')")
    (lines,) = (s["lines"] for s in data["stages"] if s["name"] == stage)
    mine = [line["text"].strip() for line in lines if line["site"] == "tau"]
    found = [text.strip() for text in shown.all(".middle .row.selected code")]
    assert found
    assert set(found) <= set(mine)
