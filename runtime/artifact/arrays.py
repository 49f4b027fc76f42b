"""Arrays as bytes: one after the other, in C order and little-endian, each content once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from plait.ir.errors import ArtifactError
from plait.runtime.artifact.manifest import ArrayRecord


class ArrayWriter:
    """Collects arrays; equal ones are stored once."""

    def __init__(self) -> None:
        self.records: list[ArrayRecord] = []
        self.bodies: list[bytes] = []
        self.places: dict[tuple[str, tuple[int, ...], bytes], int] = {}

    def add(self, array: Any, what: str) -> int:
        """The array's number.

        Raises:
            ArtifactError: it is of no plain numbers, such as random keys; `what` names it.
        """
        if not isinstance(getattr(array, "dtype", None), np.dtype):
            raise ArtifactError(f"{what} are {getattr(array, 'dtype', type(array).__name__)}, which no file can hold")
        host = np.ascontiguousarray(np.asarray(array))
        host = host.astype(host.dtype.newbyteorder("<"), copy=False)
        body = host.tobytes()
        place = (host.dtype.name, np.shape(array), hashlib.sha256(body).digest())
        if place not in self.places:
            self.places[place] = len(self.records)
            self.records.append(ArrayRecord(np.dtype(host.dtype.name), np.shape(array)))
            self.bodies.append(body)
        return self.places[place]


def read_arrays(records: Sequence[ArrayRecord], member: bytes) -> list[np.ndarray]:
    """The arrays, which are views of the member.

    Raises:
        ArtifactError: the records do not fill the member.
    """
    arrays, start = [], 0
    for record in records:
        if any(n < 0 for n in record.shape):
            raise ArtifactError("an array of the saved model has a negative size")
        size = int(np.prod([int(n) for n in record.shape], dtype=object)) if record.shape else 1
        end = start + size * record.dtype.itemsize
        if end > len(member):
            raise ArtifactError("the arrays of the saved model are longer than what is there")
        flat = np.frombuffer(member[start:end], record.dtype.newbyteorder("<"))
        arrays.append(flat.reshape(record.shape))
        start = end
    if start != len(member):
        raise ArtifactError("the arrays of the saved model are shorter than what is there")
    return arrays


__all__ = ["ArrayWriter", "read_arrays"]
