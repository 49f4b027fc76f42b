"""Exported functions as JAX can use them inside jit, vmap and scan.

jax.export has no batching of what it exported. So each function of a point is exported with a leading axis of points,
of any length; here vmap becomes that axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from plait.runtime.artifact.refused_derivatives import without_derivative

Call = Callable[..., Any]


def over_points(many: Call, points: int) -> Call:
    """A function of which the last `points` arguments may have any leading axes, of one that takes a single such axis.

    Of the other arguments several at once are taken one after the other. It has no derivative.

    Args:
        many: of (others, …, points, …); its results have the points' leading axis.
        points: how many arguments are pytrees of arrays with that axis.
    """

    @custom_vmap
    def batch(*arguments: Any) -> Any:
        return _of_some(many, points, arguments)

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

    return without_derivative(batch, "a value that this function takes")


def _of_some(many: Call, points: int, arguments: Any) -> Any:
    """The results at these points, be there none; jax exports an axis from length one on."""
    cut = len(arguments) - points
    leaves = jax.tree.leaves(arguments[cut:])
    if not leaves or jnp.shape(leaves[0])[0]:
        return many(*arguments)
    one = jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), arguments[cut:])
    return jax.tree.map(lambda x: x[:0], many(*arguments[:cut], *one))


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
        *lead, size = jnp.shape(points)
        results = many(*others, jnp.reshape(points, (math.prod(lead), size)))
        return jax.tree.map(lambda x: jnp.reshape(x, (*lead, *x.shape[1:])), results)

    return call


__all__ = ["any_axes", "at_one", "over_points"]
