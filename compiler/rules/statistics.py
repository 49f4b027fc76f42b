"""How a rule puts its statistics and its formula into the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.compiler.rules.term import Scope, Term
from plait.compiler.staged import signature
from plait.ir.fused import Fused, Kernel
from plait.ir.graph import Node
from plait.ir.ops import Item, array_type
from plait.ir.types import ArrayType, Shape, TupleType

POSITIONS = "taken"  # the one statistic that is not of the program's dtype


def emit(
    scope: Scope,
    term: Term,
    kernel: Any,
    shapes: Mapping[str, Shape],
    data: Sequence[Node],
    formula: Any,
    sources: Sequence[Node],
) -> Node:
    """The node of a fused term.

    Args:
        scope: gets the nodes.
        term: what is fused.
        kernel: computes the statistics of `data`.
        shapes: of the statistics, by name in the kernel's order.
        data: known nodes.
        formula: of the sources and then the statistics.
        sources: the unknown nodes.
    """
    dtype, loc = np.dtype(array_type(term.node).dtype), term.node.loc
    types = [ArrayType(np.dtype("int32") if name == POSITIONS else dtype, shape) for name, shape in shapes.items()]
    op = Kernel(tuple(map(array_type, data)), TupleType(tuple(types)), term.op.site, kernel)
    statistics = scope.builder.add(op, data, loc)
    given = [*sources, *(scope.builder.add(Item(i), [statistics], loc) for i in range(len(types)))]
    return scope.builder.add(signature(Fused, tuple(map(array_type, given)), term.op.site, formula), given, loc)


__all__ = ["emit"]
