"""One node for all members of a family: what a loop repeated N times becomes one site, or one piece of code.

theta_i: f64[] = sample Normal(mu, tau)          theta: f64[school:8] = sample Normal(mu, tau).expand([8])
e_i: f64[] = exp theta_i                     ⇒   e: f64[8] = exp theta
f64[] = observe Normal(e_i, s_i) obs=y_i         f64[school:8] = observe Normal(e, s) obs=y

The members' axis is always the first one of a value, and `vmap` says what code does with it. A site is not mapped
but written anew as a user would write it inside a plate: see `batched_dist`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from plait.compiler.batching.distributions import batched_constraint, batched_dist
from plait.compiler.batching.growing import NotBatched, event_shape
from plait.compiler.importer import Builder
from plait.compiler.lower.evaluate import RULES
from plait.compiler.memo import remembered
from plait.compiler.staged import signature, struct
from plait.ir.graph import Graph, Node, Op, Output, Role, with_outputs
from plait.ir.ops import (
    AddN,
    Apply,
    Cond,
    Constrain,
    Deterministic,
    Guard,
    Input,
    InSupport,
    Item,
    LogDet,
    LogProb,
    Plate,
    Sample,
    Scan,
    Site,
    Sum,
    array,
    array_type,
)  # fmt: skip
from plait.ir.spec import Part, rebuild
from plait.ir.types import ArrayType, Loc, Members, PlateFrame, Shape, TupleType

Value = Node | tuple[Node, ...]  # of a node, or of one that has several results
Rename = Callable[[str], tuple[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Axis:
    """The new leading axis: the plate's name, and its size."""

    plate: str
    size: int


def batched(
    builder: Builder,
    node: Node,
    args: Sequence[Value],
    lanes: Sequence[bool],
    axis: Axis,
    name: str = "",
    names: tuple[str, ...] = (),
    rename: Rename | None = None,
) -> Any:
    """The node for all members.

    Args:
        builder: gets the new nodes.
        node: a member's.
        args: for its arguments; with a leading axis of ``axis.size`` where `lanes` says so, else shared by all members.
            The argument of an `Item` is what this function returned for the node with several results.
        lanes: which arguments differ from member to member. Code needs at least one: what all members share, the
            caller keeps as it is. A site is each member's own though they share all its arguments.
        axis: the new axis.
        name: of the new site, deterministic or plate.
        names: what its members are called, in C order of the axes that count them, the new one first.
        rename: from a member's name to both; for nodes that hold others, whose sites, deterministics and plates it is
            asked for.

    Returns:
        A node whose value has the leading axis (a plate's has none: its indices are shared), or a tuple of them
        where `node` has several results. A site's value may be a node that reads the site.

    Raises:
        NotBatched: there is no such node.
    """
    label = node.op.site if isinstance(node.op, LogProb) else node.op.label
    if rename is not None and label is not None:
        name, names = rename(label)
    if isinstance(node.op, Item) and isinstance(args[0], tuple):
        return args[0][node.op.index]
    nodes = [a for a in args if isinstance(a, Node)]
    return _Batching(builder, axis, node.loc, name, names, rename).of(node, nodes, list(lanes))


