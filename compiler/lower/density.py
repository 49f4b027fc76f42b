"""From the density graph to pure functions of (what is known, params, values or z)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from plait.compiler.lower.evaluate import evaluate
from plait.compiler.passes.unconstrain import Slot, layout
from plait.ir.graph import Graph, Node, Role
from plait.ir.ops import Check, Hoist, Input, Param, Value


@dataclass(frozen=True)
class Function:
    """A pure JAX function of the density.

    Attributes:
        uses: which of `prepare`'s results it reads.
        call: from (those results, the params' arrays, x) to a pytree of arrays.
    """

    uses: tuple[int, ...]
    call: Callable[[Sequence[Any], Sequence[Any], Any], Any]


@dataclass(frozen=True)
class Lowered:
    """The functions of one density graph.

    Attributes:
        graph: the density graph.
        slots: the layout of z.
        prepare: from the data arrays to (what the others read, one bool per check).
        checks: the nodes of those bools.
        log_joint: of the tuple of constrained values.
        terms: of the same, to a dict of unsummed terms.
        log_density: of z; None where a latent has no bijection onto the reals.
        constrain: of z, to (dict of values, dict of deterministics); None likewise.
    """

    graph: Graph
    slots: tuple[Slot, ...]
    prepare: Callable[[Sequence[Any]], tuple[tuple[Any, ...], tuple[Any, ...]]]
    checks: tuple[Node, ...]
    log_joint: Function
    terms: Function
    log_density: Function | None
    constrain: Function | None


def lower(graph: Graph) -> Lowered:
    """The functions that a density graph stands for; nothing is traced or compiled yet."""
    values = graph.of(Value)
    z = [n for n in graph.of(Input) if n.op.kind == Input.FLAT]  # type: ignore[attr-defined]
    params = graph.of(Param)
    has_density = bool(graph.named(Role.LOG_DENSITY))
    named = {role: graph.named(role) for role in Role}
    checks = tuple(named[Role.CHECK].values())

    wanted = [n for role in Role if role is not Role.CHECK for n in named[role].values()]
    frontier = _frontier(wanted, set(params))

    def function(nodes: dict[str, Node], arguments: list[Node], pack: Callable[[dict[str, Any]], Any]) -> Function:
        cut = {*params, *arguments}
        uses = tuple(i for i, n in enumerate(frontier) if n in set(_frontier(list(nodes.values()), cut)))

        def call(known: Sequence[Any], param_values: Sequence[Any], x: Any) -> Any:
            given = dict(zip((frontier[i] for i in uses), known, strict=True))
            given |= dict(zip(params, param_values, strict=True))
            given |= dict(zip(arguments, x, strict=True))
            return pack(dict(zip(nodes, evaluate(graph, given, nodes.values()), strict=True)))

        return Function(uses, call)

    def only(results: dict[str, Any]) -> Any:
        (result,) = results.values()
        return result

    def prepare(data: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        given = dict(zip((n for n in graph.of(Input) if n.op.kind == Input.DATA), data, strict=True))  # type: ignore[attr-defined]
        results = evaluate(graph, given, [*frontier, *checks])
        return tuple(results[: len(frontier)]), tuple(results[len(frontier) :])

    both = {("value", k): n for k, n in named[Role.VALUE].items()}
    both |= {("deterministic", k): n for k, n in named[Role.DETERMINISTIC].items()}

    def split(results: dict[Any, Any]) -> Any:
        return tuple({k: v for (kind, k), v in results.items() if kind == want} for want in ("value", "deterministic"))

    return Lowered(
        graph,
        layout(graph),
        prepare,
        checks,
        function(named[Role.LOG_JOINT], values, only),
        function(named[Role.TERM], values, dict),
        function(named[Role.LOG_DENSITY], z, only) if has_density else None,
        function(both, z, split) if has_density else None,  # type: ignore[arg-type]
    )


def _frontier(wanted: list[Node], cut: set[Node]) -> list[Node]:
    """Hoisted values and data that the wanted nodes read, in a stable order."""
    found: dict[Node, None] = {}
    seen: set[Node] = set()
    todo = list(reversed(wanted))
    while todo:
        node = todo.pop()
        if node in seen or node in cut:
            continue
        seen.add(node)
        if isinstance(node.op, Hoist) or (isinstance(node.op, Input) and node.op.kind == Input.DATA):
            found[node] = None
        else:
            todo.extend(reversed(node.args))
    return list(found)


__all__ = ["Check", "Function", "Lowered", "lower"]
