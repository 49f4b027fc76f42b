"""Samplers that others wrote, on compiled models: ``plait.samplers.blackjax.sample(compiled, key)``."""

from plait.runtime.samplers import blackjax, dynesty, emcee, numpyro, nutpie, optax, scipy

__all__ = ["blackjax", "dynesty", "emcee", "numpyro", "nutpie", "optax", "scipy"]
