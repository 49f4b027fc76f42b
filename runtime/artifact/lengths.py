"""One function for arrays of any length, of the same function traced at a few lengths.

The traces are walked side by side. What is equal in all of them stays; a number that grows with the length as a
straight line does is that line; what is neither is refused. The lengths lie next to each other and far apart, so that
`n // 2` and `min(n, 10)` are told from lines, and no rule of the compiler has to know of symbolic sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from plait.compiler import jax_compat as compat


class DiffersError(Exception):
    """Something is another in each trace, and on no line; in words."""


@dataclass(frozen=True)
class Line:
    """Where values are known, and where one is wanted.

    Attributes:
        at: by how much the lengths are longer than the first, so that it begins 0, 1.
        steps: the same of the length that is wanted: a number, or a symbolic dimension.
    """

    at: tuple[int, ...]
    steps: Any


def on_line(values: Sequence[Any], line: Line) -> Any:
    """What stands at another length.

    Args:
        values: one for each of `line.at`, of one kind: numbers, strings, tuples, dicts, dataclasses, jaxprs, arrays.
        line: the lengths.

    Raises:
        DiffersError: there is no such line.
    """
    first = values[0]
    if all(v is first for v in values):
        return first
    if all(map(_is_number, values)):
        return _number(values, line)
    if any(type(v) is not type(first) for v in values):
        raise DiffersError(f"{_short(first)} and {_short(values[1])}")
    if isinstance(first, float) and not all(v == first for v in values):
        return _array([np.asarray(v) for v in values], line)
    if isinstance(first, tuple | list):
        _require((len(v) == len(first) for v in values), "another number of parts")
        items = [on_line(items, line) for items in zip(*values, strict=True)]
        return type(first)(*items) if hasattr(first, "_fields") else type(first)(items)
    if isinstance(first, dict):
        _require((v.keys() == first.keys() for v in values), "other parts")
        return {key: on_line([v[key] for v in values], line) for key in first}
    if isinstance(first, ClosedJaxpr):
        return _jaxpr(values, line)
    if isinstance(first, np.ndarray | jax.Array):
        return _array(values, line)
    if isinstance(first, jax.ShapeDtypeStruct):
        return _aval(values, line)
    if is_dataclass(first) and not isinstance(first, type):
        new = {f.name: on_line([getattr(v, f.name) for v in values], line) for f in fields(first)}
        return type(first)(**new)
    if all(v == first for v in values) or (isinstance(first, Jaxpr) and _read_alike(values)):
        return first
    raise DiffersError(f"{_short(first)} and {_short(values[1])}")


def _is_number(x: Any) -> bool:
    return (isinstance(x, int | np.integer) and not isinstance(x, bool)) or export.is_symbolic_dim(x)


def _number(values: Sequence[Any], line: Line) -> Any:
    first = values[0]
    slope = values[1] - first if len(values) > 1 else 0
    if any(v != first + slope * x for v, x in zip(values, line.at, strict=True)):
        raise DiffersError(f"the numbers {', '.join(map(str, values))}")
    return first + slope * line.steps


def _require(conditions: Iterable[bool], otherwise: str) -> None:
    if not all(conditions):
        raise DiffersError(otherwise)


def _short(x: Any) -> str:
    text = " ".join(str(x).split())
    return text if len(text) <= 40 else f"{text[:37]}…"


# -- arrays -----------------------------------------------------------------------------------------------


def _array(values: Sequence[Any], line: Line) -> Any:
    """A constant: equal in all traces, or one value throughout, or its own indices."""
    if is_one(values):
        return values[0]
    arrays = [np.asarray(v) for v in values]
    shape = on_line([a.shape for a in arrays], line)
    if shape == () and arrays[0].dtype.kind in "iuf":
        return _scalar(arrays, line)
    if all(a.size for a in arrays) and all(np.all(a == arrays[0].flat[0]) for a in arrays):
        return jnp.broadcast_to(jnp.asarray(arrays[0].flat[0]), shape)
    for axis in range(arrays[0].ndim):
        if all(np.array_equal(a, np.broadcast_to(_indices(a, axis), a.shape)) for a in arrays):
            return jax.lax.broadcasted_iota(arrays[0].dtype, shape, axis)
    raise DiffersError(f"constants of shape {arrays[0].shape} and {arrays[1].shape}")


def _scalar(arrays: Sequence[np.ndarray], line: Line) -> Any:
    """A number that is computed of the length in Python: whole, or rounded, such as ``len(y) * log(2 * pi)``."""
    dtype = arrays[0].dtype
    if all(np.isfinite(a) and a == np.round(a) for a in arrays):
        return jnp.asarray(_number([int(a) for a in arrays], line), dtype)
    values, at = np.array([float(a) for a in arrays]), np.array(line.at)
    far = np.argmax(np.abs(at))  # its rounding is the least part of the slope
    slope = (values[far] - values[0]) / at[far]
    allowed = 8 * np.finfo(dtype).eps * np.max(np.abs(values))
    if not np.all(np.abs(values[0] + slope * at - values) <= allowed):
        raise DiffersError(f"the numbers {', '.join(f'{v:.6g}' for v in values)}")
    return jnp.asarray(values[0], dtype) + jnp.asarray(slope, dtype) * jnp.asarray(line.steps, dtype)


def is_one(values: Sequence[Any]) -> bool:
    """Whether all of these arrays are equal."""
    if len(values) == 1:
        return True
    arrays = [np.asarray(v) for v in values]
    first, has_nan = arrays[0], arrays[0].dtype.kind in "fc"
    return all(a.shape == first.shape and np.array_equal(a, first, equal_nan=has_nan) for a in arrays)


def _indices(a: np.ndarray, axis: int) -> np.ndarray:
    return np.arange(a.shape[axis]).reshape([-1 if i == axis else 1 for i in range(a.ndim)])


# -- traces -----------------------------------------------------------------------------------------------


def _jaxpr(closed: Sequence[ClosedJaxpr], line: Line) -> ClosedJaxpr:
    if _read_alike(closed):
        return closed[0]
    avals = [_aval([c.in_avals[i] for c in closed], line) for i in range(len(closed[0].in_avals))]
    return jax.make_jaxpr(lambda *args: evaluated(closed, line, args))(*avals)


def _read_alike(values: Sequence[Any]) -> bool:
    """Whether the texts are equal, and the constants of jaxprs, also of those inside, which no text has."""
    if any(str(v) != str(values[0]) for v in values):
        return False
    constants = [list(_constants(v)) for v in values]
    return len({len(c) for c in constants}) == 1 and all(map(is_one, zip(*constants, strict=True)))


def _constants(x: Any) -> Iterator[Any]:
    if isinstance(x, ClosedJaxpr | Jaxpr):  # one class in newer versions of jax
        yield from getattr(x, "consts", ())
        for eqn in x.eqns:
            yield from (a.val for a in eqn.invars if isinstance(a, Literal))
            yield from _constants(tuple(eqn.params.values()))
    elif isinstance(x, tuple | list):
        for item in x:
            yield from _constants(item)


def _aval(avals: Sequence[Any], line: Line) -> Any:
    first = avals[0]
    return jax.ShapeDtypeStruct(on_line([a.shape for a in avals], line), first.dtype, weak_type=first.weak_type)


def evaluated(
    closed: Sequence[ClosedJaxpr], line: Line, args: Sequence[Any], given: Mapping[int, Any] | None = None
) -> list[Any]:
    """The results of what `closed` would be at another length.

    Args:
        closed: traces of one function, one for each of `line.at`.
        line: the lengths.
        args: flat.
        given: constants that the function closes over, by their place; the others are those of the traces.

    Raises:
        DiffersError: the traces are not the same but for their lengths.
    """
    jaxprs = [c.jaxpr for c in closed]
    first = jaxprs[0]
    counts = [len(j.eqns) for j in jaxprs]
    _require((n == counts[0] for n in counts), f"{', '.join(map(str, counts))} operations")
    _require((len(c.consts) == len(closed[0].consts) for c in closed), "another number of constants")
    of_traces = enumerate(zip(*(c.consts for c in closed), strict=True))
    consts = [given[i] if given and i in given else on_line(values, line) for i, values in of_traces]
    env: dict[Any, Any] = dict(zip([*first.constvars, *first.invars], [*consts, *args], strict=True))
    twins = [dict(zip([*j.constvars, *j.invars], [*first.constvars, *first.invars], strict=True)) for j in jaxprs]

    def read(atoms: Sequence[Any]) -> Any:
        if isinstance(atoms[0], Literal):
            _require((isinstance(a, Literal) for a in atoms), "a number and an array")
            return on_line([a.val for a in atoms], line)
        pairs = zip(atoms, twins, strict=True)
        _require(
            (not isinstance(a, Literal) and twin[a] is atoms[0] for a, twin in pairs), "operations on other values"
        )
        return env[atoms[0]]

    for eqns in zip(*(j.eqns for j in jaxprs), strict=True):
        names = [e.primitive.name for e in eqns]
        _require((name == names[0] for name in names), f"the operations {', '.join(names)}")
        _require((len(e.invars) == len(eqns[0].invars) for e in eqns), f"{names[0]} of more and of fewer values")
        inputs = [read(atoms) for atoms in zip(*(e.invars for e in eqns), strict=True)]
        env.update(zip(eqns[0].outvars, _equation(eqns, line, inputs), strict=True))
        for e, twin in zip(eqns, twins, strict=True):
            twin.update(zip(e.outvars, eqns[0].outvars, strict=True))
    return [read(atoms) for atoms in zip(*(j.outvars for j in jaxprs), strict=True)]


def _equation(eqns: Sequence[Any], line: Line, inputs: Sequence[Any]) -> list[Any]:
    called = [c for e in eqns if (c := compat.called_jaxpr(e)) is not None]
    if called:  # exported functions are not differentiated, so that custom derivatives are not needed
        return evaluated(called, line, inputs)
    return compat.bind(eqns[0].primitive, on_line([e.params for e in eqns], line), inputs)


__all__ = ["DiffersError", "Line", "evaluated", "is_one", "on_line"]
