"""Nodes in the making: what the importer and the passes collect, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from plait.ir.graph import Node, ancestors, make
from plait.ir.ops import Const, Input, Sum, array_type
from plait.ir.types import ArrayType, Loc


class NodeList:
    """Collects nodes in order."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, op: Any, args: Sequence[Node] = (), loc: Loc | None = None) -> Node:
        self.nodes.append(make(op, args, loc))
        return self.nodes[-1]

    def const(self, value: Any, t: ArrayType, loc: Loc | None = None) -> Node:
        return self.add(Const(_plain(value, t), t), (), loc)

    def total(self, node: Node) -> Node:
        """The sum of a node over its axes."""
        return self.add(Sum(), [node], node.loc) if array_type(node).shape else node

    def recomputed(self, wanted: Sequence[Node], body: Iterable[Node], env: Mapping[Node, Node]) -> list[Node] | None:
        """Nodes of a loop's body or of a branch computed here, or None where they depend on more than `env` has.

        Args:
            wanted: nodes of the body.
            body: its nodes, in order.
            env: for inputs of the body their values here.
        """
        here = dict(env)
        needed = ancestors(wanted)
        for node in body:
            if node in needed and node not in here:
                if isinstance(node.op, Input):
                    return None
                here[node] = self.add(node.op, [here[a] for a in node.args], node.loc)
        return [here[n] for n in wanted]


def merged(addends: Iterable[Node], groups: Mapping[Node, Node], env: Mapping[Node, Node]) -> Iterator[Node]:
    """The addends of a rewritten sum: what stands for a whole group comes once, every other one is looked up in `env`.

    Args:
        addends: of the sum before.
        groups: for each member of a group the one addend of all.
        env: the rewritten nodes.
    """
    done: set[Node] = set()
    for node in addends:
        whole = groups.get(node)
        if whole is None:
            yield env[node]
        elif whole not in done:
            done.add(whole)
            yield whole


def _plain(value: Any, t: ArrayType) -> Any:
    """A literal that came from a Python number is one again, so that promotion stays weak."""
    if t.weak and t.shape == () and np.issubdtype(t.dtype, np.number):
        return np.asarray(value).item()
    return value
