"""The distribution of all members of a family at once, as a user would write it inside a plate.

Normal(mu_i, [1, 2, 5]) for each i of N   ⇒   Normal(mu[:, None], [1, 2, 5]), of batch shape (N, 3)

A NumPyro class says in `arg_constraints` how many event axes each parameter has, hence where its batch axes begin;
the members' axis goes to the left of all batch axes. What comes out is tried on shapes, at a number of members that
is no other axis' length, so that a misplaced axis can't fit by accident; code that is not NumPyro's is tried on
numbers too.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from numpyro.distributions import Distribution, ExpandedDistribution, biject_to, constraints
from numpyro.distributions.transforms import AffineTransform, PowerTransform, Transform

from plait.compiler.memo import remembered
from plait.compiler.staged import struct
from plait.compiler.staging import draw_type
from plait.ir.spec import Closure, Leaf, Map, Part, Seq, Spec, Static, family, flatten, rebuild
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

    Raises:
        NotBatched: there is none, or none that is certain to be right.
    """
    odd = 3 + 2 * max((n for t in ins for n in t.shape), default=0)
    for every in (False, True):
        tried = _grown(part, _resized(ins, lanes, odd), lanes, odd, rank, every)
        if _fits(part, ins, lanes, tried, odd, rank) and (_is_numpyros(part) or _agrees(part, ins, lanes, rank, every)):
            return _grown(part, ins, lanes, size, rank, every)
    raise NotBatched(f"{family(part)} can't be stacked")


@remembered
def batched_constraint(
    part: Part, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], size: int, rank: int
) -> tuple[Part, Any]:
    """Like `batched_dist`, for a constraint on values of `rank` axes, those of events among them."""
    return _flattened(lambda growing: growing.constraint(part, rank), ins, lanes, size, False, _name(part))


# -- what is tried ------------------------------------------------------------------------------------------


def _grown(
    part: Part, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], size: int, rank: int, every: bool
) -> tuple[Part, Any]:
    """A candidate; `every` parameter of it has the members' axis, or only those that differ."""
    return _flattened(lambda growing: growing.whole(part, rank), ins, lanes, size, every, family(part))


def _flattened(
    build: Callable[[_Growing], Any],
    ins: tuple[ArrayType, ...],
    lanes: tuple[bool, ...],
    size: int,
    every: bool,
    name: str,
) -> tuple[Part, Any]:
    """What `build` builds, taken apart, and the jaxpr from the leaves given to its own."""
    found: list[Part] = []

    def leaves_of(*xs: Any) -> list[Any]:
        arrays, spec = flatten(build(_Growing(size, lanes, xs, every, name)), name)
        found.append(spec)
        return arrays

    closed = jax.make_jaxpr(leaves_of)(*map(struct, ins))
    return found[-1], closed


def _resized(ins: Sequence[ArrayType], lanes: Sequence[bool], size: int) -> tuple[ArrayType, ...]:
    return tuple(replace(t, shape=(size, *t.shape[1:])) if lane else t for t, lane in zip(ins, lanes, strict=True))


def _of_member(ins: Sequence[ArrayType], lanes: Sequence[bool]) -> tuple[ArrayType, ...]:
    return tuple(
        replace(t, shape=t.shape[1:], axes=t.axes[1:]) if lane else t for t, lane in zip(ins, lanes, strict=True)
    )


def _fits(
    part: Part,
    ins: tuple[ArrayType, ...],
    lanes: tuple[bool, ...],
    tried: tuple[Part, Any],
    size: int,
    rank: int,
) -> bool:
    """Whether all shapes are a member's behind the members' axis."""
    new, closed = tried
    gap = rank - batch_ndim(part)
    value = (*range(size + 2, size + 2 + gap), *_shape(part, "_batch_shape"), *_shape(part, "_event_shape"))
    leaves = tuple(ArrayType(a.dtype, a.shape, weak=a.weak_type) for a in closed.out_avals)
    try:
        drawn, log_prob = _shapes(part, _of_member(ins, lanes), value)
        of_all = _shapes(new, leaves, (size, *value))
    except (TypeError, ValueError, AssertionError, NotImplementedError, ImportError):
        return False  # of a member or of all: then each one shows it for itself
    return of_all == ((size, *(1,) * gap, *drawn), (size, *log_prob))


def _shapes(part: Part, leaves: tuple[ArrayType, ...], value: Shape) -> tuple[Shape, Shape]:
    """Shapes of the draws of a distribution, and of the log probability of a value."""
    drawn = draw_type(part, leaves)

    def log_prob(*xs: Any) -> Any:
        return rebuild(part, xs).log_prob(jnp.ones(value, drawn.dtype))

    return drawn.shape, jax.eval_shape(log_prob, *map(struct, leaves)).shape


def _agrees(part: Part, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], rank: int, every: bool) -> bool:
    """Whether the log probabilities of three members at draws of theirs are those of the three at once."""
    ins = _resized(ins, lanes, 3)
    new, closed = _grown(part, ins, lanes, 3, rank, every)
    rng = np.random.default_rng(0)
    declared = _declared(part)
    gap = (1,) * (rank - batch_ndim(part))
    with jax.ensure_compile_time_eval():
        try:
            leaves = [_parameter(t, declared.get(i, constraints.real), rng) for i, t in enumerate(ins)]
            members = [rebuild(part, _at(i, leaves, lanes)) for i in range(3)]
            values = [fn.sample(jax.random.key(i)) for i, fn in enumerate(members)]
            each = np.stack([fn.log_prob(x) for fn, x in zip(members, values, strict=True)])
            x = jnp.reshape(jnp.stack(values), (3, *gap, *jnp.shape(values[0])))
            at_once = rebuild(new, core.jaxpr_as_fun(closed)(*leaves)).log_prob(x)
        except (ValueError, NotImplementedError, ImportError):
            return False  # no values that its code takes, or no draws
    return bool(np.all(np.isfinite(each)) and np.allclose(np.reshape(at_once, each.shape), each, 1e-4, 1e-5))


