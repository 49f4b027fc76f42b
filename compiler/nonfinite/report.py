"""What is said about a density that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.compiler.refused_data import shown
from plait.ir.types import Loc


@dataclass(frozen=True)
class NonFinite:
    """The first thing in a model that is infinite or NaN at a point; ``print`` says it in a few lines.

    Attributes:
        site: of the model; empty where every term is finite and only their sum is not.
        what: "log probability", "log Jacobian" (of the bijection to the site's support), "gradient" (of the site's
            log probability or log Jacobian) or "log density" (of all sites).
        number: -inf, inf or nan; of a gradient its first entry that is not finite.
        family: of the distribution that is evaluated, such as ``Normal``; of a factor ``Unit``.
        index: (axis, place) for each axis of the term: the name of a plate, "step" for a loop, "" for other axes.
            Empty for a gradient that is not an element's.
        value: of the site at this index; None for a factor.
        parameters: of the distribution at this index, by name: arrays on the host.
        why: as far as it is known: a value outside the support, a parameter that is not allowed, where a NaN began.
        origin: the user's line where it began, if that is another one.
        loc: the user's line of the site.
    """

    site: str
    what: str
    number: float
    family: str
    index: tuple[tuple[str, int], ...]
    value: np.ndarray | None
    parameters: Mapping[str, np.ndarray]
    why: str
    origin: Loc | None
    loc: Loc | None

    @property
    def place(self) -> str:
        """``schools[3]``, ``step 7, rows[2]``; empty for a scalar."""
        return ", ".join(f"step {i}" if axis == "step" else f"{axis}[{i}]" for axis, i in self.index)

    def __str__(self) -> str:
        where = f" ({self.loc})" if self.loc is not None else ""
        if not self.site:
            return f"the {self.what} is {self.number:g}{where}: {self.why}"
        at = f" at {self.place}" if self.place else ""
        lines = [f"{self.what} of {self.site!r}{at} is {self.number:g}{where}"]
        if self.family == "Unit":
            shown_value = f"  factor {self.site}"
        else:
            inside = ", ".join(f"{name}={shown(x)}" for name, x in self.parameters.items())
            shown_value = f"  {self.site} ~ {self.family}({inside})"
            if self.value is not None:
                shown_value += f" at {shown(self.value)}"
        return "\n".join([*lines, shown_value, *([f"  {self.why}"] if self.why else [])])


def number_of(x: Any) -> float:
    """The first entry that is not finite."""
    values = np.ravel(np.asarray(x))
    return float(values[np.argmin(np.isfinite(values))])


__all__ = ["NonFinite", "number_of"]
