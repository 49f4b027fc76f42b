"""The details: costs, the density at a point, independence, coupling, the Hessian."""

from __future__ import annotations

import random

import networkx as nx
import pytest

from tests.explore.conftest import Show
from tests.explore.pages import chain, crossed, data, eight_schools, graph, link_quickly, node, site


def test_the_term_table_says_the_rule_and_the_cost_before_and_after(show: Show) -> None:
    shown = show(eight_schools())
    shown.panel("terms")
    row = shown.text("tr[data-term=raw]").split()
    assert row == ["raw", "iid", "normal", "−7.4", "8", "→", "1", "42", "→", "17", "0", "B"]
    assert "724,591 → 1,443" in shown.text("tfoot")


def test_what_is_not_finite_is_said_loudly_with_its_plate_index(show: Show) -> None:
    shown = show(eight_schools())
    assert shown.text("header .alarm") == "−inf at far out: obs[schools=3] is −inf"
    assert "sigma is 0 at schools=3" in shown.text("[role=alert]")
    assert shown.all("#panel .bad") == ["−inf", "−inf", "[0, NaN, 1e+300]"]
    assert shown.all(".source .row.unwell .number") == ["13"]
    shown.tab.click("text=Show obs")
    assert shown.nodes() == ["obs"]


def test_another_point_is_chosen_and_well(show: Show) -> None:
    shown = show(eight_schools())
    shown.tab.select_option(".point-choice select", "0")
    assert shown.tab.locator(".alarm-box, header .alarm").count() == 0
    assert "−42.25" in shown.text("#panel")
    shown.panel("terms")
    assert "−30.25" in shown.text("tr[data-term=obs]")


ANSWERS = [
    # a, b, given, answer, path
    ("mu", "tau", [], "mu and tau are independent.", None),
    ("mu", "tau", ["obs"], "The graph does not separate mu and tau given obs.", "mu → theta ← tau"),
    ("mu", "obs", [], "The graph does not separate mu and obs.", "mu → theta → obs"),
    ("mu", "obs", ["theta"], "mu and obs are independent given theta.", None),
    # theta is known once its parents are
    ("theta", "obs", ["mu", "tau", "raw"], "theta and obs are independent given mu, tau and raw.", None),
]


@pytest.mark.parametrize(("a", "b", "given", "answer", "path"), ANSWERS)
def test_independence_is_asked_by_clicking(
    show: Show, a: str, b: str, given: list[str], answer: str, path: str | None
) -> None:
    shown = show(eight_schools())
    shown.panel("independence")
    for name in (a, b, *given):
        shown.node(name)
    assert shown.text(".answer b") == answer
    assert shown.all(".answer .formula") == ([] if path is None else [path])
    on_path = shown.attributes(".node.on-path", "data-node")
    assert sorted(on_path) == ([] if path is None else sorted(path.replace("←", "→").split(" → ")))


ASK = """async questions => {
    const frame = () => new Promise(r => requestAnimationFrame(() => setTimeout(r)));
    const click = e => e.dispatchEvent(new MouseEvent('click', {bubbles: true}));
    const answers = [];
    for (const names of questions) {
        click([...document.querySelectorAll('#panel button')].find(e => e.textContent === 'Clear'));
        for (const name of names) {
            await frame();
            click(document.querySelector(`[data-node="${name}"]`));
        }
        await frame();
        answers.push(document.querySelector('.answer .yes') !== null);
    }
    return answers;
}"""


def test_independence_agrees_with_networkx_on_random_graphs(show: Show) -> None:
    draw = random.Random(0)
    parents = [[f"x{j}" for j in range(i) if draw.random() < 0.4] for i in range(9)]
    sites = link_quickly([site(f"x{i}", "latent", parents=p) for i, p in enumerate(parents)])
    drawn = {"nodes": [node(s["name"], "latent") for s in sites], "edges": [], "boxes": []}
    stage = graph("trace", "", pictures=dict.fromkeys(("sites", "code", "equations"), drawn), lines=[])
    shown = show(data(sites=sites, stages=[stage]))
    shown.panel("independence")
    names = [s["name"] for s in sites]
    questions = [draw.sample(names, draw.randint(2, 5)) for _ in range(40)]
    dag = nx.DiGraph((p, s["name"]) for s in sites for p in s["parents"])
    dag.add_nodes_from(names)
    expected = [nx.is_d_separator(dag, {a}, {b}, set(given)) for a, b, *given in questions]
    assert 5 < sum(expected) < 35
    assert shown.tab.evaluate(ASK, questions) == expected


