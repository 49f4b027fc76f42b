"""Names of families and of the plates that count them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import count, takewhile

from plait.compiler.rolling.families import Family
from plait.ir.graph import Node


class FamilyNames:
    """Names of families and of the plates that count them, apart from those that are `taken`."""

    def __init__(self, taken: Collection[str]) -> None:
        self._taken = set(taken)
        self._plates: dict[tuple[str, ...], str] = {}
        self._of: dict[Family, tuple[str, tuple[str, ...], str]] = {}

    def of(self, family: Family) -> tuple[str, tuple[str, ...], str]:
        """The family's name, its members' names, and the plate."""
        if family not in self._of:
            names = tuple(name for node in family.members for name in _site_names(node))
            own = [node.op.label or "" for node in family.members]
            pattern = _pattern(own) if family.is_of_sites else ""
            named = (self._free(pattern), names, self._plate(own, pattern)) if pattern else ("", names, "")
            self._of[family] = named
        return self._of[family]

    def _free(self, name: str) -> str:
        numbered = (name if i == 1 else f"{name}{i}" for i in count(1))
        free = next(n for n in numbered if n not in self._taken)
        self._taken.add(free)
        return free

    def _plate(self, names: Sequence[str], pattern: str) -> str:
        """Loops that count alike share a plate."""
        before, _, after = pattern.partition("*") if "*" in pattern else ("", "", "")
        counts = tuple(n[len(before) : len(n) - len(after)] for n in names)
        if counts not in self._plates:
            self._plates[counts] = self._free("loop")
        return self._plates[counts]


def _site_names(node: Node) -> tuple[str, ...]:
    members = getattr(node.op, "members", None)
    return (node.op.label or "",) if members is None else members.names


def _pattern(names: Sequence[str]) -> str:
    """``theta_*`` for theta_0, theta_1, …; ``beta_*`` for words; ``mu…tau`` for names that share no whole word."""
    before = re.sub(r"\d+$", "", _common_start(names))
    rest = [name[len(before) :][::-1] for name in names]
    after = re.sub(r"^\d+", "", _common_start(rest)[::-1])
    varying = [name[len(before) : len(name) - len(after)] for name in names]
    if not all(re.fullmatch(r"[\d\W_]+", part) for part in varying):
        before, after = re.sub(r"[^\W_]+$", "", before), re.sub(r"^[^\W_]+", "", after)
    return f"{before}*{after}" if before or after else f"{names[0]}…{names[-1]}"


def _common_start(names: Sequence[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


__all__ = ["FamilyNames"]
