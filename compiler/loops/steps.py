"""``for i in plate(...)``: its steps are Python integers, or while a model is compiled its body traced once for all.

To trace it once is an attempt. The body runs twice with an index that has no value: as any step and as the last one,
which differ in the text of the index only. `compiler.loops` compares what they did; where they differ in more than
names, the loop is no plate and is traced again as an ordinary one.
"""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax
import numpyro
from numpyro.primitives import _PYRO_STACK

from plait.compiler import staging
from plait.compiler.emit import OwnMessenger
from plait.compiler.loops.index import loop_index
from plait.compiler.loops.python_state import State, at_step, changed, python_state
from plait.compiler.loops.state import Index, LoopLine, Loops, visible
from plait.compiler.source import current_loc
from plait.compiler.stack import Frame, Site, compiling, open_frames, opened
from plait.ir.errors import ModelError
from plait.ir.ops import LoopBegin, LoopEnd, from_aval
from plait.ir.types import ArrayType, PlateFrame

STEPS = 2  # of which the trace of a loop consists: any one, and the last
_FEWEST = 3  # a loop of fewer steps is traced as it is


def steps(plate: PlateFrame, indices: Any, caller: FrameType) -> Iterator[Any]:
    """The steps of a loop over a plate: integers, or indices while its body is traced once.

    Args:
        plate: under the name that it has in the graph.
        indices: all of its indices, traced where a model is compiled.
        caller: the Python frame that asked for the steps.
    """
    outermost = compiling()
    if outermost is None:
        return iter(range(plate.size))
    loop, loops = LoopLine(plate.name, current_loc()), outermost.loops
    if not _is_for_statement(caller):
        loops.note(loop, _NO_STATEMENT)
        return iter(range(plate.size))
    if loops.at_once and plate.size >= _FEWEST:
        return _traced_once(plate, indices, loop, loops, caller)
    return _one_by_one(plate.size, loop)


_NO_STATEMENT = (
    "something else than a for statement takes its steps, such as zip, enumerate, a comprehension or a generator; "
    "write a for statement over the plate itself to trace it once"
)


def _is_for_statement(caller: FrameType) -> bool:
    """Whether a frame is about to begin a plain for statement, whose steps are its own business."""
    if caller.f_code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return False
    rest = (i for i in dis.get_instructions(caller.f_code) if i.offset >= caller.f_lasti)
    names = [i.opname for i in (next(rest, None), next(rest, None)) if i is not None and i.opname != "EXTENDED_ARG"]
    names += [i.opname for i in (next(rest, None),) if i is not None and len(names) < 2]
    return names == ["GET_ITER", "FOR_ITER"]


# -- ordinary loops -------------------------------------------------------------------------------------


def _one_by_one(size: int, loop: LoopLine) -> Iterator[int]:
    names: dict[str, int] = {}
    for step in range(size):
        with opened(_OrdinaryStep(loop, names, step)):
            yield step


class _OrdinaryStep(Frame):
    """An open step of an ordinary loop; equal for all steps, which share jax's traces."""

    def __init__(self, loop: LoopLine, names: dict[str, int], step: int) -> None:
        self.loop, self.names, self.step = loop, names, step

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _OrdinaryStep) and self.loop == other.loop

    def __hash__(self) -> int:
        return hash(self.loop)

    def finish(self, site: Site) -> None:
        if site.type not in ("sample", "deterministic", "param") or site.hidden:
            return
        first = self.names.setdefault(site.name, self.step)
        if first != self.step:
            where = "each step" if self.step == first + 1 else f"steps {first} and {self.step}"
            raise ModelError(
                f"site {site.name!r} has the same name in {where} of the loop over plate {self.loop.plate!r}; "
                f"put the index into it: f'{site.name}_{{i}}'",
                current_loc(),
            )


# -- traced once ----------------------------------------------------------------------------------------


def _traced_once(plate: PlateFrame, indices: Any, loop: LoopLine, loops: Loops, caller: FrameType) -> Iterator[Any]:
    loops.begun.append(loop)
    if any(isinstance(frame, _TracedStep) and frame.loop.plate == plate.name for frame in open_frames()):
        raise loops.trouble(f"it is inside another loop over plate {plate.name!r}", loop)
    number, is_whole = loops.number(), False
    index_type = ArrayType(from_aval(jax.typeof(indices)).dtype, (), weak=True)  # weak as a Python integer is
    state: State = {}
    try:
        for step, shown in enumerate((None, plate.size - 1)):
            with opened(_TracedStep(loop, loops, shown)):
                index = staging.bind(LoopBegin(number, step, plate, index_type), (indices,))
                yield loop_index(index, Index(loop, range(plate.size), shown), loops)
                staging.bind(LoopEnd(number, step), (index,))
            after = python_state(caller)
            if shown is None:
                state = after
            elif (name := changed(at_step(state, loops.texts, plate.name, shown), after)) is not None:
                raise loops.trouble(f"its steps change the Python variable {name!r}", loop)
        is_whole = True
    finally:
        if not is_whole:
            loops.left(loop)
        del caller  # it holds this generator, which would hold it


class _TracedStep(Frame):
    """An open step; it equals only itself, so that jitted helpers are traced anew."""

    def __init__(self, loop: LoopLine, loops: Loops, shown: int | None) -> None:
        self.loop, self.loops, self.shown = loop, loops, shown

    def process(self, site: Site) -> None:
        if site.is_statement or site.type == "plate":
            return
        if (handler := _asks_names()) is not None:
            raise self.loops.trouble(f"handler {handler!r} may act on each of its sites in another way", self.loop)
        if site.type == "param":
            raise self.loops.trouble(f"param {visible(site.name)!r} is inside", self.loop)
        has_index = self.shown is not None or self.loops.texts.holds(site.name, self.loop.plate)
        if not has_index or _TRACER.search(site.name):
            raise self.loops.trouble(f"the name of {visible(site.name)!r} is not made with its index alone", self.loop)


_TRACER = re.compile(r"Tracer\(|Traced<")  # how jax writes a value that it traces


def _asks_names() -> str | None:
    """An open handler that may treat the sites of a loop differently: it knows them by name, or counts them."""
    own = [frame.asks_names for frame in open_frames() if frame.asks_names]
    foreign = [type(h).__name__ for h in _PYRO_STACK if not isinstance(h, (OwnMessenger, *_BLIND))]
    return next(iter([*own, *foreign]), None)


_BLIND = (numpyro.plate, numpyro.handlers.scale, numpyro.handlers.mask, numpyro.handlers.scope)


__all__ = ["STEPS", "steps"]
