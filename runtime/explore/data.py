"""Everything that the page shows of a model, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from plait.compiler.explanation import Explanation, Term
from plait.ir.drawing.dot import CODE, STYLES
from plait.ir.drawing.picture import picture
from plait.runtime.compiled import CompiledModel
from plait.runtime.explore.curvature import hessian
from plait.runtime.explore.points import points
from plait.runtime.explore.stages import Reader, Source, code_stages, graph_stages
from plait.runtime.progress import OnProgress, Progress

SCHEMA = "plait.explorer/1"
MOST_COMPILED = 1500  # nodes


def page_data(
    compiled: CompiledModel, title: str, source: Source, at: Mapping[str, Any] | None, seed: int, report: OnProgress
) -> dict[str, Any]:
    """The content of the page.

    Args:
        compiled: the model; its params have values.
        title: of the page.
        source: of the model; without text where it is not there.
        at: constrained values by site to look at; those that it leaves out are random.
        seed: of random points.
        report: is told what is being done.
    """
    explained, about = compiled.explain(), compiled._about
    operations = {name: count for name, _, count in explained.passes}
    lines = {name: line for name, loc in about.lines.items() if (line := source.line(loc)) is not None}
    function = "log_density_and_grad" if compiled.has_log_density else "log_joint"
    report(Progress("graphs", 0, 4))
    family_of = {member: family for family, members in compiled.families.items() for member in members}
    read = Reader(source, family_of)
    graphs = list(graph_stages(compiled._program.stages, read, operations, about.allowed))
    with _without_xla(graphs[-1]["nodes"]):
        report(Progress("points", 1, 4))  # before what may take long: the user's values may be wrong
        at_points = points(compiled, source, at, seed)
        report(Progress("Hessian", 2, 4))
        pattern, no_pattern, coupling = hessian(compiled, seed)
    report(Progress("compile", 3, 4))
    code = list(code_stages(compiled.lower(function), function, lines))
    report(Progress("page", 4, 4))
    return {
        "schema": SCHEMA,
        "title": title,
        "plait": version("plait"),
        "jax": jax.__version__,
        "precision": str(compiled.dtype),
        "source": {"file": Path(source.path).name, "first_line": 1, "text": source.text} if source.text else None,
        "no_source": "A saved model has no source in it; --source MODEL.py shows the file that it was made from.",
        "styles": {**STYLES, "code": CODE},
        "stages": [*graphs, *code],
        **_sites(compiled, source),
        "terms": [_term(t, source) for t in explained.terms],
        "totals": {"flops": _totals(explained)},
        "notes": list(explained.notes),
        "points": at_points,
        "hessian": pattern,
        "no_hessian": no_pattern,
        "coupling": coupling,
    }


def _without_xla(nodes: int) -> AbstractContextManager[None]:
    """Evaluates a large graph op by op: XLA takes minutes for functions that are called once or twice."""
    return jax.disable_jit() if nodes > MOST_COMPILED else nullcontext()


def _sites(compiled: CompiledModel, source: Source) -> dict[str, Any]:
    """The sites with what they depend on, and the plates."""
    model, about = compiled._program.model_json, compiled._about
    graph, drawn = compiled.site_graph, {node.id: node for node in picture(model, "sites", about.allowed).nodes}
    sites = []
    for key, site in graph.digraph.nodes(data="site"):
        node = drawn[key]
        temporal = [a for a, _, is_temporal in graph.digraph.in_edges(key, data="temporal") if is_temporal]
        sites.append(
            {
                "name": key,
                "kind": node.kind,
                "text": node.text,
                "shape": node.type,
                "support": node.support or None,
                "line": source.line(node.loc),
                "plates": [plate.name for plate in site.plates],
                "members": list((site.node.get("site", {}).get("members") or {}).get("names", ())),
                "parents": list(graph.parents(key)),
                "children": list(graph.children(key)),
                "temporal": temporal,
                "blanket": list(graph.markov_blanket(key)),
                "weighted": bool(graph.digraph.nodes[key]["weighted"]),
            }
        )
    plates = [
        {"name": plate.name, "size": plate.size, "full_size": plate.full_size, "sites": list(plate.sites)}
        for plate in graph.plates
    ]
    return {"sites": sites, "plates": plates}


def _term(term: Term, source: Source) -> dict[str, Any]:
    is_jacobian = term.name.startswith(_JACOBIAN)
    return {
        "name": term.name,
        "site": term.name.removeprefix(_JACOBIAN),
        "kind": "jacobian" if is_jacobian else "term",
        "text": term.text,
        "evaluated": term.evaluated,
        "rule": term.rule or None,
        "refusals": [{"rule": rule, "reason": reason} for rule, reason in term.refusals]
        or ([{"rule": "", "reason": term.reason}] if term.reason else []),
        "edit": term.edit,
        "rows": list(term.rows),
        "flops": [term.written_flops, term.flops],
        "bytes": [term.written_bytes, term.bytes],
        "stage": term.stage,
        "line": source.line(term.loc),
    }


_JACOBIAN = "log|J| "


def _totals(explained: Explanation) -> list[int]:
    return [sum(t.written_flops for t in explained.terms), sum(t.flops for t in explained.terms)]


__all__ = ["SCHEMA", "page_data"]
