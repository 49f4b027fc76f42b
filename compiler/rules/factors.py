"""Factors written in jax.numpy: the addends of their sum, each fused by itself.

factor("lik", -0.5 * jnp.sum(((y - X @ b) / s) ** 2) - n * jnp.log(s))   ⇒   −½ (‖R(b − b̂)‖² + RSS)/s²  − n·log s
factor("lik", jnp.dot(y, X @ b))                                         ⇒   (Xᵀy)·b
factor("lik", jnp.sum(y * eta - jnp.exp(eta)))                           ⇒   Σ y·η − exp η on distinct rows

Squares become the least-squares statistics of normal rows (`rules.normal`), known times unknown a few known numbers
(`rules.linear_sum`), exp η and log(1 + exp η), with what the same η is multiplied by, the losses of generalized linear
models (`rules.losses`; McCullagh & Nelder, 1989, 2.2). What is none of these stays as written, and so does all else
where nothing of a factor gets cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Normal, Unit

from plait.compiler.analysis.curves import EXP, SOFTPLUS, Curve
from plait.compiler.analysis.linear import LinearForm, linear_form
from plait.compiler.kernels.kept import Outcomes
from plait.compiler.kernels.normal import NormalStatistics, SquareStatistics
from plait.compiler.rules.addends import Addend, Affine, Scalars, Square, addends, in_fewer
from plait.compiler.rules.linear_sum import linear_sum
from plait.compiler.rules.losses import Rates, TwoSided
from plait.compiler.rules.normal import NormalCells, NormalFit
from plait.compiler.rules.rows import rows_of
from plait.compiler.rules.statistics import emit
from plait.compiler.rules.term import Fusion, Refused, Scope, Term
from plait.ir.graph import Node
from plait.ir.ops import Const, Value, array_type
from plait.ir.types import ArrayType

CLASSES = (Unit,)
SIDES = TwoSided(Outcomes("as_given"), "Σs·log σ(η) + Σf·log σ(−η)")


@dataclass(frozen=True)
class _Piece:
    """``scalars · fusion``, or why not."""

    answer: Fusion | Refused
    scalars: Scalars
    addends: tuple[Addend, ...]


def factor(scope: Scope, term: Term) -> Fusion | Refused:
    """``log_factor = Σ_k s_k Σ_i w_ki x_ki  ⇒  Σ_k s_k · (what stands for the sum of x_k)``."""
    node = term.parameters["log_factor"]
    if scope.values is None:
        return Refused("the data are traced by jax, and the statistics are computed on the host")
    if array_type(node).dtype != array_type(term.node).dtype or not term.n:
        return Refused("it has no rows" if not term.n else "it is of another precision than the program")
    found = addends(scope, node, _weight(scope, term, node))
    pieces = _pieces(scope, term, found)
    if not any(isinstance(p.answer, Fusion) for p in pieces):
        return next((p.answer for p in pieces if isinstance(p.answer, Refused)), _refused(found, scope.known))
    return _together(scope, term, found, pieces)


def has_rows(node: Node, known: set[Node]) -> bool:
    """Whether data of many rows meet unknowns in a factor; nothing is to be said of others."""
    read = {a for n in _unknown(node, known) for a in n.args if a in known}
    return any(isinstance(a.type, ArrayType) and a.type.size > 1 for a in read)


def _weight(scope: Scope, term: Term, node: Node) -> Node:
    """What each entry of the log factor counts."""
    t = array_type(node)
    if term.weight is None:
        return scope.number(np.asarray(term.n / max(t.size, 1), t.dtype))
    scope.known.add(term.weight)
    lead = len(term.rows) - t.ndim
    axes = tuple(range(lead)) + tuple(lead + d for d, n in enumerate(t.shape) if n != term.rows[lead + d])

    def code(weight: Any) -> Any:
        return jnp.sum(weight.reshape(term.rows), axes).reshape(t.shape).astype(t.dtype)

    return scope.code(code, [term.weight])


def _refused(found: Sequence[Addend], known: set[Node]) -> Refused:
    rows = max((array_type(a.node).size for a in found if a.node not in known), default=1)
    if rows <= 1:
        return Refused("no sum over its rows can be computed before they are known")
    forms = "squares, multiples, exp or log(1 + exp) of an affine expression"
    return Refused(f"its {rows:,} rows are not sums of {forms}")


# -- what stands for an addend ---------------------------------------------------------------------------------


def _pieces(scope: Scope, term: Term, found: Sequence[Addend]) -> list[_Piece]:
    """The addends that have a form, those of one curve together."""
    pieces = [_Piece(_squares(scope, term, a), a.scalars, (a,)) for a in found if isinstance(a.form, Square)]
    affine = [a for a in found if isinstance(a.form, Affine)]
    curves = [a for a in found if isinstance(a.form, Curve)]
    while curves:
        first = curves[0]
        group = [a for a in curves if _curve(a).kind == _curve(first).kind and _is_of(a, first)]
        if _curve(first).kind == EXP:
            group = [a for a in group if _curve(a).slope == _curve(first).slope]
        with_it = [a for a in affine if _is_of(a, first)]
        curves, affine = [a for a in curves if a not in group], [a for a in affine if a not in with_it]
        answer = _curved(scope, term, group, with_it)
        affine += with_it if isinstance(answer, Refused) else []
        pieces.append(_Piece(answer, first.scalars, (*group, *with_it)))
    fewer = [a for a in affine if in_fewer(a.node, scope.known)]
    return pieces + [_Piece(linear_sum(scope, term, a.node, a.weight), a.scalars, (a,)) for a in fewer]


def _curve(addend: Addend) -> Curve:
    assert isinstance(addend.form, Curve)
    return addend.form


def _is_of(a: Addend, b: Addend) -> bool:
    """Whether two addends are of one predictor and multiplied by the same scalars."""
    assert isinstance(a.form, Affine | Curve)
    assert isinstance(b.form, Affine | Curve)
    return a.form.base is b.form.base and a.scalars == b.scalars


def _curved(scope: Scope, term: Term, curves: Sequence[Addend], affine: Sequence[Addend]) -> Fusion | Refused:
    """Rows of ``a·η − b·exp η``, or of ``s·log σ(η) + f·log σ(−η)``."""
    base, slope, kind = _curve(curves[0]).base, _curve(curves[0]).slope, _curve(curves[0]).kind
    shape = array_type(base).shape
    if kind == EXP and slope < 0:
        base = scope.code(jnp.negative, [base])
        linear, bent = [-_sign(a) for a in affine], [-_curve(c).factor for c in curves]
    else:
        linear, bent = [_sign(a) for a in affine], [-_curve(c).factor for c in curves]

    def counted(*weights: Any) -> tuple[Any, Any]:
        """What multiplies η, or log σ(η); and what −exp η, or log σ(−η)."""
        weights = tuple(jnp.broadcast_to(w, shape) for w in weights)
        zero = jnp.zeros(shape, weights[0].dtype)
        first = sum((s * w for s, w in zip(linear, weights[len(curves) :], strict=True)), start=zero)
        second = zero if kind == EXP else -first  # η = log σ(η) − log σ(−η)
        for curve, sign, w in zip(curves, bent, weights, strict=False):
            if kind == SOFTPLUS and _curve(curve).slope < 0:
                first = first + sign * w
            else:
                second = second + sign * w
        return first, second

    weights = [*(_guarded(scope, c) for c in curves), *(a.weight for a in affine)]
    first = scope.code(lambda *w: counted(*w)[0], weights)
    second = scope.code(lambda *w: counted(*w)[1], weights)
    counts = scope.code(
        lambda a, b: jnp.where((a != 0) | (b != 0), 1.0, 0.0).astype(a.dtype).reshape(-1), [first, second]
    )
    rows = replace(term, value=first, rows=shape, weight=counts, event=())
    return rows_of(scope, rows, Rates() if kind == EXP else SIDES, base, [second])


def _sign(addend: Addend) -> int:
    assert isinstance(addend.form, Affine)
    return addend.form.sign


def _guarded(scope: Scope, curve: Addend) -> Node:
    """The weight of a curve; no number where the node is not the curve, and counts."""
    guards = _curve(curve).guards
    if not guards:
        return curve.weight

    def code(weight: Any, *guards: Any) -> Any:
        for guard in guards:
            weight = jnp.where(guard | (weight == 0), weight, jnp.nan)
        return weight

    return scope.code(code, [curve.weight, *guards])


# -- squares ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SquareCells:
    """``Σ weight · (scalars · core)²``, from the scalars, the frontier and the statistics of `cells`.

    Attributes:
        sign: of the weights.
        powers: of the scalars, 1 or −1.
        cells: the sum of squares.
    """

    sign: float
    powers: tuple[int, ...]
    cells: NormalCells
    name: ClassVar[str] = "square_cells"

    def __call__(self, *args: Any) -> Any:
        inverse: Any = 1.0
        for x, power in zip(args, self.powers, strict=False):
            inverse = inverse * x.reshape(()) if power > 0 else inverse / x.reshape(())
        sources, statistics = args[len(self.powers) :], args[len(self.powers) + self.cells.n_sources :]
        s = dict(zip(self.cells.statistics, statistics, strict=True))
        return 0.5 * self.sign * jnp.sum(self.cells.squares(sources[: self.cells.n_sources], s, inverse))


def _squares(scope: Scope, term: Term, addend: Addend) -> Fusion | Refused:
    square = addend.form
    assert isinstance(square, Square)
    assert scope.values is not None
    shape = array_type(square.core).shape
    weights = scope.code(lambda w: 2.0 * jnp.broadcast_to(w, shape).reshape(-1), [square.core_weight])
    zero = scope.number(np.zeros((), array_type(square.core).dtype))
    form = linear_form(scope.builder, square.core, scope.known, shape)
    read = [x for b in form.blocks for x in (b.index, b.coefficient)]
    (weight, *_) = scope.values([square.core_weight, weights, *(x for x in (form.offset, *read) if x is not None)])
    if not np.isfinite(weight).all() or np.any(weight < 0) == np.any(weight > 0):
        return Refused("the weights of its squares are not all finite and of one sign")
    fit = _SquareFit(scope, Term(term.node, Normal, {}, zero, (), shape, weights), form, square, weight)
    answer = fit.fusion()
    return answer if isinstance(answer, Refused) or fit.takes else Refused("its data are not finite")


class _SquareFit(NormalFit):
    """Squares as normal rows: an affine core is the distance of 0 from a predictor."""

    def __init__(self, scope: Scope, term: Term, form: LinearForm, square: Square, weight: np.ndarray) -> None:
        super().__init__(scope, term, form, LinearForm((), None, ()))
        assert self.factor is None  # what is asked of weights elsewhere is asked of positive ones
        self.square, self.sign, self.takes = square, -1.0 if np.any(weight < 0) else 1.0, True

    def emitted(self, kernel: NormalStatistics, formula: NormalCells) -> Node:
        nodes, powers = [n for n, _ in self.square.scalars], tuple(p for _, p in self.square.scalars)
        squares = SquareCells(self.sign, powers, formula)
        statistics, data = SquareStatistics(kernel, self.sign), self.data(kernel)
        assert self.scope.values is not None
        self.takes = statistics.takes(self.scope.values(data))
        return emit(self.scope, self.term, statistics, kernel.shapes(), data, squares, (*nodes, *self.sources))

    def notation(self, kernel: NormalStatistics) -> tuple[str, tuple[Node, ...]]:
        text, named = super().notation(kernel)
        text = text.replace(" + const", "")
        return _multiplied(text if self.sign < 0 else text.removeprefix("−"), named, self.square.scalars, "²")


def _multiplied(text: str, named: tuple[Node, ...], scalars: Scalars, square: str = "") -> tuple[str, tuple[Node, ...]]:
    """A notation times scalars, before the list of what its symbols are."""
    formula, comma, symbols = text.partition(",  ")
    marks = [f"{'·' if p > 0 else '/'}({{{len(named) + i}}}){square}" for i, (_, p) in enumerate(scalars)]
    return formula + "".join(marks) + comma + symbols, (*named, *(n for n, _ in scalars))


# -- the whole -------------------------------------------------------------------------------------------------


def _together(scope: Scope, term: Term, found: Sequence[Addend], pieces: Sequence[_Piece]) -> Fusion:
    """The sum of what is fused and of what stays as written."""
    fused = [(p.answer, p.scalars) for p in pieces if isinstance(p.answer, Fusion)]
    done = {id(a) for p in pieces if isinstance(p.answer, Fusion) for a in p.addends}
    rest = [a for a in found if id(a) not in done]
    values = [_times(scope, answer.node, scalars) for answer, scalars in fused]
    values += [_times(scope, _as_written(scope, a), a.scalars) for a in rest]
    total = values[0] if len(values) == 1 else scope.code(lambda *x: sum(x[1:], start=x[0]), values)
    unknown = [a for a in rest if a.node not in scope.known]
    texts, named = [], list[Node]()
    for answer, scalars in fused:
        text, nodes = _multiplied(answer.notation, answer.named, scalars)
        places = [f"{{{len(named) + i}}}" for i in range(len(nodes))]
        texts.append(text.format(*places))
        named += nodes
    notation = ";  ".join(texts) + (";  the rest as written" if unknown else "")
    sizes = [array_type(a.node).size for a in found]
    cells = sum(answer.cells for answer, _ in fused) + sum(n for a in unknown if (n := array_type(a.node).size) > 1)
    return Fusion(total, notation, tuple(named), cells, max(sizes))


def _as_written(scope: Scope, addend: Addend) -> Node:
    """``Σ weight · node``; what counts nothing may be anything."""
    is_square = isinstance(addend.form, Square)

    def code(weight: Any, x: Any) -> Any:
        x = jnp.square(x) if is_square else x
        if not weight.shape:
            return weight * jnp.sum(x)
        return jnp.sum(jnp.where(weight == 0, jnp.zeros_like(x), weight * x))

    return scope.code(code, [addend.weight, addend.node])


def _times(scope: Scope, node: Node, scalars: Scalars) -> Node:
    if not scalars:
        return node

    def code(x: Any, *values: Any) -> Any:
        for value, (_, power) in zip(values, scalars, strict=True):
            x = x * value.reshape(()) if power > 0 else x / value.reshape(())
        return x

    return scope.code(code, [node, *(n for n, _ in scalars)])


def _unknown(node: Node, known: set[Node]) -> set[Node]:
    """What a call evaluates for a node, down to latents and data."""
    found: set[Node] = set()
    todo = [node]
    while todo:
        n = todo.pop()
        if n not in found and n not in known and not isinstance(n.op, Value | Const):
            found.add(n)
            todo += n.args
    return found


__all__ = ["CLASSES", "SquareCells", "factor", "has_rows"]
