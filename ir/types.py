"""What a node's value is: dtype, shape, plate names of its axes, support; and where the user wrote it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

Shape = tuple[int, ...]
Dtype = Annotated[Any, np.dtype]  # numpy's, or one of jax's key dtypes, which no file can hold


@dataclass(frozen=True, slots=True)
class Loc:
    """A line of the user's file; `call` tells several calls on it apart."""

    file: str
    line: int
    call: int = 0

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


@dataclass(frozen=True, slots=True)
class PlateFrame:
    """An open plate as a site sees it: `dim` counts from the right of the batch shape, so it is negative.

    `size` is the length of its axis; of a subsampled plate `full_size` is the number of all elements.
    """

    name: str
    size: int
    dim: int
    full_size: int | None = None

    @property
    def weight(self) -> float:
        """How many elements each one of a subsample stands for."""
        return 1.0 if self.full_size is None else self.full_size / self.size

    def __str__(self) -> str:
        return f"{self.name}:{self.size}"


@dataclass(frozen=True, slots=True)
class Members:
    """The sites that a loop made, held as one site of theirs.

    Attributes:
        names: of the sites, in C order of the axes that count them.
        axes: how many leading axes of the site's own type count them.
        steps: how many of the scans right around the site count them, before these.
    """

    names: tuple[str, ...]
    axes: int = 1
    steps: int = 0


@dataclass(frozen=True, slots=True)
class ArrayType:
    """Type of an array value.

    Attributes:
        dtype: a numpy dtype, or one of jax's key dtypes.
        shape: sizes of the axes.
        axes: for each axis the name of its plate, or None for an anonymous (event) axis.
        support: how the field calls the set of allowed values, for the value of a site.
        weak: came from a Python number, so it gives way to other dtypes in jax's promotion.
    """

    dtype: Dtype
    shape: Shape
    axes: tuple[str | None, ...] = ()
    support: str | None = None
    weak: bool = False

    def __post_init__(self) -> None:
        if not self.axes:
            object.__setattr__(self, "axes", (None,) * len(self.shape))

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def same_array(self, other: object) -> bool:
        """Equal dtype and shape: names and supports are claims on top of that."""
        return isinstance(other, ArrayType) and (self.dtype, self.shape) == (other.dtype, other.shape)

    def __str__(self) -> str:
        text = array_text(str(self.dtype), self.shape, self.axes)
        return f"{text} {self.support}" if self.support else text


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a latent sits in z.

    Attributes:
        name: of the site.
        offset: of its first entry.
        unconstrained: type of its part of z.
        value: type of its constrained value.
    """

    name: str
    offset: int
    unconstrained: ArrayType
    value: ArrayType


@dataclass(frozen=True, slots=True)
class TupleType:
    """Type of an equation with several results; `item` nodes take them apart."""

    items: tuple[ArrayType, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"


Type = ArrayType | TupleType

_SHORT = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16", "bool": "bool",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64", "key<fry>": "key",
}  # fmt: skip


def array_text(dtype: str, shape: Sequence[int], axes: Sequence[str | None]) -> str:
    """``f64[schools:8, 3]``."""
    sizes = [f"{a}:{n}" if a else str(n) for a, n in zip(axes, shape, strict=True)]
    return f"{_SHORT.get(dtype, dtype)}[{', '.join(sizes)}]"


def type_text(t: Mapping[str, Any]) -> str:
    """A type's JSON form as `str` prints the type, without its support."""
    if "items" in t:
        return f"({', '.join(map(type_text, t['items']))})"
    return array_text(t["dtype"], t["shape"], t["axes"])


def axis_names(batch_ndim: int, event_ndim: int, plates: Sequence[PlateFrame]) -> tuple[str | None, ...]:
    """Names of the axes of a site: a plate at `dim` names the axis `dim` from the right of the batch."""
    names: list[str | None] = [None] * (batch_ndim + event_ndim)
    for plate in plates:
        if -plate.dim <= batch_ndim:
            names[batch_ndim + plate.dim] = plate.name
    return tuple(names)