@dataclass(frozen=True)
class _Batching:
    """One node in the making."""

    builder: Builder
    axis: Axis
    loc: Loc | None = None
    name: str = ""
    names: tuple[str, ...] = ()
    rename: Rename | None = None

    def of(self, node: Node, args: list[Node], lanes: list[bool]) -> Value:
        op = node.op
        match op:
            case Site():
                return self.site(op, args, lanes)
            case Deterministic():
                return self.deterministic(op, args[0], lanes[0])
            case Plate():
                return self.plate(op, args, lanes)
            case LogProb():
                return self.log_prob(op, args, lanes)
            case InSupport():
                return self.in_support(op, args, lanes)
            case Scan():
                return self.scan(op, args, lanes)
            case Cond() if op.is_root or not lanes[0]:
                return self.cond(op, args, lanes)
            case Apply() | Sum() | AddN() | Guard() | Constrain() | LogDet() | Cond():
                return self.code(node, args, lanes)
        raise NotBatched(f"{op.mnemonic}s are kept one by one")

    # -- code -------------------------------------------------------------------------------------------

    def code(self, node: Node, args: list[Node], lanes: list[bool]) -> Value:
        assert any(lanes), "code on what all members share is shared"
        closed = _vmapped(node.op, _types(args), tuple(lanes), self.axis.size)
        results = self.builder.inline(closed, args, self.loc)
        return tuple(results) if isinstance(node.type, TupleType) else results[0]

    def call(self, closed: Any, arg: Node) -> Node:
        (result,) = self.builder.inline(closed, [arg], self.loc)
        return result

    def leading(self, node: Node, lane: bool, rank: int | None = None) -> Node:
        """The node with the members' axis left of its last `rank` axes (default: of all that a member's has)."""
        t = array_type(node)
        missing = 0 if rank is None else rank - (t.ndim - lane)
        return node if lane and not missing else self.call(_leading(t, lane, self.axis.size, missing), node)

    def aligned(self, node: Node, lane: bool, rank: int) -> Node:
        """The same, but what the members share stays as it is, for it broadcasts."""
        return self.leading(node, lane, rank) if lane else node

    def shape(self, of_member: Shape, rank: int) -> Shape:
        return (self.axis.size, *(1,) * (rank - len(of_member)), *of_member)

    def type(self, of_member: ArrayType, rank: int) -> ArrayType:
        axes = (self.axis.plate or None, *(None,) * (rank - of_member.ndim), *of_member.axes)
        return replace(of_member, shape=self.shape(of_member.shape, rank), axes=axes)

    # -- sites ------------------------------------------------------------------------------------------

    def site(self, op: Site, args: list[Node], lanes: list[bool]) -> Node:
        if op.KEY in op.extras:
            raise NotBatched("each draws with a key of its own")
        batch = _batch_ndim(op, args, lanes)
        rank = batch + op.event_ndim
        part, leaves = self.distribution(op.dist, list(op.leaves(args)), list(op.leaves(lanes)), batch)
        new = replace(
            op,
            name=self.name,
            dist=part,
            n_leaves=len(leaves),
            plates=self.plates(op.plates, batch + 1),
            type=self.type(op.type, rank),
            drawn=self.shape(op.drawn, rank),
            members=self.members(op.members),
        )
        extras = [
            self.leading(node, lane, rank) if extra == op.OBS else self.aligned(node, lane, batch)
            for extra, node, lane in zip(op.extras, args[op.n_leaves :], lanes[op.n_leaves :], strict=True)
        ]
        node = self.builder.add(new, [*leaves, *extras], self.loc)
        shape = self.shape(op.type.shape, op.type.ndim)  # who reads the value knows of no axes between
        return node if shape == new.type.shape else self.call(_reshaped(new.type, shape), node)

    def distribution(self, part: Part, leaves: list[Node], lanes: list[bool], batch: int) -> tuple[Part, list[Node]]:
        part, closed = batched_dist(part, _types(leaves), tuple(lanes), self.axis.size, batch)
        return part, self.builder.inline(closed, leaves, self.loc)

    def plates(self, inner: tuple[PlateFrame, ...], depth: int) -> tuple[PlateFrame, ...]:
        return (*inner, PlateFrame(self.axis.plate, self.axis.size, -depth))

    def members(self, old: Members | None) -> Members:
        return Members(self.names) if old is None else Members(self.names, 1 + old.axes, old.steps)

    def deterministic(self, op: Deterministic, arg: Node, lane: bool) -> Node:
        value = self.leading(arg, lane)
        depth = max(array_type(value).ndim, *(1 - p.dim for p in op.plates), 1)
        new = Deterministic(self.name, self.plates(op.plates, depth), self.members(op.members))
        return self.builder.add(new, [value], self.loc)

    def plate(self, op: Plate, args: list[Node], lanes: list[bool]) -> Node:
        if any(lanes):
            raise NotBatched("each takes a subsample of its own")
        name = self.name or op.frame.name
        new = Plate(replace(op.frame, name=name), _with_plates(op.type, {op.frame.name: name}))
        return self.builder.add(new, args, self.loc)

    # -- terms of a density -----------------------------------------------------------------------------

    def log_prob(self, op: LogProb, args: list[Node], lanes: list[bool]) -> Node:
        batch, n = array(op.out).ndim, len(args) - op.masked - op.scaled
        part, leaves = self.distribution(op.dist, args[1:n], lanes[1:n], batch)
        if not any(lanes[1:n]):  # nothing to expand where there are no draws
            part, leaves = op.dist, args[1:n]
        value = self.aligned(args[0], lanes[0], batch + len(event_shape(op.dist)))
        extras = [self.aligned(x, lane, batch) for x, lane in zip(args[n:], lanes[n:], strict=True)]
        whole = [value, *leaves, *extras]
        return self.term(op, signature(LogProb, _types(whole), self.name or op.site, part, op.masked, op.scaled), whole)

    def in_support(self, op: InSupport, args: list[Node], lanes: list[bool]) -> Node:
        batch, n = array(op.out).ndim, len(args) - op.masked
        part, leaves = op.support, args[1:n]
        rank = batch + rebuild(part, [struct(t) for t in _types(leaves)]).event_dim
        part, closed = batched_constraint(part, _types(leaves), tuple(lanes[1:n]), self.axis.size, rank)
        leaves = self.builder.inline(closed, leaves, self.loc)
        value = self.aligned(args[0], lanes[0], rank)
        extras = [self.aligned(x, lane, batch) for x, lane in zip(args[n:], lanes[n:], strict=True)]
        whole = [value, *leaves, *extras]
        what = f"site {self.name!r}" if self.name else op.what
        return self.term(op, signature(InSupport, _types(whole), what, part, op.masked), whole)

    def term(self, old: LogProb | InSupport, new: Any, args: list[Node]) -> Node:
        t = self.type(array(old.out), array(old.out).ndim)
        if new.out.shape != t.shape:
            raise NotBatched(f"such a {old.mnemonic} can't be stacked")
        return self.builder.add(replace(new, out=replace(new.out, axes=t.axes)), args, self.loc)

    # -- loops and branches -----------------------------------------------------------------------------

    def scan(self, op: Scan, args: list[Node], lanes: list[bool]) -> tuple[Node, ...]:
        """The scan with the members' axis inside of the steps': N scans of T steps ⇒ T steps of N members."""
        (consts, carry, xs), (of_consts, entering, of_xs) = op.split(args), op.split(lanes)
        carried: list[bool] = []
        body = self.body(op.body, lanes, entering)
        while carried != body.lanes[: op.n_carry]:  # what a step returns, the next one takes
            carried = body.lanes[: op.n_carry]
            body = self.body(op.body, [*of_consts, *carried, *of_xs], carried)
        carry = [self.leading(x, a) if b else x for x, a, b in zip(carry, entering, carried, strict=True)]
        xs = [self.call(_moved(array_type(x)), x) if lane else x for x, lane in zip(xs, of_xs, strict=True)]
        whole = [*consts, *carry, *xs]
        types = [array_type(n) for n in body.results]
        out = TupleType((*types[: op.n_carry], *(_stacked(t, op.length) for t in types[op.n_carry :])))
        node = self.builder.add(replace(op, ins=_types(whole), out=out, body=body.graph), whole, self.loc)
        return self.results(node, body.lanes, op.n_carry)

    def cond(self, op: Cond, args: list[Node], lanes: list[bool]) -> tuple[Node, ...]:
        if lanes[0]:
            raise NotBatched("the branch differs from member to member")
        every = [True] * len(op.branches[0].named(Role.RESULT))
        bodies = [self.body(branch, lanes[1:], every) for branch in op.branches]
        out = TupleType(tuple(array_type(n) for n in bodies[0].results))
        new = replace(op, ins=_types(args), out=out, branches=tuple(body.graph for body in bodies))
        return self.results(self.builder.add(new, args, self.loc), every, len(every))

    def results(self, node: Node, lanes: list[bool], first_stacked: int) -> tuple[Node, ...]:
        """The results of a scan or a cond, the members' axis before the steps'."""
        items = [self.builder.add(Item(i), [node], self.loc) for i in range(len(lanes))]
        moved = [
            self.call(_moved(array_type(item)), item) if lane and i >= first_stacked else item
            for i, (item, lane) in enumerate(zip(items, lanes, strict=True))
        ]
        return tuple(self.leading(item, lane) for item, lane in zip(moved, lanes, strict=True))

    def body(self, member: Graph, lanes: Sequence[bool], wanted: Sequence[bool]) -> _Body:
        body = _Body(self.axis, self.rename)
        for node, lane in zip(member.of(Input), lanes, strict=True):
            body.enter(node, lane)
        for node in member:
            if not isinstance(node.op, Input):
                body.add_for_all(node)
        for i, node in enumerate(member.named(Role.RESULT).values()):
            body.leave(node, i < len(wanted) and wanted[i])
        return body


