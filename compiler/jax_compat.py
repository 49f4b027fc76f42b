"""What differs between versions of jax, or is not public there: read here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jax.interpreters import ad, batching


def _undecided_size() -> type[Exception]:
    where = jax.errors if hasattr(jax.errors, "InconclusiveDimensionOperation") else jax.core
    found: type[Exception] = where.InconclusiveDimensionOperation
    return found


def has_64_bits() -> bool:
    """Whether jax has 64-bit types here, by configuration or context."""
    return bool(jax.dtypes.canonicalize_dtype(np.float64) == np.float64)


UndecidedSizeError = _undecided_size()  # of an export: code that only some sizes can have


@dataclass(frozen=True)
class ScanParams:
    """The parameters of a `scan` equation, under names that do not change."""

    body: Any
    n_consts: int
    n_carry: int
    length: int
    reverse: bool


def scan_params(params: dict[str, Any]) -> ScanParams:
    """jax 0.10 counts constants and carry; newer versions keep one tree for each of the three groups."""
    if "num_consts" in params:
        counts = params["num_consts"], params["num_carry"]
    else:
        consts, carry, _ = params["ft_in"].unpack()
        counts = len(consts), len(carry)
    return ScanParams(params["jaxpr"], *counts, params["length"], params["reverse"])


def inlined_jaxpr(eqn: Any) -> Any | None:
    """The closed jaxpr of an equation that only calls it (`jit`), else None."""
    return eqn.params["jaxpr"] if eqn.primitive.name in ("jit", "pjit") else None


def called_jaxpr(eqn: Any) -> Any | None:
    """The closed jaxpr of an equation that calls it, be it with a derivative of its own, else None."""
    if eqn.primitive.name in ("custom_jvp_call", "custom_vjp_call"):
        return eqn.params["call_jaxpr"]
    if eqn.primitive.name == "call_hi_primitive":  # since 0.12 some functions of jnp are one equation with rules
        avals = [v.aval for v in eqn.invars]
        types = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in avals]
        return jax.make_jaxpr(eqn.params["_prim"].expand)(*types)
    return inlined_jaxpr(eqn)


def unstacked(eqn: Any) -> list[Callable[[Any], Any]] | None:
    """The results of an `unstack` equation as functions of its argument, else None.

    Since 0.12 jax takes arrays apart by one equation; before by slices, which patterns and rules know.
    """
    if eqn.primitive.name != "unstack":
        return None
    axis, shape = eqn.params["axis"], eqn.invars[0].aval.shape

    def part(i: int) -> Callable[[Any], Any]:
        starts, limits = [0] * len(shape), list(shape)
        starts[axis], limits[axis] = i, i + 1
        return lambda x: jax.lax.squeeze(jax.lax.slice(x, starts, limits, [1] * len(shape)), [axis])

    return [part(i) for i in range(shape[axis])]


def inner_jaxprs(params: Mapping[str, Any]) -> Iterator[Any]:
    """The jaxprs among an equation's parameters (branches, bodies, derivative rules)."""
    yield from core.jaxprs_in_params(params)


def custom_function(params: dict[str, Any]) -> str:
    """Which function a `custom_jvp_call` calls: ``name at file:line``."""
    return str(params["call_jaxpr"].jaxpr.debug_info.func_src_info)


def bind(primitive: Any, params: dict[str, Any], args: Sequence[Any]) -> list[Any]:
    """Applies a primitive from a jaxpr again; its parameters pass through `get_bind_params`."""
    bound = primitive.get_bind_params(params)
    if isinstance(bound, tuple):  # jax < 0.10 returned the functions apart
        functions, bound = bound
        args = (*functions, *args)
    result = primitive.bind(*args, **bound)
    return list(result) if primitive.multiple_results else [result]


def traceback_frames(eqn: Any) -> Sequence[Any]:
    """Python frames of an equation, innermost first; each has file_name, line_num, function_name."""
    traceback = eqn.source_info.traceback
    return traceback.frames if traceback is not None else ()


def traceback_calls(eqn: Any) -> Sequence[int]:
    """For each of `traceback_frames` where in its code it is: its offset in the bytecode."""
    traceback = eqn.source_info.traceback
    return traceback.raw_frames()[1] if traceback is not None else ()


def trace_state() -> Any:
    """A value that changes when a jax transformation (jit, vmap, grad, scan) opens or closes."""
    return core.get_opaque_trace_state(convention="nnx")


def refuse_transformations(primitive: Any, refuse: Callable[[str, dict[str, Any]], Exception]) -> None:
    """Makes `vmap` and differentiation of a primitive raise what `refuse(transformation, params)` returns."""

    def batched(axis: Any, args: Any, dims: Any, **params: Any) -> Any:
        raise refuse("jax.vmap, whose lanes would share one draw; use a plate for independent elements", params)

    def differentiated(primals: Any, tangents: Any, **params: Any) -> Any:
        raise refuse("a derivative (jax.grad, jax.jvp), which a draw has not; move the site out of it", params)

    # the fancy table is asked even where no argument is batched, which would silently share one draw
    batching.fancy_primitive_batchers[primitive] = batched
    ad.primitive_jvps[primitive] = differentiated


def is_tracer(x: Any) -> bool:
    """Whether x is a value that jax is tracing."""
    return isinstance(x, jax.core.Tracer)


def with_methods(tracer: Any, methods: Any) -> Any:
    """The same traced value, with the methods of a class, which has no slots and calls jax's own by `super`.

    jax takes no other object for an array: since 0.8 an object with ``__jax_array__`` can't index one.
    """
    if not isinstance(tracer, methods):
        of_jax: Any = type(tracer)
        tracer.__class__ = _with_methods(of_jax, methods)
    return tracer


@lru_cache
def _with_methods(of_jax: Any, methods: Any) -> Any:
    return type(methods.__name__, (methods, of_jax), {"__slots__": ()})


def equations_behind(value: Any) -> tuple[list[Any], list[int]]:
    """What a traced value was computed from, as far as jax can say.

    Returns:
        The equations, nearest first, each with primitive and params; and which arguments of the outermost traced
        function it depends on.
    """
    equations: dict[int, Any] = {}
    arguments: set[int] = set()
    seen: set[int] = set()
    todo = [value]
    while todo:
        tracer = todo.pop(0)
        if id(tracer) in seen:
            continue
        seen.add(id(tracer))
        equation = getattr(tracer, "parent", None)
        if equation is None:
            arguments.update(_argument_positions(tracer))
            # inside vmap and grad a tracer wraps another one
            todo += [x for x in (getattr(tracer, name, None) for name in ("val", "primal")) if is_tracer(x)]
        else:
            equations[id(equation)] = equation
            todo += equation.in_tracers
    return list(equations.values()), sorted(arguments)


def _argument_positions(tracer: Any) -> list[int]:
    """Which argument of the outermost traced function a tracer is, if any."""
    trace = getattr(tracer, "_trace", None)
    if isinstance(getattr(trace, "parent_trace", None), type(trace)):
        return []  # an argument of an inner jit or of a scan's body
    variables = getattr(getattr(trace, "frame", None), "invars", ())
    return [i for i, variable in enumerate(variables) if variable is getattr(tracer, "val", None)]