def test_a_weighted_latent_couples_its_parents(show: Show) -> None:
    model = eight_schools()
    shown = show(model)
    shown.panel("independence")
    assert shown.tab.evaluate(ASK, [["mu", "tau"], ["mu", "raw"]]) == [True, True]
    sites = [s | {"kind": "latent", "weighted": True} if s["name"] == "obs" else s for s in model["sites"]]
    shown = show(model | {"sites": sites})
    shown.panel("independence")
    assert shown.tab.evaluate(ASK, [["mu", "tau"], ["mu", "raw"]]) == [False, False]


def test_factors_are_always_given_and_steps_count(show: Show) -> None:
    shown = show(crossed())
    shown.panel("independence")
    for name in ("ability", "z"):
        shown.node(name)
    assert shown.text(".answer .formula") == "ability → penalty ← x → z"
    shown.node("x")
    assert shown.text(".answer b") == "ability and z are independent given x."
    shown.tab.click("text=Give what is observed")
    assert shown.all(".role-given .chip") == ["x ×", "answer ×"]
    shown.tab.click("text=Clear")
    assert shown.text(".answer") == "Choose A."


def test_the_coupling_of_plates_is_a_table(show: Show) -> None:
    shown = show(eight_schools())
    text = shown.panel("coupling")
    assert "diagonal along schools" in text
    assert shown.attributes(".matrix .how", "aria-label") == [
        "mu and tau: dense",
        "mu and raw: dense",
        "raw: diagonal along schools",
    ]
    shown.node("tau")
    assert shown.all(".coupling tr") == ["mu\ttau\t dense"]
    shown.click(".matrix [aria-label='mu and raw: dense']")
    assert shown.nodes() == ["mu", "raw"]


def test_the_hessian_is_drawn_and_names_its_entries(show: Show) -> None:
    shown = show(eight_schools())
    shown.panel("coupling")
    dark = """e => { const n = e.width, copy = Object.assign(document.createElement('canvas'), {width: n, height: n});
        const p = copy.getContext('2d', {willReadFrequently: true}); p.drawImage(e, 0, 0);
        const held = p.getImageData(0, 0, n, n).data, pixel = i => Math.round((i + .5) * n / 10);
        const at = (row, column) => held[4 * (pixel(row) * n + pixel(column))] < 128;
        return [...Array(10).keys()].map(i => [...Array(10).keys()].filter(j => at(i, j))); }"""
    every = list(range(10))
    pattern = [every, every, *([0, 1, i] for i in range(2, 10))]
    shown.settled()
    assert shown.tab.eval_on_selector(".hessian", dark) == pattern
    shown.press("d")  # on dark paper the other entries are the dark ones
    shown.settled()
    rest = [[i for i in every if i not in row] for row in pattern]
    assert shown.tab.eval_on_selector(".hessian", dark) == rest
    shown.press("d")
    box = shown.tab.locator(".hessian").bounding_box()
    assert box is not None
    cell = box["width"] / 10
    shown.tab.mouse.move(box["x"] + 0.5 * cell, box["y"] + 6.5 * cell)
    assert shown.text(".readout") == "raw[4] and mu: coupled"
    shown.tab.mouse.move(box["x"] + 3.5 * cell, box["y"] + 6.5 * cell)
    assert shown.text(".readout") == "raw[4] and raw[1]: zero"
    shown.tab.mouse.click(box["x"] + 0.5 * cell, box["y"] + 6.5 * cell)
    assert shown.nodes() == ["mu", "raw"]


def test_a_model_without_a_hessian_says_why(show: Show) -> None:
    shown = show(crossed())
    assert "A discrete latent has no Hessian." in shown.panel("coupling")
    assert shown.panel("point") == "The density was evaluated at no point."
    assert shown.panel("terms") == "This model has no terms."


def test_a_page_without_anything_is_shown(show: Show) -> None:
    shown = show(data(no_source="Nothing."), drawn=False)
    for tab in ("selection", "terms", "point", "independence", "coupling", "text"):
        shown.panel(tab)
    assert shown.text(".middle .empty") == "There is no stage to show."


def test_dark_mode_follows_the_system_and_can_be_changed_without_a_new_layout(show: Show) -> None:
    shown = show(chain(20), dark=True)
    background = "getComputedStyle(document.body).backgroundColor"
    dark = shown.tab.evaluate(background)
    shown.tab.evaluate("window.Worker = undefined")
    shown.press("d")
    light = shown.tab.evaluate(background)
    assert sum(map(int, light[4:-1].split(", "))) > 3 * sum(map(int, dark[4:-1].split(", ")))
    assert shown.tab.locator(".node").count() > 20


def test_in_a_narrow_window_the_panes_are_tabs(show: Show) -> None:
    shown = show(eight_schools(), width=600)
    assert shown.tab.locator(".pane:visible").count() == 1
    shown.node("obs")
    shown.tab.click(".pane-tabs >> text=Source")
    assert shown.lines() == ["13"]
    assert shown.tab.locator(".drawing:visible").count() == 0
