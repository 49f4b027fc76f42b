"""The stages of a compile as the page shows them: graphs as pictures and lines, compiled code as lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from plait.compiler.scopes import site_of
from plait.ir.drawing.picture import DETAILS, Drawn, picture
from plait.ir.drawing.site_graph import key_of
from plait.ir.types import Loc, type_text
from plait.runtime.stage_graph import StageGraph

Json = Mapping[str, Any]
MOST_EQUATIONS = 5000  # of a picture: no layout is readable that has more


@dataclass(frozen=True)
class Source:
    """The user's file.

    Attributes:
        path: as Python recorded it.
        text: of the whole file.
    """

    path: str
    text: str

    def line(self, loc: Loc | Json | None) -> int | None:
        """The number of a line, where it is of this file."""
        if loc is None:
            return None
        file, line = (loc.file, loc.line) if isinstance(loc, Loc) else (loc["file"], loc["line"])
        return line if file == self.path else None


@dataclass(frozen=True)
class Reader:
    """What the parts of a graph have to do with the model.

    Attributes:
        source: the user's file.
        families: by each site of a loop the name that stands for all of them.
    """

    source: Source
    families: Mapping[str, str]

    def site(self, name: str | None) -> str | None:
        """The site as the page calls it."""
        return None if name is None else self.families.get(name, name)


# -- graphs -----------------------------------------------------------------------------------------------


def graph_stages(
    stages: Sequence[StageGraph], read: Reader, operations: Mapping[str, int], supports: Mapping[str, str | None]
) -> Iterator[dict[str, Any]]:
    """The graphs, each with what is new in it.

    Args:
        stages: in order.
        read: of the model's lines and sites.
        operations: after each pass.
        supports: of latents and params in words.
    """
    before: list[_Line] = []
    for stage in stages:
        lines = list(_lines(stage.graph, "", ""))
        changed = [line.mark for line in lines] != [line.mark for line in before]
        old = Counter(line.mark for line in before)
        fresh = [_taken(old, line.mark) for line in lines] if before else [False] * len(lines)
        new = {line.key for line, is_new in zip(lines, fresh, strict=True) if is_new}
        yield {
            "kind": "graph",
            "name": stage.name,
            "about": stage.about,
            "nodes": len(stage.graph["nodes"]),
            "operations": operations.get(stage.name),
            "changed": changed,
            "pictures": _pictures(stage.graph, read, new, supports) if changed else None,
            "lines": [x.json(read, is_new) for x, is_new in zip(lines, fresh, strict=True)] if changed else None,
            "removed": list(_removed(before, old)) if changed else [],
        }
        before = lines


@dataclass(frozen=True)
class _Line:
    """A line of the text form.

    Attributes:
        text: the line.
        mark: what it says whatever its arguments are called, so that it is found again in the next stage.
        key: of the node in the picture of all equations; None of an output.
        site: whose it is.
        loc: the user's line.
    """

    text: str
    mark: str
    key: str | None
    site: str | None
    loc: Json | None

    def json(self, read: Reader, new: bool) -> dict[str, Any]:
        site, line = read.site(self.site), read.source.line(self.loc)
        return {"text": self.text, "node": self.key, "site": site, "line": line, "new": new}


def _lines(graph: Json, indent: str, prefix: str) -> Iterator[_Line]:
    shown = {node["id"]: str(node["value"]) if "value" in node else node["id"] for node in graph["nodes"]}
    for node in graph["nodes"]:
        if "value" in node:  # a number stands in its readers
            continue
        type_ = f"{type_text(node['type'])} {node['type'].get('support') or ''}".rstrip()
        key = key_of(node, prefix)
        site = key if node["kind"] == "data" else node.get("site", {}).get("name") or node.get("owner")
        text = f"{indent}{node['id']}: {type_} = {node['text']}"
        mark = f"{node['name'] or ''}: {type_} = {_NUMBERED.sub('·', node['text'])}"
        yield _Line(text, mark, key, site, node["loc"])
        for i, body in enumerate(node.get("bodies", ())):
            inner = f"{prefix}{node['id']}/" + (f"{i}/" if len(node["bodies"]) > 1 else "")
            yield from _lines(body, indent + "    ", inner)
    for out in graph["outputs"]:
        text = f"{out['role']} {out['name']}".rstrip()
        yield _Line(f"{indent}{text} = {shown[out['node']]}", text, None, None, None)


_NUMBERED = re.compile(r"%\d+")


def _taken(marks: Counter[str], mark: str) -> bool:
    """Whether a line is new: it takes one of its like from the stage before, where there is one left."""
    if marks[mark] > 0:
        marks[mark] -= 1
        return False
    return True


def _removed(before: Sequence[_Line], left: Counter[str]) -> Iterator[str]:
    left = Counter(left)
    for line in before:
        if not _taken(left, line.mark):
            yield line.text


def _pictures(
    graph: Json, read: Reader, new: set[str | None], supports: Mapping[str, str | None]
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for detail in DETAILS:
        if detail == "equations" and len(graph["nodes"]) > MOST_EQUATIONS:
            found[detail] = {"refused": f"{len(graph['nodes']):,} nodes are too many for a picture; the text has them"}
            continue
        shown = picture(graph, detail, supports)
        found[detail] = {
            "nodes": [_node(node, read, node.id in new) for node in shown.nodes],
            "edges": [{"from": e.tail, "to": e.head, "temporal": e.temporal} for e in shown.edges],
            "boxes": [{"id": b.id, "label": b.label, "in": b.within, "kind": b.kind} for b in shown.boxes],
        }
    return found


def _node(node: Drawn, read: Reader, new: bool) -> dict[str, Any]:
    return {
        "id": node.id,
        "kind": node.kind,
        "name": node.name,
        "text": node.text,
        "type": node.type,
        "support": node.support or None,
        "site": node.id if node.kind == "data" else read.site(node.site),
        "line": read.source.line(node.loc),
        "box": node.box,
        "new": new,
        "count": node.count if node.count > 1 else None,
    }


# -- compiled code ----------------------------------------------------------------------------------------


def code_stages(lowered: jax.stages.Lowered, function: str, lines: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """What JAX lowers a function to, and what XLA makes of that.

    Args:
        lowered: the function.
        function: its name.
        lines: by site its line in the source.
    """
    stablehlo = lowered.as_text(debug_info=True)
    yield _text_stage(
        "StableHLO", f"What JAX lowers {function} to: the input of XLA.", list(_of_stablehlo(stablehlo)), lines
    )
    optimized = lowered.compile().as_text()
    if optimized is not None:
        about = f"What XLA compiles {function} to on this machine: a fusion is one loop over memory."
        yield _text_stage("optimized HLO", about, list(_of_hlo(optimized)), lines)


def _text_stage(
    name: str, about: str, text: Sequence[tuple[str, str | None]], lines: Mapping[str, int]
) -> dict[str, Any]:
    shown = [
        {"text": line, "node": None, "site": site, "line": None if site is None else lines.get(site), "new": False}
        for line, site in text
    ]
    return {"kind": "text", "name": name, "about": about, "lines": shown}


_LOCATION = re.compile(r"^(#loc\d*) = (.*)$", re.MULTILINE)
_AT = re.compile(r"\s*loc\((#loc\d*|unknown|\"(?:[^\"\\]|\\.)*\")\)")
_OP_NAME = re.compile(r',?\s*metadata=\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\}')


def _of_stablehlo(text: str) -> Iterator[tuple[str, str | None]]:
    """The lines without their locations, each with its site."""
    sites = {name: site_of(said) for name, said in _LOCATION.findall(text)}
    for line in text.splitlines():
        if not line.startswith("#loc"):
            names = _AT.findall(line)
            yield _AT.sub("", line), sites.get(names[-1]) if names else None


_TABLES = re.compile(r"^(?:FileNames|FunctionNames|FileLocations|StackFrames)\n(?:.+\n)*\n?", re.MULTILINE)


def _of_hlo(text: str) -> Iterator[tuple[str, str | None]]:
    """The lines without their metadata and the tables of it, each with its site."""
    for line in _TABLES.sub("", text).splitlines():
        said = _OP_NAME.search(line)
        yield _OP_NAME.sub("", line), site_of(said[0]) if said else None


__all__ = ["Reader", "Source", "code_stages", "graph_stages"]
