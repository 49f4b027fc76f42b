"""Optional packages, imported when they are asked for and not before."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from plait.ir.errors import MissingExtraError

# pyproject.toml's optional dependencies; NumPyro is none, and comes with plait itself.
_EXTRA_OF = dict.fromkeys(("arviz", "arviz_stats", "blackjax", "dynesty", "emcee", "nutpie", "optax"), "samplers")


def optional(module: str) -> Any:
    """An optional module, by its import name, such as ``blackjax.adaptation.step_size``.

    Raises:
        MissingExtraError: the package is not installed; says how to install it.
    """
    require(module.partition(".")[0])
    return importlib.import_module(module)


def require(*packages: str) -> None:
    """Checks that packages are installed, without importing them.

    Raises:
        MissingExtraError: one is not installed; says how to install it.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            extra = f"'plait[{_EXTRA_OF[package]}]'" if package in _EXTRA_OF else package
            raise MissingExtraError(f"{package} is not installed: pip install {extra}")


__all__ = ["optional", "require"]
