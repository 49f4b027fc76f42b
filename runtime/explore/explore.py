"""Writes the page."""

from __future__ import annotations

import linecache
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plait.ir.files import replaced
from plait.runtime.compiled import CompiledModel
from plait.runtime.explore.data import page_data
from plait.runtime.explore.page import page
from plait.runtime.explore.stages import Source
from plait.runtime.progress import OnProgress, reporting


def explore(
    compiled: CompiledModel,
    path: str | os.PathLike[str],
    *,
    at: Mapping[str, Any] | None = None,
    seed: int = 0,
    title: str | None = None,
    source: str | os.PathLike[str] | None = None,
    progress: bool | OnProgress = True,
) -> Path:
    """Writes a page of HTML that shows a model: source, graphs, terms, compiled code, and how they hang together.

    The page needs no network and no other file. It has the user's source, names and paths in it, and values of the
    latents at some points; of the data what the numbers at these points tell.

    Args:
        compiled: the model; its params have values.
        path: of the page, which is replaced in one step.
        at: constrained values by site to look at, beside a random point; those that it leaves out are random.
        seed: of random points.
        title: of the page; by default the name of the model's file.
        source: the model's file; by default the one that it was traced from, and of a saved model none.
        progress: as for samplers.

    Returns:
        The path.

    Raises:
        ModelError: a param has no value; `with_params` gives it one.
        ValueNamesError: `at` has an unknown or misshaped value.
        OSError: a file can't be read or written; what was there before stays.
    """
    path = Path(path)
    with reporting(progress) as report:
        shown = _source(compiled, source)
        title = title or Path(shown.path).name or path.stem
        content = page(page_data(compiled, title, shown, at, seed, report))
    with replaced(path) as file:
        file.write(content.encode())
    return path


def _source(compiled: CompiledModel, given: str | os.PathLike[str] | None) -> Source:
    """The file that most sites are in, as it is now; of a saved model its name alone, unless it is given."""
    files = Counter(loc.file for loc in compiled._about.lines.values())
    path = files.most_common(1)[0][0] if files else ""
    if given is not None:
        return Source(path, Path(given).read_text(encoding="utf-8"))
    if not path or not compiled._program.has_source:
        return Source(path, "")
    linecache.checkcache(path)
    return Source(path, "".join(linecache.getlines(path)))  # a notebook's cell, too


__all__ = ["explore"]
