"""The parameters of a distribution for one entry of its term: by name, with the set each one must be in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpyro.distributions import Distribution, ExpandedDistribution, Independent, MaskedDistribution, constraints
from numpyro.distributions.transforms import Transform

from plait.compiler.nonfinite.frames import Index
from plait.compiler.reference import element
from plait.compiler.wording import in_words
from plait.ir.graph import Node
from plait.ir.ops import LogProb
from plait.ir.spec import rebuild

_DEPENDENT = type(constraints.dependent)  # only the other parameters say what is allowed


@dataclass(frozen=True, eq=False)
class Parameter:
    """A parameter as one entry of a term reads it.

    Attributes:
        name: ``scale``; of a part of a mixture ``component_distribution.scale``.
        node: its value for all entries.
        places: which entries of the node's value it is: their places in C order.
        value: these entries.
        constraint: what is allowed.
    """

    name: str
    node: Node
    places: np.ndarray
    value: np.ndarray
    constraint: Any

    @property
    def index(self) -> Index | None:
        """Of the node's first entry here that is not finite."""
        bad = ~np.isfinite(self.value)
        if not bad.any():
            return None
        shape = self.node.type.shape  # type: ignore[union-attr]
        return tuple(int(i) for i in np.unravel_index(int(self.places[bad].flat[0]), shape))

    @property
    def refused(self) -> str:
        """``positive numbers``, where the value is none; empty where it is allowed."""
        if self.constraint is None or isinstance(self.constraint, _DEPENDENT):
            return ""
        return "" if np.all(self.constraint(self.value)) else in_words(self.constraint)


def parameters(node: Node, leaves: Sequence[np.ndarray], index: Index) -> list[Parameter]:
    """Those of a log_prob node for one entry of it.

    Args:
        node: the log_prob.
        leaves: the values of its distribution's arrays.
        index: of the entry.
    """
    assert isinstance(node.op, LogProb)
    arrays = [np.arange(np.size(x)).reshape(np.shape(x)) for x in leaves]
    one = _element(rebuild(node.op.dist, arrays), index)
    nodes = rebuild(node.op.dist, node.args[1:])
    values = {arg: np.asarray(x) for arg, x in zip(node.args[1:], leaves, strict=False)}
    found = []
    for name, arg, places, constraint in _named(nodes, one, ""):
        places = np.asarray(places)
        found.append(Parameter(name, arg, places, values[arg].ravel()[places], constraint))
    return found


def _element(fn: Any, index: Index) -> Any:
    """The distribution of one entry; the whole one where its parts do not say how."""
    batch = tuple(fn.batch_shape)
    index = index[len(index) - min(len(batch), len(index)) :]
    if len(index) < len(batch):
        return fn
    one = element(fn, tuple(0 if n == 1 else i for i, n in zip(index, batch, strict=True)))
    return fn if one is None else one


def _named(nodes: Any, one: Any, prefix: str) -> Iterator[tuple[str, Node, Any, Any]]:
    """The declared parameters, which `nodes` holds as nodes and `one` as places; else those of what it is made of."""
    nodes, one = _bare(nodes), _bare(one)
    declared: Any = getattr(type(nodes), "arg_constraints", {})
    own, places = vars(nodes), vars(one)
    names = [n for n in declared if isinstance(own.get(n), Node)] if isinstance(declared, Mapping) else []
    for name in names:
        yield f"{prefix}{name}", own[name], places[name], declared[name]
    for name, part in own.items():
        if isinstance(part, Node) and not names and not name.startswith("_"):
            yield f"{prefix}{name}", part, places[name], None
        for begin, inner, its_places in _inner(name, part, places[name]) if not names else ():  # else made of these
            yield from _named(inner, its_places, prefix + begin)


def _inner(name: str, part: Any, places: Any) -> Iterator[tuple[str, Any, Any]]:
    """Distributions and transforms in a field: what their parameters' names begin with, with nodes, with places."""
    if isinstance(part, (Distribution, Transform)):
        yield ("" if name == "base_dist" else f"{name.strip('_')}."), part, places
    elif isinstance(part, (list, tuple)):
        for k, (p, q) in enumerate(zip(part, places, strict=True)):
            if isinstance(p, (Distribution, Transform)):
                yield f"{name.strip('_')}[{k}].", p, q


def _bare(fn: Any) -> Any:
    """Without expansions, masks and event axes, which have no parameters."""
    while isinstance(fn, (ExpandedDistribution, Independent, MaskedDistribution)):
        fn = fn.base_dist
    return fn


__all__ = ["Parameter", "parameters"]
