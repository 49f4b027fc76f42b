"""One node for all members of a family: sites or code that a loop repeated N times become one, with a leading axis.

theta_i: f64[] = sample Normal(mu, tau)      theta: f64[school:8] = sample Normal(mu, tau).expand([8])
y_i: f64[] = observe Normal(theta_i, s_i) ⇒  y: f64[school:8] = observe Normal(theta, s)
e_i: f64[] = exp theta_i                     e: f64[8] = exp theta
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from plait.compiler.batched_dist import NotBatched, batched_dist
from plait.compiler.importer import Builder
from plait.compiler.lower.evaluate import RULES
from plait.compiler.memo import remembered
from plait.compiler.staged import struct
from plait.compiler.staging import draw_type
from plait.ir.graph import Node, Op
from plait.ir.ops import (
    AddN,
    Apply,
    Constrain,
    Deterministic,
    Factor,
    Guard,
    Item,
    LogDet,
    LogProb,
    Param,
    Plate,
    Sample,
    Site,
    Sum,
    array_type,
)  # fmt: skip
from plait.ir.spec import Part
from plait.ir.types import ArrayType, Loc, Members, PlateFrame, TupleType

Several = Node | tuple[Node, ...]  # a node, or the results of one that has several
Rename = Callable[[str], tuple[str, tuple[str, ...]]]  # from a member's name to the new one and the members'


@dataclass(frozen=True)
class Axis:
    """The new leading axis: the plate's name, and its size."""

    plate: str
    size: int


