"""stabilize: what overflows, cancels or has no derivative is said in another way.

p: f64[8] = logistic eta                           t: f64[8] = log_prob y ~ BernoulliLogits(eta)
t: f64[8] = log_prob y ~ BernoulliProbs(p)     ⇒   e: f64[8] = … (softplus x)
e: f64[8] = log (add 1 (exp x))

The facts are rows of `stable/facts.py`. Each is exact, and where the written form is accurate so is the other, in value
and derivative; elsewhere the true value stands for an infinity, a NaN or noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from plait.compiler.stable.logarithms import difference, logarithm, logarithm_of_1p, softplus_in_parts
from plait.compiler.stable.logits import logits
from plait.compiler.stable.matrices import covariance, solved
from plait.compiler.stable.rewriting import Place, Rewriting
from plait.ir.graph import Graph, Node, make, renamed_outputs, with_outputs
from plait.ir.types import ArrayType

# A node is rewritten by the first that has an answer.
RULES: tuple[Callable[[Rewriting, Node], Node | None], ...] = (
    logarithm,
    logarithm_of_1p,
    difference,
    softplus_in_parts,
    solved,
    logits,
    covariance,
)


def stabilize(graph: Graph) -> Graph:
    """Replaces expressions that lose digits or derivatives: ``log (1 + exp x)  ⇒  softplus x``."""
    return _rewritten(graph)[0]


def made_stable(graph: Graph) -> list[Place]:
    """What `stabilize` makes of a graph, in order, each line of the user's once for each fact."""
    places = _rewritten(graph)[1]
    return list({str(place): place for place in places}.values())


def _rewritten(graph: Graph) -> tuple[Graph, list[Place]]:
    """The new graph, and what is new in it."""
    rewriting = Rewriting(graph)
    inside: list[Place] = []
    for node in graph:
        answer = _answer(rewriting, node)
        if answer is None:
            args = tuple(rewriting.env[a] for a in node.args)
            bodies = [_rewritten(body) for body in node.op.bodies]
            inside += [place for _, places in bodies for place in places]
            op = node.op.with_bodies([body for body, _ in bodies])
            answer = node if op is node.op and args == node.args else make(op, args, node.loc)
            rewriting.nodes.append(answer)
        rewriting.env[node] = answer
    new = with_outputs(rewriting.nodes, renamed_outputs(graph, rewriting.env))
    alive = set(new)
    return new, [*inside, *(place for place in rewriting.places if place.node in alive)]


def _answer(rewriting: Rewriting, node: Node) -> Node | None:
    if not (isinstance(node.type, ArrayType) and node.type.dtype in (np.float32, np.float64)):
        return None
    return next((new for rule in RULES if (new := rule(rewriting, node)) is not None), None)


__all__ = ["made_stable", "stabilize"]
