"""The distribution of all members of a family at once: one more batch axis, as a user would write it in a plate.

A NumPyro class says in `arg_constraints` how many event axes each parameter has, hence where a parameter's batch
axes end. The members' axis goes to the left of all of them:

Normal(mu_i, [1, 2, 5]) for each i of N   ⇒   Normal(mu[:, None], [1, 2, 5]), of batch shape (N, 3)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution, ExpandedDistribution, constraints, transforms

from plait.compiler.memo import remembered
from plait.compiler.staged import struct
from plait.ir.spec import Leaf, Part, Seq, Spec, Static, flatten, rebuild
from plait.ir.types import ArrayType, Shape


class NotBatched(Exception):  # noqa: N818 (an answer, which every caller reads)
    """Says in a few words (for the user, in `explain`) why a node can't be held for all members at once."""


@remembered
def batched_dist(
    part: Part, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], size: int, rank: int
) -> tuple[Part, Any]:
    """The distribution of all members, and the jaxpr from the leaves given to its own.

    Args:
        part: a member's distribution.
        ins: types of its leaves; one that differs from member to member has the members' axis in front.
        lanes: which ones do.
        size: the number of members.
        rank: how many batch axes stand to the right of the members' axis: at least the member's own.
    """
    found: list[Part] = []

    def leaves_of(*xs: Any) -> list[Any]:
        new = _Growing(size, lanes, xs).whole(part, rank)
        arrays, spec = flatten(new, "the distribution")
        found.append(spec)
        return arrays

    closed = jax.make_jaxpr(leaves_of)(*map(struct, ins))
    return found[-1], closed


@remembered
def batched_constraint(
    part: Part, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], size: int, rank: int
) -> tuple[Part, Any]:
    """Like `batched_dist`, for a constraint on values of `rank` axes, those of events among them."""
    found: list[Part] = []

    def leaves_of(*xs: Any) -> list[Any]:
        arrays, spec = flatten(_Growing(size, lanes, xs).constraint(part, rank), "the support")
        found.append(spec)
        return arrays

    closed = jax.make_jaxpr(leaves_of)(*map(struct, ins))
    return found[-1], closed


@dataclass
class _Growing:
    """Rebuilds objects with the members' axis, from leaves that have it where `lanes` says so."""

    size: int
    lanes: tuple[bool, ...]
    leaves: Sequence[Any]
    _aligned: dict[tuple[int, int], Any] = field(default_factory=dict)

    def whole(self, part: Part, rank: int) -> Any:
        """A site's distribution."""
        if self.differs(part):
            return self.distribution(part, rank)
        fn = rebuild(part, self.leaves)
        return fn.expand((self.size, *(1,) * (rank - len(fn.batch_shape)), *fn.batch_shape))

    def differs(self, part: Part) -> bool:
        """Whether a leaf inside differs from member to member."""
        return any(self.lanes[i] for i in leaf_indices(part))

    # -- distributions ----------------------------------------------------------------------------------

    def distribution(self, part: Part, rank: int) -> Any:
        """A distribution with the members' axis left of its last `rank` batch axes.

        One inside another gets the axis also where no leaf of it differs: each member draws from it for itself.
        """
        if not isinstance(part, Spec) or not issubclass(part.cls, Distribution):
            raise NotBatched(f"{_name(part)} can't be stacked")
        batch = _static_shape(part, "_batch_shape")
        if len(batch) > rank:
            raise NotBatched(f"{_name(part)} can't be stacked")
        shape = (self.size, *(1,) * (rank - len(batch)), *batch)
        if issubclass(part.cls, ExpandedDistribution):
            return ExpandedDistribution(self.distribution(_inside(part), rank), shape)
        every = not self.differs(part)
        fields = {name: self.field(part, name, value, rank, every) for name, value in part.fields}
        new = object.__new__(part.cls)
        new.__dict__.update({**fields, "_batch_shape": shape, "_validate_args": False})
        return new

    def field(self, owner: Spec, name: str, value: Part, rank: int, every: bool) -> Any:
        """A field of a distribution; `every` array of it gets the axis, or those that differ."""
        if _is_distribution(value):
            return self.inner(owner, name, value, rank)
        if isinstance(value, Seq) and all(map(_is_distribution, value.items)) and value.items:
            return value.cls(self.inner(owner, name, item, rank) for item in value.items)
        every = every or (owner.cls.__name__, name) in _DRAWS
        if not self.differs(value) and not (every and isinstance(value, Leaf)):
            return rebuild(value, self.leaves)
        if isinstance(value, Leaf):
            return self.leaf(value, rank + event_axes(owner, name))
        if name == "transforms" and isinstance(value, Seq):
            return self.transforms(owner, value, rank)
        if isinstance(value, Spec) and issubclass(value.cls, constraints.Constraint):
            return self.constraint(value, rank + len(_static_shape(owner, "_event_shape")))
        raise NotBatched(f"{_name(owner)} can't be stacked")

    def inner(self, owner: Spec, name: str, value: Part, rank: int) -> Any:
        """A distribution inside another one; a mixture expands its parts itself."""
        if name in _PARTS_OF_MIXTURES and not self.differs(value):
            return rebuild(value, self.leaves)
        return self.distribution(value, rank + _more_axes(owner, name))

    def leaf(self, leaf: Leaf, rank: int) -> Any:
        """An array with the members' axis left of its last `rank` axes."""
        key = (leaf.index, rank)
        if key not in self._aligned:
            x, lane = self.leaves[leaf.index], self.lanes[leaf.index]
            missing = rank - (jnp.ndim(x) - lane)
            if missing < 0:
                raise NotBatched("a parameter has more axes than its distribution")
            x = x if lane else jnp.broadcast_to(x, (self.size, *jnp.shape(x)))
            self._aligned[key] = jnp.expand_dims(x, tuple(range(1, 1 + missing))) if missing else x
        return self._aligned[key]

    # -- transforms and constraints -----------------------------------------------------------------------

    def transforms(self, owner: Spec, chain: Seq, rank: int) -> Any:
        """The transforms of a distribution; each one's arrays are aligned with what it is applied to."""
        base = _inside(owner)
        shape = _static_shape(base, "_batch_shape") + _static_shape(base, "_event_shape")
        batch = len(_static_shape(owner, "_batch_shape"))
        pairs = zip(self.leaves, self.lanes, strict=True)
        avals = [jax.ShapeDtypeStruct(jnp.shape(x)[lane:], x.dtype) for x, lane in pairs]
        found = []
        for part in chain.items:
            found.append(self.transform(part, rank + len(shape) - batch))
            shape = rebuild(part, avals).forward_shape(shape)
        return chain.cls(found)

    def transform(self, part: Part, rank: int) -> Any:
        """A transform of values whose last `rank` axes are a member's."""
        if not self.differs(part):
            return rebuild(part, self.leaves)
        if not isinstance(part, Spec) or part.cls not in _ELEMENTWISE:
            raise NotBatched(f"{_name(part)} can't be stacked")
        new = object.__new__(part.cls)
        for name, value in part.fields:
            new.__dict__[name] = self.elementwise(value, rank)
        return new

    def elementwise(self, value: Part, rank: int) -> Any:
        if not self.differs(value):
            return rebuild(value, self.leaves)
        return self.leaf(value, rank) if isinstance(value, Leaf) else self.constraint(value, rank)

    def constraint(self, part: Part, rank: int) -> Any:
        """A constraint on values whose last `rank` axes are a member's."""
        if not self.differs(part):
            return rebuild(part, self.leaves)
        if not isinstance(part, Spec) or not issubclass(part.cls, constraints.Constraint):
            raise NotBatched(f"{_name(part)} can't be stacked")
        new = object.__new__(part.cls)
        if issubclass(part.cls, _SUMS):
            rank -= 1
        elif not issubclass(part.cls, _BOUNDS):
            raise NotBatched(f"a support like {_name(part)} can't be stacked")
        for name, value in part.fields:
            new.__dict__[name] = self.elementwise(value, rank)
        return new


