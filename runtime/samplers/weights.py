"""From weighted points to draws of equal weight."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp


def effective_size(log_weights: np.ndarray) -> float:
    """Kish's: the square of the weights' sum over the sum of their squares.

    Args:
        log_weights: (n,), unnormalized, -inf for a weight of 0.
    """
    return float(np.exp(2 * logsumexp(log_weights) - logsumexp(2 * log_weights)))


def equal_weights(rng: np.random.Generator, log_weights: np.ndarray, draws: int | None = None) -> np.ndarray:
    """Indices of draws of equal weight, by systematic resampling, in random order.

    Args:
        rng: of numpy.
        log_weights: (n,), unnormalized, -inf for a weight of 0.
        draws: how many; default the `effective_size`, so that few points come twice.
    """
    count = max(1, int(effective_size(log_weights))) if draws is None else draws
    cumulative = np.cumsum(np.exp(log_weights - logsumexp(log_weights)))
    at = (np.arange(count) + rng.uniform()) / count * cumulative[-1]
    return rng.permutation(np.searchsorted(cumulative, at, side="right"))


__all__ = ["effective_size", "equal_weights"]
