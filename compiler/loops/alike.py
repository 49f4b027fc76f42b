"""Whether two stretches of a graph do the same, node by node: equal ops on corresponding operands."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from numpyro.distributions import Distribution
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.transforms import Transform

from plait.ir.graph import Graph, Node
from plait.ir.ops import Const, Deterministic, Site
from plait.ir.spec import Static
from plait.ir.types import ArrayType, PlateFrame

Same = Callable[[str, str], bool]


class Differ(Exception):  # noqa: N818 (an answer, which the caller reads)
    """Says in a user's words how two stretches differ."""


def matched(
    ours: Sequence[Node], others: Sequence[Node], same_name: Same, known: Mapping[Node, Node]
) -> dict[Node, Node]:
    """From nodes of one stretch to those of another that do the same.

    Args:
        ours: nodes in order. Operands from elsewhere are the same nodes, or equal constants.
        others: likewise.
        same_name: whether a name in `ours` and one in `others` belong to corresponding sites.
        known: from nodes elsewhere to those that correspond to them.

    Raises:
        Differ: they do not.
    """
    compare = _Comparison(same_name)
    place = dict(known)
    for a, b in zip(ours, others, strict=False):
        if not compare.same(a.type, b.type) or not compare.same(a.op, b.op):
            raise Differ(_difference(a, b))
        if not all(place.get(y) is x or x is y or compare.constants(x, y) for x, y in zip(a.args, b.args, strict=True)):
            raise Differ(f"its steps compute {_what(a)} from different values of the model or of Python")
        place[b] = a
    if len(ours) != len(others):
        raise Differ("its steps run different code")
    return place


def _difference(a: Node, b: Node) -> str:
    if isinstance(a.op, Const) and isinstance(b.op, Const):
        shown = f", {a.op.literal} and then {b.op.literal}" if a.op.literal and b.op.literal else ""
        return f"a value of Python's changes from step to step{shown}"
    if isinstance(a.op, Site) and isinstance(b.op, Site) and type(a.op) is type(b.op):
        return f"its steps make {_what(b)} in different ways"
    return "its steps run different code"


def _what(node: Node) -> str:
    return f"site {node.op.name!r}" if isinstance(node.op, (Site, Deterministic)) else "a value"


class _Comparison:
    """Equality by contents; what has none that we know differs."""

    def __init__(self, same_name: Same) -> None:
        self._same_name = same_name

    def same(self, a: Any, b: Any) -> bool:
        if a is b:
            return True
        if type(a) is not type(b):
            return False
        if isinstance(a, Const):
            return self.same(a.type, b.type) and _same_value(a.value, b.value)
        if isinstance(a, Graph):
            return self._graphs(a, b)
        if isinstance(a, Static):
            return self.same(a.value, b.value)
        if isinstance(a, core.ClosedJaxpr) or hasattr(a, "eqns"):
            return _Jaxprs(self).same(a, b)
        if isinstance(a, (tuple, list)):
            return len(a) == len(b) and all(map(self.same, a, b))
        if isinstance(a, Mapping):
            return self.same(list(a.items()), list(b.items()))
        if isinstance(a, (np.ndarray, np.generic, jax.Array)):
            return _same_value(a, b)
        if isinstance(a, (Distribution, Constraint, Transform)):
            return self.same(*map(_fields_of, (a, b)))
        if dataclasses.is_dataclass(a) and not isinstance(a, type):
            return all(self._fields(a, b, field.name) for field in dataclasses.fields(a))
        return _same_object(a, b)

    def constants(self, a: Node, b: Node) -> bool:
        """Whether two nodes are equal constants."""
        return isinstance(a.op, Const) and a.type == b.type and self.same(a.op, b.op)

    def _fields(self, a: Any, b: Any, field: str) -> bool:
        x, y = getattr(a, field), getattr(b, field)
        if isinstance(a, (Site, Deterministic)) and field == "name":
            return self._same_name(x, y)
        if isinstance(a, (Site, Deterministic)) and field == "members" and None not in (x, y):
            same = len(x.names) == len(y.names) and (x.axes, x.steps) == (y.axes, y.steps)
            return same and all(map(self._same_name, x.names, y.names))
        if isinstance(a, PlateFrame) and field == "name":
            return self._plate(x, y)
        if isinstance(a, ArrayType) and field == "axes":
            return len(x) == len(y) and all(map(self._plate, x, y))
        return self.same(x, y)

    def _plate(self, x: str | None, y: str | None) -> bool:
        """Whether two plates are one, or correspond: each step may have one of its own."""
        return x == y or (x is not None and y is not None and self._same_name(x, y))

    def _graphs(self, a: Graph, b: Graph) -> bool:
        try:
            place = matched(b.nodes, a.nodes, lambda x, y: self._same_name(y, x), {})
        except Differ:
            return False
        outs = zip(a.outputs, b.outputs, strict=False)
        same = all((x.role, x.name) == (y.role, y.name) and place[x.node] is y.node for x, y in outs)
        return same and len(a.outputs) == len(b.outputs)


