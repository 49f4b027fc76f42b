"""Logarithms of what over- or underflows, and differences that cancel.

b: f64[8] = exp a             b: f64[8] = select_n …   (softplus)
c: f64[8] = add 1 b       ⇒
d: f64[8] = log c
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import xlog1py

from plait.compiler.stable.facts import DIFFERENCE, LOG, LOG1P, LOG_NEAR_ONE, LOG_OF_PRODUCT, SUM, SUM_OF_LOGS
from plait.compiler.stable.functions import log_sum_exp, softplus
from plait.compiler.stable.match import match, number
from plait.compiler.stable.rewriting import Rewriting
from plait.compiler.stable.softmax import is_below_zero, softmax_axes
from plait.ir.graph import Node
from plait.ir.ops import Apply, Item, array_type, is_op
from plait.ir.types import Loc

_MOVES = ("broadcast_in_dim", "reshape", "squeeze", "transpose", "copy")  # they change places with a logarithm
_POSITIVE = ("exp", "logistic", "erfc", "add", "sub", "mul", "div", "reduce_sum")


def logarithm(rewriting: Rewriting, node: Node) -> Node | None:
    """``log (1 + exp x)  ⇒  softplus x``, and the other facts about logarithms."""
    if not is_op(node, "log"):
        return None
    (x,) = node.args
    return _log_of(rewriting, x, node.loc) or rewriting.first(LOG_NEAR_ONE, x, node.loc)


def logarithm_of_1p(rewriting: Rewriting, node: Node) -> Node | None:
    """``log1p (exp x)  ⇒  softplus x``, but for an x that is below 0 by its form: that is how softplus is written."""
    if not is_op(node, "log1p") or (is_op(node.args[0], "exp") and is_below_zero(node.args[0].args[0])):
        return None
    return rewriting.first(LOG1P, node.args[0], node.loc)


def difference(rewriting: Rewriting, node: Node) -> Node | None:
    """``exp x − 1  ⇒  expm1 x``."""
    is_from_one = is_op(node, "sub") and 1.0 in map(number, node.args)
    return rewriting.first(DIFFERENCE, node, node.loc) if is_from_one else None


def softplus_in_parts(rewriting: Rewriting, node: Node) -> Node | None:
    """``max(x, 0) + log1p(exp(−|x|))  ⇒  softplus x``, and n times that as NumPyro's binomial has it."""
    if not is_op(node, "add"):
        return None
    for a, b in (node.args, node.args[::-1]):
        if is_op(b, "log1p"):
            return rewriting.first(SUM, node, node.loc)
        if is_op(a, "mul") and isinstance(b.op, Item) and is_op(b.args[0], "custom_jvp_call"):
            return _times_softplus(rewriting, a, b, node)
    return None


def _times_softplus(rewriting: Rewriting, a: Node, b: Node, node: Node) -> Node | None:
    """``n·max(x, 0) + xlog1py(n, exp(−|x|))  ⇒  n·softplus x``."""
    first = match(_times_positive, a)
    second = match(xlog1py, b, tuple(map(array_type, b.args[0].args))) if len(b.args[0].args) == 2 else None
    rest = match(_exp_minus_abs, second[1]) if second is not None else None
    if first is None or second is None or rest is None or rest[0] is not first[0]:
        return None
    x, n = first
    if not _is_same_number(n, second[0]):
        return None
    name = "n·max(x, 0) + n·log1p(exp(−|x|)) → n·softplus(x)"
    return rewriting.by(name, _times, [rewriting.env[x], rewriting.env[n]], array_type(node), node.loc)


def _times_positive(x: Array, n: Array) -> Array:
    return n * jnp.maximum(x, 0)


def _exp_minus_abs(x: Array) -> Array:
    return jnp.exp(-jnp.abs(x))


def _times(x: Array, n: Array) -> Array:
    return n * softplus(x)


def _is_same_number(a: Node, b: Node) -> bool:
    """Whether two nodes hold the same, be it as integers or as floats."""
    a, b = _as_integer(a), _as_integer(b)
    return a is b or (number(a) is not None and number(a) == number(b))


def _as_integer(node: Node) -> Node:
    while is_op(node, "copy") or (is_op(node, "convert_element_type") and array_type(node).dtype.kind == "f"):
        (node,) = node.args
    return node


