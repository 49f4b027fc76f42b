"""Loops over plates, closed: the steps that were traced become one, with the plate as its leading axis.

i: i64[] = loop_begin schools                 (and once more, as the last step)
theta_?: f64[] = sample Normal(mu, tau)       theta_*: f64[schools:8] = sample Normal(mu, tau).expand([8])
a: f64[] = gather y i                     ⇒   a: f64[8] = gather y schools
y_?: f64[] = observe Normal(theta_?, 1)       y_*: f64[schools:8] = observe Normal(theta_*, 1) obs=a
loop_end i

The meaning is that of the ordinary loop. So where the steps differ in more than the index, where a value flows from
one step into the next, or out of the loop, there is no such plate, and the loop is traced again as an ordinary one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from plait.compiler.batching.nodes import Axis, NotBatched, batched
from plait.compiler.importer import Builder
from plait.compiler.loops.alike import Differ, matched
from plait.compiler.loops.slices import Numbers, sliced
from plait.compiler.loops.state import IndexTexts, LoopLine, Unrolled, visible
from plait.compiler.loops.steps import STEPS
from plait.ir.graph import Graph, Node, Op, Output, ancestors, make
from plait.ir.ops import Deterministic, Input, LoopBegin, LoopEnd, Param, Plate, Site
from plait.ir.types import PlateFrame


def close_loops(graph: Graph, texts: IndexTexts) -> Graph:
    """One node for all steps of each loop over a plate.

    Args:
        graph: as it was imported.
        texts: of the loops' indices in the names of sites.

    Raises:
        Unrolled: the steps of a loop do not make a plate.
    """
    return _Closing(texts).graph(graph) if _has_loops(graph) else graph


def _has_loops(graph: Graph) -> bool:
    return any(isinstance(node.op, LoopBegin) or any(map(_has_loops, node.op.bodies)) for node in graph)


# -- which nodes belong to which step -------------------------------------------------------------------


@dataclass
class _Loop:
    """A loop as it was traced: its steps, each with its index first."""

    begin: Node
    steps: list[list[_Item]] = field(default_factory=list)

    @property
    def op(self) -> LoopBegin:
        assert isinstance(self.begin.op, LoopBegin)
        return self.begin.op

    @property
    def frame(self) -> PlateFrame:
        return self.op.frame

    @property
    def line(self) -> LoopLine:
        return LoopLine(self.frame.name, self.begin.loc)


_Item = Node | _Loop


def _nested(nodes: Iterable[Node]) -> list[_Item]:
    """The nodes in order, those of a loop together."""
    top: list[_Item] = []
    into = [top]
    loops: list[_Loop] = []
    for node in nodes:
        op = node.op
        if isinstance(op, LoopBegin):
            if op.step == 0:
                loops.append(_Loop(node))
                into[-1].append(loops[-1])
            loops[-1].steps.append([node])
            into.append(loops[-1].steps[-1])
        elif isinstance(op, LoopEnd):
            into.pop()
            if op.step == STEPS - 1:
                loops.pop()
        else:
            into[-1].append(node)
    return top


# -- closing --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Gone:
    """Stands for a step's own node: there is no such value outside of its loop."""

    node: Node
    loop: LoopLine


class _Closing:
    """Emits a graph with its loops closed, innermost first."""

    def __init__(self, texts: IndexTexts) -> None:
        self.texts = texts
        self.now: dict[Node, Node | _Gone] = {}  # what a node's users read instead of it

    def graph(self, graph: Graph) -> Graph:
        builder = Builder()
        self.emit(_nested(graph.nodes), builder)
        outputs = [Output(out.role, out.name, self.value(out.node)) for out in graph.outputs]
        return Graph(tuple(builder.nodes), tuple(outputs))

    def value(self, node: Node) -> Node:
        """What a node's users read now."""
        while node in self.now:
            found = self.now[node]
            if isinstance(found, _Gone):
                raise Unrolled(f"{_called(found.node)} of a step is used outside of the loop", found.loop)
            node = found
        return node

    def emit(self, items: Iterable[_Item], builder: Builder) -> None:
        for item in items:
            if isinstance(item, _Loop):
                self.loop(item, builder)
            else:
                self.node(item, builder)

    def node(self, node: Node, builder: Builder) -> None:
        op, args = node.op, tuple(map(self.value, node.args))
        if any(map(_has_loops, op.bodies)):
            op = op.with_bodies([_Closing(self.texts).graph(body) for body in op.bodies])
        if op is not node.op or args != node.args:
            self.now[node] = make(op, args, node.loc)
        builder.nodes.append(self.value(node))

    def loop(self, loop: _Loop, builder: Builder) -> None:
        """Emits all of a loop's steps at once."""
        steps = []
        for items in loop.steps:
            step = Builder()
            self.emit(items, step)
            steps.append(step.nodes)
        try:
            self.close(loop, steps, builder)
        except (Differ, NotBatched) as e:
            raise Unrolled(str(e), loop.line) from e

    def close(self, loop: _Loop, steps: Sequence[Sequence[Node]], builder: Builder) -> None:
        _refuse_flow(steps, loop.line)
        _refuse_inside(steps[0], loop)
        names = _Names(self.texts, loop.frame)
        first, last = steps
        own, needed = _own(first), _needed(first)
        place = matched(needed, _needed(last), names.same_at_last, {last[0]: first[0]})
        builder.nodes += [node for node in first if node not in own]
        _batch(first[0], [node for node in needed if node in own], names, builder)
        self.now.update({node: _Gone(node, loop.line) for node in own})
        own = _own(last)
        for node in last:  # what it shares with all steps may be used outside of the loop
            if node in own:
                self.now[node] = _Gone(node, loop.line)
            elif node in place:
                self.now[node] = place[node]
            else:
                self.node(node, builder)


