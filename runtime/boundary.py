"""From values by the user's sites to values as a program takes them: checked, families packed, in the sites' dtypes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.compiler.members import Stack, expected_shapes, stacked
from plait.ir.names import unknown_names
from plait.ir.types import Shape
from plait.runtime.description import Description
from plait.runtime.given import in_dtype
from plait.runtime.names import leading_axes, ordered_values, require_clear_families, require_dict


def latent_values(
    about: Description, values: Mapping[str, Any], expected: Mapping[str, Shape], batch: Shape
) -> tuple[Any, ...]:
    """The latents' values, in the program's order.

    Args:
        about: the program whose latents they are.
        values: by site or family.
        expected: the shapes of all that have to be given.
        batch: leading axes that all values have.

    Raises:
        ValueNamesError: a value is missing, unknown or misshaped, or its dtype can't be the site's.
    """
    require_clear_families(values, expected, about.families)
    given = dict(zip(expected, ordered_values(values, expected, "latent", about.lines.get, batch), strict=True))
    shapes = {name: t.shape for name, t in about.latents.items()}
    whole = stacked(given, shapes, about.families, len(batch))
    return tuple(
        in_dtype(whole[name], t.dtype, f"latent {name!r}", partial(about.lines.get, name))
        for name, t in about.latents.items()
    )


def given_sites(about: Description, given: Mapping[str, Any], shape: Shape) -> tuple[dict[str, Any], Shape]:
    """Values of sites that the sampler does not draw.

    Args:
        about: the program whose sites they are.
        given: values of some of them, by site or family.
        shape: of the draws.

    Returns:
        By site or family the values for each draw, stacked; of a family of which some members are given a pair of
        values and which elements count. And the leading axes of the draws.
    """
    require_dict(given, "site")
    known = expected_shapes(given, about.sites, about.families)
    require_clear_families(given, known, about.families)
    unknown_names(given.keys(), list(known), "site")
    expected = {name: known[name] for name in given}
    batch = leading_axes(given, expected, "site")
    found = dict(zip(expected, ordered_values(given, expected, "site", about.lines.get, batch), strict=True))
    lead = (*shape, *batch)
    fixed: dict[str, Any] = {}
    for name, own in about.sites.items():
        members = about.families[name].names if name in about.families and name not in found else (name,)
        mine = {member: found[member] for member in members if member in found}
        if not mine:
            continue
        value, counts = _whole(name, own, members, mine, about.families, batch)
        if name in about.latents:
            value = in_dtype(value, about.latents[name].dtype, f"site {name!r}", partial(about.lines.get, name))
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