def _log_of(rewriting: Rewriting, x: Node, loc: Loc | None) -> Node | None:
    """The logarithm of an old node; None where nothing better is known than to take it."""
    if is_op(x, *_MOVES):
        return _of_moved(rewriting, x, loc)
    if is_op(x, "reduce_sum"):
        return _of_sum(rewriting, x, loc)
    if not is_op(x, *_POSITIVE):
        return None
    return (
        rewriting.first(LOG, x, loc)
        or _of_softmax(rewriting, x, loc)
        or _of_product(rewriting, x, loc)
        or _of_multiple(rewriting, x, loc)
    )


def _of_moved(rewriting: Rewriting, x: Node, loc: Loc | None) -> Node | None:
    """``log (broadcast x)  ⇒  broadcast (log x)``."""
    inner = _log_of(rewriting, x.args[0], loc)
    assert isinstance(x.op, Apply)
    return None if inner is None else rewriting.add(replace(x.op, ins=(array_type(inner),)), [inner], loc)


def _of_sum(rewriting: Rewriting, x: Node, loc: Loc | None) -> Node | None:
    """``log Σ w·exp(x)  ⇒  logsumexp``."""
    assert isinstance(x.op, Apply)
    over = _SumOver(tuple(x.op.parameters["axes"]))
    for name, addend in (("exp(x)", jnp.exp), ("w·exp(x)", _weighted)):
        args = match(addend, x.args[0])
        if args is not None and not is_below_zero(args[0]):
            given = [rewriting.env[a] for a in args]
            return rewriting.by(f"log(Σ {name}) → logsumexp", over, given, array_type(x), loc)
    return None


def _weighted(x: Array, w: Array) -> Array:
    return w * jnp.exp(x)


@dataclass(frozen=True)
class _SumOver:
    """Axes to sum over."""

    axes: tuple[int, ...]

    def __call__(self, x: Array, weights: Array | None = None) -> Array:
        if weights is not None:  # either may be the smaller one
            x, weights = jnp.broadcast_arrays(x, weights)
        return log_sum_exp(x, self.axes, weights)


def _of_multiple(rewriting: Rewriting, x: Node, loc: Loc | None) -> Node | None:
    """``log (c·x)  ⇒  log c + log x`` for a positive number c, where the latter has a better form: means are sums."""
    if not is_op(x, "mul", "div"):
        return None
    assert isinstance(x.op, Apply)
    values = [number(a) for a in x.args]
    for value, other in ((values[1], x.args[0]), (values[0] if is_op(x, "mul") else None, x.args[1])):
        if value is None or not 0 < value < math.inf or array_type(other).shape != array_type(x).shape:
            continue
        inner = _log_of(rewriting, other, loc)
        if inner is not None:
            shift = math.log(value) * (1 if is_op(x, "mul") else -1)
            return rewriting.code(_Shifted(shift), [inner], loc)
    return None


@dataclass(frozen=True)
class _Shifted:
    """Adds a number."""

    by: float

    def __call__(self, x: Any) -> Any:
        return x + self.by


def _of_softmax(rewriting: Rewriting, x: Node, loc: Loc | None) -> Node | None:
    """``log (exp(x) / Σ exp(x))  ⇒  log_softmax x``: the terms are shifted before they are subtracted."""
    axes = softmax_axes(x)
    if axes is None or is_below_zero(x.args[0].args[0]):
        return None
    exponent = rewriting.env[x.args[0].args[0]]
    return rewriting.by(_LOG_SOFTMAX, _LogSoftmax(axes), [exponent], array_type(x), loc)


_LOG_SOFTMAX = "log(softmax(x)) → log_softmax(x)"


@dataclass(frozen=True)
class _LogSoftmax:
    """Over axes."""

    axes: tuple[int, ...]

    def __call__(self, x: Array) -> Array:
        return jax.nn.log_softmax(x, self.axes)


def _of_product(rewriting: Rewriting, x: Node, loc: Loc | None) -> Node | None:
    """``log (y·exp x)  ⇒  log y + x``."""
    for fact in LOG_OF_PRODUCT:
        found = match(fact.expression, x)
        if found is None:
            continue
        exponent, y = (rewriting.env[a] for a in found)
        log_y = _log_of(rewriting, found[1], loc)
        if log_y is None:
            return rewriting.by(fact.name, fact.becomes, [exponent, y], array_type(x), loc)
        name, whole = fact.name, SUM_OF_LOGS[fact.name]
        return rewriting.by(name, whole, [exponent, log_y], array_type(x), loc)
    return None


__all__ = ["difference", "logarithm", "logarithm_of_1p", "softplus_in_parts"]
