"""A real browser for tests of what it draws: Chromium without a window."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No sandbox, since tests often run as root in a container; the rest keeps Chromium itself off the network.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """The path of the system's Chromium; a test without one fails, and says how to get it."""
    named = os.environ.get("PLAIT_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None or not Path(found).exists():
        missing = f"PLAIT_CHROMIUM={named} is not there" if named else "Chromium is not installed"
        pytest.fail(f"{missing}: apt install chromium (Debian), or name one with PLAIT_CHROMIUM=/path/to/chromium")
    return found


@pytest.fixture(scope="session")
def browser():
    """One browser for all tests of a process: starting it takes longer than most of them."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, headless=True, args=list(OPTIONS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser):
    """An empty page without a network; what goes wrong in it fails the test."""
    context = browser.new_context(offline=True)
    opened = context.new_page()
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("dialog", lambda dialog: (wrong.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
    yield opened
    context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def mermaid():
    """The source of Mermaid, of ``PLAIT_MERMAID`` or as ``npm ci`` installs it."""
    path = Path(os.environ.get("PLAIT_MERMAID") or ROOT / "explorer/node_modules/mermaid/dist/mermaid.min.js")
    if not path.is_file():
        pytest.fail(f"these tests need Mermaid: run `npm ci` in {ROOT / 'explorer'}, or set PLAIT_MERMAID to its file")
    return path
