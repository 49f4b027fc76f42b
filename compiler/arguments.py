"""A model's arguments: which are data, and which are part of the program."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from plait.compiler.array_like import described, holds_numbers
from plait.ir.errors import BindError, DataError


@dataclass(frozen=True)
class Arguments:
    """A model's arguments, split into what is data and what is part of the program.

    Attributes:
        names: of the array leaves, such as ``y`` or ``batch['x']``.
        arrays: the leaves, in the dtype that jax is configured for.
        static: every other leaf, by name.
        rebuild: from arrays to (args, kwargs) of the model.
        values: the arguments by parameter name, as they were given.
    """

    names: tuple[str, ...]
    arrays: tuple[Any, ...]
    static: dict[str, Any]
    rebuild: Callable[[Sequence[Any]], tuple[tuple[Any, ...], dict[str, Any]]]
    values: dict[str, Any]


def split_arguments(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], static: Sequence[str]
) -> Arguments:
    """Sorts a model's arguments into data and program: array leaves are data unless `static` names them.

    Raises:
        BindError: the arguments do not fit the model's signature, or `static` names none of them.
        DataError: an array does not fit into the dtype that jax is configured for.
    """
    signature = _signature(model)
    static = (static,) if isinstance(static, str) else static
    bound = inspect.BoundArguments(signature, _bound(model, args, kwargs))
    bound.apply_defaults()
    values = jax.tree.map(_without_index, dict(bound.arguments), is_leaf=_is_none)
    if unknown := set(static) - set(signature.parameters):
        raise BindError(f"static= names {sorted(unknown)}, but {_name(model)} has {list(signature.parameters)}")
    paths, treedef = jax.tree_util.tree_flatten_with_path(values, is_leaf=_is_none)
    labels = [_label(path) for path, _ in paths]
    is_data = [_is_data(leaf) and path[0].key not in static for path, leaf in paths]
    arrays = tuple(canonical(x, n) for (_, x), n, d in zip(paths, labels, is_data, strict=True) if d)
    fixed = {n: x for (_, x), n, d in zip(paths, labels, is_data, strict=True) if not d}

    def rebuild(data: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = iter(data)
        leaves = [next(given) if d else fixed[n] for n, d in zip(labels, is_data, strict=True)]
        arguments = _as_given(jax.tree_util.tree_unflatten(treedef, leaves), dict(bound.arguments))
        again = inspect.BoundArguments(signature, arguments)
        return again.args, again.kwargs

    names = tuple(n for n, d in zip(labels, is_data, strict=True) if d)
    return Arguments(names, arrays, fixed, rebuild, values)


def guide_arguments(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    of_model: Arguments,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    static: Sequence[str],
) -> tuple[Arguments, dict[str, str | None]]:
    """The arguments of a guide that is called as its model is, and which of them each of the model's is.

    Returns:
        The arguments, and by the model's name the guide's; None where the guide gets it in pieces. A guide without it
        is not mentioned.

    Raises:
        BindError: the arguments do not fit the guide's signature.
    """
    theirs = _signature(guide)
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in theirs.parameters.values()):
        return of_model, {name: name for name in of_model.values}  # a wrapper passes on what the model gets
    labels = tuple(range(len(args))), {name: name for name in kwargs}
    there = _bound(guide, *labels)
    at = {label: name for name, label in there.items()}
    names: dict[str, str | None] = {}
    for name, label in _bound(model, *labels).items():
        names[name] = at.get(label) if isinstance(label, (int, str)) else None
    for name in of_model.values.keys() & theirs.parameters.keys():
        if name not in there:
            names.setdefault(name, name)  # a default of both
    own = [name for name in (names.get(mine) for mine in static) if name is not None]
    return split_arguments(guide, args, kwargs, own), names


def _bound(model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """What of a call each parameter gets."""
    signature = _signature(model)
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as e:
        raise BindError(f"the arguments do not fit {_name(model)}{signature}: {e}") from None


def _as_given(rebuilt: Any, given: Any) -> Any:
    """Dicts with their keys in the order in which they were given: jax sorts them, and a model may go over them."""
    if isinstance(rebuilt, (list, tuple)):
        items = [_as_given(a, b) for a, b in zip(rebuilt, given, strict=True)]
        return type(rebuilt)(*items) if hasattr(rebuilt, "_fields") else type(rebuilt)(items)
    if not isinstance(rebuilt, dict):
        return rebuilt
    ordered = {key: _as_given(rebuilt[key], value) for key, value in given.items()}
    rebuilt.clear()  # a defaultdict stays one
    rebuilt.update(ordered)
    return rebuilt


def _is_data(leaf: Any) -> bool:
    """Arrays of numbers or bools; numpy's scalars, such as a count ``group.max() + 1``, are Python numbers."""
    return isinstance(leaf, jax.Array) or (isinstance(leaf, np.ndarray) and holds_numbers(leaf))


def canonical(x: Any, name: str) -> Any:
    """An array in the dtype that jax is configured for; refuses where that would change its values."""
    if isinstance(x, jax.Array):
        return x
    if isinstance(x, np.ma.MaskedArray) and np.ma.getmaskarray(x).any():
        raise DataError(
            f"data {name!r} has masked elements; pass .filled(…), and say which by obs_mask or handlers.mask"
        )
    x = np.asarray(x)
    target = jax.dtypes.canonicalize_dtype(x.dtype)
    if target == x.dtype:
        return x
    with np.errstate(over="ignore"):
        cast = x.astype(target)
    lost = (cast != x) if np.issubdtype(target, np.integer) else (np.isfinite(x) & ~np.isfinite(cast))
    if np.any(lost):
        raise DataError(
            f"data {name!r} holds {x[lost].flat[0].item()!r}, which does not fit {target}; "
            "switch on jax_enable_x64 or rescale it"
        )
    return cast


def argument_leaves(values: dict[str, Any]) -> dict[str, Any]:
    """The leaves of arguments by their labels, None being one."""
    paths, _ = jax.tree_util.tree_flatten_with_path(values, is_leaf=_is_none)
    return {_label(path): leaf for path, leaf in paths}


def _without_index(x: Any) -> Any:
    """A pandas Series (anything with one dtype and ``to_numpy``) as its array."""
    return x.to_numpy() if hasattr(x, "to_numpy") and hasattr(x, "dtype") else x


def _is_none(x: Any) -> bool:
    return x is None


def _label(path: tuple[Any, ...]) -> str:
    return f"{path[0].key}{jax.tree_util.keystr(path[1:])}"


def _signature(model: Callable[..., Any]) -> inspect.Signature:
    inner = getattr(model, "fn", None)  # a handler around a model takes the model's arguments
    if callable(inner):
        return _signature(inner)
    if not callable(model):
        raise BindError(f"plait.compile takes a model function first, got {described(model)}")
    if inspect.isgeneratorfunction(model) or inspect.iscoroutinefunction(model):
        raise BindError(
            f"{_name(model)} is a generator or a coroutine, whose body would not run; write a plain function"
        )
    return inspect.signature(model)


def _name(model: Callable[..., Any]) -> str:
    return getattr(model, "__name__", type(model).__name__)


__all__ = ["Arguments", "argument_leaves", "canonical", "guide_arguments", "split_arguments"]
