"""One multivariate normal vector of an unknown covariance, as a Gaussian process has: one factor for value and slope.

y ~ MultivariateNormal(μ, Σ)   ⇒   −½ rᵀα − log |L| + const,   Σ = L Lᵀ,  r = y − μ,  Σα = r

The derivative in Σ is ``½ (α αᵀ − Σ⁻¹)``: no derivative goes through the factorization (Rasmussen & Williams 2006,
Gaussian Processes for Machine Learning, eq. 5.9).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import MultivariateNormal

from plait.compiler.rules.term import Fusion, Refused, Scope, Term
from plait.compiler.stable.match import match
from plait.compiler.staged import signature
from plait.ir.fused import Fused
from plait.ir.graph import Node
from plait.ir.ops import Apply, array_type
from plait.ir.types import ArrayType

CLASSES = (MultivariateNormal,)


@jax.custom_jvp
def log_normal(covariance: Array, r: Array) -> Array:
    """The log density of a vector r around 0, in nats; NaN where the matrix has no Cholesky factor."""
    factor = jnp.linalg.cholesky(covariance)
    return _value(factor, jax.lax.linalg.triangular_solve(factor, r[:, None], left_side=True, lower=True)[:, 0])


@log_normal.defjvp
def _log_normal_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (covariance, r), (change, of_r) = primals, tangents
    factor = jnp.linalg.cholesky(covariance)
    root = jax.lax.linalg.triangular_solve(factor, jnp.eye(len(r), dtype=r.dtype), left_side=True, lower=True)
    precise = jax.lax.Precision.HIGHEST
    z = jnp.dot(root, r, precision=precise)
    alpha = jnp.dot(z, root, precision=precise)
    inverse = jnp.dot(root.T, root, precision=precise)
    slope = 0.5 * (alpha[:, None] * alpha - inverse)
    return _value(factor, z), jnp.sum(slope * change) - jnp.dot(alpha, of_r)


def _value(factor: Array, z: Array) -> Array:
    """The log density, in nats, where ``L z = r``."""
    return -0.5 * jnp.dot(z, z) - jnp.sum(jnp.log(jnp.diagonal(factor))) - 0.5 * len(z) * math.log(2 * math.pi)


@dataclass(frozen=True)
class Covariance:
    """The log density, from the covariance, the mean and the vector."""

    name: ClassVar[str] = "covariance"

    def __call__(self, covariance: Any, mean: Any, y: Any) -> Any:
        d = y.size
        return log_normal(covariance.reshape(d, d), jnp.ravel(y - jnp.ravel(mean)))


def covariance(scope: Scope, term: Term) -> Fusion | Refused:
    """``log_prob y ~ MultivariateNormal(μ, cholesky Σ)  ⇒  −½ rᵀ Σ⁻¹ r − ½ log |Σ| + const``."""
    (d,) = term.event
    matrix = _factored(term.parameters["scale_tril"], d)
    if term.n != 1 or term.weight is not None or matrix is None or matrix in scope.known:
        return Refused("its covariance is not one matrix that is factored for one vector")
    args = (matrix, term.parameters["loc"], term.value)
    if array_type(args[1]).size not in (1, d):
        return Refused("its location is not one vector")
    op = signature(Fused, tuple(map(array_type, args)), term.op.site, Covariance())
    node = scope.builder.add(op, args, term.node.loc)
    return Fusion(node, "−½ rᵀK⁻¹r − ½ log |K| + const,  K = {0}", (matrix,), 1)


def _factored(node: Node, d: int) -> Node | None:
    """The matrix whose Cholesky factor a node is, whatever axes of size 1 it has beside."""
    while isinstance(node.op, Apply) and node.op.primitive.name in ("broadcast_in_dim", "reshape"):
        if array_type(node.args[0]).size != d * d:
            return None
        node = node.args[0]
    t = array_type(node)
    found = match(jnp.linalg.cholesky, node, (ArrayType(t.dtype, t.shape),)) if t.size == d * d else None
    return None if found is None else found[0]


__all__ = ["CLASSES", "Covariance", "covariance", "log_normal"]
