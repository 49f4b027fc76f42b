"""A density's value and gradient as a graph of their own, in which sums of one length share a loop.

a: f64[] = reduce_sum{axes=(0,)} x        all: (f64[], f64[]) = sums{axes=(0,)} x, y
b: f64[] = reduce_sum{axes=(0,)} y    ⇒   a: f64[] = item all[0]
                                          b: f64[] = item all[1]

Each scalar that meets a vector has a gradient that is a sum, and each vector of terms another: a dozen sums of 85
counties. XLA's CPU compiler makes two loops of each, and hands work to other threads where more than a few loops are
ready, which costs more than all of them do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero, zero_from_primal
from jax.extend.core import jaxpr_as_fun

from plait.compiler import jax_compat as compat
from plait.compiler.importer import Builder
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.scopes import site_of
from plait.ir.graph import Graph, Node, Output, Role, make, renamed_outputs, with_outputs
from plait.ir.ops import Apply, Const, Input, Item, Sums, array_type, from_aval
from plait.ir.types import ArrayType, Loc, Shape

# Entries of a sum, measured. XLA's CPU compiler puts a shorter one into the loop that reads it; one loop adds the
# entries up one after the other, where a loop of their own does so by halves: float32 would lose digits.
LEAST = 33
MOST = {np.dtype("float32"): 1024, np.dtype("float64"): 16384}

# What a loop of several sums may compute of vectors: it is no vector code, in which an exp of each entry costs thrice.
CHEAP = frozenset({
    "abs", "add", "add_any", "and", "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "div", "eq",
    "gather", "ge", "gt", "integer_pow", "iota", "le", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pad",
    "reduce_sum", "reshape", "rev", "select_n", "sign", "slice", "split", "square", "squeeze", "sub", "transpose",
})  # fmt: skip


def value_and_grad(density: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """The value and the gradient with respect to z of a density of (known, params, z), a pure JAX function of them."""

    def call(known: Sequence[Any], params: Sequence[Any], z: Any) -> tuple[Any, Any]:
        arguments = (known, params, z)
        closed = jax.make_jaxpr(jax.value_and_grad(density, argnums=2))(*arguments)
        builder = _Scoped()
        written = imported(closed, builder)
        graph = join_sums(written)
        if graph is written:
            value, gradient = jaxpr_as_fun(closed)(*jax.tree.leaves(arguments))
            return value, gradient
        given = dict(zip(graph.of(Input), jax.tree.leaves(arguments), strict=True))
        value, gradient = evaluate(graph, given, graph.named(Role.RESULT).values(), sites=builder.sites_in(graph))
        return value, gradient

    return call


def with_gradient(density: Callable[..., Any]) -> Callable[..., Any]:
    """A density of (known, params, z) whose derivative with respect to z is that of `value_and_grad`.

    So who differentiates it, a sampler for example, gets what `CompiledModel.log_density_and_grad` computes.
    """
    both = value_and_grad(density)

    @jax.custom_jvp
    def call(known: Sequence[Any], params: Sequence[Any], z: Any) -> Any:
        return density(known, params, z)

    def derivative(primals: Any, tangents: Any) -> Any:
        *others, dz = tangents
        if not all(isinstance(t, SymbolicZero) for t in jax.tree.leaves(others, is_leaf=_is_zero)):
            return jax.jvp(density, primals, jax.tree.map(_instantiated, tangents, primals, is_leaf=_is_zero))
        value, gradient = both(*primals)
        # No dot: accelerators round what goes into one, and so the gradient that is its transpose.
        return value, jnp.sum(gradient * _instantiated(dz, primals[-1]))

    call.defjvp(derivative, symbolic_zeros=True)
    return call


def is_reversible(graph: Graph) -> bool:
    """Whether jax can differentiate what a graph computes in reverse mode: not through a `lax.while_loop`."""
    return not any(_has_while(node) for node in graph)


def _has_while(node: Node) -> bool:
    if isinstance(node.op, Apply):
        return _is_while(node.op.primitive, node.op.parameters)
    return not all(map(is_reversible, node.op.bodies))


def _is_while(primitive: Any, params: Mapping[str, Any]) -> bool:
    if primitive.name == "while":
        return True
    return any(_is_while(e.primitive, e.params) for inner in compat.inner_jaxprs(params) for e in inner.eqns)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _instantiated(tangent: Any, primal: Any) -> Any:
    return zero_from_primal(primal) if isinstance(tangent, SymbolicZero) else tangent


def join_sums(graph: Graph) -> Graph:
    """Sums small arrays of one shape in one loop: ``reduce_sum x; reduce_sum y  ⇒  sums x, y``."""
    depths, groups = _depths_and_groups(graph)
    if not groups:
        return graph
    group_of = {node: group for group in groups for node in group}
    env: dict[Node, Node] = {}
    nodes: list[Node] = []
    for node in sorted(graph, key=depths.__getitem__):  # what a whole group reads comes before its first sum
        if node in env:
            continue
        if node in group_of:
            added = _joined(group_of[node], env)
            env |= zip(group_of[node], added[1:], strict=True)
        else:
            args = tuple(env[a] for a in node.args)
            env[node] = node if args == node.args else make(node.op, args, node.loc)
            added = [env[node]]
        nodes += added
    return with_outputs(nodes, renamed_outputs(graph, env))


class _Scoped(Builder):
    """A builder that remembers in which site's scope an equation was traced."""

    def __init__(self) -> None:
        super().__init__()
        self._site: str | None = None
        self._sites: dict[int, str] = {}

    def sites_in(self, graph: Graph) -> dict[Node, str]:
        """Whose each node of a graph is that was made of this one's; a rewritten node keeps its op."""
        return {node: self._sites[id(node.op)] for node in graph if id(node.op) in self._sites}

    def _equation(self, eqn: Any, args: list[Node], loc: Loc | None) -> list[Node]:
        around, n = self._site, len(self.nodes)
        self._site = site_of(str(eqn.source_info.name_stack)) or around
        found = super()._equation(eqn, args, loc)
        if self._site is not None:
            for node in self.nodes[n:]:
                self._sites.setdefault(id(node.op), self._site)
        self._site = around
        return found


