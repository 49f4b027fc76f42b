"""A distribution (or constraint, or transform) taken apart into what is static and what is an array.

NumPyro's objects are pytrees, but their own leaf order comes from a set and changes from process to
process, and fields that an author did not declare vanish. So an object is taken apart by its whole
``__dict__`` in sorted order: arrays and the numbers among its declared parameters become *leaves*
(operands of a node, hence edges of the graph), everything else stays in the `Spec`. `rebuild` is the
inverse. Constraints and transforms without an array inside stay the very object they are, because
NumPyro tells them apart by identity.
"""

from __future__ import annotations

import functools
import inspect
import types
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.transforms import Transform
from numpyro.distributions.util import lazy_property

from plait.ir.contents import closure_values
from plait.ir.errors import ModelError
from plait.ir.text import without_addresses

_DERIVED_FIELDS = frozenset({"_validate_args", "_is_validate_args"})


@dataclass(frozen=True, slots=True)
class Leaf:
    """Stands where operand `index` goes."""

    index: int


@dataclass(frozen=True, slots=True, eq=False)
class Static:
    """A value that is part of the program; compared by value where that is safe, else by identity."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return _equal(self.value, other.value) if isinstance(other, Static) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.value) if isinstance(self.value, _PLAIN) else id(type(self.value))


_PLAIN = (int, float, complex, str, bytes, type(None), type)


def _equal(a: Any, b: Any) -> bool:
    """Whether two values do the same, as far as that can be said without their own ``==``, which may compute."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, (constraints.Constraint, Transform)):
        mine, theirs = _state(a), _state(b)
        return mine.keys() == theirs.keys() and all(_equal(value, theirs[name]) for name, value in mine.items())
    return isinstance(a, _PLAIN) and a == b


@dataclass(frozen=True, slots=True)
class Seq:
    """A list or a tuple."""

    cls: type
    items: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Map:
    """A dict, in its own order."""

    cls: type
    items: tuple[tuple[Any, Part], ...]


@dataclass(frozen=True, slots=True)
class Spec:
    """A class and its fields, sorted by name."""

    cls: Any
    fields: tuple[tuple[str, Part], ...]

    @property
    def n_leaves(self) -> int:
        return len(set(_leaf_indices(self)))

    def field(self, name: str) -> Part | None:
        return dict(self.fields).get(name)


@dataclass(frozen=True, slots=True)
class Closure:
    """A function that closes over arrays of the model, such as the drift of an SDE; `code` has empty cells."""

    code: Static
    cells: tuple[Part, ...]


Part = Leaf | Static | Seq | Map | Spec | Closure


def flatten(obj: Any, what: str) -> tuple[list[Any], Part]:
    """Takes `obj` apart.

    Args:
        obj: a NumPyro distribution or constraint, or one of the user's own.
        what: how to call it in an error, e.g. ``site 'y'``.

    Returns:
        The arrays, each one once, and the rest.

    Raises:
        ModelError: something that is no distribution, function or container holds a traced value, where nobody
            could see it.
    """
    taken = _Taken(what)
    part = taken.apart(obj, False)
    return taken.leaves, part


class _Taken:
    """The arrays of an object that is being taken apart, each one once."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.leaves: list[Any] = []
        self._seen: dict[int, int] = {}
        self._open: list[types.FunctionType] = []

    def leaf(self, x: Any) -> Leaf:
        if id(x) not in self._seen or isinstance(x, (int, float, complex)):
            self._seen[id(x)] = len(self.leaves)
            self.leaves.append(x)
        return Leaf(self._seen[id(x)])

    def apart(self, x: Any, numbers: bool) -> Part:
        """A field's value; `numbers` says whether Python numbers in it are arrays too."""
        if isinstance(x, (bool, np.bool_)) or x is None:
            return Static(x)
        if isinstance(x, (jax.Array, np.ndarray, np.generic)) or (numbers and isinstance(x, (int, float, complex))):
            return self.leaf(x)
        if isinstance(x, (list, tuple)) and not hasattr(x, "_fields"):
            return Seq(type(x), tuple(self.apart(v, numbers) for v in x))
        if isinstance(x, dict):
            return Map(type(x), tuple((k, self.apart(v, numbers)) for k, v in x.items()))
        if isinstance(x, (Distribution, constraints.Constraint, Transform)):
            return self.fields(x)
        if isinstance(x, functools.partial) and _hides_tracer(x, set()):
            x = _as_function(x)
        if isinstance(x, types.FunctionType) and _hides_tracer(closure_values(x), set()):
            return self.closure(x)
        return Static(_checked_static(x, self.what))

    def closure(self, x: types.FunctionType) -> Closure:
        _checked_static((x.__defaults__, x.__kwdefaults__), self.what)
        if x in self._open:  # it calls itself, so there would be no end
            _checked_static(x, self.what)
        self._open.append(x)
        code = _with_cells(x, [types.CellType() for _ in x.__closure__ or ()])
        cells = tuple(self.apart(v, False) for v in closure_values(x))
        self._open.pop()
        return Closure(Static(code), cells)

    def fields(self, x: Any) -> Part:
        if not isinstance(x, Distribution) and not _has_array(x) and not _hides_tracer(x, set()):
            return Static(x)
        declared = set(type(x).gather_pytree_data_fields()) if isinstance(x, Distribution) else set()
        found = [
            (name, self.apart(value, name in declared))
            for name, value in sorted(_state(x).items())
            if name in declared or not isinstance(inspect.getattr_static(type(x), name, None), lazy_property)
        ]
        return Spec(type(x), tuple(found))


