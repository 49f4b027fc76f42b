"""late_gathers: what is computed for each row from a group's parameter is computed once for each group.

a: f64[919] = gather alpha, county        b: f64[85] = exp alpha
b: f64[919] = exp a                   ⇒   c: f64[919] = gather b, county
log_prob y ~ Poisson(b)                   log_prob y ~ Poisson(c)

Fewer operations, and rules see that all rows of a group have the same parameter. Scalars may take part; two indices may
not, nor may data that differ from row to row, nor an index that latents decide, which may be out of range. A group that
no row reads is computed at 1: at its own value the function may have no derivative, and 0 · NaN is NaN.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import jax
import jax.numpy as jnp

from plait.compiler import jax_compat as compat
from plait.compiler.binding import known_nodes
from plait.compiler.importer import Builder
from plait.compiler.staged import struct
from plait.ir.graph import Graph, Node, make, renamed_outputs, with_outputs
from plait.ir.ops import Apply, array_type

_SMOOTH = frozenset(
    {
        *("add", "sub", "mul", "neg", "max", "min", "abs", "sign", "square", "tanh", "logistic", "sin", "cos"),
        *("erf", "erfc", "convert_element_type", "stop_gradient"),
        *("eq", "ne", "lt", "le", "gt", "ge", "is_finite", "select_n"),
    }
)
_SINGULAR = frozenset(  # these have points without a finite derivative; 1 is none of them
    {
        *("div", "pow", "integer_pow", "exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt"),
        *("lgamma", "digamma"),
    }
)


def late_gathers(graph: Graph) -> Graph:
    """Gathers after arithmetic instead of before: ``exp (gather x i)  ⇒  gather (exp x) i``."""
    builder = Builder()
    env: dict[Node, Node] = {}
    known = known_nodes(graph)
    for node in graph:
        args = tuple(env[a] for a in node.args)
        late = None if node in known else _late(builder, node, args, known)
        if late is None:
            late = node if args == node.args else make(node.op, args, node.loc)
            builder.nodes.append(late)
        env[node] = late
    return with_outputs(builder.nodes, renamed_outputs(graph, env))


def _late(builder: Builder, node: Node, args: tuple[Node, ...], known: Set[Node]) -> Node | None:
    """The gather of what the node computes on the arrays that its arguments are gathered from."""
    op = node.op
    if not (isinstance(op, Apply) and op.primitive.name in _SMOOTH | _SINGULAR):
        return None
    args = tuple(map(_unrepeated, args))
    gathers = [a for a in args if _is_gather(a)]
    scalars = [a for a in args if array_type(a).size == 1]
    if not gathers or len(gathers) + len(scalars) < len(args):
        return None
    first = gathers[0]
    source = array_type(first.args[0])
    gather = first.op
    assert isinstance(gather, Apply)
    alike = all(_same_gather(g, first) for g in gathers)
    if not alike or source.size > array_type(first).size or array_type(node).shape != array_type(first).shape:
        return None
    index = first.args[1]
    if index not in known or gather.parameters["fill_value"] is not None:
        return None
    inner = [a.args[0] if a in gathers else a for a in args]

    def gathered(x: Any, index: Any) -> Any:
        return compat.bind(gather.primitive, gather.parameters, [x, index])[0]

    def code(index: Any, *values: Any) -> Any:
        values = tuple(
            x if a in gathers else jax.lax.broadcast(x.reshape(()), source.shape)
            for a, x in zip(args, values, strict=True)
        )
        if op.primitive.name in _SINGULAR:
            rows, transposed = jax.vjp(lambda x: gathered(x, index), jnp.zeros(source.shape))
            is_read = transposed(jnp.ones_like(rows))[0] > 0
            values = tuple(
                jnp.where(is_read, x, jnp.ones_like(x)) if a in gathers else x
                for a, x in zip(args, values, strict=True)
            )
        (small,) = compat.bind(op.primitive, op.parameters, values)
        return gathered(small, index)

    closed = jax.make_jaxpr(code)(struct(array_type(index)), *(struct(array_type(a)) for a in inner))
    (late,) = builder.inline(closed, [index, *inner], node.loc)
    return late


def _same_gather(a: Node, b: Node) -> bool:
    """Whether two gathers take the same entries of arrays of one shape."""
    same = isinstance(a.op, Apply) and isinstance(b.op, Apply) and a.op.params == b.op.params
    return same and a.args[1] is b.args[1] and array_type(a.args[0]).shape == array_type(b.args[0]).shape


def _unrepeated(node: Node) -> Node:
    """The one number that a node repeats, as `jnp.where` does with its branches; other nodes as they are."""
    is_broadcast = isinstance(node.op, Apply) and node.op.primitive.name == "broadcast_in_dim"
    return node.args[0] if is_broadcast and array_type(node.args[0]).size == 1 else node


def _is_gather(node: Node) -> bool:
    return isinstance(node.op, Apply) and node.op.primitive.name == "gather"


__all__ = ["late_gathers"]
