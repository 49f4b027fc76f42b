"""Samplers that others wrote, on compiled models: ``plait.samplers.blackjax.sample(compiled, key)``."""

from plait.runtime.samplers import blackjax, numpyro, nutpie

__all__ = ["blackjax", "numpyro", "nutpie"]
