"""density: sites become terms of the log joint.

mu: f64[] = sample Normal(0, 5)         mu: f64[] = value 'mu' in real
f64[8] = observe Normal(mu, 1) obs=y ⇒  a: f64[] = log_prob mu ~ Normal(0, 5)
                                        b: f64[8] = log_prob y ~ Normal(mu, 1)
                                        log joint = guard (add_n (sum a) (sum b))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import MaskedDistribution

from plait.compiler.importer import Builder
from plait.compiler.memo import remembered
from plait.compiler.source import in_one_sentence
from plait.compiler.staged import results, signature, struct
from plait.compiler.supports import KNOWN_INSIDE, is_real, support_of
from plait.ir.errors import ModelError
from plait.ir.graph import Graph, Node, Output, Role, make, with_outputs
from plait.ir.ops import (
    AddN,
    Cond,
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
    observed = level.add(Guard(), [joint, *(g.node for g in level.guards if not g.about_latent)])
    guarded = level.add(Guard(), [observed, *(g.node for g in level.guards if g.about_latent)])
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

    @property
    def described_by(self) -> list[Node]:
        """The nodes that say what of it is left in unconstrained space."""
        return [*self.support_leaves, *self.extras]

    def outside(self, described: list[Node] | None) -> _Latent:
        """The same latent one level up, described by nodes there; None where that level can't know them."""
        if described is None:
            return replace(self, support=KNOWN_INSIDE, support_leaves=(), mask=None, scale=None)
        rest = list(described)
        scale = rest.pop() if self.scale is not None else None
        mask = rest.pop() if self.mask is not None else None
        return replace(self, support_leaves=tuple(rest), mask=mask, scale=scale)


@dataclass(frozen=True)
class _InSupport:
    """Whether a site's value lies in its support."""

    site: str
    about_latent: bool
    node: Node


