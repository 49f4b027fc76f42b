"""Samplers that others wrote, on compiled models: ``plait.samplers.blackjax.sample(compiled, key)``."""

from plait.runtime.samplers import blackjax, emcee, numpyro, nutpie, optax, scipy

__all__ = ["blackjax", "emcee", "numpyro", "nutpie", "optax", "scipy"]
