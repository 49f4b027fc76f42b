"""The addends of a sum that is written in jax.numpy, each with what its entries count and what it is multiplied by.

-0.5 * jnp.sum(((y - X @ b) / s) ** 2) - n * jnp.log(s)   ⇒   −½ · Σ (y − X b)²  with 1/s under the square
                                                              −n · log s
jnp.sum(y * eta - jnp.exp(eta))                           ⇒   Σ y·η,  −1 · Σ exp η

A sum is linear in what is summed: sums, differences, known factors and known choices become weights of the entries, and
unknown scalar factors come out of it. An addend ends where it is affine (it is never split further, so that
``y - mu`` stays the small number that it is), a square, a curve, or anything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax.numpy as jnp

from plait.compiler.analysis.curves import Curve, Curves
from plait.compiler.analysis.frontier import frontier, is_affine
from plait.compiler.rules.term import Scope
from plait.ir.graph import Node
from plait.ir.ops import Apply, Item, array_type
from plait.ir.types import ArrayType, Shape

Scalars = tuple[tuple[Node, int], ...]  # unknown scalars, and 1 or −1 for their power


@dataclass(frozen=True)
class Square:
    """``weight · node² = core_weight · (scalars · core)²`` with an affine core; weight and node are the addend's."""

    core: Node
    core_weight: Node
    scalars: Scalars


@dataclass(frozen=True)
class Addend:
    """``scalars · Σ weight · node``.

    Attributes:
        node: the entries as they are written; what is squared, where they are squares.
        weight: known, of the node's shape or a scalar that all entries share.
        scalars: what the sum is multiplied by.
        form: what the entries are; None for anything that is not affine, a square or a curve.
    """

    node: Node
    weight: Node
    scalars: Scalars
    form: Affine | Square | Curve | None


@dataclass(frozen=True)
class Affine:
    """``sign · base``."""

    sign: int
    base: Node


def addends(scope: Scope, node: Node, weight: Node) -> list[Addend]:
    """What ``Σ weight · node`` is the sum of."""
    walk = _Walk(scope, node)
    walk.visit(node, weight, ())
    return walk.found


def in_fewer(node: Node, known: set[Node]) -> bool:
    """Whether a node is affine in fewer numbers than it has entries."""
    size = array_type(node).size
    return size > 1 and is_affine(node, known) and sum(array_type(n).size for n in frontier(node, known)) < size


