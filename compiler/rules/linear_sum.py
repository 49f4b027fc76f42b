"""A sum of known times unknown: ``jnp.dot(y, X @ b + offset)`` is (Xᵀy)·b + const, and no row is read again.

The statistics are in `kernels.linear_sum`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from plait.compiler.analysis.linear import LinearForm, linear_form, raveled
from plait.compiler.kernels.linear_sum import LinearSumStatistics
from plait.compiler.rules.statistics import emit
from plait.compiler.rules.term import Fusion, Refused, Scope, Term
from plait.ir.graph import Node
from plait.ir.ops import array_type


@dataclass(frozen=True)
class LinearSum:
    """``t·(φ − φ⁰) + c``, from the unknowns and the statistics."""

    n_sources: int
    name: ClassVar[str] = "linear_sum"

    def __call__(self, *args: Any) -> Any:
        parts = [jnp.ravel(x) for x in args[: self.n_sources]]
        phi = parts[0] if len(parts) == 1 else jnp.concatenate(parts)
        unknowns, *constant = args[self.n_sources :]
        if not constant:
            return jnp.sum(unknowns[0] * phi)
        return jnp.sum(unknowns[0] * (phi - unknowns[1])) + constant[0]


def linear_sum(scope: Scope, term: Term, node: Node, weight: Node) -> Fusion | Refused:
    """``Σ w · (o + Z φ)  ⇒  (Zᵀw)·φ + const``.

    Args:
        scope: gets the nodes.
        term: whose sum it is.
        node: affine.
        weight: known, of the node's shape or a scalar.
    """
    assert scope.values is not None
    rows = array_type(node).shape
    form = linear_form(scope.builder, node, scope.known, rows)
    kernel = LinearSumStatistics(
        array_type(node).size,
        tuple(array_type(n).size for n in form.frontier),
        form.offset is not None,
        tuple((b.source, b.k, b.coefficient is not None) for b in form.blocks),
        np.dtype(array_type(term.node).dtype),
    )
    args = [raveled(scope.builder, weight, rows), *_arrays(form)]
    if not kernel.takes(scope.values(args)):
        return Refused("its data are not finite, or an index is out of range")
    fused = emit(scope, term, kernel, kernel.shapes(), args, LinearSum(len(form.frontier)), form.frontier)
    phi = ", ".join(f"{{{i}}}" for i in range(len(form.frontier)))
    notation = f"Zᵀw·(φ − φ̂) + const,  φ = {phi}" if kernel.has_offset else f"Zᵀw·φ,  φ = {phi}"
    return Fusion(fused, notation, form.frontier, 1)


def _arrays(form: LinearForm) -> Sequence[Node]:
    arrays = [] if form.offset is None else [form.offset]
    for block in form.blocks:
        arrays += [block.index] if block.coefficient is None else [block.index, block.coefficient]
    return arrays


__all__ = ["LinearSum", "linear_sum"]
