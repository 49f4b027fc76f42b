"""The reference interpreter: the model graph, site by site, element by element, in plain Python.

It is slow on purpose and shares nothing with the passes: a plate is a Python loop over its elements, each
with its own scalar distribution; a scan is a Python loop over its steps. `certify` runs it in float64 on a
second trace.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import (
    Distribution,
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
    biject_to,
    constraints,
)  # fmt: skip
from numpyro.distributions.transforms import AffineTransform
from numpyro.distributions.util import lazy_property

from plait.compiler.lower.evaluate import RULES, Rule, evaluate
from plait.compiler.supports import is_real_constraint
from plait.ir.graph import Graph, Node, Op, Role
from plait.ir.ops import Cond, Deterministic, Factor, Input, Observe, Param, Sample, Scan, Site, inputs
from plait.ir.spec import rebuild

LARGE = 1000  # elements of a site: a loop over 20,000 takes a quarter of an hour
ALONE = 50  # elements of a large site that are still evaluated one by one


@dataclass
class Report:
    """What the interpreter computed.

    Attributes:
        log_joint: sum of the log probabilities (nats).
        log_jacobian: sum of the log-det-Jacobians, 0 where constrained values were given.
        terms: each site's total.
        values: constrained values by site; a list over steps where the site is in a scan.
        whole: sites whose distribution could not be taken apart; NumPyro evaluated their whole batch.
        large: sites of more than `LARGE` elements, of which NumPyro evaluated all but `ALONE` in one batch.
    """

    log_joint: Any = 0.0
    log_jacobian: Any = 0.0
    terms: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    large: set[str] = field(default_factory=set)

    @property
    def log_density(self) -> Any:
        """Log density of the unconstrained values."""
        return self.log_joint + self.log_jacobian


def interpret(
    graph: Graph, data: Sequence[Any], params: Sequence[Any], point: Mapping[str, Any], unconstrained: bool
) -> Report:
    """Runs a model graph at given latent values.

    Args:
        graph: a model graph.
        data: its data arrays.
        params: the arrays of its params.
        point: for each latent its value, in the whole site's shape (stacked over the steps of scans).
        unconstrained: whether the values are unconstrained; then the Jacobians are summed too.
    """
    report = Report()
    given = dict(zip(inputs(graph, Input.DATA), data, strict=True))
    given |= dict(zip(graph.of(Param), params, strict=True))
    _Run(report, point, unconstrained, ()).walk(graph, given, [])
    return report


@dataclass
class _Run:
    report: Report
    point: Mapping[str, Any]
    unconstrained: bool
    steps: tuple[int, ...]  # of the scans that are open

    def walk(self, graph: Graph, values: Mapping[Node, Any], wanted: list[Node]) -> list[Any]:
        sites = [n for n in graph if isinstance(n.op, (Site, Deterministic)) or (n.op.bodies and n.op.is_root)]
        special: dict[type[Op], Rule] = {
            Sample: self.sample, Observe: self.observe, Factor: self.factor, Scan: self.scan, Cond: self.cond,
        }  # fmt: skip
        # no scopes: nobody looks at code that runs op by op, and each step of a scan would find them again
        return evaluate(graph, values, [*sites, *wanted], {**RULES, **special}, sites={})[len(sites) :]

    def sample(self, op: Sample, args: Sequence[Any]) -> Any:
        u = self.point[op.name]
        for step in self.steps:
            u = _at(u, (step,))
        value = jnp.asarray(self.elements(op, args, u, self.unconstrained), op.type.dtype)
        self.report.values[op.name] = value
        return value

    def observe(self, op: Observe, args: Sequence[Any]) -> Any:
        obs: Any = op.extra(op.OBS, args)
        fn = rebuild(op.dist, op.leaves(args))
        x = jnp.broadcast_to(obs, (*fn.batch_shape, *op.type.shape[op.type.ndim - op.event_ndim :]))
        self.elements(op, args, x, False)
        if not _masks_itself(fn) and not is_real_constraint(fn.support):  # a NaN says so itself
            mask = op.extra(op.MASK, args)
            inside = fn.support(x) if mask is None else fn.support(x) | ~jnp.asarray(mask)
            # not every log_prob of NumPyro's says so itself: Uniform's is finite everywhere
            self.report.log_joint = jnp.where(jnp.all(inside), self.report.log_joint, -jnp.inf)
        return obs

    def factor(self, op: Factor, args: Sequence[Any]) -> None:
        self.elements(op, args, np.zeros(op.type.shape), False)

    def scan(self, op: Scan, args: Sequence[Any]) -> list[Any]:
        consts, carry, xs = op.split(args)
        entering = op.body.of(Input)
        wanted = list(op.body.named(Role.RESULT).values())
        stacked: list[Any] = [None] * op.length
        order = range(op.length - 1, -1, -1) if op.reverse else range(op.length)
        for t in order:
            given = dict(zip(entering, [*consts, *carry, *(_at(x, (t,)) for x in xs)], strict=True))
            out = _Run(self.report, self.point, self.unconstrained, (*self.steps, t)).walk(op.body, given, wanted)
            carry, stacked[t] = out[: op.n_carry], out[op.n_carry :]
        return [*carry, *(jnp.stack(y) for y in zip(*stacked, strict=True))]

    def cond(self, op: Cond, args: Sequence[Any]) -> list[Any]:
        branch = op.branches[int(args[0])]
        given = dict(zip(branch.of(Input), args[1:], strict=True))
        return self.walk(branch, given, list(branch.named(Role.RESULT).values()))

    def elements(self, op: Site, args: Sequence[Any], x: Any, unconstrained: bool) -> Any:
        """Adds the site's terms element by element; returns the constrained value."""
        fn = rebuild(op.dist, op.leaves(args))
        batch = tuple(fn.batch_shape)
        mask, scale = (op.extra(name, args) for name in (op.MASK, op.SCALE))
        if math.prod(batch) > LARGE:
            return self.large(op, fn, x, mask, scale, unconstrained)
        indices = list(itertools.product(*map(range, batch)))
        parts = [element(fn, i) for i in indices]
        if any(part is None for part in parts):
            self.report.whole.add(op.name)
            return self.add(op, fn, x, mask, scale, unconstrained)
        values = []
        for index, part in zip(indices, parts, strict=True):
            m, s = (None if e is None else _at(jnp.broadcast_to(e, batch), index) for e in (mask, scale))
            values.append(self.add(op, part, _at(x, index), m, s, unconstrained))
        event = jnp.shape(values[0]) if values else ()
        return jnp.reshape(jnp.stack(values), batch + event) if values else x

    def large(self, op: Site, fn: Any, x: Any, mask: Any, scale: Any, unconstrained: bool) -> Any:
        """The same for a large site: elements chosen at random one by one, all others in one batch of NumPyro's."""
        batch = tuple(fn.batch_shape)
        chosen = np.random.default_rng(0).choice(math.prod(batch), ALONE, replace=False)
        indices = [tuple(map(int, index)) for index in zip(*np.unravel_index(chosen, batch), strict=True)]
        parts = [element(fn, index) for index in indices]
        if any(part is None for part in parts):
            self.report.whole.add(op.name)
            return self.add(op, fn, x, mask, scale, unconstrained)
        self.report.large.add(op.name)
        others = np.ones(batch, bool)
        others.flat[chosen] = False
        for index, part in zip(indices, parts, strict=True):
            m, s = (None if e is None else _at(jnp.broadcast_to(e, batch), index) for e in (mask, scale))
            self.add(op, part, _at(x, index), m, s, unconstrained)
        counts = others if mask is None else others & jnp.broadcast_to(mask, batch)
        return self.add(op, fn, x, counts, scale, unconstrained)

    def add(self, op: Site, fn: Any, x: Any, mask: Any, scale: Any, unconstrained: bool) -> Any:
        counts = 1.0 if mask is None else mask
        weight = 1.0 if scale is None else scale
        if unconstrained:
            bijector = biject_to(fn.support)
            u, x = x, bijector(x)
            det = _total(bijector.log_abs_det_jacobian(u, x), counts)
            self.report.log_jacobian = self.report.log_jacobian + _weighted(det, weight)
        if not _is_false(mask):
            term = _total(_weighted((fn if mask is None else fn.mask(mask)).log_prob(x), weight), 1.0)
            self.report.log_joint = self.report.log_joint + term
            self.report.terms[op.name] = self.report.terms.get(op.name, 0.0) + term
        return x


