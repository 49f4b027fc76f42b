"""What an object is: an array of numbers, or in words what it is instead."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.jax_compat import is_tracer


class NotNumbersError(Exception):
    """A value is no array of numbers; the text is what it is: ``None``, ``strings``, ``a Normal``."""


class RaggedError(NotNumbersError):
    """A value is no array at all: its rows differ in length."""


def as_numbers(value: Any) -> Any:
    """A value as an array of numbers, where it is not one of jax's already.

    Raises:
        NotNumbersError: it is ragged, or holds something else.
        TracerArrayConversionError: it is a list with values of the model.
    """
    if isinstance(value, jax.Array):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise RaggedError from None
    if not holds_numbers(array):
        raise NotNumbersError(kind_in_words(array))
    return array


def holds_numbers(array: np.ndarray) -> bool:
    """Whether an array is of numbers or booleans, such as jax can take."""
    kind = array.dtype.kind
    # numpy counts time differences to the integers, and calls bfloat16 void
    return kind in "bifuc" or (kind == "V" and bool(jnp.issubdtype(array.dtype, np.number)))


def described(value: Any) -> str:
    """``None``, ``the float 3.0``, ``an array``, ``a Normal``: what a user handed over, in no library's words."""
    if value is None:
        return "None"
    if isinstance(value, (str, int, float, complex)):
        return f"the {type(value).__name__} {value!r}"
    if is_tracer(value) or isinstance(value, (jax.Array, np.ndarray)):
        return "an array" if np.ndim(value) else "a number"
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def kind_in_words(array: np.ndarray) -> str:
    """What an array holds that are no numbers."""
    if array.dtype.kind == "O" and array.ndim == 0:
        return described(array.item())
    return {"U": "strings", "T": "strings", "S": "bytes", "M": "dates", "m": "time differences", "V": "records"}.get(
        array.dtype.kind, "objects"
    )
