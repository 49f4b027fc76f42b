"""The one trace: a model function and example arguments become the model graph."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpyro.primitives import _PYRO_STACK

from plait.compiler.asked_value import asked_value
from plait.compiler.control_flow import named_nodes
from plait.compiler.given import described, kind_in_words
from plait.compiler.importer import import_graph
from plait.compiler.numpyro_bridge import Bridge
from plait.compiler.source import current_loc, exception_loc, in_one_sentence, is_about_arrays
from plait.compiler.stack import Compiling, open_frames, opened
from plait.ir.errors import BindError, DataError, ModelError, PlaitError
from plait.ir.graph import Graph, Node, ancestors, make, rewrite
from plait.ir.ops import Const, Deterministic, Input, Param, Plate, Sample, Site, from_aval, inputs


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
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as e:
        raise BindError(f"the arguments do not fit {_name(model)}{signature}: {e}") from None
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
        again = inspect.BoundArguments(signature, jax.tree_util.tree_unflatten(treedef, leaves))
        return again.args, again.kwargs

    names = tuple(n for n, d in zip(labels, is_data, strict=True) if d)
    return Arguments(names, arrays, fixed, rebuild, values)


def trace(model: Callable[..., Any], arguments: Arguments) -> Graph:
    """Calls the model once, on tracers, and returns its graph.

    Raises:
        ModelError: with the user's line, whatever in the model can't be compiled.
    """
    if open_frames() or _PYRO_STACK:
        raise ModelError(
            "plait.compile was called inside an open handler or plate; wrap the model in the handler", current_loc()
        )

    compiling, bridge = Compiling(), Bridge()

    def run(*data: Any) -> Any:
        args, kwargs = arguments.rebuild(data)
        with opened(compiling), bridge:
            model(*args, **kwargs)
            bridge.emit_mutables()
        return ()

    try:
        closed = jax.make_jaxpr(run)(*arguments.arrays)
    except _NEEDS_A_VALUE as e:
        raise _concretization_error(e, arguments) from e
    except (TypeError, ValueError, IndexError) as e:
        if isinstance(e, PlaitError) or not is_about_arrays(e):
            raise
        raise ModelError(f"{in_one_sentence(e)}{_no_numbers(arguments)}", exception_loc(e)) from e
    arrays = [Input(name, Input.DATA, from_aval(a)) for name, a in zip(arguments.names, closed.in_avals, strict=True)]
    graph = _with_params_adopted(import_graph(closed, arrays), bridge.asked)
    _refuse_lost_sites(graph, compiling)
    _refuse_duplicate_names(graph)
    graph = _without_unused_params(graph)
    _refuse_hidden_randomness(graph)
    return graph


def _no_numbers(arguments: Arguments) -> str:
    """`` (argument 'x' holds strings)``: what among the arguments jax can't take."""
    arrays = {name: x for name, x in arguments.static.items() if isinstance(x, np.ndarray)}
    found = [f"argument {name!r} holds {kind_in_words(x)}" for name, x in arrays.items() if x.dtype.kind not in "biufc"]
    return f" ({', '.join(found)})" if found else ""


_NEEDS_A_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)


def _concretization_error(error: Exception, arguments: Arguments) -> PlaitError:
    asked = asked_value(error, arguments.names)
    what = "a value" if asked.text is None else f"the value of `{asked.text}`"
    origin = ", ".join([*asked.sites, *(f"data {name!r}" for name in asked.data)])
    use = _INSTEAD_IN.get(asked.library or "") or _INSTEAD_OF.get(type(error), _ARRAYS)
    if asked.sites:
        why = f"which depends on {origin} and is known only when the density runs; {use}"
    elif asked.data:
        names = ", ".join(map(repr, asked.data))
        why = f"which depends on {origin} that bind may replace; name {names} in static=, or {use}"
    else:
        why = f"which is known only when the density runs; {use}"
        if arguments.names:
            why += f", or name data that shape the model in static= (data: {', '.join(arguments.names)})"
    return ModelError(f"Python needs {what}, {why}", asked.loc)


_ARRAYS = "use jnp functions, and shapes that do not depend on it"
_INSTEAD_OF: dict[type[Exception], str] = {
    jax.errors.TracerBoolConversionError: "use jnp.where or jax.lax.cond",
    jax.errors.TracerIntegerConversionError: "index a jnp array, and loop a fixed number of times",
    jax.errors.TracerArrayConversionError: "use jax.numpy in place of numpy",
    jax.errors.NonConcreteBooleanIndexError: "use jnp.where or handlers.mask, which keep the shape",
}
_INSTEAD_IN = {
    "pandas": "take pandas columns out as arrays, with to_numpy()",
    "scipy": "use jax.scipy in place of scipy",
}


