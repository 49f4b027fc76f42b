"""Everything that plait raises, in one table.

A user's error is a sentence about the model: what, where (site, plate, file and line), what to do.
``InternalError`` is the one that is ours: it says that a pass broke an invariant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.ir.types import Loc


class PlaitError(Exception):
    """Base of every error that plait raises on purpose.

    Args:
        message: one sentence or two, without the location.
        loc: the user's file and line, appended as ``(file.py:12)``.
    """

    def __init__(self, message: str, loc: Loc | None = None) -> None:
        self.loc = loc
        super().__init__(message if loc is None else f"{message} ({loc})")


class ModelError(PlaitError):
    """The model function asks for something that has no meaning, or that plait does not compile."""


class SiteTypeError(ModelError, TypeError):
    """An argument of a primitive has the wrong type, such as a site whose `fn` is no distribution."""


class DataError(PlaitError):
    """A data value contradicts the model: outside a support, NaN, an index out of range."""


class ValueNamesError(PlaitError, KeyError):
    """A dict of values has a missing, an unknown or a misshaped entry."""

    __str__ = Exception.__str__  # KeyError would print the repr of the sentence


class BindError(PlaitError, TypeError):
    """``bind`` got arguments that the compiled program does not fit."""


class PassError(PlaitError):
    """A pass or a rule was switched by an unknown name, or lacks a pass that it needs."""


class CertificateError(PlaitError):
    """``check=True`` found a pass after which value or gradient differ from the reference.

    Args:
        certificate: a `plait.compiler.certificate.Certificate`: what was compared, up to that pass.
    """

    def __init__(self, certificate: Any) -> None:
        self.certificate = certificate
        super().__init__(certificate.verdict)


class OptionError(PlaitError, ValueError):
    """An option of a sampler is out of its range."""


class ConvergenceError(PlaitError, RuntimeError):
    """An optimizer found no maximum, or none that is strict: the density is unbounded or flat, or it takes longer."""


class InternalError(PlaitError):
    """A defect of plait itself: a graph that left a pass does not verify."""


class ArtifactError(PlaitError):
    """A saved model can't be read, or does not fit this process; or a model can't be saved."""


class DrawingError(PlaitError):
    """A picture can't be laid out, or not be written as an image here."""


class MissingExtraError(PlaitError, ImportError):
    """A part of plait was asked for whose optional packages are not installed; names the extra."""
