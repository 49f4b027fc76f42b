"""The user's line of an equation: the innermost frame that is neither plait's nor a library's."""

from __future__ import annotations

import os
import re
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
from plait.compiler.jax_compat import traceback_calls, traceback_frames
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
    for i, frame in enumerate(traceback_frames(eqn)):
        if is_users(frame.file_name):
            return Loc(frame.file_name, frame.line_num, traceback_calls(eqn)[i])
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


def is_about_arrays(error: BaseException) -> bool:
    """Whether a library refused what the model gave it, or Python what can't be done with a traced value."""
    *_, (frame, _) = _walk(error.__traceback__)
    from_jax = any("JAX has removed its internal frames" in note for note in getattr(error, "__notes__", ()))
    return from_jax or not is_users(frame.f_code.co_filename) or "Tracer" in str(error)


def is_from_package(error: BaseException, package: str) -> bool:
    """Whether a package's code was on the way to an exception."""
    return any(f"/{package}/" in frame.f_code.co_filename for frame, _ in _walk(error.__traceback__))


def in_one_sentence(error: BaseException) -> str:
    """What a library says, on one line and in the words of users."""
    paragraphs = [" ".join(p.split()) for p in str(error).split("\n\n") if not p.startswith("---")]
    text = " ".join(paragraphs[: 2 if re.search(r"[:,]( they differ:)?$", paragraphs[0]) else 1])
    if text.startswith("Error interpreting argument"):
        text = "a function of jax got something that is no array of numbers; encode it as numbers"
    text = _TRACER.sub("a value of the model", text).partition(" See https:")[0]
    text = (text if len(text) <= _LONGEST else text.partition(". ")[0]).rstrip(".")
    remedy = next((f"; {say}" for part, say in _REMEDIES if part in text), "")
    return text + remedy


_REMEDIES = (
    ("must have integer", "cast the index to integers"),
    ("must be of integer", "cast it to integers"),
    ("unsupported operand", "give it arrays of numbers"),
)


_TRACER = re.compile(r"'?\b\w*Tracer\b'?(\(\w*\[[\d,]*\]\))?(\.__\w+__)?")
_LONGEST = 200  # characters; what is longer goes on about how jax works


def _walk(tb: Any) -> Iterable[tuple[Any, int]]:
    while tb is not None:
        yield tb.tb_frame, tb.tb_lineno
        tb = tb.tb_next
