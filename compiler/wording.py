"""Sets of numbers in a statistician's words, for messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpyro.distributions import constraints

from plait.compiler.supports import is_known_inside
from plait.ir.spec import Part, Spec, Static, constraint_name, spec_text

_ONE_OF_A_KIND: tuple[tuple[constraints.Constraint, str], ...] = (
    (constraints.real, "finite numbers"),
    (constraints.positive, "positive numbers"),
    (constraints.softplus_positive, "positive numbers"),
    (constraints.nonnegative, "numbers from 0"),
    (constraints.unit_interval, "numbers from 0 to 1"),
    (constraints.boolean, "0 and 1"),
    (constraints.nonnegative_integer, "the integers 0, 1, 2, …"),
    (constraints.positive_integer, "the integers 1, 2, 3, …"),
    (constraints.circular, "angles from -π to π"),
    (constraints.simplex, "nonnegative vectors that sum to 1"),
    (constraints.ordered_vector, "vectors in increasing order"),
    (constraints.sphere, "vectors of length 1"),
    (constraints.lower_cholesky, "lower triangular matrices with a positive diagonal"),
    (constraints.softplus_lower_cholesky, "lower triangular matrices with a positive diagonal"),
    (constraints.corr_cholesky, "Cholesky factors of correlation matrices"),
    (constraints.corr_matrix, "correlation matrices"),
    (constraints.positive_definite, "symmetric positive definite matrices"),
    (constraints.positive_semidefinite, "symmetric positive semidefinite matrices"),
)
_WITH_BOUNDS: dict[Any, str] = {
    constraints.interval: "numbers from {lower_bound} to {upper_bound}",
    constraints.open_interval: "numbers between {lower_bound} and {upper_bound}",
    constraints.greater_than: "numbers above {lower_bound}",
    constraints.greater_than_eq: "numbers of at least {lower_bound}",
    constraints.less_than: "numbers below {upper_bound}",
    constraints.integer_interval: "the integers from {lower_bound} to {upper_bound}",
    constraints.integer_greater_than: "integers of at least {lower_bound}",
    constraints.multinomial: "counts that sum to {upper_bound}",
}


def in_words(allowed: Part | constraints.Constraint, names: Sequence[str] = ()) -> str:
    """``positive numbers``, ``the integers from 0 to 2``; what has no words here by the name of its class.

    Args:
        allowed: a set, taken apart or not.
        names: of the arrays that it was taken apart into.
    """
    if isinstance(allowed, Part) and is_known_inside(allowed):
        return "what its step or branch allows"
    if isinstance(allowed, Static):
        allowed = allowed.value
    if isinstance(allowed, Spec):
        if (inner := allowed.field("base_constraint")) is not None:
            return in_words(inner, names)
        pattern = _WITH_BOUNDS.get(allowed.cls)
        if pattern is None:
            return spec_text(allowed, names)
        return pattern.format(**{name: _number(spec_text(part, names)) for name, part in allowed.fields})
    if isinstance(allowed, constraints.independent):
        return in_words(allowed.base_constraint)
    for constraint, words in _ONE_OF_A_KIND:
        if allowed is constraint:
            return words
    pattern = _WITH_BOUNDS.get(type(allowed))
    if pattern is None:
        return constraint_name(allowed)
    return pattern.format(**{name: _number(f"{value}") for name, value in vars(allowed).items()})


def _number(text: str) -> str:
    return text.removesuffix(".0")


__all__ = ["in_words"]
