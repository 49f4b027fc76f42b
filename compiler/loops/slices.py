"""What a loop's index takes out of an array, for all steps at once: a slice, where the index is an even progression.

a: f64[1] = dynamic_slice y i + 1     ⇒   a: f64[7, 1] = reshape (slice y [1:8])

Without this, ``theta[i]`` would be a gather, and its gradient a scatter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.importer import Builder
from plait.compiler.memo import remembered
from plait.compiler.staged import struct
from plait.ir.graph import Node
from plait.ir.ops import Apply, Const, array_type
from plait.ir.types import ArrayType, Shape


class Numbers:
    """The value at each step of what a step computes from its index and constants alone."""

    def __init__(self, index: Node, size: int) -> None:
        self.size = size
        self._found: dict[Node, np.ndarray | None] = {index: np.arange(size)}

    def of(self, node: Node) -> np.ndarray | None:
        """An integer or a bool for each step; None for anything else."""
        if node not in self._found:
            self._found[node] = self._computed(node)
        return self._found[node]

    def _computed(self, node: Node) -> np.ndarray | None:
        t = node.type
        if not isinstance(t, ArrayType) or t.shape or not isinstance(t.dtype, np.dtype) or t.dtype.kind not in "biu":
            return None
        if isinstance(node.op, Const):
            return np.full(self.size, node.op.value, t.dtype)
        rule = _RULES.get(node.op.primitive.name) if isinstance(node.op, Apply) else None
        args = [self.of(a) for a in node.args]
        if rule is None or any(a is None for a in args) or (rule in _DIVISIONS and not np.all(args[1])):
            return None
        return np.asarray(rule(*args)).astype(t.dtype)


def _towards_zero(x: Any, y: Any) -> Any:
    return np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))


_DIVISIONS = (np.fmod, _towards_zero)

_RULES: dict[str, Callable[..., Any]] = {
    "convert_element_type": lambda x: x,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "rem": np.fmod,
    "div": _towards_zero,
    "sign": np.sign,
    "max": np.maximum,
    "min": np.minimum,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "not": np.invert,
    "select_n": lambda which, *cases: np.choose(which.astype(int), cases),
}


def sliced(builder: Builder, node: Node, lanes: Sequence[bool], numbers: Numbers) -> Node | None:
    """The parts that a step's `dynamic_slice` takes of an array which all steps share, as one part of it.

    Args:
        builder: gets the new nodes.
        node: a step's.
        lanes: which of its arguments differ from step to step.
        numbers: of that step.

    Returns:
        A node with a leading axis for the steps, or None where they take no even progression along one axis.
    """
    is_part = isinstance(node.op, Apply) and node.op.primitive.name == "dynamic_slice"
    if not is_part or lanes[0]:
        return None
    x, *starts = node.args
    t, sizes = array_type(x), array_type(node).shape
    places = [_inside(numbers.of(s), n - m) for s, n, m in zip(starts, t.shape, sizes, strict=True)]
    if any(place is None and lane for place, lane in zip(places, lanes[1:], strict=True)):
        return None
    moving = {d: set(np.diff(p).tolist()) for d, p in enumerate(places) if p is not None and np.ptp(p)}
    if len(moving) != 1:
        return None
    ((axis, steps),) = moving.items()
    first = tuple(None if place is None else int(place[0]) for place in places)
    if sizes[axis] != 1 or len(steps) != 1 or (None in first and steps != {1}):
        return None
    closed = _parts(t, first, sizes, axis, steps.pop(), numbers.size, array_type(starts[0]))
    unknown = [start for start, place in zip(starts, first, strict=True) if place is None]
    (new,) = builder.inline(closed, [x, *unknown], node.loc)
    return new


def _inside(starts: np.ndarray | None, last: int) -> np.ndarray | None:
    """Where parts begin: as `dynamic_slice` does it, never so late that they would not fit."""
    return None if starts is None else np.clip(starts, 0, last)


@remembered
def _parts(
    t: ArrayType, first: tuple[int | None, ...], sizes: Shape, axis: int, step: int, n: int, index: ArrayType
) -> Any:
    """The jaxpr from an array to n parts of it.

    Args:
        t: the array's type.
        first: where the first part begins; None where an argument of the jaxpr says so for all of them.
        sizes: of a part.
        axis: along which each part begins `step` further than the one before.
        step: not 0; 1 where `first` has a None.
        n: the number of parts.
        index: type of the jaxpr's arguments after the array.
    """
    low = [0 if start is None else start for start in first]
    low[axis] = min(low[axis], low[axis] + (n - 1) * step)
    span = [(n - 1) * abs(step) + 1 if d == axis else size for d, size in enumerate(sizes)]

    def parts(x: Any, *starts: Any) -> Any:
        if starts:
            given = iter(starts)
            x = jax.lax.dynamic_slice(
                x, [next(given) if p is None else jnp.asarray(p, index.dtype) for p in first], span
            )
        elif tuple(span) != t.shape or step not in (1, -1):
            high = [a + m for a, m in zip(low, span, strict=True)]
            x = jax.lax.slice(x, low, high, [abs(step) if d == axis else 1 for d in range(t.ndim)])
        x = jax.lax.rev(x, (axis,)) if step < 0 else x
        return jnp.expand_dims(jnp.moveaxis(x, axis, 0), axis + 1)

    return jax.make_jaxpr(parts)(struct(t), *(struct(index) for start in first if start is None))


__all__ = ["Numbers", "sliced"]
