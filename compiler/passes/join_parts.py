"""join_parts: z is read in blocks, and neighbours on one support share a bijector.

a: f64[] = flat z[0:1]                            blocks: (f64[16], …) = split z into 16, …
s: f64[] = constrain a to positive                b: f64[16] = item blocks[0]
c: f64[] = flat z[1:2]                        ⇒   u: f64[2] = flat b[0:2]
t: f64[] = constrain c to positive                x: f64[2] = constrain u to positive
                                                  s: f64[] = flat x[0:1]
log density = add_n … (log_det_jacobian a s)      t: f64[] = flat x[1:2]
                      (log_det_jacobian c t)      log density = add_n … (sum (log_det_jacobian u x))

The gradient of a slice is its cotangent between zeros: many slices of one long vector cost its length times their
number. That of a split is one concatenation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plait.compiler.batching.distributions import is_numpyros
from plait.compiler.importer import Builder
from plait.compiler.node_list import merged
from plait.compiler.staged import signature
from plait.ir.graph import Graph, Node, make, renamed_outputs, with_outputs
from plait.ir.ops import AddN, Constrain, Flat, Input, Item, LogDet, Split, Sum, array_type, inputs
from plait.ir.spec import Static

FEW = 8  # pieces that XLA's CPU compiler concatenates inside one loop; of more it makes a loop for each piece
BLOCK = 16  # entries of a block: measured; shorter ones are more loops, longer ones more zeros


def join_parts(graph: Graph) -> Graph:
    """Reads z in blocks, one bijector for neighbours: ``constrain z[0:1]; constrain z[1:2]  ⇒  constrain z[0:2]``."""
    z = inputs(graph, Input.FLAT)
    parts = [n for n in graph.of(Flat) if n.args[0] in z]
    return _Joined(graph, parts).graph() if len(parts) > 1 else graph


@dataclass(frozen=True)
class _Bijected:
    """What becomes of a part of z: its site's value and the log-det-Jacobian."""

    part: Node
    x: Node
    det: Node


class _Joined(Builder):
    """Rebuilds the graph with fewer reads of z."""

    def __init__(self, graph: Graph, parts: Sequence[Node]) -> None:
        super().__init__()
        self.before, self.parts = graph, parts
        self.env: dict[Node, Node] = {}
        self.places: dict[Node, tuple[Node, int]] = {}  # of each part: its block, and where it begins there
        self.runs: dict[Node, list[_Bijected]] = {}  # by the constrain of each member
        self.joined: dict[Node, Node] = {}  # by the first member's constrain, the values of all
        self.dets: dict[Node, Node] = {}  # by the log_det_jacobian of each member, the sum over all

    def graph(self) -> Graph:
        blocks = _blocks(self.parts)
        for run in (run for block in blocks for run in _runs(self.before, block)):
            self.runs |= {member.x: run for member in run}
        for node in self.before:
            self.env[node] = self._rewritten(node)
            if node is self.parts[0].args[0]:
                self._cut(node, blocks)
        return with_outputs(self.nodes, renamed_outputs(self.before, self.env))

    def _cut(self, z: Node, blocks: Sequence[Sequence[Node]]) -> None:
        """Splits z into blocks."""
        split = self.add(Split(tuple(sum(_size(p) for p in block) for block in blocks)), [z], z.loc)
        for i, block in enumerate(blocks):
            item, offset = self.add(Item(i), [split], z.loc), 0
            for part in block:
                self.places[part] = item, offset
                offset += _size(part)

    def _rewritten(self, node: Node) -> Node:
        args = tuple(self.env[a] for a in node.args)
        if node in self.places:
            block, offset = self.places[node]
            return self.add(Flat(offset, array_type(node)), [block], node.loc)
        if node in self.runs:
            return self._of_run(node, self.runs[node])
        if isinstance(node.op, AddN):
            summands = {a: a.args[0] if isinstance(a.op, Sum) else a for a in node.args}
            groups = {a: self.dets[det] for a, det in summands.items() if det in self.dets}
            args = tuple(merged(node.args, groups, self.env))
        new = node if args == node.args else make(node.op, args, node.loc)
        self.nodes.append(new)
        return new

    def _of_run(self, node: Node, run: Sequence[_Bijected]) -> Node:
        """A member's value: its part of the values of all."""
        first = run[0]
        if first.x not in self.joined:
            self._join(first, run)
        x = self.joined[first.x]
        offset = self.places[node.args[0]][1] - self.places[first.part][1]
        return self.add(Flat(offset, array_type(node)), [x], node.loc)

    def _join(self, first: _Bijected, run: Sequence[_Bijected]) -> None:
        block, offset = self.places[first.part]
        size = sum(_size(member.part) for member in run)
        u = self.add(Flat(offset, replace(array_type(block), shape=(size,), axes=(None,))), [block], first.part.loc)
        support = first.x.op.support  # type: ignore[attr-defined]
        x = self.add(signature(Constrain, (array_type(u),), support), [u], first.x.loc)
        name = ", ".join(member.det.op.site for member in run)  # type: ignore[attr-defined]
        op = signature(LogDet, (array_type(u), array_type(x)), name, support, 0, False, False)
        self.joined[first.x] = x
        total = self.total(self.add(op, [u, x], first.det.loc))
        self.dets |= {member.det: total for member in run}


def _blocks(parts: Sequence[Node]) -> list[list[Node]]:
    """The parts in pieces of z: each for itself if they are few, else neighbours together."""
    blocks: list[list[Node]] = []
    room = 0
    for part in parts:
        if len(parts) <= FEW or not blocks or _size(part) > room:
            blocks.append([])
            room = BLOCK
        blocks[-1].append(part)
        room -= _size(part)
    return blocks


def _runs(graph: Graph, block: Sequence[Node]) -> list[list[_Bijected]]:
    """The neighbours in a block that one bijector can serve."""
    found: list[list[_Bijected]] = []
    last = None
    bijected = {n.args[0]: n for n in graph.of(LogDet)}
    for part in block:
        det = bijected.get(part)
        support = _elementwise_support(det)
        if det is not None and support is not None:
            if support != last:
                found.append([])
            found[-1].append(_Bijected(part, det.args[1], det))
        last = support
    return [run for run in found if len(run) > 1]


def _elementwise_support(det: Node | None) -> Static | None:
    """The support of a site whose entries are transformed one by one and counted once each."""
    if det is None or not isinstance(det.op, LogDet):
        return None
    op, (u, x) = det.op, det.args[:2]
    constant = len(det.args) == 2 and isinstance(op.support, Static) and is_numpyros(op.support)
    if not constant or op.event_ndim or getattr(op.support.value, "event_dim", 1):  # type: ignore[union-attr]
        return None
    return op.support if array_type(u).same_array(array_type(x)) else None  # type: ignore[return-value]


def _size(part: Node) -> int:
    return array_type(part).size


__all__ = ["join_parts"]
