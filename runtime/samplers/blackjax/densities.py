"""The densities as BlackJAX's algorithms want them, for a loop of your own.

All take one flat unconstrained vector (dim,), as `CompiledModel.init_params` gives them and `CompiledModel.constrain`
reads them, and give a scalar in nats; ``jax.vmap`` makes them functions of many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from plait.runtime import CompiledModel

LogDensity = Callable[[Any], Any]


def logdensity(compiled: CompiledModel) -> LogDensity:
    """The log posterior density but for a constant, with the Jacobian: of ``nuts``, ``mclmc``, ``pathfinder``, ….

    Flows and kernels that BlackJAX builds of a ``logdensity_fn`` take it as it is.
    """
    return compiled.log_density


def logprior(compiled: CompiledModel) -> LogDensity:
    """The log density of the latents alone, with the Jacobian: the ``logprior_fn`` of SMC and nested sampling.

    It is the density of the prior's draws, unless a latent is masked or scaled (`plait.runtime.prior_points` refuses
    these).
    """
    return compiled.log_prior


def loglikelihood(compiled: CompiledModel) -> LogDensity:
    """The rest, observed sites and factors: the ``loglikelihood_fn`` of SMC and nested sampling.

    Where the data are impossible it is -inf. A NaN is returned as it is.
    """
    return compiled.total_log_likelihood


__all__ = ["LogDensity", "logdensity", "loglikelihood", "logprior"]
