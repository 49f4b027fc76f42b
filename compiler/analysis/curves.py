"""The two curves of canonical likelihoods, however they are written: exp η and log(1 + exp η).

jnp.exp(eta)                                                          ⇒   exp η
jnp.log1p(jnp.exp(eta)), jax.nn.softplus(eta), jnp.logaddexp(0, eta)  ⇒   log(1 + exp η)
jax.nn.log_sigmoid(eta), jnp.log(jax.nn.sigmoid(eta))                 ⇒   −log(1 + exp −η)
jnp.exp(a)[g], which `late_gathers` makes of jnp.exp(a[g])            ⇒   exp η with η = a[g]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.compiler import jax_compat as compat
from plait.compiler.analysis.frontier import moves
from plait.compiler.importer import Builder
from plait.compiler.stable.functions import softplus
from plait.compiler.stable.match import logaddexp_of, match, number
from plait.ir.graph import Node, make
from plait.ir.ops import Apply, array_type
from plait.ir.types import ArrayType

EXP, SOFTPLUS = "exp", "softplus"


@dataclass(frozen=True)
class Curve:
    """``factor · kind(slope · base)``.

    Attributes:
        kind: `EXP` or `SOFTPLUS`.
        factor: 1 or −1.
        slope: 1 or −1.
        base: a node of the shape of what is written; never a negation.
        guards: known, of that shape or scalars: where one of them is False the node is not the curve.
    """

    kind: str
    factor: int
    slope: int
    base: Node
    guards: tuple[Node, ...] = ()


class Curves:
    """Reads nodes as curves.

    Args:
        builder: gets the nodes that say ``a[g]`` where the model has ``exp(a)[g]``.
        known: what data alone decide; new known nodes are added.
        code: of the expression; what is there is not made again.
    """

    def __init__(self, builder: Builder, known: set[Node], code: Sequence[Node]) -> None:
        self.builder, self.known = builder, known
        self.moved = [n for n in code if moves(n, known)]

    def read(self, node: Node) -> Curve | None:
        """The curve that a node is; None where it is not one, or nobody can prove it."""
        found = self._read(node)
        same = found is not None and array_type(found.base).shape == array_type(node).shape
        return found if same else None

    def _read(self, node: Node) -> Curve | None:
        if node in self.known:
            return None
        if moves(node, self.known) and array_type(node.args[0]).size > 1:
            if _fills(node):
                return None
            inner = self.read(node.args[0])
            return None if inner is None else self._moved(node, inner)
        name, args = _called(node)
        if name == "exp":
            return self._of(EXP, 1, 1, args[0])
        if name == "logaddexp":
            return next((self._of(SOFTPLUS, 1, 1, b) for a, b in (args, args[::-1]) if number(a) == 0), None)
        if name == "add":  # as `stabilize` writes it
            t = array_type(node)
            whole = match(softplus, node, (ArrayType(t.dtype, t.shape),))
            return None if whole is None else self._of(SOFTPLUS, 1, 1, whole[0])
        if name not in ("log", "log1p"):
            return None
        guards, x = self._unguarded(args[0])
        found = self._log_of(name, x)
        return found and replace(found, guards=(*guards, *found.guards))

    def signed(self, node: Node) -> tuple[int, Node]:
        """A node as a sign times a node that is no negation, whichever of negation and gather comes first."""
        name, args = _called(node)
        if name == "neg":
            sign, base = self.signed(args[0])
            return -sign, base
        if moves(node, self.known) and node not in self.known and not _fills(node):
            sign, base = self.signed(node.args[0])
            return (1, node) if base is node.args[0] else (sign, self._move(node, base))
        return 1, node

    def _log_of(self, name: str, x: Node) -> Curve | None:
        """What ``log x`` or ``log(1 + x)`` is."""
        op, args = _called(x)
        if name == "log1p":
            if op == "exp":
                return self._of(SOFTPLUS, 1, 1, args[0])
            return self._sigmoid(args[0], -1) if op == "neg" else None
        if op == "add":
            exps = [b for a, b in (args, args[::-1]) if number(a) == 1 and _called(b)[0] == "exp"]
            return self._of(SOFTPLUS, 1, 1, _called(exps[0])[1][0]) if exps else None
        if op == "sub" and number(args[0]) == 1:
            return self._sigmoid(args[1], -1)
        return self._sigmoid(x, 1)

    def _sigmoid(self, p: Node, side: int) -> Curve | None:
        """``log p`` (side 1) or ``log(1 − p)`` (side −1) of a sigmoid."""
        guards, p = self._unguarded(p)
        name, args = _called(p)
        if name != "logistic":
            return None
        found = self._of(SOFTPLUS, -1, -side, args[0])
        return replace(found, guards=(*guards, *found.guards))

    def _of(self, kind: str, factor: int, slope: int, x: Node) -> Curve:
        guards, x = self._unguarded(x)
        sign, base = self.signed(x)
        return Curve(kind, factor, slope * sign, base, guards)

    def _unguarded(self, node: Node) -> tuple[tuple[Node, ...], Node]:
        """What a known choice between a known number and a node takes where it takes the node."""
        name, args = _called(node)
        if name != "select_n" or len(args) != 3 or args[0] not in self.known or not _is_bool(args[0]):
            return (), node
        which, no, yes = args
        if (no in self.known) == (yes in self.known):
            return (), node
        guard = which if no in self.known else self._code(jnp.logical_not, [which])
        guards, inner = self._unguarded(yes if no in self.known else no)
        return (guard, *guards), inner

    def _moved(self, node: Node, inner: Curve) -> Curve:
        op, rest = node.op, node.args[1:]
        assert isinstance(op, Apply)
        shape = array_type(node.args[0]).shape

        def move(x: Any, *index: Any) -> Any:
            return compat.bind(op.primitive, op.parameters, [jnp.broadcast_to(x, shape), *index])[0]

        guards = tuple(self._code(move, [g, *rest]) for g in inner.guards)
        return replace(inner, base=self._move(node, inner.base), guards=guards)

    def _move(self, node: Node, base: Node) -> Node:
        """What moves another node's entries, on the entries of `base`."""
        op, rest = node.op, node.args[1:]
        assert isinstance(op, Apply)
        for n in self.moved:
            same = isinstance(n.op, Apply) and n.op.primitive is op.primitive and n.op.params == op.params
            if same and n.args == (base, *rest):
                return n
        self.moved.append(make(op, (base, *rest), node.loc))
        self.builder.nodes.append(self.moved[-1])
        return self.moved[-1]

    def _code(self, function: Callable[..., Any], args: Sequence[Node]) -> Node:
        node = self.builder.code(function, args)
        self.known.add(node)
        return node


def _called(node: Node) -> tuple[str, tuple[Node, ...]]:
    """The name of a node's primitive and its arguments; "logaddexp" for jax's own."""
    if isinstance(node.op, Apply):
        return node.op.primitive.name, node.args
    pair = logaddexp_of(node)
    return ("", ()) if pair is None else ("logaddexp", pair)


def _fills(node: Node) -> bool:
    """Whether a gather puts a number of its own where it reads nothing."""
    return isinstance(node.op, Apply) and node.op.parameters.get("fill_value") is not None


def _is_bool(node: Node) -> bool:
    return array_type(node).dtype == np.dtype(bool)


__all__ = ["EXP", "SOFTPLUS", "Curve", "Curves"]
