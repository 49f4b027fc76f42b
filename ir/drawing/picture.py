"""What a picture of a graph shows, at one of three levels of detail; every format is made of this.

sites       the values that the user named, as people draw a model; of a density its values and terms
code        the same with the deterministic code between them, an expression a box
equations   every node
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import networkx as nx

from plait.ir.drawing.boxes import Box, boxes
from plait.ir.drawing.characters import cut
from plait.ir.drawing.site_graph import SITES, Json, Shown, flow, name_of
from plait.ir.types import Loc, type_text

DETAILS = ("sites", "code", "equations")

# Nodes of the densities that have a name of their own, by the role of the output; the sum of all comes last.
_TERMS = {
    "term": ("log_prob", "log p({})"),
    "fused": ("fused", "log p({})"),
    "jacobian": ("log_det_jacobian", "log|J| {}"),
}
_SUMS = ("log density", "log joint")


@dataclass(frozen=True)
class Drawn:
    """A value in a picture.

    Attributes:
        id: unique in the picture.
        kind: latent, observed, factor, deterministic, param, module, data, code, value, log_prob, …: as in the JSON
            form of graphs.
        name: its first line.
        text: its second: ``~ Normal(mu, tau)``; empty where there is none.
        type: dtype and shape with the plates: ``f64[schools:8]``.
        support: of a site's value, in words; else empty.
        site: whose it is; None of what serves several.
        loc: the user's line.
        box: id of the innermost box around it.
        count: how many sites of a loop it stands for; 1 for all else.
    """

    id: str
    kind: str
    name: str
    text: str
    type: str
    support: str
    site: str | None
    loc: Loc | None
    box: str | None
    count: int = 1


@dataclass(frozen=True)
class Edge:
    """That one value reads another.

    Attributes:
        tail: id of what is read.
        head: id of what reads it.
        temporal: whether it does so in the next step of a scan.
    """

    tail: str
    head: str
    temporal: bool = False


@dataclass(frozen=True)
class Picture:
    """A graph as it is drawn.

    Attributes:
        nodes: in program order.
        edges: between them.
        boxes: plates and scans, outer ones first.
    """

    nodes: tuple[Drawn, ...]
    edges: tuple[Edge, ...]
    boxes: tuple[Box, ...]


def picture(data: Json, detail: str = "sites", supports: Mapping[str, str | None] | None = None) -> Picture:
    """What is drawn of a graph.

    Args:
        data: the JSON form of the graph.
        detail: one of `DETAILS`.
        supports: of latents and params in words, by name, as far as they are known.
    """
    terms = _terms(data)
    drawn = flow(data, _SHOWS[detail](data, terms), initial=detail == "equations")
    if detail != "equations" and terms:
        drawn = _read_by_density(drawn, data)
    around = {key: shown.frames for key, shown in drawn.nodes(data="shown")}
    found, place = boxes(around)
    read = _Reader(detail, terms, _arrays(data), supports or {})
    nodes = [read.drawn(key, shown, place.get(key)) for key, shown in drawn.nodes(data="shown")]
    edges = [Edge(tail, head, bool(temporal)) for tail, head, temporal in drawn.edges(data="temporal")]
    return Picture(tuple(nodes), tuple(edges), tuple(found))


# -- what is shown ----------------------------------------------------------------------------------------

Terms = Mapping[str, tuple[str, str]]  # by id the kind and the name of what the densities add


def _terms(data: Json) -> dict[str, tuple[str, str]]:
    named = {}
    kinds = {node["id"]: node["kind"] for node in data["nodes"]}
    fused = {out["name"] for out in data["outputs"] if out["role"] == "fused"}
    for out in data["outputs"]:
        if out["role"] in _TERMS and not (out["role"] == "term" and out["name"] in fused):
            kind, name = _TERMS[out["role"]]
            if kinds[out["node"]] == "flat":  # log|J| of exp is what it gets
                kind, name = "flat", "{} unconstrained"
            named[out["node"]] = kind, name.format(out["name"])
        elif out["role"] in _SUMS:
            named[out["node"]] = "log_density", out["role"]
    return named


def _is_named(node: Json, terms: Terms) -> bool:
    return node["kind"] in SITES or node["kind"] in ("data", "value") or node["id"] in terms


def _sites(_: Json, terms: Terms) -> Callable[[Json], bool]:
    return lambda node: _is_named(node, terms)


def _equations(_: Json, __: Terms) -> Callable[[Json], bool]:
    return lambda node: "value" not in node


# They change dtype, shape or order only, or guard what is shown anyway.
_PLUMBING = frozenset({
    "broadcast_in_dim", "reshape", "squeeze", "convert_element_type", "copy", "transpose", "slice", "stop_gradient",
    "add_n", "item", "split", "flat", "guard", "hoist", "sum",
})  # fmt: skip
_HIDDEN = frozenset({"const", "plate", "check", "in_support", "key", "body"})


def _code(data: Json, terms: Terms) -> Callable[[Json], bool]:
    """Named values, and code that several of them read or that stands right above one."""
    shown: set[int] = set()
    _mark(data, terms, shown)
    return lambda node: _is_named(node, terms) or id(node) in shown


def _mark(data: Json, terms: Terms, shown: set[int]) -> None:
    """Adds the code of a graph, and of those inside it, that is shown."""
    readers, varies = _readers(data, terms), _varying(data, terms)
    for node in data["nodes"]:
        for body in node.get("bodies", ()):
            _mark(body, terms, shown)
        is_code = node["op"] not in _PLUMBING and node["kind"] not in _HIDDEN and node["args"]
        if not is_code or node["id"] not in varies or node.get("words") == "const":  # an index of a subsample
            continue
        by = readers.get(node["id"], {})
        by_names = [r for r in by.values() if r is None or r["kind"] != "code" or _is_named(r, terms)]
        says_it = len(by) == 1 and all(r is not None and r["kind"] in ("factor", "deterministic") for r in by_names)
        if len(by) > 1 or (by_names and not says_it):
            shown.add(id(node))


def _readers(data: Json, terms: Terms) -> dict[str, dict[str, Json | None]]:
    """For each node who reads it, through plumbing; None is who reads from outside.

    What makes initial values of params has no reader: it is no part of the model.
    """
    readers: dict[str, dict[str, Json | None]] = {}
    for out in data["outputs"]:
        readers.setdefault(out["node"], {})[""] = None
    for node in reversed(data["nodes"]):
        if node["kind"] == "param":
            continue
        passes_on = node["op"] in _PLUMBING and not _is_named(node, terms)
        for arg in node["args"]:
            readers.setdefault(arg, {}).update(readers.get(node["id"], {}) if passes_on else {node["id"]: node})
    return readers


def _varying(data: Json, terms: Terms) -> set[str]:
    """What depends on a value that has a name, or comes from outside."""
    varies: set[str] = set()
    for node in data["nodes"]:
        comes_in = _is_named(node, terms) or node["kind"] in ("body", "flat")
        if comes_in or varies.intersection(node["args"]):
            varies.add(node["id"])
    return varies


_SHOWS: Mapping[str, Callable[[Json, Terms], Callable[[Json], bool]]] = {
    "sites": _sites,
    "code": _code,
    "equations": _equations,
}


def _read_by_density(drawn: nx.DiGraph, data: Json) -> nx.DiGraph:
    """What the log density reads, or the log joint where there is none: the other one adds up the same terms."""
    roles = {out["role"]: out["node"] for out in data["outputs"]}
    top = next((roles[role] for role in _SUMS if role in roles and roles[role] in drawn), None)
    return drawn if top is None else drawn.subgraph({top, *nx.ancestors(drawn, top)}).copy()


# -- how it reads -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reader:
    """Reads a node of the JSON form.

    Attributes:
        detail: one of `DETAILS`.
        terms: what the densities add.
        arrays: of each param, how many.
        supports: by site.
    """

    detail: str
    terms: Terms
    arrays: Mapping[str, int]
    supports: Mapping[str, str | None]

    def drawn(self, key: str, shown: Shown, box: str | None) -> Drawn:
        node = shown.node
        kind, name, text = self._says(key, node)
        if kind in SITES:  # a site of a cond may be another one in each branch
            text = " or ".join(dict.fromkeys([text, *(_text(other) for other in shown.also)]))
        site = node.get("site", {})
        whose, members = site.get("name") or node.get("owner"), site.get("members") or {"names": "1"}
        support = node["type"].get("support") or (self.supports.get(name) if site else None) or ""
        loc = None if node["loc"] is None else Loc(**node["loc"])
        return Drawn(key, kind, name, cut(text), _type(node, kind), support, whose, loc, box, len(members["names"]))

    def _says(self, key: str, node: Json) -> tuple[str, str, str]:
        """Kind, name and text; nodes without a name have their id, which inside of bodies says where they are."""
        kind, name = node["kind"], name_of(node)
        if node["id"] in self.terms:
            return *self.terms[node["id"]], node.get("distribution") or node.get("formula") or ""
        if kind == "code" and self.detail == "code":
            return kind, cut(node.get("words", key)), ""
        if kind == "kernel" and self.detail == "code":
            return kind, f"{node['formula']} of {node['of']}", ""
        if kind == "param" and node["site"]["path"]:
            return "module", name, f"{self.arrays[name]} arrays"
        return kind, name if node["name"] else key, _text(node)


def _type(node: Json, kind: str) -> str:
    if kind == "module":
        return ""
    t = node["type"]
    if kind == "factor":  # its value is NumPyro's Unit, which ends with an empty event
        t = {**t, "shape": t["shape"][:-1], "axes": t["axes"][:-1]}
    return type_text(t)


def _text(node: Json) -> str:
    site = node.get("site", {})
    match node["kind"]:
        case "latent" | "observed":
            return f"~ {site['distribution']}"
        case "factor":
            return f"+= {site['expression']}"
        case "deterministic":
            return f"= {site['expression']}"
        case "param":
            return "" if site["constraint"] == "real" else f"in {site['constraint']}"
        case "value":
            return "" if node["support"] == "real" else f"in {node['support']}"
        case "data":
            return ""
    return str(node["text"])


def _arrays(data: Json) -> dict[str, int]:
    """How many arrays each param has."""
    counts: dict[str, int] = {}
    for node in data["nodes"]:
        if node["kind"] == "param":
            counts[name_of(node)] = counts.get(name_of(node), 0) + 1
        for body in node.get("bodies", ()):
            counts |= _arrays(body)
    return counts


__all__ = ["DETAILS", "Drawn", "Edge", "Picture", "picture"]
