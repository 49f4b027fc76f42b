"""Bundles: code that puts the members of a family together again is as good as the family's own array.

jnp.stack([theta_0, theta_1, theta_2])           ⇒   theta_*
((0 + x_0 * b_0) + x_1 * b_1) + x_2 * b_2        ⇒   sum of x_* * b_*
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from plait.compiler.rolling.families import Family, Recipe, Search, Taken, parts
from plait.ir.graph import Graph, Node
from plait.ir.ops import Apply, array_type

FEWEST = 3  # members that are worth a bundle


@dataclass(frozen=True, eq=False)
class Bundle:
    """What stands for a node: a function of the members, stacked along a leading axis.

    The scalars in a sum of arrays are members of nothing: `rest`, the function's other arguments.
    """

    recipe: Recipe
    together: Callable[..., Any]
    rest: tuple[Node, ...] = ()


def bundles(graph: Graph, search: Search) -> dict[Node, Bundle]:
    """The nodes that put members of families of sites together."""
    found: dict[Node, Bundle] = {}
    readers = Counter(a for node in graph for a in node.args)
    inner = {a for node in graph for a in node.args if _nests(node, a) and readers[a] == 1}
    for node in graph:
        kind = _kind(node)
        if kind not in _TOGETHER or node in inner or node in search.place:
            continue
        pieces = list(_pieces(node, inner))
        rest = tuple(n for n in pieces if kind == "add" and array_type(n).shape != array_type(node).shape)
        pieces = [n for n in pieces if n not in rest]
        if len(pieces) < FEWEST or len({(array_type(n).dtype, array_type(n).shape) for n in pieces}) > 1:
            continue
        before = dict(search.place)
        recipe = search.recipe_of(pieces)
        if recipe is not None and any(isinstance(p, Taken) and _has_sites(p.family, set()) for p in parts(recipe)):
            found[node] = Bundle(recipe, _TOGETHER[kind](node), rest)
        else:
            search.place = before
    return found


def _kind(node: Node) -> str:
    return node.op.primitive.name if isinstance(node.op, Apply) else ""


def _nests(node: Node, arg: Node) -> bool:
    """Whether an argument is more of the same: jnp makes a tree of a long concatenation."""
    kind = _kind(node)
    same = kind in ("add", "concatenate") and _kind(arg) == kind
    if same and kind == "concatenate":
        return node.op.params == arg.op.params  # type: ignore[attr-defined]
    return same and array_type(node).same_array(array_type(arg))


def _pieces(node: Node, inner: set[Node]) -> Iterator[Node]:
    """What it puts together, from left to right, without recursion: a sum may be thousands deep."""
    todo = [node]
    while todo:
        n = todo.pop()
        if n is node or (n in inner and _nests(node, n)):
            todo.extend(reversed(n.args))
        else:
            yield n


def _has_sites(family: Family, seen: set[Family]) -> bool:
    """Whether a family is one of sites, or computed from one."""
    if family.is_of_sites or family in seen:
        return family.is_of_sites
    seen.add(family)
    inside = (p.family for recipe in family.operands for p in parts(recipe) if isinstance(p, Taken))
    return any(_has_sites(f, seen) for f in inside)


def _stack(node: Node) -> Callable[..., Any]:
    axis = node.op.parameters["axis"]  # type: ignore[attr-defined]
    return lambda x: jnp.moveaxis(x, 0, axis)


def _concatenation(node: Node) -> Callable[..., Any]:
    axis, shape = node.op.parameters["dimension"], array_type(node).shape  # type: ignore[attr-defined]
    return lambda x: jnp.reshape(jnp.moveaxis(x, 0, axis), shape)


def _sum(node: Node) -> Callable[..., Any]:
    dtype = array_type(node).dtype
    return lambda x, *rest: sum(rest, start=jnp.sum(x, axis=0, dtype=dtype)).astype(dtype)


_TOGETHER: dict[str, Callable[[Node], Callable[..., Any]]] = {
    "stack": _stack,
    "concatenate": _concatenation,
    "add": _sum,
}


__all__ = ["Bundle", "bundles"]
