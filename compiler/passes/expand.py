"""expand: what NumPyro's distributions and bijectors compute becomes equations, so that their parts can move.

a: f64[8] = log_prob y ~ Poisson(rate)  ⇒  b: f64[8] = log rate
                                           c: f64[8] = mul y b
                                           d: f64[8] = lgamma (add y 1)      (known from data: hoisted)
"""

from __future__ import annotations

from plait.compiler.importer import Builder
from plait.compiler.lower.evaluate import RULES
from plait.compiler.staged import code_of
from plait.ir.fused import Fused
from plait.ir.graph import Graph, Node, make, renamed_outputs, with_outputs
from plait.ir.ops import Constrain, InSupport, LogDet, LogProb, array_type

_EXPANDED = (LogProb, Constrain, LogDet, InSupport, Fused)


def expand(graph: Graph) -> Graph:
    """Writes log_prob, bijectors and checks as equations: ``log_prob y ~ Normal(m, 1)  ⇒  sub, div, square, …``."""
    builder = Builder()
    env: dict[Node, Node] = {}
    for node in graph:
        args = tuple(env[a] for a in node.args)
        if isinstance(node.op, _EXPANDED):
            closed = code_of(RULES[type(node.op)], node.op, tuple(map(array_type, args)))
            (env[node],) = builder.inline(closed, args, node.loc)
            continue
        op = node.op.with_bodies([expand(body) for body in node.op.bodies])
        env[node] = node if op is node.op and args == node.args else make(op, args, node.loc)
        builder.nodes.append(env[node])
    return with_outputs(builder.nodes, renamed_outputs(graph, env))
