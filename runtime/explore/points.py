"""What each term is at a point, and what is first infinite or NaN there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from plait.ir.errors import ArtifactError
from plait.ir.records import number
from plait.runtime.compiled import CompiledModel
from plait.runtime.explore.stages import Source
from plait.runtime.random_values import random_values, random_vector
from plait.runtime.start import RADIUS

MOST_VALUES = 200  # of a site that are shown


def points(compiled: CompiledModel, source: Source, at: Mapping[str, Any] | None, seed: int) -> list[dict[str, Any]]:
    """The points that the page can show.

    Args:
        compiled: the model.
        source: of it.
        at: constrained values by site that the user named; those that they left out are random.
        seed: of the random ones.
    """
    found = []
    if at is not None:
        values = {**random_values(compiled, seed), **at}
        total, terms = compiled.log_joint(values), compiled.log_prob_terms(values)
        found.append(_point(compiled, source, "the given values", values, values, total, terms))
    if compiled.has_log_density:
        z = random_vector(compiled, seed)
        random = f"a random point of ({-RADIUS:g}, {RADIUS:g}), unconstrained (seed {seed})"
        for name, point in ((random, z), ("the origin of the unconstrained space", np.zeros_like(z))):
            found.append(_point(compiled, source, name, point, *_at_vector(compiled, point)))
    elif at is None:
        values = random_values(compiled, seed)
        total, terms = compiled.log_joint(values), compiled.log_prob_terms(values)
        found.append(_point(compiled, source, f"a prior draw (seed {seed})", values, values, total, terms))
    return found


def _at_vector(compiled: CompiledModel, z: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Values, log density and terms, the Jacobians among them; of a saved model these are not known one by one."""
    values = compiled.constrain(z)
    jacobians = compiled._program.jacobians(compiled._density_known, compiled._given(None), z)
    terms = {**compiled.log_prob_terms(values), **{f"log|J| {site}": x for site, x in jacobians.items()}}
    return values, compiled.log_density(z), terms


def _point(
    compiled: CompiledModel,
    source: Source,
    name: str,
    at: Any,
    values: Mapping[str, Any],
    total: Any,
    terms: Mapping[str, Any],
) -> dict[str, Any]:
    family_of = {member: family for family, members in compiled.families.items() for member in members}
    sums: dict[str, float] = {}
    for site, x in terms.items():
        family = family_of.get(site, site)
        sums[family] = sums.get(family, 0.0) + float(np.sum(x))
    return {
        "name": name,
        "total": number(float(total)),
        "values": {site: _shown(x) for site, x in values.items()},
        "terms": {site: number(x) for site, x in sums.items()},
        "first": None if np.isfinite(total) else _first(compiled, source, at, values),
    }


def _shown(x: Any) -> Any:
    """Numbers in lists, as JSON can hold them; of a large array its shape."""
    x = np.asarray(x)
    if x.size > MOST_VALUES:
        return f"{x.dtype} of shape {x.shape}"
    if x.ndim:
        return [_shown(row) for row in x]
    return number(float(x)) if x.dtype.kind == "f" else x.item()


def _first(compiled: CompiledModel, source: Source, at: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The first site whose term is not finite, with its plates' indices; why, where there are graphs to look into."""
    try:
        found = compiled.find_nonfinite(at)
    except ArtifactError:
        found = None  # a saved model: its terms say which site it is
    if found is not None:
        where = {"site": found.site or None, "where": _at(found.site, found.place), "line": source.line(found.loc)}
        return where | {"sentence": str(found)}
    for site, term in compiled.log_prob_terms(values).items():
        bad = np.argwhere(~np.isfinite(term))
        if len(bad):
            axes = compiled.dims.get(site, ())
            place = ", ".join(f"{axis or ''}[{i}]" for axis, i in zip(axes, bad[0], strict=False))
            value, loc = np.asarray(term)[tuple(bad[0])], compiled._about.lines.get(site)
            said = f"log probability of {site!r}" + (f" at {place}" if place else "") + f" is {value}"
            return {"site": site, "where": _at(site, place), "line": source.line(loc), "sentence": said}
    return {"site": None, "where": "", "line": None, "sentence": "every site's term is finite, and their sum is not"}


def _at(site: str, place: str) -> str:
    """``y at schools[3]``."""
    return f"{site} at {place}" if place else site


__all__ = ["points"]
