"""Derivatives of exported functions, which are exported functions themselves: jax.export saves none of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import CustomVJPPrimal, zero_from_primal

from plait.runtime.artifact.calling import at_one, over_points
from plait.runtime.artifact.refused_derivatives import (
    is_constant,
    is_zero,
    no_derivative,
    refuse_tangents,
    without_derivative,
)

Call = Callable[..., Any]


class Density:
    """The log density of one point with the derivatives that were exported: two in z, one in params.

    Args:
        value: of (known, params, points).
        both: the values and gradients with respect to the points, of the same.
        product: the Hessians times vectors, of (known, params, points, vectors).
        of_params: gradients with respect to params, of (known, params, points); None where there are no params.
    """

    def __init__(self, value: Call, both: Call, product: Call, of_params: Call | None) -> None:
        self.value = at_one(over_points(value, 1), 1)
        self.both = at_one(over_points(both, 1), 1)
        self.product = at_one(over_points(product, 2), 2)
        self.of_params = None if of_params is None else at_one(over_points(of_params, 1), 1)

    @cached_property
    def log_density(self) -> Call:
        """Of (known, params, z)."""

        @jax.custom_jvp
        def call(known: Any, params: Any, z: Any) -> Any:
            return self.value(known, params, z)

        def derivative(primals: Any, tangents: Any) -> Any:
            known, params, dz = tangents
            refuse_tangents(known, "data")
            value, gradient = self.log_density_and_grad(*primals)
            change = jnp.sum(gradient * _instantiated(dz, primals[2]))
            return value, change + self._along_params(primals, params)

        call.defjvp(derivative, symbolic_zeros=True)
        return call

    @cached_property
    def log_density_and_grad(self) -> Call:
        """Likewise, with the gradient with respect to z."""

        @jax.custom_jvp
        def call(known: Any, params: Any, z: Any) -> Any:
            return tuple(self.both(known, params, z))

        def derivative(primals: Any, tangents: Any) -> Any:
            known, params, dz = tangents
            refuse_tangents(known, "data")
            refuse_tangents(params, "params, of a gradient,")
            known, params, z = primals
            dz = _instantiated(dz, z)
            value, gradient = call(known, params, z)
            return (value, gradient), (jnp.sum(gradient * dz), self.hvp(known, params, z, dz))

        call.defjvp(derivative, symbolic_zeros=True)
        return call

    def hvp(self, known: Any, params: Any, z: Any, v: Any) -> Any:
        """The Hessian times v: linear in v, and its own transpose."""
        fixed = _fixed_data(known), _fixed_params(params), _fixed_point(z)
        # "The v that an identity maps onto v", solved by this product: what jax offers to call a function linear and
        # symmetric, so that it goes through reverse mode and vmap. It takes what `solve` closes over as constant.
        return jax.lax.custom_linear_solve(_identity, v, lambda _, v: self.product(*fixed, v), symmetric=True)

    def hessian(self, known: Any, params: Any, z: Any) -> Any:
        """Of one point, (dim, dim)."""
        return jax.vmap(lambda v: self.hvp(known, params, z, v))(jnp.eye(z.shape[0], dtype=z.dtype))

    def _along_params(self, primals: Any, tangents: Any) -> Any:
        if self.of_params is None or is_constant(tangents):
            return 0.0
        gradients = self.of_params(*primals)
        moved = jax.tree.map(_instantiated, tangents, primals[1], is_leaf=is_zero)
        return sum(jnp.sum(g * t) for g, t in zip(jax.tree.leaves(gradients), jax.tree.leaves(moved), strict=True))


def _identity(x: Any) -> Any:
    return x


_fixed_data = without_derivative(_identity, "data")
_fixed_params = without_derivative(_identity, "params, of a Hessian,")
_fixed_point = without_derivative(_identity, "z, of a Hessian,")


def with_derivative(value: Call, both: Call) -> Call:
    """A function of (known, params, values) at one point, of exported ones.

    Args:
        value: the values at points.
        both: the same with the gradients with respect to those of the points' arrays that are floats.
    """
    at, at_both = at_one(over_points(value, 1), 1), at_one(over_points(both, 1), 1)

    @jax.custom_jvp
    def call(known: Any, params: Any, values: Any) -> Any:
        return at(known, params, values)

    def derivative(primals: Any, tangents: Any) -> Any:
        known, params, moved = tangents
        refuse_tangents(known, "data")
        refuse_tangents(params, "params, of the log joint,")
        result, gradients = at_both(*primals)
        floats = [(x, t) for x, t in zip(primals[2], moved, strict=True) if jnp.issubdtype(x.dtype, jnp.floating)]
        pairs = zip(gradients, floats, strict=True)
        return result, sum((jnp.sum(g * _instantiated(t, x)) for g, (x, t) in pairs), jnp.zeros_like(result))

    call.defjvp(derivative, symbolic_zeros=True)
    return call


def pulled_back(many: Call, pull_back: Call) -> Call:
    """A function of (known, params, points) that can be differentiated backwards in the points.

    Args:
        many: the function.
        pull_back: of (known, params, points, cotangents of its results): those of the points.
    """
    forward, backward = over_points(many, 1), over_points(pull_back, 2)

    @jax.custom_vjp
    def call(known: Any, params: Any, points: Any) -> Any:
        return forward(known, params, points)

    def remembered(*primals: Any) -> Any:
        for argument, what in zip(primals, ("data", "params, of constrained values,"), strict=False):
            if any(p.perturbed for p in jax.tree.leaves(argument, is_leaf=_is_primal)):
                raise no_derivative(what)
        arguments = jax.tree.map(lambda p: p.value, primals, is_leaf=_is_primal)
        return call(*arguments), arguments

    def back(arguments: Any, cotangents: Any) -> Any:
        known, params, _ = arguments
        zeros = jax.tree.map(_no_cotangent, (known, params))
        wholly = jax.tree.map(lambda c: jnp.zeros(c.shape, c.dtype) if is_zero(c) else c, cotangents, is_leaf=is_zero)
        return *zeros, backward(*arguments, wholly)

    call.defvjp(remembered, back, symbolic_zeros=True)
    return call


def _is_primal(x: Any) -> bool:
    return isinstance(x, CustomVJPPrimal)


def _no_cotangent(x: Any) -> Any:
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.zeros_like(x)
    return np.zeros(jnp.shape(x), jax.dtypes.float0)


def _instantiated(tangent: Any, primal: Any) -> Any:
    return zero_from_primal(primal) if is_zero(tangent) else tangent


__all__ = ["Density", "pulled_back", "with_derivative"]
