"""Names that a user gives, held against those that there are."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from plait.ir.errors import PlaitError, ValueNamesError


def unknown_names(
    given: Collection[str], known: Sequence[str], what: str, error: type[PlaitError] = ValueNamesError
) -> None:
    """Raises `error` where `given` has a name that is not `known`, with the nearest one."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise error(f"there is no {what} {name!r}{hint} (there are: {listed(known)})")


def listed(names: Sequence[str]) -> str:
    """The names in quotes: twelve of them at most, and how many there are."""
    shown = [repr(n) for n in names[:12]]
    return ", ".join(shown) + (f", … ({len(names)} in all)" if len(names) > 12 else "") or "none"


__all__ = ["listed", "unknown_names"]