def _batch(index: Node, step: Sequence[Node], names: _Names, builder: Builder) -> None:
    """Emits a step's own nodes for all steps; all of its indices are the plate's."""
    axis = Axis(names.frame.name, names.frame.size)
    numbers = Numbers(index, axis.size)
    whole: dict[Node, Any] = {index: index.args[0]}  # a node, or the results of one that has several
    for node in step:
        args, lanes = [whole.get(a, a) for a in node.args], [a in whole for a in node.args]
        part = sliced(builder, node, lanes, numbers)
        if part is not None:
            whole[node] = part
        elif node.op.bodies:
            whole[node] = batched(builder, node, args, lanes, axis, rename=names.inside(node.op))
        else:
            whole[node] = batched(builder, node, args, lanes, axis, *names.of(node.op))


# -- what a step holds ----------------------------------------------------------------------------------


def _own(step: Sequence[Node]) -> set[Node]:
    """What is each step's own: its index, its sites, and what depends on them. All other code the steps share."""
    own = {step[0]}
    for node in step:
        if _sites_of(node.op, [node]) or not own.isdisjoint(node.args):
            own.add(node)
    return own


def _sites_of(op: Op, nodes: Sequence[Node]) -> list[Any]:
    """The ops of the sites and deterministics in a node, which may be a scan or a cond."""
    found = [n.op for n in nodes if isinstance(n.op, (Site, Deterministic))]
    return found + [inner for body in op.bodies for n in body for inner in _sites_of(n.op, [n])]


def _needed(step: Sequence[Node]) -> list[Node]:
    """What a step's sites and plates need, without its index."""
    needed = ancestors(node for node in step if node.op.is_root)
    return [node for node in step[1:] if node in needed]


def _refuse_flow(steps: Sequence[Sequence[Node]], loop: LoopLine) -> None:
    """Raises Unrolled where a step depends on an earlier one."""
    before: set[Node] = set()
    for step in steps:
        for node in step:
            for arg in node.args:
                if arg in before:
                    raise Unrolled(f"{_called(arg)} of a step is used in the next one", loop)
        before.update(step)


def _refuse_inside(step: Sequence[Node], loop: _Loop) -> None:
    """Raises Unrolled where there is something in a step that a plate's elements can't have."""
    for node in step:
        if isinstance(node.op, (Param, Input)):
            raise Unrolled(f"{_called(node)} is made inside", loop.line)
        for op in _sites_of(node.op, [node]):
            if any(plate.name == loop.frame.name for plate in op.plates):
                raise Unrolled(f"its steps open plate {loop.frame.name!r} again", loop.line)


def _called(node: Node) -> str:
    """``the value of 'theta'``, without the characters that stand for an index."""
    if isinstance(node.op, LoopBegin):
        return "the index"
    name = visible(node.op.label or "")
    return f"the value of {name!r}" if name and not isinstance(node.op, (Input, Plate)) else "a value"


# -- names ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Names:
    """The names of a loop's sites: of one step, of all of them, and of the members at each."""

    texts: IndexTexts
    frame: PlateFrame

    def of(self, op: Op) -> tuple[str, tuple[str, ...]]:
        """``theta_*`` and its members' names."""
        if not isinstance(op, (Site, Deterministic)):
            return "", ()
        name, each = self.frame.name, op.members.names if op.members is not None else (op.name,)
        at_each = [self.texts.at_each(member, name, self.frame.size) for member in each]
        return self.texts.starred(op.name, name), tuple(text for step in zip(*at_each, strict=True) for text in step)

    def inside(self, op: Op) -> Callable[[str], tuple[str, tuple[str, ...]]]:
        """Both for the sites in a scan or a cond, by name; a plate there keeps its own."""
        found = {site.name: self.of(site) for site in _sites_of(op, ())}
        return lambda name: found.get(name, (name, ()))

    def same_at_last(self, name: str, other: str) -> bool:
        """Whether a name is another one at the last step."""
        return self.texts.at(name, self.frame.name, self.frame.size - 1) == other
