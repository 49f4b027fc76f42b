"""vectorize_scans: given all values, most steps of a scan no longer wait for each other.

x: f64[9] = value 'x'                                     x: f64[9] = value 'x'
a: (…) = scan length=9 (s; 0.0; x)                        before: f64[9] = concatenate 0.0 x[:8]
    x: f64[] = body 'x'                                ⇒  a: f64[9] = log_prob x ~ Normal(before, s)
    result 0 (the next carry) = x
    result 1 = log_prob x ~ Normal(carry, s)

A carry that is computed from what a step gets, and not from itself, is known for all steps at once: what it was a
step before is a shifted array. Carries that do depend on themselves (a filter, a volatility) stay in a scan, which
computes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import networkx as nx

from plait.compiler.batching.nodes import Axis, NotBatched, batched
from plait.compiler.importer import Builder
from plait.compiler.staged import struct
from plait.ir.graph import Graph, Node, Output, Role, ancestors, make, renamed_outputs, with_outputs
from plait.ir.ops import Const, Input, Item, Scan, array_type
from plait.ir.types import ArrayType, TupleType


def vectorize_scans(graph: Graph) -> Graph:
    """Computes steps side by side where all carries are given: ``scan (x_{t-1} → x_t)  ⇒  shifted x, x``."""
    builder = Builder()
    env: dict[Node, Node] = {}
    opened: dict[Node, list[Node]] = {}  # the results of scans that are gone
    for node in graph:
        if isinstance(node.op, Item) and node.args[0] in opened:
            env[node] = opened[node.args[0]][node.op.index]
            continue
        args = tuple(env[a] for a in node.args)
        op = node.op.with_bodies([vectorize_scans(body) for body in node.op.bodies])
        if isinstance(op, Scan) and op.length:
            before = len(builder.nodes)
            try:
                opened[node] = _Steps(builder, op, args).results()
                continue
            except NotBatched:
                del builder.nodes[before:]
        env[node] = node if args == node.args and not node.op.bodies else make(op, args, node.loc)
        builder.nodes.append(env[node])
    return with_outputs(builder.nodes, renamed_outputs(graph, env))


class _Steps:
    """One scan, its body computed for all steps at once: arrays with the steps' axis in front."""

    def __init__(self, builder: Builder, op: Scan, args: Sequence[Node]) -> None:
        self.builder, self.op = builder, op
        self.body = op.body
        self.inputs = self.body.of(Input)
        consts, init, xs = op.split(args)
        k = op.n_consts
        self.carries = self.inputs[k : k + op.n_carry]
        self.init = dict(zip(self.carries, init, strict=True))
        self.next = dict(zip(self.carries, self.body.named(Role.RESULT).values(), strict=False))
        self.env: dict[Node, Any] = dict(zip(self.inputs[:k], consts, strict=True))
        self.env |= zip(self.inputs[k + op.n_carry :], xs, strict=True)
        self.varies = set(self.inputs[k:])
        # carries that hold what another node was, some steps before: that node, and what they hold at first
        self.delayed: dict[Node, tuple[Node, tuple[Node, ...]]] = {}

    def results(self) -> list[Node]:
        """What the scan returned: final carries, then the stacked results."""
        finals = {carry: final for group in self._in_order() for carry, final in self._known_ahead(group)}
        stacked = [self._all_steps(n) for n in list(self.body.named(Role.RESULT).values())[self.op.n_carry :]]
        return [*(finals[carry] for carry in self.carries), *stacked]

    def _in_order(self) -> list[list[Node]]:
        """The carries, those that need each other together, each after those that it needs."""
        needs = nx.DiGraph()
        needs.add_nodes_from(self.carries)
        for carry in self.carries:
            needs.add_edges_from((other, carry) for other in ancestors([self.next[carry]]) & set(self.carries))
        groups = nx.condensation(needs)
        members = {c: sorted(groups.nodes[c]["members"], key=self.carries.index) for c in groups}
        order = nx.lexicographical_topological_sort(groups, key=lambda c: self.carries.index(members[c][0]))
        self.loops = {c for group in members.values() for c in group if len(group) > 1 or needs.has_edge(c, c)}
        return [members[c] for c in order]

    def _known_ahead(self, group: list[Node]) -> list[tuple[Node, Node]]:
        """Makes the carries' values at all steps; returns their final values."""
        if group[0] in self.loops:
            return self._recurrence(group)
        (carry,) = group
        after = self.next[carry]
        source, first = self.delayed.get(after, (after, ()))
        self.delayed[carry] = (source, (self.init[carry], *first))
        dtype, reverse = array_type(carry).dtype, self.op.reverse
        lag = min(1 + len(first), self.op.length)

        def shifted(after: Any, *first: Any) -> Any:
            after = jnp.asarray(after, dtype)
            before = [jnp.asarray(x, dtype)[None] for x in first[:lag]]
            return jnp.concatenate([after[lag:], *before[::-1]] if reverse else [*before, after[: len(after) - lag]])

        self.env[carry] = self._code(shifted, self._all_steps(source), self.init[carry], *first)
        final = self._all_steps(after)
        return [(carry, self._code(lambda x: x[0 if reverse else -1], final))]

    def _recurrence(self, group: list[Node]) -> list[tuple[Node, Node]]:
        """Carries that depend on themselves: a scan of what they need, which returns what they are at each step."""
        needed = ancestors([self.next[c] for c in group])
        given = [n for n in self.inputs if n in needed and n not in group]
        xs = [n for n in given if n in self.varies]
        consts = [n for n in given if n not in self.varies]
        inputs = [*consts, *group, *xs]
        results = [*(self.next[c] for c in group), *group]
        if len(inputs) == len(self.inputs) and not self._saves(needed):
            raise NotBatched("every step needs the one before")
        outputs = [Output(Role.RESULT, str(i), n) for i, n in enumerate(results)]
        body = with_outputs([*inputs, *(n for n in self.body if n in needed and not isinstance(n.op, Input))], outputs)
        args = [*(self.env[n] for n in consts), *(self.init[c] for c in group), *(self.env[n] for n in xs)]
        n, length = len(group), self.op.length
        out = (*map(array_type, group), *(_stacked(array_type(c), length) for c in group))
        types = tuple(map(array_type, args))
        op = Scan(types, TupleType(out), body, len(consts), n, length, self.op.reverse)
        node = self.builder.add(op, args, self.next[group[0]].loc)
        items = [self.builder.add(Item(i), [node], node.loc) for i in range(2 * n)]
        self.env |= zip(group, items[n:], strict=True)
        return list(zip(group, items[:n], strict=True))

    def _saves(self, needed: set[Node]) -> bool:
        """Whether there is more in the body than the carries need."""
        return any(n not in needed for n in self.body if not isinstance(n.op, (Input, Const)))

    def _all_steps(self, wanted: Node) -> Node:
        """A value at all steps."""
        needed = ancestors([wanted])
        for node in self.body:
            if node in needed and node not in self.env:
                self.env[node] = self._node(node)
        value = self.env[wanted]
        if isinstance(value, tuple):
            raise NotBatched("several results")
        if wanted in self.varies:
            return value
        length = self.op.length
        return self._code(lambda x: jnp.broadcast_to(x, (length, *jnp.shape(x))), value)

    def _node(self, node: Node) -> Any:
        lanes = [a in self.varies for a in node.args]
        args = [self.env[a] for a in node.args]
        if any(lanes):
            self.varies.add(node)
            return batched(self.builder, node, args, lanes, Axis("", self.op.length))
        if any(isinstance(a, tuple) for a in args):
            return args[0][node.op.index]  # type: ignore[attr-defined]
        return self.builder.add(node.op, args, node.loc)

    def _code(self, function: Callable[..., Any], *args: Node) -> Node:
        closed = jax.make_jaxpr(function)(*(struct(array_type(a)) for a in args))
        (node,) = self.builder.inline(closed, args, args[0].loc)
        return node


def _stacked(t: ArrayType, length: int) -> ArrayType:
    return ArrayType(t.dtype, (length, *t.shape))


__all__ = ["vectorize_scans"]