def event_axes(owner: Spec, name: str) -> int:
    """How many axes of a parameter belong to one event."""
    for cls in owner.cls.__mro__:
        if (cls.__name__, name) in _EVENT_AXES:
            return _EVENT_AXES[cls.__name__, name]
        declared = cls.__dict__.get("arg_constraints", {})
        if isinstance(declared, dict) and name in declared:
            return _dim(declared[name], owner)
    raise NotBatched(f"{_name(owner)} can't be stacked")


def _dim(constraint: Any, owner: Spec) -> int:
    try:
        return int(constraint.event_dim)
    except NotImplementedError:  # a constraint that depends on the other parameters: Delta's point is an event
        return len(_static_shape(owner, "_event_shape"))


def event_ndim(part: Part) -> int:
    """How many axes one event of a distribution has."""
    assert isinstance(part, Spec)
    return len(_static_shape(part, "_event_shape"))


def leaf_indices(part: Part) -> set[int]:
    """Which leaves a part reads."""
    match part:
        case Leaf(index):
            return {index}
        case Static():
            return set()
    inside = [value for _, value in part.fields] if isinstance(part, Spec) else _items(part)
    return set().union(*map(leaf_indices, inside))


def _items(part: Any) -> list[Part]:
    if hasattr(part, "cells"):
        return list(part.cells)
    return [item[1] if isinstance(item, tuple) else item for item in part.items]


def _inside(part: Spec) -> Spec:
    base = part.field("base_dist")
    assert isinstance(base, Spec)
    return base


def _is_distribution(part: Part) -> bool:
    return isinstance(part, Spec) and isinstance(part.cls, type) and issubclass(part.cls, Distribution)


def _static_shape(part: Spec, name: str) -> Shape:
    shape = part.field(name)
    assert shape is not None
    return tuple(rebuild(shape, ()))


def _name(part: Part) -> str:
    return part.cls.__name__ if isinstance(part, Spec) else type(part).__name__


def _more_axes(owner: Spec, name: str) -> int:
    """How many more batch axes a distribution inside another one has: they are the outer one's events."""
    if name == "base_dist":
        n = owner.field("reinterpreted_batch_ndims")
        return int(n.value) if isinstance(n, Static) else 0
    return _MORE_AXES.get((owner.cls.__name__, name), 0)


_MORE_AXES = {("MixtureSameFamily", "_component_distribution"): 1, ("LKJCholesky", "_beta"): 1}

_PARTS_OF_MIXTURES = ("_mixing_distribution", "_component_distribution", "_component_distributions")

# what a constraint says too little or too much of
_EVENT_AXES = {("LowRankMultivariateNormal", "_capacitance_tril"): 2, ("MatrixNormal", "loc"): 2}

# parameters that are themselves the draw
_DRAWS = {("Delta", "v")}

_ELEMENTWISE = (transforms.AffineTransform, transforms.PowerTransform)

_BOUNDS = (
    constraints.interval,
    constraints.greater_than,
    constraints.less_than,
    constraints.integer_interval,
    constraints.integer_greater_than,
    constraints.independent,
)

_SUMS = (constraints.multinomial,)
