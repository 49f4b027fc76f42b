"""The statistics of rows are their sum of squares, at every coefficient and in every cell."""

import numpy as np
import pytest

from plait.compiler.kernels import least_squares as module
from plait.compiler.kernels.least_squares import Statistics, least_squares

F64, F32 = np.dtype("float64"), np.dtype("float32")
RNG = np.random.default_rng(0)


def sum_of_squares(s: Statistics, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """From the statistics, in extended precision; of each cell where nothing is common."""
    local, common = (np.asarray(x, np.longdouble) for x in (a - s.local_centre, b - s.common_centre))
    left = np.einsum("cij,cj->ci", s.local, local) + s.mixed @ common - s.local_rest
    rest = s.common @ common - s.common_rest
    return np.sum(left**2, axis=1) + s.residual + (np.arange(len(left)) == 0) * (rest @ rest)


def by_rows(y, weights, local, common, cell, a, b) -> np.ndarray:
    """The terms of the sum in extended precision."""
    y, weights, local, common = (np.asarray(x, np.longdouble) for x in (y, weights, local, common))
    fit = np.sum(local * a[cell], axis=1) + common @ np.asarray(b, np.longdouble)
    return np.where(weights > 0, weights * (y - fit) ** 2, 0)


def case(n: int, cells: int, k: int, p: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    y, weights = rng.normal(3, 2, n), rng.uniform(0.1, 2, n) * (rng.uniform(size=n) < 0.9)
    cell = rng.choice(np.arange(cells)[: max(cells - 1, 1)], n)  # the last of several is empty
    return y, weights, rng.normal(size=(n, k)), rng.normal(size=(n, p)), cell


SHAPES = [
    (50, 1, 0, 0), (50, 1, 0, 3), (50, 1, 2, 0), (50, 1, 2, 2), (50, 4, 0, 0), (50, 4, 0, 2), (50, 4, 2, 0),
    (50, 4, 2, 3), (3, 1, 0, 5), (3, 4, 2, 2), (1, 1, 0, 1), (0, 1, 0, 2), (0, 3, 1, 1), (0, 3, 1, 0),
    (5000, 1, 0, 3), (5000, 7, 1, 2), (300, 90, 2, 1),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "-".join(map(str, s)))
def test_the_statistics_are_the_sum_of_squares_everywhere(shape, dtype: np.dtype) -> None:
    _, cells, k, p = shape
    rows = case(*shape)
    s = least_squares(*rows, cells, dtype)
    for centre in (s.local_centre, s.common_centre):
        np.testing.assert_array_equal(centre, centre.astype(dtype))
    for size in (0.0, 1.0, 1e6):
        a, b = size * RNG.normal(size=(cells, k)), size * RNG.normal(size=p)
        terms = by_rows(*rows, a, b)
        got = sum_of_squares(s, a, b)
        np.testing.assert_allclose(float(np.sum(got)), float(np.sum(terms)), rtol=1e-13, atol=1e-13)
        if not p:
            each = np.array([float(np.sum(terms[rows[-1] == c])) for c in range(cells)])
            np.testing.assert_allclose(np.asarray(got, float), each, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] > s[1] * s[2] + s[3]], ids=lambda s: "-".join(map(str, s)))
def test_the_centre_is_as_good_as_the_least_squares(shape) -> None:
    """But for directions that the rows hardly determine; what it lacks is no more than noise in each of them."""
    n, cells, k, p = shape
    y, weights, local, common, cell = case(*shape)
    s = least_squares(y, weights, local, common, cell, cells, F64)
    design = np.zeros((n, cells * k + p))
    for j in range(k):
        design[np.arange(n), cell * k + j] = local[:, j]
    design[:, cells * k :] = common
    root = np.sqrt(weights)
    best = np.linalg.lstsq(root[:, None] * design, root * y)[0]
    least = np.sum((root * (y - design @ best)) ** 2)
    found = float(np.sum(sum_of_squares(s, s.local_centre, s.common_centre)))
    noise = least / max(np.sum(weights > 0) - np.linalg.matrix_rank(root[:, None] * design), 1)
    assert found <= least + (1 + module.SIGNIFICANT**2) * noise * max(design.shape[1], 1) * 2 + 1e-9
    np.testing.assert_allclose(float(np.sum(s.residual)), least, rtol=1e-10, atol=1e-10)


def test_large_means_and_small_spreads_keep_their_digits() -> None:
    e = np.asarray(RNG.normal(size=1000), np.longdouble)
    y = np.asarray(1e8 + 0.01 * e, float)
    s = least_squares(y, np.ones(1000), np.ones((1000, 0)), np.ones((1000, 1)), np.zeros(1000, int), 1, F64)
    exact = np.asarray(y, np.longdouble) - np.mean(np.asarray(y, np.longdouble))
    np.testing.assert_allclose(s.residual[0], float(np.sum(exact**2)), rtol=1e-12)
    assert abs(s.common_centre[0] - 1e8) < 0.01


def test_rows_of_weight_zero_may_hold_anything() -> None:
    y, weights, local, common, cell = case(60, 3, 1, 2)
    out = weights == 0
    assert out.any()
    before = least_squares(y, weights, local, common, cell, 3, F64)
    y, local, common = (np.where(out if x.ndim == 1 else out[:, None], np.nan, x) for x in (y, local, common))
    after = least_squares(y, weights, local, common, cell, 3, F64)
    for name in Statistics.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_a_direction_that_rows_do_not_determine_has_a_small_centre() -> None:
    """The least-squares coefficients of two columns that differ by rounding are noise over next to nothing."""
    x = RNG.normal(size=200)
    near = np.column_stack([x, x + 1e-8 * RNG.normal(size=200)])
    y = 2 * x + RNG.normal(size=200)
    assert np.abs(np.linalg.lstsq(near, y)[0]).max() > 1e4
    s = least_squares(y, np.ones(200), near[:, :0], near, np.zeros(200, int), 1, F32)
    assert np.abs(s.common_centre).max() < 2.5


def test_the_ways_to_a_triangle_agree() -> None:
    """Many rows go through products of the columns, as long as those are far from collinear."""
    rows = RNG.normal(size=(3000, 4)) * [1, 1e-6, 1e6, 1]
    by_products = module._from_products(rows)
    assert by_products is not None
    compare(by_products, rows, 1e-13)
    rows[:, 3] = rows[:, 0] + 1e-5 * rows[:, 3]
    assert module._from_products(rows) is None
    compare(module.triangle(rows), rows, 1e-13)


def compare(r: np.ndarray, rows: np.ndarray, tolerance: float) -> None:
    """With numpy's of all rows at once, up to the signs of its rows; columns are measured by their lengths."""
    wanted = np.linalg.qr(rows, mode="r")
    np.testing.assert_array_equal(r, np.triu(r))
    assert np.max(np.abs(np.abs(r) - np.abs(wanted)) / np.linalg.norm(rows, axis=0)) < tolerance
