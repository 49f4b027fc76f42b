"""Categorical and multinomial rows whose logits are covariates times a matrix of coefficients.

y_i ~ Categorical(logits = b + X_i B)   ⇒   Σ_k n_k·η_k − n·log Σ_k exp η_k,   η_k = (b, B)_k · (1, X)ᵀ

One long vector for each category: XLA makes vector code of sums over k of such, and of none along an axis of few
entries. Rows of equal covariates are one row with counts. Where a category is the reference its logit is 0
(McCullagh & Nelder 1989, Generalized Linear Models, ch. 5).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import CategoricalLogits, MultinomialLogits

from plait.compiler.kernels.categories import CategoryRows
from plait.compiler.kernels.cells import bucket
from plait.compiler.kernels.rows import count_distinct
from plait.compiler.rules.statistics import emit
from plait.compiler.rules.term import Fusion, Refused, Scope, Term
from plait.ir.graph import Node
from plait.ir.ops import Apply, Const, array_type

CLASSES = (CategoricalLogits, MultinomialLogits)
FEWER = 0.7  # distinct rows than rows, at most
APART = 8  # categories at most, as vectors of their own; measured


@dataclass(frozen=True)
class _Part:
    """Neighbouring categories: covariates, their coefficients (whether as (categories, p)), and intercepts."""

    width: int
    products: tuple[tuple[Node, Node, bool], ...] = ()
    intercepts: tuple[Node, ...] = ()

    @property
    def is_zero(self) -> bool:
        return not self.products and not self.intercepts


@dataclass(frozen=True)
class Softmax:
    """The sum over all rows, from coefficients, the design and the outcomes.

    Attributes:
        transposed: for each array of coefficients whether it is (categories, p).
        intercepts: how many arrays are added to all rows.
        parts: for neighbouring categories how many they are, and whether their logits are 0.
        counted: whether outcomes are counts of each category.
    """

    transposed: tuple[bool, ...]
    intercepts: int
    parts: tuple[tuple[int, bool], ...]
    counted: bool
    name: ClassVar[str] = "softmax"

    def __call__(self, *args: Any) -> Any:
        n = len(self.transposed)
        design, outcomes, constant = args[n + self.intercepts :]
        blocks = [b if t else b.T for b, t in zip(args[:n], self.transposed, strict=True)]
        if self.intercepts:
            total = functools.reduce(operator.add, (jnp.ravel(b) for b in args[n : n + self.intercepts]))
            blocks.insert(0, total[:, None])
        coefficients = jnp.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0]
        free = iter(jnp.dot(coefficients, design, precision=jax.lax.Precision.HIGHEST))
        zero = jnp.zeros_like(design[0])
        logits = [zero if is_zero else next(free) for width, is_zero in self.parts for _ in range(width)]
        return _log_likelihood(logits, outcomes, self.counted) + constant


def _log_likelihood(logits: Sequence[Any], outcomes: Any, counted: bool) -> Any:
    """``Σ_k n_k·η_k − n·log Σ exp η_k``, relative to the largest η of each row."""
    if len(logits) > APART:
        log_p = jax.nn.log_softmax(jnp.stack(logits), axis=0)
        if counted:
            return jnp.sum(jnp.where(outcomes > 0, outcomes * log_p, 0.0))
        return jnp.sum(jnp.where(outcomes == jnp.arange(len(logits))[:, None], log_p, 0.0))
    top = jax.lax.stop_gradient(functools.reduce(jnp.maximum, logits))
    below = [eta - top for eta in logits]
    if counted:
        seen = [jnp.where(n > 0, n * d, 0.0) for n, d in zip(outcomes, below, strict=True)]
        weight = functools.reduce(operator.add, outcomes)
    else:
        seen = [jnp.where(outcomes == k, d, 0.0) for k, d in enumerate(below)]
        weight = 1.0
    log = jnp.log(functools.reduce(operator.add, map(jnp.exp, below)))
    return jnp.sum(functools.reduce(operator.add, seen) - weight * log)


def softmax(scope: Scope, term: Term) -> Fusion | Refused:
    """Rows, one category after the other: ``Σ_i log p(y_i | b + X_i B)  ⇒  Σ n_k·η_k − n·log Σ exp η_k``."""
    parts = _parts(_unshifted(term.parameters["logits"]), scope.known)
    free = [part for part in parts or () if not part.is_zero]
    if parts is None or len(free) != 1 or not free[0].products or len(term.rows) != 1:
        return Refused("its logits are not known covariates times a matrix of coefficients")
    if scope.values is None:
        return Refused("the data are traced by jax, and the statistics are computed on the host")
    (part,) = free
    covariates = [x for x, _, _ in part.products]
    counts = term.cls is MultinomialLogits
    data = [term.value, *([] if term.weight is None else [term.weight]), *covariates]
    _, *weight, values = *scope.values(data[: len(data) - len(covariates)]), scope.values(covariates)
    counted = weight[0] > 0 if weight else np.ones(term.n, bool)
    if not counted.any():
        return Refused("none of its rows counts")
    distinct = count_distinct([x[counted] for v in values for x in v.T], int(counted.sum()), int(FEWER * term.n))
    if distinct is not None and bucket(distinct) >= term.n:
        distinct = None
    kernel = CategoryRows(
        term.rows,
        sum(p.width for p in parts),
        counts,
        term.weight is not None,
        tuple(array_type(x).shape[1] for x in covariates),
        bool(part.intercepts),
        term.n if distinct is None else bucket(distinct),
        distinct is not None,
    )
    formula = Softmax(
        tuple(transposed for *_, transposed in part.products),
        len(part.intercepts),
        tuple((p.width, p.is_zero) for p in parts),
        kernel.is_counted,
    )
    coefficients = tuple(b for _, b, _ in part.products)
    node = emit(scope, term, kernel, kernel.shapes(), data, formula, (*coefficients, *part.intercepts))
    text = "Σ_k Σy_k·η_k − Σn·log Σ_k exp η_k + const,  η = {0}" + (
        ",  distinct rows counted" if kernel.distinct else ""
    )
    return Fusion(node, text, (term.parameters["logits"],), kernel.size)


def _unshifted(node: Node) -> Node:
    """Logits without what is subtracted from all of a row's, as a softmax subtracts their maximum."""
    while isinstance(node.op, Apply) and node.op.primitive.name == "sub" and _is_of_row(node.args[1]):
        node = node.args[0]
    return node


