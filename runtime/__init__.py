"""From compiled functions to the object that users hold: jit, data, names, samplers."""

from plait.ir.errors import ConvergenceError, ModelError, OptionError
from plait.runtime.compiled import CompiledModel
from plait.runtime.draws import Draws, constrained_draws, start_points
from plait.runtime.extras import optional, require
from plait.runtime.given import one_key
from plait.runtime.prior import prior_points, require_normalized_prior
from plait.runtime.progress import OnProgress, Progress, reporting

__all__ = [
    "CompiledModel",
    "ConvergenceError",
    "Draws",
    "ModelError",
    "OnProgress",
    "OptionError",
    "Progress",
    "constrained_draws",
    "one_key",
    "optional",
    "prior_points",
    "reporting",
    "require",
    "require_normalized_prior",
    "start_points",
]
