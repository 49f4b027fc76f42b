"""Starting points for samplers: as NumPyro and Stan do, uniform in unconstrained space until all is finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

TRIES = 100  # NumPyro's bound
RADIUS = 2.0  # Stan's and NumPyro's


def find_start(value_and_grad: Callable[[Any], tuple[Any, Any]], dim: int, dtype: Any, key: Any) -> tuple[Any, Any]:
    """The first of up to `TRIES` draws with finite density and gradient.

    Args:
        value_and_grad: of the flat vector.
        dim: its length.
        dtype: its dtype.
        key: a random key.

    Returns:
        The point, and whether it is usable.
    """

    def usable(z: Any) -> Any:
        value, grad = value_and_grad(z)
        return jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))

    def propose(state: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        i, key, _, _ = state
        key, here = jax.random.split(key)
        z = jax.random.uniform(here, (dim,), dtype, -RADIUS, RADIUS)
        return i + 1, key, z, usable(z)

    first = (0, key, jnp.zeros(dim, dtype), jnp.asarray(False))
    _, _, z, ok = jax.lax.while_loop(lambda s: ~s[3] & (s[0] < TRIES), propose, first)
    return z, ok
