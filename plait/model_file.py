"""Reads a model from a Python file: the function, and the data that go with it."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from plait.ir.errors import PlaitError
from plait.runtime.artifact.container import is_saved

# What a model calls, as it stands in a function's bytecode: `plait.sample` leaves the name 'sample'.
_SITES = frozenset({"sample", "factor", "param", "module"})
_NO_MODELS = frozenset({"data", "main"})
_MODULE_NAME = "__plait_model__"


class ModelFileError(PlaitError):
    """A model file, its function or its data can't be used; a sentence for the command line."""


@dataclass(frozen=True)
class ModelFile:
    """A model and its data.

    Attributes:
        path: the file.
        function: the model.
        name: how the file calls it.
        data: by argument name, complete and in the order of the function's arguments.
    """

    path: Path
    function: Callable[..., Any]
    name: str
    data: dict[str, Any]

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """The data as positional and keyword arguments."""
        parameters = _parameters(self.function)
        only = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_ONLY and n in self.data]
        return [self.data[n] for n in only], {n: v for n, v in self.data.items() if n not in only}


def load(target: str, data: Path | None = None) -> ModelFile:
    """Runs a file and takes its model and data.

    Args:
        target: ``MODEL.py`` or ``MODEL.py:function``.
        data: a JSON file, an object keyed by argument names; its entries replace those of ``data()``.

    Raises:
        ModelFileError: there is no such file or function, or the data don't fit the function.
        Exception: whatever the file's own code raises.
    """
    path, name = split_target(target)
    module = run_file(path)
    name = name or choose_function(module, path)
    function = find_function(module, path, name)
    given = file_data(module, path)
    if data is not None:
        given |= read_data(data)
    return ModelFile(path, function, name, merge_data(function, name, given))


def split_target(target: str) -> tuple[Path, str | None]:
    """``MODEL.py:function`` as (path, function)."""
    head, colon, tail = target.rpartition(":")
    if colon and tail.isidentifier() and not Path(target).exists():
        return Path(head), tail
    return Path(target), None


# -- the file -------------------------------------------------------------------------------------------


def run_file(path: Path) -> ModuleType:
    """The file as a module that is not ``__main__``. Its folder can be imported from, as a script's can."""
    require_file(path)
    if is_saved(path):
        raise ModelFileError(f"{path} is a saved model, which is one model: leave out what stands after it")
    if path.suffix != ".py":
        expected = "expected MODEL.py, MODEL.py:function or what `plait compile` wrote"
        raise ModelFileError(f"{path} is not a Python file, and no saved model: {expected}")
    spec = importlib.util.spec_from_file_location(_MODULE_NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles in the file look their own module up.
    sys.modules[_MODULE_NAME] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except SystemExit as e:
        raise ModelFileError(f"{path} ended the program when it was loaded (exit code {e.code})") from e
    return module


def require_file(path: Path) -> None:
    """Raises ModelFileError where there is no such file."""
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder: name a Python file")
    if not path.exists():
        raise ModelFileError(f"there is no file {path}{_near_file(path)}")


def _near_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob(f"*{path.suffix}")], 1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


# -- the function ---------------------------------------------------------------------------------------


def choose_function(module: ModuleType, path: Path) -> str:
    """The name of the file's model: ``model``, else the only function of the file that calls sites.

    Raises:
        ModelFileError: there is none, or there are several.
    """
    if callable(getattr(module, "model", None)):
        return "model"
    functions = {name: _called_names(f.__code__) for name, f in _public_functions(module)}
    with_sites = [name for name, calls in functions.items() if _SITES & calls] or list(functions)
    # A part of the model that another function calls is not the model.
    inner = {n for n in with_sites if any(n in functions[m] for m in with_sites if m != n)}
    candidates = [n for n in with_sites if n not in inner] or with_sites
    if not candidates:
        raise ModelFileError(f"{path} defines no model: expected a function that calls plait.sample")
    if len(candidates) > 1:
        raise ModelFileError(
            f"{path} defines several functions that may be the model: choose one of "
            + ", ".join(f"{path}:{name}" for name in candidates)
        )
    return candidates[0]


