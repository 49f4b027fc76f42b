"""Indices of minibatches: each subset equally often, none twice."""

from functools import partial
from itertools import combinations

import jax
import numpy as np
import pytest
from scipy.stats import chisquare

from plait.compiler.subsampling import drawn_indices


@pytest.mark.parametrize(("full_size", "size"), [(6, 3), (5, 1), (4, 4), (7, 6)])
def test_every_subset_is_equally_likely(full_size, size):
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.sort(jax.jit(jax.vmap(partial(drawn_indices, full_size=full_size, size=size)))(keys), axis=1)
    subsets, counts = np.unique(drawn, axis=0, return_counts=True)
    assert [tuple(s) for s in subsets.tolist()] == list(combinations(range(full_size), size))
    assert len(counts) == 1 or chisquare(counts).pvalue > 1e-4


def test_indices_of_many_elements():
    drawn = np.asarray(drawn_indices(jax.random.key(0), 1_000_000, 500))
    assert len(np.unique(drawn)) == 500
    assert drawn.min() >= 0
    assert drawn.max() < 1_000_000
    assert abs(drawn.mean() / 1e6 - 0.5) < 4 * np.sqrt(1 / 12 / 500)
