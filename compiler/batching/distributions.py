"""The distribution of all members of a family at once, as a user would write it inside a plate.

Normal(mu_i, [1, 2, 5]) for each i of N   ⇒   Normal(mu[:, None], [1, 2, 5]), of batch shape (N, 3)

What `growing` makes is tried on shapes, at a number of members that is no other axis' length, so that a misplaced axis
can't fit by accident. Code that is not NumPyro's is tried on numbers too.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from numpyro.distributions import Distribution, biject_to, constraints
from numpyro.distributions.transforms import Transform

from plait.compiler.batching.growing import (
    Growing,
    NotBatched,
    batch_shape,
    class_name,
    declared,
    event_shape,
    parts_of,
)
from plait.compiler.memo import remembered
from plait.compiler.staged import struct
from plait.compiler.staging import draw_type
from plait.ir.ops import from_aval
from plait.ir.spec import Closure, Part, Spec, Static, family, flatten, rebuild
from plait.ir.types import ArrayType, Shape


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
    for every in (False, True):
        if _fits(part, ins, lanes, rank, every) and (is_numpyros(part) or _agrees(part, ins, lanes, rank, every)):
            return _grown(part, ins, lanes, size, rank, every)
    raise NotBatched(f"{family(part)} can't be stacked")


@remembered
def batched_constraint(
    part: Part, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], size: int, rank: int
) -> tuple[Part, Any]:
    """Like `batched_dist`, for a constraint on values of `rank` axes, those of events among them."""
    if not is_numpyros(part):
        raise NotBatched(f"{class_name(part)} can't be stacked")
    return _flattened(lambda growing: growing.constraint(part, rank), ins, lanes, size, False, class_name(part))


# -- what is tried ------------------------------------------------------------------------------------------


def _grown(
    part: Part, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], size: int, rank: int, every: bool
) -> tuple[Part, Any]:
    """A candidate; `every` parameter of it has the members' axis, or only those that differ."""
    return _flattened(lambda growing: growing.whole(part, rank), ins, lanes, size, every, family(part))


def _flattened(
    build: Callable[[Growing], Any],
    ins: tuple[ArrayType, ...],
    lanes: tuple[bool, ...],
    size: int,
    every: bool,
    name: str,
) -> tuple[Part, Any]:
    """What `build` builds, taken apart, and the jaxpr from the leaves given to its own."""
    found: list[Part] = []

    def leaves_of(*xs: Any) -> list[Any]:
        arrays, spec = flatten(build(Growing(size, lanes, xs, every, name)), name)
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


def _fits(part: Part, ins: tuple[ArrayType, ...], lanes: tuple[bool, ...], rank: int, every: bool) -> bool:
    """Whether all shapes are a member's behind the members' axis."""
    shape = (*batch_shape(part), *event_shape(part))
    size = 3 + 2 * max([*shape, *(n for t in ins for n in t.shape)], default=0)
    gap = rank - len(batch_shape(part))
    value = (*range(size + 2, size + 2 + gap), *shape)
    try:
        new, closed = _grown(part, _resized(ins, lanes, size), lanes, size, rank, every)
        drawn, log_prob = _shapes(part, _of_member(ins, lanes), value)
        of_all = _shapes(new, tuple(map(from_aval, closed.out_avals)), (size, *value))
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
    constraint_of = declared(part)
    gap = (1,) * (rank - len(batch_shape(part)))
    with jax.ensure_compile_time_eval():
        try:
            leaves = [_parameter(t, constraint_of.get(i, constraints.real), rng) for i, t in enumerate(ins)]
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


def is_numpyros(part: Part) -> bool:
    """Whether all code in a distribution or constraint is NumPyro's: the tests know that it keeps members apart."""
    if isinstance(part, Static):
        return _is_known(part.value)
    if isinstance(part, Closure) or (isinstance(part, Spec) and not _is_known(part.cls)):
        return False
    return all(map(is_numpyros, parts_of(part)))


def _is_known(value: Any) -> bool:
    if isinstance(value, (Distribution, Transform, constraints.Constraint)):
        return _is_known(type(value)) and all(map(_is_known, vars(value).values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_known, value))
    if not callable(value) or isinstance(value, weakref.ref):
        return True
    return str(getattr(value, "__module__", "")).startswith(("numpyro.distributions.", "jax."))
