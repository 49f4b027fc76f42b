"""Multivariate normal rows with one covariance: their sum from the scatter matrix and the means of the cells.

y_i ~ MultivariateNormal(μ[c_i], Σ)   ⇒   −½ (‖L⁻¹ Tᵀ‖² + Σ_c n_c |L⁻¹ (ȳ_c − μ_c)|²) − n log |L| + const

with Σ = L Lᵀ and TᵀT the scatter about the cells' means, so that one triangular solve on d + cells columns stands for
one on all rows. Source: Anderson (2003), An Introduction to Multivariate Statistical Analysis, 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import MultivariateNormal

from plait.compiler.kernels.cells import ONE, Entry, Layout, lay_out
from plait.compiler.kernels.scatter import ScatterStatistics
from plait.compiler.rules.parameters import RowParameter, cell_values, entries_of, row_parameter
from plait.compiler.rules.statistics import emit
from plait.compiler.rules.term import Fusion, Refused, Scope, Term
from plait.ir.ops import array_type

CLASSES = (MultivariateNormal,)
FEWER = 0.7  # vectors to solve for than rows, at most


@dataclass(frozen=True)
class MultivariateNormalCells:
    """The sum over all rows, from the Cholesky factor, the location's source (where it is free) and the statistics.

    Attributes:
        statistics: names of the arguments after the sources.
        layout: of the cells.
        location: what a cell reads, for each element; empty where the location is known.
    """

    statistics: tuple[str, ...]
    layout: Layout
    location: tuple[Entry, ...]
    name: ClassVar[str] = "multivariate_normal_cells"

    def __call__(self, factor: Any, *args: Any) -> Any:
        n_sources = len(args) - len(self.statistics)
        s = dict(zip(self.statistics, args[n_sources:], strict=True))
        columns = s["scatter"]
        d = columns.shape[0]
        if self.location:
            mean = cell_values(self.location, args[:n_sources], s.get("taken"), self.layout.size)
            root, centre, rest = s["cells"][:, :1], s["cells"][:, 1 : d + 1], s["cells"][:, d + 1 :]
            columns = jnp.concatenate([columns, root * (centre - mean) + rest])
        factor = factor.reshape(d, d)
        solved = jax.lax.linalg.triangular_solve(factor, columns.T, left_side=True, lower=True)
        count, constant = s["totals"]
        return -0.5 * jnp.sum(solved * solved) - count * jnp.sum(jnp.log(jnp.diagonal(factor))) + constant


def multivariate_normal(scope: Scope, term: Term) -> Fusion | Refused:
    """``Σ_i MultivariateNormal(y_i | μ[c_i], Σ)  ⇒  scatter matrix and means``."""
    factor, location = term.parameters["scale_tril"], term.parameters["loc"]
    (d,) = term.event
    if array_type(factor).size != d * d:
        return Refused("its covariance differs from row to row", "one covariance for all rows")
    if scope.values is None:
        return Refused("the data are traced by jax, and the statistics are computed on the host")
    free: RowParameter | None = None
    if location not in scope.known:
        found = row_parameter(scope, scope.values, term, "loc", (d,))
        if isinstance(found, Refused):
            return found
        free = found
    differ = free is not None and not free.is_fixed
    sources = () if free is None else (free.source,)
    shape = () if free is None else array_type(free.source).shape
    layout = lay_out([(0, shape, x) for x in free.positions.T]) if free is not None and differ else ONE
    if d + layout.size > FEWER * term.n:
        return Refused(f"its {term.n:,} rows cost no more than their {d} × {d} scatter matrix would")
    entries = iter(layout.entries)
    reads = () if free is None else entries_of(free, 0, entries)
    dtype = np.dtype(array_type(term.node).dtype)
    kernel = ScatterStatistics(term.rows, d, layout, free is None, term.weight is not None, differ, dtype)
    formula = MultivariateNormalCells(tuple(kernel.shapes()), layout, reads)
    args = [x for x in (term.value, None if free else location, term.weight) if x is not None]
    args += [free.index] if free is not None and differ else []
    node = emit(scope, term, kernel, kernel.shapes(), args, formula, (factor, *sources))
    means = " + Σ_c n_c |L⁻¹(ȳ_c − μ_c)|²" if differ else " + n |L⁻¹(ȳ − μ)|²" if free is not None else ""
    text = f"−½ (‖L⁻¹Tᵀ‖²{means}) − n·log |L| + const,  L = {{0}}" + (",  μ = {1}" if free is not None else "")
    return Fusion(node, text, (factor, *sources), layout.size)


__all__ = ["CLASSES", "MultivariateNormalCells", "multivariate_normal"]