def _masks_itself(fn: Any) -> bool:
    """Whether the user masked the distribution: what it masks may be anything."""
    while fn is not None and not isinstance(fn, MaskedDistribution):
        fn = getattr(fn, "base_dist", None)
    return fn is not None


def _total(terms: Any, counts: Any) -> Any:
    return jnp.sum(jnp.where(counts, terms, 0.0))


def _weighted(terms: Any, weight: Any) -> Any:
    return terms * weight


def _is_false(mask: Any) -> bool:
    return mask is not None and not isinstance(mask, jax.core.Tracer) and not np.any(mask)


# -- one element of a batched distribution ----------------------------------------------------------------


def element(fn: Any, index: tuple[int, ...]) -> Any | None:
    """The distribution at `index` of the leading batch axes, or None where its parts do not say how."""
    if not index:
        return fn
    rest = tuple(fn.batch_shape)[len(index) :]
    match fn:
        case ExpandedDistribution():
            base = element(fn.base_dist, _aligned(index, tuple(fn.batch_shape), tuple(fn.base_dist.batch_shape)))
            return base if base is None or tuple(base.batch_shape) == rest else base.expand(rest)
        case Independent():
            base = element(fn.base_dist, index)
            return None if base is None else base.to_event(fn.reinterpreted_batch_ndims)
        case MaskedDistribution():
            base = element(fn.base_dist, index)
            mask = fn._mask if isinstance(fn._mask, bool) else _at(fn._mask, index)
            return None if base is None else base.mask(mask)
    return _element_of_fields(fn, index, rest)


