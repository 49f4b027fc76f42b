"""BlackJAX's algorithms on a compiled model, one module each, and the densities in their shape.

``sample`` is NUTS; ``mclmc.sample``, ``pathfinder.sample``, ``smc.sample`` and ``nested_slice.sample`` are the others.
"""

from plait.runtime.samplers.blackjax import mclmc, nested_slice, nuts, pathfinder, smc
from plait.runtime.samplers.blackjax.densities import logdensity, loglikelihood, logprior
from plait.runtime.samplers.blackjax.nuts import sample

__all__ = [
    "logdensity",
    "loglikelihood",
    "logprior",
    "mclmc",
    "nested_slice",
    "nuts",
    "pathfinder",
    "sample",
    "smc",
]
