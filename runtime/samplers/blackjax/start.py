"""Likelihoods at prior draws: what the samplers that start there need of them."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.runtime import CompiledModel, ModelError


def finite_likelihood(log_likelihood: Any) -> Any:
    """A log likelihood that is very low instead of -inf, so that no power of it is NaN; NaN counts as -inf."""
    lowest = jnp.finfo(log_likelihood.dtype).min / 4  # differences of two of them are finite, too
    return jnp.where(log_likelihood > lowest, log_likelihood, lowest)


def require_possible(compiled: CompiledModel, z: Any) -> None:
    """Checks the likelihood of prior draws (…, dim).

    Raises:
        ModelError: it is zero at all of them, so that no sampler could leave from there.

    Warns:
        RuntimeWarning: it is NaN at some.
    """
    rows = jnp.reshape(z, (-1, compiled.dim))
    values = np.asarray(jax.jit(jax.vmap(compiled.total_log_likelihood))(rows))
    if not (values > -np.inf).any():
        raise ModelError(
            f"the likelihood is zero or NaN at all of {len(rows)} prior draws: take more of them, or a prior that is "
            "nearer to the data; log_prob_terms of compiled.sample's values says which site it is"
        )
    undefined = np.isnan(values)
    if undefined.any():
        at = ", ".join(f"{n} = {x:.6g}" for n, x in zip(compiled.names[:6], rows[int(np.argmax(undefined))]))
        warnings.warn(
            f"the log likelihood was NaN at {int(undefined.sum())} of {len(rows)} prior draws and counts as impossible "
            f"there: the draws and the evidence are right only if it is; the first is, unconstrained, {at}: look at "
            "log_prob_terms of its constrained values",
            RuntimeWarning,
            stacklevel=3,
        )


__all__ = ["finite_likelihood", "require_possible"]
