"""What the tests of the explorer's page read off it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Dialog, Page


class Shown:
    """The explorer's page in a tab, and everything that it complained about or asked for."""

    def __init__(self, tab: Page, path: Path) -> None:
        self.tab, self.path = tab, path
        self.complaints: list[str] = []
        self.requests: list[str] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Notes complaints and requests meanwhile."""
        hearers: dict[str, Callable[[Any], None]] = {
            "console": lambda message: self.complaints.append(f"{message.type}: {message.text}"),
            "pageerror": lambda error: self.complaints.append(str(error)),
            "request": lambda request: self.requests.append(request.url),
            "dialog": self.dismiss,
        }
        for event, hear in hearers.items():
            self.tab.on(event, hear)  # type: ignore[call-overload]
        yield
        for event, hear in hearers.items():
            self.tab.remove_listener(event, hear)

    def dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, address: str = "", *, drawn: bool = True) -> None:
        """Loads the page and waits until the graph is drawn."""
        self.tab.goto("about:blank")  # an address that differs after the # alone loads nothing
        self.tab.goto(self.path.as_uri() + address)
        if drawn:
            self.drawn()

    def drawn(self) -> None:
        """Waits until no layout is under way."""
        self.tab.wait_for_selector(".canvas[aria-busy=false] .node")
        self.settled(layouts=False)

    def settled(self, *, layouts: bool = True) -> None:
        """Waits until what was done is on the screen, layouts included."""
        self.tab.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(r))))")
        if layouts:
            self.tab.wait_for_selector(".canvas[aria-busy=true]", state="detached")

    def click(self, selector: str) -> None:
        self.tab.locator(selector).first.click()
        self.settled()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)
        self.settled()

    def node(self, name: str) -> None:
        """Clicks a node of the graph."""
        self.click(f'[data-node="{name}"]')

    def panel(self, tab: str) -> str:
        """Opens a tab of the details, and says what is in it."""
        self.click(f"#tab-{tab}")
        return self.text("#panel")

    def text(self, selector: str) -> str:
        return (self.tab.locator(selector).first.evaluate("e => e.innerText ?? e.textContent")).strip()

    def all(self, selector: str) -> list[str]:
        return self.tab.locator(selector).evaluate_all("all => all.map(e => (e.innerText ?? e.textContent).trim())")

    def attributes(self, selector: str, name: str) -> list[str]:
        return self.tab.locator(selector).evaluate_all("(all, name) => all.map(e => e.getAttribute(name) ?? '')", name)

    # What is selected, in each of the panes.

    def nodes(self) -> list[str]:
        return self.attributes(".node.selected", "data-node")

    def lines(self) -> list[str]:
        """Numbers of the source's lines."""
        return self.all(".source .row.selected .number")

    def equations(self) -> list[str]:
        """Lines of the text beside the graph."""
        return self.all("#panel .row.selected code")

    def terms(self) -> list[str]:
        return self.attributes("tr.term.selected", "data-term")
