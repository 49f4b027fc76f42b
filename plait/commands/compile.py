"""``plait compile``: a model as a file, which runs without its source."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer
from rich.text import Text

from plait.compiler.report import Report
from plait.ir.errors import ArtifactError
from plait.model_file import ModelFileError, split_target
from plait.options import Cache, Data, Debug, DtypeOption, Float64, Json, Platform, Source, Without, stages
from plait.output import require_place, writing
from plait.render import console, site_table
from plait.runtime.artifact.about import size
from plait.runtime.artifact.container import is_saved
from plait.runtime.artifact.load import open_saved
from plait.runtime.compiled import CompiledModel
from plait.runtime.progress import OnProgress, Progress, reporting
from plait.session import Opened, Session, session, warn, with_fixed_params

PLATFORMS = (Platform.CPU, Platform.CUDA, Platform.TPU)
COMPILING = "compile the model"  # as the progress bar calls it


@dataclass(frozen=True)
class Summary(Report):
    """What was written.

    Attributes:
        file: its path.
        bytes: its size.
        precision: "float64" or "float32".
        platforms: that it has code for.
        dim: length of the flat unconstrained vector; null where there is none.
        sites: their names, in program order; of sites that a loop made their pattern.
        functions: how many were exported.
        seconds: of "compile", which is the trace, the passes and the data, and of "export".
    """

    schema: ClassVar[str] = "plait.compile/1"
    what: ClassVar[str] = "the summary"

    file: str
    bytes: int
    precision: str
    platforms: tuple[str, ...]
    dim: int | None
    sites: tuple[str, ...]
    functions: int
    seconds: dict[str, float]

    def __rich__(self) -> Text:
        values = "no unconstrained density" if self.dim is None else f"{self.dim} unconstrained values"
        spent = f"compiled in {self.seconds['compile']:.1f} s, exported in {self.seconds['export']:.1f} s"
        written = f"\n{self.file}: {size(self.bytes)}, {self.functions} functions for {', '.join(self.platforms)}"
        return Text.assemble((written, "bold"), f"\n{values}, {self.precision}; {spent}")


def compile(
    target: Source,
    data: Data = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write; MODEL.plait in this folder."),
    ] = None,
    platform: Annotated[
        list[Platform] | None,
        typer.Option(
            metavar="NAME", help="Of cpu, cuda, rocm, tpu (repeatable); cpu, cuda and tpu.", show_default=False
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA", help="Data of which the file is to take any number of rows, the same for all (repeatable)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of initial values of params that are random.")] = 0,
    as_json: Json = False,
    dtype: DtypeOption = None,
    float64: Float64 = None,
    without: Without = None,
    cache: Cache = None,
    debug: Debug = False,
) -> None:
    """Save a model as a file that runs without its source.

    The data are in the file. `plait sample`, `explain`, `show`, `check`, `bench` and `info` take it, and so does
    plait.load in Python.
    """
    with session(target, float64, dtype, debug, cache) as at:
        file = _file(at, output)
        platforms = tuple(dict.fromkeys(p.value for p in platform or PLATFORMS))
        with reporting(True) as report:
            model = _opened(at, data, without, report)
            began = time.perf_counter()
            compiled = _with_params(model.compiled, seed, as_json)
            _save(compiled, file, platforms, rows or (), report)
            seconds = {"compile": round(model.seconds, 3), "export": round(time.perf_counter() - began, 3)}
        summary = _summary(file, model, seconds)
        if as_json:
            typer.echo(json.dumps(summary.to_json(), allow_nan=False))
            return
        at.out.print(model.title)
        at.out.print(site_table(model.sites))
        at.out.print(summary)


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
    require_place(file)
    if file.exists() and not is_saved(file):
        raise ModelFileError(f"{file} is no saved model and is not overwritten: choose another --output")
    return file


def _opened(at: Session, data: Path | None, without: Sequence[str] | None, report: OnProgress) -> Opened:
    """The model; reports the trace, each pass, and what is done with the data after them."""
    steps = [*(name for name in stages() if name not in (without or ())), "data"]

    def done(count: int) -> None:
        report(Progress(COMPILING, count, len(steps), step=steps[count] if count < len(steps) else ""))

    done(0)
    model = at.opened(data, without, lambda name, graph: done(steps.index(name) + 1))
    done(len(steps))
    return model


def _with_params(compiled: CompiledModel, seed: int, as_json: bool) -> CompiledModel:
    if compiled.has_random_params:
        sentence = f"params are saved at initial values, the random ones drawn with seed {seed}"
        warn(console(stderr=as_json), sentence)
    return with_fixed_params(compiled, seed)


def _save(
    compiled: CompiledModel, file: Path, platforms: Sequence[str], rows: Sequence[str], report: OnProgress
) -> None:
    with writing(file):
        compiled.save(file, platforms=platforms, rows=rows, progress=report)


def _summary(file: Path, model: Opened, seconds: dict[str, float]) -> Summary:
    """What stands in the file, as it is read back."""
    manifest = open_saved(file).manifest
    return Summary(
        str(file),
        file.stat().st_size,
        manifest.precision,
        manifest.platforms,
        model.compiled.dim if model.compiled.has_log_density else None,
        tuple(site.name for site in model.sites),
        len(manifest.functions),
        seconds,
    )