def _is_of_row(node: Node) -> bool:
    t = array_type(node)
    if isinstance(node.op, Apply) and node.op.primitive.name == "broadcast_in_dim" and t.ndim == 2:
        return t.shape[1] == 1 or 1 not in node.op.parameters["broadcast_dimensions"]
    return t.ndim == 2 and t.shape[1] == 1


def _parts(node: Node, known: set[Node]) -> list[_Part] | None:
    """The categories of logits (rows, categories), in order; None where they are anything else."""
    width = array_type(node).shape[-1]
    if isinstance(node.op, Apply) and node.op.primitive.name == "concatenate":
        inner = [_parts(a, known) for a in node.args]
        is_along = node.op.parameters["dimension"] == 1
        return [p for part in inner if part for p in part] if is_along and all(inner) else None
    if _is_zero(node):
        return [_Part(width)]
    addends = _addends(node)
    products = [_product(a, known) for a in addends]
    intercepts = [_intercept(a, known) if p is None else None for a, p in zip(addends, products, strict=True)]
    if any(p is None and b is None for p, b in zip(products, intercepts, strict=True)):
        return None
    return [_Part(width, tuple(p for p in products if p), tuple(b for b in intercepts if b))]


def _addends(node: Node) -> list[Node]:
    if isinstance(node.op, Apply) and node.op.primitive.name == "add":
        return [a for arg in node.args for a in _addends(arg)]
    return [node]


def _product(node: Node, known: set[Node]) -> tuple[Node, Node, bool] | None:
    """(X, B, whether B is (categories, p)) of a product of known covariates with unknown coefficients."""
    if not isinstance(node.op, Apply) or node.op.primitive.name != "dot_general":
        return None
    x, b = node.args
    (contracted, batch) = node.op.parameters["dimension_numbers"]
    fits = array_type(x).ndim == array_type(b).ndim == 2 and batch == ((), ()) and contracted[0] == (1,)
    return (x, b, contracted[1] == (1,)) if fits and x in known and b not in known else None


def _intercept(node: Node, known: set[Node]) -> Node | None:
    """What all rows add to the logits of each category."""
    shape = array_type(node).shape
    while isinstance(node.op, Apply) and node.op.primitive.name in ("broadcast_in_dim", "reshape"):
        inner = node.args[0]
        if math.prod(array_type(inner).shape) == shape[-1] and array_type(inner).shape[-1:] == shape[-1:]:
            return inner if inner not in known else None
        node = inner
    return None


def _is_zero(node: Node) -> bool:
    while isinstance(node.op, Apply) and node.op.primitive.name == "broadcast_in_dim":
        node = node.args[0]
    return isinstance(node.op, Const) and not np.any(node.op.value)


__all__ = ["CLASSES", "Softmax", "softmax"]
