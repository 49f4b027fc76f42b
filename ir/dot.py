"""The site graph and its drawing in DOT: plates as nested boxes, observed sites shaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import networkx as nx

from plait.ir.graph import Graph, Node, Role
from plait.ir.ops import Cond, Deterministic, Factor, Input, Item, Observe, Param, Scan, Site
from plait.ir.types import ArrayType, PlateFrame


@dataclass(frozen=True)
class DrawnSite:
    """One node of the site graph.

    Attributes:
        name: of the site, or of a data argument.
        kind: sample, observe, factor, deterministic, param or data.
        text: ``~ Normal`` for a random site.
        type: of the value.
        plates: that it is in, outermost first; a scan counts as one, of its length.
    """

    name: str
    kind: str
    text: str
    type: ArrayType | None
    plates: tuple[PlateFrame, ...]


def site_graph(graph: Graph) -> nx.DiGraph:
    """Sites only: an edge from a to b where b's distribution or value reads a through deterministic code.

    Args:
        graph: a model graph.

    Returns:
        A `networkx.DiGraph` whose nodes are names; each carries its `DrawnSite` as ``site``. A site in a scan
        whose next step reads it has an edge to whatever reads it there, marked ``temporal``.
    """
    drawn = nx.DiGraph()
    _collect(graph, drawn, {}, ())
    used = set(nx.ancestors(_with_sink(drawn), _SINK))
    drawn.remove_nodes_from([n for n, d in drawn.nodes(data="site") if d.kind == "data" and n not in used])
    return drawn


_SINK = object()


def _with_sink(drawn: nx.DiGraph) -> nx.DiGraph:
    whole = nx.DiGraph(drawn)
    whole.add_edges_from((n, _SINK) for n, site in drawn.nodes(data="site") if site.kind != "data")
    whole.add_node(_SINK)
    return whole


Sources = dict[Node, frozenset[str]]


def _collect(graph: Graph, drawn: nx.DiGraph, entering: Sources, around: tuple[PlateFrame, ...]) -> Sources:
    """Adds a graph's sites; returns for each node the names that its value comes from."""
    sources: Sources = dict(entering)
    for node in graph:
        above = _union(sources[a] for a in _parents(node, sources, drawn))
        if isinstance(node.op, Scan):
            sources.update(_scan(node, drawn, sources, around))
        elif isinstance(node.op, Cond):
            sources[node] = _branches(node, node.op, drawn, sources, around)
        elif isinstance(node.op, Item) and node in sources:
            continue
        elif (site := _drawn(node, around)) is not None:
            # an argument is often called like the site that observes it
            key = f"{site.name} (data)" if site.kind == "data" else site.name
            drawn.add_node(key, site=site)
            drawn.add_edges_from((parent, key) for parent in sorted(above))
            sources[node] = frozenset({key})
        else:
            sources.setdefault(node, above)
    return sources


def _scan(node: Node, drawn: nx.DiGraph, sources: Sources, around: tuple[PlateFrame, ...]) -> Sources:
    """A scan's body as a box; what the carry brings back from the step before makes temporal edges."""
    op = node.op
    assert isinstance(op, Scan)
    inputs = op.body.of(Input)
    entering = {n: sources[a] for n, a in zip(inputs, node.args, strict=True)}
    frame = PlateFrame("scan", op.length, -1)
    inner = (*around, frame) if op.is_root else around
    results = list(op.body.named(Role.RESULT).values())
    seen = _collect(op.body, drawn, entering, inner)
    within = set(drawn.edges)
    carries = inputs[op.n_consts : op.n_consts + op.n_carry]
    for _ in carries:  # a value may pass through every carry before a site reads it
        carried = {n: seen[r] for n, r in zip(carries, results, strict=False)}
        seen = _collect(op.body, drawn, {n: entering[n] | carried.get(n, frozenset()) for n in inputs}, inner)
        entering |= {n: entering[n] | carried[n] for n in carries}
    for edge in set(drawn.edges) - within:
        drawn.edges[edge]["temporal"] = True
    return {node: _union(seen[r] for r in results)}


def _branches(
    node: Node, op: Cond, drawn: nx.DiGraph, sources: Sources, around: tuple[PlateFrame, ...]
) -> frozenset[str]:
    """The sites of a cond once, with the edges of every branch; which branch it is they depend on too."""
    results = [sources[node.args[0]]]
    before = set(drawn)
    for branch in op.branches:
        entering = {n: sources[a] for n, a in zip(branch.of(Input), node.args[1:], strict=True)}
        seen = _collect(branch, drawn, entering, around)
        results += [seen[n] for n in branch.named(Role.RESULT).values()]
    inside = [n for n in drawn if n not in before]
    drawn.add_edges_from((parent, n) for n in inside for parent in sorted(sources[node.args[0]]))
    return _union(results)


