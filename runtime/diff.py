"""`plait.diff`: whether two models have the same density, and which sites differ."""

from __future__ import annotations

from plait.ir.diff import Difference
from plait.ir.diff import diff as diff_of_graphs
from plait.ir.errors import ModelError
from plait.ir.graph import Graph
from plait.runtime.compiled import CompiledModel


def diff(before: CompiledModel | Graph, after: CompiledModel | Graph) -> Difference:
    """Whether the density changed, and at which site: ``print(plait.diff(old, new))``.

    A site is compared by its own code, down to the sites, params and data that it reads, which count by name: where a
    parent alone changed, the site did not. What counts and what does not is what `Graph.semantic_hash` says. Values of
    data do not count, their shapes and dtypes do.

    Args:
        before: a compiled model, or a model graph.
        after: another one.

    Returns:
        `same_density`, and the sites `added`, `removed` and `changed`; as text a line for each, and one for the sites
        of a loop.

    Raises:
        ModelError: something is neither a compiled model nor a graph, or is a loaded model, which has no graph.
    """
    return diff_of_graphs(_graph(before), _graph(after))


def _graph(model: CompiledModel | Graph) -> Graph:
    if isinstance(model, Graph):
        return model
    if isinstance(model, CompiledModel):
        return model.graph
    raise ModelError(f"diff takes compiled models or their graphs, got {type(model).__name__}")


__all__ = ["diff"]
