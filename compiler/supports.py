"""Supports of latent sites: where they come from, and what of them is left in unconstrained space."""

from __future__ import annotations

from typing import Any

import jax
from numpyro.distributions import biject_to, constraints

from plait.compiler.memo import remembered
from plait.compiler.staged import struct
from plait.ir.spec import Part, Static, flatten, rebuild
from plait.ir.types import ArrayType

# the support of a latent in a loop or branch that only the body knows
KNOWN_INSIDE = Static(None)


@remembered
def support_of(dist: Part, leaves: tuple[ArrayType, ...]) -> tuple[Part, Any]:
    """A distribution's support and the jaxpr from the distribution's leaves to the support's."""
    found: list[Part] = []

    def leaves_of_support(*xs: Any) -> list[Any]:
        arrays, part = flatten(rebuild(dist, xs).support, "the support")
        found.append(part)
        return arrays

    closed = jax.make_jaxpr(leaves_of_support)(*map(struct, leaves))
    return found[-1], closed


@remembered
def unconstrained_type(support: Part, leaves: tuple[ArrayType, ...], value: ArrayType) -> ArrayType:
    """The type of a site's unconstrained value.

    Raises:
        NotImplementedError: NumPyro has no bijection onto the support.
    """

    def inverse(x: Any, *xs: Any) -> Any:
        return biject_to(rebuild(support, xs)).inv(x)

    out = jax.eval_shape(inverse, struct(value), *map(struct, leaves))
    return ArrayType(out.dtype, tuple(out.shape))


def is_real(support: Part) -> bool:
    """Whether every number is allowed, so that there is nothing to check or to transform."""
    return is_real_constraint(support.value if isinstance(support, Static) else None)


def is_real_constraint(constraint: Any) -> bool:
    """The same of a constraint of NumPyro's."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return any(constraint is c for c in (constraints.real, constraints.real_vector, constraints.real_matrix))


def is_known_inside(support: Part) -> bool:
    """Whether a latent in a loop or branch has a support that only the body knows."""
    return support == KNOWN_INSIDE