@dataclass
class _Level(Builder):
    """Converts one graph; the body of a loop or branch is a level of its own, whose latents come in as inputs."""

    is_body: bool = False
    nodes: list[Node] = field(default_factory=list)
    latents: list[_Latent] = field(default_factory=list)
    entered: dict[str, Node] = field(default_factory=dict)  # a body's input for each latent
    terms: list[tuple[str, Node]] = field(default_factory=list)
    guards: list[_InSupport] = field(default_factory=list)
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
                raise ModelError(f"param {name!r} is inside a loop or branch; move it out of the body", node.loc)
            case Scan() if node.op.is_root:
                return self._scan_level(node.op, args, node.loc)
            case Cond():
                return self._cond_level(node.op, args, node.loc)
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
        try:
            typed = signature(LogProb, _types(args), op.name, op.dist, mask is not None, scale is not None)
        except (TypeError, ValueError, NotImplementedError) as e:
            raise ModelError(f"the log probability of {op.label!r} fails: {in_one_sentence(e)}", loc) from e
        if np.issubdtype(typed.out.dtype, np.complexfloating):
            raise ModelError(f"{op.label!r} has a complex log probability: give it real data and parameters", loc)
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
        weights = (None, None) if is_real(support) else (mask, scale)  # they are for the Jacobian
        latent = _Latent(op.name, op.family, op.type, support, tuple(support_leaves), op.event_ndim, *weights, loc)
        node = self._entering(latent)
        self._guard(op.name, node, support, support_leaves, mask, True, loc)
        return node

    def _entering(self, latent: _Latent) -> Node:
        """The node by which a latent's value comes in: a value at the top, an input in a scan's body."""
        self.latents.append(latent)
        if self.is_body:
            self.entered[latent.name] = self.add(Input(latent.name, Input.BODY, latent.type), (), latent.loc)
            return self.entered[latent.name]
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
        self.guards.append(_InSupport(name, latent, self.add(op, args, loc)))

    # -- loops and branches -----------------------------------------------------------------------------

    def _scan_level(self, op: Scan, args: tuple[Node, ...], loc: Loc | None) -> Node:
        """The scan again, its latents' values stacked inputs and its terms stacked results."""
        body = _Level(is_body=True)
        env = body.convert(op.body)
        constant = {env[n]: a for n, a in zip(op.body.of(Input)[: op.n_consts], args, strict=False)}
        values = []
        for latent in body.latents:
            stacked = replace(latent, type=_stacked(latent.type, op.length))
            values.append(self._entering(stacked.outside(self.recomputed(latent.described_by, body.nodes, constant))))
        out = TupleType((*results(op.out), *(_stacked(array_type(n), op.length) for n in body.extras)))
        whole = (*args, *values)
        node = self.add(replace(op, ins=_types(whole), out=out, body=body.finished(op.body, env)), whole, loc)
        self._take_results(node, len(results(op.out)), body)
        return node

    def _cond_level(self, op: Cond, args: tuple[Node, ...], loc: Loc | None) -> Node:
        """The cond again: each branch gets the latents' values and returns the terms, in the first branch's order."""
        levels = [_Level(is_body=True) for _ in op.branches]
        envs = [level.convert(branch) for level, branch in zip(levels, op.branches, strict=True)]
        _align(levels)
        known = [
            {env[n]: a for n, a in zip(branch.of(Input), args[1:], strict=True)}
            for env, branch in zip(envs, op.branches, strict=True)
        ]
        values: list[Node] = []
        for same in zip(*(level.latents for level in levels), strict=True):
            described = [
                self.recomputed(latent.described_by, level.nodes, here)
                for latent, level, here in zip(same, levels, known, strict=True)
            ]
            values.append(self._entering(self._merged(same, described, args[0], loc)))
            for level, here in zip(levels, known, strict=True):
                here[level.entered[same[0].name]] = values[-1]
        branches = [
            level.finished(branch, env) for level, branch, env in zip(levels, op.branches, envs, strict=True)
        ]  # fmt: skip
        out = TupleType((*results(op.out), *(array_type(n) for n in levels[0].extras)))
        whole = (*args, *values)
        node = self.add(Cond(_types(whole), out, tuple(branches)), whole, loc)
        self._take_results(node, len(results(op.out)), levels[0])
        return node

    def _merged(
        self, same: Sequence[_Latent], described: Sequence[list[Node] | None], branch: Node, loc: Loc | None
    ) -> _Latent:
        """One latent for those of all branches: what describes it is chosen by the number of the branch."""
        first = same[0]
        kinds = {(x.support, x.mask is None, x.scale is None) for x in same}
        parts = [nodes for nodes in described if nodes is not None]
        shapes = {tuple((t.shape, t.dtype) for t in _types(nodes)) for nodes in parts}
        if len(kinds) > 1 or len(parts) < len(same) or len(shapes) > 1:
            return first.outside(None)
        return first.outside([self._chosen(branch, nodes, loc) for nodes in zip(*parts, strict=True)])

    def _chosen(self, branch: Node, nodes: Sequence[Node], loc: Loc | None) -> Node:
        literals = {node.op.literal for node in nodes}
        if len(set(nodes)) == 1 or (len(literals) == 1 and None not in literals):
            return nodes[0]
        (chosen,) = self.inline(_select(_types((branch, *nodes))), [branch, *nodes], loc)
        return chosen

    @property
    def extras(self) -> list[Node]:
        """What a body returns beside its own results."""
        nodes = [n for _, n in self.terms] + [g.node for g in self.guards]
        return nodes + [n for _, n in self.deterministics]

    def finished(self, body: Graph, env: dict[Node, Node]) -> Graph:
        """The converted body: the latents' values come in after its own inputs, the extras go out after its results."""
        returned = [env[n] for n in body.named(Role.RESULT).values()] + self.extras
        outputs = [Output(Role.RESULT, str(i), n) for i, n in enumerate(returned)]
        first = [*(env[n] for n in body.of(Input)), *(self.entered[latent.name] for latent in self.latents)]
        return with_outputs([*first, *(n for n in self.nodes if n not in set(first))], outputs)

    def _take_results(self, node: Node, first: int, body: _Level) -> None:
        """Reads a body's extras where its node returns them."""
        items = (self.add(Item(first + i), [node], n.loc) for i, n in enumerate(body.extras))
        self.terms += [(name, next(items)) for name, _ in body.terms]
        self.guards += [replace(g, node=next(items)) for g in body.guards]
        self.deterministics += [(name, next(items)) for name, _ in body.deterministics]


def _align(branches: Sequence[_Level]) -> None:
    """Brings what branches return into one order; a support that a branch need not check holds there."""
    first = branches[0]
    order = {name: i for i, name in enumerate(dict.fromkeys(_names(first)))}
    guards = {(g.site, g.about_latent): array_type(g.node) for level in branches for g in level.guards}
    for level in branches:
        level.latents.sort(key=lambda latent: order[latent.name])
        level.terms.sort(key=lambda term: order[term[0]])
        level.deterministics.sort(key=lambda item: order[item[0]])
        have = {(g.site, g.about_latent): g.node for g in level.guards}
        level.guards = [
            _InSupport(*key, node=have.get(key) or level.const(np.ones(t.shape, bool), t)) for key, t in guards.items()
        ]


def _names(level: _Level) -> list[str]:
    return [*(x.name for x in level.latents), *(n for n, _ in level.terms), *(n for n, _ in level.deterministics)]


@remembered
def _select(ins: tuple[ArrayType, ...]) -> Any:
    return jax.make_jaxpr(jax.lax.select_n)(*map(struct, ins))


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
