"""What the explorer's page gets: stages and what is new in them, terms at points, dependence, the Hessian's pattern."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.runtime.explore.data import page_data
from plait.runtime.explore.stages import Source
from tests.models import EMPTY, MODELS, SCAN_MODELS, some

N = dist.Normal


def data_of(compiled, at=None, path="", text=""):
    """Through JSON, as the page has it."""
    found = page_data(compiled, "a model", Source(path, text), at, 0, lambda progress: None)
    return json.loads(json.dumps(found, allow_nan=False))


def eight_schools(y, sigma):
    mu = plait.sample("mu", N(0, 5))
    tau = plait.sample("tau", dist.HalfCauchy(5))
    with plait.plate("schools", 8):
        theta = plait.sample("theta", N(mu, tau))
        plait.sample("y", N(theta, sigma), obs=y)


@pytest.fixture(scope="module")
def schools():
    with jax.enable_x64(True):
        compiled = plait.compile(eight_schools, np.arange(8.0), np.full(8, 10.0))
        return compiled, data_of(compiled, path=__file__, text="the source")


# -- every model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [*some(some([*MODELS, *SCAN_MODELS])), EMPTY], ids=lambda m: m.name)
def test_every_model(model):
    with jax.enable_x64(True):
        compiled = plait.compile(model.bind(plait), **model.args(np.float64))
        if compiled.has_random_params:
            compiled = compiled.with_params(compiled.init_param_values(jax.random.key(0)))
        data = data_of(compiled)
    graphs = [s for s in data["stages"] if s["kind"] == "graph"]
    assert [s["name"] for s in graphs] == [name for name, _ in compiled.history]
    assert [s["name"] for s in data["stages"][len(graphs) :]] == ["StableHLO", "optimized HLO"]
    changes_add_up(graphs)
    for stage in graphs:
        pictures_hang_together(stage)
    terms_add_up(data)
    names = {site["name"] for site in data["sites"]}
    for site in data["sites"]:
        assert {*site["parents"], *site["children"], *site["temporal"], *site["blanket"]} <= names


def changes_add_up(graphs):
    """What was there, less what has gone, and what is new, is what is there, in each stage."""
    before = []
    for stage in graphs:
        if not stage["changed"]:
            assert (stage["pictures"], stage["lines"], stage["removed"]) == (None, None, [])
            continue
        lines = stage["lines"]
        new = sum(line["new"] for line in lines)
        assert len(lines) == (len(before) - len(stage["removed"]) + new if before else len(lines))
        assert not Counter(stage["removed"]) - Counter(line["text"] for line in before)
        before = lines


def pictures_hang_together(stage):
    if stage["pictures"] is None:
        return
    for shown in stage["pictures"].values():
        ids, boxes = {node["id"] for node in shown["nodes"]}, {box["id"] for box in shown["boxes"]}
        assert len(ids) == len(shown["nodes"])
        assert all({edge["from"], edge["to"]} <= ids for edge in shown["edges"])
        assert {node["box"] for node in shown["nodes"]} | {box["in"] for box in shown["boxes"]} <= boxes | {None}
    equations = {node["id"]: node for node in stage["pictures"]["equations"]["nodes"]}
    for line in stage["lines"]:
        if line["node"] in equations:  # a scan is shown by what is in it, data only where they are read
            assert equations[line["node"]]["new"] == line["new"]


def terms_add_up(data):
    for point in data["points"]:
        if isinstance(point["total"], float) and point["name"].startswith(("a random", "the origin")):
            assert set(point["terms"]) == {term["name"] for term in data["terms"]}
            assert sum(point["terms"].values()) == pytest.approx(point["total"], rel=1e-9, abs=1e-9)


# -- stages -----------------------------------------------------------------------------------------------


def test_an_unchanged_stage_says_so(schools):
    stages = {stage["name"]: stage for stage in schools[1]["stages"]}
    assert not stages["reroll"]["changed"]
    assert stages["density"]["changed"]
    assert {line["site"] for line in stages["density"]["lines"] if line["new"]} >= {"mu", "tau", "theta", "y"}
    assert any("sample Normal(0, 5)" in line for line in stages["density"]["removed"])


def test_lines_of_the_source_are_those_of_this_file_only(schools):
    sites = {site["name"]: site["line"] for site in schools[1]["sites"]}
    first = sites["mu"]
    text = Path(__file__).read_text(encoding="utf-8").splitlines()
    assert text[first - 1].strip().startswith("mu = plait.sample")
    assert sites == {"mu": first, "tau": first + 1, "theta": first + 3, "y": first + 4, "sigma (data)": None}
    with jax.enable_x64(True):
        elsewhere = data_of(schools[0], path="another.py", text="x")
    assert {site["line"] for site in elsewhere["sites"]} == {None}


def test_compiled_code_says_whose_it_is(schools):
    code = {stage["name"]: stage["lines"] for stage in schools[1]["stages"] if stage["kind"] == "text"}
    for lines in code.values():
        assert {line["site"] for line in lines} == {None, "mu", "tau", "theta", "y"}
        assert not any("loc(" in line["text"] or "metadata=" in line["text"] for line in lines)
    lines = code["StableHLO"]
    assert {line["site"] for line in lines if "stablehlo.log " in line["text"]} <= {"mu", "tau", "theta", "y"}
    assert {line["line"] for line in lines if line["site"] == "mu"} == {
        site["line"] for site in schools[1]["sites"] if site["name"] == "mu"
    }
    assert code["optimized HLO"][0]["text"].startswith("HloModule")


# -- terms ------------------------------------------------------------------------------------------------


def test_the_rule_that_took_a_term_and_those_that_refused(schools):
    def line(x, y):
        b = plait.sample("b", N(0, 1))
        plait.sample("y", N(b * x, 1.0), obs=y)

    rng = np.random.default_rng(0)
    taken = {t["name"]: t for t in data_of(plait.compile(line, rng.normal(size=50), rng.normal(size=50)))["terms"]}
    assert taken["y"]["rule"] == "normal"
    assert taken["y"]["flops"][1] < taken["y"]["flops"][0]
    refused = {t["name"]: t for t in schools[1]["terms"]}["y"]
    assert refused["rule"] is None
    assert [r["rule"] for r in refused["refusals"]] == ["normal", "rows"]
    assert "8 different means or scales" in refused["refusals"][0]["reason"]


# -- points -----------------------------------------------------------------------------------------------


def test_the_first_term_that_is_not_finite_with_its_plate(schools):
    compiled, _ = schools
    with jax.enable_x64(True):
        theta = np.zeros(8)
        theta[3] = np.inf
        point = data_of(compiled, at={"theta": theta})["points"][0]
        tau = data_of(compiled, at={"tau": -1.0})["points"][0]
    assert point["total"] in ("nan", "-inf")
    assert (point["first"]["site"], point["first"]["where"]) == ("theta", "theta at schools[3]")
    assert point["values"]["theta"][3] == "inf"
    assert tau["first"]["site"] == "tau"
    assert "outside" in tau["first"]["sentence"]


def test_a_model_without_a_flat_density_is_shown_at_a_prior_draw():
    def counted(y):
        k = plait.sample("k", dist.Poisson(3.0))
        plait.sample("y", N(k, 1.0), obs=y)

    data = data_of(plait.compile(counted, np.float32(2.0)))
    (point,) = data["points"]
    assert set(point["terms"]) == {"k", "y"}
    assert sum(point["terms"].values()) == pytest.approx(point["total"], rel=1e-5)
    assert data["hessian"] is None
    assert "no density" in data["no_hessian"]


def test_families_have_one_term(schools):
    def loop(y):
        m = plait.sample("m", N(0, 1))
        for i in range(6):
            plait.sample(f"y_{i}", N(m, 1.0 + i), obs=y[i])

    with jax.enable_x64(True):
        data = data_of(plait.compile(loop, np.arange(6.0)))
    assert set(data["points"][0]["terms"]) == {"m", "y_*"}
    terms_add_up(data)


# -- the Hessian ------------------------------------------------------------------------------------------


def test_the_pattern_of_eight_schools(schools):
    data = schools[1]["hessian"]
    theta = range(2, 10)
    expected = {(0, 0), (1, 0), (1, 1)} | {(i, j) for i in theta for j in (0, 1, i)}
    assert {tuple(pair) for pair in data["nonzeros"]} == expected
    assert [(b["site"], b["offset"], b["size"]) for b in data["blocks"]] == [
        ("mu", 0, 1),
        ("tau", 1, 1),
        ("theta", 2, 8),
    ]
    assert data["entries"][:3] == ["mu", "tau", "theta[0]"]
    how = {(c["a"], c["b"]): (c["how"], c["along"]) for c in schools[1]["coupling"]}
    assert how["theta", "theta"] == ("diagonal", "schools")
    assert how["mu", "theta"] == ("dense", None)


def test_the_pattern_of_a_chain_is_a_band():
    def walk(y):
        def step(x, y_t):
            x = plait.sample("x", N(x, 1.0))
            plait.sample("y", N(x, 1.0), obs=y_t)
            return x, None

        jax.lax.scan(step, 0.0, y)

    with jax.enable_x64(True):
        data = data_of(plait.compile(walk, np.zeros(7)))
    assert {tuple(p) for p in data["hessian"]["nonzeros"]} == {(i, i) for i in range(7)} | {
        (i, i - 1) for i in range(1, 7)
    }
    assert data["coupling"] == [{"a": "x", "b": "x", "how": "sparse", "along": None}]


def test_plates_that_couple_within_an_element_only():
    def crossed(y):
        with plait.plate("i", 3, dim=-2):
            a = plait.sample("a", N(0, 1))
        with plait.plate("j", 2, dim=-1):
            b = plait.sample("b", N(0, 1))
            c = plait.sample("c", N(b, 1.0))
        with plait.plate("i", 3, dim=-2), plait.plate("j", 2, dim=-1):
            plait.sample("y", N(a * b + c, 1.0), obs=y)

    with jax.enable_x64(True):
        data = data_of(plait.compile(crossed, np.ones((3, 2))))
    how = {(x["a"], x["b"]): (x["how"], x["along"]) for x in data["coupling"]}
    assert how["a", "a"] == ("diagonal", "i")
    assert how["a", "b"] == ("dense", None)
    assert how["b", "c"] == ("diagonal", "j")


def test_a_large_flat_vector_has_no_pattern_and_the_page_says_so():
    def wide():
        with plait.plate("n", 1001):
            plait.sample("x", N(0, 1))

    data = data_of(plait.compile(wide))
    assert data["hessian"] is None
    assert "1,001" in data["no_hessian"]


# -- saved models -----------------------------------------------------------------------------------------


def test_a_saved_model_shows_what_its_file_has(schools, tmp_path):
    compiled, data = schools
    with jax.enable_x64(True):
        compiled.save(tmp_path / "m.plait", platforms=("cpu",), progress=False)
        loaded = data_of(plait.load(tmp_path / "m.plait"))
    names = [stage["name"] for stage in loaded["stages"]]
    assert names == ["trace", "split_stages", "StableHLO", "optimized HLO"]
    for name in ("trace", "split_stages"):
        mine, theirs = ({s["name"]: s for s in d["stages"]}[name] for d in (data, loaded))
        assert [line["text"] for line in mine["lines"]] == [line["text"] for line in theirs["lines"]]
    assert loaded["source"] is None
    assert loaded["hessian"] == data["hessian"]
    assert [t["refusals"] for t in loaded["terms"]] == [t["refusals"] for t in data["terms"]]
    for mine, theirs in zip(data["points"], loaded["points"], strict=True):
        assert theirs["total"] == pytest.approx(mine["total"], rel=1e-12)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a/b", "site:x", "%41", 'q"uote', "ünï"])
def test_strange_names_are_found_in_compiled_code(name):
    def model(y):
        x = plait.sample(name, N(0, 3.0))
        plait.sample("y", dist.StudentT(3.0, x, 1.0), obs=y)

    with jax.enable_x64(True):
        data = data_of(plait.compile(model, np.float64(2.0)))
    for stage in data["stages"][-2:]:
        assert {name, "y"} <= {line["site"] for line in stage["lines"]}


def test_a_plate_whose_elements_are_coupled_is_not_named():
    def smooth():
        with plait.plate("n", 5):
            x = plait.sample("x", N(0, 1))
        plait.factor("smooth", -((x[1:] - x[:-1]) ** 2).sum())

    with jax.enable_x64(True):
        data = data_of(plait.compile(smooth))
    assert data["coupling"] == [{"a": "x", "b": "x", "how": "sparse", "along": None}]
