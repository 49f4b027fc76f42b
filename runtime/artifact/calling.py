"""Exported functions as JAX can use them: inside jit, vmap, scan and derivatives.

jax.export has no batching and no second derivative of what it exported. So each function of a point is exported with a
leading axis of points, of any length; here vmap becomes that axis, and derivatives are exported functions themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero, zero_from_primal

from plait.ir.errors import ArtifactError

Call = Callable[..., Any]


def over_points(many: Call, points: int) -> Call:
    """A function of which the last `points` arguments may have any leading axes, of one that takes a single such axis.

    Of the other arguments several at once are taken one after the other.

    Args:
        many: of (others, …, points, …); its results have the points' leading axis.
        points: how many arguments are pytrees of arrays with that axis.
    """

    @custom_vmap
    def batch(*arguments: Any) -> Any:
        return many(*arguments)

    @batch.def_vmap
    def rule(size: int, batched: Any, *arguments: Any) -> Any:
        others = range(len(arguments) - points)
        if any(any(jax.tree.leaves(batched[i])) for i in others):
            return _one_after_the_other(batch, batched, arguments)
        spread = [
            jax.tree.map(lambda x, b: _spread(x, b, size), argument, is_batched)
            for argument, is_batched in zip(arguments[-points:], batched[-points:], strict=True)
        ]
        inner = jnp.shape(jax.tree.leaves(spread)[0])[1]
        flat = [jax.tree.map(lambda x: x.reshape((size * inner, *x.shape[2:])), a) for a in spread]
        results = batch(*arguments[: len(others)], *flat)
        shaped = jax.tree.map(lambda x: x.reshape((size, inner, *x.shape[1:])), results)
        return shaped, jax.tree.map(lambda _: True, shaped)

    return batch


def _spread(x: Any, is_batched: bool, size: int) -> Any:
    return x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))


def _one_after_the_other(function: Call, batched: Any, arguments: Any) -> Any:
    leaves, tree = jax.tree.flatten(arguments)
    which = jax.tree.leaves(batched)

    def one(moving: Any) -> Any:
        given = iter(moving)
        return function(
            *jax.tree.unflatten(tree, [next(given) if b else x for x, b in zip(leaves, which, strict=True)])
        )

    results = jax.lax.map(one, [x for x, b in zip(leaves, which, strict=True) if b])
    return results, jax.tree.map(lambda _: True, results)


def at_one(many: Call, points: int) -> Call:
    """A function of single points, of one of points with a leading axis."""

    def one(*arguments: Any) -> Any:
        cut = len(arguments) - points
        lifted = jax.tree.map(lambda x: jnp.asarray(x)[None], arguments[cut:])
        return jax.tree.map(lambda x: x[0], many(*arguments[:cut], *lifted))

    return one


def any_axes(many: Call) -> Call:
    """A function of (others, …, points) with any leading axes of the points, of one that takes a single one."""

    def call(*arguments: Any) -> Any:
        *others, points = arguments
        lead = jnp.shape(points)[:-1]
        results = many(*others, jnp.reshape(points, (-1, jnp.shape(points)[-1])))
        return jax.tree.map(lambda x: jnp.reshape(x, (*lead, *x.shape[1:])), results)

    return call


# -- derivatives ----------------------------------------------------------------------------------------------


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
            _refuse(known, "data")
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
            _refuse(known, "data")
            _refuse(params, "params, of a gradient,")
            dz = _instantiated(dz, primals[2])
            value, gradient = call(*primals)
            return (value, gradient), (jnp.sum(gradient * dz), self.hvp(*primals, dz))

        call.defjvp(derivative, symbolic_zeros=True)
        return call

    @cached_property
    def hvp(self) -> Call:
        """Of (known, params, z, v): the Hessian times v."""

        @jax.custom_jvp
        def call(known: Any, params: Any, z: Any, v: Any) -> Any:
            return self.product(known, params, z, v)

        def derivative(primals: Any, tangents: Any) -> Any:
            for tangent, what in zip(tangents, ("data", "params, of a Hessian,", "z, of a Hessian,"), strict=False):
                _refuse(tangent, what)
            known, params, z, v = primals
            return call(*primals), call(known, params, z, _instantiated(tangents[3], v))

        call.defjvp(derivative, symbolic_zeros=True)
        return call

    def hessian(self, known: Any, params: Any, z: Any) -> Any:
        """Of one point, (dim, dim)."""
        return jax.vmap(lambda v: self.hvp(known, params, z, v))(jnp.eye(z.shape[0], dtype=z.dtype))

    def _along_params(self, primals: Any, tangents: Any) -> Any:
        if self.of_params is None or _is_constant(tangents):
            return 0.0
        gradients = self.of_params(*primals)
        moved = jax.tree.map(_instantiated, tangents, primals[1], is_leaf=_is_zero)
        return sum(jnp.sum(g * t) for g, t in zip(jax.tree.leaves(gradients), jax.tree.leaves(moved), strict=True))


def without_derivative(function: Call, what: str) -> Call:
    """A function that refuses to be differentiated; `what` names its arguments."""

    @jax.custom_jvp
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    def refused(primals: Any, tangents: Any) -> Any:
        _refuse(tangents, what)
        results = call(*primals)
        return results, jax.tree.map(zero_from_primal, results)

    call.defjvp(refused, symbolic_zeros=True)
    return call


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
        _refuse(known, "data")
        _refuse(params, "params, of the log joint,")
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
                raise _no_derivative(what)
        arguments = jax.tree.map(lambda p: p.value, primals, is_leaf=_is_primal)
        return call(*arguments), arguments

    def back(arguments: Any, cotangents: Any) -> Any:
        known, params, _ = arguments
        zeros = jax.tree.map(_no_cotangent, (known, params))
        wholly = jax.tree.map(lambda c: jnp.zeros(c.shape, c.dtype) if _is_zero(c) else c, cotangents, is_leaf=_is_zero)
        return *zeros, backward(*arguments, wholly)

    call.defvjp(remembered, back, symbolic_zeros=True)
    return call


def _is_primal(x: Any) -> bool:
    return isinstance(x, CustomVJPPrimal)


def _no_cotangent(x: Any) -> Any:
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.zeros_like(x)
    return np.zeros(jnp.shape(x), jax.dtypes.float0)


def _refuse(tangents: Any, what: str) -> None:
    if not _is_constant(tangents):
        raise _no_derivative(what)


def _no_derivative(what: str) -> ArtifactError:
    return ArtifactError(
        f"a loaded model has no derivative with respect to {what} since none was saved: compile the model from its "
        "source (docs/artifacts.md has what is saved)"
    )


def _is_constant(tangents: Any) -> bool:
    return all(map(_is_zero, jax.tree.leaves(tangents, is_leaf=_is_zero)))


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _instantiated(tangent: Any, primal: Any) -> Any:
    return zero_from_primal(primal) if _is_zero(tangent) else tangent


__all__ = ["Density", "any_axes", "at_one", "over_points", "pulled_back", "with_derivative", "without_derivative"]
