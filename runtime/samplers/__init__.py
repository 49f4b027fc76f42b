"""Adapters to samplers, one small file each; what they adapt is imported when a function is called."""

from plait.runtime.samplers import blackjax, emcee, numpyro, nutpie, optax, scipy

__all__ = ["blackjax", "emcee", "numpyro", "nutpie", "optax", "scipy"]