def _element_of_fields(fn: Any, index: tuple[int, ...], rest: tuple[int, ...]) -> Any | None:
    new = object.__new__(type(fn))
    for name, x in vars(fn).items():
        if isinstance(inspect.getattr_static(type(fn), name, None), lazy_property) and _declared(fn, name) is None:
            continue  # a cache, which the element fills again
        part = _field(fn, name, x, index)
        if part is _UNKNOWN:
            return None
        new.__dict__[name] = part
    new.__dict__["_batch_shape"] = rest
    return new


_UNKNOWN = object()


def _field(fn: Any, name: str, x: Any, index: tuple[int, ...]) -> Any:
    batch = tuple(fn.batch_shape)
    if isinstance(x, Distribution):
        own = tuple(x.batch_shape)
        inner = element(x, _aligned(index, batch, own) if len(own) <= len(batch) else index)
        return _UNKNOWN if inner is None else inner
    if name == "transforms":
        moved = [_transform(t, index, batch, fn.event_dim) for t in x]
        return _UNKNOWN if any(t is _UNKNOWN for t in moved) else moved
    if isinstance(x, constraints.Constraint):
        return _copy(x, lambda a: _sliced(a, index, batch, 0))
    if _is_array(x) and np.ndim(x) > 0:
        declared = _declared(fn, name)
        event_dim = getattr(declared, "event_dim", None)
        return _sliced(x, index, batch, event_dim) if isinstance(event_dim, int) else _UNKNOWN
    return x


def _declared(fn: Any, name: str) -> Any | None:
    """What a class or one of its bases says that a parameter must be; it tells the parameter's event axes."""
    return next((c.__dict__["arg_constraints"][name] for c in type(fn).__mro__
                 if name in c.__dict__.get("arg_constraints", {})), None)  # fmt: skip


def _transform(t: Any, index: tuple[int, ...], batch: tuple[int, ...], event_dim: int) -> Any:
    arrays = [x for x in vars(t).values() if _is_array(x) and np.ndim(x) > 0]
    if not arrays:
        return t
    if not isinstance(t, AffineTransform):
        return _UNKNOWN
    return _copy(t, lambda a: _sliced(a, index, batch, event_dim))


def _copy(obj: Any, change: Callable[[Any], Any]) -> Any:
    if not any(_is_array(x) for x in vars(obj).values()):
        return obj
    new = object.__new__(type(obj))
    new.__dict__.update({k: change(x) if _is_array(x) else x for k, x in vars(obj).items()})
    return new


def _sliced(x: Any, index: tuple[int, ...], batch: tuple[int, ...], event_dim: int) -> Any:
    """Indexes the batch axes of a parameter, which may be fewer than the distribution's or of size 1."""
    own = np.shape(x)[: max(np.ndim(x) - event_dim, 0)]
    return _at(x, _aligned(index, batch, own))


def _aligned(index: tuple[int, ...], batch: tuple[int, ...], own: tuple[int, ...]) -> tuple[int, ...]:
    """The index for axes `own` that broadcast from the right against `batch`."""
    shift = len(batch) - len(own)
    return tuple(0 if n == 1 else index[j + shift] for j, n in enumerate(own) if j + shift < len(index))


def _is_array(x: Any) -> bool:
    return isinstance(x, (jax.Array, np.ndarray))


def _at(x: Any, index: tuple[int, ...]) -> Any:
    if not isinstance(x, jax.core.Tracer):
        return np.asarray(x)[index]
    if not index:
        return x
    # a constant index would be a kernel of its own for each element's gradient
    axes, event = x.shape[: len(index)], x.shape[len(index) :]
    rows = jnp.reshape(x, (-1, *event))
    return jax.lax.dynamic_index_in_dim(rows, int(np.ravel_multi_index(index, axes)), keepdims=False)
