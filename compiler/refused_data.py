"""Data that contradict a model: the sentence that says where, and with which value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from plait.compiler.members import Stack
from plait.ir.errors import DataError
from plait.ir.types import Loc

Index = tuple[int, ...]

_MISSING = "drop or fill in missing values, or mask them (obs_mask=, handlers.mask)"


@dataclass(frozen=True)
class Asked:
    """A condition on data.

    Attributes:
        message: where it does not hold; what stands after a semicolon is the remedy, which goes to the end.
        event_ndim: how many rightmost axes of the data make up an element.
        loc: the user's line.
    """

    message: str
    event_ndim: int
    loc: Loc | None


def refuse_where_not(
    holds: np.ndarray, x: np.ndarray, asked: Asked, families: Mapping[str, Stack] = MappingProxyType({})
) -> None:
    """Raises DataError where a condition does not hold; of a family it names the user's own site.

    Args:
        holds: element by element.
        x: what it is asked of.
        asked: the condition.
        families: of the sites.
    """
    if holds.all():
        return
    bad = np.argwhere(~np.atleast_1d(holds))
    index = tuple(int(i) for i in bad[0]) if holds.ndim else ()
    more = f" ({len(bad)} such elements)" if len(bad) > 1 else ""
    what, _, remedy = asked.message.partition("; ")
    what, place = _in_the_users_words(what, index, holds.shape, families)
    at = f" at index {list(place)}" if place else ""
    got = _element(x, asked.event_ndim, holds.shape, index)
    if np.issubdtype(got.dtype, np.floating) and np.isnan(got).any():
        remedy = _MISSING
    raise DataError(f"{what}: got {shown(got)}{at}{more}{'; ' if remedy else ''}{remedy}", asked.loc)


def _in_the_users_words(what: str, index: Index, shape: Index, families: Mapping[str, Stack]) -> tuple[str, Index]:
    """``site 'y_*'`` at [3, 1] is ``site 'y_3'`` at [1]."""
    for name, family in families.items():
        counts = shape[family.axis : family.axis + family.axes]
        if what.startswith(f"site {name!r}") and math.prod(counts) == len(family.names) and index:
            which = int(np.ravel_multi_index(index[family.axis : family.axis + family.axes], counts))
            return what.replace(repr(name), repr(family.names[which]), 1), family.member(index)
    return what, index


def _element(x: np.ndarray, event_ndim: int, batch: tuple[int, ...], index: tuple[int, ...]) -> np.ndarray:
    """An element by its place in the condition, which bounds or a mask may have broadcast to a larger shape."""
    event = x.shape[x.ndim - event_ndim :]
    return np.asarray(np.broadcast_to(x, batch + event)[index] if index else x)


def shown(value: np.ndarray) -> str:
    """A number, or a small array on one line."""
    if value.size == 1:
        return str(value.flat[0])  # the shortest digits that tell it in its own precision
    return " ".join(np.array2string(value, threshold=9, separator=", ").split())


__all__ = ["Asked", "refuse_where_not", "shown"]
