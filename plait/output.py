"""Files that commands write: looked at before anything slow runs, and errors of the system as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plait.model_file import ModelFileError


def require_place(path: Path) -> None:
    """Raises ModelFileError where there is no folder for a file, or a folder in its place."""
    if not path.parent.is_dir():
        raise ModelFileError(f"can't write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ModelFileError(f"can't write {path}: it is a folder")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system says against writing a file is a ModelFileError."""
    try:
        yield
    except OSError as e:
        raise ModelFileError(f"can't write {path}: {e.strerror or e}") from None


__all__ = ["require_place", "writing"]
