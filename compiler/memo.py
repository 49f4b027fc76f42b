"""Memory for pure functions of hashable descriptions."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import jax
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

_SIZE = 4096  # results kept by each function: one per distinct (op, types), not per site


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Keeps results, apart for 32-bit and 64-bit jax: the same description traces to other dtypes there."""

    @lru_cache(maxsize=_SIZE)
    def in_precision(wide: bool, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        wide = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
        return in_precision(wide, *args, **kwargs)  # type: ignore[arg-type]

    return call
