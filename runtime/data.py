"""New data for a compiled program: only what may differ differs, else an error that says what."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from plait.compiler.arguments import argument_leaves, canonical
from plait.compiler.array_like import NotNumbersError, RaggedError, as_numbers
from plait.ir.errors import BindError, DataError
from plait.ir.names import unknown_names
from plait.ir.types import ArrayType
from plait.runtime.description import DataSchema

FEWEST_ROWS = 2  # of data whose number of rows may change; code for one row is other code


def rebound_arrays(schema: DataSchema, current: Sequence[Any], new: Mapping[str, Any]) -> tuple[Any, ...]:
    """The data arrays with some arguments replaced.

    Args:
        schema: of the compile.
        current: the arrays that are bound now.
        new: by argument name, whole arguments.

    Raises:
        BindError: a shape, dtype, structure or static value differs from the compile's.
        DataError: a value does not fit into the dtype.
    """
    unknown_names(new.keys(), list(schema.parts), "argument")
    arrays = dict(zip(schema.names, current, strict=True))
    for name, given in new.items():
        # where one array is expected a list of numbers will do, as numpy's functions take it
        value = _as_array(name, given) if name in arrays and isinstance(given, (list, tuple)) else given
        leaves = argument_leaves({name: value})
        _same_structure(name, schema.parts[name], leaves, schema.remedy)
        for label, leaf in leaves.items():
            if label in arrays:
                arrays[label] = _same_type(label, leaf, arrays[label], schema)
            elif not _equal(schema.static[label], leaf):
                raise BindError(
                    f"{label!r} is part of the program, compiled for {schema.static[label]!r}, got {leaf!r}: "
                    f"{schema.remedy}"
                )
    _same_length({label: np.shape(arrays[label])[0] for label in schema.rows}, schema.fewest_rows)
    return tuple(arrays.values())


def _same_length(lengths: Mapping[str, int], fewest: int) -> None:
    """Of data whose leading axis may have another length, the same for all."""
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{label!r} {n}" for label, n in lengths.items())
        raise BindError(f"data with rows of their own number have different ones: {found}; bind all of them together")
    if min(lengths.values(), default=fewest) < fewest:
        raise BindError(f"data {', '.join(map(repr, lengths))} need at least {fewest} rows")


def _same_structure(name: str, parts: Collection[str], leaves: Mapping[str, Any], remedy: str) -> None:
    if set(parts) != leaves.keys():
        raise BindError(f"argument {name!r} has the parts {sorted(leaves)}, compiled for {sorted(parts)}: {remedy}")


def _as_array(label: str, given: Any) -> Any:
    try:
        return as_numbers(given)
    except RaggedError:
        raise BindError(f"data {label!r} is ragged: its rows differ in length; give an array") from None
    except NotNumbersError as found:
        raise BindError(f"data {label!r} must be an array of numbers, got {found}") from None


def _same_type(label: str, leaf: Any, before: Any, schema: DataSchema) -> Any:
    if np.ma.is_masked(leaf):
        raise DataError(f"data {label!r} is a masked array, whose mask would be ignored; pass the mask apart")
    array = canonical(_as_array(label, leaf), label)
    new, old = (ArrayType(t.dtype, tuple(t.shape)) for t in map(jax.typeof, (array, before)))
    any_length = label in schema.rows
    if new.shape != old.shape and not (any_length and new.ndim and new.shape[1:] == old.shape[1:]):
        rows = " with any number of rows" if any_length else ""
        raise BindError(f"data {label!r} is {new}, compiled for {old}{rows}: {schema.remedy}")
    same_kind = (
        np.can_cast(new.dtype, old.dtype, "same_kind") if isinstance(new.dtype, np.dtype) else new.dtype == old.dtype
    )
    if not same_kind:
        raise BindError(f"data {label!r} is {new}, compiled for {old}: cast it, or {schema.remedy}")
    return array if new.dtype == old.dtype else array.astype(old.dtype)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b))
    try:
        same = a is b or a == b
        return same if isinstance(same, bool) else bool(np.all(same))
    except ValueError:  # of arrays inside, whose comparison is no single truth
        return False
