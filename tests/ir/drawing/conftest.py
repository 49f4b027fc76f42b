"""Fixtures of the browser."""

from tests.browser import browser, mermaid, page

__all__ = ["browser", "mermaid", "page"]
