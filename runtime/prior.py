"""Points of the flat vector drawn from the prior: where sequential Monte Carlo and nested sampling start."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from plait.ir.errors import ModelError
from plait.ir.types import Shape
from plait.runtime.compiled import CompiledModel


def prior_points(compiled: CompiledModel, key: Any, shape: Shape | int) -> Any:
    """Draws from the prior as flat unconstrained vectors, whose density is `CompiledModel.log_prior`.

    Args:
        compiled: the model.
        key: a jax random key.
        shape: of independent draws.

    Returns:
        Shape ``shape + (dim,)``, finite.

    Raises:
        ModelError: the model has no latent; a prior is improper, or its density is masked or scaled, so that it is not
            that of its draws; a draw lies on the edge of a support, where the unconstrained value is infinite.
    """
    if compiled.dim == 0:
        raise ModelError("the model has no latent site, so there is nothing to sample")
    require_normalized_prior(compiled)
    try:
        values = compiled.sample(key, shape)
    except ModelError as error:
        message = "this sampler starts from draws of the prior, so each latent needs a proper one"
        raise ModelError(f"{message}: {error}") from error
    z = jax.jit(compiled.unconstrain)({name: values[name] for name in compiled.shapes})
    finite = np.isfinite(z).reshape(-1, compiled.dim)
    if not finite.all():
        entry = compiled.names[int(np.argmin(finite.all(axis=0)))]
        raise ModelError(
            f"{int((~finite.all(axis=1)).sum())} of {len(finite)} prior draws have {entry} on the edge of its support "
            f"in {np.dtype(compiled.dtype).name}, where its unconstrained value is infinite; use float64, or a prior "
            "with less mass at the edge"
        )
    return z


def require_normalized_prior(compiled: CompiledModel) -> None:
    """Raises ModelError where the density of a latent is masked or scaled: an evidence would have no meaning."""
    if compiled._about.weighted_prior is not None:
        raise compiled._about.weighted_prior.error()


__all__ = ["prior_points", "require_normalized_prior"]
