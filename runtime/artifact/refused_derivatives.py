"""Derivatives that no file has: who asks for one is told so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from plait.ir.errors import ArtifactError

Call = Callable[..., Any]


def without_derivative(function: Call, what: str) -> Call:
    """A function that refuses to be differentiated; `what` names its arguments."""

    @jax.custom_jvp
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    def refused(primals: Any, tangents: Any) -> Any:
        refuse_tangents(tangents, what)
        results = call(*primals)
        return results, jax.tree.map(zero_from_primal, results)

    call.defjvp(refused, symbolic_zeros=True)
    return call


def refuse_tangents(tangents: Any, what: str) -> None:
    """Raises ArtifactError where a function is differentiated along any of these symbolic tangents."""
    if not is_constant(tangents):
        raise no_derivative(what)


def no_derivative(what: str) -> ArtifactError:
    """The error, with the name of the arguments."""
    return ArtifactError(
        f"a loaded model has no derivative with respect to {what} since none was saved: compile the model from its "
        "source (docs/artifacts.md has what is saved)"
    )


def is_constant(tangents: Any) -> bool:
    """Whether all tangents are symbolic zeros."""
    return all(map(is_zero, jax.tree.leaves(tangents, is_leaf=is_zero)))


def is_zero(tangent: Any) -> bool:
    """Whether a tangent is a symbolic zero."""
    return isinstance(tangent, SymbolicZero)


__all__ = ["is_constant", "is_zero", "no_derivative", "refuse_tangents", "without_derivative"]
