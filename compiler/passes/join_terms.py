"""join_terms: small priors of one family are one vector operation in the sum that they go into.

a: f64[] = log_prob b1 ~ Normal(0, 1)             x: f64[2] = join b1, b2
b: f64[] = log_prob b2 ~ Normal(0, 2.5)       ⇒   t: f64[2] = log_prob x ~ Normal(0, [1, 2.5])
log joint = add_n a b …                           log joint = add_n (sum t) …

The sites' own terms stay for whoever asks for them. What a family is made of may be constants, data or free values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from plait.compiler.batching.distributions import batched_dist, is_numpyros
from plait.compiler.batching.growing import NotBatched, declared, event_shape
from plait.compiler.binding import known_nodes
from plait.compiler.importer import Builder
from plait.compiler.node_list import merged
from plait.compiler.passes.join_parts import FEW
from plait.compiler.staged import signature
from plait.ir.graph import Graph, Node, make, renamed_outputs, with_outputs
from plait.ir.ops import AddN, Flat, Item, Join, LogProb, Split, Sum, Value, array_type
from plait.ir.spec import Part, Seq, Spec, family
from plait.ir.types import ArrayType, Shape

LEAST = 16  # sites: of fewer, measured, the vector gains nothing in the call and nothing in its compilation
SMALL = 16  # entries: a larger site has a loop of its own anyway


def join_terms(graph: Graph) -> Graph:
    """Makes one term of small priors: ``log_prob a ~ D(p); log_prob b ~ D(q)  ⇒  log_prob [a, b] ~ D([p, q])``."""
    sums = graph.of(AddN)
    families = _families(sums[0].args, known_nodes(graph)) if sums else []
    if not families:
        return graph
    builder = Builder()
    env: dict[Node, Node] = {}
    joined: dict[Node, Node] = {}  # by a member's addend, that of its family
    for node in graph:
        if node is sums[0]:
            joined = _joined(builder, families, env)
        args = tuple(merged(node.args, joined, env) if isinstance(node.op, AddN) else (env[a] for a in node.args))
        env[node] = node if args == node.args else make(node.op, args, node.loc)
        builder.nodes.append(env[node])
    return with_outputs(builder.nodes, renamed_outputs(graph, env))


# -- families -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Member:
    """A small prior: its addend of the joint, and its log_prob on arguments that broadcast to `shape`."""

    addend: Node
    term: Node
    scalar: Part  # its distribution, of one entry

    @property
    def shape(self) -> Shape:
        return array_type(self.term.args[0]).shape

    @property
    def kind(self) -> Any:
        """What members of one family have in common."""
        op = self.term.op
        assert isinstance(op, LogProb)
        return self.scalar, array_type(self.term.args[0]).dtype, op.out.dtype, op.masked, op.scaled  # type: ignore[union-attr]


def _families(addends: Sequence[Node], known: AbstractSet[Node]) -> list[list[_Member]]:
    """The families among the addends that are worth a vector."""
    found: dict[Any, list[_Member]] = {}
    for addend in addends:
        member = _member(addend)
        if member is not None:
            found.setdefault(member.kind, []).append(member)
    together = [_near(members) for members in found.values()]
    return [members for members in together if len(members) >= LEAST and _is_gathered(members, known)]


def _member(addend: Node) -> _Member | None:
    """The small prior that an addend is, if it is one."""
    term = addend.args[0] if isinstance(addend.op, Sum) else addend
    op = term.op
    if not isinstance(op, LogProb) or not isinstance(term.args[0].op, Value) or not is_numpyros(op.dist):
        return None
    t = array_type(term.args[0])
    scalar = _of_one_entry(op.dist)
    if t.ndim > 1 or t.size > SMALL or array_type(term).shape != t.shape or not _is_univariate(scalar):
        return None
    n = len(term.args) - op.masked - op.scaled
    fits = all(_broadcasts(array_type(a), t) for a in term.args[1:])
    same_dtype = all(p.weak or p.dtype == t.dtype for p in map(array_type, term.args[1:n]))
    return _Member(addend, term, scalar) if fits and same_dtype else None


def _broadcasts(parameter: ArrayType, value: ArrayType) -> bool:
    return parameter.shape in ((), (1,) * value.ndim, value.shape)


def _of_one_entry(part: Part) -> Part:
    """A distribution without its batch: of each entry, on its parameters at that entry."""
    if isinstance(part, Seq):
        return Seq(part.cls, tuple(map(_of_one_entry, part.items)))
    if not isinstance(part, Spec):
        return part
    base = part.field("base_dist")
    if part.cls.__name__ == "ExpandedDistribution" and base is not None:
        return _of_one_entry(base)
    fields = ((name, Seq(tuple, ()) if name == "_batch_shape" else _of_one_entry(x)) for name, x in part.fields)
    return Spec(part.cls, tuple(fields))


def _is_univariate(part: Part) -> bool:
    """Whether an entry of the value needs one entry of each parameter. A Delta's value is its parameter."""
    if family(part) == "Delta" or event_shape(part):
        return False
    try:
        return not any(constraint.event_dim for constraint in declared(part).values())
    except NotImplementedError:  # it depends on other parameters
        return False