def find_function(module: ModuleType, path: Path, name: str) -> Callable[..., Any]:
    """The function of that name."""
    function = getattr(module, name, None)
    if callable(function):
        return function
    if function is not None:
        raise ModelFileError(f"{name!r} in {path} is no function: it is {type(function).__name__}")
    known = [n for n, _ in _public_functions(module)]
    listed = f" (there are: {', '.join(known)})" if known else ""
    raise ModelFileError(f"{path} has no function {name!r}{_near(name, known)}{listed}")


def _public_functions(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    """Functions that the file itself defines, without ``data`` and ``main``."""
    for name, value in vars(module).items():
        f = inspect.unwrap(value) if callable(value) else value
        is_own = isinstance(f, FunctionType) and f.__module__ == _MODULE_NAME
        if is_own and not name.startswith("_") and name not in _NO_MODELS:
            yield name, f


def _called_names(code: CodeType) -> set[str]:
    """The global and attribute names that a function reads, inner functions included."""
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*map(_called_names, inner))


# -- the data -------------------------------------------------------------------------------------------


def file_data(module: ModuleType, path: Path) -> dict[str, Any]:
    """What the file's ``data()`` returns; nothing where there is no such function."""
    function = getattr(module, "data", None)
    if not callable(function):
        return {}
    values = function()
    if not isinstance(values, Mapping) or not all(isinstance(k, str) for k in values):
        got = type(values).__name__
        raise ModelFileError(f"data() in {path} returned {got}: expected a dict keyed by argument names")
    return dict(values)


def read_data(path: Path, names: str = "argument names") -> dict[str, Any]:
    """The entries of a JSON object, keyed by `names`: lists of numbers as numpy arrays, the rest as JSON has it."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ModelFileError(f"can't read data file {path}: {e.strerror or e}") from None
    except ValueError as e:  # bad JSON or bad UTF-8
        raise ModelFileError(f"{path} is not JSON: {e}") from None
    if not isinstance(values, dict):
        got = _json_type(values)
        raise ModelFileError(f"{path} holds a JSON {got}: expected an object keyed by {names}")
    return {name: _value(name, value, path) for name, value in values.items()}


def _value(name: str, value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {k: _value(f"{name}.{k}", v, path) for k, v in value.items()}
    if not isinstance(value, list) or any(isinstance(v, str) for v in value):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ModelFileError(f"{name!r} in {path} is not rectangular: its lists differ in length") from None
    if array.dtype.kind not in "biuf":
        raise ModelFileError(f"{name!r} in {path} is no array of numbers: a list holds null, text or objects")
    return array


def _json_type(value: Any) -> str:
    return {list: "list", str: "string", type(None): "null", bool: "boolean"}.get(type(value), "number")


def merge_data(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The data in the order of the function's arguments.

    Raises:
        ModelFileError: an entry names no argument, or an argument without a default has no entry.
    """
    parameters = _parameters(function)
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [p for p in parameters.values() if p.kind not in variable]
    order = [p.name for p in named]
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        for key in given:
            if key not in order:
                listed = f" (its arguments: {', '.join(order) or 'none'})"
                raise ModelFileError(f"{name}() has no argument {key!r}{_near(key, order)}{listed}")
    missing = [p.name for p in named if p.default is p.empty and p.name not in given]
    if missing:
        what = f"argument{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))} of {name}()"
        raise ModelFileError(f"no data for {what}: return it from data() in the file, or give --data FILE.json")
    return {key: given[key] for key in [*order, *(k for k in given if k not in order)] if key in given}


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


__all__ = ["ModelFile", "ModelFileError", "load", "read_data", "require_file", "split_target"]
