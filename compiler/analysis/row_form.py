"""What rows compute their parameters from: elementwise code on leaves, each of them affine in what rows read.

a[item] * (theta[person] - b[item])   ⇒   leaves a[item] and theta[person] − b[item], code: their product
mu + x @ beta                         ⇒   one leaf, no code

A leaf that is not affine in fewer numbers than there are rows (a neural network, an effect of each row) is read as it
is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from plait.compiler import jax_compat as compat
from plait.compiler.analysis.elementwise import ELEMENTWISE
from plait.compiler.analysis.frontier import frontier, is_affine
from plait.compiler.analysis.linear import LinearForm, linear_form
from plait.compiler.importer import Builder
from plait.ir.graph import Node
from plait.ir.ops import Apply, array_type
from plait.ir.types import Shape


@dataclass(frozen=True)
class Leaf:
    """What rows read: a linear form, or (None) the node's own value, a scalar or one number for each row."""

    node: Node
    form: LinearForm | None


@dataclass(frozen=True)
class RowForm:
    """Parameters of rows.

    Attributes:
        leaves: what rows read of the unknowns.
        columns: known numbers of each row.
        code: elementwise nodes on them, arguments first.
        results: the parameters; each is a leaf, a column or code.
    """

    leaves: tuple[Leaf, ...]
    columns: tuple[Node, ...]
    code: tuple[Node, ...]
    results: tuple[Node, ...]

    @property
    def is_direct(self) -> bool:
        """Whether rows read nothing but values that are computed one by one anyway."""
        return not any(leaf.form is not None for leaf in self.leaves)


def row_form(builder: Builder, parameters: Sequence[Node], known: Set[Node], rows: Shape) -> RowForm:
    """How rows compute their parameters.

    Args:
        builder: gets the known nodes of the linear forms.
        parameters: nodes that broadcast to `rows`.
        known: what data alone decide.
        rows: the batch shape; rows are counted in C order.
    """
    found = _Found(builder, known, rows)
    for node in parameters:
        found.visit(node)
    results = tuple(parameters)
    if not any(leaf.form is not None for leaf in found.leaves.values()):  # then its code gains nothing
        found = _Found(builder, known, rows)
        for node in results:
            found.take(node)
    return RowForm(tuple(found.leaves.values()), tuple(found.columns), tuple(found.code), results)


@dataclass
class _Found:
    builder: Builder
    known: Set[Node]
    rows: Shape
    leaves: dict[Node, Leaf] = field(default_factory=dict)
    columns: dict[Node, None] = field(default_factory=dict)
    code: dict[Node, None] = field(default_factory=dict)

    def visit(self, node: Node) -> None:
        if node in self.leaves or node in self.columns or node in self.code:
            return
        t = array_type(node)
        is_code = isinstance(node.op, Apply) and node.op.primitive.name in ELEMENTWISE and t.shape == self.rows
        if node in self.known or t.size <= 1:
            self.take(node)
        elif is_affine(node, self.known) and sum(array_type(n).size for n in frontier(node, self.known)) < t.size:
            self.leaves[node] = Leaf(node, linear_form(self.builder, node, self.known, self.rows))
        elif is_code:
            for a in node.args:
                self.visit(a)
            self.code[node] = None
        else:
            self.take(node)

    def take(self, node: Node) -> None:
        """As it is."""
        t = array_type(node)
        if node in self.known and t.size > 1:
            self.columns[node] = None
        elif t.size <= 1 or t.shape == self.rows:
            self.leaves[node] = Leaf(node, None)
        else:  # it broadcasts to the rows
            self.leaves[node] = Leaf(node, linear_form(self.builder, node, self.known, self.rows, (node,)))


def computed(form: RowForm, values: Mapping[Node, Any], size: int) -> list[Any]:
    """The parameters of cells.

    Args:
        form: of the rows.
        values: of leaves and columns, of shape (size,) or ().
        size: the number of cells.
    """
    env = dict(values)
    for node in form.code:
        assert isinstance(node.op, Apply)
        args = [jnp.broadcast_to(env[a], (size,)) for a in node.args]
        (env[node],) = compat.bind(node.op.primitive, node.op.parameters, args)
    return [env[n] for n in form.results]


__all__ = ["Leaf", "RowForm", "computed", "row_form"]