def _refuse_duplicate_names(graph: Graph) -> None:
    seen: dict[str, Node] = {}
    for node in named_nodes(graph):
        name = node.op.frame.name if isinstance(node.op, Plate) else node.op.name  # type: ignore[attr-defined]
        first = seen.setdefault(name, node)
        if first is not node and not _same_element(first, node):
            what = "plates" if isinstance(node.op, Plate) and isinstance(first.op, Plate) else "sites"
            raise ModelError(f"two {what} are called {name!r}, the other one at {first.loc}; rename one", node.loc)


def _refuse_hidden_randomness(graph: Graph) -> None:
    """A key from `numpyro.prng_key` may only draw initial values of params: a density has no randomness of its own."""
    random: set[Node] = set()
    for node in graph:
        is_key = isinstance(node.op, Input) and node.op.kind == Input.KEY
        drawn = {a for a in node.args if a in random}
        if isinstance(node.op, Sample) and drawn <= {node.op.extra(Site.KEY, node.args)}:
            continue
        inside = [n for body in node.op.bodies for n in named_nodes(body)] if drawn else []
        if inside or (drawn and isinstance(node.op, (Site, Deterministic, Plate))):
            node = (inside or [node])[0]
            raise ModelError(
                f"{node.op.mnemonic} {node.op.label!r} depends on numpyro.prng_key(), but a compiled density draws "
                "nothing; pass the key as an argument of the model",
                node.loc,
            )
        if is_key or (drawn and not isinstance(node.op, Param)):
            random.add(node)


def _with_params_adopted(graph: Graph, asked: set[str]) -> Graph:
    """What a module computes with its initial values it computes with its param site: ``f init  ⇒  f param``.

    NumPyro's modules hand the initial values to the site and go on with them instead of with the site's value.
    """
    if not asked:
        return graph
    reads = Counter(a for node in graph for a in node.args)
    sites: dict[Node, Node] = {}

    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        if isinstance(node.op, Param) and node.op.name in asked and not reads[node]:
            _refuse_constant(node, reads)
            sites[args[0]] = make(node.op, args, node.loc)
            return sites[args[0]]
        return make(node.op, [sites.get(a, a) for a in args], node.loc) if sites.keys() & set(args) else None

    return rewrite(graph, rule)


def _refuse_constant(node: Node, reads: Mapping[Node, int]) -> None:
    """A constant can't be told from an equal one that the model uses as a constant."""
    (init,) = node.args
    if isinstance(init.op, Const) and (init.op.literal is not None or reads[init] > 1):
        raise ModelError(
            f"param {node.op.label!r} was asked for before it had a value and is then given a constant, which may be "
            "used as a constant too; go on with what numpyro.param(name, init_value) returns",
            node.loc,
        )


def _without_unused_params(graph: Graph) -> Graph:
    """Drops a module's arrays that have priors of their own, so that nothing reads their params, and unused keys."""
    optional = {n for n in graph.of(Param) if n.op.name.endswith("$params")}  # type: ignore[attr-defined]
    optional |= set(inputs(graph, Input.KEY))
    needed = ancestors(n for n in graph.roots if n not in optional)
    return graph if optional <= needed else Graph(tuple(n for n in graph if n in needed))


def _refuse_lost_sites(graph: Graph, compiling: Compiling) -> None:
    found = {getattr(node.op, "name", None) for node in named_nodes(graph)}
    for name, loc in compiling.bound.items():
        if name not in found:
            raise ModelError(
                f"site {name!r} ran but is not part of the program: it is inside jax.eval_shape or code whose result "
                "is thrown away; call the code itself",
                loc,
            )


def _same_element(a: Node, b: Node) -> bool:
    """Equal plates, or parts of one param site."""
    if isinstance(a.op, Plate) and isinstance(b.op, Plate):
        return a.op.frame.size == b.op.frame.size and b.op.frame.full_size is None
    return isinstance(a.op, Param) and isinstance(b.op, Param) and b.op.part != 0


def _is_data(leaf: Any) -> bool:
    """Arrays of numbers or bools; numpy's scalars, such as a count ``group.max() + 1``, are Python numbers."""
    if isinstance(leaf, jax.Array):
        return True
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc"


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


__all__ = ["Arguments", "argument_leaves", "canonical", "split_arguments", "trace"]
