"""The user's line of an equation: the innermost frame that is neither plait's nor a library's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from types import FrameType
from typing import Any

import jax
import jaxlib
import numpy as np
import numpyro
import scipy

import plait.ir
from plait.compiler.jax_compat import traceback_frames
from plait.ir.types import Loc


def _package_dir(file: str | None) -> str:
    return os.path.dirname(os.path.realpath(file or "")) + os.sep


# The folders compiler/, ir/ and runtime/ are reached through links, so their real paths count.
_LIBRARIES = tuple(
    _package_dir(f)
    for f in (jax.__file__, jaxlib.__file__, np.__file__, scipy.__file__, numpyro.__file__, plait.ir.__file__, __file__)
)
_FACE = _package_dir(plait.__file__)  # in an installed package it holds the other three too
_RUNTIME = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "runtime") + os.sep
_STDLIB = (os.path.dirname(os.path.realpath(os.__file__)) + os.sep,)


@lru_cache(maxsize=4096)
def is_users(file: str) -> bool:
    """Whether a file is the user's own."""
    real = os.path.realpath(file)
    if real.startswith((*_LIBRARIES, _FACE, _RUNTIME)) or file.startswith("<frozen"):
        return False
    return not (real.startswith(_STDLIB) and "site-packages" not in real)


def equation_loc(eqn: Any) -> Loc | None:
    """The user's line of a jaxpr equation."""
    for frame in traceback_frames(eqn):
        if is_users(frame.file_name):
            return Loc(frame.file_name, frame.line_num)
    return None


def current_loc() -> Loc | None:
    """The user's line that is running now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return Loc(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


def exception_loc(error: BaseException) -> Loc | None:
    """The user's innermost line on the way to an exception."""
    found = None
    for frame, line in _walk(error.__traceback__):
        if is_users(frame.f_code.co_filename):
            found = Loc(frame.f_code.co_filename, line)
    return found


def raised_by_numpyro(error: BaseException) -> bool:
    """Whether a distribution or constraint refused its arguments."""
    *_, (frame, _) = _walk(error.__traceback__)
    return os.path.realpath(frame.f_code.co_filename).startswith(_package_dir(numpyro.__file__))


def _walk(tb: Any) -> Iterable[tuple[Any, int]]:
    while tb is not None:
        yield tb.tb_frame, tb.tb_lineno
        tb = tb.tb_next
