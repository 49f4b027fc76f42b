"""What a value of the program is, as texts to hash: the same in every process, and others where it does something else.

What comes with a library (JAX, NumPy, NumPyro, Python, plait) goes by its name. Functions and classes of the user's go
by their code, by what they close over, and by the numbers, functions and classes that they name. So an edit shows, and
lines and the names of functions and of local variables do not count.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var

Special = Mapping[type, Callable[[Any], Iterator[str]]]


def digest(pieces: Iterable[str]) -> str:
    """SHA-256 of texts in order, as hexadecimal digits."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece.encode(errors="surrogatepass") + b"\0")  # a name need be no text of UTF-8
    return found.hexdigest()


def contents(value: Any, special: Special = types.MappingProxyType({})) -> Iterator[str]:
    """Texts that say all that counts of a value.

    Args:
        value: whatever an op holds: numbers, arrays, jaxprs, functions, distributions taken apart.
        special: how values of some classes are said.
    """
    return _Contents(special).of(value)


class _Contents:
    """The way down into one value."""

    def __init__(self, special: Special) -> None:
        self._special = special
        self._around: list[int] = []  # values that are being said: a function may name itself

    def of(self, value: Any) -> Iterator[str]:
        if isinstance(value, _PLAIN):
            yield f"{type(value).__qualname__} {value!r}"
        elif type(value) in self._special:
            yield from self._special[type(value)](value)
        elif isinstance(value, (np.ndarray, np.generic, jax.Array)) or _is_array(value):
            yield from self._array(value)
        elif id(value) in self._around:
            yield f"around {len(self._around) - self._around.index(id(value))}"
        else:
            self._around.append(id(value))
            yield from self._inside(value)
            self._around.pop()

    def _inside(self, value: Any) -> Iterator[str]:
        if isinstance(value, (list, tuple)):
            yield from self._items(type(value).__qualname__, value)
        elif isinstance(value, Mapping):
            yield from self._items(type(value).__qualname__, value.items())
        elif isinstance(value, (set, frozenset)):
            yield from sorted(digest(self.of(item)) for item in value)
        elif isinstance(value, (ClosedJaxpr, Jaxpr)):
            yield from self._jaxpr(value)
        elif isinstance(value, (type, *_CALLABLE)):
            yield from self._code_of(value)
        elif isinstance(value, types.ModuleType):
            yield f"module {value.__name__}"
        elif callable(value) and hasattr(value, "__wrapped__"):  # such as jax.jit's
            yield from self._items("wrapped", (value.__wrapped__,))
        elif dataclasses.is_dataclass(value):
            yield from self.of(type(value))
            yield from self._items("fields", [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)])
        elif hasattr(value, "__dict__") and (not _by_name(type(value)) or _is_numpyros(value)):
            yield from self.of(type(value))
            yield from self._items("fields", sorted(_state(value).items()))
        else:
            yield f"{type(value).__qualname__} {_ADDRESS.sub('', str(value))}"

    def _items(self, what: str, items: Iterable[Any]) -> Iterator[str]:
        items = list(items)
        yield f"{what} {len(items)}"
        for item in items:
            yield from self.of(item)

    def _array(self, value: Any) -> Iterator[str]:
        keys = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(value) if keys else value)
        yield f"array {value.dtype} {np.shape(value)}"
        yield from self._items("objects", array.ravel()) if array.dtype == object else (digest_of(array),)

    # -- code -------------------------------------------------------------------------------------------

    def _code_of(self, value: Any) -> Iterator[str]:
        match value:
            case functools.partial():
                yield from self._items("partial", (value.func, value.args, value.keywords))
            case types.MethodType():
                yield from self._items("method", (value.__func__, value.__self__))
            case property():
                yield from self._items("property", (value.fget,))
            case staticmethod() | classmethod():
                yield from self._items(type(value).__qualname__, (value.__func__,))
            case _ if _by_name(value):
                yield f"{value.__module__}.{value.__qualname__}"
            case types.FunctionType():
                yield from self._function(value)
            case _:
                yield from self._class(value)

    def _function(self, value: types.FunctionType) -> Iterator[str]:
        """Its code, defaults, what it closes over, and the numbers, functions and classes that it names."""
        yield from self._code(value.__code__)
        yield from self._items("given", (value.__defaults__, value.__kwdefaults__, *closure_values(value)))
        named = {n: value.__globals__[n] for n in _names(value.__code__) if n in value.__globals__}
        yield from self._items("named", [(n, v) for n, v in sorted(named.items()) if _is_said(v)])

    def _code(self, code: types.CodeType) -> Iterator[str]:
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
        yield f"code {code.co_code.hex()} {counts} {code.co_names}"
        for constant in code.co_consts:
            yield from self._code(constant) if isinstance(constant, types.CodeType) else self.of(constant)

    def _class(self, value: type) -> Iterator[str]:
        """Its bases, methods, and public attributes; the others may be notes that a library keeps there."""
        public = [(n, v) for n, v in sorted(vars(value).items()) if isinstance(v, _CALLABLE) or n[0] != "_"]
        yield from self._items("class", (value.__bases__, public))

    def _jaxpr(self, value: ClosedJaxpr | Jaxpr) -> Iterator[str]:
        """Its equations with their parameters, and the arrays that it closes over; variables by number."""
        closed = value if isinstance(value, ClosedJaxpr) else ClosedJaxpr(value, ())
        jaxpr = closed.jaxpr
        number: dict[Var, int] = {}

        def said(atom: Any) -> Iterator[str]:
            yield str(atom.aval)
            if isinstance(atom, Literal):
                yield from self.of(atom.val)
            else:
                yield str(number.setdefault(atom, len(number)))

        yield from self._items("jaxpr", closed.consts)
        for atom in (*jaxpr.constvars, *jaxpr.invars):
            yield from said(atom)
        for eqn in jaxpr.eqns:
            yield str(eqn.primitive)
            yield from self._items("params", sorted(eqn.params.items()))
            for atom in (*eqn.invars, *eqn.outvars):
                yield from said(atom)
        for atom in jaxpr.outvars:
            yield from said(atom)