def imported(closed: Any, builder: Builder | None = None) -> Graph:
    """The graph of a closed jaxpr."""
    builder = Builder() if builder is None else builder
    inputs = [Input(str(i), Input.BODY, from_aval(v.aval)) for i, v in enumerate(closed.jaxpr.invars)]
    results = builder.inline(closed, [builder.add(op) for op in inputs])
    return with_outputs(builder.nodes, [Output(Role.RESULT, str(i), node) for i, node in enumerate(results)])


def _depths_and_groups(graph: Graph) -> tuple[dict[Node, int], list[list[Node]]]:
    """Of each node how many sums that may be joined lie on the longest way to it; the sums that become one.

    Sums of one depth do not need each other.
    """
    depths: dict[Node, int] = {}
    groups: dict[tuple[int, Shape, Any, Shape], list[Node]] = {}
    cheap: set[Node] = set()
    for node in graph:
        if _is_cheap(node, cheap):
            cheap.add(node)
        depths[node] = max((depths[a] for a in node.args), default=0)
        if _is_small_sum(node) and node.args[0] in cheap:
            depths[node] += 1
            t = array_type(node.args[0])
            groups.setdefault((depths[node], t.shape, t.dtype, _axes(node)), []).append(node)
    return depths, [group for group in groups.values() if len(group) > 1]


def _joined(group: Sequence[Node], env: Mapping[Node, Node]) -> list[Node]:
    """The node of all sums of a group, then each of them."""
    first = group[0]
    together = make(Sums(_axes(first)), [env[node.args[0]] for node in group], first.loc)
    return [together, *(make(Item(i), [together], node.loc) for i, node in enumerate(group))]


def _is_cheap(node: Node, cheap: set[Node]) -> bool:
    """Whether no entry of an array costs more than some arithmetic; what has few entries always does."""
    if isinstance(node.op, (Input, Const)) or (isinstance(node.type, ArrayType) and node.type.size < LEAST):
        return True
    is_cheap = isinstance(node.op, Item) or (isinstance(node.op, Apply) and node.op.primitive.name in CHEAP)
    return is_cheap and cheap.issuperset(node.args)


def _is_small_sum(node: Node) -> bool:
    if not isinstance(node.op, Apply) or node.op.primitive.name != "reduce_sum":
        return False
    t = array_type(node.args[0])
    summed = math.prod(t.shape[i] for i in _axes(node))
    return summed >= LEAST and t.size <= MOST.get(t.dtype, 0)


def _axes(node: Node) -> tuple[int, ...]:
    axes: tuple[int, ...] = dict(node.op.parameters)["axes"]  # type: ignore[attr-defined]
    return axes


__all__ = ["imported", "is_reversible", "join_sums", "value_and_grad", "with_gradient"]