class _Jaxprs:
    """Equality of jaxprs: variables by the place where they are bound."""

    def __init__(self, outer: _Comparison) -> None:
        self._outer = outer
        self._place: dict[Any, Any] = {}

    def same(self, a: Any, b: Any) -> bool:
        consts = list(getattr(a, "consts", ())), list(getattr(b, "consts", ()))
        a, b = getattr(a, "jaxpr", a), getattr(b, "jaxpr", b)
        heads = (*a.constvars, *a.invars), (*b.constvars, *b.invars)
        return (
            self._outer.same(*consts)
            and len(a.constvars) == len(b.constvars)
            and self._bound(*heads)
            and len(a.eqns) == len(b.eqns)
            and all(map(self._equations, a.eqns, b.eqns))
            and len(a.outvars) == len(b.outvars)
            and all(map(self._atoms, a.outvars, b.outvars))
        )

    def _equations(self, a: Any, b: Any) -> bool:
        return (
            a.primitive is b.primitive
            and len(a.invars) == len(b.invars)
            and all(map(self._atoms, a.invars, b.invars))
            and self._outer.same(dict(a.params), dict(b.params))
            and self._bound(a.outvars, b.outvars)
        )

    def _bound(self, ours: Sequence[Any], others: Sequence[Any]) -> bool:
        self._place.update(zip(others, ours, strict=False))
        return len(ours) == len(others) and all(x.aval == y.aval for x, y in zip(ours, others, strict=True))

    def _atoms(self, a: Any, b: Any) -> bool:
        if isinstance(a, core.Literal) or isinstance(b, core.Literal):
            return type(a) is type(b) and a.aval == b.aval and _same_value(a.val, b.val)
        return self._place.get(b) is a


def _fields_of(x: Any) -> dict[str, Any]:
    """What an object of NumPyro's consists of, without the weak reference to its inverse that it may have by now."""
    return {name: value for name, value in vars(x).items() if not (name == "_inv" or isinstance(value, weakref.ref))}


def _same_value(a: Any, b: Any) -> bool:
    """Equal numbers, bit by bit."""
    if a is b:
        return True
    if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.extended):
        return a.dtype == getattr(b, "dtype", None) and _same_value(*map(jax.random.key_data, (a, b)))
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and x.shape == y.shape and x.dtype != object and x.tobytes() == y.tobytes()


def _same_object(a: Any, b: Any) -> bool:
    """Equal by their own account, or functions of one source: of jax's the derivative rules of equal code."""
    if isinstance(a, (types.FunctionType, types.MethodType)):
        return a.__code__ is b.__code__ and _is_of_jax(a.__module__)
    try:
        if bool(a == b):
            return True
    except Exception:  # what `==` of somebody else's class may raise
        return False
    has_text = inspect.getattr_static(type(a), "__repr__") is not object.__dict__["__repr__"]
    return has_text and _is_of_jax(type(a).__module__) and _text(a) == _text(b)


def _is_of_jax(module: str) -> bool:
    return module.partition(".")[0] in ("jax", "jaxlib")


def _text(x: Any) -> str:
    return re.sub("0x[0-9a-f]+", "", repr(x))


__all__ = ["Differ", "matched"]
