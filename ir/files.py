"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` in one step: a crash leaves what was there before.

    Raises:
        OSError: the file can't be written; what was there before stays.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.new")  # in the same folder: a rename can't cross file systems
    try:
        with _created(new, path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _created(new: Path, path: Path) -> BinaryIO:
    try:
        return new.open("xb")
    except OSError as e:
        raise OSError(e.errno, e.strerror, str(path)) from None  # not the name that only this function knows


__all__ = ["replaced"]
