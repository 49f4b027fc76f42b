"""The logarithm of a rate, where the model writes the rate as a product of exponentials.

exp(mu + a[g]) * exposure   ⇒   mu + a[g] + log exposure
concentration / exp(eta)    ⇒   log concentration − eta
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from plait.compiler.analysis.frontier import moves
from plait.compiler.importer import Builder
from plait.ir.graph import Node, make
from plait.ir.ops import Apply, array_type


def log_of(builder: Builder, node: Node, known: set[Node]) -> Node | None:
    """A node that is the logarithm of a positive one; None where it is not a product of exponentials and scalars.

    Args:
        builder: gets the nodes.
        node: a float.
        known: what data alone decide; new known nodes are added.
    """
    scalars: list[Node] = []
    log = _log(builder, node, known, scalars, jnp.log)
    if log is None or len(scalars) <= 1:
        return log
    signs, scalars = scalars, []  # two that are negative make a positive one
    log = _log(builder, node, known, scalars, lambda x: jnp.log(jnp.abs(x)))
    assert log is not None
    return builder.code(lambda log, *x: log + jnp.log(math.prod(map(jnp.sign, x))), [log, *signs])


def _log(
    builder: Builder, node: Node, known: set[Node], scalars: list[Node], of_scalar: Callable[..., Any]
) -> Node | None:
    """The logarithm; `scalars` gets those that may be negative."""
    if node in known:
        known.add(log := builder.code(jnp.log, [node]))
        return log
    if isinstance(node.op, Apply) and node.op.primitive.name == "exp":
        return node.args[0]
    if array_type(node).size == 1:
        scalars.append(node)
        return builder.code(of_scalar, [node])
    if not isinstance(node.op, Apply):
        return None
    name = node.op.primitive.name
    if name in _PARTS:
        parts = [_log(builder, a, known, scalars, of_scalar) for a in node.args]
        whole = [p for p in parts if p is not None]
        return builder.code(_PARTS[name], whole) if len(whole) == len(parts) else None
    fills = node.op.parameters.get("fill_value") is not None
    moved_only = moves(node, known) and not fills
    if moved_only or (name == "convert_element_type" and array_type(node) == array_type(node.args[0])):
        inner = _log(builder, node.args[0], known, scalars, of_scalar)
        if inner is None or array_type(inner).dtype != array_type(node).dtype:
            return None
        moved = make(node.op, (inner, *node.args[1:]), node.loc)
        builder.nodes.append(moved)
        return moved
    return None


_PARTS: dict[str, Callable[..., Any]] = {"mul": jnp.add, "div": jnp.subtract}


__all__ = ["log_of"]
