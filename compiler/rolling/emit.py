"""Emits a graph with its families rolled: each family is one node, a circle of families a scan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.compiler.batching.nodes import Axis, NotBatched, batched
from plait.compiler.importer import Builder
from plait.compiler.rolling.bundles import Bundle
from plait.compiler.rolling.chains import Before, Chain, before_of
from plait.compiler.rolling.families import Family, Joined, Recipe, Search, Shared, Stacked, Taken, is_slice, parts
from plait.compiler.rolling.names import FamilyNames
from plait.compiler.rolling.rows import parts_of, rows_of
from plait.compiler.supports import support_of
from plait.ir.graph import Graph, Node, Output, Role, ancestors, make, with_outputs
from plait.ir.ops import Deterministic, Input, Item, Sample, Scan, Site, array_type
from plait.ir.types import ArrayType, Members, TupleType

Unit = Node | Family | Chain  # what is emitted at once


def unit_of(node: Node, search: Search) -> Node | Family:
    """What a node is emitted with: its family, or itself."""
    return search.place[node][0] if node in search.place else node


def needs_of(unit: Unit, search: Search, together: dict[Node, Bundle]) -> Iterable[Unit]:
    """What a unit has to be emitted after."""
    if isinstance(unit, Node) and unit not in together:
        return [unit_of(a, search) for a in unit.args]
    recipes = unit.operands if isinstance(unit, Family) else [together[unit].recipe]  # type: ignore[index]
    rest = [] if isinstance(unit, Family) else [unit_of(n, search) for n in together[unit].rest]  # type: ignore[index]
    return rest + [
        part.family if isinstance(part, Taken) else unit_of(part.node, search)
        for recipe in recipes
        for part in parts(recipe)
        if not isinstance(part, Stacked)
    ]


class NotHeld(Exception):  # noqa: N818 (an answer, which `reroll` reads)
    """A family can't be held as one."""

    def __init__(self, family: Family, why: str) -> None:
        super().__init__(why)
        self.family = family


class Rolling(Builder):
    """Emits a graph with its families rolled."""

    def __init__(self, graph: Graph, search: Search, together: dict[Node, Bundle], names: FamilyNames) -> None:
        super().__init__()
        self.graph, self.search, self.together = graph, search, together
        self.env: dict[Node, Node] = {}
        self.whole: dict[Family, Node | tuple[Node, ...]] = {}
        self.made: dict[Any, Node] = {}  # parts of families, so that each is taken once
        self.read: set[Unit] = set()  # what others need
        self.names = names

    def emit(self, units: Sequence[Unit]) -> Graph:
        self.read = {unit_of(out.node, self.search) for out in self.graph.outputs}
        for unit in units:
            mine = set(unit.families) if isinstance(unit, Chain) else {unit}
            self.read |= {n for u in mine for n in needs_of(u, self.search, self.together)} - mine
        for unit in units:
            if isinstance(unit, Family):
                self.whole[unit] = self._family(unit)
            elif isinstance(unit, Chain):
                self._chain(unit)
            elif unit in self.together:
                self.env[unit] = self._bundle(unit)
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
            raise NotHeld(family, "one result of several is used apart")
        if (family, i) not in self.made:
            self.made[family, i] = self.of(lambda x: x[i], whole)
        return self.made[family, i]

    def of(self, function: Callable[..., Any], *args: Node) -> Node:
        """The node that computes a function of jax, on the line of the first argument."""
        return self.code(function, args, args[0].loc)

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
            raise NotHeld(family, str(e)) from None

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
                return self.joined([self.stacked(p, family) for p in pieces], [p.size for p in pieces]), True

    def _constants(self, nodes: tuple[Node, ...]) -> Node:
        types = [array_type(n) for n in nodes]
        dtype = jnp.result_type(*(t.dtype for t in types))  # 1 and 2.0 in one list
        values = np.stack([np.asarray(n.op.value) for n in nodes]).astype(dtype)  # type: ignore[attr-defined]
        t = ArrayType(dtype, values.shape, weak=all(t.weak for t in types))
        return self.const(values, t, nodes[0].loc)

    def _taken(self, source: Family, positions: tuple[int, ...], family: Family) -> Any:
        whole = self.whole[source]
        if positions == tuple(range(source.size)):
            return whole
        if isinstance(whole, tuple):
            raise NotHeld(family, "one result of several is used apart")
        if (source, positions) not in self.made:
            self.made[source, positions] = self.of(lambda x: rows_of(x, np.asarray(positions)), whole)
        return self.made[source, positions]

    def joined(self, pieces: Sequence[tuple[Node, bool]], sizes: Sequence[int]) -> Node:
        def join(*xs: Any) -> Any:
            return jnp.concatenate(
                [
                    x if lane else jnp.broadcast_to(x, (n, *jnp.shape(x)))
                    for x, (_, lane), n in zip(xs, pieces, sizes, strict=True)
                ]
            )

        return self.of(join, *(node for node, _ in pieces))

    def _bundle(self, node: Node) -> Node:
        """Members put together, out of the families' own arrays."""
        bundle = self.together[node]
        stacked, lane = self.stacked(bundle.recipe, Family((node,)))
        if not lane:
            stacked = self.joined([(stacked, False)], [bundle.recipe.size])
        return self.of(bundle.together, stacked, *map(self.one, bundle.rest))

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
            return self.of(lambda x: parts_of(x, starts, (1, *size), (1, *strides))[:, 0], source)
        source, lane = self.stacked(recipe, family)
        if lane:
            starts = np.concatenate([np.arange(family.size)[:, None], starts], axis=1)
            return self.of(lambda x: parts_of(x, starts, (1, *size), (1, *strides))[:, 0], source)
        return self.of(lambda x: parts_of(x, starts, size, strides), source)

    # -- chains -----------------------------------------------------------------------------------------

    def _chain(self, chain: Chain) -> None:
        body = _Body(self, chain)
        read = [family for family in chain.families if family in self.read]
        node = body.scan(read)
        for i, family in enumerate(read):
            item = self.add(Item(body.n_carry + i), [node], family.first.loc)
            flat = (family.size, *array_type(family.first).shape)
            self.whole[family] = item if chain.width == 1 else self.of(lambda x, s=flat: jnp.reshape(x, s), item)


