# What `import plait` offers; each name is imported when it is first used (see __init__.py).

from . import handlers, samplers
from .compiler.modules import module, random_module
from .compiler.plates import plate, plate_stack, subsample
from .compiler.primitives import deterministic, factor, get_mask, param, sample
from .ir.errors import (
    ArtifactError,
    BindError,
    CertificateError,
    ConvergenceError,
    DataError,
    DrawingError,
    InternalError,
    MissingExtraError,
    ModelError,
    OptionError,
    PassError,
    PlaitError,
    ValueNamesError,
)
from .runtime.arviz_data import to_arviz
from .runtime.compile import compile
from .runtime.compile_elbo import elbo
from .runtime.compiled import CompiledModel
from .runtime.diff import diff
from .runtime.draws import Draws
from .runtime.elbo import Elbo
from .runtime.explore.explore import explore
from .runtime.load import load
from .runtime.summary import diagnose, summary

__version__: str

__all__ = [
    "ArtifactError", "BindError", "CertificateError", "CompiledModel", "ConvergenceError", "DataError",
    "DrawingError", "Draws", "Elbo", "InternalError", "MissingExtraError", "ModelError", "OptionError", "PassError",
    "PlaitError", "ValueNamesError", "compile", "deterministic", "diagnose", "diff", "elbo", "explore", "factor",
    "get_mask", "handlers", "load", "module", "param", "plate", "plate_stack", "random_module", "sample", "samplers",
    "subsample", "summary", "to_arviz",
]  # fmt: skip
