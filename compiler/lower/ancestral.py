"""The walk over a model graph in program order that gives each latent a value, in loops and branches too.

What the values are is up to the one who walks: draws (`sampler`), or points of the unit cube (`prior_transform`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from plait.compiler.lower.evaluate import RULES, Rule, cond_with, evaluate, scan_with
from plait.ir.graph import Graph, Node, Op
from plait.ir.ops import Cond, Deterministic, Factor, Observe, Sample, Scan


class Walk(ABC):
    """One pass over a graph's sites; a loop's body or a branch is a walk of its own."""

    def __init__(self) -> None:
        self.record: dict[str, Any] = {}

    @property
    def records(self) -> tuple[dict[str, Any], ...]:
        """What is kept by site; a step's are stacked over the steps."""
        return (self.record,)

    @abstractmethod
    def sample(self, op: Sample, args: Sequence[Any]) -> Any:
        """The value of a latent site."""

    @abstractmethod
    def observe(self, op: Observe, args: Sequence[Any]) -> Any:
        """The value of an observed site, as code below reads it."""

    @abstractmethod
    def deterministic(self, op: Deterministic, args: Sequence[Any]) -> Any:
        """The value of a deterministic site."""

    @abstractmethod
    def over_steps(self, op: Scan) -> Any:
        """What the steps of a scan need: a pytree stacked over them."""

    @abstractmethod
    def over_branches(self) -> Any:
        """What a branch needs; whichever is taken gets the same."""

    @abstractmethod
    def inside(self, part: Any) -> Walk:
        """The walk over a step, of its part of `over_steps`, or over a branch."""

    def evaluate(self, graph: Graph, values: Mapping[Node, Any], wanted: list[Node]) -> list[Any]:
        """Gives the sites of a graph values; returns the values of `wanted`."""
        special: dict[type[Op], Rule] = {
            Sample: self._recorded(self.sample),
            Observe: self.observe,
            Factor: lambda op, args: None,
            Deterministic: self._recorded(self.deterministic),
            Scan: self._scan,
            Cond: self._cond,
        }
        named = [n for n in graph if isinstance(n.op, (Sample, Observe, Deterministic)) or _has_sites(n)]
        return evaluate(graph, values, [*named, *wanted], {**RULES, **special})[len(named) :]

    def _recorded(self, rule: Rule) -> Rule:
        def call(op: Any, args: Sequence[Any]) -> Any:
            self.record[op.name] = rule(op, args)
            return self.record[op.name]

        return call

    def _scan(self, op: Scan, args: Sequence[Any]) -> Any:
        if not op.is_root:
            return RULES[Scan](op, args)

        def body(graph: Graph, values: Mapping[Node, Any], wanted: list[Node], part: Any) -> Sequence[Any]:
            step = self.inside(part)
            return [*step.evaluate(graph, values, wanted), step.records]

        *results, found = scan_with(op, args, body, self.over_steps(op))
        self._keep(found)
        return results

    def _cond(self, op: Cond, args: Sequence[Any]) -> Any:
        part = self.over_branches()

        def branch(graph: Graph, values: Mapping[Node, Any], wanted: list[Node]) -> Any:
            taken = self.inside(part)
            return taken.evaluate(graph, values, wanted), taken.records

        results, found = cond_with(op, args, branch)
        self._keep(found)
        return results

    def _keep(self, found: Sequence[Mapping[str, Any]]) -> None:
        for mine, inner in zip(self.records, found, strict=True):
            mine.update(inner)


def _has_sites(node: Node) -> bool:
    return bool(node.op.bodies) and node.op.is_root


__all__ = ["Walk"]
