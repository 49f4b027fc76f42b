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
    lowest = np.finfo(log_likelihood.dtype).min / 4  # differences of two of them are finite, too
    return jnp.where(log_likelihood > lowest, log_likelihood, lowest)


def checked_likelihood(compiled: CompiledModel, z: Any) -> Any:
    """The log likelihood at prior draws (…, n, dim), of shape (…, n): -inf where it is NaN.

    Raises:
        ModelError: it is zero at all of n draws, so that no sampler could leave from there, or infinite at one.

    Warns:
        RuntimeWarning: it is NaN at some.
    """
    rows = jnp.reshape(z, (-1, compiled.dim))
    found = jax.jit(jax.vmap(compiled.total_log_likelihood))(rows)
    values = np.asarray(found)
    if (values == np.inf).any():
        where = _at(compiled, rows[int(np.argmax(values))])
        raise ModelError(f"the likelihood is infinite at a prior draw, unconstrained {where}: there is no evidence")
    if not (values > -np.inf).reshape(z.shape[:-1]).any(axis=-1).all():
        raise ModelError(
            f"the likelihood is zero or NaN at all of {z.shape[-2]} prior draws: take more of them, or a prior that is "
            "nearer to the data; find_nonfinite of compiled.sample's values says which site it is"
        )
    undefined = np.isnan(values)
    if undefined.any():
        where = _at(compiled, rows[int(np.argmax(undefined))])
        warnings.warn(
            f"the log likelihood was NaN at {int(undefined.sum())} of {len(rows)} prior draws and counts as impossible "
            f"there: the draws and the evidence are right only if it is; the first is, unconstrained, {where}: "
            "find_nonfinite says why",
            RuntimeWarning,
            stacklevel=3,
        )
    return jnp.where(undefined, -jnp.inf, found).reshape(z.shape[:-1])


def _at(compiled: CompiledModel, z: Any) -> str:
    shown = ", ".join(f"{name} = {x:.6g}" for name, x in zip(compiled.names[:6], z, strict=False))
    return shown + (", …" if compiled.dim > 6 else "")


__all__ = ["checked_likelihood", "finite_likelihood"]
