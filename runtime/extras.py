"""Optional packages, imported when they are asked for and not before."""

from __future__ import annotations

import importlib
from typing import Any

from plait.ir.errors import MissingExtraError

_EXTRA_OF = {"arviz": "samplers", "blackjax": "samplers"}  # pyproject.toml's optional dependencies


def optional(module: str) -> Any:
    """An optional module.

    Args:
        module: its import name, such as ``blackjax.adaptation.step_size``.

    Raises:
        MissingExtraError: the package is not installed; says how to install it.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as e:
        # A package that is there and misses one of its own dependencies says so itself.
        if (e.name or "").partition(".")[0] != package:
            raise
        extra = _EXTRA_OF[package]
        raise MissingExtraError(f"{package} is not installed: pip install 'plait[{extra}]'") from None


__all__ = ["optional"]
