"""Adapters to samplers, one small file each; what they adapt is imported when a function is called."""

from plait.runtime.samplers import blackjax, dynesty, emcee, numpyro, nutpie, optax, scipy

__all__ = ["blackjax", "dynesty", "emcee", "numpyro", "nutpie", "optax", "scipy"]
