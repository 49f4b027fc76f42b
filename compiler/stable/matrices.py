"""Systems are solved instead of matrices inverted.

i: f64[3, 3] = … (inv S)                    ⇒   b: f64[3] = … (solve S a)
b: f64[3] = dot_general i a

The inverse of a matrix of condition number k loses log10 k digits twice where it is factored again, or multiplied.
Determinants stay as they are: a Cholesky factor would be cheaper, but nothing in a graph proves that a matrix is
positive definite, and of one that is not it would make a NaN of a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from numpyro.distributions.util import cholesky_of_inverse

from plait.compiler.stable.match import match
from plait.compiler.stable.rewriting import Rewriting
from plait.ir.graph import Node
from plait.ir.ops import Apply, Item, array_type, is_op
from plait.ir.types import ArrayType, Shape


def solved(rewriting: Rewriting, node: Node) -> Node | None:
    """``inv(S) @ x  ⇒  solve(S, x)`` and ``x @ inv(S)  ⇒  solve(S.T, x.T).T``."""
    if not is_op(node, "dot_general"):
        return None
    assert isinstance(node.op, Apply)
    (contracted, batch) = node.op.parameters["dimension_numbers"]
    if batch != ((), ()) or any(len(axes) != 1 for axes in contracted):
        return None
    for position, other in ((0, 1), (1, 0)):
        matrix, x = _inverted(node.args[position]), node.args[other]
        if matrix is not None and array_type(x).ndim in (1, 2):
            solve = _Solve(position == 0, contracted[position][0] == 0, contracted[other][0])
            args = [rewriting.env[matrix], rewriting.env[x]]
            return rewriting.by("inv(S) @ x → solve(S, x)", solve, args, array_type(node), node.loc)
    return None


@dataclass(frozen=True)
class _Solve:
    """A product of an inverse with a vector or matrix, as the solution of a system.

    Attributes:
        is_left: whether the inverse is the first factor.
        transposed: whether its first axis is summed over.
        axis: of the other factor, that is summed over.
    """

    is_left: bool
    transposed: bool
    axis: int

    def __call__(self, matrix: Array, x: Array) -> Array:
        solution = jnp.linalg.solve(matrix.T if self.transposed else matrix, jnp.moveaxis(x, self.axis, 0))
        return solution if self.is_left else jnp.moveaxis(solution, 0, -1)


def covariance(rewriting: Rewriting, node: Node) -> Node | None:
    """``MultivariateNormal(precision_matrix=inv(S))  ⇒  MultivariateNormal(covariance_matrix=S)``, by their factors."""
    solution = node.args[0] if is_op(node, "broadcast_in_dim") else node
    if not is_op(solution, "triangular_solve"):
        return None
    t = array_type(node)
    if t.ndim < 2 or t.shape[-1] != t.shape[-2]:
        return None
    found = match(cholesky_of_inverse, node, (ArrayType(t.dtype, t.shape),))
    if found is None:
        return None
    (precision,) = found
    if is_op(precision, "broadcast_in_dim", "reshape") and math.prod(t.shape[:-2]) == 1:
        (precision,) = precision.args  # NumPyro gives it the location's axes
    matrix = _inverted(precision)
    if matrix is None:
        return None
    return rewriting.by(_COVARIANCE, _Factor(t.shape), [rewriting.env[matrix]], t, node.loc)


_COVARIANCE = "MultivariateNormal(precision_matrix=inv(S)) → covariance_matrix=S"


@dataclass(frozen=True)
class _Factor:
    """The Cholesky factor of a covariance matrix, in a shape."""

    shape: Shape

    def __call__(self, x: Array) -> Array:
        return jnp.reshape(jnp.linalg.cholesky(x), self.shape)


def _inverted(node: Node) -> Node | None:
    """S where an old node is ``jnp.linalg.inv(S)`` of one matrix, else None."""
    t = array_type(node)
    if t.ndim != 2 or t.shape[0] != t.shape[1] or not _solves(node):
        return None
    found = match(jnp.linalg.inv, node, (ArrayType(t.dtype, t.shape),))
    return None if found is None else found[0]


def _solves(node: Node) -> bool:
    """Whether a node is, but for the order of its entries, the solution of linear systems."""
    while is_op(node, "transpose") or isinstance(node.op, Item):
        (node,) = node.args
    return is_op(node, "custom_linear_solve")


__all__ = ["covariance", "solved"]
