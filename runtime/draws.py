"""What every sampler adapter takes and gives: starting points and draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.ir.errors import ModelError, ValueNamesError
from plait.runtime.compiled import CompiledModel


@dataclass(frozen=True, eq=False)
class Draws:
    """Posterior draws, on the host.

    Attributes:
        values: by site, latents and deterministics, constrained: (chains, draws, *site).
        unconstrained: (chains, draws, dim), what `values` were computed from.
        stats: by name, (chains, draws): ``acceptance_rate``, ``diverging``, ``energy`` (nats),
            ``n_steps`` (gradients), ``tree_depth``, ``step_size``, as far as the sampler has them.
        log_evidence: estimate of the log marginal likelihood (nats), of samplers that have one.
        log_evidence_error: its standard error (nats); None or NaN where there is no estimate of it.
    """

    values: Mapping[str, np.ndarray]
    unconstrained: np.ndarray
    stats: Mapping[str, np.ndarray]
    log_evidence: float | None = None
    log_evidence_error: float | None = None

    @property
    def chains(self) -> int:
        return int(self.unconstrained.shape[0])

    @property
    def draws(self) -> int:
        """Draws of each chain."""
        return int(self.unconstrained.shape[1])

    @property
    def divergences(self) -> int:
        """Divergent transitions over all chains."""
        return int(np.sum(self.stats.get("diverging", 0)))

    def __repr__(self) -> str:
        sites = ", ".join(f"{name}{list(v.shape[2:]) if v.ndim > 2 else ''}" for name, v in self.values.items())
        return f"Draws({self.chains} chains × {self.draws} draws of {sites})"


def constrained_draws(
    compiled: CompiledModel, z: Any, stats: Mapping[str, Any], evidence: tuple[float, float] | None = None
) -> Draws:
    """The draws of a sampler that ran on the flat vector.

    Args:
        compiled: the model that it ran on.
        z: (chains, draws, dim).
        stats: by name, (chains, draws).
        evidence: the log evidence and its error, of samplers that estimate it.
    """
    values = compiled.constrain(z, deterministic=True)
    order = {name: i for i, name in enumerate(compiled.site_shapes)}
    return Draws(
        {name: np.asarray(values[name]) for name in sorted(values, key=order.__getitem__)},
        np.asarray(z),
        {name: np.asarray(v) for name, v in stats.items()},
        *(map(float, evidence) if evidence is not None else ()),
    )


def start_points(compiled: CompiledModel, key: Any, chains: int, init: Any = None) -> Any:
    """A starting point for each chain.

    Args:
        compiled: the model.
        key: a jax random key, unused where `init` is given.
        chains: how many points.
        init: unconstrained points, (dim,) for all chains or (chains, dim); default `init_params`.

    Returns:
        (chains, dim).

    Raises:
        ModelError: the model has nothing to sample, or a point has no finite density and gradient.
        ValueNamesError: `init` has another shape.
    """
    if compiled.dim == 0:
        raise ModelError("the model has no latent site, so there is nothing to sample")
    if init is None:
        return compiled.init_params(key, (chains,))
    if jnp.shape(init) not in ((compiled.dim,), (chains, compiled.dim)):
        raise ValueNamesError(f"init has shape ({chains}, {compiled.dim}), got {jnp.shape(init)}")
    points = jnp.broadcast_to(jnp.asarray(init, dtype=float), (chains, compiled.dim))
    value, grad = jax.vmap(compiled.log_density_and_grad)(points)
    usable = np.isfinite(value) & np.all(np.isfinite(grad), axis=-1)
    if not usable.all():
        raise ModelError(f"init of chain {int(np.argmin(usable))} has no finite log density and gradient")
    return points


__all__ = ["Draws", "constrained_draws", "start_points"]
