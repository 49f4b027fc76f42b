"""Memory for pure functions of hashable descriptions."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

from plait.compiler.jax_compat import has_64_bits

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
        return in_precision(has_64_bits(), *args, **kwargs)  # type: ignore[arg-type]

    return call
