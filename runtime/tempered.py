"""prior + beta · likelihood, with beta an input: what annealing and sequential Monte Carlo move along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Density:
    """A log density of (known, params, z), and the same with its gradient with respect to z."""

    value: Callable[[Any, Any, Any], Any]
    both: Callable[[Any, Any, Any], tuple[Any, Any]]


@dataclass(frozen=True, eq=False)
class Tempered:
    """The jitted functions of two densities, which are the prior (with its Jacobian) and the likelihood."""

    prior: Density
    likelihood: Density

    @cached_property
    def log_density(self) -> Callable[..., Any]:
        """Of (known of the prior, known of the likelihood, params, z, beta)."""
        return jax.jit(self._log_density)

    @cached_property
    def log_density_and_grad(self) -> Callable[..., Any]:
        """Of the same; the gradient is with respect to z."""
        return jax.jit(self._log_density_and_grad)

    def _log_density(self, of_prior: Any, of_likelihood: Any, params: Any, z: Any, beta: Any) -> Any:
        prior = self.prior.value(of_prior, params, z)
        return _blend(beta, prior, self.likelihood.value(of_likelihood, params, z))

    def _log_density_and_grad(self, of_prior: Any, of_likelihood: Any, params: Any, z: Any, beta: Any) -> Any:
        prior = self.prior.both(of_prior, params, z)
        likelihood = self.likelihood.both(of_likelihood, params, z)
        return tuple(_blend(beta, p, x) for p, x in zip(prior, likelihood, strict=True))


def _blend(beta: Any, prior: Any, likelihood: Any) -> Any:
    """At beta = 0 the prior alone, also where the likelihood is 0 and its log -inf."""
    return jnp.where(beta == 0, prior, prior + beta * likelihood)


__all__ = ["Density", "Tempered"]
