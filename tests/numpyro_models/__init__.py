"""NumPyro models as their authors write them, one table of cases: what `plait.compile` accepts unchanged."""

from . import discrete, effects, fields, hierarchies, learned, measurement, missing, mixtures, regressions, series
from .case import Case

__all__ = ["CASES", "Case"]

CASES: tuple[Case, ...] = (
    *regressions.CASES,
    *hierarchies.CASES,
    *mixtures.CASES,
    *series.CASES,
    *fields.CASES,
    *measurement.CASES,
    *missing.CASES,
    *learned.CASES,
    *effects.CASES,
    *discrete.CASES,
)
