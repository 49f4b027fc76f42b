"""A graph of a compile, with a sentence on what made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRACED = "The model as it was traced, with the checks that NumPyro's code makes."
LAST = "The density after the last pass: what is evaluated."


@dataclass(frozen=True)
class StageGraph:
    """A graph of a compile.

    Attributes:
        name: of the pass that it comes from, or "trace".
        about: what the pass does, a sentence.
        graph: its JSON form.
    """

    name: str
    about: str
    graph: Mapping[str, Any]


__all__ = ["LAST", "TRACED", "StageGraph"]
