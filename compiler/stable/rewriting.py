"""What the rules of `stabilize` work with: the graph in the making, and what was made stable in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import jax

from plait.compiler.importer import Builder
from plait.compiler.memo import remembered
from plait.compiler.stable.facts import Fact
from plait.compiler.stable.match import match
from plait.compiler.staged import struct
from plait.ir.graph import Graph, Node
from plait.ir.ops import Apply, array_type
from plait.ir.types import ArrayType, Loc


@dataclass(frozen=True)
class Place:
    """A rewritten node: by which fact, and the user's line."""

    fact: str
    node: Node
    loc: Loc | None

    def __str__(self) -> str:
        return self.fact if self.loc is None else f"{self.fact}  {self.loc}"


class Rewriting(Builder):
    """Collects the new graph. Rules look at nodes of the old one, whose own arguments are as written.

    Attributes:
        primitives: those of the old graph.
        env: what stands for each node of the old graph that has been met.
        places: what was rewritten; some of it for nobody, where its only user was rewritten too.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.primitives = primitives(graph)
        self.env: dict[Node, Node] = {}
        self.places: list[Place] = []

    def code(self, function: Callable[..., Any], args: Sequence[Node], loc: Loc | None = None) -> Node:
        """What a function computes of new nodes."""
        (result,) = self.inline(_traced(function, tuple(map(array_type, args))), args, loc)
        return result

    def first(self, facts: Sequence[Fact], node: Node, loc: Loc | None) -> Node | None:
        """What stands for an old node, or for a function of it that keeps its type, by the first fact that fits."""
        found = self.fact(facts, node)
        if found is None:
            return None
        fact, args = found
        return self.by(fact.name, fact.becomes, [self.env[a] for a in args], array_type(node), loc)

    def fact(self, facts: Sequence[Fact], node: Node) -> tuple[Fact, tuple[Node, ...]] | None:
        """The first fact that fits an old node, and the old nodes that are its variables."""
        return first_fact(facts, node, self.primitives)

    def by(
        self, name: str, function: Callable[..., Any], args: Sequence[Node], out: ArrayType, loc: Loc | None
    ) -> Node | None:
        """A function of new nodes that is to have type `out`; None where it has another, and nothing is added."""
        (found,) = _traced(function, tuple(map(array_type, args))).out_avals
        if (found.shape, found.dtype) != (out.shape, out.dtype):
            return None
        node = self.code(function, args, loc)
        self.places.append(Place(name, node, loc))
        return node


def primitives(nodes: Iterable[Node]) -> frozenset[str]:
    """The names of the primitives that nodes apply."""
    return frozenset(node.op.primitive.name for node in nodes if isinstance(node.op, Apply))


def first_fact(
    facts: Sequence[Fact], node: Node, around: AbstractSet[str], types: Sequence[ArrayType] = ()
) -> tuple[Fact, tuple[Node, ...]] | None:
    """The first fact that fits a node, and what its variables are there.

    Args:
        facts: in order.
        node: of a graph.
        around: the primitives of all that the node may be computed by.
        types: as for `match`.
    """
    for fact in facts:
        if fact.needs and fact.needs.isdisjoint(around):
            continue
        args = match(fact.expression, node, types)
        if args is not None:
            return fact, args
    return None


@remembered
def _traced(function: Callable[..., Any], ins: tuple[ArrayType, ...]) -> Any:
    return jax.make_jaxpr(function)(*map(struct, ins))


__all__ = ["Place", "Rewriting", "first_fact", "primitives"]
