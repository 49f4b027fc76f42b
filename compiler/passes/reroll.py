"""reroll: the sites that a Python loop made become one site, as if they were written in a plate.

theta_0: f64[] = sample Normal(mu, tau)            theta_*: f64[loop:2] = sample Normal(mu, tau).expand([2])
a: f64[] = squeeze (slice y [0:1])
y_0: f64[] = observe Normal(theta_0, 1) obs=a  ⇒   y_*: f64[loop:2] = observe Normal(theta_*, 1) obs=y
theta_1: f64[] = sample Normal(mu, tau)
b: f64[] = squeeze (slice y [1:2])
y_1: f64[] = observe Normal(theta_1, 1) obs=b

Where members depend on earlier ones they become a scan, whose density needs no order: every value is given there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import networkx as nx

from plait.compiler.control_flow import named_nodes
from plait.compiler.rolling.bundles import Bundle, bundles
from plait.compiler.rolling.chains import NoChain, chain_of
from plait.compiler.rolling.emit import NotHeld, Rolling, Unit, needs_of, unit_of
from plait.compiler.rolling.families import Apart, Family, Search, Taken, parts
from plait.compiler.rolling.names import FamilyNames
from plait.ir.graph import Graph, Node, make, rewrite
from plait.ir.ops import Scan


def reroll(graph: Graph) -> Graph:
    """Makes one site of those that a loop made: ``theta_0 ~ D(a); theta_1 ~ D(b)  ⇒  theta_* ~ D([a, b])``."""
    return _rolled(graph, _labels(graph), [])


def look_alikes(graph: Graph) -> list[Apart]:
    """The sites of one line that `reroll` keeps apart, with the reasons."""
    apart: list[Apart] = []
    _rolled(graph, _labels(graph), apart)
    return apart


def _labels(graph: Graph) -> set[str]:
    return {node.op.label for node in named_nodes(graph) if node.op.label}


def _rolled(graph: Graph, taken: set[str], apart: list[Apart]) -> Graph:
    """The graph, the bodies of its scans too; `taken` gets the names of families, `apart` what is in none."""

    def in_scans(node: Node, args: tuple[Node, ...]) -> Node | None:
        if not isinstance(node.op, Scan):
            return None  # the branches of a cond have to hold the same sites
        return make(replace(node.op, body=_rolled(node.op.body, taken, apart)), args, node.loc)

    graph = rewrite(graph, in_scans)
    search = Search(graph)
    while search.place:
        together = bundles(graph, search)
        units = _in_order(graph, search, together)
        if units is not None:
            rolling = Rolling(graph, search, together, FamilyNames(taken))
            try:
                graph = rolling.emit(units)
                taken |= _labels(graph)
                break
            except NotHeld as e:
                search.forbid(e.family, str(e))
        search.run()
    apart += search.apart
    return graph


# -- order ----------------------------------------------------------------------------------------------


def _in_order(graph: Graph, search: Search, together: dict[Node, Bundle]) -> list[Unit] | None:
    """What to emit, arguments first; None where families in a circle are no chain and were therefore given up."""
    place: dict[Unit, int] = {}
    for i, node in enumerate(graph):
        place.setdefault(unit_of(node, search), i)
    needs = nx.DiGraph()
    todo: list[Unit] = [unit_of(root, search) for root in graph.roots]
    while todo:
        unit = todo.pop()
        if unit not in needs or not needs.nodes[unit]:
            needs.add_node(unit, seen=True)
            edges = [(needed, unit) for needed in needs_of(unit, search, together)]
            needs.add_edges_from(edges)
            todo += [needed for needed, _ in edges]
    condensed = nx.condensation(needs)
    members = {c: sorted(condensed.nodes[c]["members"], key=place.__getitem__) for c in condensed}
    units: dict[int, Unit] = {}
    given_up = False
    for c, circle in members.items():
        units[c] = circle[0]
        if len(circle) > 1 or needs.has_edge(circle[0], circle[0]):
            families = [unit for unit in circle if isinstance(unit, Family)]
            chain = chain_of(families) if len(families) == len(circle) else NoChain("other code lies between them")
            if isinstance(chain, NoChain):
                _give_up(search, families, chain)
                given_up = True
            else:
                units[c] = chain
    if given_up:
        return None
    order = nx.lexicographical_topological_sort(condensed, key=lambda c: place[members[c][0]])
    return [units[c] for c in order]


def _give_up(search: Search, circle: Sequence[Family], why: NoChain) -> None:
    moved = [search.reordered(family.members) for family in circle if family.is_of_sites]
    if any(moved):
        return
    """Keeps the sites that start a chain apart from those that continue it; else the circle is no families."""
    if why.split is not None:
        start, n = why.split
        alike = [family for family in circle if family.size == start.size]
        for family in search.families:
            first = _first(family, alike, n)
            if family.is_of_sites and 0 < sum(first) < family.size and search.cut(family):
                search.keep_apart(family.members, first, why.why)
                return
    for family in circle:
        search.forbid(family, why.why)


def _first(family: Family, circle: Sequence[Family], n: int) -> list[bool]:
    """Which members are, or read, one of the first `n` of a family in the circle."""
    if family in circle:
        return [i < n for i in range(family.size)]
    reads = [False] * family.size
    for recipe in family.operands:
        i = 0
        for part in parts(recipe):
            if isinstance(part, Taken) and part.family in circle:
                reads = [r or (i <= j < i + part.size and part.positions[j - i] < n) for j, r in enumerate(reads)]
            i += part.size
    return reads


__all__ = ["look_alikes", "reroll"]
