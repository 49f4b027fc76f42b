"""Rows of an exponential family with the same parameters: their sum from sufficient statistics of the cells.

y_i ~ Poisson(rate[c_i])   ⇒   Σ_c n_c (ȳ_c log rate_c − rate_c) + const

A cell is the rows that read the same entries of the parameters: all rows where the parameters are scalars, those of a
group where they are gathered by it. The formulas and their sources are in `rules.families`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from plait.compiler.kernels.cells import Entry, Layout, lay_out
from plait.compiler.kernels.families import FamilyStatistics
from plait.compiler.rules.families import FAMILIES, Family
from plait.compiler.rules.parameters import RowParameter, cell_values, entries_of, event_of, row_parameter
from plait.compiler.rules.statistics import emit
from plait.compiler.rules.term import Fusion, Refused, Scope, Term, Values
from plait.ir.graph import Node
from plait.ir.ops import array_type
from plait.ir.types import Shape

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
        statistics = rest[: self.n_statistics]
        taken = rest[-1] if self.layout.taken else None
        parameters = []
        for entries, event in zip(self.parameters, self.events, strict=True):
            if isinstance(entries, int):
                parameters.append(rest[self.n_statistics + entries])
            else:
                values = cell_values(entries, sources, taken, self.layout.size)
                parameters.append(values.reshape(-1, *event))
        return jnp.sum(FAMILIES[self.family].log_density(*parameters, *statistics))


def iid(scope: Scope, term: Term) -> Fusion | Refused:
    """``Σ_i Poisson(y_i | λ)  ⇒  n (ȳ log λ − λ) + const``, for each cell."""
    family = FAMILIES[term.cls]
    missing = [name for name in family.known if term.parameters[name] not in scope.known]
    if missing:
        return Refused(f"its {missing[0]} is not known", f"a {missing[0]} that is known")
    if scope.values is None:
        return Refused("the data are traced by jax, and the statistics are computed on the host")
    parameters: dict[str, RowParameter | Node] = {}
    for name in family.parameters:
        found = _parameter(scope, scope.values, term, name)
        if isinstance(found, Refused):
            return found
        parameters[name] = found
    return _fusion(scope, term, family, parameters)


def _parameter(scope: Scope, values: Values, term: Term, name: str) -> RowParameter | Node | Refused:
    """A parameter that cells read, or a known number."""
    node = term.parameters[name]
    if node not in scope.known:
        return row_parameter(scope, values, term, name, event_of(term, name))
    (value,) = values([node])
    same = value.size > 0 and bool((value == value.flat[0]).all())
    return node if same else Refused(f"its {name} is data that differ from row to row")


def _fusion(
    scope: Scope, term: Term, family: Family, parameters: Mapping[str, RowParameter | Node]
) -> Fusion | Refused:
    free = [p for p in parameters.values() if isinstance(p, RowParameter)]
    shared = [p for p in parameters.values() if isinstance(p, Node)]
    sources = tuple(dict.fromkeys(p.source for p in free))
    keyed = [p for p in free if not p.is_fixed]
    columns = [(sources.index(p.source), array_type(p.source).shape, x) for p in keyed for x in p.positions.T]
    layout = lay_out(columns)
    if layout.size > FEWER * term.n:
        return Refused(f"its {term.n:,} rows have {layout.occupied:,} different parameters")
    entries = iter(layout.entries)
    reads = tuple(
        shared.index(p) if isinstance(p, Node) else entries_of(p, sources.index(p.source), entries)
        for p in parameters.values()
    )
    kernel = FamilyStatistics(
        term.rows,
        term.event,
        layout,
        term.weight is not None,
        len(family.known),
        len(shared),
        tuple(math.prod(p.event) for p in keyed),
        term.cls.__name__,
        max((p.event[-1] for p in free if p.event), default=0),
    )
    shapes = kernel.shapes()
    events = tuple(() if isinstance(p, Node) else p.event for p in parameters.values())
    n_statistics = len(shapes) - len(shared) - bool(layout.taken)
    formula = FamilyCells(term.cls, len(sources), n_statistics, layout, reads, events)
    data = [term.value, *([] if term.weight is None else [term.weight])]
    data += [*(term.parameters[name] for name in family.known), *shared, *(p.index for p in keyed)]
    node = emit(scope, term, kernel, shapes, data, formula, sources)
    return Fusion(node, *_notation(family, parameters, layout), layout.size)


def _notation(
    family: Family, parameters: Mapping[str, RowParameter | Node], layout: Layout
) -> tuple[str, tuple[Node, ...]]:
    named = tuple(p if isinstance(p, Node) else p.source for p in parameters.values())
    symbols = ", ".join(f"{symbol} = {{{i}}}" for i, symbol in enumerate(family.symbols))
    text = f"Σ_c [{family.notation}]" if layout.size > 1 else family.notation
    return f"{text} + const,  {symbols}", named


__all__ = ["CLASSES", "FamilyCells", "iid"]
