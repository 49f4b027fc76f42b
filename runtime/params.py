"""Values of `param` sites: a separate, named argument of the densities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.lower.evaluate import evaluate
from plait.ir.errors import ValueNamesError
from plait.ir.graph import Graph, Node
from plait.ir.ops import Input, Param, array, inputs
from plait.runtime.names import unknown_names


def are_drawn(model: Graph) -> bool:
    """Whether an initial value is random."""
    return bool(inputs(model, Input.KEY))


def initial(model: Graph, data: Sequence[Any], key: Any = None) -> tuple[Any, ...]:
    """The arrays of the params' initial values.

    Args:
        model: the model graph.
        data: its data arrays.
        key: a random key for the values that are drawn; each site gets one of its own.
    """
    given = dict(zip(inputs(model, Input.DATA), data, strict=True))
    drawn = inputs(model, Input.KEY)
    given |= zip(drawn, jax.random.split(key, len(drawn)) if drawn else (), strict=True)
    return tuple(jnp.asarray(x) for x in evaluate(model, given, model.of(Param)))


def packed(model: Graph, arrays: Sequence[Any]) -> dict[str, Any]:
    """By site: an array, or a module's pytree."""
    grouped: dict[str, list[Any]] = {}
    for op, value in zip(model.ops(Param), arrays, strict=True):
        grouped.setdefault(op.name, []).append(value)
    trees = {op.name: op.treedef for op in model.ops(Param)}
    return {name: jax.tree.unflatten(trees[name], leaves) for name, leaves in grouped.items()}


def unpacked(model: Graph, given: Mapping[str, Any], default: Sequence[Any] | None) -> tuple[Any, ...]:
    """The arrays of values by site; sites that are not given keep the default.

    Raises:
        ValueNamesError: an unknown site, a wrong shape, or a value that is missing and has no default.
    """
    nodes = model.of(Param)
    unknown_names(given.keys(), list(dict.fromkeys(op.name for op in model.ops(Param))), "param")
    leaves = {name: iter(jax.tree.leaves(tree)) for name, tree in given.items()}
    defaults = default or (None,) * len(nodes)
    return tuple(_leaf(node, leaves, fallback) for node, fallback in zip(nodes, defaults, strict=True))


def _leaf(node: Node, leaves: Mapping[str, Any], default: Any) -> Any:
    op, t = node.op, array(node.type)
    assert isinstance(op, Param)
    value = next(leaves[op.name], None) if op.name in leaves else default
    if value is None or np.shape(value) != t.shape:
        got = "none" if value is None else f"shape {np.shape(value)}"
        raise ValueNamesError(f"param {op.name!r}{op.path} needs a value of shape {t.shape}, got {got}", node.loc)
    return jnp.asarray(value, t.dtype)