class _Body(Builder):
    """The body of the scan that a chain is: what is the same in each step, what a step was before, what it gets.

    Where a step computes several members side by side, their axis is in front.
    """

    def __init__(self, outer: Rolling, chain: Chain) -> None:
        super().__init__()
        self.outer, self.chain, self.width = outer, chain, chain.width
        self.consts: dict[Node, Node] = {}  # by what is given outside, the body's input
        self.carry: list[tuple[Node, Node, Any]] = []  # the input, its first value outside, its next value here
        self.xs: list[tuple[Node, Node]] = []  # the input, its values outside
        self.literals: dict[Node, None] = {}  # constants that stand in the body as they are
        self.env: dict[Family, Node] = {}

    @property
    def n_carry(self) -> int:
        return len(self.carry)

    def scan(self, read: Sequence[Family]) -> Node:
        """The scan, which returns the values of these families for all steps."""
        inside = set(self.chain.families)
        later: list[tuple[int, Family]] = []
        for family in self.chain.families:
            operands = [self._operand(recipe, inside, family, later) for recipe in family.operands]
            self.env[family] = self._member(family, [n for n, _ in operands], [lane for _, lane in operands])
        for place, family in later:
            given, first, _ = self.carry[place]
            self.carry[place] = (given, first, self.env[family])
        results = [next_value for _, _, next_value in self.carry] + [self.env[f] for f in read]
        entering = [*self.consts.values(), *(i for i, _, _ in self.carry), *(i for i, _ in self.xs)]
        rest = [*self.literals, *(n for n in self.nodes if n not in set(entering))]
        outputs = [Output(Role.RESULT, str(i), n) for i, n in enumerate(results)]
        graph = with_outputs([*entering, *rest], outputs)
        whole = [*self.consts, *(first for _, first, _ in self.carry), *(x for _, x in self.xs)]
        length = self.chain.steps
        stacked = [_stacked_type(array_type(self.env[f]), length) for f in read]
        out = TupleType((*(array_type(n) for _, _, n in self.carry), *stacked))
        types = tuple(map(array_type, whole))
        op = Scan(types, out, graph, len(self.consts), self.n_carry, length, reverse=False)
        return self.outer.add(op, whole, self.chain.families[0].first.loc)

    def _operand(
        self, recipe: Recipe, inside: set[Family], family: Family, later: list[tuple[int, Family]]
    ) -> tuple[Node, bool]:
        """What a step has of an operand, and whether that has the members' axis."""
        before = before_of(recipe, inside)
        if isinstance(before, Before):
            return self.env[before.family] if before.lag == 0 else self._past(before, family, later), self.width > 1
        value, lane = self.outer.stacked(recipe, family)
        if isinstance(value, tuple):
            raise NotHeld(family, "it has several results")
        if lane:
            value = self._by_step(value)
            t = array_type(value)
            self.xs.append((self._input(f"x{len(self.xs)}", replace(t, shape=t.shape[1:], axes=())), value))
            return self.xs[-1][0], self.width > 1
        if value.op.literal is not None:
            self.literals[value] = None
            return value, False
        if value not in self.consts:
            self.consts[value] = self._input(f"const{len(self.consts)}", array_type(value))
        return self.consts[value], False

    def _input(self, name: str, t: ArrayType) -> Node:
        return self.add(Input(name, Input.BODY, replace(t, support=None)))

    def _by_step(self, value: Node) -> Node:
        """Values of all members in a row for each step."""
        if self.width == 1:
            return value
        return self.outer.of(lambda x: jnp.reshape(x, (-1, self.width, *x.shape[1:])), value)

    def _past(self, before: Before, family: Family, later: list[tuple[int, Family]]) -> Node:
        """Carries what a family was: the oldest value is the operand, each step moves the others up."""
        assert before.first is not None
        first, lane = self.outer.stacked(before.first, family)
        lag, n, own = before.lag // self.width, self.width, array_type(before.family.first)
        alone = n == 1 and not lane
        if not lane and not alone:
            first = self.outer.joined([(first, False)], [before.lag])
        t = replace(own, shape=(n, *own.shape) if n > 1 else own.shape, axes=(), weak=False)
        inputs: list[Node] = []
        for i in range(lag):
            part = slice(i * n, (i + 1) * n) if n > 1 else i
            start = first if alone else self.outer.of(lambda x, part=part: x[part], first)
            inputs.append(self._input(f"carry{len(self.carry)}", t))
            if i:
                given, value, _ = self.carry[-1]
                self.carry[-1] = (given, value, inputs[-1])
            self.carry.append((inputs[-1], start, None))
        later.append((len(self.carry) - 1, before.family))
        return inputs[0]

    def _member(self, family: Family, args: Sequence[Node], lanes: Sequence[bool]) -> Node:
        first = family.first
        name, names, _ = self.outer.names.of(family)
        if is_slice(first) and len({n.op.params for n in family.members}) > 1:  # type: ignore[attr-defined]
            raise NotHeld(family, "each step reads another part of the one before")
        if isinstance(first.op, Sample) and self._support_varies(first.op, args):
            raise NotHeld(family, "the support of the one depends on the other's value, or differs from step to step")
        if self.width > 1:
            return self._side_by_side(family, args, lanes)
        if not isinstance(first.op, (Site, Deterministic)):
            return self.add(first.op, args, first.loc)
        inner = first.op.members or Members((), 0)
        members = Members(names, inner.axes, 1 + inner.steps)
        return self.add(replace(first.op, name=name, members=members), args, first.loc)

    def _side_by_side(self, family: Family, args: Sequence[Node], lanes: Sequence[bool]) -> Node:
        name, names, plate = self.outer.names.of(family)
        try:
            node = batched(self, family.first, args, lanes, Axis(plate, self.width), name, names)
        except NotBatched as e:
            raise NotHeld(family, str(e)) from None
        if isinstance(node, tuple) or (family.is_of_sites and not isinstance(node.op, (Site, Deterministic))):
            raise NotHeld(family, "its values have fewer axes than its distribution")
        if family.is_of_sites:
            members = replace(node.op.members, steps=1 + node.op.members.steps)
            self.nodes[-1] = node = make(replace(node.op, members=members), node.args, node.loc)
        return node

    def _support_varies(self, op: Sample, args: Sequence[Node]) -> bool:
        """Whether the bijector of a step needs what only the step knows, so that there is none for all steps."""
        leaves = op.leaves(args)
        _, code = support_of(op.dist, tuple(map(array_type, leaves)))
        constant = {*self.consts.values()}
        inputs = {n for n in ancestors(Builder().inline(code, leaves)) if isinstance(n.op, Input)}
        return not inputs <= constant


def _stacked_type(t: ArrayType, length: int) -> ArrayType:
    return replace(t, shape=(length, *t.shape), axes=(None, *t.axes), support=None)


__all__ = ["NotHeld", "Rolling", "Unit", "needs_of", "unit_of"]
