"""What a compiled model says of itself as plain data: names, types and lines of its sites, params and arguments.

Nothing here reads a graph: a model that was loaded from a file has it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.compiler.members import Stack, member_names
from plait.ir.errors import ModelError
from plait.ir.types import ArrayType, Loc, Shape, Slot

Dims = tuple[str | None, ...]


@dataclass(frozen=True)
class Refusal:
    """What a model can't do, as a sentence, and the user's line."""

    why: str
    loc: Loc | None

    def error(self) -> ModelError:
        return ModelError(self.why, self.loc)


@dataclass(frozen=True)
class DataSchema:
    """The model's arguments: which are data, and which are part of the program.

    Attributes:
        names: of the data arrays, such as ``y`` or ``batch['x']``.
        parts: by argument the labels of its leaves.
        static: the leaves that are no data, by label.
        rows: the data whose leading axis may have another length, the same for all.
        fewest_rows: the least such length.
        remedy: what to do about data that the program is not for.
    """

    names: tuple[str, ...]
    parts: dict[str, tuple[str, ...]]
    static: dict[str, Any]
    rows: tuple[str, ...] = ()
    fewest_rows: int = 0
    remedy: str = "call plait.compile again"


@dataclass(frozen=True)
class ParamArray:
    """One array of a `param` site.

    Attributes:
        name: of the site.
        part: which leaf it is of the site's pytree.
        path: where in that tree, for messages.
        type: of its values.
        allowed: its constraint in words.
        loc: the user's line.
    """

    name: str
    part: int
    path: str
    type: ArrayType
    allowed: str
    loc: Loc | None


@dataclass(frozen=True)
class ParamSites:
    """The `param` sites.

    Attributes:
        arrays: what the densities take, in this order.
        trees: by site the structure of its values.
        are_drawn: whether an initial value is random.
    """

    arrays: tuple[ParamArray, ...]
    trees: dict[str, Any]
    are_drawn: bool


@dataclass(frozen=True)
class Description:
    """A program without its functions. Names are of sites, or of families that loops made.

    Attributes:
        dtype: of the flat vector.
        slots: where latents are in it; empty where there is no density of it.
        no_density: why there is none.
        latents: types of the latents' constrained values, in the order of the flat vector.
        allowed: the latents' supports in words; empty where there is no density of the flat vector.
        families: where the user's sites are in the values of families.
        sites: shapes of all that is drawn, in program order: latents, observed sites, deterministics.
        observed: the observed sites.
        deterministics: the deterministic sites.
        terms: the sites that have a term of the log joint.
        dims: by the user's site the plates of its value's axes, None for those of an event or of a scan's steps.
        lines: by site or param the user's line.
        weighted_prior: why the density of the latents is not that of their draws; None where it is.
        params: the `param` sites.
        data: the model's arguments.
    """

    dtype: np.dtype[Any]
    slots: tuple[Slot, ...]
    no_density: Refusal | None
    latents: dict[str, ArrayType]
    allowed: dict[str, str]
    families: dict[str, Stack]
    sites: dict[str, Shape]
    observed: tuple[str, ...]
    deterministics: tuple[str, ...]
    terms: tuple[str, ...]
    dims: dict[str, Dims]
    lines: dict[str, Loc]
    weighted_prior: Refusal | None
    params: ParamSites
    data: DataSchema

    def members(self, names: Iterable[str]) -> list[str]:
        """The user's sites, for the names of sites and families."""
        return member_names(names, self.families)


__all__ = ["DataSchema", "Description", "Dims", "ParamArray", "ParamSites", "Refusal"]
