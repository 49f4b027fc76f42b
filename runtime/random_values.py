"""Values at which a model is looked at where the user names none."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from plait.runtime.compiled import CompiledModel
from plait.runtime.start import RADIUS


def random_vector(compiled: CompiledModel, seed: int) -> Any:
    """A point of the unconstrained space, each entry uniform in (-2, 2)."""
    return np.random.default_rng(seed).uniform(-RADIUS, RADIUS, compiled.dim).astype(compiled.dtype)


def random_values(compiled: CompiledModel, seed: int) -> dict[str, Any]:
    """Values of the latents: of the unconstrained space, or where there is none of the prior."""
    if compiled.has_log_density:
        return compiled.constrain(random_vector(compiled, seed))
    drawn = compiled.sample(jax.random.key(seed))
    return {name: drawn[name] for name in compiled.shapes}


__all__ = ["random_values", "random_vector"]
