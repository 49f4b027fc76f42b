"""Rows of an exponential family with the same parameters: their sum from sufficient statistics of the cells.

y_i ~ Poisson(rate[c_i])   ⇒   Σ_c n_c (ȳ_c log rate_c − rate_c) + const

A cell is the rows that read the same entries of the parameters: all rows where the parameters are scalars, those of a
group where they are gathered by it. The formulas and their sources are in `rules.families`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from plait.compiler.analysis.cells import Entry, Fixed, Layout, lay_out, read
from plait.compiler.analysis.linear import linear_form
from plait.compiler.kernels.families import FamilyStatistics, in_cells
from plait.compiler.rules.families import FAMILIES, Family
from plait.compiler.rules.term import Fusion, Refused, Scope, Term, Values
from plait.compiler.staged import signature
from plait.ir.fused import Fused, Kernel
from plait.ir.graph import Node
from plait.ir.ops import Const, Item, array_type
from plait.ir.types import ArrayType, Shape, TupleType

CLASSES = tuple(FAMILIES)
FEWER = 0.7  # cells than rows, at most


@dataclass(frozen=True)
class FamilyCells:
    """The sum over all rows, from the frontier, the statistics and the parameters that are data.

    Attributes:
        family: the distribution's class.
        n_sources: how many arguments are frontier; then come the statistics, the shared parameters, the positions.
        n_statistics: how many of them are statistics.
        layout: of the cells.
        parameters: for each parameter what a cell reads, an entry for each element of the event; or which one of the
            shared parameters it is.
        events: the shapes of the parameters' events.
    """

    family: type
    n_sources: int
    n_statistics: int
    layout: Layout
    parameters: tuple[tuple[Entry, ...] | int, ...]
    events: tuple[Shape, ...]
    name: ClassVar[str] = "family_cells"

    def __call__(self, *args: Any) -> Any:
        sources, rest = args[: self.n_sources], args[self.n_sources :]
        statistics, shared = rest[: self.n_statistics], rest[self.n_statistics :]
        taken = rest[-1] if self.layout.taken else None
        parameters = []
        for entries, event in zip(self.parameters, self.events, strict=True):
            if isinstance(entries, int):
                parameters.append(shared[entries])
                continue
            values = [self._read(entry, sources, taken) for entry in entries]
            parameters.append(jnp.stack(values, -1).reshape(-1, *event) if event else values[0])
        return jnp.sum(FAMILIES[self.family].log_density(*parameters, *statistics))

    def _read(self, entry: Entry, sources: Sequence[Any], taken: Any) -> Any:
        return jnp.broadcast_to(read(entry, sources, taken, self.layout.size), (self.layout.size,))


@dataclass(frozen=True)
class _Parameter:
    """A free parameter of the rows: one entry of a source in each row, for each element of its event."""

    source: Node
    index: Node
    positions: np.ndarray  # (rows or 1, elements of the event)
    event: Shape


def iid(scope: Scope, term: Term) -> Fusion | Refused:
    """``Σ_i Poisson(y_i | λ)  ⇒  n (ȳ log λ − λ) + const``, for each cell."""
    family = FAMILIES[term.cls]
    missing = [name for name in family.known if term.parameters[name] not in scope.known]
    if missing:
        return Refused(f"its {missing[0]} is not known from data", f"a {missing[0]} that is data")
    if scope.values is None:
        return Refused("the data are traced by jax, and the statistics are computed on the host")
    parameters: dict[str, _Parameter | Node] = {}
    for name in family.parameters:
        found = _parameter(scope, scope.values, term, name)
        if isinstance(found, Refused):
            return found
        parameters[name] = found
    return _fusion(scope, term, family, parameters)


def _parameter(scope: Scope, values: Values, term: Term, name: str) -> _Parameter | Node | Refused:
    """A parameter that cells read, or a known number."""
    node = term.parameters[name]
    if node in scope.known:
        (value,) = values([node])
        same = value.size > 0 and bool((value == value.flat[0]).all())
        return node if same else Refused(f"its {name} is data that differ from row to row")
    constraint = term.cls.arg_constraints.get(name)  # type: ignore[attr-defined]
    n_events = constraint.event_dim if constraint is not None else 0  # the rate of a NegativeBinomial2 is not declared
    event = array_type(node).shape[array_type(node).ndim - n_events :]
    form = linear_form(scope.builder, node, scope.known, (*term.rows, *event))
    block = form.blocks[0]
    if len(form.blocks) > 1 or form.offset is not None or block.coefficient is not None or block.k > 1:
        return Refused(f"its {name} is computed row by row", f"a {name} that is one parameter, or one for each group")
    (positions,) = values([block.index])
    positions = in_cells(positions, term.n, math.prod(event))
    if isinstance(block.index.op, Const) and (positions == positions[:1]).all():
        positions = positions[:1]
    return _Parameter(form.frontier[0], block.index, positions, event)


def _fusion(scope: Scope, term: Term, family: Family, parameters: Mapping[str, _Parameter | Node]) -> Fusion | Refused:
    free = [p for p in parameters.values() if isinstance(p, _Parameter)]
    shared = [p for p in parameters.values() if isinstance(p, Node)]
    sources = tuple(dict.fromkeys(p.source for p in free))
    keyed = [p for p in free if len(p.positions) > 1]
    columns = [(sources.index(p.source), array_type(p.source).shape, x) for p in keyed for x in p.positions.T]
    layout = lay_out(columns)
    if layout.size > FEWER * term.n:
        return Refused(f"its {term.n} rows have {layout.occupied} different parameters")
    entries = iter(layout.entries)
    reads: list[tuple[Entry, ...] | int] = []
    for p in parameters.values():
        if isinstance(p, Node):
            reads.append(shared.index(p))
        elif p in keyed:
            reads.append(tuple(next(entries) for _ in p.positions.T))
        else:
            reads.append(tuple(Fixed(sources.index(p.source), int(x)) for x in p.positions[0]))
    events = tuple(p.event if isinstance(p, _Parameter) else () for p in parameters.values())
    kernel = FamilyStatistics(
        term.rows,
        term.event,
        layout,
        term.weight is not None,
        len(family.known),
        len(shared),
        tuple(math.prod(p.event) for p in keyed),
        term.cls,
        max((p.event[-1] for p in free if p.event), default=0),
    )
    formula = FamilyCells(term.cls, len(sources), len(kernel.shapes()), layout, tuple(reads), events)
    args = [term.value, *([] if term.weight is None else [term.weight])]
    args += [term.parameters[name] for name in family.known]
    args += [*shared, *(p.index for p in keyed)]
    node = _emit(scope, term, kernel, formula, sources, args)
    cells = " for each cell" if layout.size > 1 else ""
    return Fusion(node, f"{family.notation}{cells}", (), layout.size)


def _emit(
    scope: Scope,
    term: Term,
    kernel: FamilyStatistics,
    formula: FamilyCells,
    sources: Sequence[Node],
    args: Sequence[Node],
) -> Node:
    dtype, whole = np.dtype(array_type(term.node).dtype), np.dtype("int32")
    shapes = [*kernel.shapes(), *[()] * kernel.shared]
    types = [ArrayType(dtype, shape) for shape in shapes]
    types += [ArrayType(whole, (kernel.layout.taken, kernel.layout.size))] * bool(kernel.layout.taken)
    loc = term.node.loc
    statistics = scope.builder.add(Kernel(tuple(map(array_type, args)), TupleType(tuple(types)), kernel), args, loc)
    given = [*sources, *(scope.builder.add(Item(i), [statistics], loc) for i in range(len(types)))]
    return scope.builder.add(signature(Fused, tuple(map(array_type, given)), term.op.site, formula), given, loc)


__all__ = ["CLASSES", "FamilyCells", "iid"]