# -- what lies side by side -----------------------------------------------------------------------------


def _near(members: Sequence[_Member]) -> list[_Member]:
    """The members in the longest stretches of z, as many stretches as go into one loop."""
    stretches: list[list[_Member]] = []
    for member in members:
        if not stretches or not _follows(stretches[-1][-1].term.args[0], member.term.args[0]):
            stretches.append([])
        stretches[-1].append(member)
    chosen = {m for stretch in sorted(stretches, key=len, reverse=True)[:FEW] for m in stretch}
    return [member for member in members if member in chosen]


def _is_gathered(members: Sequence[_Member], known: AbstractSet[Node]) -> bool:
    """Whether no parameter has to be collected from more places than go into one loop; known ones are beforehand."""
    columns = list(zip(*(member.term.args[1:] for member in members), strict=True))
    return all(len(set(c)) == 1 or set(c) <= known or _n_pieces(c) <= FEW for c in columns)


def _n_pieces(column: Sequence[Node]) -> int:
    return 1 + sum(not _follows(a, b) for a, b in pairwise(column))


def _follows(a: Node, b: Node) -> bool:
    """Whether the entries of `b` stand behind those of `a` in one vector."""
    (of_a, _, end), (of_b, start, _) = _place(a), _place(b)
    return of_a is of_b and end == start


def _place(node: Node) -> tuple[Node, int, int]:
    """Where a value is read from: a vector, the first entry, the one behind the last."""
    source = node.args[0] if isinstance(node.op, Value) and node.op.bound else node
    if not isinstance(source.op, Flat):
        return source, 0, array_type(source).size
    vector, start = source.args[0], source.op.offset
    if isinstance(vector.op, Item) and isinstance((split := vector.args[0]).op, Split):
        start += sum(split.op.lengths[: vector.op.index])
        (vector,) = split.args
    return vector, start, start + array_type(source).size


# -- joining --------------------------------------------------------------------------------------------


def _joined(
    builder: Builder, families: Sequence[Sequence[_Member]], env: Mapping[Node, Node]
) -> dict[Node, Node]:  # fmt: skip
    """Adds the families' terms; by the members' addends."""
    found: dict[Node, Node] = {}
    for members in families:
        before = len(builder.nodes)
        try:
            total = builder.total(_term(builder, members, env))
        except NotBatched:
            del builder.nodes[before:]
            continue
        found |= {member.addend: total for member in members}
    return found


def _term(builder: Builder, members: Sequence[_Member], env: Mapping[Node, Node]) -> Node:
    """The log_prob of all members' values."""
    op, loc = members[0].term.op, members[0].term.loc
    assert isinstance(op, LogProb)
    shapes = tuple(member.shape for member in members)
    size = sum(map(math.prod, shapes))
    value, *rest = zip(*([env[a] for a in member.term.args] for member in members), strict=True)
    dtype = array_type(value[0]).dtype
    n = len(rest) - op.masked - op.scaled
    x = builder.add(Join(shapes, dtype), value, loc)
    leaves = [_column(builder, column, shapes, dtype) for column in rest[:n]]
    extras = [_column(builder, column, shapes, array_type(column[0]).dtype) for column in rest[n:]]
    lanes = tuple(bool(array_type(leaf).ndim) for leaf in leaves)
    dist = members[0].scalar
    if any(lanes):
        dist, closed = batched_dist(dist, tuple(map(array_type, leaves)), lanes, size, 0)
        leaves = builder.inline(closed, leaves, loc)
    args = (x, *leaves, *extras)
    names = ", ".join(member.term.op.site for member in members)  # type: ignore[attr-defined]
    new = signature(LogProb, tuple(map(array_type, args)), names, dist, op.masked, op.scaled)
    if new.out.shape != (size,):
        raise NotBatched("its log_prob is no vector")
    return builder.add(new, args, loc)


def _column(builder: Builder, column: Sequence[Node], shapes: tuple[Shape, ...], dtype: Any) -> Node:
    """One parameter of all members: a scalar that they share, or a vector."""
    first = column[0]
    literals = {(n.op.literal, array_type(n).dtype) for n in column}
    shared = len(set(column)) == 1 or (first.op.literal is not None and len(literals) == 1)
    if shared and array_type(first).shape == ():
        return first
    return builder.add(Join(shapes, dtype), column, first.loc)


__all__ = ["join_terms"]
