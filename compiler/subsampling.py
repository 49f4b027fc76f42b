"""Subsampled plates whose indices are decided outside of the program, where each call has others.

with plate("rows", 100, 10) as i:  ⇒  i: i32[rows:10] = plate 'rows' size=10 of 100 indices=rows$subsample
                                      rows$subsample: i32[10] = input data
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from plait.compiler import staging
from plait.compiler.control_flow import named_nodes
from plait.compiler.handlers.base import Handler
from plait.compiler.loops.state import visible
from plait.compiler.source import current_loc
from plait.compiler.stack import Site
from plait.ir.errors import ModelError
from plait.ir.graph import Graph, Node, make, rewrite
from plait.ir.ops import Deterministic, Input, array_type
from plait.ir.types import ArrayType, PlateFrame

_DRAWN = "$subsample"  # indices that come in
_GIVEN = "$indices"  # indices that the program decides, and reports


class subsamples(Handler):
    """The outermost handler of a trace: leaves the indices of plates open, and notes what a guide says of its sites.

    Indices that are given inside, by `handlers.substitute`, stay the program's own. A key inside decides no indices, as
    it decides no draws of a compiled model: under a constant one each call would have the same.

    Args:
        decided: plates of the guide, whose indices those of the same name take whatever they have themselves.

    Attributes:
        plates: every plate that passed, by name.
        auxiliary: names of sites with ``infer={"is_auxiliary": True}``; a star for each index of a loop.
    """

    asks_names = False

    def __init__(self, decided: Mapping[str, PlateFrame] = MappingProxyType({})) -> None:
        super().__init__()
        self._decided = decided
        self.reset()

    def reset(self) -> None:
        """Forgets what passed: the trace begins anew."""
        self.plates: dict[str, PlateFrame] = {}
        self.auxiliary: set[str] = set()
        self._open: set[str] = set()

    def process(self, site: Site) -> None:
        if site.type != "plate":
            return
        frame, decided = site.fn, self._decided.get(site.name)
        if decided is not None and _elements(decided) != _elements(frame):
            raise ModelError(
                f"plate {site.name!r} is {_in_words(frame)} in the model and {_in_words(decided)} in the guide; "
                "give both the same size and subsample_size",
                current_loc(),
            )
        if frame.full_size is None:
            return
        if site.name in self.plates:
            raise ModelError(
                f"two plates are called {site.name!r} and would each take a subsample of its own; enter one plate "
                "object twice, or rename one",
                current_loc(),
            )
        if decided is not None or site.value is None:
            integers = jax.dtypes.canonicalize_dtype(int)
            op = Deterministic(f"{site.name}{_DRAWN}", ())
            site.value = staging.bind(op, (jnp.arange(frame.size, dtype=integers),))
            self._open.add(site.name)

    def finish(self, site: Site) -> None:
        if site.type == "plate":
            self.plates[site.name] = site.fn
            if site.fn.full_size is not None and site.name not in self._open:
                staging.bind(Deterministic(f"{site.name}{_GIVEN}", ()), (site.value,))
        elif site.type == "sample" and site.infer.get("is_auxiliary"):
            self.auxiliary.add(visible(site.name))


def _elements(frame: PlateFrame) -> tuple[int, int]:
    return frame.size, frame.full_size or frame.size


def _in_words(frame: PlateFrame) -> str:
    return f"{frame.size} of {frame.full_size} elements" if frame.full_size else f"all of its {frame.size} elements"


def with_open_indices(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The traced graph with inputs for the indices that are decided outside.

    Returns:
        The graph, and the plates of these inputs, which come after the data in this order.

    Raises:
        ModelError: a plate takes its subsample inside a loop or branch.
    """
    for node in graph:
        inside = [n for body in node.op.bodies for n in named_nodes(body) if _plate_of(n) is not None]
        if inside:
            raise ModelError(
                f"plate {_plate_of(inside[0])!r} takes a subsample inside a loop or branch; open it outside",
                inside[0].loc,
            )
    plates: list[str] = []

    def rule(node: Node, args: tuple[Node, ...]) -> Node | None:
        if not (isinstance(node.op, Deterministic) and node.op.name.endswith(_DRAWN)):
            return None
        plates.append(node.op.name.removesuffix(_DRAWN))
        t = array_type(node)
        return make(Input(node.op.name, Input.DATA, ArrayType(t.dtype, t.shape)), (), node.loc)

    return rewrite(graph, rule), tuple(plates)


def _plate_of(node: Node) -> str | None:
    if not (isinstance(node.op, Deterministic) and is_index(node.op.name)):
        return None
    return node.op.name.removesuffix(_DRAWN).removesuffix(_GIVEN)


def drawn_indices(key: Any, full_size: int, size: int) -> Any:
    """`size` of the numbers 0 … full_size-1 without replacement, every subset equally likely; in no special order.

    On a CPU by Floyd's algorithm (Bentley and Floyd 1987, A sample of brilliance), whose cost does not grow with
    `full_size`; elsewhere, where a long loop is slow, by `jax.random.choice`.
    """
    if jax.default_backend() != "cpu":
        return jax.random.choice(key, full_size, (size,), replace=False)
    last = jnp.arange(full_size - size, full_size)
    draws = jax.random.randint(key, (size,), 0, last + 1)

    def step(k: Any, chosen: Any) -> Any:
        """The k-th draw is from 0 … last[k]; where it is chosen already, last[k] itself is new."""
        return chosen.at[k].set(jnp.where(jnp.any(chosen == draws[k]), last[k], draws[k]))

    return jax.lax.fori_loop(0, size, step, jnp.full(size, -1, last.dtype))


def is_index(name: str) -> bool:
    """Whether a deterministic reports indices."""
    return name.endswith((_DRAWN, _GIVEN))


def given_indices(record: Mapping[str, object]) -> dict[str, object]:
    """The indices that a program decided itself, by plate, among what it drew."""
    return {name.removesuffix(_GIVEN): value for name, value in record.items() if name.endswith(_GIVEN)}


__all__ = ["drawn_indices", "given_indices", "is_index", "subsamples", "with_open_indices"]