def _parents(node: Node, sources: Sources, drawn: nx.DiGraph) -> tuple[Node, ...]:
    """The arguments that a site depends on; that data are its observed value goes without saying."""
    obs = node.op.extra(Site.OBS, node.args) if isinstance(node.op, Observe) else None
    if obs is None or any(drawn.nodes[name]["site"].kind != "data" for name in sources[obs]):
        return node.args
    return tuple(a for a in node.args if a is not obs)


def _union(names: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*names)


def _drawn(node: Node, around: tuple[PlateFrame, ...]) -> DrawnSite | None:
    op = node.op
    t = node.type if isinstance(node.type, ArrayType) else None
    match op:
        case Site(name=name, plates=plates):
            kind = "factor" if isinstance(op, Factor) else "observe" if isinstance(op, Observe) else "sample"
            text = "" if kind == "factor" else f"~ {op.family}"
            return DrawnSite(name, kind, text, t, (*around, *sorted(plates, key=lambda p: p.dim)))
        case Deterministic(name, plates):
            return DrawnSite(name, "deterministic", "", t, (*around, *sorted(plates, key=lambda p: p.dim)))
        case Param(name=name, plates=plates):
            return DrawnSite(name, "param", "", t, (*around, *sorted(plates, key=lambda p: p.dim)))
        case Input(name, Input.DATA):
            return DrawnSite(name, "data", "", t, around)
    return None


def to_dot(graph: Graph) -> str:
    """DOT source of the site graph.

    Observed sites are shaded, params have no border, deterministics a dashed one, factors are small boxes;
    plates are boxes with name and size, nested where all of one plate's sites are in another's.
    """
    drawn = site_graph(graph)
    sites: dict[str, DrawnSite] = dict(drawn.nodes(data="site"))
    lines = ["digraph model {", "  compound=true; node [fontname=Helvetica]; graph [fontname=Helvetica];"]
    lines += _boxes(_nesting(sites), "  ", (), "cluster")
    for a, b, temporal in drawn.edges(data="temporal"):
        style = " [style=dashed]" if temporal else ""
        lines.append(f"  {_quoted(a)} -> {_quoted(b)}{style};")
    return "\n".join([*lines, "}"]) + "\n"


_Placed = tuple[str, DrawnSite, tuple[PlateFrame, ...]]


def _nesting(sites: dict[str, DrawnSite]) -> list[_Placed]:
    """For each site its plates in the order of the boxes: the plate with more sites is the outer one."""
    count: dict[PlateFrame, int] = {}
    for site in sites.values():
        for p in site.plates:
            count[_key(p)] = count.get(_key(p), 0) + 1
    order = sorted(count, key=lambda p: (-count[p], p.name))
    return [(k, s, tuple(p for p in order if p in {_key(q) for q in s.plates})) for k, s in sites.items()]


def _key(p: PlateFrame) -> PlateFrame:
    return PlateFrame(p.name, p.size, 0)


def _boxes(placed: list[_Placed], indent: str, path: tuple[PlateFrame, ...], prefix: str) -> Iterator[str]:
    depth = len(path)
    for key, site, plates in placed:
        if plates == path:
            yield indent + _dot_node(key, site)
    inner = dict.fromkeys(plates[depth] for _, _, plates in placed if len(plates) > depth and plates[:depth] == path)
    for i, plate in enumerate(inner):
        name = f"{prefix}_{i}"
        yield f"{indent}subgraph {_quoted(name)} {{"
        yield f"{indent}  label={_quoted(f'{plate.name}  {plate.size}')}; labeljust=r; labelloc=b; style=rounded;"
        yield from _boxes(placed, indent + "  ", (*path, plate), name)
        yield f"{indent}}}"


_STYLE = {
    "sample": "shape=ellipse",
    "observe": 'shape=ellipse, style=filled, fillcolor="#d0d0d0"',
    "deterministic": "shape=ellipse, style=dashed",
    "param": "shape=plaintext",
    "factor": 'shape=box, style=filled, fillcolor="#505050", fontcolor=white, height=0.3',
    "data": "shape=box, style=rounded, color=gray, fontcolor=gray30",
}


def _dot_node(key: str, site: DrawnSite) -> str:
    label = f"{site.name} {site.text}".strip()
    return f"{_quoted(key)} [label={_quoted(label)}, {_STYLE[site.kind]}];"


def _quoted(text: object) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


__all__ = ["DrawnSite", "site_graph", "to_dot"]
