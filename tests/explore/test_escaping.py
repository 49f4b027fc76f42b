"""Whatever a user calls a site is text."""

from __future__ import annotations

from tests.explore.conftest import Show
from tests.explore.pages import HOSTILE, hostile

TABS = ("selection", "terms", "point", "independence", "coupling", "text")


def test_hostile_names_are_text_everywhere(show: Show) -> None:
    shown = show(hostile())
    elements = "[...document.querySelectorAll('script, img, iframe, object')].length"
    before = shown.tab.evaluate(elements)
    assert before == 4
    for tab in TABS:
        text = shown.panel(tab)
        assert "<script>alert(1)</script>" in text
    for stage in range(3):
        shown.tab.locator(".strip button").nth(stage).click()
        shown.tab.wait_for_timeout(50)
    shown.tab.locator(".strip button").first.click()
    shown.drawn()
    shown.tab.locator("#search").fill("<")
    assert "<img src=x onerror=alert(1)>" in shown.text("#hits")
    assert shown.tab.evaluate(elements) == before
    assert shown.tab.evaluate("document.querySelectorAll('[onload], [onerror]').length") == 0


def test_every_hostile_name_can_be_selected_and_asked_about(show: Show) -> None:
    shown = show(hostile())
    assert shown.attributes(".node[data-node]", "data-node") == list(HOSTILE)
    for i, name in enumerate(HOSTILE):
        shown.tab.locator(f'.node[data-index="{i}"]').dispatch_event("click")
        assert shown.nodes() == [name]
        shown.panel("terms")
        assert shown.terms() == [name]
        shown.panel("selection")
        assert shown.lines() == [str(i + 1)]
    shown.panel("independence")
    for i in (0, len(HOSTILE) - 1, 4):
        shown.tab.locator(f'.node[data-index="{i}"]').dispatch_event("click")
    assert shown.text(".answer b") == f"{HOSTILE[0]} and {HOSTILE[-1]} are independent given {HOSTILE[4]}."


def test_names_of_the_language_itself_are_only_names(show: Show) -> None:
    shown = show(hostile())
    shown.tab.locator('.node[data-index="3"]').dispatch_event("click")
    assert "__proto__" in shown.panel("selection")
    assert "1.5" in shown.text("#panel")
