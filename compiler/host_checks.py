"""Conditions on data, evaluated on the host in numpy: XLA would compile a kernel for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from plait.compiler.members import Stack
from plait.ir.errors import DataError, InternalError
from plait.ir.graph import Node
from plait.ir.ops import Check, InRange, InSet, NotNan
from plait.ir.spec import rebuild

Index = tuple[int, ...]

_MISSING = "drop or fill in missing values, or mask them (obs_mask=, handlers.mask)"


def require(check: Node, values: Sequence[Any], families: Mapping[str, Stack] = MappingProxyType({})) -> None:
    """Raises DataError where a check's condition fails on the values of its arguments; says at which element.

    What a check's message says after a semicolon is the remedy, which goes to the end of the sentence. Of `families`
    it names the user's own site.
    """
    assert isinstance(check.op, Check)
    arrays = [np.asarray(v) for v in values]
    holds, event_ndim = _holds(check.op, arrays)
    if holds.all():
        return
    bad = np.argwhere(~np.atleast_1d(holds))
    index = tuple(int(i) for i in bad[0]) if holds.ndim else ()
    more = f" ({len(bad)} such elements)" if len(bad) > 1 else ""
    what, _, remedy = check.op.message.partition("; ")
    what, place = _in_the_users_words(what, index, holds.shape, families)
    at = f" at index {list(place)}" if place else ""
    got = _element(arrays[0], event_ndim, holds.shape, index)
    if np.issubdtype(got.dtype, np.floating) and np.isnan(got).any():
        remedy = _MISSING
    raise DataError(f"{what}: got {shown(got)}{at}{more}{'; ' if remedy else ''}{remedy}", check.loc)


def _in_the_users_words(what: str, index: Index, shape: Index, families: Mapping[str, Stack]) -> tuple[str, Index]:
    """``site 'y_*'`` at [3, 1] is ``site 'y_3'`` at [1]."""
    for name, family in families.items():
        counts = shape[family.axis : family.axis + family.axes]
        if what.startswith(f"site {name!r}") and math.prod(counts) == len(family.names) and index:
            which = int(np.ravel_multi_index(index[family.axis : family.axis + family.axes], counts))
            return what.replace(repr(name), repr(family.names[which]), 1), family.member(index)
    return what, index


def _holds(op: Check, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """The condition, element by element, and how many rightmost axes of the first array make up an element."""
    x = arrays[0]
    match op.condition:
        case InSet(part, masked):
            constraint = rebuild(part, arrays[1:-1] if masked else arrays[1:])
            inside = np.asarray(constraint(x))
            return (inside | ~arrays[-1] if masked else inside), constraint.event_dim
        case InRange(last, vectors):
            inside = (x >= 0) & (x <= np.asarray(last if vectors else last[0]))
            return (np.all(inside, axis=-1) if vectors else inside), int(vectors)
        case NotNan(finite):
            return np.isfinite(x) if finite else ~np.isnan(x), 0
    raise InternalError(f"no condition {op.condition}")


def _element(x: np.ndarray, event_ndim: int, batch: tuple[int, ...], index: tuple[int, ...]) -> np.ndarray:
    """An element by its place in the condition, which bounds or a mask may have broadcast to a larger shape."""
    event = x.shape[x.ndim - event_ndim :]
    return np.asarray(np.broadcast_to(x, batch + event)[index] if index else x)


def shown(value: np.ndarray) -> str:
    """A number, or a small array on one line."""
    if value.size == 1:
        return str(value.flat[0])  # the shortest digits that tell it in its own precision
    return " ".join(np.array2string(value, threshold=9, separator=", ").split())


__all__ = ["require", "shown"]
