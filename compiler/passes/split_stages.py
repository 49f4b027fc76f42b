"""split_stages: what data alone decide is computed once per data set, by `prepare`.

a: f64[8] = log sigma            a: f64[8] = log sigma
b: f64[8] = sub theta a      ⇒   h: f64[8] = hoist[0] a         (everything above the line: prepare)
                                 b: f64[8] = sub theta h
"""

from __future__ import annotations

import numpy as np

from plait.compiler.binding import data_names, known_nodes
from plait.compiler.importer import Builder
from plait.ir.graph import Graph, Node, Output, Role, downstream, make, with_outputs
from plait.ir.ops import AddN, Apply, Check, Hoist, Input, Item, NotNan, Plate, array_type
from plait.ir.types import ArrayType


def split_stages(graph: Graph) -> Graph:
    """Marks what is known before the call: ``f (g data) z  ⇒  h = hoist (g data);  f h z``."""
    stages = _Stages(graph)
    for node in graph:
        stages.place(node)
    outputs = [
        Output(o.role, o.name, stages.env[o.node] if o.role is Role.CHECK else stages.crossing(o.node))
        for o in graph.outputs
    ]
    n = len(graph.named(Role.CHECK))
    outputs += [Output(Role.CHECK, str(n + i), node) for i, node in enumerate(stages.nan_checks(graph))]
    return with_outputs(stages.nodes, outputs)


class _Stages(Builder):
    """Rebuilds the graph with a hoist wherever a known value meets an unknown one."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.known = known_nodes(graph)
        self.on_data = downstream(graph, lambda n: isinstance(n.op, Input) and n.op.kind == Input.DATA)
        self.env: dict[Node, Node] = {}
        self.hoists: dict[Node, Node] = {}
        self.repeats: dict[Node, Node] = {}

    def place(self, node: Node) -> None:
        if node in self.known:
            self.env[node] = self._kept(node, tuple(self.env[a] for a in node.args))
        elif isinstance(node.op, AddN):
            self.env[node] = self.add(node.op, self._addends(node), node.loc)
        else:
            self.env[node] = self._kept(node, tuple(self.crossing(a) for a in node.args))

    def crossing(self, node: Node) -> Node:
        """What an unknown node reads: known values hoisted, but what XLA folds (constant scalars) as it is.

        What only repeats a value is left to the call, which reads less so.
        """
        new = self.env[node]
        if node in self.known and _repeated(node) is not node:
            if new not in self.repeats:
                self.repeats[new] = make(node.op, (self.crossing(node.args[0]),), node.loc)
                self.nodes.append(self.repeats[new])
            return self.repeats[new]
        counts = isinstance(node.op, Plate) and not node.args
        if node not in self.known or counts or (_is_scalar(node) and node not in self.on_data):
            return new
        if new not in self.hoists:
            self.hoists[new] = self.add(Hoist(len(self.hoists)), [new], node.loc)
        return self.hoists[new]

    def _addends(self, node: Node) -> list[Node]:
        """The known terms of a sum are one number."""
        known = [self.env[a] for a in node.args if a in self.known]
        unknown = [self.env[a] for a in node.args if a not in self.known]
        if not known:
            return unknown
        total = self.add(node.op, known, node.loc)
        self.hoists[total] = self.add(Hoist(len(self.hoists)), [total], node.loc)
        return [self.hoists[total], *unknown]

    def _kept(self, node: Node, args: tuple[Node, ...]) -> Node:
        new = node if args == node.args else make(node.op, args, node.loc)
        self.nodes.append(new)
        return new

    def nan_checks(self, graph: Graph) -> list[Node]:
        """A NaN that crosses into arithmetic poisons value or gradient; what only moves it may drop it again.

        So does an infinity that a product takes; a sum, a minimum or a bound may well be infinite. The statistics of
        the host have been data before: those are checked where the rows are.
        """
        checks = []
        harmful: dict[Node, Node] = {}
        factors: set[Node] = set()
        for node in graph:
            if node not in self.known and _calculates(node, _ARITHMETIC):
                known = [self.env[_repeated(a)] for a in node.args if a in self.known]
                harmful |= dict.fromkeys(reversed(known), node)
                factors |= set(known) if _calculates(node, _PRODUCTS) else set()
        for node in [n for n in self.hoists if n in harmful and not isinstance(n.op, Item)]:
            t = array_type(node)
            sources = [repr(name) for name in data_names(node)]
            if np.issubdtype(t.dtype, np.floating) and sources:
                what = "a NaN or an infinity" if node in factors else "a NaN"
                message = f"data {', '.join(sources)} make {what} here, which would spread to the log density"
                checks.append(self.add(Check(NotNan(node in factors), message), [node], harmful[node].loc))
        return checks


def _repeated(node: Node) -> Node:
    """What a node repeats along new axes; itself where it does not."""
    while isinstance(node.op, Apply) and node.op.primitive.name == "broadcast_in_dim" and len(node.args) == 1:
        if array_type(node).size <= array_type(node.args[0]).size:
            break
        (node,) = node.args
    return node


def _is_scalar(node: Node) -> bool:
    return isinstance(node.type, ArrayType) and node.type.shape == ()


def _calculates(node: Node, primitives: frozenset[str]) -> bool:
    return isinstance(node.op, Apply) and node.op.primitive.name in primitives


_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "pow", "max", "min", "dot_general", "atan2"})
_PRODUCTS = frozenset({"mul", "dot_general"})
