"""Normal and LogNormal rows with a linear predictor: their sum of squares from least-squares statistics of the cells.

y_i ~ Normal(Z_i a[c_i] + X_i b, σ s_i)     ⇒     −½ q / σ² − n log σ + const

q = Σ_c |R_c (a_c − a⁰_c) + S_c (b − b⁰) − u_c|² + |T (b − b⁰) − v|² + ρ², see `kernels.least_squares`. Never from raw
moments, which lose all digits where means are large and spreads small. Sources: Gelman & Hill (2007), Data Analysis
Using Regression and Multilevel/Hierarchical Models, 18.4 (sufficiency of the least-squares fit); Bates et al. (2015),
Fitting Linear Mixed-Effects Models Using lme4, J. Stat. Softw. 67(1), eq. 23-31 (the penalized least-squares form).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from numpyro.distributions import LogNormal, Normal

from plait.compiler.analysis.frontier import is_affine
from plait.compiler.analysis.linear import Block, LinearForm, linear_form, raveled
from plait.compiler.kernels.cells import OUTSIDE, Entry, Fixed, Layout, lay_out
from plait.compiler.kernels.normal import NormalStatistics
from plait.compiler.rules.parameters import read, runs
from plait.compiler.rules.statistics import emit
from plait.compiler.rules.term import Fusion, Refused, Scope, Term
from plait.ir.graph import Node
from plait.ir.ops import Apply, array_type

CLASSES = (Normal, LogNormal)
WORTH = 0.8  # of the rows' cost is the most that cells may cost


@dataclass(frozen=True)
class NormalCells:
    """The sum over all rows, from the frontier, the scale's frontier (where it is not known) and the statistics.

    Attributes:
        statistics: names of the arguments after the frontiers.
        n_sources: how many arguments are frontier.
        layout: of the cells.
        local: for each local column what its coefficient is the sum of.
        common: (source, first position, last + 1): the common coefficients side by side.
        scale: what each cell, or all of them, reads as the scale; None where it is known.
    """

    statistics: tuple[str, ...]
    n_sources: int
    layout: Layout
    local: tuple[tuple[Entry, ...], ...]
    common: tuple[tuple[int, int, int], ...]
    scale: Entry | None
    name: ClassVar[str] = "normal_cells"

    def __call__(self, *args: Any) -> Any:
        sources, s = args[: self.n_sources], dict(zip(self.statistics, args[self.n_sources :], strict=True))
        count, constant, _ = s["totals"]
        inverse = 1.0 if self.scale is None else 1.0 / self._scale(count, sources, s)
        squares = self.squares(sources, s, inverse)
        if self.scale is None:
            return jnp.sum(-0.5 * squares + constant)
        return jnp.sum(-0.5 * squares + count * jnp.log(inverse) + constant)

    def squares(self, sources: Sequence[Any], s: dict[str, Any], inverse: Any) -> Any:
        """The sum of squares over the squared scale, of all rows or by cells; `inverse` is one over the scale."""
        # divided by the scale before they are squared: float32 holds no squares beyond 1e19
        squares = jnp.square(s["totals"][2] * inverse)
        k = len(self.local)
        if self.common:
            parts = [jnp.ravel(sources[i])[start:stop] for i, start, stop in self.common]
            b = (parts[0] if len(parts) == 1 else jnp.concatenate(parts)) - s["common"][-2]
            left = jnp.sum(s["common"][:-2] * b, axis=1) - s["common"][-1]  # faster than @ here
            squares = squares + jnp.sum(jnp.square(left * inverse))
        d = [self._coefficient(j, sources, s) - s["local"][k, j] for j in range(k)]
        for i in range(k):
            left = -s["local"][k + 1, i]
            for j in range(i, k):
                left = left + s["local"][i, j] * d[j]
            if self.common:
                left = left + s["mixed"][i] @ b
            left = jnp.square(left * inverse)
            squares = squares + (left if squares.ndim else jnp.sum(left))
        return squares

    def _scale(self, count: Any, sources: Sequence[Any], s: dict[str, Any]) -> Any:
        assert self.scale is not None
        scale = read(self.scale, sources, s.get("taken"), self.layout.size)
        # a cell without rows has no derivative, however small its scale is
        return jnp.where(count > 0, scale, 1.0) if count.ndim else scale

    def _coefficient(self, j: int, sources: Sequence[Any], s: dict[str, Any]) -> Any:
        entries = [read(entry, sources, s.get("taken"), self.layout.size) for entry in self.local[j]]
        return sum(entries[1:], start=entries[0])


def normal(scope: Scope, term: Term) -> Fusion | Refused:
    """``Σ_i Normal(y_i | Z_i a[c_i] + X_i b, σ)  ⇒  least-squares statistics of the cells``."""
    loc, scale = term.parameters["loc"], term.parameters["scale"]
    if not term.n:
        return Refused("it has no rows")
    mean = linear_form(scope.builder, loc, scope.known, term.rows)
    spread = linear_form(scope.builder, scale, scope.known, term.rows)
    if not _is_one_column(spread):
        return Refused(
            "its parameter scale is computed row by row", "a scale that is one parameter, or one for each group"
        )
    if scope.values is None:
        return Refused("the data are traced by jax, and the statistics are computed on the host")
    return NormalFit(scope, term, mean, spread).fusion()


def _is_one_column(form: LinearForm) -> bool:
    """A known array, or one entry of a parameter in each row, perhaps times a known factor."""
    return not form.blocks or (form.offset is None and len(form.blocks) == 1 and form.blocks[0].k == 1)


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of the predictor: its block and its place there, and which entry of its source each row multiplies.

    Where it is local, `positions` are of shape (rows,); else all rows have the same one, whatever the data.
    """

    block: int
    place: int
    source: int
    positions: np.ndarray
    is_local: bool


