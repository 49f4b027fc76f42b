"""Categorical rows whose probabilities are a mixture of distributions, as in topic models: only what was seen counts.

w_i ~ Categorical(theta[d_i] @ phi)   ⇒   Σ_(d, w) n_dw·log Σ_k θ_dk φ_kw

over the pairs (d, w) that occur, or as one matrix product where most of them do. NumPyro computes all outcomes' logs
for each row. Blei, Ng & Jordan (2003), Latent Dirichlet Allocation, J. Mach. Learn. Res. 3, eq. 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import CategoricalProbs

from plait.compiler.analysis.frontier import moved_from
from plait.compiler.analysis.linear import linear_form
from plait.compiler.kernels.cells import bucket
from plait.compiler.kernels.pairs import PairCounts, groups_of
from plait.compiler.rules.statistics import emit
from plait.compiler.rules.term import Fusion, Refused, Scope, Term
from plait.ir.graph import Node
from plait.ir.ops import Apply, array_type

CLASSES = (CategoricalProbs,)
SPARSE = 4  # times as many pairs as occur, and a table of all of them costs more


@dataclass(frozen=True)
class PickedMixture:
    """The sum over all rows, from weights (groups, k), components (k, outcomes), counts and the pairs they are of."""

    n_components: int
    name: ClassVar[str] = "picked_mixture"

    def __call__(self, weights: Any, components: Any, counts: Any, taken: Any = None) -> Any:
        weights = weights.reshape(-1, self.n_components)
        if taken is None:
            p = jnp.dot(weights, components, precision=jax.lax.Precision.HIGHEST)
        else:  # components first, so that the sum over them adds long vectors
            of_group = weights.T.at[:, taken[0]].get(mode="promise_in_bounds")
            p = jnp.sum(of_group * components.at[:, taken[1]].get(mode="promise_in_bounds"), axis=0)
        p = jnp.where(counts > 0, p, 1.0)
        return jnp.vdot(counts, jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1.0)), -jnp.inf))


def picked(scope: Scope, term: Term) -> Fusion | Refused:
    """``Σ_i log (θ[d_i] φ)_{w_i}  ⇒  Σ n_dw·log Σ_k θ_dk φ_kw``."""
    product = term.parameters["probs"]
    reason = "its probabilities are computed row by row"
    if not _is_product(product) or product in scope.known:
        return Refused(reason)
    if scope.values is None:
        return Refused("the data are traced by jax, and the statistics are computed on the host")
    weights, components = product.args
    k, outcomes = array_type(components).shape
    source = moved_from(weights, scope.known)
    if array_type(product).shape != (*term.rows, outcomes) or array_type(source).size % k or source in scope.known:
        return Refused(reason)
    (block,) = linear_form(scope.builder, weights, scope.known, (*term.rows, k), (source,)).blocks
    data = [term.value, *([] if term.weight is None else [term.weight]), block.index]
    y, *_, positions = scope.values(data)
    group = groups_of(positions, term.n, k)
    if group is None:
        return Refused(f"{reason}; only rows of a table, such as theta[document], are read once for all")
    pairs = len(np.unique(group * outcomes + np.broadcast_to(y, term.rows).reshape(-1)))
    groups = array_type(source).size // k
    size = 0 if groups * outcomes <= SPARSE * pairs else bucket(pairs)
    kernel = PairCounts(term.rows, groups, outcomes, size, term.weight is not None, k)
    node = emit(scope, term, kernel, kernel.shapes(), data, PickedMixture(k), (source, components))
    return Fusion(node, "Σ_c n_c·log (θφ)_c,  θ = {0}, φ = {1}", (source, components), size or groups * outcomes)


def _is_product(node: Node) -> bool:
    """Whether a node is rows of weights times a matrix of components."""
    if not isinstance(node.op, Apply) or node.op.primitive.name != "dot_general":
        return False
    left, right = (array_type(a) for a in node.args)
    return right.ndim == 2 and node.op.parameters["dimension_numbers"] == (((left.ndim - 1,), (0,)), ((), ()))


__all__ = ["CLASSES", "PickedMixture", "picked"]
