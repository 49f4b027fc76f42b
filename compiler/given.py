"""What users write into a primitive, looked at before anything is made of it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution

from plait.compiler.jax_compat import is_tracer
from plait.compiler.source import current_loc
from plait.ir.errors import SiteTypeError

KEPT_VALUE = "a value of another run of a model, kept in a list or a global, is used here; compute it in this model"


def require_name(name: Any, what: str) -> None:
    """Raises SiteTypeError where a name is no text: it comes first, and is easily forgotten or swapped."""
    if not isinstance(name, str):
        raise SiteTypeError(f"the name of a {what} comes first and is a string, got {described(name)}", current_loc())
    if not name:
        raise SiteTypeError(f"the name of a {what} is empty; give it one", current_loc())


def require_numbers(what: str, value: Any) -> None:
    """Raises SiteTypeError where a value is no array of numbers; `what` begins the sentence."""
    if isinstance(value, Distribution):
        raise SiteTypeError(f"{what} a distribution; sample from it with plait.sample", current_loc())
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise SiteTypeError(f"{what} masked values; pass .filled(…) and an obs_mask", current_loc())
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise SiteTypeError(f"{what} a random key; name the argument, rng_key=", current_loc())
    try:
        as_numbers(value)
    except RaggedError:
        message = f"{what} a ragged list, whose rows differ in length; pad and mask it"
        raise SiteTypeError(message, current_loc()) from None
    except NotNumbersError as found:
        raise SiteTypeError(f"{what} {found}; encode it as numbers", current_loc()) from None
    except jax.errors.TracerArrayConversionError:
        return  # a list of values of the model


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
