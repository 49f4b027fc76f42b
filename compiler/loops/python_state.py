"""The Python variables of a loop's function: what a step changes in them only an ordinary loop can follow.

Traced values are not compared here: where one flows from step to step the graph shows it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping, Set
from typing import Any

import jax
import numpy as np

from plait.compiler.loops.state import IndexTexts
from plait.compiler.source import is_users
from plait.ir.contents import closure_values

State = dict[str, Any]  # by variable, its value as nested tuples

_DEEPEST = 3  # levels of containers and objects that are looked into
_MOST = 20_000  # values that are looked at in all
_BYTES = 1_000_000  # of a larger array only the shape counts


def python_state(frame: types.FrameType) -> State:
    """The variables of a frame, and the globals that its code names."""
    used = set(frame.f_code.co_names)
    found = {name: x for name, x in frame.f_globals.items() if name in used} | dict(frame.f_locals)
    reader = _Reader()
    return {name: reader.plain(x, _DEEPEST) for name, x in found.items()}


def at_step(state: State, texts: IndexTexts, plate: str, step: int) -> State:
    """The state in which the index of a loop over `plate` reads as that step."""

    def read(value: Any) -> Any:
        if isinstance(value, str):
            return texts.at(value, plate, step)
        return tuple(map(read, value)) if isinstance(value, tuple) else value

    return {name: read(value) for name, value in state.items()}


def changed(before: State, after: State) -> str | None:
    """A variable that two states disagree on."""
    names = dict.fromkeys([*before, *after])
    return next((name for name in names if before.get(name) != after.get(name)), None)


class _Reader:
    """Writes values as nested tuples, which can be compared."""

    def __init__(self) -> None:
        self._left = _MOST

    def plain(self, x: Any, depth: int) -> Any:
        """A value; what changes when it is read, such as an iterator, equals nothing."""
        self._left -= 1
        kind = type(x).__qualname__
        if isinstance(x, str):
            return str(x)
        if isinstance(x, (bool, int, float, complex, bytes, type(None), np.generic)):
            return kind, repr(x)
        if isinstance(x, (jax.Array, types.ModuleType, types.BuiltinFunctionType, type)):
            return (kind,)
        if isinstance(x, np.ndarray):
            return kind, str(x.dtype), x.shape, x.tobytes() if x.nbytes <= _BYTES and x.dtype != object else None
        if hasattr(type(x), "__next__"):
            return kind, object()
        items = _items(x)
        if items is None:
            return (kind,)
        return kind, len(items), *(self.plain(item, depth - 1) for item in items if depth and self._left > 0)


def _items(x: Any) -> list[Any] | None:
    """What a container, an object or a function of the user's holds; None for what is not the user's."""
    if isinstance(x, Mapping):
        return [part for item in x.items() for part in item]
    if isinstance(x, (list, tuple)):
        return list(x)
    if isinstance(x, Set):
        return sorted(x, key=repr)
    if isinstance(x, types.MethodType):
        return [x.__self__, x.__func__]
    if isinstance(x, types.FunctionType):
        return _held_by(x) if is_users(x.__code__.co_filename) else None
    module = sys.modules.get(type(x).__module__)
    if not is_users(getattr(module, "__file__", None) or "<frozen"):
        return None
    return [part for item in getattr(x, "__dict__", {}).items() for part in item]


def _held_by(function: types.FunctionType) -> list[Any]:
    """What a function closes over, and the globals that it names."""
    named = [function.__globals__[n] for n in function.__code__.co_names if n in function.__globals__]
    return [*closure_values(function), *named, *vars(function).values()]


__all__ = ["State", "at_step", "changed", "python_state"]
