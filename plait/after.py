"""The graph of a model after a pass, from its source or from a saved model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import plait
from plait.ir.errors import ArtifactError, PassError, PlaitError
from plait.model_file import load
from plait.options import stages, starting_with
from plait.runtime.artifact.load import Saved
from plait.session import switches

if TYPE_CHECKING:
    from plait.ir.graph import Graph

After = Annotated[
    str,
    typer.Option(
        metavar="PASS", help="trace, or a pass: `plait explain` lists them.", autocompletion=starting_with(stages)
    ),
]


def graph_after(target: str, data: Path | None, without: Sequence[str] | None, after: str) -> Graph:
    """The graph after a pass, also where a later pass finds that the model can't be compiled.

    Raises:
        PassError: there is no such pass, or it is switched off.
    """
    known = stages()
    if after not in known:
        near = get_close_matches(after, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise PassError(f"there is no pass {after!r}; {hint}")
    if after in (without or ()):
        raise PassError(f"pass {after!r} is both asked for and switched off")
    graphs: dict[str, Graph] = {}
    model = load(target, data)
    args, kwargs = model.arguments()
    try:
        plait.compile(model.function, *args, passes=switches(without), on_graph=graphs.__setitem__, **kwargs)
    except PlaitError as error:
        if after not in graphs or isinstance(error, PassError):
            raise
    return graphs[after]


def saved_after(saved: Saved, after: str) -> str:
    """Which of the graphs of a saved model that is: "traced" or "density".

    Raises:
        ArtifactError: it holds no other ones.
    """
    last = saved.explanation.passes[-1][0]
    if after not in ("trace", last):
        raise ArtifactError(
            f"{saved.path} holds the graphs as traced and after the last pass: --after trace or --after {last}; give "
            f"the model's MODEL.py to see it after {after!r}"
        )
    return "traced" if after == "trace" else "density"


def saved_json(saved: Saved, after: str) -> Mapping[str, Any]:
    """The JSON form of a graph of a saved model; raises as `saved_after` does."""
    found: Mapping[str, Any] = saved.graphs[saved_after(saved, after)]
    return found


__all__ = ["After", "graph_after", "saved_after", "saved_json"]
