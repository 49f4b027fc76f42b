"""reroll: the sites that a Python loop made become one site, as if they were written in a plate.

theta_0: f64[] = sample Normal(mu, tau)            theta_*: f64[loop:2] = sample Normal(mu, tau).expand([2])
a: f64[] = squeeze (slice y [0:1])
y_0: f64[] = observe Normal(theta_0, 1) obs=a  ⇒   y_*: f64[loop:2] = observe Normal(theta_*, 1) obs=y
theta_1: f64[] = sample Normal(mu, tau)
b: f64[] = squeeze (slice y [1:2])
y_1: f64[] = observe Normal(theta_1, 1) obs=b

Where members depend on earlier ones they become a scan, whose density needs no order: every value is given there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from os.path import commonprefix
from typing import Any

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np

from plait.compiler.batching import Axis, NotBatched, batched
from plait.compiler.chains import Before, Chain, NoChain, before_of, chain_of
from plait.compiler.families import Apart, Family, Joined, Recipe, Search, Shared, Stacked, Taken, is_slice, parts
from plait.compiler.importer import Builder
from plait.compiler.staged import struct
from plait.ir.graph import Graph, Node, Output, Role, make, rewrite, with_outputs
from plait.ir.ops import Apply, Deterministic, Input, Item, Plate, Scan, Site, array_type
from plait.ir.types import ArrayType, Members, TupleType

Unit = Node | Family | Chain  # what is emitted at once


def reroll(graph: Graph) -> Graph:
    """Makes one site of those that a loop made: ``theta_0 ~ D(a); theta_1 ~ D(b)  ⇒  theta_* ~ D([a, b])``."""
    return _rolled(graph)[0]


def look_alikes(graph: Graph) -> list[Apart]:
    """The sites of one line that `reroll` keeps apart, with the reasons."""
    inside = [apart for node in graph for body in node.op.bodies for apart in look_alikes(body)]
    return inside + _rolled(graph)[1]


def _rolled(graph: Graph) -> tuple[Graph, list[Apart]]:
    graph = rewrite(graph, _with_rolled_bodies)
    search = Search(graph)
    while search.place:
        stacks = _stacks(graph, search)
        units = _in_order(graph, search, stacks)
        if units is not None:
            rolling = _Rolling(graph, search, stacks)
            try:
                return rolling.emit(units), search.apart
            except _NotHeld as e:
                search.forbid(e.family, str(e))
        search.run()
    return graph, search.apart


def _with_rolled_bodies(node: Node, args: tuple[Node, ...]) -> Node | None:
    return make(node.op.with_bodies([reroll(b) for b in node.op.bodies]), args, node.loc) if node.op.bodies else None


# -- order ----------------------------------------------------------------------------------------------


def _in_order(graph: Graph, search: Search, stacks: dict[Node, Recipe]) -> list[Unit] | None:
    """What to emit, arguments first; None where families in a circle are no chain and were therefore given up."""
    place: dict[Unit, int] = {}
    for i, node in enumerate(graph):
        place.setdefault(_unit(node, search), i)
    needs = nx.DiGraph()
    needs.add_nodes_from(place)
    needs.add_edges_from((needed, unit) for unit in place for needed in _needs(unit, search, stacks))
    condensed = nx.condensation(needs)
    members = {c: sorted(condensed.nodes[c]["members"], key=place.__getitem__) for c in condensed}
    units: dict[int, Unit] = {}
    given_up = False
    for c, circle in members.items():
        units[c] = circle[0]
        if len(circle) > 1 or needs.has_edge(circle[0], circle[0]):
            families = [unit for unit in circle if isinstance(unit, Family)]
            chain = chain_of(families) if len(families) == len(circle) else NoChain("other code lies between them")
            if isinstance(chain, NoChain):
                _give_up(search, families, chain)
                given_up = True
            else:
                units[c] = chain
    if given_up:
        return None
    order = nx.lexicographical_topological_sort(condensed, key=lambda c: place[members[c][0]])
    return [units[c] for c in order]


def _unit(node: Node, search: Search) -> Node | Family:
    return search.place[node][0] if node in search.place else node


def _needs(unit: Unit, search: Search, stacks: dict[Node, Recipe]) -> Iterable[Unit]:
    if isinstance(unit, Node) and unit not in stacks:
        return [_unit(a, search) for a in unit.args]
    recipes = unit.operands if isinstance(unit, Family) else [stacks[unit]]  # type: ignore[index]
    return [
        part.family if isinstance(part, Taken) else _unit(part.node, search)
        for recipe in recipes
        for part in parts(recipe)
        if not isinstance(part, Stacked)
    ]


def _give_up(search: Search, circle: Sequence[Family], why: NoChain) -> None:
    if why.split is not None:
        family, labels = why.split
        search.keep_apart(family.members, labels, why.why)
    else:
        for family in circle:
            search.forbid(family, why.why)


def _stacks(graph: Graph, search: Search) -> dict[Node, Recipe]:
    """``jnp.stack`` of members: a concatenation is as good as the family itself."""
    found = {}
    readers = Counter(a for node in graph for a in node.args)
    inner = {a for node in graph if _concatenates(node) for a in node.args if _concatenates(a) and readers[a] == 1}
    for node in graph:
        if _concatenates(node) and node not in inner and node not in search.place:
            pieces = _pieces(node, inner)
            if len({n.type for n in pieces}) == 1 and (recipe := search.recipe_of(pieces)) is not None:
                if any(isinstance(part, Taken) for part in parts(recipe)):
                    found[node] = recipe
    return found


def _concatenates(node: Node) -> bool:
    return isinstance(node.op, Apply) and node.op.primitive.name == "concatenate" and len(node.args) > 1


def _pieces(node: Node, inner: set[Node]) -> list[Node]:
    """What a concatenation consists of; jnp makes a tree of a long one."""
    assert isinstance(node.op, Apply)
    axis = node.op.params
    flat = []
    for a in node.args:
        nested = a in inner and isinstance(a.op, Apply) and a.op.params == axis
        flat += _pieces(a, inner) if nested else [a]
    return flat


# -- emission -------------------------------------------------------------------------------------------


class _NotHeld(Exception):
    """A family can't be held as one."""

    def __init__(self, family: Family, why: str) -> None:
        super().__init__(why)
        self.family = family


