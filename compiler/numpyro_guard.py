"""Refuses NumPyro's own primitives and handlers inside a plait model: they would run and count for nothing."""

from __future__ import annotations

from typing import Any

from numpyro.primitives import _PYRO_STACK, Messenger

from plait.compiler.source import current_loc
from plait.ir.errors import ModelError


class RefuseNumPyro(Messenger):
    """The outermost NumPyro handler while a plait model is traced: whatever reaches it is a slip."""

    def process_message(self, msg: dict[str, Any]) -> None:
        """Raises ModelError with the user's line."""
        kind = "factor" if msg.get("infer", {}).get("is_auxiliary") else msg["type"]
        name = msg.get("name")
        what = f"site {name!r}" if name else "a statement"
        raise ModelError(f"{what} is numpyro.{kind} inside a plait model; write plait.{kind}", current_loc())


def refuse_numpyro_handlers(name: str) -> None:
    """Raises ModelError where a site of plait is under a handler of NumPyro, which it could not see."""
    foreign = [handler for handler in _PYRO_STACK if not isinstance(handler, RefuseNumPyro)]
    if foreign:
        kind = type(foreign[-1]).__name__
        raise ModelError(
            f"site {name!r} is under numpyro.handlers.{kind}, which plait's sites do not see; use plait.handlers",
            current_loc(),
        )
