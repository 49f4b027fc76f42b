"""Equal-weight draws of weighted points."""

from __future__ import annotations

import numpy as np
import pytest

from plait.runtime.samplers.weights import effective_size, equal_weights


def test_effective_size():
    assert effective_size(np.full(7, -1000.0)) == pytest.approx(7)
    assert effective_size(np.array([0.0, -np.inf, -np.inf])) == pytest.approx(1)
    assert effective_size(np.log([0.5, 0.25, 0.25])) == pytest.approx(1 / (0.25 + 2 / 16))


def test_each_point_comes_as_often_as_its_weight_says():
    rng = np.random.default_rng(0)
    log_weights = np.append(rng.normal(size=50) - 800, -np.inf)
    weights = np.exp(log_weights + 800)
    weights /= weights.sum()
    counts = np.bincount(equal_weights(rng, log_weights, 10_000), minlength=51)
    # Systematic resampling rounds up or down.
    assert (abs(counts - 10_000 * weights) < 1).all()
    assert counts[-1] == 0


def test_by_default_as_many_as_are_effective():
    log_weights = np.random.default_rng(1).normal(size=200)
    assert len(equal_weights(np.random.default_rng(0), log_weights)) == int(effective_size(log_weights))


def test_the_order_is_random():
    chosen = equal_weights(np.random.default_rng(0), np.zeros(1000), 1000)
    assert abs(np.corrcoef(chosen[:-1], chosen[1:])[0, 1]) < 0.1
    assert (np.sort(chosen) == np.arange(1000)).all()
