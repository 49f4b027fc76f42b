"""Objects of NumPyro with one more axis: distributions, and the transforms and constraints inside them.

Normal(mu, [1, 2, 5]).to_event(1)   ⇒   Normal(mu[:, None], [1, 2, 5]).to_event(1), where mu has the axis of N members

A class says in `arg_constraints` how many event axes each parameter has, hence where its batch axes begin; the new
axis goes to the left of all batch axes. Parameters without it broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
from numpyro.distributions import (
    Distribution,
    ExpandedDistribution,
    MaskedDistribution,
    TransformedDistribution,
    constraints,
)  # fmt: skip
from numpyro.distributions.transforms import AffineTransform, PowerTransform

from plait.ir.spec import Closure, Leaf, Map, Part, Seq, Spec, Static, rebuild
from plait.ir.types import Shape


class NotBatched(Exception):  # noqa: N818 (an answer, which every caller reads)
    """Says in a few words (for the user, in `explain`) why a node can't be held for all members at once."""


@dataclass
class Growing:
    """Rebuilds objects with the members' axis, from leaves that have it where `lanes` says so."""

    size: int
    lanes: tuple[bool, ...]
    leaves: Sequence[Any]
    every: bool
    name: str
    _aligned: dict[tuple[int, int], Any] = field(default_factory=dict)  # so that fields that share a leaf still do

    def refusal(self) -> NotBatched:
        return NotBatched(f"{self.name} can't be stacked")

    def differs(self, part: Part) -> bool:
        """Whether a leaf inside differs from member to member."""
        return any(self.lanes[i] for i in _leaf_indices(part))

    def same(self, part: Part) -> Any:
        return rebuild(part, self.leaves)

    def whole(self, part: Part, rank: int) -> Any:
        """A site's distribution."""
        if self.differs(part):
            return self.distribution(part, rank)
        fn = self.same(part)
        return fn.expand((self.size, *(1,) * (rank - len(fn.batch_shape)), *fn.batch_shape))

    def distribution(self, part: Part | None, rank: int) -> Any:
        """A distribution with the members' axis left of its last `rank` batch axes.

        One inside another gets the axis also where no leaf of it differs: each member draws from it for itself.
        """
        if not _is_distribution(part) or len(batch_shape(part)) > rank:
            raise self.refusal()
        batch = batch_shape(part)
        batch = (self.size, *(1,) * (rank - len(batch)), *batch)
        if issubclass(part.cls, ExpandedDistribution):
            return ExpandedDistribution(self.distribution(part.field("base_dist"), rank), batch)
        every = self.every or not self.differs(part)
        new = object.__new__(part.cls)
        new.__dict__.update({name: self.field(part, name, value, rank, every) for name, value in part.fields})
        new.__dict__.update(_batch_shape=batch, _validate_args=False)
        return new

    def field(self, owner: Spec, name: str, value: Part, rank: int, every: bool) -> Any:
        """A field of a distribution; `every` array of it gets the axis, or those that differ."""
        if _is_distribution(value):
            return self.inner(owner, name, value, rank)
        if isinstance(value, Seq) and any(map(_is_distribution, value.items)):
            return value.cls(self.field(owner, name, item, rank, every) for item in value.items)
        if isinstance(value, Leaf) and (every or self.differs(value) or (owner.cls.__name__, name) in _DRAWN):
            return self.parameter(owner, name, value, rank)
        if not self.differs(value):
            return self.same(value)
        if name == "transforms" and isinstance(value, Seq):
            return self.transforms(owner, value, rank)
        return self.constraint(value, rank + len(event_shape(owner)))

    def inner(self, owner: Spec, name: str, value: Spec, rank: int) -> Any:
        """A distribution inside another one."""
        if name in _EXPANDED_BY_OWNER and not self.differs(value):
            return self.same(value)  # whenever the outer one draws
        if issubclass(owner.cls, _EXPANDING) and not self.differs(value):
            return self.whole(value, rank)
        n = owner.field("reinterpreted_batch_ndims")
        more = int(n.value) if isinstance(n, Static) else _of_class(owner, name, _MORE_AXES) or 0
        return self.distribution(value, rank + more)

    def parameter(self, owner: Spec, name: str, leaf: Leaf, rank: int) -> Any:
        event = event_axes(owner, name)
        if event is None and self.lanes[leaf.index]:
            raise self.refusal()
        return self.same(leaf) if event is None else self.leaf(leaf, rank + event)

    def leaf(self, leaf: Leaf, rank: int) -> Any:
        """An array with the members' axis left of its last `rank` axes."""
        key = (leaf.index, rank)
        if key not in self._aligned:
            x, lane = self.leaves[leaf.index], self.lanes[leaf.index]
            missing = rank - (jnp.ndim(x) - lane)
            if missing < 0:
                raise self.refusal()
            x = x if lane else jnp.broadcast_to(x, (self.size, *jnp.shape(x)))
            self._aligned[key] = jnp.expand_dims(x, tuple(range(1, 1 + missing))) if missing else x
        return self._aligned[key]

    def transforms(self, owner: Spec, chain: Seq, rank: int) -> Any:
        """The transforms of a distribution; the arrays of each are aligned with what it is applied to."""
        base = owner.field("base_dist")
        if not _is_distribution(base):
            raise self.refusal()
        shape = batch_shape(base) + event_shape(base)
        members = [
            jax.ShapeDtypeStruct(jnp.shape(x)[lane:], jnp.result_type(x))
            for x, lane in zip(self.leaves, self.lanes, strict=True)
        ]
        found = []
        for part in chain.items:
            found.append(self.transform(part, rank + len(shape) - len(batch_shape(owner))))
            shape = rebuild(part, members).forward_shape(shape)
        return chain.cls(found)

    def transform(self, part: Part, rank: int) -> Any:
        """A transform of values that have `rank` axes for a member."""
        if not self.differs(part):
            return self.same(part)
        if not isinstance(part, Spec) or part.cls not in (AffineTransform, PowerTransform):
            raise self.refusal()
        return self.elementwise(part, rank)

    def constraint(self, part: Part, rank: int) -> Any:
        """A constraint on values that have `rank` axes for a member."""
        if not self.differs(part):
            return self.same(part)
        if not isinstance(part, Spec) or not issubclass(part.cls, (*_BOUNDS, constraints.multinomial)):
            raise self.refusal()
        of_sums = issubclass(part.cls, constraints.multinomial)
        return self.elementwise(part, rank - of_sums)

    def elementwise(self, part: Spec, rank: int) -> Any:
        new = object.__new__(part.cls)
        for name, value in part.fields:
            lane = isinstance(value, Leaf) and self.differs(value)
            new.__dict__[name] = self.leaf(value, rank) if lane else self.constraint(value, rank)  # type: ignore[arg-type]
        return new


