"""A weighted sum of what is affine: how much each unknown counts, and a centre near which the sum keeps its digits.

Σ_i w_i (o_i + Z_i φ)  =  t·(φ − φ⁰) + c,   t = Zᵀw,   c = Σ_i w_i (o_i + Z_i φ⁰)

for whatever φ⁰ is. It is the least-squares solution of o + Z φ = 0 where there is an offset, so that c is a sum of
small numbers where data and predictor are large and near each other; else 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from plait.compiler.kernels.cells import OUTSIDE, LayoutChangedError
from plait.ir.types import Shape

STEPS = 100  # of the search for the centre


@dataclass(frozen=True)
class LinearSumStatistics:
    """Of the rows of a `LinearSum`.

    Called with the weights, then the offset where there is one, then for each block its positions and where it has any
    its coefficients.

    Attributes:
        n: the number of rows.
        sizes: of the unknowns, by source.
        has_offset: whether there is an offset.
        blocks: for each block its source, the number of its columns, and whether it has coefficients.
        dtype: of the program.
    """

    n: int
    sizes: tuple[int, ...]
    has_offset: bool
    blocks: tuple[tuple[int, int, bool], ...]
    dtype: np.dtype
    name: ClassVar[str] = "linear_sum_statistics"

    def shapes(self) -> dict[str, Shape]:
        """The results: for each unknown what it counts and where there is an offset its centre; and the constant."""
        total = sum(self.sizes)
        return {"unknowns": (2, total), "constant": ()} if self.has_offset else {"unknowns": (1, total)}

    def __call__(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """The statistics, in the order of `shapes`.

        Raises:
            LayoutChangedError: the rows can't be summed before they are known.
        """
        if not self.takes(arrays):
            raise LayoutChangedError("weights or coefficients are not finite, or an index is out of range")
        weight, offset, index, coefficient = self._read(arrays)
        total = sum(self.sizes)
        counts = np.bincount(index.ravel(), (weight[:, None] * coefficient).ravel(), total)
        if not self.has_offset:
            return (counts[None],)
        offset = np.where(weight == 0, 0.0, offset)
        centre = _centre(np.sqrt(np.abs(weight)), offset, index, coefficient, total).astype(self.dtype).astype(float)
        rest = offset + np.sum(coefficient * centre[index], axis=1)
        return np.stack([counts, centre]), np.asarray(np.sum(weight * rest))

    def takes(self, arrays: Sequence[np.ndarray]) -> bool:
        """Whether all that counts is finite and within its array."""
        weight, offset, index, coefficient = self._read(arrays)
        counted = weight != 0
        finite = (np.isfinite(x[counted]).all() for x in (weight, offset, coefficient))
        return all(finite) and bool(np.all(index >= 0))

    def _read(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Weights and offset of shape (n,), positions among all unknowns and coefficients of shape (n, columns)."""
        given = iter(arrays)
        weight = np.broadcast_to(next(given).ravel(), self.n).astype(float)
        offset = np.broadcast_to(next(given).ravel() if self.has_offset else 0.0, self.n).astype(float)
        starts = np.cumsum([0, *self.sizes])
        indices, coefficients = [], []
        for source, k, has in self.blocks:
            index = np.broadcast_to(next(given), (self.n, k))
            indices.append(np.where(index == OUTSIDE, OUTSIDE, index + starts[source]))
            coefficients.append(np.broadcast_to(next(given) if has else 1.0, (self.n, k)).astype(float))
        index, coefficient = np.concatenate(indices, axis=1), np.concatenate(coefficients, axis=1)
        counted = weight != 0
        return weight, offset, np.where(counted[:, None], index, 0), np.where(counted[:, None], coefficient, 0.0)


def _centre(root: np.ndarray, offset: np.ndarray, index: np.ndarray, coefficient: np.ndarray, total: int) -> np.ndarray:
    """φ that makes ``Σ root² (offset + Z φ)²`` small; how small is a matter of digits, and of no other."""
    n, k = index.shape
    rows = np.repeat(np.arange(n), k)
    design = scipy.sparse.csc_array(((root[:, None] * coefficient).ravel(), (rows, index.ravel())), (n, total))
    length = np.sqrt(np.asarray((design * design).sum(axis=0)).ravel())
    scale = 1 / np.where(length > 0, length, 1.0)
    design = design @ scipy.sparse.diags_array(scale)
    found = scipy.sparse.linalg.lsqr(design, -root * offset, atol=1e-15, btol=1e-15, iter_lim=STEPS)[0] * scale
    return found if np.isfinite(found).all() else np.zeros(total)


__all__ = ["LinearSumStatistics"]
