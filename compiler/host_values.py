"""Values of known nodes on the host, for decisions that hang on data: how many distinct rows there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from plait.compiler.lower.evaluate import evaluate
from plait.compiler.node_list import NodeList
from plait.ir.graph import Graph, Node
from plait.ir.ops import Apply, Const, Input, array_type, inputs


class Known:
    """The data of a compile, and what follows from them."""

    def __init__(self, graph: Graph, nodes: NodeList, data: Sequence[Any]) -> None:
        self._nodes = nodes
        self._given = dict(zip(inputs(graph, Input.DATA), data, strict=True))
        self._found: dict[Node, np.ndarray] = {}

    def __call__(self, wanted: Sequence[Node]) -> list[np.ndarray]:
        """The values of known nodes; each is computed once."""
        missing = [n for n in wanted if n not in self._found]
        self._found |= host_values(Graph(tuple(self._nodes.nodes)), self._given, missing) if missing else {}
        return [self._found[n] for n in wanted]


def host_values(graph: Graph, given: dict[Node, Any], wanted: Sequence[Node]) -> dict[Node, np.ndarray]:
    """Values of known nodes as numpy arrays; one compilation for those that are computed, not just moved."""
    found = {n: value for n in wanted if (value := _without_jax(n, given)) is not None}
    computed = [n for n in dict.fromkeys(wanted) if n not in found]
    if computed:
        with jax.ensure_compile_time_eval():  # also where the caller's jit is tracing
            values = jax.jit(lambda arrays: evaluate(graph, dict(zip(given, arrays, strict=True)), computed))(
                list(given.values())
            )
        found |= zip(computed, map(np.asarray, values), strict=True)
    return found


def _broadcast(x: np.ndarray, params: Mapping[str, Any]) -> np.ndarray:
    shape, axes = params["shape"], params["broadcast_dimensions"]
    aligned = x.reshape([x.shape[axes.index(i)] if i in axes else 1 for i in range(len(shape))])
    return np.broadcast_to(aligned, shape)


# What only moves entries, as numpy does it: for these alone a compilation would be a waste.
_MOVES: dict[str, Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": lambda x, params: x.reshape(params["new_sizes"]),
    "squeeze": lambda x, params: x.squeeze(params["dimensions"]),
}


def _without_jax(node: Node, given: Mapping[Node, Any]) -> np.ndarray | None:
    """The value of a constant, an array of the data, or a move of one; None for all else."""
    if isinstance(node.op, Const):
        return np.asarray(node.op.value)
    if node in given:
        return np.asarray(given[node], array_type(node).dtype)
    if not isinstance(node.op, Apply) or node.op.primitive.name not in _MOVES or len(node.args) != 1:
        return None
    moved = _without_jax(node.args[0], given)
    return None if moved is None else _MOVES[node.op.primitive.name](moved, node.op.parameters)


__all__ = ["Known", "host_values"]