_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_CALLABLE = (*_FUNCTIONS, property, staticmethod, classmethod)
_NAMED = (*_PLAIN, *_FUNCTIONS, type, tuple, np.ndarray, np.generic, jax.Array)
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_LIBRARIES = {"jax", "jaxlib", "numpy", "numpyro", "plait", "scipy", *sys.stdlib_module_names}
_DERIVED = {"_validate_args", "_is_validate_args"}


def digest_of(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def closure_values(function: Any) -> list[Any]:
    """What a function closes over, looked up without calling it."""
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # a cell that is still empty
            continue
    return found


def _is_array(value: Any) -> bool:
    """Whether it is one of JAX's own array literals."""
    return isinstance(getattr(value, "dtype", None), np.dtype) and hasattr(value, "__array__")


def _by_name(value: Any) -> bool:
    """Whether a class or function comes with a library."""
    return (getattr(value, "__module__", None) or "builtins").partition(".")[0] in _LIBRARIES


def _is_numpyros(value: Any) -> bool:
    """Whether it is a constraint, transform or distribution, which are their fields."""
    return any(cls.__module__.startswith("numpyro.distributions.") for cls in type(value).__mro__)


def _state(value: Any) -> dict[str, Any]:
    """The fields of an object without what is derived from the rest, such as a weak reference to the inverse."""
    return {n: v for n, v in vars(value).items() if n not in _DERIVED and not isinstance(v, weakref.ref)}


def _is_said(value: Any) -> bool:
    """Whether what a function names is told; tables and other objects may change while the program runs."""
    return isinstance(value, _NAMED) or (callable(value) and hasattr(value, "__wrapped__"))


def _names(code: types.CodeType) -> set[str]:
    """The names that a function looks up, and those of the functions that it defines."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


__all__ = ["closure_values", "contents", "digest", "digest_of"]
