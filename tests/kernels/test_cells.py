"""Cells read what their rows read, whatever the layout; data that do not fit into a layout are told apart."""

from itertools import pairwise

import jax
import numpy as np
import pytest

from plait.compiler.kernels.cells import (
    ONE,
    Along,
    Fixed,
    LayoutChangedError,
    Taken,
    assign,
    lay_out,
)
from plait.compiler.rules.parameters import read

RNG = np.random.default_rng(0)
SOURCES = [
    RNG.normal(size=6),
    RNG.normal(size=(6, 3)),
    RNG.normal(size=(2, 6)),
    RNG.normal(size=(6, 6)),
    RNG.normal(size=1),
]
G, H = RNG.integers(0, 6, 50), RNG.integers(0, 3, 50)

# name: columns of (source, positions in its raveled value), and whether the cells are the levels of one factor
COLUMNS = {
    "one factor": ([(0, G)], True),
    "a factor and a row of a matrix": ([(0, G), (2, 6 + G)], True),
    "a factor and two columns of a matrix": ([(0, G), (1, 3 * G), (1, 3 * G + 2)], True),
    "columns alone": ([(1, 3 * G + 1), (1, 3 * G)], True),
    "a square matrix by rows": ([(3, 6 * G + 2), (0, G)], True),
    "a square matrix by columns": ([(3, 12 + G), (3, 24 + G)], True),
    "a square matrix both ways": ([(3, 6 * G + 2), (3, 12 + G)], True),
    "two factors": ([(0, G), (1, 3 * H)], False),
    "two factors of a matrix": ([(1, 3 * G + H)], False),
    "a factor shifted against itself": ([(0, G), (2, (G + 1) % 6)], False),
    "a diagonal": ([(3, 7 * G)], False),
    "few of many levels": ([(3, np.where(G > 2, 30, 1))], False),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_cells_read_what_rows_read(name: str) -> None:
    columns, is_one_factor = COLUMNS[name]
    layout = lay_out([(source, SOURCES[source].shape, p) for source, p in columns])
    positions = [p for _, p in columns]
    assert layout.occupied == len(np.unique(np.stack(positions), axis=1).T)
    assert (layout.taken == 0) == is_one_factor
    assert {type(e) for e in layout.entries} == {Along if is_one_factor else Taken}
    cell, taken = assign(layout, positions)
    assert taken.shape == (layout.taken, layout.size)
    assert np.all((cell >= 0) & (cell < layout.size))
    with jax.enable_x64(True), jax.disable_jit():
        for entry, (source, p) in zip(layout.entries, columns, strict=True):
            values = np.asarray(read(entry, SOURCES, taken, layout.size))
            assert values.shape == (layout.size,)
            np.testing.assert_array_equal(values[cell], SOURCES[source].ravel()[p])


def test_without_columns_there_is_one_cell() -> None:
    assert lay_out([]) == ONE
    assert ONE.size == 1


def test_all_cells_may_read_one_entry() -> None:
    for source, position in [(1, 4), (4, 0)]:
        with jax.disable_jit():
            value = read(Fixed(source, position), SOURCES, None, 6)
        np.testing.assert_allclose(value, SOURCES[source].ravel()[position], rtol=1e-6)


def test_columns_that_read_the_same_share_an_array_of_positions() -> None:
    layout = lay_out([(0, (6,), G), (2, (2, 6), H), (1, (6, 3), G)])
    assert layout.taken == 2
    assert [e.slot for e in layout.entries] == [0, 1, 0]


def test_other_levels_fit_into_a_factor() -> None:
    layout = lay_out([(0, (6,), G), (2, (2, 6), 6 + G)])
    other = (G + 3) % 6
    np.testing.assert_array_equal(assign(layout, [other, 6 + other])[0], other)


@pytest.mark.parametrize(
    "positions",
    [[G, 6 + (G + 1) % 6], [G, G], [np.full(50, 6), np.full(50, 12)], [G - 1, 5 + G]],
    ids=["out of step", "another row", "past the end", "before the start"],
)
def test_data_that_are_not_in_step_change_the_layout(positions: list[np.ndarray]) -> None:
    layout = lay_out([(0, (6,), G), (2, (2, 6), 6 + G)])
    assert layout.taken == 0
    with pytest.raises(LayoutChangedError):
        assign(layout, positions)


def test_more_pairs_fit_until_the_room_is_used_up() -> None:
    g, h = np.arange(50) % 3, np.arange(50) // 3 % 3
    layout = lay_out([(0, (20,), g), (1, (20,), h)])
    assert (layout.occupied, layout.size) == (9, 10)
    for levels, fits in [(2, True), (3, True), (4, False)]:
        pair = np.arange(50) % (levels * levels)
        columns = [pair % levels, pair // levels + 10]
        if fits:
            cell, taken = assign(layout, columns)
            np.testing.assert_array_equal(taken[:, cell], columns)
        else:
            with pytest.raises(LayoutChangedError):
                assign(layout, columns)


def test_a_shared_array_of_positions_must_stay_shared() -> None:
    layout = lay_out([(0, (6,), G), (2, (2, 6), H), (1, (6, 3), G)])
    with pytest.raises(LayoutChangedError):
        assign(layout, [G, H, (G + 1) % 6])


def test_room_grows_by_an_eighth_at_most_a_quarter() -> None:
    sizes = [lay_out([(0, (4000,), 3 * np.arange(n)), (1, (n,), np.zeros(n, int))]).size for n in range(2, 400)]
    assert all(a <= b for a, b in pairwise(sizes))
    for n, size in enumerate(sizes, start=2):
        assert n <= size <= max(8, 1.25 * n)
    assert len(set(sizes)) < 30


def test_positions_too_many_to_count_on_are_still_told_apart() -> None:
    """Nine columns of a million levels: their product is beyond 64 bits."""
    columns = [RNG.integers(0, 10**6, 30) for _ in range(9)]
    columns = [np.concatenate([c, c]) for c in columns]
    layout = lay_out([(i, (10**6,), c) for i, c in enumerate(columns)])
    assert layout.occupied == 30
    cell, taken = assign(layout, columns)
    np.testing.assert_array_equal(taken[:, cell], columns)


def test_no_rows_are_no_cells() -> None:
    none = np.zeros(0, int)
    layout = lay_out([(0, (6,), none), (1, (6, 3), none)])
    assert layout.occupied == 0
    cell, _ = assign(layout, [none, none])
    assert cell.shape == (0,)
