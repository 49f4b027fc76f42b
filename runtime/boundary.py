"""From values by the user's sites to values as a program takes them: checked, families packed, in the sites' dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.compiler.members import Stack, expected_shapes, stacked
from plait.ir.types import Loc, Shape
from plait.runtime.given import in_dtype
from plait.runtime.names import leading_axes, ordered_values, require_clear_families, require_dict, unknown_names
from plait.runtime.program import Program

LineOf = Callable[[str], Loc | None]


def latent_values(
    program: Program, values: Mapping[str, Any], expected: Mapping[str, Shape], batch: Shape, line_of: LineOf
) -> tuple[Any, ...]:
    """The latents' values, in the program's order.

    Args:
        program: whose latents they are.
        values: by site or family.
        expected: the shapes of all that have to be given.
        batch: leading axes that all values have.
        line_of: a site in the model.

    Raises:
        ValueNamesError: a value is missing, unknown or misshaped, or its dtype can't be the site's.
    """
    require_clear_families(values, expected, program.families)
    given = dict(zip(expected, ordered_values(values, expected, "latent", line_of, batch), strict=True))
    shapes = {name: t.shape for name, t in program.latents.items()}
    whole = stacked(given, shapes, program.families, len(batch))
    return tuple(
        in_dtype(whole[name], t.dtype, f"latent {name!r}", partial(line_of, name))
        for name, t in program.latents.items()
    )


def given_sites(
    program: Program, sites: Mapping[str, Shape], given: Mapping[str, Any], shape: Shape, line_of: LineOf
) -> tuple[dict[str, Any], Shape]:
    """Values of sites that the sampler does not draw.

    Args:
        program: whose sites they are.
        sites: the shapes of all that is drawn.
        given: values of some of them, by site or family.
        shape: of the draws.
        line_of: a site in the model.

    Returns:
        By site or family the values for each draw, stacked; of a family of which some members are given a pair of
        values and which elements count. And the leading axes of the draws.
    """
    require_dict(given, "site")
    known = expected_shapes(given, sites, program.families)
    require_clear_families(given, known, program.families)
    unknown_names(given.keys(), list(known), "site")
    expected = {name: known[name] for name in given}
    batch = leading_axes(given, expected, "site")
    found = dict(zip(expected, ordered_values(given, expected, "site", line_of, batch), strict=True))
    lead = (*shape, *batch)
    fixed: dict[str, Any] = {}
    for name, own in sites.items():
        members = program.families[name].names if name in program.families and name not in found else (name,)
        mine = {member: found[member] for member in members if member in found}
        if not mine:
            continue
        value, counts = _whole(name, own, members, mine, program.families, batch)
        if name in program.latents:
            value = in_dtype(value, program.latents[name].dtype, f"site {name!r}", partial(line_of, name))
        fixed[name] = _each(value, lead, own)
        if counts is not None:
            fixed[name] = (fixed[name], _each(counts, lead, own))
    return fixed, lead


def _whole(
    name: str,
    shape: Shape,
    members: tuple[str, ...],
    given: dict[str, Any],
    families: Mapping[str, Stack],
    batch: Shape,
) -> tuple[Any, Any]:
    """A site's value, or a family's of which some members are given, and then which elements these are."""
    if len(given) == len(members):
        return stacked(given, {name: shape}, families, len(batch))[name], None
    one = next(iter(given.values()))
    counts = {m: np.full(one.shape, m in given) for m in members}
    filled = {m: given.get(m, np.zeros_like(one)) for m in members}
    parts = ({name: shape}, families, len(batch))
    return stacked(filled, *parts)[name], stacked(counts, *parts)[name]


def _each(x: Any, lead: Shape, shape: Shape) -> Any:
    """A value for each draw."""
    return jnp.reshape(jnp.broadcast_to(x, lead + shape), (math.prod(lead), *shape))


__all__ = ["given_sites", "latent_values"]
