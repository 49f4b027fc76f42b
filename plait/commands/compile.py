"""``plait compile``: a model as a file, which runs without its source."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from plait.ir.errors import ArtifactError
from plait.model_file import ModelFileError, split_target
from plait.options import Cache, Data, Debug, DtypeOption, Float64, Json, Platform, Target, Without, stages
from plait.render import console, site_table
from plait.runtime.artifact.about import SavedInfo, about, size
from plait.runtime.artifact.container import is_saved
from plait.runtime.artifact.load import open_saved
from plait.runtime.compiled import CompiledModel
from plait.runtime.progress import OnProgress, Progress, reporting
from plait.session import Opened, Session, session, warn, with_fixed_params

SCHEMA = "plait.compile/1"
PLATFORMS = (Platform.CPU, Platform.CUDA, Platform.TPU)


def compile(
    target: Target,
    data: Data = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write; MODEL.plait in this folder."),
    ] = None,
    platform: Annotated[
        list[Platform] | None,
        typer.Option(help="What it is to run on (repeatable); cpu, cuda and tpu.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of initial values of params that are random.")] = 0,
    as_json: Json = False,
    dtype: DtypeOption = None,
    float64: Float64 = None,
    without: Without = None,
    cache: Cache = None,
    debug: Debug = False,
) -> None:
    """Compile a model and save it with its data as a file, which runs without the model's source."""
    with session(target, float64, dtype, debug, cache) as at:
        file = _file(at, output)
        platforms = tuple(dict.fromkeys(p.value for p in platform or PLATFORMS))
        with reporting(True) as report:
            model = at.opened(data, without, _passes(report, without))
            began = time.perf_counter()
            compiled = _with_params(model.compiled, seed, as_json)
            _save(compiled, file, platforms, report)
            seconds = {"compile": round(model.seconds, 3), "export": round(time.perf_counter() - began, 3)}
        found = about(open_saved(file))
        if as_json:
            typer.echo(json.dumps(_summary(file, found, seconds), allow_nan=False))
        else:
            _print(at, model, file, found, seconds)


def _file(at: Session, output: Path | None) -> Path:
    """Where to write; looked at before anything slow runs.

    Raises:
        ArtifactError: the target is compiled already.
        ModelFileError: there is no such folder, or a file that is no saved model.
    """
    if at.saved is not None:
        raise ArtifactError(f"{at.saved.path} is compiled: give the MODEL.py that it was made of")
    path, function = split_target(at.target)
    file = output or Path(f"{path.stem}.{function}.plait" if function else f"{path.stem}.plait")
    if not file.parent.is_dir():
        raise ModelFileError(f"can't write {file}: there is no folder {file.parent}")
    if file.is_dir():
        raise ModelFileError(f"can't write {file}: it is a folder")
    if file.exists() and not is_saved(file):
        raise ModelFileError(f"{file} is no saved model and is not overwritten: choose another --output")
    return file


def _passes(report: OnProgress, without: Sequence[str] | None) -> Callable[[str, Any], None]:
    """Reports the trace and each pass when it is done."""
    names = [name for name in stages() if name not in (without or ())]
    report(Progress("compile the model", 0, len(names), step=names[0]))

    def on_graph(name: str, graph: Any) -> None:
        done = names.index(name) + 1
        step = names[done] if done < len(names) else "data"
        report(Progress("compile the model", done, len(names), step=step))

    return on_graph


def _with_params(compiled: CompiledModel, seed: int, as_json: bool) -> CompiledModel:
    if compiled.has_random_params:
        sentence = f"params are saved at initial values, the random ones drawn with seed {seed}"
        warn(console(stderr=as_json), sentence)
    return with_fixed_params(compiled, seed)


def _save(compiled: CompiledModel, file: Path, platforms: Sequence[str], report: OnProgress) -> None:
    try:
        compiled.save(file, platforms=platforms, progress=report)
    except OSError as e:
        raise ModelFileError(f"can't write {file}: {e.strerror or e}") from None


def _summary(file: Path, found: SavedInfo, seconds: dict[str, float]) -> dict[str, Any]:
    """What `docs/json.md` says."""
    return {
        "schema": SCHEMA,
        "file": str(file),
        "bytes": file.stat().st_size,
        "precision": found.precision,
        "platforms": list(found.platforms),
        "dim": found.dim,
        "sites": [site.name for site in found.sites],
        "functions": sum(f.count for f in found.functions),
        "seconds": seconds,
    }


def _print(at: Session, model: Opened, file: Path, found: SavedInfo, seconds: dict[str, float]) -> None:
    at.out.print(model.title)
    at.out.print(site_table(model.sites))
    count = sum(f.count for f in found.functions)
    values = "no unconstrained density" if found.dim is None else f"{found.dim} unconstrained values"
    at.out.print(
        Text(f"\n{file}: {size(file.stat().st_size)}, {count} functions for {', '.join(found.platforms)}", "bold")
    )
    at.out.print(
        f"{values}, {found.precision}; compiled in {seconds['compile']:.1f} s, exported in {seconds['export']:.1f} s"
    )
