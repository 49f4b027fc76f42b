"""The model again on other numbers of rows, for a file whose data may have any number of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.ir.errors import ArtifactError, OptionError, PlaitError
from plait.ir.names import unknown_names
from plait.runtime.bound import Bound
from plait.runtime.data import FEWEST_ROWS
from plait.runtime.program import Program
from plait.runtime.progress import OnProgress, Progress

PHASE = "compile on"  # as progress calls it
FEW = 5  # where leaving out the first or last rows leaves some
MANY = 1009  # a number that jumps somewhere, such as that of bits or blocks of a length, has jumped before


class OtherRowsError(ArtifactError):
    """A model's code is another for other numbers of rows."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the model can't be saved for other numbers of rows: {why}")


def number_of_rows(bound: Bound, rows: Sequence[str]) -> int:
    """The length of the leading axis of these data.

    Raises:
        OptionError: there are no such data, or they are of different lengths.
    """
    data = dict(zip(bound._about.data.names, bound._data, strict=True))
    unknown_names(rows, list(data), "data array for rows=", OptionError)
    for name in rows:
        if not np.ndim(data[name]):
            raise OptionError(f"rows= names {name!r}, which is a single number")
    lengths = {name: np.shape(data[name])[0] for name in rows}
    if len(set(lengths.values())) > 1 or min(lengths.values()) < FEWEST_ROWS:
        found = ", ".join(f"{name!r} {n}" for name, n in lengths.items())
        raise OptionError(f"data that rows= names have one number of rows, at least {FEWEST_ROWS}; got {found}")
    return lengths[rows[0]]


def fewest_rows(n: int) -> list[int]:
    """What to try: how few rows a file may take, at most the saved number."""
    return [*(x for x in (FEWEST_ROWS, FEW) if x < n), n]


def numbers_of_rows(n: int, fewest: int) -> list[int]:
    """Where the model is looked at: the saved number, the next one, very many, and the fewest that there may be."""
    return [n, n + 1, max(MANY, 2 * n + 7), *([fewest] if fewest < n else [])]


def at_numbers(bound: Bound, rows: Sequence[str], numbers: Sequence[int], report: OnProgress) -> Iterator[Bound]:
    """The model on as many rows, which are its own again and again.

    Args:
        bound: the model.
        rows: names of the data.
        numbers: of rows.
        report: called before each compile, and once after the last.

    Raises:
        OtherRowsError: it can't be compiled on those.
    """
    n = number_of_rows(bound, rows)
    for done, number in enumerate(numbers):
        report(Progress(PHASE, done, len(numbers), step=f"{number} rows"))
        yield _again(bound, rows, n, number)
    report(Progress(PHASE, len(numbers), len(numbers)))


def _again(bound: Bound, rows: Sequence[str], n: int, number: int) -> Bound:
    program = bound._program
    assert isinstance(program, Program)
    assert program.again is not None, "what `compile` made has its source"
    named = zip(bound._about.data.names, bound._data, strict=True)
    try:
        again = program.again([_with_rows(x, n, number) if name in rows else x for name, x in named])
    except (PlaitError, TypeError, ValueError) as e:  # of plait, or of jax about the model's code
        raise OtherRowsError(
            f"with {number} of {', '.join(map(repr, rows))} it is refused: {e}; name all data of as many rows in "
            "rows=, and take sizes from them, as len(y) does"
        ) from e
    return replace(
        again, _params=bound._params, _params_are_users=bound._params_are_users, certificate=bound.certificate
    )


def _with_rows(x: Any, n: int, number: int) -> Any:
    return x if number == n else jnp.take(x, np.arange(number) % n, axis=0)


__all__ = ["OtherRowsError", "at_numbers", "fewest_rows", "number_of_rows", "numbers_of_rows"]
