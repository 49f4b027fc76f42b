"""Values as Stan and BridgeStan order and name them: indices from 1, the first one fastest (column-major)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from plait.ir.errors import ValueNamesError
from plait.ir.types import Shape
from plait.runtime.given import numbers


def dotted(name: str, shape: Shape) -> Iterable[str]:
    """``theta.1``, ``L.2.1``: the entries of an array in C order; a scalar has the site's own name."""
    for index in itertools.product(*(range(1, n + 1) for n in shape)):
        yield ".".join([name, *map(str, index)])


def column_major(name: str, shape: Shape) -> Iterable[str]:
    """The same names with the first index fastest."""
    for index in itertools.product(*(range(1, n + 1) for n in reversed(shape))):
        yield ".".join([name, *map(str, reversed(index))])


def joined(values: Mapping[str, Any], shapes: Mapping[str, Shape], dtype: Any) -> Any:
    """Values by site, with any leading axes, as one vector (…, entries of all)."""
    parts = []
    for name, shape in shapes.items():
        x = jnp.asarray(values[name], dtype)
        lead = x.ndim - len(shape)
        parts.append(jnp.reshape(_reversed(x, lead), (*x.shape[:lead], math.prod(shape))))
    return jnp.concatenate(parts, axis=-1) if parts else jnp.zeros(0, dtype)


def split(theta: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The inverse of `joined`.

    Raises:
        ValueNamesError: the last axis has another length.
    """
    theta = numbers(theta, "the vector of constrained values")
    size = sum(map(math.prod, shapes.values()))
    if theta.shape[-1:] != (size,):
        raise ValueNamesError(f"the vector of constrained values has shape (…, {size}), got {theta.shape}")
    values, start = {}, 0
    for name, shape in shapes.items():
        part = theta[..., start : start + math.prod(shape)]
        start += math.prod(shape)
        values[name] = _reversed(jnp.reshape(part, (*part.shape[:-1], *reversed(shape))), part.ndim - 1)
    return values


def _reversed(x: Any, lead: int) -> Any:
    """The axes after the leading ones in the opposite order."""
    return jnp.transpose(x, (*range(lead), *reversed(range(lead, x.ndim))))


__all__ = ["column_major", "dotted", "joined", "split"]
