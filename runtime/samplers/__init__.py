"""Adapters to samplers, one small file each; the packages they need are imported when a function is called."""

from plait.runtime.samplers import blackjax

__all__ = ["blackjax"]