class _Rolling(Builder):
    """Emits a graph with its families rolled."""

    def __init__(self, graph: Graph, search: Search, stacks: dict[Node, Recipe]) -> None:
        super().__init__()
        self.graph, self.search, self.stacks = graph, search, stacks
        self.env: dict[Node, Node] = {}
        self.whole: dict[Family, Node | tuple[Node, ...]] = {}
        self.made: dict[Any, Node] = {}  # parts of families, so that each is taken once
        self.names = _Names(graph)

    def emit(self, units: Sequence[Unit]) -> Graph:
        for unit in units:
            if isinstance(unit, Family):
                self.whole[unit] = self._family(unit)
            elif isinstance(unit, Chain):
                self._chain(unit)
            elif unit in self.stacks:
                self.env[unit] = self._concatenated(unit)
            else:
                args = [self.one(a) for a in unit.args]
                self.env[unit] = make(unit.op, args, unit.loc) if tuple(args) != unit.args else unit
                self.nodes.append(self.env[unit])
        outputs = [Output(out.role, out.name, self.one(out.node)) for out in self.graph.outputs]
        return with_outputs(self.nodes, outputs)

    def one(self, node: Node) -> Node:
        """What stands for a node; a member is a part of its family."""
        if node not in self.search.place:
            return self.env[node]
        family, i = self.search.place[node]
        whole = self.whole[family]
        if isinstance(whole, tuple):
            raise _NotHeld(family, "one result of several is used apart")
        if (family, i) not in self.made:
            self.made[family, i] = self.code(lambda x: x[i], whole)
        return self.made[family, i]

    def code(self, function: Callable[..., Any], *args: Node) -> Node:
        """A node that computes a function of jax."""
        (node,) = self.inline(jax.make_jaxpr(function)(*(struct(array_type(a)) for a in args)), args, args[0].loc)
        return node

    def _family(self, family: Family) -> Node | tuple[Node, ...]:
        if is_slice(family.first):
            return self._slices(family)
        made = [self.stacked(recipe, family) for recipe in family.operands]
        return self._batched(family, [node for node, _ in made], [lane for _, lane in made])

    def _batched(self, family: Family, args: Sequence[Any], lanes: Sequence[bool]) -> Any:
        name, names, plate = self.names.of(family)
        try:
            return batched(self, family.first, args, lanes, Axis(plate, family.size), name, names)
        except NotBatched as e:
            raise _NotHeld(family, str(e)) from None

    def stacked(self, recipe: Recipe, family: Family) -> tuple[Any, bool]:
        """The values of an operand for all members, and whether they have the members' axis."""
        match recipe:
            case Shared(node):
                return self.one(node), False
            case Stacked(nodes):
                return self._constants(nodes), True
            case Taken(source, positions):
                return self._taken(source, positions, family), True
            case Joined(pieces):
                return self._joined([self.stacked(p, family) for p in pieces], [p.size for p in pieces]), True

    def _constants(self, nodes: tuple[Node, ...]) -> Node:
        t = array_type(nodes[0])
        values = np.stack([np.asarray(n.op.value) for n in nodes]).astype(t.dtype)  # type: ignore[attr-defined]
        weak = all(array_type(n).weak for n in nodes)
        return self.const(values, ArrayType(t.dtype, (len(nodes), *t.shape), weak=weak), nodes[0].loc)

    def _taken(self, source: Family, positions: tuple[int, ...], family: Family) -> Any:
        whole = self.whole[source]
        if positions == tuple(range(source.size)):
            return whole
        if isinstance(whole, tuple):
            raise _NotHeld(family, "one result of several is used apart")
        if (source, positions) not in self.made:
            self.made[source, positions] = self.code(lambda x: _rows(x, np.asarray(positions)), whole)
        return self.made[source, positions]

    def _joined(self, pieces: Sequence[tuple[Node, bool]], sizes: Sequence[int]) -> Node:
        def join(*xs: Any) -> Any:
            return jnp.concatenate(
                [
                    x if lane else jnp.broadcast_to(x, (n, *jnp.shape(x)))
                    for x, (_, lane), n in zip(xs, pieces, sizes, strict=True)
                ]
            )

        return self.code(join, *(node for node, _ in pieces))

    def _concatenated(self, node: Node) -> Node:
        """A concatenation of members, out of the families' own arrays."""
        stacked, lane = self.stacked(self.stacks[node], Family((node,)))
        if not lane:
            stacked = self._joined([(stacked, False)], [self.stacks[node].size])
        assert isinstance(node.op, Apply)
        axis, shape = node.op.parameters["dimension"], array_type(node).shape
        return self.code(lambda x: jnp.reshape(jnp.moveaxis(x, 0, axis), shape), stacked)

    def _slices(self, family: Family) -> Node:
        """Parts of one array, or of each member's, by where they start."""
        (recipe,) = family.operands
        ops = [n.op for n in family.members]
        starts = np.array([op.parameters["start_indices"] for op in ops])  # type: ignore[attr-defined]
        strides = ops[0].parameters["strides"] or (1,) * starts.shape[1]  # type: ignore[attr-defined]
        size = array_type(family.first).shape
        if isinstance(recipe, Taken) and not isinstance(self.whole[recipe.family], tuple):
            source: Any = self.whole[recipe.family]
            starts = np.concatenate([np.array(recipe.positions)[:, None], starts], axis=1)
            return self.code(lambda x: _parts(x, starts, (1, *size), (1, *strides))[:, 0], source)
        source, lane = self.stacked(recipe, family)
        if lane:
            starts = np.concatenate([np.arange(family.size)[:, None], starts], axis=1)
            return self.code(lambda x: _parts(x, starts, (1, *size), (1, *strides))[:, 0], source)
        return self.code(lambda x: _parts(x, starts, size, strides), source)

    # -- chains -----------------------------------------------------------------------------------------

    def _chain(self, chain: Chain) -> None:
        body = _Body(self, chain)
        node = body.scan()
        for i, family in enumerate(chain.families):
            self.whole[family] = self.add(Item(body.n_carry + i), [node], family.first.loc)


