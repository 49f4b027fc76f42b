"""What users write into a primitive, looked at before anything is made of it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution

from plait.compiler.array_like import NotNumbersError, RaggedError, as_numbers, described
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
