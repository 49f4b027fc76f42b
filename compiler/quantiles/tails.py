"""Points of the unit interval as pairs of tail probabilities: 1 - u is exact near 1, and 1 - (1 - u) is not u."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from plait.ir.types import Shape


class Tails(NamedTuple):
    """The probabilities below and above a value; they sum to 1, and the smaller one has all its digits.

    Attributes:
        lower: what is below.
        upper: what is above.
    """

    lower: Any
    upper: Any

    @classmethod
    def at(cls, u: Any) -> Tails:
        """Those of a point of the unit interval; NaN outside it."""
        u = jnp.where((u >= 0) & (u <= 1), u, jnp.nan)
        return cls(u, 1 - u)

    @property
    def swapped(self) -> Tails:
        """Those of what falls as the value rises."""
        return Tails(self.upper, self.lower)

    @property
    def is_lower(self) -> Any:
        """Whether the value is below the median."""
        return self.lower <= self.upper

    @property
    def smaller(self) -> Any:
        return jnp.where(self.is_lower, self.lower, self.upper)  # jnp.minimum would halve the derivative at 1/2

    def mapped(self, function: Callable[[Any], Any]) -> Tails:
        """Both, reshaped or picked from alike."""
        return Tails(function(self.lower), function(self.upper))

    def reshaped(self, shape: Shape) -> Tails:
        return self.mapped(lambda x: jnp.reshape(x, shape))

    def swapped_where(self, falls: Any) -> Tails:
        """`swapped` for these elements."""
        return Tails(jnp.where(falls, self.upper, self.lower), jnp.where(falls, self.lower, self.upper))


__all__ = ["Tails"]
