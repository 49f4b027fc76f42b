"""What each op computes, as JAX code; evaluating a graph in order lowers it, under jit or op by op."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import biject_to

from plait.compiler import jax_compat as compat
from plait.compiler.scopes import scope_of
from plait.ir.errors import InternalError, ModelError
from plait.ir.fused import Fused
from plait.ir.graph import Graph, Node, Op, Role
from plait.ir.ops import (
    AddN,
    Apply,
    Cond,
    Const,
    Constrain,
    Deterministic,
    Flat,
    Guard,
    Hoist,
    Input,
    InSupport,
    Item,
    Join,
    LogDet,
    LogProb,
    Observe,
    Param,
    Plate,
    Scan,
    Split,
    Sum,
    Sums,
    Value,
)  # fmt: skip
from plait.ir.owners import owners
from plait.ir.spec import rebuild

Rule = Callable[[Any, Sequence[Any]], Any]


def evaluate(
    graph: Graph,
    given: Mapping[Node, Any],
    wanted: Iterable[Node],
    rules: Mapping[type[Op], Rule] | None = None,
    sites: Mapping[Node, str] | None = None,
) -> list[Any]:
    """Computes nodes of a graph, each in the scope of its site.

    Args:
        graph: in order.
        given: values of nodes; what only they need is not computed.
        wanted: the nodes to compute.
        rules: what ops compute, default `RULES`.
        sites: whose nodes are, default `owners`.

    Returns:
        The values of `wanted`.
    """
    rules = RULES if rules is None else rules
    sites = owners(graph) if sites is None else sites
    wanted = list(wanted)
    env = dict(given)
    needed = _needed(wanted, env)
    for node in graph:
        if node in needed:
            with jax.named_scope(scope_of(sites[node])) if node in sites else nullcontext():
                env[node] = _computed(rules, node, [env[a] for a in _sources(node)])
    return [env[node] for node in wanted]


def _computed(rules: Mapping[type[Op], Rule], node: Node, args: list[Any]) -> Any:
    try:
        return _rule(rules, node)(node.op, args)
    except ModelError as e:  # a rule does not know where its op stands
        raise e if e.loc is not None else type(e)(str(e), node.loc) from None


def _needed(wanted: list[Node], given: Mapping[Node, Any]) -> set[Node]:
    found: set[Node] = set()
    todo = list(wanted)
    while todo:
        node = todo.pop()
        if node not in found and node not in given:
            found.add(node)
            todo.extend(_sources(node))
    return found


def _sources(node: Node) -> tuple[Node, ...]:
    """The arguments that a node's value comes from; a value's other ones only describe its support."""
    return node.args[: int(node.op.bound)] if isinstance(node.op, Value) else node.args


def _rule(rules: Mapping[type[Op], Rule], node: Node) -> Rule:
    rule = rules.get(type(node.op))
    if rule is None or (isinstance(node.op, Value) and not node.op.bound):
        raise InternalError(f"'{node.op.text(['_'] * len(node.args))}' has no value here", node.loc)
    return rule


def _code(op: Apply, args: Sequence[Any]) -> Any:
    results = compat.bind(op.primitive, op.parameters, args)
    return results if op.primitive.multiple_results else results[0]


def _scan(op: Scan, args: Sequence[Any]) -> Any:
    return scan_with(op, args, lambda body, given, wanted, _: evaluate(body, given, wanted), ())


def scan_with(op: Scan, args: Sequence[Any], body: Callable[..., Sequence[Any]], extra_xs: Any) -> list[Any]:
    """`lax.scan` again, the body computed by ``body(graph, given, wanted, extra)`` → results, then extras.

    Args:
        op: the scan.
        args: its arguments' values.
        body: gets the body's graph, its inputs' values, the wanted nodes and this step's part of `extra_xs`.
        extra_xs: a pytree stacked over the steps.
    """
    consts, carry, xs = op.split(args)
    inputs = [n for n in op.body if isinstance(n.op, Input)]
    results = list(op.body.named(Role.RESULT).values())
    dtypes = [r.type.dtype for r in inputs[op.n_consts : op.n_consts + op.n_carry]]  # type: ignore[union-attr]

    def step(carry: list[Any], x: tuple[list[Any], Any]) -> tuple[list[Any], list[Any]]:
        given = dict(zip(inputs, [*consts, *carry, *x[0]], strict=True))
        out = body(op.body, given, results, x[1])
        # a value given in another dtype must not change the carry's
        new = [jnp.asarray(c, d) for c, d in zip(out[: op.n_carry], dtypes, strict=True)]
        return new, list(out[op.n_carry :])

    init = [jnp.asarray(c, d) for c, d in zip(carry, dtypes, strict=True)]
    final, ys = jax.lax.scan(step, init, (xs, extra_xs), length=op.length, reverse=op.reverse)
    return [*final, *ys]


def _cond(op: Cond, args: Sequence[Any]) -> Any:
    return cond_with(op, args, evaluate)


def cond_with(op: Cond, args: Sequence[Any], branch: Callable[..., Any]) -> Any:
    """`lax.switch` again, each branch computed by ``branch(graph, given, wanted)``."""

    def call(graph: Graph) -> Callable[..., Any]:
        def run(*operands: Any) -> Any:
            given = dict(zip(graph.of(Input), operands, strict=True))
            return branch(graph, given, list(graph.named(Role.RESULT).values()))

        return run

    return jax.lax.switch(args[0], [call(graph) for graph in op.branches], *args[1:])


def _log_prob(op: LogProb, args: Sequence[Any]) -> Any:
    leaves, mask, scale = _with_mask_and_scale(args[1:], op.masked, op.scaled)
    fn = rebuild(op.dist, leaves)
    log_prob = (fn if mask is None else fn.mask(mask)).log_prob(args[0])
    return log_prob if scale is None else log_prob * scale


def _log_det(op: LogDet, args: Sequence[Any]) -> Any:
    leaves, mask, scale = _with_mask_and_scale(args[2:], op.masked, op.scaled)
    u, x = args[:2]
    log_det = biject_to(rebuild(op.support, leaves)).log_abs_det_jacobian(u, x)
    surplus = jnp.ndim(log_det) - (jnp.ndim(x) - op.event_ndim)
    log_det = jnp.sum(log_det, axis=tuple(range(-surplus, 0))) if surplus else log_det
    log_det = log_det if mask is None else jnp.where(mask, log_det, 0.0)
    return log_det if scale is None else log_det * scale


def _with_mask_and_scale(args: Sequence[Any], masked: bool, scaled: bool) -> tuple[list[Any], Any, Any]:
    rest = list(args)
    scale = rest.pop() if scaled else None
    mask = rest.pop() if masked else None
    return rest, mask, scale


def _constrain(op: Constrain, args: Sequence[Any]) -> Any:
    return biject_to(rebuild(op.support, args[1:]))(args[0])


def _in_support(op: InSupport, args: Sequence[Any]) -> Any:
    leaves, mask, _ = _with_mask_and_scale(args[1:], op.masked, False)
    inside = jnp.asarray(rebuild(op.support, leaves)(jnp.asarray(args[0])))  # numpy would ask a tracer for its value
    return inside if mask is None else inside | ~jnp.asarray(mask)


def _guard(op: Guard, args: Sequence[Any]) -> Any:
    joint, *conditions = args
    for condition in conditions:
        joint = jnp.where(jnp.all(condition), joint, -jnp.inf)
    return joint


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def sums(axes: tuple[int, ...], *arrays: Any) -> tuple[Any, ...]:
    """The sums of arrays of one shape and dtype, in one loop; their derivatives are sums for themselves."""

    def add(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(x + y for x, y in zip(a, b, strict=True))

    zeros = tuple(jnp.zeros((), x.dtype) for x in arrays)
    return tuple(jax.lax.reduce(tuple(arrays), zeros, add, axes))


@sums.defjvp
def _sums_jvp(axes: tuple[int, ...], arrays: Any, tangents: Any) -> tuple[Any, Any]:
    # jax has no transpose of a reduction of several arrays, and its derivative of one is a tree of slices
    return sums(axes, *arrays), tuple(jnp.sum(t, axes) for t in tangents)


def _add_n(op: AddN, args: Sequence[Any]) -> Any:
    total = jnp.zeros((), op.dtype)
    for i, a in enumerate(args):
        total = a.astype(op.dtype) if i == 0 else total + a
    return total


def _flat(op: Flat, args: Sequence[Any]) -> Any:
    z = args[0]
    return jnp.reshape(jax.lax.slice(z, (op.offset,), (op.offset + op.type.size,)), op.type.shape)


def _split(op: Split, args: Sequence[Any]) -> Any:
    return jax.lax.split(args[0], op.lengths)


def _join(op: Join, args: Sequence[Any]) -> Any:
    parts = [jnp.broadcast_to(jnp.asarray(a, op.dtype), s) for a, s in zip(args, op.shapes, strict=True)]
    return jax.lax.concatenate([jnp.reshape(part, -1) for part in parts], 0)


def _const(op: Const, args: Sequence[Any]) -> Any:
    return op.value


def _identity(op: Any, args: Sequence[Any]) -> Any:
    return args[0]


RULES: dict[type[Op], Rule] = {
    Apply: _code,
    Item: lambda op, args: args[0][op.index],
    Const: _const,
    Scan: _scan,
    Cond: _cond,
    Plate: lambda op, args: args[0] if args else jnp.arange(op.frame.size, dtype=op.type.dtype),
    Observe: lambda op, args: op.extra(op.OBS, args),
    Deterministic: _identity,
    Param: _identity,
    Value: lambda op, args: args[0],
    Hoist: _identity,
    Flat: _flat,
    Split: _split,
    Join: _join,
    LogProb: _log_prob,
    Constrain: _constrain,
    LogDet: _log_det,
    InSupport: _in_support,
    Fused: lambda op, args: op.formula(*args),
    Sum: lambda op, args: jnp.sum(args[0]),
    Sums: lambda op, args: sums(op.axes, *args),
    AddN: _add_n,
    Guard: _guard,
}


__all__ = ["RULES", "Rule", "cond_with", "evaluate", "scan_with"]
