"""Which site's gradient is not finite, and the code whose derivative makes it so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.lower.evaluate import RULES, evaluate
from plait.compiler.nonfinite.frames import Frame, Index, is_float
from plait.compiler.nonfinite.origins import first
from plait.ir.graph import Node, downstream
from plait.ir.ops import Item
from plait.ir.types import TupleType


@dataclass(frozen=True, eq=False)
class Slope:
    """A derivative that is not finite, of code whose value's own derivative is.

    Attributes:
        node: the code.
        position: of the argument to which it is the derivative.
        index: of the first entry of that argument with such a derivative.
        number: the derivative of the sum of the term with respect to it.
    """

    node: Node
    position: int
    index: Index
    number: float


def first_steep(frame: Frame, free: Sequence[Node], sums: Sequence[Node]) -> int | None:
    """The first of several terms whose sum's gradient is not finite, by bisection; None where all are finite.

    A term is left out of the program altogether: 0 times an infinite derivative would be NaN.

    Args:
        frame: a graph at a point.
        free: its nodes that the gradient is with respect to.
        sums: the terms, unsummed.
    """

    def is_finite(n: int) -> bool:
        return all(np.isfinite(g).all() for g in _gradient(frame, free, sums[:n]))

    low, high = 0, len(sums)  # the sum of the first `low` has a finite gradient
    if is_finite(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_finite(middle) else (low, middle)
    return low


def _gradient(frame: Frame, free: Sequence[Node], sums: Sequence[Node]) -> list[np.ndarray]:
    fixed = [n for n in frame.given if n not in set(free)]

    def total(moved: list[Any], rest: list[Any]) -> Any:
        given = dict(zip(free, moved, strict=True)) | dict(zip(fixed, rest, strict=True))
        return sum((jnp.sum(x) for x in evaluate(frame.graph, given, sums)), start=jnp.zeros(()))

    moved = [jnp.asarray(frame.given[n]) for n in free]
    gradient = jax.jit(jax.grad(total))(moved, [frame.given[n] for n in fixed])
    return [np.asarray(g) for g in gradient]


def steep(frame: Frame, free: Sequence[Node], term: Node) -> Slope | None:
    """Backwards from a term, node by node, to the first derivative that is not finite."""
    varies = downstream(frame.graph, lambda n: n in set(free)) - (frame.given.keys() - set(free))
    slopes: dict[Node, Any] = {term: jnp.ones_like(jnp.asarray(frame.fetch([term])[0]))}
    for node in reversed(frame.graph.nodes):
        if node not in slopes or node in frame.given:
            continue
        if isinstance(node.op, Item):
            _collect(slopes, node)
            continue
        positions = [i for i, a in enumerate(node.args) if a in varies and is_float(a)]
        for i, slope in zip(positions, _pulled(frame, node, positions, slopes[node]), strict=True):
            bad = first(~np.isfinite(np.asarray(slope)))
            if bad is not None:
                return Slope(node, i, bad, float(slope[bad]))
            arg = node.args[i]
            slopes[arg] = slopes[arg] + slope if arg in slopes else slope
    return None


def _collect(slopes: dict[Node, Any], node: Node) -> None:
    """The slope of one of several results, beside those of the others."""
    (several,) = node.args
    assert isinstance(node.op, Item)
    slopes.setdefault(several, {})[node.op.index] = slopes[node]


def _pulled(frame: Frame, node: Node, positions: Sequence[int], slope: Any) -> Sequence[Any]:
    """The slope of a node's value as those of its arguments at these positions."""
    args = frame.fetch(node.args)
    floats = [k for k, t in enumerate(node.type.items) if _inexact(t.dtype)] if isinstance(node.type, TupleType) else []

    def value(moved: list[Any], args: list[Any]) -> Any:
        whole = list(args)
        for i, x in zip(positions, moved, strict=True):
            whole[i] = x
        out = RULES[type(node.op)](node.op, whole)
        return [out[k] for k in floats] if floats else out

    def pull(moved: list[Any], args: list[Any], slope: Any) -> Any:
        out, back = jax.vjp(lambda moved: value(moved, args), moved)
        if floats:
            slope = [slope.get(k, jnp.zeros_like(x)) for k, x in zip(floats, out, strict=True)]
            slope = [jnp.asarray(s, x.dtype) for s, x in zip(slope, out, strict=True)]
        else:
            slope = jnp.asarray(slope, out.dtype)
        return back(slope)[0]

    return jax.jit(pull)([jnp.asarray(args[i]) for i in positions], args, slope)


def _inexact(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and np.issubdtype(dtype, np.inexact)


__all__ = ["Slope", "first_steep", "steep"]
