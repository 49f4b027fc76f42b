"""Which of the shown values read which: a graph's sites alone, or with code between them.

It reads the JSON form (`docs/json.md`), so it is the same for a compiled and for a saved model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from plait.ir.types import PlateFrame

Json = Mapping[str, Any]
Keys = frozenset[str]

SITES = frozenset({"latent", "observed", "factor", "deterministic", "param"})
SCAN = "scan"


@dataclass(frozen=True)
class DrawnSite:
    """A value of a model graph that has a name.

    Attributes:
        name: of the site, or of a data argument.
        kind: latent, observed, factor, deterministic, param or data.
        plates: that it is in, outermost first; a scan counts as one, of its length.
        node: its JSON; of a module that of its first array.
    """

    name: str
    kind: str
    plates: tuple[PlateFrame, ...]
    node: Json


@dataclass(frozen=True)
class Frame:
    """A box around a value.

    Attributes:
        plate: its name and size; a scan counts as one, of its length.
        scan: which scan it is; empty for a plate.
    """

    plate: PlateFrame
    scan: str = ""


@dataclass(frozen=True)
class Shown:
    """A value that a picture shows.

    Attributes:
        node: its JSON.
        frames: around it, outermost first.
        also: its JSON in the other branches of a cond.
    """

    node: Json
    frames: tuple[Frame, ...]
    also: list[Json] = field(default_factory=list)


def site_graph(data: Json) -> nx.DiGraph:
    """Sites only: an edge from a to b where b's distribution or value reads a through deterministic code.

    Args:
        data: the JSON form of a model graph.

    Returns:
        A `networkx.DiGraph` whose nodes are names, in the order of the program (data, which are often called like the
        site that observes them, are ``"y (data)"``); each carries its `DrawnSite` as ``site``. A site in a scan whose
        next step reads it has an edge to whatever reads it there, marked ``temporal``.
    """
    drawn = flow(data, lambda node: node["kind"] in SITES | {"data"})
    for key, shown in drawn.nodes(data="shown"):
        plates = tuple(frame.plate for frame in shown.frames)
        drawn.nodes[key]["site"] = DrawnSite(name_of(shown.node), shown.node["kind"], plates, shown.node)
        drawn.nodes[key]["weighted"] = any(map(_is_weighted, (shown.node, *shown.also)))
        del drawn.nodes[key]["shown"]
    return drawn


def _is_weighted(node: Json) -> bool:
    """Whether a latent's term is masked or scaled, so that its integral depends on what the distribution reads."""
    site = node.get("site", {})
    return node["kind"] == "latent" and (site["mask"] or site["scale"] or ".mask(" in node["text"]) not in (None, False)


def flow(data: Json, shows: Callable[[Json], bool], *, initial: bool = False) -> nx.DiGraph:
    """The shown values and which of them reads which, through whatever is not shown and through bodies of loops.

    Args:
        data: the JSON form of a graph.
        shows: whether a node is shown. Data that nobody shown reads are left out.
        initial: whether params read what makes their initial values, which is no part of the model.

    Returns:
        A `networkx.DiGraph`; each node carries its `Shown` as ``shown``, and edges may be ``temporal``.
    """
    walk = _Walk(shows, initial)
    walk.graph(data, {}, (), "")
    drawn = walk.drawn
    idle = [key for key, shown in drawn.nodes(data="shown") if shown.node["kind"] == "data" and not drawn.succ[key]]
    drawn.remove_nodes_from(idle)
    return drawn


def name_of(node: Json) -> str:
    """What the user called it: of an array of a module the module, else its name, or its id."""
    return str(node["site"]["name"] if "site" in node else node["name"] or node["id"])


def key_of(node: Json, prefix: str) -> str:
    """The key of a node in a picture: of a site its name, of data ``"y (data)"``; `prefix` is of the bodies around."""
    if node["kind"] == "data":
        return f"{name_of(node)} (data)"
    return name_of(node) if node["kind"] in SITES else prefix + str(node["id"])