# -- what parts say -----------------------------------------------------------------------------------------


def event_shape(part: Part) -> Shape:
    """The event shape of a distribution."""
    return _static_shape(part, "_event_shape")


def batch_shape(part: Part) -> Shape:
    """The batch shape of a distribution."""
    return _static_shape(part, "_batch_shape")


def event_axes(owner: Spec, name: str) -> int | None:
    """How many axes of a parameter belong to one event; None where nobody says so."""
    if (owner.cls.__name__, name) in _DRAWN:
        return len(event_shape(owner))
    known = _of_class(owner, name, _EVENT_AXES)
    try:
        return _constraint(owner, name).event_dim if known is None else known
    except NotImplementedError:  # it depends on the other parameters, or is not declared
        return None


def _constraint(owner: Spec, name: str) -> Any:
    """What a class or one of its bases says that a parameter must be."""
    declared = [c.__dict__.get("arg_constraints") for c in owner.cls.__mro__]
    return next((d[name] for d in declared if isinstance(d, dict) and name in d), constraints.dependent)


def declared(part: Part) -> dict[int, Any]:
    """By leaf what its distribution says that it must be."""
    found: dict[int, Any] = {}
    for inner in parts_of(part):
        found |= declared(inner)
    if _is_distribution(part):
        found |= {value.index: _constraint(part, name) for name, value in part.fields if isinstance(value, Leaf)}
    return found


def _of_class(owner: Spec, name: str, table: dict[tuple[str, str], int]) -> int | None:
    return next((table[c.__name__, name] for c in owner.cls.__mro__ if (c.__name__, name) in table), None)


def _is_distribution(part: Part | None) -> TypeGuard[Spec]:
    return isinstance(part, Spec) and isinstance(part.cls, type) and issubclass(part.cls, Distribution)


def _static_shape(part: Part, name: str) -> Shape:
    shape = part.field(name) if isinstance(part, Spec) else None
    assert shape is not None
    return tuple(rebuild(shape, ()))


def class_name(part: Part) -> str:
    """What a constraint is called in a refusal."""
    return part.cls.__name__.lstrip("_") if isinstance(part, Spec) else "such a support"


def parts_of(part: Part) -> list[Part]:
    """The parts right inside a part."""
    match part:
        case Leaf() | Static():
            return []
        case Seq(_, items) | Closure(_, items):
            return list(items)
        case Map(_, pairs) | Spec(_, pairs):
            return [value for _, value in pairs]


def _leaf_indices(part: Part) -> set[int]:
    if isinstance(part, Leaf):
        return {part.index}
    return set().union(*map(_leaf_indices, parts_of(part)))


# the distributions inside others whose last batch axes are the outer ones' events or components
_MORE_AXES = {
    ("MixtureSameFamily", "_component_distribution"): 1,
    ("LKJCholesky", "_beta"): 1,
    ("GaussianCopula", "marginal_dist"): 1,
}

_EXPANDED_BY_OWNER = ("_mixing_distribution", "_component_distribution", "_component_distributions")

_EXPANDING = (TransformedDistribution, MaskedDistribution)  # their constructors expand what is inside

# of parameters whose constraint says too little, or something else
_EVENT_AXES = {
    ("GaussianCopulaBeta", "concentration0"): 1,
    ("GaussianCopulaBeta", "concentration1"): 1,
    ("LowRankMultivariateNormal", "_capacitance_tril"): 2,
    ("MaskedDistribution", "_mask"): 0,
    ("MatrixNormal", "loc"): 2,
}

# parameters that are themselves the draw
_DRAWN = {("Delta", "v")}

_BOUNDS = (
    constraints.interval,
    constraints.greater_than,
    constraints.less_than,
    constraints.integer_interval,
    constraints.integer_greater_than,
    constraints.independent,
)
