"""Least squares by cells: what is left of rows when all that varies are the coefficients.

For rows i in cell c with weights w, local columns Z, common columns X and a response y,

    Σ_i w_i (y_i − Z_i a_c − X_i b)² = Σ_c |R_c (a_c − a⁰_c) + S_c (b − b⁰) − u_c|² + |T (b − b⁰) − v|² + ρ²

by a QR decomposition of each cell's rows, and one of what the cells leave over (Golub & Van Loan, Matrix Computations,
5.3; the elimination of one cell after the other is that of sequential least squares, Lawson & Hanson, ch. 27). The
identity holds for whatever a⁰ and b⁰ are; they are the least-squares solution rounded to the dtype of the program, and
u and v are what that rounding and an ill-conditioned design leave over, so that neither loses digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RCOND = 1e-9  # directions of a design that are weaker than this have no say in the centre; u and v make up for it
SIGNIFICANT = 3.0  # times the noise: what the response has along a direction below this has no say either
BLOCK = 4096
TALL = 100  # times as many rows as columns
INDEPENDENT = 1e-3  # least length of a column of norm 1 after the others are taken out of it, for products to do


@dataclass(frozen=True)
class Statistics:
    """What rows leave, for C cells, k local and p common columns, all in float64 but centres that are exact in `dtype`.

    Attributes:
        local: R, upper triangular, of shape (C, k, k).
        mixed: S, of shape (C, k, p).
        common: T, upper triangular, of shape (p, p).
        local_centre: a⁰, of shape (C, k).
        common_centre: b⁰, of shape (p,).
        local_rest: u, of shape (C, k).
        common_rest: v, of shape (p,).
        residual: ρ², of shape (C,), or where there are common columns all of it in the first cell.
    """

    local: np.ndarray
    mixed: np.ndarray
    common: np.ndarray
    local_centre: np.ndarray
    common_centre: np.ndarray
    local_rest: np.ndarray
    common_rest: np.ndarray
    residual: np.ndarray


def least_squares(
    y: np.ndarray,
    weights: np.ndarray,
    local: np.ndarray,
    common: np.ndarray,
    cell: np.ndarray,
    n_cells: int,
    dtype: np.dtype,
) -> Statistics:
    """The statistics of rows.

    Args:
        y: the response, of shape (n,), less known offsets.
        weights: of shape (n,), at least 0; rows of weight 0 may hold anything.
        local: columns with a coefficient in each cell, (n, k).
        common: columns with one coefficient for all cells, (n, p).
        cell: of each row, (n,).
        n_cells: C; a cell may have no rows.
        dtype: the centres are numbers of this type.
    """
    counted = weights > 0
    if not counted.all():
        y, weights, local, common, cell = (x[counted] for x in (y, weights, local, common, cell))
    k, p = local.shape[1], common.shape[1]
    root = np.sqrt(weights)
    rows = np.column_stack([local, common, y])
    rows *= root[:, None]
    if not np.isfinite(rows.sum()):  # an infinity or NaN anywhere; finite rows may overflow, so look closely
        require_finite(rows)
    first = _Triangles(rows, cell, n_cells, k)
    a, b = (np.asarray(x.astype(dtype), np.float64) for x in first.solution(len(y)))
    # a second decomposition, of the residuals: the small numbers are computed from small numbers
    rows[:, -1] = root * (y - np.einsum("nk,nk->n", local, a[cell]) - common @ b)
    last = _Triangles(rows, cell, n_cells, k)
    return Statistics(
        last.cells[:, :k, :k],
        last.cells[:, :k, k : k + p],
        last.rest[:p, :p],
        a,
        b,
        last.cells[:, :k, k + p],
        last.rest[:p, p],
        last.residual,
    )


class NotFiniteError(Exception):
    """Data make something infinite; says what, and what to do."""


def require_finite(rows: np.ndarray) -> None:
    """Raises NotFiniteError where rows of a normal distribution have no finite density."""
    wrong = ~np.isfinite(rows).all(axis=1)
    if wrong.any():
        raise NotFiniteError(
            f"its mean or its scale infinite, or no number, in {wrong.sum()} of the rows that count; correct them, or "
            "mask these rows (handlers.mask)"
        )


class _Triangles:
    """The triangles of the cells' rows, and the one of what they leave over: of columns [local, common, response]."""

    def __init__(self, rows: np.ndarray, cell: np.ndarray, n_cells: int, k: int) -> None:
        self.k, width = k, rows.shape[1]
        if (k == 0 and width > 1) or (n_cells == 1 and k == 0):
            self.cells = np.zeros((n_cells, 0, width))
            over = rows
        else:
            triangles = _triangles(rows, cell, n_cells)
            self.cells = triangles[:, :k]
            over = triangles[:, k:, k:]
        if width - k == 1 and k + n_cells > 1:  # no common columns: each cell keeps its own residual
            self.rest = np.zeros((1, 1))
            self.residual = np.sum(over.reshape(n_cells, -1) ** 2, axis=1)
        else:
            self.rest = triangle(over.reshape(-1, width - k))
            self.residual = np.zeros(n_cells)
            self.residual[0] = self.rest[-1, -1] ** 2

    def solution(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Nearly the least-squares solution, small along directions that the `n` rows hardly determine.

        Along a weak direction the least-squares solution is noise over next to nothing: a centre that is far from all
        values that coefficients take costs them their digits.
        """
        k, p = self.k, self.rest.shape[0] - 1
        noise = np.sqrt(np.sum(self.residual) / max(n - len(self.cells) * k - p, 1))
        mixed, common = self.cells[:, :, k : k + p], self.rest[:p, :p]
        length = np.sqrt(np.sum(mixed**2, axis=(0, 1)) + np.sum(common**2, axis=0))  # before cells took their part
        b = _solved(common[None], self.rest[None, :p, p], length[None], noise)[0]
        local = self.cells[:, :, :k]
        return _solved(local, self.cells[:, :, -1] - mixed @ b, np.linalg.norm(local, axis=1), noise), b


def _solved(triangles: np.ndarray, right: np.ndarray, length: np.ndarray, noise: float) -> np.ndarray:
    """Solutions of (m, k, k) systems by the pseudo-inverse, after columns of these lengths are brought to length 1."""
    if not triangles.size:
        return np.zeros(triangles.shape[:1] + triangles.shape[2:])
    length = np.where(length > 0, length, 1.0)
    u, s, v = np.linalg.svd(triangles / length[:, None, :])
    along = np.einsum("mkj,mk->mj", u, right)
    counted = (s > RCOND) & (np.abs(along) > SIGNIFICANT * noise)
    return np.einsum("mji,mj->mi", v, np.divide(along, s, out=np.zeros_like(s), where=counted)) / length


def triangle(rows: np.ndarray) -> np.ndarray:
    """R of one tall matrix, square."""
    width = rows.shape[1]
    if len(rows) > TALL * width:
        by_products = _from_products(rows)
        if by_products is not None:
            return by_products
    block = max(4 * width, 2048)
    while len(rows) > block:
        n = -(-len(rows) // block)
        rows = _r(_padded(rows, n * block).reshape(n, block, width)).reshape(-1, width)
    return _r(_padded(rows, max(len(rows), width))[None])[0]


def _from_products(rows: np.ndarray) -> np.ndarray | None:
    """R by two rounds of Cholesky, an order of magnitude faster and, for columns that are far from collinear, as exact.

    Source: Yamamoto et al. (2015), Roundoff error analysis of the CholeskyQR2 algorithm, ETNA 44.
    """
    length = np.linalg.norm(rows, axis=0)
    if not length.all():
        return None
    r = np.diag(length)
    for _ in range(2):
        inverse, products = np.linalg.inv(r), np.zeros_like(r)
        for i in range(0, len(rows), BLOCK):  # memory that is touched once costs more than the arithmetic
            q = rows[i : i + BLOCK] @ inverse
            products += q.T @ q
        try:
            factor = np.linalg.cholesky(products).T
        except np.linalg.LinAlgError:
            return None
        if factor.diagonal().min() < INDEPENDENT:
            return None
        r = factor @ r
    return r


def _triangles(rows: np.ndarray, cell: np.ndarray, n_cells: int) -> np.ndarray:
    """R of each cell's rows, of shape (n_cells, width, width); cells of about one length are decomposed together."""
    width = rows.shape[1]
    rows = rows[np.argsort(cell, kind="stable")]
    counts = np.bincount(cell, minlength=n_cells)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    out = np.zeros((n_cells, width, width))
    room = np.maximum(2 ** np.ceil(np.log2(np.maximum(counts, 1))).astype(int), width)
    padded = np.concatenate([rows, np.zeros((1, width))])
    for length in np.unique(room[counts > 0]):
        members = np.flatnonzero((room == length) & (counts > 0))
        place = starts[members, None] + np.arange(length)
        place = np.where(np.arange(length) < counts[members, None], place, len(rows))
        out[members] = _r(padded[place])
    return out


def _r(stack: np.ndarray) -> np.ndarray:
    """R of each matrix of a stack, square."""
    return np.asarray(np.linalg.qr(stack, mode="r")) if len(stack) else np.zeros((0, stack.shape[-1], stack.shape[-1]))


def _padded(rows: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([rows, np.zeros((n - len(rows), rows.shape[1]))]) if len(rows) < n else rows


__all__ = ["NotFiniteError", "Statistics", "least_squares", "require_finite", "triangle"]
