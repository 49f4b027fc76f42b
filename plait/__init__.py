"""plait: a compiler for probabilistic models.

Write a model with five primitives (NumPyro's, with `numpyro.distributions`), compile it once, and use its
log density, gradient and sampler: see `plait.compile`.
"""

from plait import handlers, samplers
from plait.compiler.modules import module, random_module
from plait.compiler.plates import plate, plate_stack, subsample
from plait.compiler.primitives import deterministic, factor, get_mask, param, sample
from plait.ir.errors import (
    BindError,
    CertificateError,
    ConvergenceError,
    DataError,
    InternalError,
    MissingExtraError,
    ModelError,
    OptionError,
    PassError,
    PlaitError,
    ValueNamesError,
)
from plait.runtime.arviz_data import to_arviz
from plait.runtime.compile import compile
from plait.runtime.compile_elbo import elbo
from plait.runtime.compiled import CompiledModel
from plait.runtime.draws import Draws
from plait.runtime.elbo import Elbo
from plait.runtime.summary import diagnose, summary

__version__ = "0.1.0"

__all__ = [
    "BindError", "CertificateError", "CompiledModel", "ConvergenceError", "DataError", "Draws", "Elbo", "InternalError",
    "MissingExtraError", "ModelError", "OptionError", "PassError", "PlaitError", "ValueNamesError", "compile",
    "deterministic", "diagnose", "elbo", "factor", "get_mask", "handlers", "module", "param", "plate", "plate_stack",
    "random_module", "sample", "samplers", "subsample", "summary", "to_arviz",
]  # fmt: skip
