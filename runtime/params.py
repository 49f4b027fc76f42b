"""Values of `param` sites: a separate, named argument of the densities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from plait.compiler.refused_data import shown
from plait.ir.errors import PlaitError, ValueNamesError
from plait.ir.names import unknown_names
from plait.runtime.description import ParamArray, ParamSites
from plait.runtime.given import in_dtype, numbers
from plait.runtime.names import require_dict


def packed(sites: ParamSites, arrays: Sequence[Any]) -> dict[str, Any]:
    """By site: an array, or a module's pytree, with None for what the model does not read of it."""
    leaves: dict[str, list[Any]] = {name: [None] * tree.num_leaves for name, tree in sites.trees.items()}
    for site, value in zip(sites.arrays, arrays, strict=True):
        leaves[site.name][site.part] = value
    return {name: jax.tree.unflatten(tree, leaves[name]) for name, tree in sites.trees.items()}


def unpacked(sites: ParamSites, given: Mapping[str, Any], default: Sequence[Any] | None) -> tuple[Any, ...]:
    """The arrays of values by site; sites that are not given keep the default.

    Raises:
        ValueNamesError: an unknown site, a wrong structure or shape, or a value that is missing and has no default.
    """
    require_dict(given, "param")
    sizes = Counter(site.name for site in sites.arrays)
    unknown_names(given.keys(), list(sizes), "param")
    leaves = {name: iter(_leaves(name, tree, sizes[name])) for name, tree in given.items()}
    defaults = default or (None,) * len(sites.arrays)
    return tuple(_leaf(site, leaves, fallback) for site, fallback in zip(sites.arrays, defaults, strict=True))


def refuse_not_allowed(
    site: ParamArray, value: np.ndarray, inside: np.ndarray, how: str, error: type[PlaitError]
) -> None:
    """Raises where a value does not satisfy its constraint.

    Args:
        site: of the value.
        value: on the host.
        inside: where it satisfies the constraint.
        how: the value came there.
        error: what to raise.
    """
    if not inside.all():
        got = shown(value[~inside].flat[:1] if inside.shape == value.shape else value)
        raise error(f"param {site.name!r}{site.path} {how} {got}, outside its constraint ({site.allowed})", site.loc)


def _leaves(name: str, tree: Any, size: int) -> list[Any]:
    if size == 1 and isinstance(tree, (list, tuple)):
        tree = numbers(tree, f"the value of param {name!r}")
    leaves = jax.tree.leaves(tree)
    if leaves and len(leaves) != size:
        raise ValueNamesError(f"param {name!r} consists of {size} arrays, got {len(leaves)}")
    return leaves


def _leaf(site: ParamArray, leaves: Mapping[str, Any], default: Any) -> Any:
    what = f"param {site.name!r}{site.path}"
    value = next(leaves[site.name], None) if site.name in leaves else default
    value = None if value is None else numbers(value, f"the value of {what}")
    if value is None or value.shape != site.type.shape:
        got = "none" if value is None else f"shape {value.shape}"
        raise ValueNamesError(f"{what} needs a value of shape {site.type.shape}, got {got}", site.loc)
    return in_dtype(value, site.type.dtype, what)


__all__ = ["packed", "refuse_not_allowed", "unpacked"]
