"""density: sites become terms of the log joint.

mu: f64[] = sample Normal(0, 5)         mu: f64[] = value 'mu' in real
f64[8] = observe Normal(mu, 1) obs=y ⇒  a: f64[] = log_prob mu ~ Normal(0, 5)
                                        b: f64[8] = log_prob y ~ Normal(mu, 1)
                                        log joint = guard (add_n (sum a) (sum b))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import jax.numpy as jnp
import numpy as np
from numpyro.distributions import MaskedDistribution

from plait.compiler.importer import Builder
from plait.compiler.staged import results, signature
from plait.compiler.supports import STEP_DEPENDENT, is_real, support_of
from plait.ir.errors import ModelError
from plait.ir.graph import Graph, Node, Output, Role, ancestors, make, with_outputs
from plait.ir.ops import (
    AddN,
    Deterministic,
    Factor,
    Guard,
    Input,
    InSupport,
    Item,
    LogProb,
    Observe,
    Param,
    Sample,
    Scan,
    Site,
    Value,
    array_type,
)  # fmt: skip
from plait.ir.spec import Part, Spec
from plait.ir.types import ArrayType, Loc, TupleType


def density(graph: Graph) -> Graph:
    """Turns sites into values and log_prob terms: ``x ~ Normal(m, s)  ⇒  value x;  log_prob x ~ Normal(m, s)``."""
    level = _Level()
    env = level.convert(graph)
    joint = level.add(AddN(_float_dtype(level.terms)), [level.total(n) for _, n in level.terms])
    # The inner guard holds in both spaces; the outer one is about latents, which a bijector keeps inside.
    observed = level.add(Guard(), [joint, *(g for g, about_latent in level.guards if not about_latent)])
    guarded = level.add(Guard(), [observed, *(g for g, about_latent in level.guards if about_latent)])
    outputs = [Output(out.role, out.name, env[out.node]) for out in graph.outputs]
    outputs += [Output(Role.LOG_JOINT, "", guarded)]
    outputs += [Output(Role.TERM, name, node) for name, node in level.terms]
    outputs += [Output(Role.VALUE, node.op.name, node) for node in level.nodes if isinstance(node.op, Value)]
    outputs += [Output(Role.DETERMINISTIC, name, node) for name, node in level.deterministics]
    return with_outputs(level.nodes, outputs)


@dataclass(frozen=True)
class _Latent:
    """A latent site at one level of scans: what the level outside has to know of it."""

    name: str
    family: str
    type: ArrayType
    support: Part
    support_leaves: tuple[Node, ...]
    event_ndim: int
    mask: Node | None
    scale: Node | None
    loc: Loc | None

    @property
    def extras(self) -> list[Node]:
        return [x for x in (self.mask, self.scale) if x is not None]


@dataclass
class _Level(Builder):
    """Converts one graph; the body of a scan is a level of its own, whose latents come in as inputs."""

    is_body: bool = False
    nodes: list[Node] = field(default_factory=list)
    latents: list[_Latent] = field(default_factory=list)
    terms: list[tuple[str, Node]] = field(default_factory=list)
    guards: list[tuple[Node, bool]] = field(default_factory=list)  # with: is it about a latent value
    deterministics: list[tuple[str, Node]] = field(default_factory=list)

    def convert(self, graph: Graph) -> dict[Node, Node]:
        env: dict[Node, Node] = {}
        for node in graph:
            args = tuple(env[a] for a in node.args)
            env[node] = self._convert(node, args)
        return env

    def _convert(self, node: Node, args: tuple[Node, ...]) -> Node:
        match node.op:
            case Sample() | Observe() | Factor():
                return self._site(node.op, args, node.loc)
            case Deterministic(name):
                self.deterministics.append((name, args[0]))
                return args[0]
            case Param(name) if self.is_body:
                raise ModelError(f"param {name!r} is inside a scan; move it out of the loop's body", node.loc)
            case Scan() if node.op.is_root:
                return self._scan(node.op, args, node.loc)
        fresh = node if args == node.args else make(node.op, args, node.loc)
        self.nodes.append(fresh)
        return fresh

    # -- sites ------------------------------------------------------------------------------------------

    def _site(self, op: Site, args: tuple[Node, ...], loc: Loc | None) -> Node:
        leaves = op.leaves(args)
        mask, scale = op.extra(op.MASK, args), op.extra(op.SCALE, args)
        if isinstance(op, Sample):
            value = self._latent(op, leaves, mask, scale, loc)
        elif isinstance(op, Factor):
            value = self.const(np.empty(op.type.shape, op.type.dtype), op.type, loc)
        else:
            value = args[op.n_leaves]  # obs is the first of the extras
        extras = [x for x in (mask, scale) if x is not None]
        args = (value, *leaves, *extras)
        typed = signature(LogProb, _types(args), op.name, op.dist, mask is not None, scale is not None)
        out = replace(typed.out, axes=_batch_axes(op, typed.out))
        self.terms.append((op.name, self.add(replace(typed, out=out), args, loc)))
        if isinstance(op, Observe) and not _masks_itself(op.dist):
            support, support_leaves = self._support(op, leaves, loc)
            self._guard(op.name, value, support, support_leaves, mask, False, loc)
        return value

    def _support(self, op: Site, leaves: Sequence[Node], loc: Loc | None) -> tuple[Part, list[Node]]:
        support, code = support_of(op.dist, _types(leaves))
        return support, self.inline(code, leaves, loc)

    def _latent(
        self, op: Sample, leaves: Sequence[Node], mask: Node | None, scale: Node | None, loc: Loc | None
    ) -> Node:
        support, support_leaves = self._support(op, leaves, loc)
        latent = _Latent(op.name, op.family, op.type, support, tuple(support_leaves), op.event_ndim, mask, scale, loc)
        node = self._entering(latent)
        self._guard(op.name, node, support, support_leaves, mask, True, loc)
        return node

    def _entering(self, latent: _Latent) -> Node:
        """The node by which a latent's value comes in: a value at the top, an input in a scan's body."""
        self.latents.append(latent)
        if self.is_body:
            return self.add(Input(latent.name, Input.BODY, latent.type), (), latent.loc)
        op = Value(
            latent.name,
            latent.family,
            latent.support,
            len(latent.support_leaves),
            latent.event_ndim,
            masked=latent.mask is not None,
            scaled=latent.scale is not None,
            bound=False,
            type=latent.type,
        )
        return self.add(op, [*latent.support_leaves, *latent.extras], latent.loc)

    def _guard(
        self,
        name: str,
        value: Node,
        support: Part,
        leaves: Sequence[Node],
        mask: Node | None,
        latent: bool,
        loc: Loc | None,
    ) -> None:
        """Outside its support a value has density 0, which not every log_prob says by itself."""
        if is_real(support) and (latent or self.is_body):
            return  # a NaN or an infinity says so itself in the log_prob
        args = (value, *leaves, *([] if mask is None else [mask]))
        op = signature(InSupport, _types(args), f"site {name!r}", support, mask is not None)
        self.guards.append((self.add(op, args, loc), latent))

    # -- scans ------------------------------------------------------------------------------------------

    def _scan(self, op: Scan, args: tuple[Node, ...], loc: Loc | None) -> Node:
        """The scan again, its latents' values stacked inputs and its terms stacked results."""
        body = _Level(is_body=True)
        env = body.convert(op.body)
        outer = dict(zip([n for n in op.body if isinstance(n.op, Input)], args, strict=False))
        values = [self._lifted(latent, body, env, outer, op) for latent in body.latents]

        extras: list[Node] = [n for _, n in body.terms] + [g for g, _ in body.guards]
        extras += [n for _, n in body.deterministics]
        returned = [env[n] for n in op.body.named(Role.RESULT).values()] + extras
        outputs = [Output(Role.RESULT, str(i), n) for i, n in enumerate(returned)]
        out = TupleType((*results(op.out), *(_stacked(array_type(n), op.length) for n in extras)))
        new_args = (*args, *values)
        new = replace(op, ins=_types(new_args), out=out, body=with_outputs(body.nodes, outputs))
        node = self.add(new, new_args, loc)

        items = iter(range(len(results(op.out)), len(out.items)))
        self.terms += [(name, self.add(Item(next(items)), [node], n.loc)) for name, n in body.terms]
        self.guards += [(self.add(Item(next(items)), [node], g.loc), latent) for g, latent in body.guards]
        self.deterministics += [(name, self.add(Item(next(items)), [node], n.loc)) for name, n in body.deterministics]
        return node

    def _lifted(self, latent: _Latent, body: _Level, env: dict[Node, Node], outer: dict[Node, Node], op: Scan) -> Node:
        """A body's latent at this level: stacked over the steps, its support computed outside the loop."""
        constant = {env[n]: a for n, a in list(outer.items())[: op.n_consts]}
        lifted = self._recomputed([*latent.support_leaves, *latent.extras], body, constant)
        stacked = replace(latent, type=_stacked(latent.type, op.length))
        if lifted is None:
            return self._entering(replace(stacked, support=STEP_DEPENDENT, support_leaves=(), mask=None, scale=None))
        scale = lifted.pop() if latent.scale is not None else None
        mask = lifted.pop() if latent.mask is not None else None
        return self._entering(replace(stacked, support_leaves=tuple(lifted), mask=mask, scale=scale))

    def _recomputed(self, wanted: list[Node], body: _Level, constant: dict[Node, Node]) -> list[Node] | None:
        """Nodes of a body computed outside it, or None where they depend on the step."""
        env = dict(constant)
        needed = ancestors(wanted)
        for node in body.nodes:
            if node in needed and node not in env:
                if isinstance(node.op, Input):
                    return None
                env[node] = self.add(node.op, [env[a] for a in node.args], node.loc)
        return [env[n] for n in wanted]


def _masks_itself(part: Part) -> bool:
    """Whether the user masked the distribution (not by a handler): what it masks may be anything."""
    inner: Part | None = part
    while isinstance(inner, Spec) and inner.cls is not MaskedDistribution:
        inner = inner.field("base_dist")
    return isinstance(inner, Spec)


def _types(nodes: Sequence[Node]) -> tuple[ArrayType, ...]:
    return tuple(array_type(n) for n in nodes)


def _stacked(t: ArrayType, length: int) -> ArrayType:
    return replace(t, shape=(length, *t.shape), axes=(None, *t.axes))


def _batch_axes(op: Site, out: ArrayType) -> tuple[str | None, ...]:
    batch = op.type.axes[: op.type.ndim - op.event_ndim]
    sizes = {p.name: p.size for p in op.plates}
    names = (None,) * (out.ndim - len(batch)) + batch[max(len(batch) - out.ndim, 0) :]
    return tuple(a if a is not None and n == sizes.get(a) else None for a, n in zip(names, out.shape, strict=True))


def _float_dtype(terms: list[tuple[str, Node]]) -> np.dtype:
    return jnp.result_type(float, *(array_type(n).dtype for _, n in terms))
