"""fuse: a term of many rows becomes one of few numbers that `prepare` computes.

b: f64[1000] = log_prob y ~ Normal(X @ beta, sigma)      s: (…) = kernel normal_statistics y, X
log joint = add_n (sum a) (sum b)                     ⇒  b: f64[] = fused 'y' normal_cells beta, sigma, s…
                                                         log joint = add_n (sum a) b

The rules are in `compiler/rules`, one file for each family of terms. The unsummed terms stay for whoever asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpyro.distributions import Unit

from plait.compiler.binding import known_nodes
from plait.compiler.host_values import Known
from plait.compiler.importer import Builder
from plait.compiler.rules import covariance, factors, iid, multivariate_normal, normal, picked, rows, softmax
from plait.compiler.rules.term import Fusion, Refused, Scope, Term, read_term
from plait.ir.expressions import expressions
from plait.ir.graph import Graph, Node, Output, Role, make, with_outputs
from plait.ir.ops import AddN, LogProb, Sum, Value
from plait.ir.spec import family

Rule = Callable[[Scope, Term], Fusion | Refused]

RULES: tuple[tuple[tuple[type, ...], Rule], ...] = (
    (normal.CLASSES, normal.normal),
    (iid.CLASSES, iid.iid),
    (multivariate_normal.CLASSES, multivariate_normal.multivariate_normal),
    (covariance.CLASSES, covariance.covariance),
    (rows.CLASSES, rows.rows),
    (picked.CLASSES, picked.picked),
    (softmax.CLASSES, softmax.softmax),
    (factors.CLASSES, factors.factor),
)


@dataclass(frozen=True)
class Answer:
    """What became of a term.

    Attributes:
        site: whose term it is.
        answer: of the rules. Latents, whose rows are all different, have none.
        rows: how many the user wrote, in the term or in a sum inside of it.
        notation: what is evaluated, in the field's notation, with the model's names.
        rule: that took it; empty where none did.
        refusals: (rule, why it does not apply), of those that were asked before.
    """

    site: str
    answer: Fusion | Refused
    rows: int = 0
    notation: str = ""
    rule: str = ""
    refusals: tuple[tuple[str, str], ...] = ()


def fuse(graph: Graph, data: Sequence[Any] | None) -> Graph:
    """Sums rows before they are known: ``sum (log_prob y ~ Normal(X b, s))  ⇒  fused y (statistics of X, y) b s``."""
    builder, found, instead, written = _fused(graph, data)
    if not instead:
        return graph
    outputs = [Output(o.role, o.name, (written if o.role is Role.TERM else instead)[o.node]) for o in graph.outputs]
    outputs += [Output(Role.FUSED, a.site, a.answer.node) for a in found if isinstance(a.answer, Fusion)]
    return with_outputs(builder.nodes, outputs)


def answers(graph: Graph, data: Sequence[Any] | None) -> list[Answer]:
    """What `fuse` says of each term of a graph, in order."""
    return _fused(graph, data)[1]


def _fused(
    graph: Graph, data: Sequence[Any] | None
) -> tuple[Builder, list[Answer], Mapping[Node, Node], Mapping[Node, Node]]:
    """The new nodes, the answers, and what stands for each old node: in sums (none where all is as it was), alone."""
    builder = Builder()
    known = known_nodes(graph)
    scope = Scope(builder, known, Known(graph, builder, data) if data is not None else None)
    found: list[Answer] = []
    env: dict[Node, Node] = {}
    written: dict[Node, Node] = {}
    addends = {a for node in graph if isinstance(node.op, AddN) for a in node.args}
    for node in graph:
        args = tuple(env[a] for a in node.args)
        env[node] = node if args == node.args else make(node.op, args, node.loc)
        written[node] = env[node]
        builder.nodes.append(env[node])
        term = node.args[0] if isinstance(node.op, Sum) else node
        if node in addends and isinstance(term.op, LogProb) and term not in known and _is_of_data(term, known):
            found.append(_answer(scope, term))
            if isinstance(found[-1].answer, Fusion):
                env[node] = found[-1].answer.node
    changed = any(isinstance(a.answer, Fusion) for a in found)
    return builder, found, env if changed else {}, written


def _is_of_data(term: Node, known: set[Node]) -> bool:
    """Whether a term is neither a latent's, whose rows are all different, nor a factor's that reads no rows of data."""
    assert isinstance(term.op, LogProb)
    if family(term.op.dist) == Unit.__name__:
        return any(factors.has_rows(a, known) for a in term.args[1:])
    return not isinstance(term.args[0].op, Value)


def _answer(scope: Scope, node: Node) -> Answer:
    assert isinstance(node.op, LogProb)
    term = read_term(scope, node)
    if isinstance(term, Refused):
        return Answer(node.op.site, term)
    if term.value not in scope.known:
        return Answer(node.op.site, Refused("what it observes depends on latents"), term.n)
    answer, rule, refusals = _first(scope, term)
    if isinstance(answer, Refused):
        return Answer(node.op.site, answer, term.n, refusals=refusals)
    shown = expressions(Graph(tuple(scope.builder.nodes)), {})
    weighted = ",  rows weighted" if term.weight is not None else ""
    notation = answer.notation.format(*(shown[n] for n in answer.named))
    return Answer(node.op.site, answer, answer.rows or term.n, notation + weighted, rule, refusals)


def _first(scope: Scope, term: Term) -> tuple[Fusion | Refused, str, tuple[tuple[str, str], ...]]:
    """The answer of the first rule that applies, or the reason of the first that does not; its name; who refused."""
    refused: dict[str, Refused] = {}
    for rule in (rule for classes, rule in RULES if term.cls in classes):
        answer = rule(scope, term)
        if isinstance(answer, Fusion):
            return answer, rule.__name__, _reasons(refused)
        refused[rule.__name__] = answer
    none = Refused(f"no sufficient statistics are known for {term.cls.__name__}")
    return next(iter(refused.values()), none), "", _reasons(refused)


def _reasons(refused: Mapping[str, Refused]) -> tuple[tuple[str, str], ...]:
    return tuple((rule, answer.reason) for rule, answer in refused.items())


__all__ = ["Answer", "answers", "fuse"]
