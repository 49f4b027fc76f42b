"""Frozen dataclasses as JSON and back, driven by the annotations of their fields.

```python
@dataclass(frozen=True)
class Row:                                    to_data(Row("fuse", inf, (2, 3)))
    stage: str                                ⇒  {"stage": "fuse", "error": "inf", "shape": [2, 3]}
    error: float                              from_data(Row, …, "a row")
    shape: tuple[int, ...]                    ⇒  Row("fuse", inf, (2, 3))
```

A field may be a bool, int, float, str, None, a numpy dtype, another dataclass, `X | None`,
`tuple[X, ...]`, `tuple[X, Y]`, `list[X]` or `dict[str, X]`; `Annotated[Any, X]` is read as X. JSON has no infinite
number and no NaN, so these are the strings "inf", "-inf" and "nan". Both directions are strict: what does not fit its
annotation is refused, and so is a field that is missing or that nobody knows. A field that a schema got after files of
it had been written says so, ``field(default=…, metadata=ADDED)``, and may be missing.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

import numpy as np

from plait.ir.errors import ArtifactError, InternalError

T = TypeVar("T")

ADDED = types.MappingProxyType({"added": True})

_NOT_FINITE = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


# -- from a value to JSON -------------------------------------------------------------------------------


def to_data(value: Any) -> dict[str, Any]:
    """A dataclass as what `json.dumps(…, allow_nan=False)` takes.

    Args:
        value: an instance of a dataclass.

    Returns:
        Its fields by name, in order; numpy's numbers are Python's.

    Raises:
        ArtifactError: a value is not what its field is annotated with; the sentence names the field.
    """
    encoded: dict[str, Any] = _encode(type(value), value, type(value).__name__)
    return encoded


def _encode(kind: Any, value: Any, at: str) -> Any:
    kind = _held(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        return None if value is None else _encode(_optional(inner, at), value, at)
    if origin in (tuple, list):
        if not isinstance(value, origin):
            _unfit(value, origin.__name__, at)
        kinds = _item_kinds(origin, inner, len(value), at)
        return [_encode(k, v, f"{at}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True))]
    if origin is dict:
        entries = _entries(inner, value, at)
        return {key: _encode(k, v, f"{at}[{key!r}]") for key, k, v in entries}
    if _is_record(kind):
        if value.__class__ is not kind:
            _unfit(value, _name(kind), at)
        return {n: _encode(k, getattr(value, n), f"{at}.{n}") for n, k in _fields(kind).items()}
    if np.dtype in (kind, origin):
        return _encode_dtype(value, at)
    return _encode_scalar(kind, value, at)


def _encode_dtype(value: Any, at: str) -> str:
    if not isinstance(value, np.dtype) or np.sctypeDict.get(value.name) is not value.type or not value.isnative:
        _unfit(value, "dtype of plain numbers", at)
    return value.name


def _encode_scalar(kind: Any, value: Any, at: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    checked = _scalar(kind, value, at)
    return number(checked) if kind is float else checked


def number(value: float) -> float | str:
    """A float as JSON can hold it: one that is not finite is "inf", "-inf" or "nan"."""
    return value if math.isfinite(value) else str(value)


def _unfit(value: Any, wanted: str, at: str) -> NoReturn:
    raise ArtifactError(f"{at} is {_shown(value)}, where {_article(wanted)} should stand")


# -- from JSON to a value -------------------------------------------------------------------------------


def from_data(cls: type[T], data: Any, what: str) -> T:
    """The inverse of `to_data`.

    Args:
        cls: the dataclass.
        data: what `json.loads` made of its JSON.
        what: how an error calls the whole, such as "the explanation".

    Returns:
        A value equal to the one that was written.

    Raises:
        ArtifactError: a field is missing, unknown, or of the wrong type; the sentence names it.
    """
    decoded: T = _decode(cls, data, what)
    return decoded


def without_schema(data: Any, schema: str, what: str) -> dict[str, Any]:
    """The fields beside "schema".

    Raises:
        ArtifactError: the data are of another schema, or of none.
    """
    if not isinstance(data, Mapping):
        _unfit(data, "object", what)
    if data.get("schema") != schema:
        found = f"the schema {_shown(data['schema'])}" if "schema" in data else "no schema"
        raise ArtifactError(f"{what} has {found}; this version of plait reads {schema!r}")
    return {name: value for name, value in data.items() if name != "schema"}


def _decode(kind: Any, data: Any, at: str) -> Any:
    kind = _held(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in _UNIONS:
        return None if data is None else _decode(_optional(inner, at), data, at)
    if origin in (tuple, list):
        if not isinstance(data, list):
            _unfit(data, "list", at)
        kinds = _item_kinds(origin, inner, len(data), at)
        return origin(_decode(k, v, f"{at}[{i}]") for i, (k, v) in enumerate(zip(kinds, data, strict=True)))
    if origin is dict:
        entries = _entries(inner, data, at)
        return {key: _decode(k, v, f"{at}[{key!r}]") for key, k, v in entries}
    if _is_record(kind):
        return _decode_record(kind, data, at)
    if np.dtype in (kind, origin):
        return _decode_dtype(data, at)
    if kind is float and isinstance(data, str) and data in _NOT_FINITE:
        return _NOT_FINITE[data]
    return _scalar(kind, data, at)


def _decode_record(kind: Any, data: Any, at: str) -> Any:
    if not isinstance(data, Mapping):
        _unfit(data, "object", at)
    fields = _fields(kind)
    absent = [name for name in _added(kind) if name not in data]
    for name in fields:
        if name not in data and name not in absent:
            raise ArtifactError(f"{at} has no field {name!r}")
    for name in data:
        if name not in fields:
            raise ArtifactError(f"{at} has the field {_shown(name)}, which this version of plait does not know")
    return kind(**{name: _decode(k, data[name], f"{at}.{name}") for name, k in fields.items() if name not in absent})


def _decode_dtype(data: Any, at: str) -> np.dtype[Any]:
    if not isinstance(data, str) or data not in np.sctypeDict:
        _unfit(data, "dtype of plain numbers", at)
    return np.dtype(np.sctypeDict[data])


# -- both directions ------------------------------------------------------------------------------------

_UNIONS = (typing.Union, types.UnionType)


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


@functools.cache
def _fields(cls: type) -> dict[str, Any]:
    """The fields of a dataclass with their types."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


