"""Checks of the numbers that users give to samplers, before anything slow runs."""

from __future__ import annotations

import math
import operator
from typing import Any

from plait.runtime import OptionError


def at_least(bound: int, **counts: Any) -> None:
    """Raises OptionError where a count is less than `bound` or no integer; names it."""
    for name, count in counts.items():
        try:
            small = operator.index(count) < bound
        except TypeError:
            small = True
        if small:
            raise OptionError(f"{name} is an integer of at least {bound}, got {name}={count!r}")


def probability(**given: Any) -> None:
    """Raises OptionError where a number is not strictly between 0 and 1; names it."""
    for name, p in given.items():
        if not 0 < p < 1:
            raise OptionError(f"{name} is a probability between 0 and 1, got {p}")


def positive(**given: Any) -> None:
    """Raises OptionError where a number is not positive and finite; names it."""
    for name, x in given.items():
        if not 0 < x < math.inf:
            raise OptionError(f"{name} is a positive number, got {x}")


__all__ = ["at_least", "positive", "probability"]
