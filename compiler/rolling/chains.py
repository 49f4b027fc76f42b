"""Chains: families whose members depend on earlier members, x_t on x_{t-1}, so that they roll into a scan.

x_1 = sample Normal(x_0, 1)        chain of x_*, 3 steps
x_2 = sample Normal(x_1, 1)   ⇒    operand: what x_* was 1 step before, at first x_0
x_3 = sample Normal(x_2, 1)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from plait.compiler.rolling.families import Family, Joined, Recipe, Taken, parts


@dataclass(frozen=True, eq=False)
class Before:
    """What a family was `lag` steps before; `first` says what it was before the first step, for `lag` steps."""

    family: Family
    lag: int
    first: Recipe | None  # None where the lag is 0


@dataclass(frozen=True, eq=False)
class Chain:
    """Families that depend on each other step by step.

    Attributes:
        families: in the order of a step.
        width: how many members of each are computed side by side in a step: the chains of a panel.
    """

    families: tuple[Family, ...]
    width: int

    @property
    def steps(self) -> int:
        return self.families[0].size // self.width


@dataclass(frozen=True, eq=False)
class NoChain:
    """Why families in a circle are no chain.

    Attributes:
        why: in words.
        split: of a family in the circle, how many members start the chain rather than continue it.
    """

    why: str
    split: tuple[Family, int] | None = None


def chain_of(circle: Sequence[Family]) -> Chain | NoChain:
    """The chain of some families that depend on each other."""
    inside = set(circle)
    step = nx.DiGraph()
    step.add_nodes_from(circle)
    lags = [circle[0].size]
    for family in circle:
        for recipe in family.operands:
            before = before_of(recipe, inside)
            if isinstance(before, NoChain) or (before and before.family.size != family.size):
                return _no_chain(circle, inside)
            if before and before.lag == 0:
                step.add_edge(before.family, family)
            lags += [before.lag] if before else []
    if len({family.size for family in circle}) > 1:
        return _no_chain(circle, inside)
    if not nx.is_directed_acyclic_graph(step):
        return NoChain(_WHY)
    place = {family: i for i, family in enumerate(circle)}
    return Chain(tuple(nx.lexicographical_topological_sort(step, key=place.__getitem__)), math.gcd(*lags))


_WHY = "what each depends on is not the same number of steps before it"


def before_of(recipe: Recipe, inside: set[Family]) -> Before | NoChain | None:
    """The recipe as an earlier step of a family in the circle; None where it has nothing of it."""
    *start, last = parts(recipe)
    if any(_takes(part, inside) for part in start):
        return NoChain(_WHY)
    if not _takes(last, inside):
        return None
    assert isinstance(last, Taken)
    lag = sum(part.size for part in start)
    if last.positions != tuple(range(last.size)) or lag + last.size != last.family.size:
        return NoChain(_WHY)
    first = None if not start else start[0] if len(start) == 1 else Joined(tuple(start))
    return Before(last.family, lag, first)


def _no_chain(circle: Sequence[Family], inside: set[Family]) -> NoChain:
    split = _boundary(circle, inside)
    return NoChain(_WHY if split is None else "one starts a chain, the other continues it", split)


def _takes(part: Recipe, inside: set[Family]) -> bool:
    return isinstance(part, Taken) and part.family in inside


def _boundary(circle: Sequence[Family], inside: set[Family]) -> tuple[Family, int] | None:
    """A family whose first members get an operand from elsewhere, sites before code."""
    for family in sorted(circle, key=lambda f: not f.is_of_sites):
        for recipe in family.operands:
            *start, last = parts(recipe)
            if start and _takes(last, inside):
                return family, start[0].size
    return None


__all__ = ["Before", "Chain", "NoChain", "before_of", "chain_of"]
