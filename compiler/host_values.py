"""Values of known nodes on the host, for decisions that hang on data: how many distinct rows there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from plait.compiler.lower.evaluate import evaluate
from plait.compiler.node_list import NodeList
from plait.ir.graph import Graph, Node
from plait.ir.ops import Const, Input, inputs


class Known:
    """The data of a compile, and what follows from them."""

    def __init__(self, graph: Graph, nodes: NodeList, data: Sequence[Any]) -> None:
        self._nodes = nodes
        self._given = dict(zip(inputs(graph, Input.DATA), data, strict=True))

    def __call__(self, wanted: Sequence[Node]) -> list[np.ndarray]:
        """The values of known nodes."""
        values = host_values(Graph(tuple(self._nodes.nodes)), self._given, wanted)
        return [values[n] for n in wanted]


def host_values(graph: Graph, given: dict[Node, Any], wanted: Sequence[Node]) -> dict[Node, np.ndarray]:
    """Values of known nodes as numpy arrays; one compilation for those that are computed."""
    found = {n: np.asarray(n.op.value) for n in wanted if isinstance(n.op, Const)}
    found |= {n: np.asarray(given[n]) for n in wanted if n in given}
    computed = [n for n in dict.fromkeys(wanted) if n not in found]
    if computed:
        with jax.ensure_compile_time_eval():  # also where the caller's jit is tracing
            values = jax.jit(lambda arrays: evaluate(graph, dict(zip(given, arrays, strict=True)), computed))(
                list(given.values())
            )
        found |= zip(computed, map(np.asarray, values), strict=True)
    return found


__all__ = ["Known", "host_values"]
