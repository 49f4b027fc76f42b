"""Handlers change a site before it binds or draws. Each works as ``with h(...):`` and as ``h(model, ...)``.

They have NumPyro's names, signatures and meaning, and nest in any order.
"""

from plait.compiler.handlers.effects import block, infer_config, mask, scale, scope, seed, trace
from plait.compiler.handlers.values import condition, do, lift, reparam, replay, substitute, uncondition

__all__ = [
    "block", "condition", "do", "infer_config", "lift", "mask", "reparam", "replay", "scale", "scope", "seed",
    "substitute", "trace", "uncondition",
]  # fmt: skip
