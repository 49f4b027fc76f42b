"""Handlers change a site before it binds or draws: NumPyro's names, signatures and meaning."""

from plait.compiler.handlers import (
    block,
    condition,
    do,
    infer_config,
    lift,
    mask,
    reparam,
    replay,
    scale,
    scope,
    seed,
    substitute,
    trace,
    uncondition,
)

__all__ = [
    "block", "condition", "do", "infer_config", "lift", "mask", "reparam", "replay", "scale", "scope", "seed",
    "substitute", "trace", "uncondition",
]  # fmt: skip
