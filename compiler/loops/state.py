"""What one trace knows of the loops over plates in it: names made with an index, and why a loop has to be unrolled.

While a loop's body is traced for all steps at once its index has no value, so a private-use character stands for
its text in the names of sites: ``theta_0, theta_1, …`` is one name, with one such character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import CodeType, FrameType
from typing import Any

import jax

from plait.compiler.loops.name_flow import goes_into_names
from plait.compiler.source import in_one_sentence, is_from_package, is_users
from plait.ir.errors import PlaitError
from plait.ir.types import Loc

_FIRST, _LAST = 0xF0000, 0xFFFFD  # Unicode's first plane for private use, but for two noncharacters


class Unrolled(Exception):  # noqa: N818 (an answer, which `trace` reads)
    """A loop over a plate can't be traced once for all its steps; says in a user's words why.

    Only an attempt ends with it: the model is traced again with ordinary loops.
    """

    def __init__(self, reason: str, loop: LoopLine | None = None) -> None:
        super().__init__(reason)
        self.reason, self.loop = reason, loop


@dataclass(frozen=True)
class LoopLine:
    """A loop as users know it."""

    plate: str
    loc: Loc | None

    def __str__(self) -> str:
        return f"the loop over plate {self.plate!r}" + (f" ({self.loc})" if self.loc else "")


class IndexTexts:
    """The characters that stand for the text of an index, and what that text is at each step."""

    def __init__(self) -> None:
        self._characters: dict[tuple[str, tuple[str, ...]], str] = {}
        self._meaning: dict[str, tuple[str, tuple[str, ...]]] = {}

    def character(self, plate: str, texts: tuple[str, ...]) -> str:
        """The one that reads `texts[k]` at step k of a loop over `plate`."""
        key = (plate, texts)
        if key not in self._characters:
            code = _FIRST + len(self._characters)
            if code > _LAST:
                raise Unrolled("the model makes too many texts of indices")
            self._characters[key] = chr(code)
            self._meaning[chr(code)] = key
        return self._characters[key]

    def holds(self, name: str, plate: str) -> bool:
        """Whether the index of a loop over `plate` is part of a name."""
        return any(part is not None for _, part in self._parts(name, plate))

    def at(self, name: str, plate: str, step: int) -> str:
        """The name at one step."""
        return "".join(text if texts is None else texts[step] for text, texts in self._parts(name, plate))

    def at_each(self, name: str, plate: str, size: int) -> tuple[str, ...]:
        """The name at each step."""
        parts = self._parts(name, plate)
        return tuple(
            "".join(text if texts is None else texts[k] for text, texts in parts) for k in range(size)
        )  # fmt: skip

    def starred(self, name: str, plate: str) -> str:
        """The name of all: ``theta_*``."""
        return "".join(text if texts is None else "*" for text, texts in self._parts(name, plate))

    def _parts(self, name: str, plate: str) -> list[tuple[str, tuple[str, ...] | None]]:
        """A name cut at the characters of one plate."""
        parts: list[tuple[str, tuple[str, ...] | None]] = []
        for text in _CHARACTER.split(name):
            owner, texts = self._meaning.get(text, (None, None))
            parts.append((text, texts if owner == plate else None))
        return parts


_CHARACTER = re.compile(f"([{chr(_FIRST)}-{chr(_LAST)}])")


def visible(name: str) -> str:
    """A name with a star for each character that stands for an index."""
    return _CHARACTER.sub("*", name)


@dataclass(frozen=True)
class Index:
    """What Python code may know of an index: its value at each step, and as which step a text of it reads.

    `shown` is None where the text is to hold for all steps.
    """

    loop: LoopLine
    values: Sequence[int]
    shown: int | None

    def text(self, spec: str, texts: IndexTexts) -> str:
        """``f"{i:02d}"``."""
        if self.shown is not None:
            return format(self.values[self.shown], spec)
        return texts.character(self.loop.plate, tuple(format(value, spec) for value in self.values))


@dataclass
class Loops:
    """The loops over plates in one trace of a model.

    Attributes:
        at_once: whether a loop's body is traced once for all its steps; else loops are ordinary ones.
        texts: of their indices.
        begun: the loops that were traced at once.
        notes: why others were not.
        indices: what is known of traced indices, by id; the value itself stands beside, so that the id stays its own.
    """

    at_once: bool
    texts: IndexTexts = field(default_factory=IndexTexts)
    begun: list[LoopLine] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    indices: dict[int, tuple[Any, Index]] = field(default_factory=dict)
    _for_names: dict[tuple[tuple[CodeType, int], ...], bool] = field(default_factory=dict)
    _numbers: Any = field(default_factory=count)
    _trouble: list[tuple[str, LoopLine]] = field(default_factory=list)
    _left: list[LoopLine] = field(default_factory=list)

    def number(self) -> int:
        """A number for one more loop."""
        return int(next(self._numbers))

    def is_for_names(self, caller: FrameType) -> bool:
        """Whether the text of an index that a frame makes goes into names only."""
        places = tuple(_places(caller))
        if places not in self._for_names:
            self._for_names[places] = goes_into_names(caller)
        return self._for_names[places]

    def note(self, loop: LoopLine, reason: str) -> None:
        """Notes why a loop is an ordinary one."""
        self.notes[f"{loop} was unrolled: {visible(reason)}"] = None

    def trouble(self, reason: str, loop: LoopLine) -> Unrolled:
        """Remembers, and returns, why the trace has to be given up: the model may catch what is raised."""
        self._trouble.append((reason, loop))  # no exception, which would hold on to the model's frames
        return Unrolled(reason, loop)

    def left(self, loop: LoopLine) -> None:
        """A loop ended before its last step, by `break` or by an exception."""
        self._left.append(loop)

    def require_whole(self) -> None:
        """Raises Unrolled where something happened that the model may have caught, or a loop was left early."""
        if self._trouble:
            raise Unrolled(*self._trouble[0])
        if self._left:
            raise Unrolled("it ends before its last step", self._left[0])

    def note_failure(self, error: Exception) -> None:
        """Notes which loop an error is about, and why it is an ordinary one then.

        That is the innermost loop that the error ended, or the last one before it.
        """
        reason, loop = self._trouble[0] if self._trouble else (_reason(error), getattr(error, "loop", None))
        self.note(loop or (self._left[0] if self._left else self.begun[-1]), reason)


def _places(frame: FrameType | None) -> Iterator[tuple[CodeType, int]]:
    """Where the model is: in each of the user's functions that are running."""
    while frame is not None and is_users(frame.f_code.co_filename):
        yield frame.f_code, frame.f_lasti
        frame = frame.f_back


def _reason(error: Exception) -> str:
    if isinstance(error, Unrolled):
        return error.reason
    cause = error.__cause__ if isinstance(error, PlaitError) and isinstance(error.__cause__, Exception) else error
    if isinstance(cause, jax.errors.TracerBoolConversionError):
        return "Python asks whether something about its index is true; use jnp.where or jax.lax.cond to trace it once"
    if isinstance(cause, jax.errors.ConcretizationTypeError | jax.errors.TracerArrayConversionError):
        return AS_INTEGER
    if is_from_package(cause, "pandas"):
        return "pandas does not take its index; take columns out as jnp arrays to trace it once"
    return in_one_sentence(cause)


AS_INTEGER = "its index is used as a Python integer; index jnp arrays with it (jnp.asarray) to trace it once"
