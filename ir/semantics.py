"""What a model says, apart from how it is written: a hash for each site, and one for the density.

A site's hash is over its own code, down to the sites, params and data that this reads, which count by name. So a site
whose parent changes keeps its hash, and the density is the set of the hashes of its terms: their order does not count,
nor does code that none of them reads. A value is hashed with what it is computed from, as in a Merkle tree, so code
that is written twice is the same as code written once.

In a scan, what a carry brings is hashed by its first value and by its recurrence, in which carries are numbered in the
order in which they are met; so the order of the carry does not count, nor do those that are not met.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plait.ir.contents import contents, digest

# This file stands below ir.graph, whose method hashes with it.
Nodes = Any  # a Graph
AnyNode = Any
Hashes = dict[AnyNode, str]

TERMS = frozenset({"latent", "observed", "factor", "param"})


@dataclass(frozen=True)
class SiteHash:
    """The hash of one site's own code."""

    kind: str
    hash: str


@dataclass(frozen=True)
class Reading:
    """What counts when code is hashed.

    Attributes:
        through: whether deterministic sites and data count by their contents, and not only by their names.
        constants: whether the values of constants count; else only their types do.
    """

    through: bool = True
    constants: bool = True


def semantic_hash(graph: Nodes) -> str:
    """SHA-256 of what the graph says: `Graph.semantic_hash` has what counts.

    Args:
        graph: a model graph, whose terms are its sites; or a density graph, which is its outputs.
    """
    hashes, sites = _Hashing(Reading()).graph(graph, {})
    said = [f"site {name} {site.hash}" for name, site in sites.items() if site.kind in TERMS]
    said += [f"{o.role.value} {o.name} {hashes[o.node]}" for o in graph.outputs if o.role.value != "result"]
    return digest(sorted(said))


def site_hashes(graph: Nodes, reading: Reading) -> dict[str, SiteHash]:
    """The hashes of sites, factors, params, deterministics and of the data that these read, in program order.

    Data are called as in the site graph: ``y (data)``.
    """
    _, sites = _Hashing(reading).graph(graph, {})
    read = _read(graph)
    data = [n for n in graph if n in read and n.op.category == "data"]
    return {f"{n.op.name} (data)": SiteHash("data", _said(n.type)) for n in data} | sites


