"""Members of an array at known places, by the cheapest code: slices and reshapes where the places count up.

A gather has a scatter for its gradient, which is slow on every device.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np


def rows_of(x: Any, rows: np.ndarray) -> Any:
    """Rows of an array: a slice where they follow one another."""
    if len(rows) == len(x) and (rows == np.arange(len(x))).all():
        return x
    steps = np.diff(rows)
    if len(rows) > 1 and steps[0] > 0 and (steps == steps[0]).all():
        return x[int(rows[0]) : int(rows[-1]) + 1 : int(steps[0])]
    grid = _grid(rows)
    if grid is not None:
        (a, b), (outer, inner) = grid
        if outer == 0:  # a loop in a loop, which counts alone
            return jnp.tile(rows_of(x, rows[:b]), (a, *(1,) * (x.ndim - 1)))
        if inner == 0:
            return jnp.repeat(rows_of(x, rows[::b]), b, axis=0)
        if (outer, inner) == (1, a) and a * b == len(x):
            return jnp.reshape(jnp.swapaxes(jnp.reshape(x, (b, a, *x.shape[1:])), 0, 1), x.shape)
    return jnp.take(x, rows, axis=0, mode="clip")


def _grid(rows: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Rows that count up in two loops: how often each runs, and by how much it counts; None for others."""
    steps = np.diff(rows)
    if len(rows) < 4:
        return None
    b = 1 + int(np.argmax(np.append(steps, steps[0] + 1) != steps[0]))
    if len(rows) % b or b in (1, len(rows)):
        return None
    table = rows.reshape(-1, b)
    outer = int(table[1, 0] - table[0, 0])
    expected = rows[0] + outer * np.arange(len(table))[:, None] + steps[0] * np.arange(b)
    return ((len(table), b), (outer, int(steps[0]))) if (table == expected).all() else None


def parts_of(x: Any, starts: np.ndarray, size: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    """Parts of an array, of equal size, stacked: (members, *size)."""
    varies = [d for d in range(x.ndim) if len(set(starts[:, d])) > 1]
    stops = starts[0] + (np.array(size) - 1) * np.array(strides) + 1
    fixed = [slice(int(a), int(b), step) for a, b, step in zip(starts[0], stops, strides, strict=True)]
    x = x[tuple(slice(None) if d in varies else fixed[d] for d in range(x.ndim))]
    rest = [d for d in range(x.ndim) if d not in varies]
    x = jnp.transpose(x, (*varies, *rest))
    lead = x.shape[: len(varies)]
    index = np.zeros((len(starts),) + (1,) * len(varies), np.int64)
    for k, d in enumerate(varies):
        along = starts[:, d, None] + strides[d] * np.arange(size[d])
        at = along.reshape(len(starts), *(size[d] if j == k else 1 for j in range(len(varies))))
        index = index * lead[k] + at
    flat = rows_of(x.reshape(-1, *x.shape[len(varies) :]), index.ravel())
    found = flat.reshape(len(starts), *(size[d] for d in varies), *x.shape[len(varies) :])
    back = np.argsort([*varies, *rest]) + 1
    return jnp.transpose(found, (0, *back))


__all__ = ["parts_of", "rows_of"]
