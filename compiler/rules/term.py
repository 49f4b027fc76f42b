"""A term as rules see it: the distribution without its wrappers, its rows, and what each of them counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np
from numpyro.distributions import ExpandedDistribution, Independent, MaskedDistribution

from plait.compiler.importer import Builder
from plait.ir.graph import Node
from plait.ir.ops import LogProb, array_type
from plait.ir.spec import Leaf, Part, Spec, Static, rebuild
from plait.ir.types import ArrayType, Shape


@dataclass(frozen=True)
class Refused:
    """Why a rule does not apply, and what the user can change so that it would; both as the end of a sentence."""

    reason: str
    edit: str = ""


@dataclass(frozen=True)
class Fusion:
    """What stands for a term's sum.

    Attributes:
        node: a scalar.
        notation: what is evaluated, in the field's notation, with {0}, {1}, … for `named`.
        named: nodes that the notation speaks of.
        cells: how many are evaluated in the rows' stead.
        rows: how many stand in a sum inside of the term; 0 where the term's own rows are meant.
    """

    node: Node
    notation: str
    named: tuple[Node, ...]
    cells: int
    rows: int = 0


@dataclass(frozen=True)
class Term:
    """One `log_prob` whose rows count.

    Attributes:
        node: the `log_prob`.
        cls: the distribution's class below expansions and event dimensions.
        parameters: its fields that are arrays.
        value: what is observed.
        event: the shape of one row's value.
        rows: the shape of its log_prob before events are summed by to_event.
        weight: known, of shape (rows,): what each row counts; None for 1.
    """

    node: Node
    cls: type
    parameters: Mapping[str, Node]
    value: Node
    event: Shape
    rows: Shape
    weight: Node | None

    @property
    def op(self) -> LogProb:
        assert isinstance(self.node.op, LogProb)
        return self.node.op

    @property
    def n(self) -> int:
        """The number of rows."""
        return math.prod(self.rows)


Values = Callable[[Sequence[Node]], Sequence[np.ndarray]]  # of known nodes, on the host


@dataclass
class Scope:
    """What rules work with.

    Attributes:
        builder: gets the new nodes.
        known: the nodes that data alone decide.
        values: the values of known nodes on the host; None where the data are traced.
    """

    builder: Builder
    known: set[Node]
    values: Values | None

    def number(self, value: Any) -> Node:
        """A known number."""
        array = np.asarray(value)
        node = self.builder.const(array, ArrayType(array.dtype, array.shape))
        self.known.add(node)
        return node

    def code(self, function: Callable[..., Any], args: Sequence[Node]) -> Node:
        """A function of nodes; known where all of them are."""
        node = self.builder.code(function, args)
        if all(a in self.known for a in args):
            self.known.add(node)
        return node


def read_term(scope: Scope, node: Node) -> Term | Refused:
    """Takes a `log_prob` apart; masks and scales become weights."""
    op = node.op
    assert isinstance(op, LogProb)
    part, event, masks, summed = op.dist, 0, [], None
    while isinstance(part, Spec) and part.cls in (ExpandedDistribution, Independent, MaskedDistribution):
        inner = part.field("base_dist")
        assert isinstance(inner, Spec)
        if part.cls is Independent:
            event += _static(part.field("reinterpreted_batch_ndims"))
            summed = _static(inner.field("_batch_shape"))
        elif part.cls is MaskedDistribution:
            masks.append((part.field("_mask"), event))
        elif summed is not None and inner.cls is Independent:
            return Refused("its events are expanded between two to_event", "one .to_event after .expand")
        part = inner
    if not isinstance(part, Spec):
        return Refused("its distribution is not made of parameters that can be seen")
    args = node.args[1:]
    value, rest = node.args[0], list(args[part_leaves(op) :])
    scale = rest.pop() if op.scaled else None
    mask = rest.pop() if op.masked else None
    weights: list[tuple[Node | bool, int]] = [(x, event) for x in (mask, scale) if x is not None]
    for found, inside in masks:
        weights.append((args[found.index] if isinstance(found, Leaf) else _static(found), event - inside))
    if any(isinstance(w, Node) and w not in scope.known for w, _ in weights):
        return Refused("its mask or scale depends on latents", "mask and scale by data")
    fields = {name: args[p.index] for name, p in part.fields if isinstance(p, Leaf)}
    fields |= {
        name: scope.number(p.value) for name, p in part.fields if _is_number(p) and name in part.cls.arg_constraints
    }
    of_value = _static(part.field("_event_shape"))
    inner_shape = array_type(value).shape[: array_type(value).ndim - len(of_value)]
    tail = np.broadcast_shapes(inner_shape[-event:], summed[-event:]) if summed is not None and event else ()
    shape = (*op.out.shape, *tail)  # type: ignore[union-attr]
    weight = _weight(scope, weights, shape) if weights else None
    return Term(node, part.cls, fields, value, of_value, shape, weight)


def part_leaves(op: LogProb) -> int:
    """How many arguments are leaves of the distribution."""
    return len(op.ins) - 1 - op.masked - op.scaled


def _is_number(part: Part) -> TypeGuard[Static]:
    """Whether a field is a number that is part of the program, such as the total count of a Multinomial."""
    return isinstance(part, Static) and isinstance(part.value, (int, float)) and not isinstance(part.value, bool)


def _static(part: Part | None) -> Any:
    return rebuild(part, ()) if part is not None else ()


def _weight(scope: Scope, weights: Sequence[tuple[Node | bool, int]], rows: Shape) -> Node:
    """The product of masks and scales for each row."""
    nodes = [w for w, _ in weights if isinstance(w, Node)]

    def code(*values: Any) -> Any:
        given = iter(values)
        total: Any = jnp.ones(())
        for weight, events in weights:
            x = jnp.asarray(next(given) if isinstance(weight, Node) else weight)
            x = x.reshape(*x.shape, *(1,) * events)
            total = jnp.where(x, total, 0.0) if x.dtype == bool else total * x
        return jnp.broadcast_to(total, rows).reshape(-1)

    return scope.builder.code(code, nodes)


__all__ = ["Fusion", "Refused", "Scope", "Term", "Values", "read_term"]
