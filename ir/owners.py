"""Which site each node of a graph serves: what its term, its value or its distribution is computed from."""

from __future__ import annotations

from typing import Any

# This file stands below ir.graph, whose JSON says whose each node is.
Nodes = Any  # a Graph
AnyNode = Any

_NAMED = frozenset({"term", "fused", "jacobian", "value"})  # roles of outputs that are named after a site


def owners(graph: Nodes) -> dict[AnyNode, str]:
    """The site of each node that serves one site only.

    A node is its own site's where its op or an output says so; code is the site's that alone reads it; and a sum over
    what belongs to one site is that site's, too.

    Args:
        graph: at any stage.

    Returns:
        Names of sites by node. Nodes that serve several sites, or none, are left out; so are data and constants.
    """
    mine: dict[AnyNode, str] = {out.node: out.name for out in graph.outputs if out.role.value in _NAMED}
    mine |= {node: node.op.owner for node in graph if node.op.owner is not None}
    claims: dict[AnyNode, frozenset[str]] = {}
    found: dict[AnyNode, str] = {}
    for node in reversed(graph.nodes):
        wanted = frozenset({mine[node]}) if node in mine else claims.get(node, frozenset())
        if len(wanted) == 1 and (node.args or node in mine):
            (found[node],) = wanted
        for arg in node.args:
            claims[arg] = claims.get(arg, frozenset()) | wanted
    for node in graph:
        if node not in found and not claims.get(node):
            above = {found.get(arg, "") for arg in node.args}
            if len(above) == 1 and "" not in above:
                (found[node],) = above
    return found


__all__ = ["owners"]