@dataclass(frozen=True)
class _Walk:
    """The walk through a graph and the graphs inside it.

    Attributes:
        shows: whether a node is shown.
        initial: whether params read what makes their initial values.
        drawn: what has been found.
    """

    shows: Callable[[Json], bool]
    initial: bool
    drawn: nx.DiGraph = field(default_factory=nx.DiGraph)

    def graph(
        self, data: Json, entering: Mapping[str, Keys], around: tuple[Frame, ...], prefix: str
    ) -> dict[str, Keys]:
        """Adds a graph's nodes; returns for each the keys that its value comes from."""
        sources = dict(entering)
        results: dict[str, list[Keys]] = {}
        for node in data["nodes"]:
            key = node["id"]
            if key in entering:
                continue
            above = _union(sources[a] for a in self._reads(node, sources))
            if "bodies" in node:
                inside = self._scan if node["kind"] == SCAN else self._branches
                results[key] = inside(node, [sources[a] for a in node["args"]], around, prefix)
                sources[key] = _union(results[key])
            elif "item" in node and node["args"][0] in results:
                sources[key] = results[node["args"][0]][node["item"]]
            elif self.shows(node):
                sources[key] = frozenset({self._shown(node, above, around, prefix)})
            else:
                sources[key] = above
        return sources

    def _shown(self, node: Json, above: Keys, around: tuple[Frame, ...], prefix: str) -> str:
        key = key_of(node, prefix)
        if key not in self.drawn:
            plates = node.get("site", {}).get("plates", ())
            self.drawn.add_node(key, shown=Shown(node, (*around, *(Frame(PlateFrame(**p)) for p in plates))))
        shown = self.drawn.nodes[key]["shown"]
        if not any(node is known for known in (shown.node, *shown.also)):  # a scan's body is walked several times
            shown.also.append(node)
        self.drawn.add_edges_from((parent, key) for parent in sorted(above))
        return key

    def _reads(self, node: Json, sources: Mapping[str, Keys]) -> Sequence[str]:
        """The arguments that a value depends on; that data are an observed value goes without saying."""
        if node["kind"] == "param" and not self.initial:
            return ()
        args: Sequence[str] = node["args"]
        obs = node["site"].get("obs") if "site" in node else None
        if obs is None or any(self.drawn.nodes[key]["shown"].node["kind"] != "data" for key in sources[obs]):
            return args
        return [a for a in args if a != obs]

    def _scan(self, node: Json, entering: Sequence[Keys], around: tuple[Frame, ...], prefix: str) -> list[Keys]:
        """A scan's body as a box; what the carry brings back from the step before makes temporal edges."""
        (body,), scan = node["bodies"], node["scan"]
        inner = f"{prefix}{node['id']}/"
        if self._shows_any(body):
            around = (*around, Frame(PlateFrame(SCAN, scan["length"], -1), inner))
        inputs = dict(zip(_inputs(body), entering, strict=True))
        seen = self.graph(body, inputs, around, inner)
        within = set(self.drawn.edges)
        carries = list(inputs)[scan["consts"] : scan["consts"] + scan["carry"]]
        results = _results(body)
        for _ in carries:  # a value may pass through every carry before a site reads it
            carried = {key: seen[result] for key, result in zip(carries, results, strict=False)}
            seen = self.graph(body, inputs | {c: inputs[c] | carried[c] for c in carries}, around, inner)
            inputs |= {c: inputs[c] | carried[c] for c in carries}
        for edge in set(self.drawn.edges) - within:
            self.drawn.edges[edge]["temporal"] = True
        return [seen[result] for result in results]

    def _shows_any(self, body: Json) -> bool:
        return any(
            self.shows(n) or any(map(self._shows_any, n.get("bodies", ()))) for n in body["nodes"] if n["op"] != "input"
        )

    def _branches(self, node: Json, entering: Sequence[Keys], around: tuple[Frame, ...], prefix: str) -> list[Keys]:
        """The sites of a cond once, with the edges of every branch; which branch it is they depend on too."""
        chosen, *operands = entering
        before = set(self.drawn)
        results = []
        for i, branch in enumerate(node["bodies"]):
            inputs = dict(zip(_inputs(branch), operands, strict=True))
            seen = self.graph(branch, inputs, around, f"{prefix}{node['id']}/{i}/")
            results.append([seen[result] for result in _results(branch)])
        inside = [key for key, s in self.drawn.nodes(data="shown") if key not in before and s.node["kind"] in SITES]
        self.drawn.add_edges_from((parent, key) for key in inside for parent in sorted(chosen))
        return [chosen | _union(of_branches) for of_branches in zip(*results, strict=True)]


def _inputs(body: Json) -> list[str]:
    return [n["id"] for n in body["nodes"] if n["op"] == "input"]


def _results(body: Json) -> list[str]:
    return [out["node"] for out in body["outputs"] if out["role"] == "result"]


def _union(keys: Iterable[Keys]) -> Keys:
    return frozenset().union(*keys)


__all__ = ["DrawnSite", "Frame", "Shown", "flow", "key_of", "name_of", "site_graph"]
