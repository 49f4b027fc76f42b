"""simplify: dead code goes, equal code is computed once.

    a: f64[8] = sub y mu        a: f64[8] = sub y mu
    b: bool[] = gt sigma 0   ⇒  c: f64[8] = mul a a
    c: f64[8] = sub y mu
    d: f64[8] = mul a c

NumPyro's validation of arguments is such dead code: nobody reads its result.
"""

from __future__ import annotations

from typing import Any

from plait.ir.graph import Graph, Node, make, rewrite
from plait.ir.ops import Apply, Check, Const, Item, Sum


def simplify(graph: Graph) -> Graph:
    """Drops dead code and merges equal code: ``a = f x; b = f x; unused = g x  ⇒  a = f x``."""
    seen: dict[Any, Node] = {}

    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        if node.op.bodies:
            return make(node.op.with_bodies([simplify(body) for body in node.op.bodies]), args, node.loc)
        key = _key(node, args)
        if key is None:
            return None
        first = seen.get(key)
        if first is None:
            first = seen[key] = node if args == node.args else make(node.op, args, node.loc)
        return first

    return rewrite(graph, rule)


def _key(node: Node, args: tuple[Node, ...]) -> Any | None:
    """Equal keys mean equal values; None where a node is never merged (sites, inputs, arrays)."""
    op = node.op
    if isinstance(op, Const):
        return None if op.literal is None else ("const", op.type, type(op.value), op.literal)
    if not isinstance(op, (Apply, Item, Sum, Check)):
        return None
    key = (op, args)
    try:
        hash(key)
    except TypeError:  # a parameter that jax itself does not hash
        return None
    return key