class NormalFit:
    """One term on its way to statistics."""

    def __init__(self, scope: Scope, term: Term, mean: LinearForm, spread: LinearForm) -> None:
        self.scope, self.term, self.mean = scope, term, mean
        self.scale_block = spread.blocks[0] if spread.blocks else None
        self.factor = self.scale_block.coefficient if self.scale_block else spread.offset
        self.sources = tuple(dict.fromkeys((*mean.frontier, *spread.frontier)))
        self.place = {n: i for i, n in enumerate(self.sources)}
        self.scale_source = self.place[spread.frontier[0]] if spread.frontier else None
        self.indices = [b.index for b in mean.blocks] + ([self.scale_block.index] if self.scale_block else [])
        known = self.indices + [x for x in (self.factor, term.weight) if x is not None]
        self.values = dict(zip(known, scope.values(known), strict=True)) if scope.values else {}

    def fusion(self) -> Fusion | Refused:
        if not self._has_positive_factor():
            return Refused("its scale is not a positive multiple of what it is computed from")
        if any(np.any(self.values[index] == OUTSIDE) for index in self.indices):
            return Refused("it reads parameters by an index that is out of range")
        columns = [c for b, block in enumerate(self.mean.blocks) for c in self._columns(b, block, self.mean.frontier)]
        local, common = [c for c in columns if c.is_local], [c for c in columns if not c.is_local]
        scale = self._scale()
        varies = scale is not None and scale.is_local
        keys = [*local, *([scale] if scale is not None and varies else [])]
        layout = lay_out([(c.source, array_type(self.sources[c.source]).shape, c.positions) for c in keys])
        entries = dict(zip(keys, layout.entries, strict=True))
        if varies:  # cells can't be pooled: all coefficients are local
            local, common = [*local, *common], []
        groups = self._groups(local)
        kernel = NormalStatistics(
            self.term.n,
            layout,
            (self.mean.offset is not None, self.term.weight is not None, self.factor is not None),
            tuple((b.k, b.coefficient is not None) for b in self.mean.blocks),
            tuple((c.block, c.place) for c in (*(g[0] for g in groups), *common)),
            len(groups),
            tuple((c.block, c.place) for c in keys),
            varies,
            self.term.cls is LogNormal,
            np.dtype(array_type(self.term.node).dtype),
        )
        if not self._is_worth_it(kernel):
            return self._not_worth(layout)
        formula = NormalCells(
            tuple(kernel.shapes()),
            len(self.sources),
            layout,
            tuple(tuple(_entry(c, entries) for c in g) for g in groups),
            runs([(c.source, int(c.positions[0])) for c in common]),
            None if scale is None else _entry(scale, entries),
        )
        return Fusion(self.emitted(kernel, formula), *self.notation(kernel), layout.size)

    def _columns(self, b: int, block: Block, frontier: Sequence[Node]) -> list[_Column]:
        positions, source = self.values[block.index], self.place[frontier[block.source]]
        is_local = block.fixed is None
        if is_local:
            positions = np.broadcast_to(positions, (self.term.n, block.k))
        return [_Column(b, j, source, positions[:, j], is_local) for j in range(block.k)]

    def _scale(self) -> _Column | None:
        """What rows read as their scale; None where it is known."""
        if self.scale_block is None or self.scale_source is None:
            return None
        return self._columns(len(self.mean.blocks), self.scale_block, [self.sources[self.scale_source]])[0]

    def _has_positive_factor(self) -> bool:
        """Of the scale, in the rows that count: the logarithm of a scale is that of its factors only then."""
        if self.factor is None:
            return True
        counted = self.values[self.term.weight] > 0 if self.term.weight is not None else True
        return not np.any(counted & ~(np.ravel(self.values[self.factor]) > 0))

    def _groups(self, local: Sequence[_Column]) -> list[list[_Column]]:
        """The local columns by design column: all those of ones are one, whose coefficients add up."""
        ones = [c for c in local if self.mean.blocks[c.block].coefficient is None]
        rest = [[c] for c in local if self.mean.blocks[c.block].coefficient is not None]
        return ([ones] if ones else []) + rest

    def _is_worth_it(self, kernel: NormalStatistics) -> bool:
        cells, n = kernel.layout, self.term.n
        one_row_each = cells.size > 1 and cells.occupied >= n
        return not one_row_each and _cost(kernel) <= WORTH * n * (2 * sum(k for k, _ in kernel.blocks) + 7)

    def emitted(self, kernel: NormalStatistics, formula: NormalCells) -> Node:
        """The node of the sum over rows."""
        return emit(self.scope, self.term, kernel, kernel.shapes(), self.data(kernel), formula, self.sources)

    def data(self, kernel: NormalStatistics) -> list[Node]:
        """What the kernel is called with."""
        value = raveled(self.scope.builder, self.term.value, self.term.rows)
        args = [x for x in (value, self.mean.offset, self.term.weight, self.factor) if x is not None]
        for block in self.mean.blocks:
            args += [block.index] if block.coefficient is None else [block.index, block.coefficient]
        return args + ([self.scale_block.index] if kernel.scale_varies and self.scale_block else [])

    def _not_worth(self, layout: Layout) -> Refused:
        computed = {
            "loc": any(self._is_computed(source) for source in self.mean.frontier),
            "scale": self.scale_source is not None and self._is_computed(self.sources[self.scale_source]),
        }
        for name in [name for name, is_it in computed.items() if is_it]:
            edit = f"a {name} that is read from one array by an index, such as {name}s[group]"
            return Refused(f"its parameter {name} is computed row by row", edit)
        if layout.size > 1 and 2 * layout.occupied > self.term.n:
            return Refused(f"its {self.term.n:,} rows have {layout.occupied:,} different means or scales")
        return Refused(f"its {self.term.n:,} rows cost no more than their statistics would")

    def _is_computed(self, source: Node) -> bool:
        """Whether a source is an expression with a value for each row, for which no fewer numbers stand."""
        is_code = isinstance(source.op, Apply) and not is_affine(source, self.scope.known)
        return is_code and array_type(source).size >= self.term.n

    def notation(self, kernel: NormalStatistics) -> tuple[str, tuple[Node, ...]]:
        """In the field's notation, and the nodes that it names: the scale and then the coefficients."""
        scale = [] if self.scale_source is None else [self.sources[self.scale_source]]
        named = (*scale, *self.mean.frontier)
        phi = ", ".join(f"{{{i}}}" for i in range(len(scale), len(named)))
        at = "_c" if kernel.layout.size > 1 else ""
        squares = f"‖R{at}(φ{at} − φ̂{at})‖² + " if kernel.columns else ""
        if kernel.scale_varies:
            text = f"Σ_c [−½ ({squares}RSS_c)/σ_c² − n_c·log σ_c] + const,  σ = {{0}}"
        else:
            squares = f"{'Σ_c ' if at and squares else ''}{squares}RSS"
            text = f"−½ ({squares}){'/σ² − n·log σ + const,  σ = {0}' if scale else ' + const'}"
        return text + (f",  φ = {phi}" if phi else ""), named


def _entry(column: _Column, entries: Mapping[_Column, Entry]) -> Entry:
    return entries[column] if column in entries else Fixed(column.source, int(column.positions[0]))


def _cost(kernel: NormalStatistics) -> int:
    """About the operations of a call."""
    k, p, cells = kernel.k, kernel.p, kernel.layout.size
    gathers = 4 * kernel.layout.taken * cells
    return cells * (k * (k + 1) + 2 * k * p + 3 * k) + p * (p + 1) + 3 * p + 6 + gathers


__all__ = ["CLASSES", "NormalCells", "NormalFit", "normal"]
