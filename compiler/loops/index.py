"""The index of a loop over a plate whose body is traced once for all steps: an integer without a value.

It is a traced integer, so it indexes arrays and computes like one. Beyond that its text can be part of a name, and
Python arithmetic on it is followed exactly, since Python's integers neither wrap around nor divide to integers.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import numpy as np

from plait.compiler.jax_compat import with_methods
from plait.compiler.loops.state import AS_INTEGER, Index, Loops
from plait.compiler.source import is_users
from plait.compiler.stack import compiling

Arithmetic = Callable[[Any, Any], Any]

_TRUTH = "Python asks for the truth of its index; use jnp.where to trace it once"
_KEY = "its index is looked up in a dict or a set; index jnp arrays with it to trace it once"
_NUMPY = "its index is used with a numpy array; index jnp arrays with it (jnp.asarray) to trace it once"


def loop_index(tracer: Any, index: Index, loops: Loops) -> Any:
    """The traced integer as an index, of which `loops` knows its values."""
    indexed = with_methods(tracer, _LoopIndex)
    loops.indices[id(indexed)] = indexed, index
    return indexed


def _known(value: Any) -> tuple[Loops, Index] | None:
    """What is known of an index in the trace that runs now."""
    frame = compiling()
    known = None if frame is None else frame.loops.indices.get(id(value))
    return None if frame is None or known is None else (frame.loops, known[1])


def _exact(method: str, compute: Arithmetic) -> Callable[[Any, Any], Any]:
    """An operator that also computes the Python integers, where the other operand is one or the same loop's index."""

    def operate(self: Any, other: Any) -> Any:
        result = getattr(super(_LoopIndex, self), method)(other)
        known = _known(self)
        others = None if known is None else _integers(other, known[1])
        if known is None or others is None:
            return result
        return _followed(result, [compute(a, b) for a, b in zip(known[1].values, others, strict=True)], *known)

    return operate


def _exact_unary(method: str, compute: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def operate(self: Any) -> Any:
        result = getattr(super(_LoopIndex, self), method)()
        known = _known(self)
        return result if known is None else _followed(result, [compute(v) for v in known[1].values], *known)

    return operate


def _integers(other: Any, index: Index) -> Sequence[int] | None:
    """An operand's value at each step, where it is known."""
    if isinstance(other, int):
        return [int(other)] * len(index.values)
    known = _known(other)
    return known[1].values if known is not None and known[1].loop == index.loop else None


def _followed(result: Any, values: list[Any], loops: Loops, index: Index) -> Any:
    """A result as an index, whose value is known at each step."""
    largest = np.iinfo(result.dtype).max
    if not all(isinstance(v, int) and abs(v) <= largest for v in values):
        raise loops.trouble(f"Python's arithmetic with its index does not fit {result.dtype}", index.loop)
    return loop_index(result, replace(index, values=values), loops)


def _flagged(method: str, reason: str) -> Callable[..., Any]:
    """A question that a traced value can't answer; noted where the model itself asks, who may catch the error."""

    def ask(self: Any, *args: Any, **kwargs: Any) -> Any:
        known = _known(self)
        if known is not None and is_users(sys._getframe(1).f_code.co_filename):
            known[0].trouble(reason, known[1].loop)
        return getattr(super(_LoopIndex, self), method)(*args, **kwargs)

    return ask


def _text(index: Any, spec: str, caller: FrameType) -> str | None:
    """The text that a frame asks for, None where nothing is known of the index."""
    known = _known(index)
    if known is None:
        return None
    loops, index = known
    if index.shown is None and is_users(caller.f_code.co_filename) and not loops.is_for_names(caller):
        raise loops.trouble(
            "a text of its index goes, or may go, into something else than the name of a site; make it where the site "
            "is, as in plait.sample(f'y_{i}', ...), to trace it once",
            index.loop,
        )
    return index.text(spec, loops.texts)


class _LoopIndex:
    """What the traced integer does in another way than jax's own."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        text = _text(self, spec, sys._getframe(1))
        return super().__format__(spec) if text is None else text

    def __str__(self) -> str:
        text = _text(self, "", sys._getframe(1))
        return super().__str__() if text is None else text

    def __repr__(self) -> str:
        text = _text(self, "", sys._getframe(1))
        return super().__repr__() if text is None else text

    __add__ = _exact("__add__", operator.add)
    __radd__ = _exact("__radd__", lambda a, b: b + a)
    __sub__ = _exact("__sub__", operator.sub)
    __rsub__ = _exact("__rsub__", lambda a, b: b - a)
    __mul__ = _exact("__mul__", operator.mul)
    __rmul__ = _exact("__rmul__", lambda a, b: b * a)
    __floordiv__ = _exact("__floordiv__", operator.floordiv)
    __rfloordiv__ = _exact("__rfloordiv__", lambda a, b: b // a)
    __mod__ = _exact("__mod__", operator.mod)
    __rmod__ = _exact("__rmod__", lambda a, b: b % a)
    __pow__ = _exact("__pow__", operator.pow)
    __rpow__ = _exact("__rpow__", lambda a, b: b**a)
    __lshift__ = _exact("__lshift__", operator.lshift)
    __rlshift__ = _exact("__rlshift__", lambda a, b: b << a)
    __rshift__ = _exact("__rshift__", operator.rshift)
    __rrshift__ = _exact("__rrshift__", lambda a, b: b >> a)
    __and__ = _exact("__and__", operator.and_)
    __rand__ = _exact("__rand__", lambda a, b: b & a)
    __or__ = _exact("__or__", operator.or_)
    __ror__ = _exact("__ror__", lambda a, b: b | a)
    __xor__ = _exact("__xor__", operator.xor)
    __rxor__ = _exact("__rxor__", lambda a, b: b ^ a)
    __neg__ = _exact_unary("__neg__", operator.neg)
    __pos__ = _exact_unary("__pos__", operator.pos)
    __abs__ = _exact_unary("__abs__", operator.abs)
    __invert__ = _exact_unary("__invert__", operator.invert)

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    __index__ = _flagged("__index__", AS_INTEGER)
    __int__ = _flagged("__int__", AS_INTEGER)
    __float__ = _flagged("__float__", AS_INTEGER)
    __complex__ = _flagged("__complex__", AS_INTEGER)
    __bool__ = _flagged("__bool__", _TRUTH)
    __hash__ = _flagged("__hash__", _KEY)
    __array__ = _flagged("__array__", _NUMPY)


__all__ = ["loop_index"]
