"""Rows whose parameters are affine in few numbers, or elementwise code on such: generalized linear models and cells.

y_i ~ Bernoulli(logits = Z_i b + a[g_i])   ⇒   Σ log σ(±(b Zᵀ + a[g])),  Zᵀ stored with the rows last

Rows with the same covariates and groups are one row with counts. The losses are in `rules.losses`; of distributions
that have none there (Student-t, Laplace, Cauchy, …) the density is NumPyro's, evaluated on the distinct rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from plait.compiler.analysis.log_of import log_of
from plait.compiler.analysis.row_form import Leaf, RowForm, computed, row_form
from plait.compiler.kernels.cells import LayoutChangedError, bucket
from plait.compiler.kernels.kept import Events, Exceedances, Levels, NormalMeans, Outcomes, Values
from plait.compiler.kernels.rows import LeafData, Read, RowStatistics, count_distinct
from plait.compiler.rules.losses import (
    AsWritten,
    Dispersed,
    Exponential,
    GammaRate,
    Loss,
    Margins,
    Ordered,
    Squares,
    TwoSided,
)
from plait.compiler.rules.parameters import runs
from plait.compiler.rules.statistics import emit
from plait.compiler.rules.term import Fusion, Refused, Scope, Term
from plait.compiler.stable.facts import PROBIT
from plait.compiler.stable.rewriting import first_fact, primitives
from plait.ir.graph import Node, ancestors
from plait.ir.ops import array_type
from plait.ir.types import ArrayType

FEWER = 0.7  # distinct rows than rows, at most
MOST_COUNTS = 4096  # of a negative binomial, beyond which its gamma functions cost less

_NEGATIVE_BINOMIAL = TwoSided(Outcomes("negative_binomial"), "Σy·η − Σ(y + r)·log(1 + exp η)")
_TWO_SIDED: dict[type, tuple[str, TwoSided]] = {
    dist.BernoulliLogits: ("", TwoSided(Outcomes("bernoulli"), "Σy·η − Σlog(1 + exp η)")),
    dist.BinomialLogits: ("total_count", TwoSided(Outcomes("binomial"), "Σy·η − Σn·log(1 + exp η)")),
    dist.GeometricLogits: ("", TwoSided(Outcomes("geometric"), "Ση − Σ(y + 1)·log(1 + exp η)")),
    dist.NegativeBinomialLogits: ("total_count", _NEGATIVE_BINOMIAL),
}
_AS_WRITTEN: dict[type, tuple[str, ...]] = {
    cls: tuple(cls.arg_constraints)
    for cls in (
        *(dist.Normal, dist.LogNormal, dist.StudentT, dist.Laplace, dist.SoftLaplace, dist.Cauchy, dist.Gumbel),
        *(dist.Logistic, dist.AsymmetricLaplace, dist.HalfCauchy, dist.HalfNormal, dist.Weibull, dist.Gamma),
        *(dist.InverseGamma, dist.Beta, dist.Pareto, dist.Kumaraswamy, dist.BernoulliProbs, dist.BinomialProbs),
        *(dist.GeometricProbs, dist.NegativeBinomialProbs, dist.BernoulliLogits, dist.BinomialLogits, dist.Poisson),
        *(dist.Exponential, dist.GeometricLogits, dist.NegativeBinomialLogits, dist.GammaPoisson),
    )
}
CLASSES = (*_AS_WRITTEN, dist.NegativeBinomial2, dist.OrderedLogistic)


@dataclass(frozen=True)
class Reading:
    """How a leaf is computed from the frontier and the arrays of rows.

    Attributes:
        node: the leaf.
        direct: which source it is, where it is read as it is.
        fixed: (source, first position, last + 1) of what all rows read with coefficient 1.
        design: (source, first position, last + 1) of what the design multiplies.
        gathers: (source, slot of positions, place of the coefficient or -1).
        offset: its place among the rows' numbers; -1 for none.
    """

    node: Node
    direct: int = -1
    fixed: tuple[tuple[int, int, int], ...] = ()
    design: tuple[tuple[int, int, int], ...] = ()
    gathers: tuple[tuple[int, int, int], ...] = ()
    offset: int = -1

    def value(self, sources: Sequence[Any], design: Any, rows: Any, taken: Any) -> Any:
        """Of shape (size,), or () where it is the same in all rows."""
        if self.direct >= 0:
            source = sources[self.direct]
            return source.reshape(-1) if source.size > 1 else source.reshape(())
        terms = [jnp.sum(_side_by_side(sources, self.fixed))] if self.fixed else []
        if self.design:
            phi = _side_by_side(sources, self.design)
            terms.append(jnp.dot(phi, design, precision=jax.lax.Precision.HIGHEST))
        for source, slot, place in self.gathers:
            x = jnp.ravel(sources[source]).at[taken[slot]].get(mode="promise_in_bounds")
            terms.append(x if place < 0 else x * rows[place])
        terms += [rows[self.offset]] if self.offset >= 0 else []
        return sum(terms[1:], start=terms[0]) if terms else jnp.zeros(())


def _side_by_side(sources: Sequence[Any], runs: Sequence[tuple[int, int, int]]) -> Any:
    parts = [jnp.ravel(sources[i])[start:stop] for i, start, stop in runs]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


@dataclass(frozen=True)
class RowTerms:
    """The sum over all rows, from the frontier and the arrays of rows.

    Attributes:
        n_sources: how many arguments are frontier.
        arrays: names of those after them.
        size: of the rows that are evaluated.
        leaves: how each is computed.
        form: the parameters from leaves and known columns.
        shared: the sources that are parameters of all rows together.
        first_column: the place of the first known column among the rows' numbers.
        loss: what the parameters are for.
    """

    n_sources: int
    arrays: tuple[str, ...]
    size: int
    leaves: tuple[Reading, ...]
    form: RowForm
    shared: tuple[int, ...]
    first_column: int
    loss: Loss
    name: ClassVar[str] = "row_terms"

    def __call__(self, *args: Any) -> Any:
        sources, s = args[: self.n_sources], dict(zip(self.arrays, args[self.n_sources :], strict=True))
        rows = s.get("rows", ())
        values = {
            leaf.node: leaf.value(sources, s.get(f"design {i}"), rows, s.get("taken"))
            for i, leaf in enumerate(self.leaves)
        }
        values |= {
            node: rows[self.first_column + i].astype(array_type(node).dtype) for i, node in enumerate(self.form.columns)
        }
        parameters = computed(self.form, values, self.size)
        kept = [rows[i] for i in range(len(rows) - self.loss.kept.n_kept, len(rows))] if self.loss.kept.n_kept else []
        totals = [s[f"total {i}"] for i in range(len(self.loss.kept.totals(self.size)))]
        shared = [jnp.ravel(sources[i]) for i in self.shared]
        return self.loss.log_density([*parameters, *shared], kept, totals)


def rows(scope: Scope, term: Term) -> Fusion | Refused:
    """``Σ_i Bernoulli(y_i | logits = Z_i b)  ⇒  Σ log σ(±b Zᵀ)``, each distinct row once."""
    if term.event or term.n <= 1:
        return Refused("its values are vectors" if term.event else f"it has {'one row' if term.n else 'no rows'}")
    if scope.values is None:
        return Refused("the data are traced by jax, and the statistics are computed on the host")
    read = _loss(scope, term) or _as_written(term)
    if read is None:
        shared = "cutpoints are" if term.cls is dist.OrderedLogistic else "concentration is"
        return Refused(f"its {shared} not the same in all rows")
    form = row_form(scope.builder, read.parameters, scope.known, term.rows)
    if isinstance(read.loss, AsWritten | Squares) and form.is_direct:
        return Refused(f"no sufficient statistics are known for {term.cls.__name__}")
    return _Fit(scope, term, form, read).fusion()


def rows_of(scope: Scope, term: Term, loss: Loss, parameter: Node, known: Sequence[Node]) -> Fusion | Refused:
    """The rows of a loss that a rule chose itself: ``term.value`` and `known` are what the loss keeps of them."""
    form = row_form(scope.builder, [parameter], scope.known, term.rows)
    fit = _Fit(scope, term, form, _Read(loss, [parameter], known=known))
    kept = zip(fit.args, fit.values, strict=True)
    if not all(np.isfinite(x).all() for node, x in kept if node is term.value or node in known):
        return Refused("what its rows count is no number, or not all of them are on one curve")
    return fit.fusion()


@dataclass(frozen=True)
class _Read:
    """A loss, the parameters of rows, those that all rows share, and the known ones that it keeps."""

    loss: Loss
    parameters: Sequence[Node]
    shared: Sequence[Node] = ()
    known: Sequence[Node] = ()


def _loss(scope: Scope, term: Term) -> _Read | None:
    """A loss with a formula of its own."""
    given, known = term.parameters, scope.known
    if term.cls in _TWO_SIDED:
        name, loss = _TWO_SIDED[term.cls]
        totals = [given[name]] if name else []
        if not set(totals) <= known:
            return None
        eta = _probit(scope, given["logits"])
        if eta is not None:
            return _Read(replace(loss, link="probit", notation="Σy·log Φ(η) + Σ(n − y)·log Φ(−η)"), [eta], known=totals)
        return _Read(loss, [given["logits"]], known=totals)
    if term.cls in (dist.Normal, dist.LogNormal):
        squares = Squares(NormalMeans(term.cls is dist.LogNormal))
        return _Read(squares, [given["loc"]], [given["scale"]]) if _is_one(given["scale"]) else None
    if term.cls is dist.OrderedLogistic:
        cutpoints = array_type(given["cutpoints"])
        whole = cutpoints.size == cutpoints.shape[-1]
        return _Read(Ordered(Levels(cutpoints.size)), [given["predictor"]], [given["cutpoints"]]) if whole else None
    if term.cls in (dist.Poisson, dist.Exponential, dist.Gamma, dist.GammaPoisson, dist.NegativeBinomial2):
        log_rate = log_of(scope.builder, given["rate"], known)
        return None if log_rate is None else _loss_of_rate(scope, term, log_rate)
    return None


def _probit(scope: Scope, logits: Node) -> Node | None:
    """η where the logits are those of Φ(η), as `stabilize` writes them."""
    t = array_type(logits)
    found = first_fact(PROBIT, logits, primitives(ancestors([logits])), (ArrayType(t.dtype, t.shape),))
    return None if found is None else scope.code(found[0].becomes, found[1])


def _loss_of_rate(scope: Scope, term: Term, log_rate: Node) -> _Read | None:
    if term.cls in (dist.Poisson, dist.Exponential):
        return _Read(Exponential(Events(term.cls is dist.Poisson)), [log_rate])
    concentration = term.parameters["concentration"]
    if term.cls is dist.Gamma:
        return _Read(GammaRate(), [log_rate], [concentration]) if _is_one(concentration) else None
    if concentration in scope.known:
        logits = scope.code(jnp.negative, [log_rate])
        return _Read(_NEGATIVE_BINOMIAL, [logits], known=[concentration])
    largest = _largest(scope, term)
    if not _is_one(concentration) or not largest <= MOST_COUNTS:
        return None
    return _Read(Dispersed(Exceedances(bucket(int(largest)))), [log_rate], [concentration])


def _largest(scope: Scope, term: Term) -> float:
    """The largest value of a row that counts."""
    assert scope.values is not None
    y, *weights = scope.values([term.value, *([] if term.weight is None else [term.weight])])
    y = np.broadcast_to(y, term.rows).reshape(-1)
    return float(np.max(y, initial=0, where=weights[0] > 0 if weights else True))


def _is_one(node: Node) -> bool:
    return array_type(node).size == 1


def _as_written(term: Term) -> _Read | None:
    fields = _AS_WRITTEN.get(term.cls)
    if fields is None:
        return None
    return _Read(AsWritten(term.cls, fields, Values(True)), [term.parameters[name] for name in fields])


class _Fit:
    """One term on its way to rows that are evaluated."""

    def __init__(self, scope: Scope, term: Term, form: RowForm, read: _Read) -> None:
        self.scope, self.term, self.form, self.known, self.loss = scope, term, form, read.known, read.loss
        self.shared = tuple(read.shared)
        first = next((leaf for leaf in form.leaves if leaf.node is form.results[0]), None)
        self.takes_offset = (
            self.loss.kept.takes_offset and first is not None and first is form.leaves[0] and _has_offset(first)
        )
        self.sources = tuple(dict.fromkeys((*(n for leaf in form.leaves for n in _frontier(leaf)), *self.shared)))
        args = [term.value, *([] if term.weight is None else [term.weight]), *self.known]
        for leaf in form.leaves:
            args += _arrays(leaf)
        self.args = [*args, *form.columns]
        assert scope.values is not None
        self.values = scope.values(self.args)

    def fusion(self) -> Fusion | Refused:
        kernel = self._kernel(self.term.n, False)
        try:
            read = kernel.read(self.values)
        except LayoutChangedError as error:
            return Refused(str(error))
        distinct = self._distinct(read)
        if distinct is not None and bucket(distinct) < self.term.n:
            kernel = self._kernel(bucket(distinct), True, read.positions)
        elif self._gains():
            kernel = self._kernel(self.term.n, False, read.positions)
        else:
            return Refused(f"its {self.term.n:,} rows are all different")
        formula = self._formula(kernel, read.positions)
        node = emit(self.scope, self.term, kernel, kernel.shapes(), self.args, formula, self.sources)
        return Fusion(node, *self._notation(kernel), kernel.size)

    def _distinct(self, read: Read) -> int | None:
        """How many distinct rows there are, where they are fewer than the rows."""
        if any(leaf.form is None and array_type(leaf.node).size > 1 for leaf in self.form.leaves):
            return None
        keys = [*read.positions, *read.plain, *(x for d in read.designs for x in d)]
        keys += [read.y] if self.loss.kept.by_value else []
        return count_distinct(keys, self.term.n, int(FEWER * self.term.n))

    def _gains(self) -> bool:
        """Whether something is gained though each row is evaluated: by the loss, or by a design with the rows last."""
        designs = [b for leaf in self.form.leaves if leaf.form for b in leaf.form.blocks if b.fixed is not None]
        return not isinstance(self.loss, AsWritten | Squares) or any(b.coefficient is not None for b in designs)

    def _evaluated(self, distinct: bool) -> Loss:
        """The loss, in a simpler form where each row counts once."""
        loss, once = self.loss, not distinct and self.term.weight is None
        if isinstance(loss, TwoSided) and once and self.term.cls is _BERNOULLI:
            return Margins(loss.link)
        return replace(loss, kept=Values(not once)) if isinstance(loss, AsWritten) else loss

    def _kernel(self, size: int, distinct: bool, positions: Sequence[np.ndarray] = ()) -> RowStatistics:
        slots: dict[bytes, int] = {}
        for p in positions:
            slots.setdefault(p.tobytes(), len(slots))
        return RowStatistics(
            self.term.rows,
            self._evaluated(distinct).kept,
            self.term.weight is not None,
            len(self.known),
            tuple(map(_leaf_data, self.form.leaves)),
            self.takes_offset,
            len(self.form.columns),
            tuple(slots[p.tobytes()] for p in positions),
            size,
            distinct,
        )

    def _formula(self, kernel: RowStatistics, positions: Sequence[np.ndarray]) -> RowTerms:
        place = {n: i for i, n in enumerate(self.sources)}
        slots, coefficient = iter(kernel.slots), 0
        readings = []
        offset = kernel.n_plain - len(self.form.columns) - sum(d.has_offset for d in kernel.leaves) + self.takes_offset
        for i, (leaf, data) in enumerate(zip(self.form.leaves, kernel.leaves, strict=True)):
            if leaf.form is None:
                readings.append(Reading(leaf.node, direct=place[leaf.node]))
                continue
            fixed: list[tuple[int, int]] = []
            design: list[tuple[int, int]] = []
            gathers: list[tuple[int, int, int]] = []
            for block, (k, _, has) in zip(leaf.form.blocks, data.blocks, strict=True):
                source = place[leaf.form.frontier[block.source]]
                if block.fixed is None:
                    for _ in range(k):
                        gathers.append((source, next(slots), coefficient if has else -1))
                        coefficient += has
                else:
                    (design if has else fixed).extend((source, int(x)) for x in block.fixed)
            mine = data.has_offset and not (i == 0 and self.takes_offset)
            readings.append(Reading(leaf.node, -1, runs(fixed), runs(design), tuple(gathers), offset if mine else -1))
            offset += mine
        first_column = kernel.n_plain - len(self.form.columns)
        return RowTerms(
            len(self.sources),
            tuple(kernel.shapes()),
            kernel.size,
            tuple(readings),
            self.form,
            tuple(place[n] for n in self.shared),
            first_column,
            self._evaluated(kernel.distinct),
        )

    def _notation(self, kernel: RowStatistics) -> tuple[str, tuple[Node, ...]]:
        loss = self._evaluated(kernel.distinct)
        symbols = ", ".join(f"{symbol} = {{{i}}}" for i, symbol in enumerate(loss.symbols))
        rows = ",  distinct rows counted" if kernel.distinct else ""
        return f"{loss.notation} + const,  {symbols}{rows}", (*self.form.results, *self.shared)


_BERNOULLI = dist.BernoulliLogits


def _has_offset(leaf: Leaf) -> bool:
    return leaf.form is not None and leaf.form.offset is not None


def _frontier(leaf: Leaf) -> tuple[Node, ...]:
    return (leaf.node,) if leaf.form is None else leaf.form.frontier


def _arrays(leaf: Leaf) -> list[Node]:
    """The known arrays of a leaf, in the order in which the kernel takes them."""
    if leaf.form is None:
        return []
    arrays = [] if leaf.form.offset is None else [leaf.form.offset]
    for b in leaf.form.blocks:
        arrays += [b.index] if b.fixed is None else []
        arrays += [] if b.coefficient is None else [b.coefficient]
    return arrays


def _leaf_data(leaf: Leaf) -> LeafData:
    if leaf.form is None:
        return LeafData(False, ())
    blocks = tuple((b.k, b.fixed is None, b.coefficient is not None) for b in leaf.form.blocks)
    return LeafData(_has_offset(leaf), blocks)


__all__ = ["CLASSES", "RowTerms", "rows", "rows_of"]
