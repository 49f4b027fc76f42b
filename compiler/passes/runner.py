"""Runs the passes: requires, run, verify, callback."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.ir.errors import PassError
from plait.ir.graph import Graph
from plait.ir.verify import verify


@dataclass(frozen=True)
class Pass:
    """A pure function from graph to graph.

    Attributes:
        name: how users switch it and how it appears in the history.
        run: its docstring's first sentence shows before ⇒ after.
        requires: passes that must have run.
        reads_data: whether `run` also takes the data arrays, None where they are traced: what it makes fits those data.
        optional: whether it can be switched off; the others define what the result is.
    """

    name: str
    run: Callable[..., Graph]
    requires: tuple[str, ...] = ()
    optional: bool = True
    reads_data: bool = False

    @property
    def sentence(self) -> str:
        """What it does, with before ⇒ after."""
        return (self.run.__doc__ or "").partition("\n\n")[0].replace("``", "").strip()


def run_passes(
    graph: Graph,
    pipeline: Sequence[Pass],
    switches: Mapping[str, bool],
    on_graph: Callable[[str, Graph], None],
    data: Sequence[Any] | None = None,
) -> Graph:
    """The graph after all passes that are switched on.

    Args:
        graph: the model graph.
        pipeline: in order.
        switches: passes by name to False (off) or True (on, the default).
        on_graph: called with each pass's name and its verified result.
        data: the arrays of the graph's data inputs; None where they are traced.

    Raises:
        PassError: a switch names no pass, or switches off one that is needed.
    """
    active = _active(pipeline, switches)
    done: set[str] = set()
    for p in active:
        if missing := set(p.requires) - done:
            raise PassError(f"pass {p.name!r} needs {sorted(missing)}, which is switched off; switch it off too")
        before = graph
        graph = p.run(graph, data) if p.reads_data else p.run(graph)
        verify(graph, frozenset(before.nodes))
        done.add(p.name)
        on_graph(p.name, graph)
    return graph


def require_switches(passes: Any, check: Any) -> None:
    """Raises PassError where compile's ``passes=`` or ``check=`` are of another kind than they should be."""
    if passes is not None and not isinstance(passes, Mapping):
        raise PassError(f"passes= is a dict from a pass's name to True or False, got {passes!r}")
    if not isinstance(check, (bool, int)) or check < 0:
        raise PassError(f"check= is True, False or a number of points, got {check!r}")


def _active(pipeline: Sequence[Pass], switches: Mapping[str, bool]) -> list[Pass]:
    names = {p.name: p for p in pipeline}
    for name, on in switches.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}"
            raise PassError(f"there is no pass {name!r}{hint}")
        if not on and not names[name].optional:
            raise PassError(f"pass {name!r} can't be switched off: it defines the density")
    return [p for p in pipeline if switches.get(p.name, True)]
