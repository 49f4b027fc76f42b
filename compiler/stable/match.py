"""Finds an expression in a graph: the expression is a function, and its trace the pattern.

So a pattern reads like the mathematics, and what jax makes of ``jax.nn.sigmoid`` is up to jax.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.importer import Builder
from plait.compiler.memo import remembered
from plait.compiler.staged import struct
from plait.ir.graph import Node
from plait.ir.ops import Apply, Const, Input, Item, array_type, is_op
from plait.ir.types import ArrayType, Shape

Found = dict[Node, Node]  # from the variables of a pattern to nodes of the graph
_COMMUTATIVE = frozenset({"add", "mul", "max", "min"})


def match(expression: Callable[..., Any], node: Node, types: Sequence[ArrayType] = ()) -> tuple[Node, ...] | None:
    """What the arguments of `expression` are where a node computes it, else None.

    Args:
        expression: a function of arrays.
        node: of the graph.
        types: of the arguments; by default all are scalars of the node's dtype, and the expression is elementwise.
    """
    # jax's own functions may have options besides, by keyword only
    names = [n for n, p in signature(expression).parameters.items() if p.kind is not p.KEYWORD_ONLY]
    types = types or [ArrayType(array_type(node).dtype, ())] * len(names)
    variables, pattern = _pattern(expression, tuple(types))
    found = _unified(pattern, node, {})
    return None if found is None else tuple(found[v] for v in variables)


def logaddexp_of(node: Node) -> tuple[Node, ...] | None:
    """The two arguments of jax's ``logaddexp`` where a node computes it, else None."""
    if not isinstance(node.op, Item) or not is_op(node.args[0], "custom_jvp_call") or len(node.args[0].args) != 2:
        return None
    out, types = array_type(node), tuple(map(array_type, node.args[0].args))
    fits = all(t.dtype == out.dtype and _broadcasts(t.shape, out.shape) for t in types)
    return match(jnp.logaddexp, node, types) if fits else None


def _broadcasts(shape: Shape, to: Shape) -> bool:
    same_rank = len(shape) in (0, len(to))
    return same_rank and all(m in (1, n) for m, n in zip(shape, to, strict=False))


@remembered
def _pattern(expression: Callable[..., Any], types: tuple[ArrayType, ...]) -> tuple[tuple[Node, ...], Node]:
    """The variables and the root of an expression's graph."""
    builder = Builder()
    variables = tuple(builder.add(Input(f"x{i}", Input.BODY, t)) for i, t in enumerate(types))
    (root,) = builder.inline(jax.make_jaxpr(expression)(*map(struct, types)), variables)
    return variables, root


def _unified(pattern: Node, node: Node, found: Found) -> Found | None:
    """The variables' nodes, those of `found` included, where the node is what the pattern says."""
    if isinstance(pattern.op, Input):
        same = found.setdefault(pattern, node) is node
        return found if same else None
    if isinstance(pattern.op, Const):
        wanted, have = number(pattern), number(node)
        return found if wanted is not None and wanted == have else None
    if not _same_op(pattern, node):
        return None
    orders = [node.args]
    if isinstance(node.op, Apply) and node.op.primitive.name in _COMMUTATIVE:
        orders.append(node.args[::-1])
    for args in orders:
        inner: Found | None = dict(found)
        for p, a in zip(pattern.args, args, strict=True):
            inner = _unified(p, a, inner) if inner is not None else None
        if inner is not None:
            return inner
    return None


def _same_op(pattern: Node, node: Node) -> bool:
    """Whether two nodes do the same to arguments of whatever shape."""
    a, b = pattern.op, node.op
    if isinstance(a, Item) and isinstance(b, Item):
        return a.index == b.index
    if not (isinstance(a, Apply) and isinstance(b, Apply)) or a.primitive is not b.primitive:
        return False
    return len(pattern.args) == len(node.args) and (a.params == b.params or _texts(a.params) == _texts(b.params))


def _texts(params: tuple[tuple[str, Any], ...]) -> list[str]:
    """Parameters to compare: a jaxpr is what it says, and a rule for its derivative can but be that of what it says."""
    return [f"{name}={value}" for name, value in params if not name.endswith(("_fun", "_thunk"))]


def number(node: Node) -> float | None:
    """The one real number that a node holds, be it broadcast or not; None for everything else."""
    while _keeps_number(node):
        (node,) = node.args
    if not isinstance(node.op, Const) or node.op.literal is None:
        return None
    value = np.asarray(node.op.value)
    return float(value) if np.issubdtype(value.dtype, np.number) else None


def _keeps_number(node: Node) -> bool:
    if not isinstance(node.op, Apply):
        return False
    to_float = node.op.primitive.name == "convert_element_type" and np.issubdtype(array_type(node).dtype, np.floating)
    return to_float or node.op.primitive.name == "broadcast_in_dim"


__all__ = ["logaddexp_of", "match", "number"]
