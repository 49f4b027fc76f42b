"""One tab for all tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from plait.runtime.explore.page import page
from tests.explore.browser import Shown

Show = Callable[..., Shown]


@pytest.fixture(scope="session")
def tab(browser: Browser) -> Iterator[Page]:
    tab = browser.new_page()
    tab.set_default_timeout(10_000)
    yield tab
    tab.close()


@pytest.fixture
def show(tab: Page, tmp_path: Path) -> Iterator[Show]:
    """Writes a page of some data and opens it; afterwards, that it neither complained nor used the network."""
    shown = Shown(tab, tmp_path / "page.html")

    def open_page(
        data: dict[str, Any], address: str = "", *, drawn: bool = True, dark: bool = False, width: int = 1280
    ) -> Shown:
        tab.set_viewport_size({"width": width, "height": 800})
        tab.emulate_media(color_scheme="dark" if dark else "light")
        shown.path.write_text(page(data), encoding="utf-8")
        shown.open(address, drawn=drawn)
        return shown

    with shown.listening():
        yield open_page
        tab.goto("about:blank")
    assert shown.complaints == []
    elsewhere = [url for url in shown.requests if not url.startswith((shown.path.as_uri(), "about:", "blob:", "data:"))]
    assert elsewhere == []
