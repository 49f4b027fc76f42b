"""A real browser for tests of what it draws: Chromium without a window."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def browser():
    """Chromium, of ``PLAIT_CHROMIUM`` or the path; a test that needs it fails where there is none."""
    program = os.environ.get("PLAIT_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("these tests need Chromium (Debian: apt install chromium), or PLAIT_CHROMIUM with its path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


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
