"""Probabilities that are a known function of an unbounded number become logits.

p: f64[8] = logistic eta
t: f64[8] = log_prob y ~ BernoulliProbs(p)  ⇒  t: f64[8] = log_prob y ~ BernoulliLogits(eta)

NumPyro clamps p to the numbers between 0 and 1: from |eta| = 37 on (17 in float32) the density is constant, at a wrong
value, and its derivative 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from plait.compiler.stable.facts import LOGIT
from plait.compiler.stable.rewriting import Place, Rewriting
from plait.compiler.stable.softmax import is_below_zero, softmax_axes
from plait.compiler.staged import signature
from plait.ir.graph import Node, ancestors
from plait.ir.ops import Apply, Const, LogProb, array_type, is_op
from plait.ir.spec import Closure, Leaf, Map, Part, Seq, Spec
from plait.ir.types import Loc


@dataclass(frozen=True)
class _Class:
    """A distribution by its probabilities.

    Attributes:
        logits: the class by its logits.
        keeps: what its log_prob reads beside the logits.
        is_simplex: whether the probabilities sum to 1 over the last axis.
        infinite: whether an infinite logit has the right density there, too: 0 · inf is NaN in the others.
    """

    logits: type
    keeps: tuple[str, ...] = ()
    is_simplex: bool = False
    infinite: bool = False


_CLASSES: Mapping[type, _Class] = {
    dist.BernoulliProbs: _Class(dist.BernoulliLogits, infinite=True),
    dist.BinomialProbs: _Class(dist.BinomialLogits, ("total_count",)),
    dist.GeometricProbs: _Class(dist.GeometricLogits),
    dist.NegativeBinomialProbs: _Class(dist.NegativeBinomialLogits, ("total_count",)),
    dist.CategoricalProbs: _Class(dist.CategoricalLogits, is_simplex=True, infinite=True),
    dist.MultinomialProbs: _Class(dist.MultinomialLogits, ("total_count", "total_count_max"), is_simplex=True),
}
# Where a distribution has others inside whose log_prob it takes as it is, or, in a mixture, whose logits.
_INSIDE = ("base_dist", "_mixing_distribution", "_component_distribution", "_component_distributions")
_WHOLE = ("_batch_shape", "_event_shape")


def logits(rewriting: Rewriting, node: Node) -> Node | None:
    """``Bernoulli(probs=sigmoid x)  ⇒  Bernoulli(logits=x)``."""
    op = node.op
    if not isinstance(op, LogProb):
        return None
    written = node.args[1 : len(node.args) - op.masked - op.scaled]
    search = _Search(rewriting, written, node.loc)
    part = search.rewritten(op.dist)
    if not search.facts:
        return None
    part, leaves = _compacted(part, [*(rewriting.env[a] for a in written), *search.leaves])
    rest = [rewriting.env[a] for a in node.args[len(written) + 1 :]]
    args = [rewriting.env[node.args[0]], *leaves, *rest]
    typed = signature(LogProb, tuple(map(array_type, args)), op.site, part, op.masked, op.scaled)
    if not array_type(node).same_array(typed.out):
        return None
    result = rewriting.add(replace(typed, out=op.out), args, node.loc)
    rewriting.places += [Place(fact, result, node.loc) for fact in search.facts]
    return result


class _Search:
    """Looks for probabilities in a distribution; the logits it finds are leaves after those that are there."""

    def __init__(self, rewriting: Rewriting, written: tuple[Node, ...], loc: Loc | None) -> None:
        self.rewriting, self.written, self.loc = rewriting, written, loc
        self.leaves: list[Node] = []
        self.facts: list[str] = []

    def rewritten(self, part: Part) -> Part:
        match part:
            case Spec(cls, fields) if cls in _CLASSES:
                return self._with_logits(part, _CLASSES[cls])
            case Spec(cls, fields):
                return Spec(cls, tuple((n, self.rewritten(p) if n in _INSIDE else p) for n, p in fields))
            case Seq(cls, items):
                return Seq(cls, tuple(map(self.rewritten, items)))
        return part

    def _with_logits(self, spec: Spec, cls: _Class) -> Spec:
        probs = spec.field("probs")
        if not isinstance(probs, Leaf):
            return spec
        found = _logits_of(self.rewriting, self.written[probs.index], cls.is_simplex, self.loc)
        if found is None or not (cls.infinite or _is_finite(found.node)):
            return spec
        self.facts.append(f"{spec.cls.__name__}({found.text}) → {cls.logits.__name__}")
        self.leaves.append(found.node)
        leaf = Leaf(len(self.written) + len(self.leaves) - 1)
        kept = [(n, p) for n, p in spec.fields if n in cls.keeps or n in _WHOLE]
        return Spec(cls.logits, tuple(sorted([*kept, ("logits", leaf)], key=lambda item: item[0])))


@dataclass(frozen=True)
class _Logits:
    """New nodes: the logits of some probabilities, which are a function of this text."""

    node: Node
    text: str


def _logits_of(rewriting: Rewriting, probs: Node, is_simplex: bool, loc: Loc | None) -> _Logits | None:
    """The logits of old probabilities."""
    here = _softmax(rewriting, probs, loc) if is_simplex else _logit(rewriting, probs, loc)
    if here is not None or not _moves_rows(probs, is_simplex):
        return here
    inner = _logits_of(rewriting, probs.args[0], is_simplex, loc)
    if inner is None:
        return None
    assert isinstance(probs.op, Apply)
    args = [inner.node, *(rewriting.env[a] for a in probs.args[1:])]
    return replace(inner, node=rewriting.add(replace(probs.op, ins=tuple(map(array_type, args))), args, loc))


def _logit(rewriting: Rewriting, probs: Node, loc: Loc | None) -> _Logits | None:
    found = rewriting.fact(LOGIT, probs)
    if found is None:
        return None
    fact, args = found
    node = rewriting.code(fact.becomes, [rewriting.env[a] for a in args], loc)
    return _Logits(node, fact.name) if array_type(node).same_array(array_type(probs)) else None


def _softmax(rewriting: Rewriting, probs: Node, loc: Loc | None) -> _Logits | None:
    """``exp(x)/Σ exp(x)`` over the last axis; x is shifted, as NumPyro subtracts ``log Σ exp(x)`` from it."""
    if softmax_axes(probs) != (array_type(probs).ndim - 1,):
        return None
    x = probs.args[0].args[0]
    new = rewriting.env[x]
    return _Logits(new if is_below_zero(x) else rewriting.code(_below_zero, [new], loc), "softmax(x)")


def _below_zero(x: Array) -> Array:
    return x - jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True))


# -- moves ------------------------------------------------------------------------------------------------

_MOVES = ("broadcast_in_dim", "reshape", "squeeze", "transpose", "slice", "copy", "gather")


def _moves_rows(node: Node, is_simplex: bool) -> bool:
    """Whether a node moves entries of its first argument; of simplices, whole vectors along the last axis."""
    if not is_op(node, *_MOVES):
        return False
    assert isinstance(node.op, Apply)
    params, n = node.op.parameters, array_type(node.args[0]).ndim
    if is_op(node, "gather") and params["fill_value"] is not None:
        return False
    if not is_simplex:
        return True
    shape, last = array_type(node).shape, array_type(node).ndim - 1
    if not shape or array_type(node.args[0]).shape[-1:] != shape[-1:]:
        return False
    match node.op.primitive.name:
        case "broadcast_in_dim":
            return params["broadcast_dimensions"][-1] == last
        case "squeeze":
            return n - 1 not in params["dimensions"]
        case "transpose":
            return params["permutation"][-1] == n - 1
        case "gather":
            d = params["dimension_numbers"]
            elsewhere = (*d.collapsed_slice_dims, *d.start_index_map, *d.operand_batching_dims)
            return n - 1 not in elsewhere and d.offset_dims[-1:] == (last,)
        case "slice":
            return params["strides"] is None or params["strides"][-1] == 1  # its size says that it is the whole axis
    return True  # a reshape that keeps the last size, in the order of rows


# -- parts -------------------------------------------------------------------------------------------------


def _is_finite(node: Node) -> bool:
    """Whether no infinite constant takes part, which makes outcomes impossible; a maximum may start from one."""
    readers = (n for n in ancestors([node]) if not is_op(n, "max", "min"))
    return not any(_is_infinite(a) for n in readers for a in n.args)


def _is_infinite(node: Node) -> bool:
    if not isinstance(node.op, Const) or array_type(node).dtype not in (np.float32, np.float64):
        return False
    return bool(np.isinf(np.asarray(node.op.value)).any())


def _compacted(part: Part, leaves: Sequence[Node]) -> tuple[Part, list[Node]]:
    """The part and the leaves that it has left."""
    used: dict[int, int] = {}

    def renumbered(part: Part) -> Part:
        match part:
            case Leaf(index):
                return Leaf(used.setdefault(index, len(used)))
            case Spec(cls, fields):
                return Spec(cls, tuple((n, renumbered(p)) for n, p in fields))
            case Map(cls, items):
                return Map(cls, tuple((k, renumbered(p)) for k, p in items))
            case Seq(cls, items):
                return Seq(cls, tuple(map(renumbered, items)))
            case Closure(code, cells):
                return Closure(code, tuple(map(renumbered, cells)))
        return part

    return renumbered(part), [leaves[i] for i in used]


__all__ = ["logits"]
