"""A graph with the values of its inputs, and the body of a scan at one of its steps as another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from plait.compiler.importer import opened_scan
from plait.compiler.lower.evaluate import RULES, evaluate
from plait.ir.graph import Graph, Node, Role
from plait.ir.ops import Apply, Cond, Input, Item, Scan
from plait.ir.types import ArrayType

Index = tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """A graph at a point.

    Attributes:
        graph: whose nodes have values here.
        given: those of its inputs.
        around: where this is the body of a loop or a branch: the frame and node around it, its op, and the step.
    """

    graph: Graph
    given: Mapping[Node, Any]
    around: Around | None = None
    _found: dict[Node, Any] = field(default_factory=dict)

    def fetch(self, nodes: Sequence[Node]) -> list[Any]:
        """The values of nodes, computed together and kept."""
        wanted = [n for n in dict.fromkeys(nodes) if n not in self._found]
        if wanted:
            known = list(self.given)

            def values(given: list[Any]) -> list[Any]:
                return evaluate(self.graph, dict(zip(known, given, strict=True)), wanted)

            self._found.update(zip(wanted, jax.jit(values)([self.given[n] for n in known]), strict=True))
        return [self._found[n] for n in nodes]

    def arrays(self, nodes: Sequence[Node]) -> list[np.ndarray]:
        """The values of nodes, on the host."""
        return [np.asarray(x) for x in self.fetch(nodes)]

    def array(self, node: Node) -> np.ndarray:
        return self.arrays([node])[0]

    def step(self, node: Node, op: Scan, t: int) -> Frame:
        """The body of a scan at step `t` of its stacked inputs: runs the steps before it."""
        consts, carry, xs = op.split(self.fetch(node.args))
        before = slice(t + 1, None) if op.reverse else slice(t)
        done = op.length - 1 - t if op.reverse else t
        if done:
            part = [*consts, *carry, *(x[before] for x in xs)]
            carry = jax.jit(lambda args: RULES[Scan](replace(op, length=done), args)[: op.n_carry])(part)
        given = dict(zip(op.body.of(Input), [*consts, *carry, *(x[t] for x in xs)], strict=True))
        return Frame(op.body, given, Around(self, node, op, t))

    def branch(self, node: Node, op: Cond) -> Frame:
        """The branch of a cond that is taken."""
        which, *args = self.fetch(node.args)
        graph = op.branches[int(np.clip(which, 0, len(op.branches) - 1))]  # as lax.switch does
        return Frame(graph, dict(zip(graph.of(Input), args, strict=True)), Around(self, node, op, None))


@dataclass(frozen=True, eq=False, repr=False)
class Around:
    """What a body or a branch is inside of."""

    frame: Frame
    node: Node
    op: Scan | Cond
    step: int | None


@dataclass(frozen=True, eq=False)
class Element:
    """One entry of the value of a node in a frame."""

    frame: Frame
    node: Node
    index: Index

    @property
    def number(self) -> Any:
        return self.frame.array(self.node)[self.index]


def inside(element: Element) -> Element | None:
    """The element of a body's or branch's result that this one is; None where it is no such result."""
    node, index = element.node, element.index
    if not isinstance(node.op, Item):
        return None
    op = _loop_or_branch(node.args[0])
    k = node.op.index
    if isinstance(op, Scan) and op.length:
        if k < op.n_carry:
            step, rest = (0 if op.reverse else op.length - 1), index
        else:
            step, rest = index[0], index[1:]
        frame = element.frame.step(node.args[0], op, step)
    elif isinstance(op, Cond):
        frame, rest = element.frame.branch(node.args[0], op), index
    else:
        return None
    result = list(frame.graph.named(Role.RESULT).values())[k]
    return Element(frame, result, rest)


def _loop_or_branch(node: Node) -> Scan | Cond | None:
    """A loop without sites is jax's own, but can be opened as well."""
    if isinstance(node.op, (Scan, Cond)):
        return node.op
    if isinstance(node.op, Apply) and node.op.primitive.name == "scan":
        return opened_scan(node.op)
    return None


def outside(element: Element) -> Element | None:
    """The element that came in as this one of a body's input: an argument, or what the step before handed on."""
    around, node, index = element.frame.around, element.node, element.index
    if around is None or not isinstance(node.op, Input):
        return None
    op, t = around.op, around.step
    k = element.frame.graph.of(Input).index(node)
    if isinstance(op, Cond):
        return Element(around.frame, around.node.args[k + 1], index)
    assert t is not None
    if k < op.n_consts:
        return Element(around.frame, around.node.args[k], index)
    if k >= op.n_consts + op.n_carry:
        return Element(around.frame, around.node.args[k], (t, *index))
    first = op.length - 1 if op.reverse else 0
    if t == first:
        return Element(around.frame, around.node.args[k], index)
    frame = around.frame.step(around.node, op, t + 1 if op.reverse else t - 1)
    return Element(frame, list(frame.graph.named(Role.RESULT).values())[k - op.n_consts], index)


def aligned(index: Index, own: Sequence[int]) -> Index:
    """The index for axes of these sizes that broadcast from the right."""
    shift = len(index) - len(own)
    return tuple(0 if n == 1 else index[i + shift] for i, n in enumerate(own) if i + shift >= 0)


def is_float(node: Node) -> bool:
    """Whether a node's value is one array of real or complex numbers."""
    t = node.type
    return isinstance(t, ArrayType) and isinstance(t.dtype, np.dtype) and np.issubdtype(t.dtype, np.inexact)


__all__ = ["Around", "Element", "Frame", "Index", "aligned", "inside", "is_float", "outside"]
