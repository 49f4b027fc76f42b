"""Text of the user's as a picture shows it: on one line, not longer than a line, and nothing but text."""

from __future__ import annotations

LONGEST = 60  # characters of a line


def printable(text: str) -> str:
    """The text on one line; characters that control a terminal, a page or the layout are written as Python does."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def short(text: str) -> str:
    """Both."""
    return cut(printable(text))


__all__ = ["LONGEST", "cut", "printable", "short"]