def rebuild(part: Part, leaves: Sequence[Any]) -> Any:
    """The object of `flatten`, with other arrays in its leaves. Validation stays off: checks are nodes."""
    match part:
        case Leaf(index):
            return leaves[index]
        case Static(value):
            return value
        case Seq(cls, items):
            return cls(rebuild(item, leaves) for item in items)
        case Map(cls, pairs):
            return cls((key, rebuild(item, leaves)) for key, item in pairs)
        case Closure(code, cells):
            return _with_cells(code.value, [types.CellType(rebuild(cell, leaves)) for cell in cells])
        case Spec(cls, fields):
            obj: Any = object.__new__(cls)
            obj.__dict__.update({name: rebuild(item, leaves) for name, item in fields})
            if issubclass(cls, Distribution):
                obj.__dict__["_validate_args"] = False
            return obj


def filled(part: Part, values: Sequence[Any]) -> Part:
    """The part with `values` as static ones in its leaves."""
    match part:
        case Leaf(index):
            return Static(values[index])
        case Static():
            return part
        case Seq(cls, items):
            return Seq(cls, tuple(filled(item, values) for item in items))
        case Map(cls, pairs):
            return Map(cls, tuple((key, filled(item, values)) for key, item in pairs))
        case Closure(code, cells):
            return Closure(code, tuple(filled(cell, values) for cell in cells))
        case Spec(cls, fields):
            return Spec(cls, tuple((name, filled(item, values)) for name, item in fields))


def spec_text(part: Part, names: Sequence[str]) -> str:
    """``Normal(mu, tau).expand([8])``: as a user would write it, with `names` for the leaves."""
    match part:
        case Leaf(index):
            return names[index]
        case Static(value):
            return _static_text(value)
        case Seq(_, items):
            return f"[{', '.join(spec_text(item, names) for item in items)}]"
        case Map(_, pairs):
            return f"{{{', '.join(f'{k}: {spec_text(v, names)}' for k, v in pairs)}}}"
        case Closure(code):
            return _static_text(code)
        case Spec():
            return _object_text(part, names)


def family(part: Part) -> str:
    """The name of the distribution below expansions, masks and event dimensions."""
    while isinstance(part, Spec) and part.cls.__name__ in _WRAPPERS:
        inner = part.field("base_dist")
        if inner is None:
            break
        part = inner
    return part.cls.__name__ if isinstance(part, Spec) else _static_text(part)


def unexpanded(dist: Part) -> Part:
    """Without the expansion to the plates, which the shape shows."""
    while isinstance(dist, Spec) and dist.cls.__name__ == "ExpandedDistribution":
        inner = dist.field("base_dist")
        if inner is None:
            break
        dist = inner
    return dist


_WRAPPERS = {"ExpandedDistribution", "Independent", "MaskedDistribution"}


def _object_text(spec: Spec, names: Sequence[str]) -> str:
    fields = dict(spec.fields)
    inner = spec_text(fields["base_dist"], names) if "base_dist" in fields else ""
    match spec.cls.__name__:
        case "ExpandedDistribution":
            return f"{inner}.expand({spec_text(fields['_batch_shape'], names)})"
        case "Independent":
            return f"{inner}.to_event({spec_text(fields['reinterpreted_batch_ndims'], names)})"
        case "MaskedDistribution":
            return f"{inner}.mask({spec_text(fields['_mask'], names)})"
    if issubclass(spec.cls, constraints.Constraint):
        return f"{_snake(spec.cls)}({', '.join(f'{n}={spec_text(v, names)}' for n, v in spec.fields)})"
    return f"{spec.cls.__name__}({', '.join(_shown_fields(spec, names))})"