class _Hashing:
    """Hashes values and sites in one reading."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def graph(self, graph: Nodes, inputs: Mapping[AnyNode, str]) -> tuple[Hashes, dict[str, SiteHash]]:
        """The hash of each value, given those of some inputs; and of each site that of its own code."""
        hashes: Hashes = dict(inputs)
        results: dict[AnyNode, list[str]] = {}  # of scans and conds
        sites: dict[str, SiteHash] = {}
        for node in graph:
            if node in hashes:
                continue
            if node.op.bodies:
                results[node], inner = (self._scan if node.op.category == "scan" else self._cond)(node, hashes)
                sites |= inner
            elif node.op.mnemonic == "item" and node.args[0] in results:
                hashes[node] = results[node.args[0]][node.op.index]
            else:
                own = self._own(node, hashes)
                if node.op.category in _SITES:
                    sites[node.op.label] = SiteHash(node.op.category, own)
                hashes[node] = self._value(node, hashes, own)
        return hashes, sites

    def _own(self, node: AnyNode, hashes: Hashes) -> str:
        category = node.op.category
        if category == "data":
            return _said("data", node.op.name, *[node.type] * self._reading.through)
        if category == "const" and not self._reading.constants:
            return _said("const", node.type)
        return _said(str(node.type), getattr(node.type, "weak", None), node.op.meaning([hashes[a] for a in node.args]))

    def _value(self, node: AnyNode, hashes: Hashes, own: str) -> str:
        """What its users read: a site by its name."""
        if self._is_named(node):
            return _named(node)
        return hashes[node.args[0]] if node.op.category == "deterministic" else own

    def _is_named(self, node: AnyNode) -> bool:
        return node.op.category in (TERMS if self._reading.through else _SITES)

    # -- branches and loops -----------------------------------------------------------------------------

    def _cond(self, node: AnyNode, hashes: Hashes) -> tuple[list[str], dict[str, SiteHash]]:
        """Results and sites are what they are in each branch."""
        index, *operands = (hashes[a] for a in node.args)
        each, found = [], []
        for branch in node.op.bodies:
            inner, sites = self.graph(branch, dict(zip(_inputs(branch), operands, strict=False)))
            each.append([inner[r] for r in _results(branch)])
            found.append(sites)
        results = [_said("cond", index, said) for said in zip(*each, strict=True)]
        names = dict.fromkeys(name for sites in found for name in sites)
        both = {name: [sites[name] for sites in found if name in sites] for name in names}
        return results, {n: SiteHash(s[0].kind, _said("cond", index, [b.hash for b in s])) for n, s in both.items()}

    def _scan(self, node: AnyNode, hashes: Hashes) -> tuple[list[str], dict[str, SiteHash]]:
        """Results are the last carries and the stacked ones; a site says how many steps it has."""
        op = node.op
        consts, firsts, rows = op.split([hashes[a] for a in node.args])
        inputs = _inputs(op.body)
        carried = dict(zip(inputs[op.n_consts :], firsts, strict=False))
        entering = dict(zip(inputs, [*consts, *firsts, *(_said("row", row) for row in rows)], strict=True))
        streams = {carry: self._stream(op, carry, carried, entering) for carry in carried}
        inner, sites = self.graph(op.body, entering | streams)
        said = [inner[r] for r in _results(op.body)]
        last = [_said("last", op.length, op.reverse, *pair) for pair in zip(firsts, said, strict=False)]
        stacked = [_said("stacked", op.length, result) for result in said[op.n_carry :]]
        steps = {name: SiteHash(site.kind, _said("steps", op.length, site.hash)) for name, site in sites.items()}
        return [*last, *stacked], steps

    def _stream(self, op: Any, root: AnyNode, firsts: Hashes, entering: Hashes) -> str:
        """What a carry brings into the steps, by what it begins with and how it follows from the step before."""
        after = dict(zip(firsts, _results(op.body), strict=False))
        if self._is_named(after[root]):
            return _said("previous", op.reverse, firsts[root], _named(after[root]))
        met = [root]
        for carry in met:  # grows while it is read
            met += [n for n in self._leaves(after[carry]) if n in firsts and n not in met]
        inner, _ = self.graph(op.body, entering | {carry: _said("carry", i) for i, carry in enumerate(met)})
        return _said("previous", op.reverse, [(firsts[carry], inner[after[carry]]) for carry in met])

    def _leaves(self, node: AnyNode) -> Iterator[AnyNode]:
        """What a value is computed from, as far as its hash goes, in the order of arguments."""
        seen, todo = set(), [node]
        while todo:
            n = todo.pop()
            if n not in seen:
                seen.add(n)
                if not n.args:
                    yield n
                elif not self._is_named(n):
                    todo += reversed(n.args)


_SITES = TERMS | {"deterministic"}


def _named(node: AnyNode) -> str:
    return _said("site", node.op.label)


def _inputs(body: Nodes) -> list[AnyNode]:
    return [n for n in body if n.op.mnemonic == "input"]


def _results(body: Nodes) -> list[AnyNode]:
    return [out.node for out in body.outputs]


def _read(graph: Nodes) -> set[AnyNode]:
    """What some site or output is computed from."""
    todo = [n for n in graph.roots if n.op.mnemonic != "input"]
    found: set[AnyNode] = set()
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += node.args
    return found


def _said(*values: Any) -> str:
    return digest(contents(values))


__all__ = ["TERMS", "Reading", "SiteHash", "semantic_hash", "site_hashes"]
