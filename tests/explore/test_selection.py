"""One selection, in every pane."""

from __future__ import annotations

import pytest

from tests.explore.conftest import Show
from tests.explore.pages import crossed, eight_schools


def test_a_node_selects_its_source_line_its_equations_and_its_term(show: Show) -> None:
    shown = show(eight_schools())
    shown.node("obs")
    assert shown.nodes() == ["obs"]
    assert shown.lines() == ["13"]
    shown.panel("terms")
    assert shown.terms() == ["obs"]
    shown.panel("text")
    assert shown.equations() == ["obs: f64[schools:8] = observe Normal(theta, sigma) obs=y"]


def test_a_source_line_selects_the_node_with_its_code(show: Show) -> None:
    shown = show(eight_schools())
    shown.press("2")
    shown.click(".source .row:has-text('theta = plait.deterministic')")
    assert sorted(shown.nodes()) == ["%0", "%1", "theta"]
    shown.panel("text")
    assert len(shown.equations()) == 3


def test_a_line_of_several_sites_selects_all_and_then_one_after_the_other(show: Show) -> None:
    shown = show(eight_schools())
    found = []
    for _ in range(4):
        shown.click(".source .row:has-text('HalfCauchy')")
        found.append(shown.nodes())
    assert found == [["mu", "tau"], ["mu"], ["tau"], ["mu", "tau"]]


def test_a_line_without_a_site_selects_the_nodes_that_it_made(show: Show) -> None:
    shown = show(eight_schools() | {"sites": []})
    shown.press("3")
    shown.click(".source .row:has-text('\"obs\"')")
    assert shown.nodes() == ["obs", "%2"]


def test_a_term_selects_its_site_and_shows_who_refused_it(show: Show) -> None:
    shown = show(eight_schools())
    shown.panel("terms")
    shown.click("tr.term[data-term=obs]")
    assert shown.nodes() == ["obs"]
    assert shown.lines() == ["13"]
    assert "sufficient statistics refused: its 8 rows have 8 different means or scales" in shown.text("tr.more")


def test_an_equation_selects_its_site(show: Show) -> None:
    shown = show(eight_schools())
    shown.panel("text")
    shown.click("#panel .row:has-text('sample HalfCauchy')")
    assert shown.nodes() == ["tau"]
    assert shown.lines() == ["9"]


def test_a_line_of_the_compiled_program_is_found_in_20_000(show: Show) -> None:
    shown = show(eight_schools())
    shown.node("obs")
    shown.panel("text")
    shown.click("#panel [role=radio]:has-text('optimized HLO')")
    assert shown.equations() == ["%fusion.15000 = f64[8] fusion(%p0)"]
    assert shown.tab.locator("#panel .row").count() < 300
    shown.tab.locator("#panel .row.selected").click()
    assert shown.nodes() == ["obs"]


def test_the_lines_of_the_selection_are_walked_through(show: Show) -> None:
    model = eight_schools()
    for i in (3, 4, 9000):
        model["stages"][-1]["lines"][i] |= {"site": "obs"}
    shown = show(model)
    shown.node("obs")
    shown.panel("text")
    shown.click("#panel [role=radio]:has-text('optimized HLO')")
    assert "4 selected" in shown.text("#panel .bar")
    seen = []
    for _ in range(3):
        shown.click("[aria-label^='Next lines']")
        seen.append(shown.equations()[0].split()[0])
    assert seen == ["%fusion.9000", "%fusion.15000", "%fusion.3"]


def test_a_site_of_the_selection_leads_to_its_neighbours(show: Show) -> None:
    shown = show(eight_schools())
    shown.node("theta")
    text = shown.panel("selection")
    assert "deterministic" in text
    assert "= mu + tau * raw" in text
    shown.click("#panel .site-link:has-text('obs')")
    assert shown.nodes() == ["obs"]


@pytest.mark.parametrize(("site", "blanket"), [("mu", {"tau", "raw", "theta"}), ("obs", {"theta"})])
def test_the_markov_blanket_is_outlined_and_can_be_left_out(show: Show, site: str, blanket: set[str]) -> None:
    shown = show(eight_schools())
    shown.node(site)
    assert set(shown.attributes(".node.blanket", "data-node")) == blanket
    shown.press("b")
    assert shown.attributes(".node.blanket", "data-node") == []


def test_escape_and_a_click_beside_the_nodes_select_nothing(show: Show) -> None:
    shown = show(eight_schools())
    shown.node("obs")
    shown.press("Escape")
    assert shown.nodes() == []
    shown.node("obs")
    shown.tab.locator(".drawing").click(position={"x": 5, "y": 5})
    assert shown.nodes() == []


def test_the_address_keeps_what_is_chosen(show: Show) -> None:
    shown = show(eight_schools())
    shown.node("obs")
    shown.press("]", "]", "d")
    shown.panel("terms")
    again = show(eight_schools(), "#" + shown.tab.url.partition("#")[2])
    assert again.nodes() == ["obs"]
    assert again.terms() == ["obs"]
    assert again.text(".strip [aria-checked=true]").startswith("density")
    assert again.tab.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_model_without_source_says_so(show: Show) -> None:
    shown = show(crossed())
    assert shown.text(".pane.source") == "This model was saved without its source."
    shown.node("x")
    assert "From the step before" in shown.panel("selection")
