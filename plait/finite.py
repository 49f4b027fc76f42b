"""Whether a density is finite at points, and what is not.

A saved model has no graph to look into: of it the site is named whose term is not finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from plait.runtime.artifact.load import Saved
from plait.runtime.compiled import CompiledModel
from plait.runtime.random_values import random_values
from plait.runtime.start import RADIUS

STARTS = 20  # random points at which value and gradient are evaluated


@dataclass(frozen=True)
class Look:
    """Whether densities are finite; each method prints what is not.

    Attributes:
        out: where to.
        compiled: the model, with values for its params.
        saved: the file that it came from; None where it was compiled from source.
    """

    out: Console
    compiled: CompiledModel
    saved: Saved | None

    def point(self, values: Mapping[str, Any]) -> bool:
        """At constrained values."""
        compiled = self.compiled
        if not self._finite(values):
            return False
        joint = float(compiled.log_joint(values))
        if self.saved is not None and not np.isfinite(joint):
            self.out.print(Text(f"log joint {joint:.10g} nats, and every term is finite: the sum is too large", "bold"))
            return False
        what = "every term and the gradient are" if self.saved is None else "every term is"
        self.out.print(f"log joint {joint:.10g} nats: {what} finite")
        if not compiled.has_log_density or not set(values) <= _latents(compiled):
            return True  # the log density is that of the data, not of a value given for an observed site
        z = compiled.unconstrain(values)
        if not np.isfinite(z).all():
            entry = compiled.names[int(np.argmin(np.isfinite(z)))]
            self.out.print(f"{entry} is on the edge of its support: there is no unconstrained point of these values")
            return True
        return self._flat_point(z)

    def _flat_point(self, z: Any) -> bool:
        if not self._finite_at(z):
            return False
        value = float(self.compiled.log_density(z))
        self.out.print(
            f"log density {value:.10g} nats, unconstrained: every term, log Jacobian and the gradient are finite"
        )
        return True

    def random_points(self, seed: int) -> bool:
        """At random points of the unconstrained space; where there is none, at a prior draw."""
        compiled = self.compiled
        if not compiled.has_log_density:
            return self._prior_draw(seed)
        starts = np.random.default_rng(seed).uniform(-RADIUS, RADIUS, (STARTS, compiled.dim)).astype(compiled.dtype)
        bad = [i for i, z in enumerate(starts) if not _has_value_and_gradient(compiled, z)]
        where = f"{STARTS} random points of ({-RADIUS:g}, {RADIUS:g}) (seed {seed})"
        if not bad:
            self.out.print(f"value and gradient are finite at {where}")
            return True
        what = f"value or gradient is not finite at {len(bad)} of {where}; at the first of them"
        self.out.print(Text(what, "bold"))
        self._finite_at(starts[bad[0]])
        return False

    def _prior_draw(self, seed: int) -> bool:
        where = f"a prior draw (seed {seed}), as the model has no unconstrained density"
        if self._finite(random_values(self.compiled, seed), f"not finite at {where}"):
            what = "every term and the gradient are" if self.saved is None else "every term is"
            self.out.print(f"{what} finite at {where}")
            return True
        return False

    # -- one point --------------------------------------------------------------------------------------

    def _finite(self, values: Mapping[str, Any], before: str = "") -> bool:
        """At constrained values; `before` is printed where they are not finite."""
        found = self.compiled.find_nonfinite(values) if self.saved is None else self._term(self.saved, values)
        return self._none(found, before)

    def _finite_at(self, z: Any) -> bool:
        """At a flat vector."""
        if self.saved is None:
            return self._none(self.compiled.find_nonfinite(z))
        found = self._term(self.saved, self.compiled.constrain(z))
        if found is None and not _has_value_and_gradient(self.compiled, z):
            found = "every site's term is finite: it is the log Jacobian, or the gradient"
        return self._none(found)

    def _none(self, found: object, before: str = "") -> bool:
        if found is not None and before:
            self.out.print(Text(before, "bold"))
        if found is not None:
            self.out.print(_shown(found))
        return found is None

    def _term(self, saved: Saved, values: Mapping[str, Any]) -> str | None:
        """The first site whose term is not finite, as a sentence; None where there is none."""
        for site, term in self.compiled.log_prob_terms(values).items():
            bad = np.argwhere(~np.isfinite(term))
            if len(bad):
                at = f" at [{', '.join(map(str, bad[0]))}]" if np.ndim(term) else ""
                value, loc = np.asarray(term)[tuple(bad[0])], saved.about.lines.get(site)
                return f"log probability of {site!r}{at} is {value}" + (f" ({loc})" if loc else "")
        return None


def _has_value_and_gradient(compiled: CompiledModel, z: Any) -> bool:
    value, gradient = compiled.log_density_and_grad(z)
    return bool(np.isfinite(value)) and bool(np.isfinite(gradient).all())


def _latents(compiled: CompiledModel) -> set[str]:
    """Their names, one by one and of families."""
    return set(compiled.shapes) | {
        name for name, sites in compiled.families.items() if set(sites) <= set(compiled.shapes)
    }


def _shown(found: object) -> Text:
    first, *rest = str(found).split("\n")
    return Text.assemble((first, "bold red"), *(f"\n{line}" for line in rest))


__all__ = ["Look"]