class _Body(Builder):
    """A scan's body or a branch, for all members; what they share has no axis."""

    def __init__(self, axis: Axis, rename: Rename | None) -> None:
        super().__init__()
        self.axis, self.rename = axis, rename
        self.env: dict[Node, tuple[Any, bool]] = {}  # by a member's node its value here and whether it has the axis
        self.plates: dict[str, str] = {}
        self.results: list[Node] = []
        self.lanes: list[bool] = []  # which results have the axis

    @property
    def graph(self) -> Graph:
        return with_outputs(self.nodes, [Output(Role.RESULT, str(i), n) for i, n in enumerate(self.results)])

    def enter(self, node: Node, lane: bool) -> None:
        t = array_type(node)
        op = replace(node.op, type=_Batching(self, self.axis).type(t, t.ndim)) if lane else node.op  # type: ignore[call-arg]
        self.env[node] = self.add(op, (), node.loc), lane

    def add_for_all(self, node: Node) -> None:
        args, lanes = [self.env[a][0] for a in node.args], [self.env[a][1] for a in node.args]
        if not (any(lanes) or node.op.is_root):
            self.env[node] = self.add(node.op, args, node.loc), False
            return
        node_here = _in_plates(node, self.plates)
        new = batched(self, node_here, args, lanes, self.axis, rename=self.rename)
        self.env[node] = new, not isinstance(node.op, Plate)
        if isinstance(node.op, Plate):
            self.plates[node.op.frame.name] = new.op.frame.name

    def leave(self, node: Node, wanted: bool) -> None:
        value, lane = self.env[node]
        self.results.append(_Batching(self, self.axis, node.loc).leading(value, lane) if wanted else value)
        self.lanes.append(lane or wanted)


