"""What users hand over: values, flat vectors, keys and shapes as arrays of numbers, or an error that says what."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.array_like import NotNumbersError, RaggedError, as_numbers
from plait.compiler.jax_compat import is_tracer
from plait.ir.errors import SiteTypeError, ValueNamesError
from plait.ir.types import Loc, Shape

Where = Callable[[], Loc | None]  # the site's line, which only an error looks up


def _nowhere() -> Loc | None:
    return None


def numbers(value: Any, what: str, where: Where = _nowhere) -> Any:
    """A value as an array of numbers, where it is not one of jax's already.

    Raises:
        ValueNamesError: it is ragged, or holds something else; `what` names it.
    """
    try:
        return as_numbers(value)
    except jax.errors.TracerArrayConversionError:
        return jnp.asarray(value)
    except RaggedError:
        raise ValueNamesError(f"{what} is ragged: its rows differ in length", where()) from None
    except NotNumbersError as found:
        got = "a string" if isinstance(value, str) else found
        raise ValueNamesError(f"{what} must be an array of numbers, got {got}", where()) from None


def in_dtype(array: Any, dtype: Any, what: str, where: Where = _nowhere) -> Any:
    """An array of numbers in a site's dtype.

    Raises:
        ValueNamesError: the cast would change it: a fraction to an integer, a complex number to a real one.
    """
    if array.dtype == dtype:
        return jnp.asarray(array)
    if jnp.issubdtype(array.dtype, np.complexfloating) and not jnp.issubdtype(dtype, np.complexfloating):
        raise ValueNamesError(f"{what} must be real, got {array.dtype}", where())
    if jnp.issubdtype(dtype, np.integer) and (lost := _lost(array, dtype)):
        raise ValueNamesError(f"{what} must be of integers ({np.dtype(dtype)}), got {lost}", where())
    return jnp.asarray(array, dtype)


def _lost(array: Any, dtype: Any) -> str:
    """What an integer dtype can't hold of an array; nothing is the empty string."""
    if is_tracer(array):
        is_float = jnp.issubdtype(array.dtype, np.floating)
        return f"{array.dtype} inside a jax transformation; cast it" if is_float else ""
    array = np.asarray(array)
    with np.errstate(invalid="ignore"):
        lost = array[array.astype(dtype) != array]
    return f"{lost.flat[0]}" if lost.size else ""


def flat_vector(z: Any, dim: int, dtype: Any, batched: bool, what: str = "the flat vector") -> Any:
    """The flat unconstrained vector, of shape (dim,), or (…, dim) if `batched`; or `what` is laid out like it.

    Raises:
        ValueNamesError: it has another shape, or is not of real numbers.
    """
    if isinstance(z, jax.Array) and z.shape == (dim,) and z.dtype == dtype:
        return z  # the common case, at once: a small density takes a few microseconds
    if isinstance(z, Mapping):
        raise ValueNamesError(f"{what} is one array, got a dict; log_joint and unconstrain take values by name")
    array = numbers(z, what)
    if array.shape != (dim,) and not (batched and array.shape[-1:] == (dim,)):
        hint = "" if batched or array.shape[-1:] != (dim,) else "; use jax.vmap for several"
        expected = f"(…, {dim})" if batched else f"({dim},)"
        raise ValueNamesError(f"{what} has shape {expected}, got {array.shape}{hint}")
    return array if array.dtype == dtype else in_dtype(array, dtype, what)


def cube_points(u: Any, dim: int, dtype: Any) -> Any:
    """Points of the unit cube, of shape (…, dim).

    Raises:
        ValueNamesError: they have another shape, or lie outside; under a caller's jit nobody can look.
    """
    u = flat_vector(u, dim, dtype, batched=True, what="the point of the unit cube")
    if not is_tracer(u) and not np.all((inside := np.asarray(u)) >= 0) & np.all(inside <= 1):
        wrong = inside[~((inside >= 0) & (inside <= 1))]
        raise ValueNamesError(f"the point of the unit cube has entries from 0 to 1, got {wrong.flat[0]}")
    return u


def one_number(value: Any, dtype: Any, what: str) -> Any:
    """A scalar.

    Raises:
        ValueNamesError: it is an array, or no real number.
    """
    array = numbers(value, what)
    if array.shape != ():
        raise ValueNamesError(f"{what} is one number, got an array of shape {array.shape}; use jax.vmap for several")
    return in_dtype(array, dtype, what)


def one_key(key: Any) -> Any:
    """A single random key.

    Raises:
        SiteTypeError: it is something else, such as an integer seed or several keys.
    """
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if key.shape == ():
            return key
        got = f"keys of shape {key.shape}; use jax.vmap over them"
    elif dtype == np.uint32 and np.ndim(key) == 1:  # of jax.random.PRNGKey
        return key
    else:
        got = repr(key) if np.ndim(key) == 0 else f"an array of {dtype}"
    raise SiteTypeError(f"the key must be one jax random key, such as jax.random.key(0), got {got}")


def draws_shape(shape: Any, what: str = "the shape of draws") -> Shape:
    """The shape of independent draws, or of `what`, given as an integer or integers.

    Raises:
        SiteTypeError: it is something else.
    """
    try:
        sizes = tuple(operator.index(n) for n in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    except TypeError:
        sizes = (-1,)
    if any(n < 0 for n in sizes):
        raise SiteTypeError(f"{what} is an integer or a tuple of integers, none negative, got {shape!r}")
    return sizes


__all__ = ["cube_points", "draws_shape", "flat_vector", "in_dtype", "numbers", "one_key", "one_number", "Where"]