def _parameter(t: ArrayType, constraint: Any, rng: np.random.Generator) -> Any:
    """Values of a leaf, in its constraint where NumPyro has a bijection onto that."""
    if not jnp.issubdtype(t.dtype, jnp.floating):
        return jnp.asarray(rng.integers(1, 4, t.shape), t.dtype)
    try:
        bijector = biject_to(constraint)
    except NotImplementedError:
        bijector = biject_to(constraints.unit_interval)
    free = jax.eval_shape(bijector.inv, struct(t)).shape
    return jnp.asarray(bijector(jnp.asarray(rng.normal(0, 0.5, free))), t.dtype)


def _at(i: int, leaves: Sequence[Any], lanes: Sequence[bool]) -> list[Any]:
    return [x[i] if lane else x for x, lane in zip(leaves, lanes, strict=True)]


def _is_numpyros(part: Part) -> bool:
    """Whether all code in a distribution is NumPyro's, of which the tests know that it keeps members apart."""
    if isinstance(part, Static):
        return _is_known(part.value)
    if isinstance(part, Closure) or (isinstance(part, Spec) and not _is_known(part.cls)):
        return False
    return all(map(_is_numpyros, _inside(part)))


def _is_known(value: Any) -> bool:
    if isinstance(value, (Distribution, Transform, constraints.Constraint)):
        return _is_known(type(value)) and all(map(_is_known, vars(value).values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_known, value))
    if not callable(value) or isinstance(value, weakref.ref):
        return True
    return str(getattr(value, "__module__", "")).startswith(("numpyro.distributions.", "jax."))


# -- how one is built ---------------------------------------------------------------------------------------


@dataclass
class _Growing:
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
        if not _is_distribution(part) or batch_ndim(part) > rank:
            raise self.refusal()
        batch = _shape(part, "_batch_shape")
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
        return self.constraint(value, rank + event_ndim(owner))

    def inner(self, owner: Spec, name: str, value: Spec, rank: int) -> Any:
        """A distribution inside another one; some are expanded by the outer one whenever it draws."""
        if name in _EXPANDED_BY_OWNER and not self.differs(value):
            return self.same(value)
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
        shape = _shape(base, "_batch_shape") + _shape(base, "_event_shape")
        members = [
            jax.ShapeDtypeStruct(jnp.shape(x)[lane:], jnp.result_type(x))
            for x, lane in zip(self.leaves, self.lanes, strict=True)
        ]
        found = []
        for part in chain.items:
            found.append(self.transform(part, rank + len(shape) - batch_ndim(owner)))
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


def event_ndim(part: Part) -> int:
    """How many axes one event of a distribution has."""
    return len(_shape(part, "_event_shape"))


def batch_ndim(part: Part) -> int:
    """How many batch axes a distribution has."""
    return len(_shape(part, "_batch_shape"))


def event_axes(owner: Spec, name: str) -> int | None:
    """How many axes of a parameter belong to one event; None where nobody says so."""
    if (owner.cls.__name__, name) in _DRAWN:
        return event_ndim(owner)
    known = _of_class(owner, name, _EVENT_AXES)
    try:
        return _constraint(owner, name).event_dim if known is None else known
    except NotImplementedError:  # it depends on the other parameters, or is not declared
        return None


def _constraint(owner: Spec, name: str) -> Any:
    """What a class or one of its bases says that a parameter must be."""
    declared = [c.__dict__.get("arg_constraints") for c in owner.cls.__mro__]
    return next((d[name] for d in declared if isinstance(d, dict) and name in d), constraints.dependent)


def _declared(part: Part) -> dict[int, Any]:
    """By leaf what its distribution says that it must be."""
    found: dict[int, Any] = {}
    for inner in _inside(part):
        found |= _declared(inner)
    if _is_distribution(part):
        found |= {value.index: _constraint(part, name) for name, value in part.fields if isinstance(value, Leaf)}
    return found


def _of_class(owner: Spec, name: str, table: dict[tuple[str, str], int]) -> int | None:
    return next((table[c.__name__, name] for c in owner.cls.__mro__ if (c.__name__, name) in table), None)


def _is_distribution(part: Part | None) -> TypeGuard[Spec]:
    return isinstance(part, Spec) and isinstance(part.cls, type) and issubclass(part.cls, Distribution)


def _shape(part: Part, name: str) -> Shape:
    shape = part.field(name) if isinstance(part, Spec) else None
    assert shape is not None
    return tuple(rebuild(shape, ()))


def _name(part: Part) -> str:
    return part.cls.__name__.lstrip("_") if isinstance(part, Spec) else "such a support"


def _inside(part: Part) -> list[Part]:
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
    return set().union(*map(_leaf_indices, _inside(part)))


# the distributions inside others whose last batch axes are the outer ones' events or components
_MORE_AXES = {
    ("MixtureSameFamily", "_component_distribution"): 1,
    ("LKJCholesky", "_beta"): 1,
    ("GaussianCopula", "marginal_dist"): 1,
}

_EXPANDED_BY_OWNER = ("_mixing_distribution", "_component_distribution", "_component_distributions")

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