class _Body(Builder):
    """The body of the scan that a chain is: what is the same in each step, what a step was before, what it gets."""

    def __init__(self, outer: _Rolling, chain: Chain) -> None:
        super().__init__()
        self.outer, self.chain = outer, chain
        self.consts: dict[Node, Node] = {}  # by what is given outside, the body's input
        self.carry: list[tuple[Node, Node, Any]] = []  # the input, its first value outside, its next value here
        self.xs: list[tuple[Node, Node]] = []  # the input, its values outside
        self.env: dict[Family, Node] = {}

    @property
    def n_carry(self) -> int:
        return len(self.carry)

    def scan(self) -> Node:
        inside = set(self.chain.families)
        later: list[tuple[int, Before]] = []
        for family in self.chain.families:
            args = [self._operand(recipe, inside, family, later) for recipe in family.operands]
            self.env[family] = self._member(family, args)
        for place, before in later:
            given, first, _ = self.carry[place]
            self.carry[place] = (given, first, self.env[before.family])
        results = [next_value for _, _, next_value in self.carry] + [self.env[f] for f in self.chain.families]
        entering = [*self.consts.values(), *(i for i, _, _ in self.carry), *(i for i, _ in self.xs)]
        rest = [n for n in self.nodes if n not in set(entering)]
        outputs = [Output(Role.RESULT, str(i), n) for i, n in enumerate(results)]
        graph = with_outputs([*entering, *rest], outputs)
        whole = [*self.consts, *(first for _, first, _ in self.carry), *(x for _, x in self.xs)]
        stacked = [_stacked_type(array_type(self.env[f]), self.chain.size) for f in self.chain.families]
        out = TupleType((*(array_type(n) for _, _, n in self.carry), *stacked))
        op = Scan(
            tuple(map(array_type, whole)), out, graph, len(self.consts), self.n_carry, self.chain.size, reverse=False
        )
        return self.outer.add(op, whole, self.chain.families[0].first.loc)

    def _operand(
        self, recipe: Recipe, inside: set[Family], family: Family, later: list[tuple[int, Before]]
    ) -> Node:
        before = before_of(recipe, inside)
        if isinstance(before, Before):
            return self.env[before.family] if before.lag == 0 else self._past(before, family, later)
        value, lane = self.outer.stacked(recipe, family)
        if isinstance(value, tuple):
            raise _NotHeld(family, "it has several results")
        if lane:
            return self._input(value, replace(array_type(value), shape=array_type(value).shape[1:], axes=()), self.xs)
        if value.op.literal is not None:
            self.nodes.append(value)
            return value
        if value not in self.consts:
            self.consts[value] = self.add(Input(f"const{len(self.consts)}", Input.BODY, array_type(value)))
        return self.consts[value]

    def _input(self, value: Node, t: ArrayType, into: list[tuple[Node, Node]]) -> Node:
        into.append((self.add(Input(f"x{len(into)}", Input.BODY, t)), value))
        return into[-1][0]

    def _past(self, before: Before, family: Family, later: list[tuple[int, Before]]) -> Node:
        """Carries what a family was: the oldest value is the operand, each step moves the others up."""
        assert before.first is not None
        first, lane = self.outer.stacked(before.first, family)
        t = replace(array_type(before.family.first), axes=(), support=None, weak=False)
        inputs = []
        for i in range(before.lag):
            start = self.outer.code(lambda x, i=i: x[i], first) if lane else first
            inputs.append(self.add(Input(f"carry{len(self.carry)}", Input.BODY, t)))
            self.carry.append((inputs[-1], start, None))
            if i:
                given, value, _ = self.carry[-2]
                self.carry[-2] = (given, value, inputs[-1])
        later.append((len(self.carry) - 1, before))
        return inputs[0]

    def _member(self, family: Family, args: Sequence[Node]) -> Node:
        first = family.first
        if not isinstance(first.op, (Site, Deterministic)):
            return self.add(first.op, args, first.loc)
        name, names, _ = self.outer.names.of(family)
        inner = first.op.members
        members = Members(names, 0 if inner is None else inner.axes, 1 + (0 if inner is None else inner.steps))
        return self.add(replace(first.op, name=name, members=members), args, first.loc)


