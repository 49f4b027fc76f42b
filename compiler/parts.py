"""Parts of the log density: prior, likelihood, Jacobian, and what depends on a latent or param.

log joint = add_n a b c        a: of a latent          log joint = add_n b c
b, c: of data and a factor                         ⇒   log density of the likelihood, no Jacobian
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import partial

import jax.numpy as jnp

from plait.compiler.importer import Builder
from plait.compiler.passes import Pass
from plait.ir.graph import Graph, Node, Output, Role, downstream, make, with_outputs
from plait.ir.ops import AddN, Guard, Input, Param, Sum, is_op
from plait.ir.parts import WHOLE, Part


def passes_of(part: Part, pipeline: tuple[Pass, ...]) -> tuple[Pass, ...]:
    """The pipeline with what makes it end in this part of the density."""
    if part == WHOLE:
        return pipeline
    chosen = {
        "density": Pass("select_terms", partial(select_terms, part=part), optional=False),
        "unconstrain": Pass("select_jacobian", partial(select_jacobian, part=part), optional=False),
        "share_exps": Pass("select_constants", partial(select_constants, part=part), optional=False),
    }
    return tuple(p for own in pipeline for p in (own, chosen.get(own.name)) if p is not None)


def select_terms(graph: Graph, part: Part) -> Graph:
    """Sums the terms of the part alone; a likelihood asks nothing of its latents, a prior nothing of the data."""
    if part.prior and part.likelihood:
        return graph
    latents = graph.named(Role.VALUE)
    terms = {name: part.prior if name in latents else part.likelihood for name in graph.named(Role.TERM)}
    outer = graph.output(Role.LOG_JOINT)
    inner = outer.args[0]
    joint = inner.args[0]
    kept = [a for a, keep in zip(joint.args, terms.values(), strict=True) if keep]
    new = [make(joint.op, kept)]
    new.append(make(Guard(), [new[-1], *(inner.args[1:] if part.likelihood else ())]))
    new.append(make(Guard(), [new[-1], *outer.args[1:]]))
    outputs = [
        Output(o.role, o.name, new[-1] if o.role is Role.LOG_JOINT else o.node)
        for o in graph.outputs
        if o.role is not Role.TERM or terms[o.name]
    ]
    return with_outputs([*graph.nodes, *new], outputs)


def select_jacobian(graph: Graph, part: Part) -> Graph:
    """Leaves the Jacobian out of the log density."""
    jacobian = set(graph.named(Role.JACOBIAN).values())
    if part.jacobian or not jacobian:
        return graph
    root = graph.output(Role.LOG_DENSITY)
    total = root.args[0]
    new = [make(total.op, [a for a in total.args if a not in jacobian])]
    new.append(make(root.op, [new[0], *root.args[1:]]))
    kept = [o for o in graph.outputs if o.role is not Role.JACOBIAN]
    return _with_density([*graph.nodes, *new], kept, new[-1])


def select_constants(graph: Graph, part: Part) -> Graph:
    """Leaves addends of the log density out that depend on no latent and no param."""
    if part.constants or not graph.named(Role.LOG_DENSITY):
        return graph
    root = graph.output(Role.LOG_DENSITY)
    builder = Builder()
    builder.nodes = list(graph.nodes)
    total = _without(root.args[0], _free(graph), builder)
    builder.add(root.op, [total, *root.args[1:]])
    return _with_density(builder.nodes, graph.outputs, builder.nodes[-1])


def _without(node: Node, free: AbstractSet[Node], builder: Builder) -> Node:
    """A node of the same type without those of its addends that depend on nothing free."""
    kept = [_without(a, free, builder) for a in node.args if a in free]
    if isinstance(node.op, AddN):
        return builder.add(node.op, kept, node.loc)
    is_sum = isinstance(node.op, Sum) or is_op(node, "add", "add_any", "sub", "neg", "reduce_sum")
    if not is_sum or not kept or kept == list(node.args):
        return node
    if len(kept) == len(node.args):
        return builder.add(node.op, kept, node.loc)
    rest = kept[0]
    if is_op(node, "sub") and node.args[1] in free:
        rest = builder.code(jnp.negative, [rest], node.loc)
    return rest if rest.type == node.type else node


def _free(graph: Graph) -> AbstractSet[Node]:
    """What depends on a latent or a param."""
    return downstream(graph, lambda n: isinstance(n.op, Param) or (isinstance(n.op, Input) and n.op.kind == Input.FLAT))


def _with_density(nodes: Sequence[Node], outputs: Sequence[Output], root: Node) -> Graph:
    return with_outputs(
        nodes, [Output(o.role, o.name, root if o.role is Role.LOG_DENSITY else o.node) for o in outputs]
    )


__all__ = ["passes_of"]
