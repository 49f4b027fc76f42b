"""Statistics of data that a loaded model computes on the host.

It imports the kernels, and with them scipy, which takes longer than all else that loading does: only other data than
the saved ones need it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.compiler.kernels.cells import LayoutChangedError
from plait.compiler.kernels.least_squares import NotFiniteError
from plait.compiler.kernels.recipes import kernel_of
from plait.ir.errors import DataError
from plait.runtime.artifact.manifest import KernelRecord

Statistics = list[tuple[Any, ...]]


def statistics(records: Sequence[KernelRecord], places: Mapping[str, Sequence[Any]]) -> Statistics | None:
    """Those of every kernel; None where the data do not fit the room that one has.

    Args:
        records: the kernels.
        places: arrays by the kind of `Source`.

    Raises:
        DataError: the data make a statistic that is not finite.
    """
    try:
        return [_statistic(record, places) for record in records]
    except LayoutChangedError:
        return None


def _statistic(record: KernelRecord, places: Mapping[str, Sequence[Any]]) -> tuple[Any, ...]:
    arguments = [np.asarray(places[source.kind][source.index]) for source in record.sources]
    try:
        found = kernel_of(json.loads(record.recipe))(*arguments)
    except NotFiniteError as e:
        names = ", ".join(map(repr, record.data))
        raise DataError(f"site {record.site!r}: data {names} make {e}", record.loc) from None
    return tuple(jnp.asarray(np.asarray(x, t.dtype)) for x, t in zip(found, record.results, strict=True))


__all__ = ["statistics"]