def _stacked_type(t: ArrayType, length: int) -> ArrayType:
    return replace(t, shape=(length, *t.shape), axes=(None, *t.axes), support=None)


def _rows(x: Any, rows: np.ndarray) -> Any:
    """Rows of an array: a slice where they follow one another."""
    if len(rows) == len(x) and (rows == np.arange(len(x))).all():
        return x
    steps = np.diff(rows)
    if len(rows) > 1 and steps[0] > 0 and (steps == steps[0]).all():
        return x[int(rows[0]) : int(rows[-1]) + 1 : int(steps[0])]
    return jnp.take(x, rows, axis=0, mode="clip")


def _parts(x: Any, starts: np.ndarray, size: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """Parts of an array, of equal size, stacked: (members, *size)."""
    varies = [d for d in range(x.ndim) if len(set(starts[:, d])) > 1]
    fixed = tuple(
        slice(None) if d in varies else slice(int(starts[0, d]), int(starts[0, d]) + (size[d] - 1) * strides[d] + 1, strides[d])
        for d in range(x.ndim)
    )  # fmt: skip
    x = x[fixed]
    rest = [d for d in range(x.ndim) if d not in varies]
    x = jnp.transpose(x, (*varies, *rest))
    lead = x.shape[: len(varies)]
    index = np.zeros((len(starts),) + (1,) * len(varies), np.int64)
    for k, d in enumerate(varies):
        along = starts[:, d, None] + strides[d] * np.arange(size[d])
        at = along.reshape(len(starts), *(size[d] if j == k else 1 for j in range(len(varies))))
        index = index * lead[k] + at
    flat = _rows(x.reshape(-1, *x.shape[len(varies) :]), index.ravel())
    found = flat.reshape(len(starts), *(size[d] for d in varies), *x.shape[len(varies) :])
    back = np.argsort([*varies, *rest]) + 1
    return jnp.transpose(found, (0, *back))


class _Names:
    """Names of families and of the plates that count them."""

    def __init__(self, graph: Graph) -> None:
        self._taken = {node.op.label for node in graph if node.op.label}
        self._plates: dict[tuple[str, ...], str] = {}
        self._of: dict[Family, tuple[str, tuple[str, ...], str]] = {}

    def of(self, family: Family) -> tuple[str, tuple[str, ...], str]:
        """The family's name, its members' names, and the plate."""
        if family not in self._of:
            names = tuple(name for node in family.members for name in _site_names(node))
            own = [node.op.label or "" for node in family.members]
            name = self._free(_pattern(own)) if family.is_of_sites else ""
            self._of[family] = (name, names, self._plate(own, name) if name else "")
        return self._of[family]

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "*"
        self._taken.add(name)
        return name

    def _plate(self, names: Sequence[str], pattern: str) -> str:
        """Loops that count alike share a plate."""
        before, _, after = pattern.rstrip("*").partition("*") if "*" in pattern else ("", "", "")
        counts = tuple(n[len(before) : len(n) - len(after)] for n in names)
        if counts not in self._plates:
            self._plates[counts] = self._free("loop" if not self._plates else f"loop_{len(self._plates)}")
        return self._plates[counts]


def _site_names(node: Node) -> tuple[str, ...]:
    members = getattr(node.op, "members", None)
    return (node.op.label or "",) if members is None else members.names


def _pattern(names: Sequence[str]) -> str:
    """``theta_*`` for theta_0, theta_1, …; ``mu…tau`` for names that have nothing in common."""
    before = re.sub(r"\d+$", "", commonprefix(names))
    rest = [name[len(before) :][::-1] for name in names]
    after = re.sub(r"^\d+", "", commonprefix(rest)[::-1])
    return f"{before}*{after}" if before or after else f"{names[0]}…{names[-1]}"


__all__ = ["look_alikes", "reroll"]
