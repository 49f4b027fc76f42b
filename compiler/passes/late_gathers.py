"""late_gathers: what is computed for each row from a group's parameter is computed once for each group.

a: f64[919] = gather alpha, county        b: f64[85] = exp alpha
b: f64[919] = exp a                   ⇒   c: f64[919] = gather b, county
log_prob y ~ Poisson(b)                   log_prob y ~ Poisson(c)

Fewer operations, and rules see that all rows of a group have the same parameter. Scalars may take part; two indices may
not, nor may data that differ from row to row.
"""

from __future__ import annotations

from typing import Any

import jax

from plait.compiler import jax_compat as compat
from plait.compiler.binding import known_nodes
from plait.compiler.importer import Builder
from plait.compiler.staged import struct
from plait.ir.graph import Graph, Node, make, renamed_outputs, with_outputs
from plait.ir.ops import Apply, array_type

_ELEMENTWISE = frozenset(
    {
        *("add", "sub", "mul", "div", "neg", "max", "min", "abs", "sign", "pow", "integer_pow", "square"),
        *("exp", "exp2", "expm1", "log", "log1p", "sqrt", "rsqrt", "cbrt", "tanh", "logistic", "sin", "cos"),
        *("erf", "erfc", "lgamma", "digamma", "convert_element_type"),
    }
)


def late_gathers(graph: Graph) -> Graph:
    """Gathers after arithmetic instead of before: ``exp (gather x i)  ⇒  gather (exp x) i``."""
    builder = Builder()
    env: dict[Node, Node] = {}
    known = known_nodes(graph)
    for node in graph:
        args = tuple(env[a] for a in node.args)
        late = None if node in known else _late(builder, node, args)
        if late is None:
            late = node if args == node.args else make(node.op, args, node.loc)
            builder.nodes.append(late)
        env[node] = late
    return with_outputs(builder.nodes, renamed_outputs(graph, env))


def _late(builder: Builder, node: Node, args: tuple[Node, ...]) -> Node | None:
    """The gather of what the node computes on the arrays that its arguments are gathered from."""
    op = node.op
    if not (isinstance(op, Apply) and op.primitive.name in _ELEMENTWISE):
        return None
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
    inner = [a.args[0] if a in gathers else a for a in args]

    def code(index: Any, *values: Any) -> Any:
        values = tuple(
            x if a in gathers else jax.lax.broadcast(x.reshape(()), source.shape)
            for a, x in zip(args, values, strict=True)
        )
        (small,) = compat.bind(op.primitive, op.parameters, values)
        return compat.bind(gather.primitive, gather.parameters, [small, index])[0]

    index = first.args[1]
    closed = jax.make_jaxpr(code)(struct(array_type(index)), *(struct(array_type(a)) for a in inner))
    (late,) = builder.inline(closed, [index, *inner], node.loc)
    return late


def _same_gather(a: Node, b: Node) -> bool:
    """Whether two gathers take the same entries of arrays of one shape."""
    same = isinstance(a.op, Apply) and isinstance(b.op, Apply) and a.op.params == b.op.params
    return same and a.args[1] is b.args[1] and array_type(a.args[0]).shape == array_type(b.args[0]).shape


def _is_gather(node: Node) -> bool:
    return isinstance(node.op, Apply) and node.op.primitive.name == "gather"


__all__ = ["late_gathers"]
