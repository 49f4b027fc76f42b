"""Looks for what makes a compiled density infinite or NaN at a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.nonfinite.find import Point, find
from plait.compiler.nonfinite.frames import Frame
from plait.compiler.nonfinite.report import NonFinite
from plait.ir.ops import Input, Param, Value, inputs
from plait.runtime.names import flat_names
from plait.runtime.program import Program

Arrays = Sequence[Any]


def at_flat(program: Program, data: Arrays, known: Arrays, params: Arrays, z: Any) -> NonFinite | None:
    """The first thing that is not finite of `log_density` at a flat vector.

    Args:
        program: of the model.
        data: its data arrays.
        known: what its log density reads of `prepare`'s results.
        params: the arrays of its params.
        z: shape (dim,).
    """
    value, gradient = program.log_density_and_grad(known, params, z)
    names = flat_names(program.lowered.slots, program.families)
    return find(_point(program, data, params, (z,), True), float(value), dict(zip(names, gradient, strict=True)))


def at_values(program: Program, data: Arrays, known: Arrays, params: Arrays, values: Arrays) -> NonFinite | None:
    """The first thing that is not finite of `log_joint` at constrained values.

    Args:
        program: of the model.
        data: its data arrays.
        known: what its log joint reads of `prepare`'s results.
        params: the arrays of its params.
        values: of its latents, in order.
    """
    floats = {i: x for i, x in enumerate(values) if jnp.issubdtype(x.dtype, np.inexact)}

    def log_joint(moved: dict[int, Any]) -> Any:
        return program.log_joint(known, params, tuple(moved.get(i, x) for i, x in enumerate(values)))

    value, gradient = jax.value_and_grad(log_joint)(floats) if floats else (log_joint({}), {})
    names = list(program.latents)
    by_name = {names[i]: np.asarray(g) for i, g in gradient.items()}
    return find(_point(program, data, params, values, False), float(value), by_name)


def _point(program: Program, data: Arrays, params: Arrays, at: Arrays, unconstrained: bool) -> Point:
    graph = dict(program.history)["unconstrain"]
    given = dict(zip(inputs(graph, Input.DATA), data, strict=True))
    given |= zip(graph.of(Param), params, strict=True)
    given |= zip(inputs(graph, Input.FLAT) if unconstrained else graph.of(Value), at, strict=True)
    return Point(program.traced, program.model, Frame(graph, given), program.families, unconstrained)


__all__ = ["at_flat", "at_values"]
