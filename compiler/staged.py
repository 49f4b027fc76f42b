"""Code of NumPyro's distributions and bijectors as jaxprs; equal ops on equal types share one trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from plait.compiler.lower.evaluate import RULES
from plait.compiler.memo import remembered
from plait.ir.graph import Op
from plait.ir.ops import from_aval
from plait.ir.types import ArrayType, TupleType, Type


def struct(t: ArrayType) -> jax.ShapeDtypeStruct:
    """The jax stand-in for an array of this type."""
    return jax.ShapeDtypeStruct(t.shape, t.dtype, weak_type=t.weak)


@remembered
def code_of(rule: Callable[..., Any], op: Op, ins: tuple[ArrayType, ...]) -> Any:
    """The closed jaxpr of what an op computes on arguments of these types."""
    return jax.make_jaxpr(lambda *args: rule(op, args))(*map(struct, ins))


def signature(op_class: type[Op], ins: tuple[ArrayType, ...], *fields: Any) -> Any:
    """An op of a `Typed` class whose result type comes from the trace of its rule."""
    rule = RULES[op_class]
    untyped = op_class(ins, ArrayType(None, ()), *fields)  # type: ignore[call-arg]
    (out,) = code_of(rule, untyped, ins).out_avals
    return op_class(ins, from_aval(out), *fields)  # type: ignore[call-arg]


def results(t: Type) -> tuple[ArrayType, ...]:
    """The types of an equation's results."""
    return t.items if isinstance(t, TupleType) else (t,)