def _shown_fields(spec: Spec, names: Sequence[str]) -> list[str]:
    """The declared parameters in their order, then by name whatever else holds an array that they do not."""
    fields = dict(spec.fields)
    declared = [n for n in getattr(spec.cls, "arg_constraints", {}) if n in fields]
    covered = {i for n in declared for i in _leaf_indices(fields[n])}
    shown = [spec_text(fields[n], names) for n in declared]
    for name, part in spec.fields:
        private = name.startswith("_") and bool(declared)  # made by __init__ from the declared ones
        if name not in declared and not private and set(_leaf_indices(part)) - covered:
            covered |= set(_leaf_indices(part))
            shown.append(f"{name.lstrip('_')}={spec_text(part, names)}")
    return shown


def _static_text(value: Any) -> str:
    if isinstance(value, (type, types.FunctionType, types.MethodType)):
        return value.__qualname__
    if isinstance(value, Static):
        return _static_text(value.value)
    if isinstance(value, (constraints.Constraint, Transform)):
        return constraint_name(value)
    # the address in a default repr would make the text differ from process to process
    default_repr = inspect.getattr_static(type(value), "__repr__") is object.__dict__["__repr__"]
    return type(value).__qualname__ if default_repr else without_addresses(repr(value))


def constraint_name(constraint: Any) -> str:
    """``positive``, ``interval(lower_bound=0, upper_bound=2)``, ``independent(real, 1)``."""
    for name in _CONSTRAINT_NAMES:
        if getattr(constraints, name) is constraint:
            return name
    if isinstance(constraint, constraints.independent):
        inner = constraint_name(constraint.base_constraint)
        return f"{inner}^{constraint.reinterpreted_batch_ndims}"
    fields = [(n, v) for n, v in sorted(_state(constraint).items()) if not n.startswith("_")]
    snake = _snake(type(constraint))
    return f"{snake}({', '.join(f'{n}={_static_text(v)}' for n, v in fields)})" if fields else snake


def _snake(cls: type) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__.lstrip("_")).lstrip("_")


_CONSTRAINT_NAMES = [
    name for name in constraints.__all__ if isinstance(getattr(constraints, name), constraints.Constraint)
]  # fmt: skip


def _leaf_indices(part: Part) -> list[int]:
    match part:
        case Leaf(index):
            return [index]
        case Static():
            return []
        case Seq(_, items) | Closure(_, items):
            return [i for item in items for i in _leaf_indices(item)]
        case Map(_, pairs) | Spec(_, pairs):
            return [i for _, item in pairs for i in _leaf_indices(item)]


def _state(obj: Any) -> dict[str, Any]:
    """`__dict__` without what is derived from the rest (a weak reference to the inverse transform)."""
    return {
        name: None if isinstance(value, weakref.ref) else value
        for name, value in vars(obj).items()
        if name not in _DERIVED_FIELDS
    }


def _has_array(obj: Any) -> bool:
    """Whether an array sits anywhere inside a constraint or transform."""
    values: list[Any] = list(_state(obj).values())
    while values:
        value = values.pop()
        if isinstance(value, (jax.Array, np.ndarray, np.generic)):
            return True
        if isinstance(value, (list, tuple)):
            values.extend(value)
        elif isinstance(value, Mapping):
            values.extend(value.values())
        elif isinstance(value, (constraints.Constraint, Transform, Distribution)):
            values.extend(_state(value).values())
    return False


def _checked_static(value: Any, what: str) -> Any:
    if _hides_tracer(value, set()):
        raise ModelError(
            f"{what} holds {_static_text(value)!r}, which closes over a value computed in the model: plait can't see "
            "such a value; make it an array field of the distribution"
        )
    return value


def _hides_tracer(value: Any, seen: set[int]) -> bool:
    """Whether a traced value sits in a function's closure, a bound object, a container or an unknown object."""
    if isinstance(value, jax.core.Tracer):
        return True
    if id(value) in seen or isinstance(value, (*_PLAIN, types.ModuleType)):
        return False
    seen.add(id(value))
    return any(_hides_tracer(part, seen) for part in _parts(value))


def _parts(value: Any) -> list[Any]:
    """What a value holds, looked up without calling anything of the user's."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.FunctionType):
        return [*closure_values(value), *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    return list(getattr(value, "__dict__", {}).values())


def _as_function(x: functools.partial[Any]) -> types.FunctionType:
    """The same function with its arguments in its closure: a network with its parameters bound is a partial."""
    function, args, named = x.func, x.args, dict(x.keywords)

    def call(*more: Any, **others: Any) -> Any:
        return function(*args, *more, **{**named, **others})

    assert isinstance(call, types.FunctionType)
    call.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)
    return call


def _with_cells(function: Any, cells: Sequence[Any]) -> Any:
    """The function with other values in its closure."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells)
    )
    copy.__kwdefaults__, copy.__qualname__ = function.__kwdefaults__, function.__qualname__
    return copy
