"""The model again on other numbers of rows, for a file whose data may have any number of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.ir.errors import ArtifactError, OptionError, PlaitError
from plait.runtime.bound import Bound
from plait.runtime.program import Program
from plait.runtime.progress import OnProgress, Progress

FEW, MANY = 3, 1009
OTHER_ROWS = "the model can't be saved for other numbers of rows"


def number_of_rows(bound: Bound, rows: Sequence[str]) -> int:
    """The length of the leading axis of these data.

    Raises:
        OptionError: there are no such data, or they are of different lengths.
    """
    data = dict(zip(bound._about.data.names, bound._data, strict=True))
    for name in rows:
        if name not in data:
            near = get_close_matches(name, list(data), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, data)) or 'none'}"
            raise OptionError(f"rows= names {name!r}, which are no data of the model; {hint}")
        if not np.ndim(data[name]):
            raise OptionError(f"rows= names {name!r}, which is a single number")
    lengths = {name: np.shape(data[name])[0] for name in rows}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        found = ", ".join(f"{name!r} {n}" for name, n in lengths.items())
        raise OptionError(f"data that rows= names have one number of rows, at least 1; got {found}")
    return lengths[rows[0]]


def far(n: int) -> list[int]:
    """Numbers of rows at which code for few, or for many, shows that it is another."""
    return [FEW, max(MANY, 2 * n + 7)]


def at_numbers(
    bound: Bound, rows: Sequence[str], numbers: Sequence[int], phase: str, report: OnProgress
) -> Iterator[Bound]:
    """The model on as many rows, which are its own again and again.

    Args:
        bound: the model.
        rows: names of the data.
        numbers: of rows.
        phase: what progress is called.
        report: called before each compile, and once after the last is used.

    Raises:
        ArtifactError: it can't be compiled on those.
    """
    program, n = bound._program, number_of_rows(bound, rows)
    if not isinstance(program, Program) or program.again is None:
        raise ArtifactError("a loaded model can't be saved: copy the file")
    for done, number in enumerate(numbers):
        report(Progress(phase, done, len(numbers), step=f"{number} rows"))
        yield _again(bound, program, rows, n, number)
    report(Progress(phase, len(numbers), len(numbers)))


def _again(bound: Bound, program: Program, rows: Sequence[str], n: int, number: int) -> Bound:
    assert program.again is not None
    named = zip(bound._about.data.names, bound._data, strict=True)
    try:
        again = program.again([_with_rows(x, n, number) if name in rows else x for name, x in named])
    except PlaitError as e:
        raise ArtifactError(f"{OTHER_ROWS}: with {number} of {', '.join(map(repr, rows))} it is refused: {e}") from e
    return replace(
        again, _params=bound._params, _params_are_users=bound._params_are_users, certificate=bound.certificate
    )


def _with_rows(x: Any, n: int, number: int) -> Any:
    return x if number == n else jnp.take(x, np.arange(number) % n, axis=0)


__all__ = ["OTHER_ROWS", "at_numbers", "far", "number_of_rows"]
