"""Kernels as data: a name and the fields, which JSON can hold, for a model in a file.

{"name": "pair_counts", "rows": [50], "groups": 6, "outcomes": 9, "size": 0, "weighted": false, "width": 3}

What a file says is checked against the fields' annotations before it becomes a kernel. Importing this needs neither JAX
nor NumPyro.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np

from plait.compiler.kernels.categories import CategoryRows
from plait.compiler.kernels.cells import Along, Layout, Taken
from plait.compiler.kernels.families import FamilyStatistics
from plait.compiler.kernels.kept import (
    Events,
    Exceedances,
    GammaMeans,
    Levels,
    Multiples,
    NormalMeans,
    Outcomes,
    Signs,
    Values,
)
from plait.compiler.kernels.linear_sum import LinearSumStatistics
from plait.compiler.kernels.normal import NormalStatistics, SquareStatistics
from plait.compiler.kernels.pairs import PairCounts
from plait.compiler.kernels.rows import LeafData, RowStatistics
from plait.compiler.kernels.scatter import ScatterStatistics
from plait.ir.errors import ArtifactError

HostKernel = (
    CategoryRows
    | FamilyStatistics
    | LinearSumStatistics
    | NormalStatistics
    | PairCounts
    | RowStatistics
    | ScatterStatistics
    | SquareStatistics
)

# By what files call them: a class may change its name, but not what it is called here.
CLASSES: Mapping[str, type] = {cls.name: cls for cls in get_args(HostKernel)} | {
    "along": Along,
    "events": Events,
    "exceedances": Exceedances,
    "gamma_means": GammaMeans,
    "layout": Layout,
    "leaf_data": LeafData,
    "levels": Levels,
    "multiples": Multiples,
    "normal_means": NormalMeans,
    "outcomes": Outcomes,
    "signs": Signs,
    "taken": Taken,
    "values": Values,
}
NAMES = {cls: name for name, cls in CLASSES.items()}
DTYPES = ("float16", "float32", "float64")  # of programs
LARGEST = 2**63 - 1  # of an integer


class _MisfitError(Exception):
    """A part of a kernel that has no recipe, or of a recipe that is of no kernel: where it is, and what is wrong."""


def recipe(kernel: HostKernel) -> dict[str, Any]:
    """A kernel as data: its name and its fields, made of dicts, lists, strings, numbers and booleans.

    Raises:
        ArtifactError: it holds something that can't be saved.
    """
    try:
        found: dict[str, Any] = _written(kernel, "")
    except _MisfitError as e:
        raise ArtifactError(f"kernel {_name_of(kernel)} can't be saved: {e}") from None
    return found


def kernel_of(recipe: object) -> HostKernel:
    """The kernel that a recipe describes.

    Args:
        recipe: what `recipe` answered, as JSON gives it back; or what somebody else wrote.

    Raises:
        ArtifactError: it is the recipe of no kernel; names the kernel and the field.
    """
    try:
        found: HostKernel = _read(recipe, HostKernel, "")
    except _MisfitError as e:
        name = recipe.get("name") if isinstance(recipe, dict) else None
        of = f"kernel {reprlib.repr(name)}" if isinstance(name, str) else "a kernel"
        raise ArtifactError(f"{of} can't be read: {e}; save the model again with this version of plait") from None
    return found


# -- writing ---------------------------------------------------------------------------------------------------


def _name_of(kernel: object) -> str:
    return repr(NAMES.get(type(kernel), type(kernel).__name__))


def _written(value: Any, at: str) -> Any:
    if type(value) in NAMES:
        return {"name": NAMES[type(value)]} | {
            f.name: _written(getattr(value, f.name), _inside(at, f.name)) for f in fields(value)
        }
    if isinstance(value, tuple):
        return [_written(x, f"{at}[{i}]") for i, x in enumerate(value)]
    if isinstance(value, np.dtype) and value.name in DTYPES:
        return value.name
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, bool | int | float | str):
        raise _MisfitError(f"{_field(at)} is {reprlib.repr(value)}, which files have no form for")
    return value


# -- reading ---------------------------------------------------------------------------------------------------


def _read(value: Any, hint: Any, at: str) -> Any:
    """A value of an annotated type.

    Raises:
        _MisfitError: it is none.
    """
    args = get_args(hint)
    if get_origin(hint) is Annotated:
        kind, allowed = args
        return _one_of(_read(value, kind, at), allowed, at)
    if get_origin(hint) is tuple:
        return tuple(_items(value, args, at))
    if hint is np.dtype:
        return np.dtype(_one_of(_read(value, str, at), DTYPES, at))
    if hint in (bool, int, float, str):
        if type(value) is not hint or (hint is int and not 0 <= value <= LARGEST):
            raise _MisfitError(f"{_field(at)} is {reprlib.repr(value)}, not {_WORDS[hint]}")
        return value
    return _dataclass(value, args or (hint,), at)


_WORDS = {bool: "true or false", int: f"an integer from 0 to {LARGEST}", float: "a float", str: "a string"}


def _one_of(value: Any, allowed: Any, at: str) -> Any:
    if value not in allowed:
        raise _MisfitError(f"{_field(at)} is {reprlib.repr(value)}, not one of {', '.join(map(repr, sorted(allowed)))}")
    return value


def _items(value: Any, hints: tuple[Any, ...], at: str) -> Iterator[Any]:
    if not isinstance(value, list):
        raise _MisfitError(f"{_field(at)} is {reprlib.repr(value)}, not a list")
    if hints[-1] is ...:
        hints = hints[:1] * len(value)
    if len(value) != len(hints):
        raise _MisfitError(f"{_field(at)} has {len(value)} items, not {len(hints)}")
    for i, (item, hint) in enumerate(zip(value, hints, strict=True)):
        yield _read(item, hint, f"{at}[{i}]")


def _dataclass(value: Any, bases: tuple[type, ...], at: str) -> Any:
    """An instance of a class of the table that is one of `bases`, or of a class below them."""
    names = [name for name, cls in CLASSES.items() if issubclass(cls, bases)]
    if not isinstance(value, dict):
        raise _MisfitError(f"{_field(at)} is {reprlib.repr(value)}, not a recipe by name and fields")
    name = _one_of(_read(value.get("name"), str, _inside(at, "name")), names, _inside(at, "name"))
    cls = CLASSES[name]
    assert is_dataclass(cls)
    hints, wanted = get_type_hints(cls, include_extras=True), [f.name for f in fields(cls)]
    missing, extra = [x for x in wanted if x not in value], [x for x in value if x not in ("name", *wanted)]
    if missing or extra:
        at = _inside(at, (missing or extra)[0])
        raise _MisfitError(f"{_field(at)} is {'missing' if missing else f'none that {name!r} has'}")
    return cls(**{x: _read(value[x], hints[x], _inside(at, x)) for x in wanted})


def _inside(at: str, name: object) -> str:
    return f"{at}.{name}" if at else str(name)


def _field(at: str) -> str:
    return f"its field {at!r}" if at else "it"


__all__ = ["CLASSES", "HostKernel", "kernel_of", "recipe"]
