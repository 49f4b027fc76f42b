"""Conditions on data, evaluated on the host in numpy: XLA would compile a kernel for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from plait.ir.errors import DataError, InternalError
from plait.ir.graph import Node
from plait.ir.ops import Check, InRange, InSet, NotNan
from plait.ir.spec import rebuild


def require(check: Node, values: Sequence[Any]) -> None:
    """Raises DataError where a check's condition fails on the values of its arguments; says at which element."""
    assert isinstance(check.op, Check)
    arrays = [np.asarray(v) for v in values]
    holds = np.asarray(_holds(check.op, arrays))
    if holds.all():
        return
    bad = np.argwhere(~np.atleast_1d(holds))
    index = tuple(int(i) for i in bad[0]) if holds.ndim else ()
    at = f" at index {list(index)}" if index else ""
    more = f" ({len(bad)} such elements)" if len(bad) > 1 else ""
    raise DataError(f"{check.op.message}: got {_shown(arrays[0], index)}{at}{more}", check.loc)


def _holds(op: Check, arrays: Sequence[np.ndarray]) -> Any:
    """The condition, element by element."""
    match op.condition:
        case InSet(constraint, masked):
            leaves = arrays[1:-1] if masked else arrays[1:]
            inside = rebuild(constraint, leaves)(arrays[0])
            return inside | ~arrays[-1] if masked else inside
        case InRange(last, vectors):
            inside = (arrays[0] >= 0) & (arrays[0] <= np.asarray(last if vectors else last[0]))
            return np.all(inside, axis=-1) if vectors else inside
        case NotNan():
            return ~np.isnan(arrays[0])
    raise InternalError(f"no condition {op.condition}")


def _shown(array: np.ndarray, index: tuple[int, ...]) -> Any:
    """The element, or the whole event where the condition is about events."""
    value = array[index] if len(index) <= array.ndim else array
    if np.size(value) == 1:
        return value.item()
    return " ".join(np.array2string(value, threshold=9, separator=", ").split())


__all__ = ["require"]
