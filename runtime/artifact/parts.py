"""The programs of a saved model by name: the whole, and the parts of its log density."""

from __future__ import annotations

from plait.ir.parts import JACOBIAN, LIKELIHOOD, PRIOR, Part

WHOLE_MODEL = "whole"
OF_DATA = "data"  # no program: functions that all of them share
UNSCALED = "unscaled"  # each observation counts once
ON_ROWS = "rows/"  # begins the names of programs without statistics of the host, for data that do not fit these

PARTS = {
    "prior": PRIOR,
    "likelihood": LIKELIHOOD,
    "jacobian": JACOBIAN,
    "prior_without_jacobian": Part(likelihood=False, jacobian=False),
    "without_jacobian": Part(jacobian=False),
    "propto": Part(constants=False),
    "propto_without_jacobian": Part(jacobian=False, constants=False),
}
NAMES = {part: name for name, part in PARTS.items()}

__all__ = ["NAMES", "OF_DATA", "ON_ROWS", "PARTS", "UNSCALED", "WHOLE_MODEL"]
