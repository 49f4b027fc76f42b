"""Adapters to samplers, one small file each; what they adapt is imported when a function is called."""

from plait.runtime.samplers import blackjax, numpyro, nutpie

__all__ = ["blackjax", "numpyro", "nutpie"]
