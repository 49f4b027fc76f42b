"""Parameters that rows read as they are: one entry of an array in each row, or in each cell of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.analysis.frontier import moved_from
from plait.compiler.analysis.linear import linear_form
from plait.compiler.kernels.cells import OUTSIDE, Along, Entry, Fixed, Taken
from plait.compiler.kernels.families import in_cells
from plait.compiler.rules.term import Refused, Scope, Term, Values
from plait.ir.graph import Node
from plait.ir.ops import Apply, Const, array_type
from plait.ir.types import Shape


@dataclass(frozen=True)
class RowParameter:
    """A free parameter of rows.

    Attributes:
        source: the array whose entries they read.
        index: the known positions.
        positions: the same on the host, of shape (rows, elements of the event).
        event: the shape of one row's parameter.
        is_fixed: whether all rows read the same, whatever the data.
    """

    source: Node
    index: Node
    positions: np.ndarray
    event: Shape
    is_fixed: bool


def row_parameter(scope: Scope, values: Values, term: Term, name: str, event: Shape) -> RowParameter | Refused:
    """A parameter of a term, as what its rows read."""
    node = term.parameters[name]
    source = moved_from(node, scope.known)
    computed = array_type(source).size >= term.n > 1 and isinstance(source.op, Apply)
    if computed:
        return _row_by_row(scope, term, name, event)
    (block,) = linear_form(scope.builder, node, scope.known, (*term.rows, *event), (source,)).blocks
    (positions,) = values([block.index])
    positions = in_cells(positions, term.n, math.prod(event))
    if np.any(positions == OUTSIDE):
        return Refused(f"its parameter {name} is read by an index that is out of range")
    is_fixed = isinstance(block.index.op, Const) and bool((positions == positions[:1]).all())
    return RowParameter(source, block.index, positions, event, is_fixed)


def _row_by_row(scope: Scope, term: Term, name: str, event: Shape) -> Refused:
    form = linear_form(scope.builder, term.parameters[name], scope.known, (*term.rows, *event))
    reason = f"its parameter {name} is computed row by row"
    if form.offset is None and all(b.coefficient is None and b.k == 1 for b in form.blocks) and len(form.blocks) > 1:
        return Refused(reason, "one table that is indexed once, such as (a[:, None] + b)[i, j] for a[i] + b[j]")
    return Refused(f"{reason}; only one that all rows share, or the rows of a group, has statistics of fixed size")


def event_of(term: Term, name: str) -> Shape:
    """The shape of one row's parameter."""
    constraint = term.cls.arg_constraints.get(name)  # type: ignore[attr-defined]
    n_events = constraint.event_dim if constraint is not None else 0  # the rate of a NegativeBinomial2 is not declared
    t = array_type(term.parameters[name])
    return t.shape[t.ndim - n_events :]


def entries_of(parameter: RowParameter, source: int, entries: Iterator[Entry]) -> tuple[Entry, ...]:
    """What cells read: the next of a layout's entries, or fixed ones where all rows read the same."""
    if parameter.is_fixed:
        return tuple(Fixed(source, int(x)) for x in parameter.positions[0])
    return tuple(next(entries) for _ in parameter.positions.T)


def read(entry: Entry, sources: Sequence[Any], taken: Any, size: int) -> Any:
    """What cells read, as a traced array of shape (size,), or () for a `Fixed` entry.

    Args:
        entry: one of a layout's.
        sources: values of the frontier.
        taken: positions, of shape (slots, size).
        size: the number of cells.
    """
    source = jnp.ravel(sources[entry.source])
    match entry:
        case Fixed(_, position):
            return source[position] if source.size > 1 else source.reshape(())
        case Along(_, before, 1, _):
            return source if source.size == size else jax.lax.slice(source, [before * size], [(before + 1) * size])
        case Along(_, before, rest, after):
            return source.reshape(-1, size, rest)[before, :, after]
        case Taken(_, slot):
            return source.at[taken[slot]].get(mode="promise_in_bounds")


def cell_values(entries: Sequence[Entry], sources: Sequence[Any], taken: Any, size: int) -> Any:
    """A parameter of all cells, of shape (cells, elements of the event)."""
    whole = [jnp.broadcast_to(read(entry, sources, taken, size), (size,)) for entry in entries]
    return jnp.stack(whole, axis=-1)


def runs(positions: Sequence[tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    """(source, first, last + 1) of neighbours: 3, 4, 5 are one slice."""
    runs: list[tuple[int, int, int]] = []
    for source, position in positions:
        if runs and runs[-1][0] == source and runs[-1][2] == position:
            runs[-1] = (source, runs[-1][1], position + 1)
        else:
            runs.append((source, position, position + 1))
    return tuple(runs)


__all__ = ["RowParameter", "cell_values", "entries_of", "event_of", "read", "row_parameter", "runs"]
