"""The text form: one line a node, the same grammar at every stage.

It reads nodes through `Op.text`, `Op.label`, `Op.literal` and `Op.bodies` only, so a new op prints itself.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

Nodes = Any  # a Graph: this file stands below ir.graph, which prints itself with it


def to_text(graph: Nodes, *, lines: bool = False) -> str:
    """The graph as text.

    Args:
        graph: what to print.
        lines: whether each node ends with the user's line.

    Returns:
        ``name: type = op arguments`` for each node (scalar constants stand in their users), then the outputs.
    """
    return "\n".join(_graph_lines(graph, lines, "")) + "\n"


def _graph_lines(graph: Nodes, lines: bool, indent: str) -> list[str]:
    names = node_names(graph)
    out: list[str] = []
    for node in graph.nodes:
        if node.op.literal is not None:
            continue
        loc = f"  # {node.loc}" if lines and node.loc else ""
        out.append(f"{indent}{names[node]}: {node.type} = {node.op.text([names[a] for a in node.args])}{loc}")
        for i, body in enumerate(node.op.bodies):
            out += [f"{indent}  branch {i}"] * (len(node.op.bodies) > 1)
            out += _graph_lines(body, lines, indent + "    ")
    for o in graph.outputs:
        name = f" {o.name}" if o.name else ""
        out.append(f"{indent}{o.role.value}{name} = {names[o.node]}")
    return out


def node_names(graph: Nodes) -> dict[Any, str]:
    """A unique name for each node: a site's own, ``%3`` for code, the number itself for a scalar constant."""
    owner: dict[str, Any] = {
        node.op.label: node for node in graph.nodes if node.op.label
    }  # a site after the data of its name
    free = (name for i in itertools.count() if (name := f"%{i}") not in owner)
    names: dict[Any, str] = {}
    for node in graph.nodes:
        if node.op.literal is not None:
            names[node] = node.op.literal
        elif node.op.label and owner[node.op.label] is node:
            names[node] = node.op.label
        else:
            names[node] = next(free)
    return names


def without_addresses(text: str) -> str:
    """A repr without the addresses of functions and objects, which change from process to process."""
    return _ADDRESS.sub("", text)


_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