# -- code on types ------------------------------------------------------------------------------------------


@remembered
def _vmapped(op: Op, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], size: int) -> Any:
    """The closed jaxpr of an op on arguments that have the members' axis where `lanes` says so."""
    rule = RULES[type(op)]
    in_axes = tuple(0 if lane else None for lane in lanes)
    members = jax.vmap(lambda *args: rule(op, args), in_axes, axis_size=size)
    try:
        return jax.make_jaxpr(members)(*map(struct, ins))
    except NotImplementedError:
        name = op.primitive.name if isinstance(op, Apply) else op.mnemonic
        raise NotBatched(f"jax can't vmap {name}") from None


@remembered
def _leading(t: ArrayType, lane: bool, size: int, missing: int) -> Any:
    def leading(x: Any) -> Any:
        x = x if lane else jnp.broadcast_to(x, (size, *jnp.shape(x)))
        return jnp.expand_dims(x, tuple(range(1, 1 + missing))) if missing else x

    return jax.make_jaxpr(leading)(struct(t))


@remembered
def _reshaped(t: ArrayType, shape: Shape) -> Any:
    return jax.make_jaxpr(lambda x: jnp.reshape(x, shape))(struct(t))


@remembered
def _moved(t: ArrayType) -> Any:
    """Members first ⇔ steps first."""
    return jax.make_jaxpr(lambda x: jnp.swapaxes(x, 0, 1))(struct(t))


def _stacked(t: ArrayType, length: int) -> ArrayType:
    return replace(t, shape=(length, *t.shape), axes=(None, *t.axes))


# -- names and ranks ----------------------------------------------------------------------------------------


def _batch_ndim(op: Site, args: Sequence[Node], lanes: Sequence[bool]) -> int:
    """How many batch axes a member has: those of its distribution, or of a larger value, mask or scale."""
    of_draw = len(op.drawn) - op.event_ndim
    extras = zip(op.extras, args[op.n_leaves :], lanes[op.n_leaves :], strict=True)
    batch = max([of_draw, *(array_type(x).ndim - lane - op.event_ndim * (name == op.OBS) for name, x, lane in extras)])
    if isinstance(op, Sample) and batch > of_draw:
        raise NotBatched("its mask or scale has more axes than the site")
    return batch


def _in_plates(node: Node, names: Mapping[str, str]) -> Node:
    """A node in plates that have other names for all members."""
    if not names or not isinstance(node.op, (Site, Deterministic)):
        return node
    plates = tuple(replace(p, name=names.get(p.name, p.name)) for p in node.op.plates)
    if isinstance(node.op, Deterministic):
        return replace(node, op=replace(node.op, plates=plates))
    t = _with_plates(node.op.type, names)
    return replace(node, op=replace(node.op, plates=plates, type=t), type=t)


def _with_plates(t: ArrayType, names: Mapping[str, str]) -> ArrayType:
    return replace(t, axes=tuple(a if a is None else names.get(a, a) for a in t.axes))


def _types(nodes: Sequence[Node]) -> tuple[ArrayType, ...]:
    return tuple(array_type(n) for n in nodes)


__all__ = ["Axis", "NotBatched", "batched"]
