"""Plates: conditionally independent elements, all of them or a subsample."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from plait.compiler.emit import emit, expand
from plait.compiler.given import require_name
from plait.compiler.jax_compat import is_tracer
from plait.compiler.loops.steps import steps
from plait.compiler.source import current_loc
from plait.compiler.stack import Frame, Site, open_frames, opened
from plait.ir.errors import ModelError, SiteTypeError
from plait.ir.types import PlateFrame


class plate:
    """Conditionally independent elements: ``with plate("rows", 10):`` expands the sites inside.

    Args:
        name: of the plate; equal names mean the same elements.
        size: number of elements, a Python integer.
        subsample_size: take that many of the elements, without replacement; the log probabilities inside count
            ``size / subsample_size`` times. The indices come from `handlers.seed`, or are given by
            `handlers.substitute` or `handlers.replay` under the plate's name.
        dim: the batch axis that it takes, negative, from the right; default the rightmost free one.

    Entering returns the indices: 0 … size-1, or those of the subsample. ``for i in plate("rows", 10):`` is a loop over
    0 … size-1, for sites of which each has a name of its own, such as ``f"theta_{i}"``; compiling it costs what the
    plate costs where no step needs another one or Python's value of the index.
    """

    def __init__(self, name: str, size: int, subsample_size: int | None = None, dim: int | None = None) -> None:
        require_name(name, "plate")
        self.name, self.size = name, _whole_number(f"the size of plate {name!r}", size)
        self.subsample_size = self.size
        if subsample_size is not None:
            self.subsample_size = _whole_number(f"the subsample_size of plate {name!r}", subsample_size)
        if self.subsample_size > self.size:
            raise ModelError(f"plate {name!r} can't subsample {subsample_size} of {self.size} elements", current_loc())
        taken = {f.dim: f.name for f in open_plates()}
        if dim is not None and not isinstance(dim, int):
            raise SiteTypeError(f"the dim of plate {name!r} is a negative integer, got {dim!r}", current_loc())
        if dim is not None and (dim >= 0 or dim in taken):
            why = "is not negative" if dim >= 0 else f"is taken by plate {taken[dim]!r}"
            raise ModelError(f"plate {name!r}: dim={dim} {why}", current_loc())
        self.dim = dim if dim is not None else next(d for d in range(-1, -len(taken) - 2, -1) if d not in taken)
        full_size = self.size if self.subsample_size < self.size else None
        self.frame = PlateFrame(name, self.subsample_size, self.dim, full_size)
        site = Site("plate", name, fn=self.frame)
        self._indices = emit(site)
        self._renamed = replace(self.frame, name=site.name)  # as scope calls it
        self._contexts: list[Any] = []

    def __enter__(self) -> Any:
        for other in open_plates():
            if other.name == self.name or other.dim == self.dim:
                clash = "it is open already" if other.name == self.name else f"both are at dim {self.dim}"
                raise ModelError(f"plate {self.name!r} can't open inside plate {other.name!r}: {clash}", current_loc())
        context = opened(_OpenPlate(self.frame, self._indices))
        context.__enter__()
        self._contexts.append(context)
        return self._indices

    def __exit__(self, *exc: Any) -> None:
        self._contexts.pop().__exit__(*exc)

    def __iter__(self) -> Iterator[Any]:
        if self.frame.full_size is not None:
            raise ModelError(
                f"plate {self.name!r} is a subsample of {self.subsample_size} of {self.size} elements, which a loop "
                "can't go over; write `with plait.plate(...) as indices:`",
                current_loc(),
            )
        return steps(self._renamed, self._indices, sys._getframe(1))


@contextmanager
def plate_stack(prefix: str, sizes: Sequence[int], rightmost_dim: int = -1) -> Iterator[None]:
    """Several plates of neighbouring dims: the last size is at `rightmost_dim` and called ``prefix_0``.

    Args:
        prefix: of the plates' names.
        sizes: of the plates, from left to right.
        rightmost_dim: negative.
    """
    with ExitStack() as stack:
        for i, size in enumerate(reversed(sizes)):
            stack.enter_context(plate(f"{prefix}_{i}", size, dim=rightmost_dim - i))
        yield


def subsample(data: Any, event_dim: int) -> Any:
    """The rows of `data` that belong to the subsamples of the open plates.

    Args:
        data: an array whose batch axes are counted by the plates.
        event_dim: number of rightmost axes that no plate counts.

    Raises:
        ModelError: an axis has another length than its plate.
    """
    return taken("the data of plait.subsample", data, event_dim)


def taken(what: str, value: Any, event_dim: int) -> Any:
    """`value` at the indices of the open subsampled plates, along their axes left of the `event_dim` last ones."""
    for frame in reversed(open_frames()):
        if isinstance(frame, _OpenPlate):
            value = frame.taken(what, value, event_dim)
    return value


class _OpenPlate(Frame):
    """An open plate. Frames of equal plates are equal, so that they share jax's traces."""

    def __init__(self, plate: PlateFrame, indices: Any) -> None:
        self.plate, self.indices = plate, indices

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, _OpenPlate) and self.plate == other.plate
        return same and (self.plate.full_size is None or self.indices is other.indices)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.plate)

    def process(self, site: Site) -> None:
        if site.type == "plate" or site.is_statement or self.plate.name in site.infer.get("block_plates", ()):
            return
        _refuse_clash(site, self.plate)
        site.cond_indep_stack = (*site.cond_indep_stack, self.plate)
        if site.type == "sample":
            expand(site)
        if self.plate.full_size is not None and site.type != "deterministic":  # a param may be lifted further out
            site.scale = self.plate.weight * (1.0 if site.scale is None else site.scale)

    def taken(self, what: str, value: Any, event_dim: int) -> Any:
        shape, axis = jnp.shape(value), self.plate.dim - event_dim
        if len(shape) < -axis or shape[axis] == 1:
            return value
        size = self.plate.size if self.plate.full_size is None else self.plate.full_size
        if shape[axis] != size:
            raise ModelError(
                f"{what} with event_dim={event_dim} has shape {shape}, which does not fit plate {self.plate.name!r} "
                f"of size {size} at dim {self.plate.dim}",
                current_loc(),
            )
        return value if self.plate.full_size is None else jnp.take(value, self.indices, axis=axis)


def open_plates() -> list[PlateFrame]:
    """The open plates, outermost first."""
    return [f.plate for f in open_frames() if isinstance(f, _OpenPlate)]


def _refuse_clash(site: Site, plate: PlateFrame) -> None:
    """A site of NumPyro's comes with its own plates, whose dims did not know of plait's."""
    for inner in site.cond_indep_stack:
        if site.foreign and inner.dim == plate.dim and inner.name != plate.name:
            raise ModelError(
                f"site {site.name!r} is in numpyro.plate {inner.name!r} and in plait.plate {plate.name!r}, both at dim "
                f"{plate.dim}; give one of them another dim",
                current_loc(),
            )


def _whole_number(what: str, size: Any) -> int:
    if is_tracer(size):
        raise ModelError(f"{what} is a traced value; use a shape, or name the argument in static=", current_loc())
    try:
        n = operator.index(size)
    except TypeError:
        raise SiteTypeError(f"{what} must be an integer, got {size!r}", current_loc()) from None
    if n <= 0:
        raise ModelError(f"{what} must be positive, got {n}", current_loc())
    return n
