"""The frontier of a linear predictor: the fewest numbers that it is affine in, given data.

eta = alpha[county] + x @ beta with alpha = mu + tau * raw   ⇒   alpha (85), beta (3)

What is affine given known values (sums, products with data, slices, gathers by known indices, matrix products with a
known design) is walked back; whatever else (`tau * raw`, `exp(...)`) is part of the frontier. Among all frontiers the
one of least total size is a minimum cut.
"""

from __future__ import annotations

from collections.abc import Set

import networkx as nx
import numpy as np

from plait.ir.graph import Node
from plait.ir.ops import Apply, array_type

_SUMS = frozenset({"add", "sub", "neg", "reduce_sum", "add_any", "concatenate"})
_MOVES = frozenset(
    {"broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "rev", "copy", "gather", "dynamic_slice"}
)  # fmt: skip


def moved_from(node: Node, known: Set[Node]) -> Node:
    """The node whose entries a node moves: ``(a[:, None] + b)[i, j]`` reads entries of the sum."""
    while node not in known and moves(node, known):
        node = node.args[0]
    return node


def frontier(node: Node, known: Set[Node]) -> tuple[Node, ...]:
    """The nodes of least total size that `node` is affine in, given the known ones.

    Args:
        node: an unknown float.
        known: the nodes that data alone decide.

    Returns:
        In the order in which a walk from `node` meets them; `node` itself where nothing smaller does.
    """
    order = _affine_order(node, known)
    size = {n: array_type(n).size for n in order}
    scale = len(order) ** 2 + 1  # among frontiers of one size the one nearest to the node: fewer operations on the host
    cuts = nx.DiGraph()
    for depth, n in enumerate(order):
        cuts.add_edge((n, "in"), (n, "out"), capacity=max(size[n], 1) * scale + depth)
        inner = _unknown_args(n, known) if is_affine(n, known) else []
        for arg in inner:
            cuts.add_edge((arg, "out"), (n, "in"))  # no capacity: infinite
        if not inner:
            cuts.add_edge("latents", (n, "in"))
    _, (behind, _) = nx.minimum_cut(cuts, "latents", (node, "out"))
    return tuple(n for n in order if (n, "in") in behind and (n, "out") not in behind)


def is_affine(node: Node, known: Set[Node]) -> bool:
    """Whether a node is affine in its unknown arguments."""
    if not isinstance(node.op, Apply) or not np.issubdtype(array_type(node).dtype, np.floating):
        return False
    name = node.op.primitive.name
    if name in _SUMS:
        return True
    if name == "mul" or name == "dot_general":
        return any(a in known for a in node.args)
    if name == "div":
        return node.args[1] in known
    if name == "select_n":
        return node.args[0] in known
    if name == "convert_element_type":
        return _widens(array_type(node.args[0]).dtype, array_type(node).dtype)
    return moves(node, known)


def moves(node: Node, known: Set[Node]) -> bool:
    """Whether a node's entries are those of its first argument, by positions that are known."""
    op = node.op
    return isinstance(op, Apply) and op.primitive.name in _MOVES and all(a in known for a in node.args[1:])


def _widens(old: np.dtype, new: np.dtype) -> bool:
    return np.issubdtype(old, np.floating) and np.can_cast(old, new)


def _affine_order(node: Node, known: Set[Node]) -> list[Node]:
    """The node and all that it may be affine in, each before its arguments."""
    found: dict[Node, None] = {}
    todo = [node]
    while todo:
        n = todo.pop()
        if n not in found:
            found[n] = None
            todo += _unknown_args(n, known)[::-1] if is_affine(n, known) else []
    return list(found)


def _unknown_args(node: Node, known: Set[Node]) -> list[Node]:
    return [a for a in dict.fromkeys(node.args) if a not in known]


__all__ = ["frontier", "is_affine", "moved_from", "moves"]