class _Walk:
    def __init__(self, scope: Scope, whole: Node) -> None:
        self.scope, self.known, self.found = scope, scope.known, list[Addend]()
        code = _code(whole, scope.known)
        self.curves = Curves(scope.builder, scope.known, code)
        curves = {n: curve for n in code if (curve := self.curves.read(n)) is not None}
        self.curved, self.bases = set(curves), {curve.base for curve in curves.values()}

    def visit(self, node: Node, weight: Node, scalars: Scalars) -> None:
        """Adds the addends of ``scalars · Σ weight · node``."""
        if node in self.known:
            return self._add(node, weight, scalars, None)
        if array_type(node).size > 1:
            curve = self.curves.read(node)
            if curve is not None:
                return self._add(node, weight, scalars, curve)
            sign, base = self.curves.signed(node)
            if base in self.bases:
                return self._add(node, weight, scalars, Affine(sign, base))
        name = node.op.primitive.name if isinstance(node.op, Apply) else ""
        step = _STEPS.get(name)
        if step is None or not step(self, node, weight, scalars):
            affine = in_fewer(node, self.known)
            self._add(node, weight, scalars, Affine(1, node) if affine else None)
        return None

    def _add(self, node: Node, weight: Node, scalars: Scalars, form: Any) -> None:
        self.found.append(Addend(node, weight, scalars, form))

    def _is_affine(self, node: Node) -> bool:
        """Whether a node is affine in fewer numbers than it has entries, none of them on a curve."""
        todo = [node] if in_fewer(node, self.known) else []
        while todo:
            n = todo.pop()
            if n in self.curved:
                return False
            todo += [a for a in n.args if a not in self.known] if is_affine(n, self.known) else []
        return in_fewer(node, self.known)

    # -- steps: each says whether it went on ----------------------------------------------------------------

    def neg(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        self.visit(node.args[0], self._code(jnp.negative, weight), scalars)
        return True

    def add(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        if self._is_affine(node):
            return False
        a, b = node.args
        other = self._code(jnp.negative, weight) if _name(node) == "sub" else weight
        self.visit(a, self._met(weight, node, a), scalars)
        self.visit(b, self._met(other, node, b), scalars)
        return True

    def mul(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        a, b = node.args
        if a is b:
            return self.square(node, weight, scalars)
        for known, x in ((a, b), (b, a)):
            if known in self.known:
                self.visit(x, self._met(self._code(_times, weight, known), node, x), scalars)
                return True
        for scalar, x in ((a, b), (b, a)):
            of = _scalar(scalar)
            if of is not None and (array_type(x).size > 1 or _sums_rows(x, self.known)):
                self.visit(x, self._met(weight, node, x), (*scalars, (of, 1)))
                return True
        return False

    def div(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        x, by = node.args
        if by in self.known:
            self.visit(x, self._met(self._code(_over, weight, by), node, x), scalars)
            return True
        of = _scalar(by)
        if of is None:
            return False
        self.visit(x, self._met(weight, node, x), (*scalars, (of, -1)))
        return True

    def square(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        if _name(node) == "integer_pow" and _parameters(node)["y"] != 2:
            return False
        return array_type(node).size > 1 and self._square(node.args[0], weight, scalars)

    def _square(self, x: Node, weight: Node, scalars: Scalars) -> bool:
        """Takes known factors and unknown scalars out of a square whose rest is affine."""
        node, written, roots = x, weight, list[tuple[Node, int]]()
        while not in_fewer(x, self.known):
            if x in self.known or array_type(x).shape != array_type(node).shape:
                return False
            name, args = _name(x), x.args
            if name == "neg":
                x = args[0]
            elif name == "div" and args[1] in self.known:
                x, weight = args[0], self._code(_over, self._code(_over, weight, args[1]), args[1])
            elif name == "mul" and any(a in self.known for a in args):
                known, x = args if args[0] in self.known else args[::-1]
                weight = self._code(_times, self._code(_times, weight, known), known)
            elif name == "div" and (of := _scalar(args[1])) is not None:
                x = args[0]
                roots.append((of, -1))
            elif name == "mul" and (of := _scalar(args[0]) or _scalar(args[1])) is not None:
                x = args[1] if _scalar(args[0]) is not None else args[0]
                roots.append((of, 1))
            else:
                return False
        self._add(node, written, scalars, Square(x, weight, tuple(roots)))
        return True

    def reduce_sum(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        (x,) = node.args
        shape, axes = array_type(x).shape, _parameters(node)["axes"]
        if array_type(weight).shape:
            kept = tuple(1 if d in axes else n for d, n in enumerate(shape))
            weight = self._code(lambda w: jnp.broadcast_to(w.reshape(kept), shape), weight)
        self.visit(x, weight, scalars)
        return True

    def broadcast(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        (x, *sizes) = node.args
        if sizes:
            return False
        dims, inner, shape = _parameters(node)["broadcast_dimensions"], array_type(x).shape, array_type(node).shape
        if not array_type(weight).shape:
            times = math.prod(shape) // max(math.prod(inner), 1)
            self.visit(x, self._code(lambda w: w * times, weight), scalars)
            return True
        size = dict(zip(dims, inner, strict=True))
        summed = tuple(d for d, n in enumerate(shape) if size.get(d, 1) != n or d not in size)
        self.visit(x, self._code(lambda w: jnp.sum(w, summed).reshape(inner), weight), scalars)
        return True

    def reshape(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        (x, *sizes) = node.args
        if sizes:
            return False
        if array_type(weight).shape:
            weight = self._code(lambda w: w.reshape(array_type(x).shape), weight)
        self.visit(x, weight, scalars)
        return True

    def convert(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        same = array_type(node).dtype == array_type(node.args[0]).dtype
        if same:
            self.visit(node.args[0], weight, scalars)
        return same

    def select(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        which, *cases = node.args
        if which not in self.known or len(cases) != 2 or array_type(which).dtype != bool or self._is_affine(node):
            return False
        for i, x in enumerate(cases):
            chosen = self._code(partial(_chosen, i, array_type(node).shape), weight, which)
            self.visit(x, self._met(chosen, node, x), scalars)
        return True

    def dot(self, node: Node, weight: Node, scalars: Scalars) -> bool:
        """Of two vectors."""
        a, b = node.args
        if array_type(a).ndim != 1 or array_type(b).ndim != 1 or array_type(node).ndim:
            return False
        if a is b:
            return self._square(a, weight, scalars)
        for known, x in ((a, b), (b, a)):
            if known in self.known:
                self.visit(x, self._code(_times, weight, known), scalars)
                return True
        return False

    # -- weights --------------------------------------------------------------------------------------------

    def _code(self, function: Callable[..., Any], *args: Node) -> Node:
        return self.scope.code(function, args)

    def _met(self, weight: Node, node: Node, x: Node) -> Node:
        """The weight of an argument: scalars meet arrays, and in the bodies of loops axes of 1 meet whole ones."""
        whole, part = array_type(node), array_type(x)
        if not array_type(weight).shape:
            times = whole.size // max(part.size, 1)
            return weight if times == 1 else self._code(lambda w: w * times, weight)
        lead = whole.ndim - part.ndim
        axes = (*range(lead), *(lead + d for d, n in enumerate(part.shape) if n != whole.shape[lead + d]))

        def code(weight: Any) -> Any:
            return jnp.sum(jnp.broadcast_to(weight, whole.shape), axes).reshape(part.shape)

        return weight if array_type(weight).shape == part.shape == whole.shape else self._code(code, weight)


def _code(whole: Node, known: set[Node]) -> list[Node]:
    """The arrays that an expression computes on its way, in the order in which a walk meets them."""
    found: dict[Node, None] = {}
    todo = [whole]
    while todo:
        n = todo.pop()
        if n not in found and n not in known and isinstance(n.op, Apply | Item):
            found[n] = None
            todo += n.args[::-1]
    return [n for n in found if isinstance(n.type, ArrayType) and n.type.size > 1]


def _times(weight: Any, known: Any) -> Any:
    """What counts nothing may be multiplied by anything."""
    return jnp.where(weight == 0, jnp.zeros_like(weight), weight * known.astype(weight.dtype))


def _over(weight: Any, known: Any) -> Any:
    return jnp.where(weight == 0, jnp.zeros_like(weight), weight / known.astype(weight.dtype))


def _chosen(wanted: int, shape: Shape, weight: Any, which: Any) -> Any:
    return jnp.where(jnp.broadcast_to(which == bool(wanted), shape), weight, jnp.zeros_like(weight))


def _name(node: Node) -> str:
    return node.op.primitive.name if isinstance(node.op, Apply) else ""


def _parameters(node: Node) -> dict[str, Any]:
    assert isinstance(node.op, Apply)
    return node.op.parameters


def _scalar(node: Node) -> Node | None:
    """The one number that all entries of a node are."""
    while array_type(node).size > 1 and _name(node) == "broadcast_in_dim":
        node = node.args[0]
    return node if array_type(node).size == 1 else None


def _sums_rows(node: Node, known: set[Node]) -> bool:
    """Whether a scalar is computed from a sum over rows."""
    seen, todo = set[Node](), [node]
    while todo:
        n = todo.pop()
        if n in seen or n in known or not isinstance(n.op, Apply) or array_type(n).size > 1:
            continue
        seen.add(n)
        if _name(n) in ("reduce_sum", "dot_general") and array_type(n.args[0]).size > 1:
            return True
        todo += n.args
    return False


_STEPS: dict[str, Callable[[_Walk, Node, Node, Scalars], bool]] = {
    "neg": _Walk.neg,
    "add": _Walk.add,
    "add_any": _Walk.add,
    "sub": _Walk.add,
    "mul": _Walk.mul,
    "div": _Walk.div,
    "square": _Walk.square,
    "integer_pow": _Walk.square,
    "reduce_sum": _Walk.reduce_sum,
    "broadcast_in_dim": _Walk.broadcast,
    "reshape": _Walk.reshape,
    "squeeze": _Walk.reshape,
    "convert_element_type": _Walk.convert,
    "copy": _Walk.convert,
    "select_n": _Walk.select,
    "dot_general": _Walk.dot,
}

__all__ = ["Addend", "Affine", "Scalars", "Square", "addends", "in_fewer"]
