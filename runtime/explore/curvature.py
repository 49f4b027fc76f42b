"""Which entries of the flat vector the log density couples: the Hessian's pattern, and what it says of the sites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.runtime.compiled import CompiledModel
from plait.runtime.random_values import random_vector

POINTS = 3  # at which an entry has to be 0 to be taken for one
LARGEST = 1000  # flat vector whose Hessian is computed


@dataclass(frozen=True)
class Pattern:
    """Where the Hessian is not zero.

    Attributes:
        dim: of the flat vector.
        blocks: (site, offset, size) in its order.
        nonzero: shape (dim, dim), symmetric.
        places: for each entry its index along each plate of its site.
    """

    dim: int
    blocks: tuple[tuple[str, int, int], ...]
    nonzero: np.ndarray
    places: Sequence[dict[str, int]]


def hessian(compiled: CompiledModel, seed: int) -> tuple[dict[str, Any] | None, str, list[dict[str, Any]]]:
    """The pattern of the Hessian as the page takes it; why there is none; and how sites are coupled.

    Args:
        compiled: the model.
        seed: of the random points.
    """
    if not compiled.has_log_density:
        return None, "The model has no density of an unconstrained vector, hence no Hessian.", []
    if compiled.dim > LARGEST:
        return None, f"The flat vector has {compiled.dim:,} entries; the pattern is computed of up to {LARGEST:,}.", []
    if not compiled.dim:
        return None, "The model has no latents.", []
    pattern = _pattern(compiled, seed)
    rows, columns = np.nonzero(np.tril(pattern.nonzero))
    found = {
        "dim": pattern.dim,
        "entries": list(compiled.names),
        "blocks": [{"site": site, "offset": offset, "size": size} for site, offset, size in pattern.blocks],
        "nonzeros": np.stack([rows, columns], 1).tolist(),
        "about": f"Entries of the Hessian of the log density that are not 0 at one of {POINTS} random points.",
    }
    return found, "", list(_coupling(pattern))


def _pattern(compiled: CompiledModel, seed: int) -> Pattern:
    nonzero = np.zeros((compiled.dim, compiled.dim), bool)
    for i in range(POINTS):
        # NaN is no proof of a zero
        nonzero |= np.asarray(compiled.hessian(random_vector(compiled, seed + i))) != 0
    places: list[dict[str, int]] = []
    blocks = []
    for slot in compiled._slots:
        t = slot.unconstrained
        blocks.append((slot.name, slot.offset, t.size))
        axes = (*slot.value.axes, *[None] * t.ndim)[: t.ndim]
        places += [_places(axes, index) for index in np.ndindex(*t.shape)]
    return Pattern(compiled.dim, tuple(blocks), nonzero | nonzero.T, places)


def _places(axes: Sequence[str | None], index: Sequence[int]) -> dict[str, int]:
    return {axis: i for axis, i in zip(axes, index, strict=True) if axis is not None}


def _coupling(pattern: Pattern) -> Iterator[dict[str, Any]]:
    """For each pair of sites how their entries are coupled, and along which plates only within an element."""
    for i, (a, start, size) in enumerate(pattern.blocks):
        for b, other, width in pattern.blocks[: i + 1]:
            block = pattern.nonzero[start : start + size, other : other + width]
            yield {"a": b, "b": a, **_how(pattern, block, start, other)}


def _how(pattern: Pattern, block: np.ndarray, start: int, other: int) -> dict[str, Any]:
    pairs = np.argwhere(block)
    if not len(pairs):
        return {"how": "none", "along": None}
    shared = [p for p in pattern.places[start] if p in pattern.places[other]]
    here, there = pattern.places[start:], pattern.places[other:]
    within = [p for p in shared if all(here[i][p] == there[j][p] for i, j in pairs)]
    is_diagonal = block.shape[0] == block.shape[1] and not block[~np.eye(len(block), dtype=bool)].any()
    how = "dense" if block.all() else "diagonal" if is_diagonal else "sparse"
    return {"how": how, "along": " × ".join(within) or None}


__all__ = ["LARGEST", "hessian"]