def batched(
    builder: Builder,
    node: Node,
    args: Sequence[Several],
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
        rename: says both for a member's name, for everything inside a scan or a branch too. Plates in there are
            asked for too.

    Returns:
        A node whose value has the leading axis, or a tuple of them where `node` has several results.

    Raises:
        NotBatched: there is no such node.
    """
    if rename is not None and node.op.label is not None:
        name, names = rename(node.op.label)
    op, loc = node.op, node.loc
    match op:
        case Item(index) if isinstance(args[0], tuple):
            return args[0][index]
        case Param():
            raise NotBatched("params are kept one by one")
    nodes = [a for a in args if isinstance(a, Node)]
    match op:
        case Site():
            return _site(builder, op, nodes, lanes, axis, name, names, loc)
        case Deterministic():
            return _deterministic(builder, op, nodes[0], lanes[0], axis, name, names, loc)
        case Plate():
            return _plate(builder, op, nodes, lanes, name, loc)
        case LogProb():
            return _log_prob(builder, op, nodes, lanes, axis, loc)
        case Apply() | Sum() | AddN() | Guard() | Constrain() | LogDet():
            return _code(builder, node, nodes, lanes, axis)
    raise NotBatched(f"{op.mnemonic} can't be stacked")


# -- code ---------------------------------------------------------------------------------------------


def _code(builder: Builder, node: Node, args: Sequence[Node], lanes: Sequence[bool], axis: Axis) -> Several:
    assert any(lanes), "code on what all members share is shared"
    closed = _vmapped(node.op, _types(args), tuple(lanes), axis.size)
    results = builder.inline(closed, args, node.loc)
    return tuple(results) if isinstance(node.type, TupleType) else results[0]


@remembered
def _vmapped(op: Op, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], size: int) -> Any:
    """The closed jaxpr of an op on arguments that have the members' axis where `lanes` says so."""
    rule = RULES[type(op)]
    in_axes = tuple(0 if lane else None for lane in lanes)
    members = jax.vmap(lambda *args: rule(op, args), in_axes, axis_size=size)
    try:
        return jax.make_jaxpr(members)(*map(struct, ins))
    except NotImplementedError:
        primitive = op.primitive.name if isinstance(op, Apply) else op.mnemonic
        raise NotBatched(f"jax.vmap of {primitive} is not implemented") from None


def _leading(builder: Builder, node: Node, lane: bool, size: int, rank: int | None = None) -> Node:
    """A node with the members' axis left of its last `rank` axes (default: all the others)."""
    t = array_type(node)
    own = t.ndim - lane
    missing = 0 if rank is None else rank - own
    if lane and not missing:
        return node
    (new,) = builder.inline(_aligned(t, lane, size, missing), [node], node.loc)
    return new


@remembered
def _aligned(t: ArrayType, lane: bool, size: int, missing: int) -> Any:
    def align(x: Any) -> Any:
        x = x if lane else jnp.broadcast_to(x, (size, *jnp.shape(x)))
        return jnp.expand_dims(x, tuple(range(1, 1 + missing))) if missing else x

    return jax.make_jaxpr(align)(struct(t))


# -- sites --------------------------------------------------------------------------------------------


def _site(
    builder: Builder,
    op: Site,
    args: Sequence[Node],
    lanes: Sequence[bool],
    axis: Axis,
    name: str,
    names: tuple[str, ...],
    loc: Loc | None,
) -> Node:
    if op.KEY in op.extras:
        raise NotBatched("each draws with a key of its own")
    rank = _batch_rank(op, args, lanes)
    part, leaves = _distribution(builder, op, args, lanes, axis, rank, loc)
    extras = [
        _extra(builder, op, extra, node, lane, axis, rank)
        for extra, node, lane in zip(op.extras, args[op.n_leaves :], lanes[op.n_leaves :], strict=True)
    ]
    whole = (*leaves, *extras)
    t = op.type
    batch = rank + op.event_ndim
    drawn = (axis.size, *(1,) * (batch - len(op.drawn)), *op.drawn)
    gap = (batch - t.ndim) * (not isinstance(op, Sample))
    new = replace(
        op,
        name=name,
        dist=part,
        n_leaves=len(leaves),
        plates=(PlateFrame(axis.plate, axis.size, -(rank + 1)), *op.plates),
        type=replace(t, shape=(axis.size, *(1,) * gap, *t.shape), axes=(axis.plate, *(None,) * gap, *t.axes)),
        drawn=drawn,
        members=_members(op.members, names),
    )
    node = builder.add(new, whole, loc)
    if not gap:
        return node
    (value,) = builder.inline(_reshaped(array_type(node), (axis.size, *t.shape)), [node], loc)
    return value


def _batch_rank(op: Site, args: Sequence[Node], lanes: Sequence[bool]) -> int:
    """How many batch axes a member has: those of its distribution, or of a larger value, mask or scale."""
    own = len(op.drawn) - op.event_ndim
    rank = own
    for extra, node, lane in zip(op.extras, args[op.n_leaves :], lanes[op.n_leaves :], strict=True):
        rank = max(rank, array_type(node).ndim - lane - op.event_ndim * (extra == op.OBS))
    if rank > own and isinstance(op, Sample):
        raise NotBatched("a mask or scale has more axes than the site")
    return rank


def _extra(builder: Builder, op: Site, extra: str, node: Node, lane: bool, axis: Axis, rank: int) -> Node:
    if extra == op.OBS:
        return _leading(builder, node, lane, axis.size, rank + op.event_ndim)
    return _leading(builder, node, lane, axis.size, rank) if lane else node


def _distribution(
    builder: Builder, op: Site, args: Sequence[Node], lanes: Sequence[bool], axis: Axis, rank: int, loc: Loc | None
) -> tuple[Part, list[Node]]:
    leaves = op.leaves(args)
    part, closed = batched_dist(op.dist, _types(leaves), tuple(lanes[: op.n_leaves]), axis.size, rank)
    nodes = builder.inline(closed, leaves, loc)
    missing = rank + op.event_ndim - len(op.drawn)
    if not isinstance(op, Factor) and draw_type(part, _types(nodes)).shape != (axis.size, *(1,) * missing, *op.drawn):
        raise NotBatched(f"{op.family} can't be stacked")
    return part, nodes


def _members(old: Members | None, names: tuple[str, ...]) -> Members:
    return Members(names, 1) if old is None else Members(names, 1 + old.axes, old.steps)


@remembered
def _reshaped(t: ArrayType, shape: tuple[int, ...]) -> Any:
    return jax.make_jaxpr(lambda x: jnp.reshape(x, shape))(struct(t))


def _deterministic(
    builder: Builder,
    op: Deterministic,
    value: Node,
    lane: bool,
    axis: Axis,
    name: str,
    names: tuple[str, ...],
    loc: Loc | None,
) -> Node:
    value = _leading(builder, value, lane, axis.size)
    frame = PlateFrame(axis.plate, axis.size, -array_type(value).ndim)
    return builder.add(Deterministic(name, (frame, *op.plates), _members(op.members, names)), [value], loc)


def _plate(
    builder: Builder, op: Plate, args: Sequence[Node], lanes: Sequence[bool], name: str, loc: Loc | None
) -> Node:
    """The indices of a plate, which all members share."""
    if any(lanes):
        raise NotBatched("each takes a subsample of its own")
    frame = replace(op.frame, name=name or op.frame.name)
    axes = tuple(frame.name if a == op.frame.name else a for a in op.type.axes)
    return builder.add(Plate(frame, replace(op.type, axes=axes)), args, loc)


def _log_prob(
    builder: Builder, op: LogProb, args: Sequence[Node], lanes: Sequence[bool], axis: Axis, loc: Loc | None
) -> Node:
    raise NotBatched("log_prob can't be stacked")


def _types(nodes: Sequence[Node]) -> tuple[ArrayType, ...]:
    return tuple(array_type(n) for n in nodes)


__all__ = ["Axis", "NotBatched", "batched"]