@functools.cache
def _added(cls: type) -> frozenset[str]:
    """Fields that earlier files of the same schema have not: they are declared with `ADDED`, and a default."""
    return frozenset(f.name for f in dataclasses.fields(cls) if "added" in f.metadata)


def _held(kind: Any) -> Any:
    """What JSON can hold of a field: of `Annotated[Any, np.dtype]` numpy's dtypes."""
    return kind.__metadata__[0] if typing.get_origin(kind) is typing.Annotated else kind


def _scalar(kind: Any, value: Any, at: str) -> Any:
    """A value that is JSON's own; a bool is no number, an int is a float, too."""
    if kind not in (bool, int, float, str, types.NoneType):
        raise InternalError(f"{at} is annotated with {kind}, which has no JSON form")
    fits = (int, float) if kind is float else kind
    if not isinstance(value, fits) or (isinstance(value, bool) and kind is not bool):
        _unfit(value, _name(kind), at)
    if kind is float and abs(value) > sys.float_info.max and isinstance(value, int):
        _unfit(value, "float64", at)
    return float(value) if kind is float else value


def _optional(inner: tuple[Any, ...], at: str) -> Any:
    kinds = [k for k in inner if k is not types.NoneType]
    if len(kinds) != 1 or len(inner) != 2:
        raise InternalError(f"{at} is annotated with a union other than X | None")
    return kinds[0]


def _item_kinds(origin: type, inner: tuple[Any, ...], length: int, at: str) -> list[Any]:
    """The type of each item of a list or tuple."""
    if origin is list or inner[1:] == (...,):
        return [inner[0]] * length
    if len(inner) != length:
        raise ArtifactError(f"{at} has {length} items instead of {len(inner)}")
    return list(inner)


def _entries(inner: tuple[Any, ...], entries: Any, at: str) -> list[tuple[str, Any, Any]]:
    """(key, type of its value, value) of a dict."""
    keys, values = inner
    if keys is not str:
        raise InternalError(f"{at} is annotated with a dict whose keys are no strings")
    if not isinstance(entries, Mapping):
        _unfit(entries, "object", at)
    for key in entries:
        if not isinstance(key, str):
            _unfit(key, "string as a key", at)
    return [(key, values, value) for key, value in entries.items()]


_NAMES = {bool: "bool", int: "integer", float: "number", str: "string", types.NoneType: "null"}


def _name(kind: Any) -> str:
    return _NAMES.get(kind) or str(kind.__name__)


def _article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


_LONGEST = 60  # characters of a wrong value that an error shows


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


__all__ = ["ADDED", "from_data", "number", "to_data", "without_schema"]
