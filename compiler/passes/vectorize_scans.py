"""vectorize_scans: given all values, most steps of a scan no longer wait for each other.

x: f64[9] = value 'x'                                     x: f64[9] = value 'x'
a: (…) = scan length=9 (s; 0.0; x)                        before: f64[9] = concatenate 0.0 x[:8]
    x: f64[] = body 'x'                                ⇒  a: f64[9] = log_prob x ~ Normal(before, s)
    result 0 (the next carry) = x
    result 1 = log_prob x ~ Normal(carry, s)

A carry that is computed from what a step gets, and not from itself, is known for all steps at once: what it was a
step before is a shifted array. Carries that do depend on themselves (a filter, a volatility, the forward probabilities
of a hidden Markov model) stay in a scan, which computes nothing else: what their steps take from data and parameters
alone, such as the log probabilities of emissions, comes in as an array of all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

import jax.numpy as jnp
import networkx as nx

from plait.compiler.batching.nodes import Axis, NotBatched, batched
from plait.compiler.binding import known_nodes
from plait.compiler.importer import Builder, opened_scan
from plait.ir.graph import Graph, Node, Op, Output, Role, ancestors, downstream, make, renamed_outputs, with_outputs
from plait.ir.ops import Apply, Const, Input, Item, LogProb, Scan, array_type, is_op
from plait.ir.types import ArrayType, TupleType

# A step does not pay for reading one more array to be spared anything cheaper than these.
_COSTLY = frozenset(
    {
        *("exp", "exp2", "expm1", "log", "log1p", "pow", "sqrt", "rsqrt", "cbrt", "sin", "cos", "tan", "tanh"),
        *("logistic", "erf", "erfc", "erf_inv", "lgamma", "digamma", "igamma", "atan2", "dot_general", "cholesky"),
        *("triangular_solve", "custom_jvp_call", "custom_vjp_call", "scan", "sort", "gather"),
    }
)
_LARGER = frozenset({"broadcast_in_dim", "reshape", "convert_element_type", "squeeze", "expand_dims"})


def vectorize_scans(graph: Graph) -> Graph:
    """Computes steps side by side where all carries are given: ``scan (x_{t-1} → x_t)  ⇒  shifted x, x``."""
    builder = Builder()
    env: dict[Node, Node] = {}
    opened: dict[Node, list[Node]] = {}  # the results of scans that are gone
    known = known_nodes(graph)  # they run once
    for node in graph:
        if isinstance(node.op, Item) and node.args[0] in opened:
            env[node] = opened[node.args[0]][node.op.index]
            continue
        args = tuple(env[a] for a in node.args)
        op = node.op if node in known else _opened(node.op)
        op = op.with_bodies([vectorize_scans(body) for body in op.bodies])
        if isinstance(op, Scan) and op.length:
            before = len(builder.nodes)
            try:
                opened[node] = _Steps(builder, op, args).results()
                continue
            except NotBatched:
                del builder.nodes[before:]
        env[node] = node if args == node.args and not op.bodies else make(op, args, node.loc)
        builder.nodes.append(env[node])
    return with_outputs(builder.nodes, renamed_outputs(graph, env))


def _opened(op: Op) -> Op:
    """A plain scan with its body in sight, unless that has branches: side by side, both sides of them would run."""
    if not (isinstance(op, Apply) and op.primitive.name == "scan"):
        return op
    scan = opened_scan(op)
    return op if scan is None or any(is_op(n, "cond", "while") for n in scan.body) else scan


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
        given, inside = self._cut(group)
        if len(given) + len(group) >= len(self.inputs) and not self._saves(inside):
            raise NotBatched("every step needs the one before")
        values = {n: self._at_all_steps(n) for n in given}
        consts = [n for n in given if n not in self.varies]
        xs = [n for n in given if n in self.varies]
        args = [*(values[n] for n in consts), *(self.init[c] for c in group), *(values[n] for n in xs)]
        length, loc = self.op.length, self.next[group[0]].loc
        types = [*map(array_type, group), *(_stacked(array_type(c), length) for c in group)]
        body = self._body(consts, group, xs, inside)
        op = Scan(
            tuple(map(array_type, args)),
            TupleType(tuple(types)),
            body,
            len(consts),
            len(group),
            length,
            self.op.reverse,
        )
        node = self.builder.add(op, args, loc)
        items = [self.builder.add(Item(i), [node], loc) for i in range(len(types))]
        self.env |= zip(group, items[len(group) :], strict=True)
        return list(zip(group, items, strict=False))

    def _body(self, consts: list[Node], group: list[Node], xs: list[Node], inside: list[Node]) -> Graph:
        """A step of a recurrence: what it is given, the carries, and `inside` on them."""
        inputs = [
            n if n in group else make(Input(f"given{i}", Input.BODY, array_type(n)))
            for i, n in enumerate([*consts, *group, *xs])
        ]
        env = dict(zip([*consts, *group, *xs], inputs, strict=True))
        for n in inside:
            env[n] = make(n.op, [env[a] for a in n.args], n.loc)
        results = [*(env[self.next[c]] for c in group), *group]
        outputs = [Output(Role.RESULT, str(i), n) for i, n in enumerate(results)]
        return with_outputs([*inputs, *(env[n] for n in inside)], outputs)

    def _cut(self, group: list[Node]) -> tuple[list[Node], list[Node]]:
        """What a recurrence is given and what its steps compute, in order.

        They compute what depends on the carries. The rest is given, but what differs from step to step only if that
        is costly, or no more arrays have to be read for it.
        """
        needed = ancestors([self.next[c] for c in group])
        order = [n for n in self.body if n in needed and n not in group]
        waits, varying = self._after(set(group)), self._after(set(self.inputs[self.op.n_consts :]))
        given, inside = _reads(order, group, waits)
        early = varying & ancestors(given)
        more = len(varying & set(given)) > len(varying & set(order) & set(self.inputs))
        if more and not any(map(_is_costly, early)):
            return _reads(order, group, waits | varying)
        return given, inside

    def _after(self, sources: Set[Node]) -> set[Node]:
        """The sources and what depends on them."""
        return downstream(self.body, lambda n: n in sources)

    def _saves(self, inside: list[Node]) -> bool:
        """Whether there is more in the body than what the carries' steps compute."""
        return any(n not in inside for n in self.body if not isinstance(n.op, (Input, Const)))

    def _at_all_steps(self, wanted: Node) -> Node:
        """A value at all steps, without an axis for them where all steps share it."""
        needed = ancestors([wanted])
        for node in self.body:
            if node in needed and node not in self.env:
                self.env[node] = self._node(node)
        value = self.env[wanted]
        if isinstance(value, tuple):
            raise NotBatched("several results")
        return value

    def _all_steps(self, wanted: Node) -> Node:
        """A value at all steps."""
        value = self._at_all_steps(wanted)
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
        return self.builder.code(function, args, args[0].loc)


def _reads(order: list[Node], group: list[Node], inside: Set[Node]) -> tuple[list[Node], list[Node]]:
    """What these nodes read from outside, and they themselves with the constants and broadcasts that they need."""
    inside = {n for n in order if n in inside and not isinstance(n.op, Input)}
    given = set()
    todo = [a for n in inside for a in n.args]
    while todo:
        n = todo.pop()
        if isinstance(n.op, Const) or (is_op(n, *_LARGER) and array_type(n).size >= array_type(n.args[0]).size):
            todo += [] if n in inside else n.args
            inside.add(n)
        elif n not in inside and n not in group:
            given.add(n)
    return [n for n in order if n in given], [n for n in order if n in inside]


def _is_costly(node: Node) -> bool:
    return isinstance(node.op, LogProb) or is_op(node, *_COSTLY)


def _stacked(t: ArrayType, length: int) -> ArrayType:
    return ArrayType(t.dtype, (length, *t.shape))


__all__ = ["vectorize_scans"]
