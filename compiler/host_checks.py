"""Conditions on data, evaluated on the host in numpy: XLA would compile a kernel for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from plait.compiler.members import Stack
from plait.compiler.refused_data import Asked, refuse_where_not
from plait.ir.errors import InternalError
from plait.ir.graph import Node
from plait.ir.ops import Check, InRange, InSet, NotNan
from plait.ir.spec import rebuild


def require(check: Node, values: Sequence[Any], families: Mapping[str, Stack] = MappingProxyType({})) -> None:
    """Raises DataError where a check's condition fails on the values of its arguments; says at which element."""
    assert isinstance(check.op, Check)
    arrays = [np.asarray(v) for v in values]
    holds, event_ndim = condition(check.op, np, arrays)
    refuse_where_not(np.asarray(holds), arrays[0], Asked(check.op.message, event_ndim, check.loc), families)


def condition(op: Check, xp: Any, arrays: Sequence[Any]) -> tuple[Any, int]:
    """Whether it holds, element by element, and how many rightmost axes of the first array make up an element.

    Args:
        op: the condition.
        xp: numpy, or jax.numpy where the arrays are traced.
        arrays: its arguments.
    """
    x = arrays[0]
    match op.condition:
        case InSet(part, masked):
            constraint = rebuild(part, arrays[1:-1] if masked else arrays[1:])
            inside = xp.asarray(constraint(x))
            return (inside | ~arrays[-1] if masked else inside), constraint.event_dim
        case InRange(last, vectors):
            inside = (x >= 0) & (x <= xp.asarray(last if vectors else last[0]))
            return (xp.all(inside, axis=-1) if vectors else inside), int(vectors)
        case NotNan(finite):
            return xp.isfinite(x) if finite else ~xp.isnan(x), 0
    raise InternalError(f"no condition {op.condition}")


__all__ = ["condition", "require"]
