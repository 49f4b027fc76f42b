"""`plait.load`: a compiled model from a file."""

from __future__ import annotations

import os
from pathlib import Path

from plait.runtime.artifact.load import Saved, open_saved, require_process
from plait.runtime.artifact.parts import WHOLE_MODEL
from plait.runtime.artifact.program import LoadedProgram
from plait.runtime.compiled import CompiledModel


def load(path: str | os.PathLike[str]) -> CompiledModel:
    """The model that `CompiledModel.save` wrote, bound to the data that it was saved with.

    It needs neither the model's source nor NumPyro. Load only files that you trust: a digest tells damage, not intent.

    Raises:
        ArtifactError: the file is no saved model, damaged, or of another format, precision or platform.
        OSError: it can't be read.
    """
    return loaded(open_saved(Path(path)))


def loaded(saved: Saved) -> CompiledModel:
    """The model of a file that has been read.

    Raises:
        ArtifactError: it is of another precision or platform than this process.
    """
    require_process(saved)
    manifest, arrays = saved.manifest, saved.arrays
    return CompiledModel(
        LoadedProgram(saved, WHOLE_MODEL),
        tuple(arrays[i] for i in manifest.data),
        saved.known(manifest.programs[WHOLE_MODEL].known),
        None if manifest.params is None else tuple(saved.on_device(manifest.params)),
        manifest.fixed_params,
    )


__all__ = ["load", "loaded"]
