"""Writes a compiled model: exports its functions, and collects what is data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plait.compiler.jax_compat import UndecidedSizeError, is_tracer
from plait.ir.drawing.drawing import draw
from plait.ir.errors import ArtifactError, OptionError
from plait.ir.graph import Graph
from plait.ir.names import unknown_names
from plait.ir.records import to_data
from plait.ir.sites import site_lines
from plait.ir.text import to_text
from plait.runtime.artifact.arrays import ArrayWriter
from plait.runtime.artifact.container import write
from plait.runtime.artifact.exporting import Exportable, Sizes, exported
from plait.runtime.artifact.lengths import DiffersError, Line, on_line
from plait.runtime.artifact.manifest import (
    AnyRows,
    FunctionRecord,
    KernelRecord,
    Longer,
    ProgramRecord,
    kernels_on_line,
)
from plait.runtime.artifact.parts import OF_DATA, ON_ROWS, WHOLE_MODEL
from plait.runtime.artifact.pictures import Picture, Pictures
from plait.runtime.artifact.programs import Saving, counterpart, has_statistics, programs
from plait.runtime.artifact.recording import manifest_of, plain, program_record
from plait.runtime.artifact.rows import OtherRowsError, at_numbers, fewest_rows, number_of_rows, numbers_of_rows
from plait.runtime.bound import Bound
from plait.runtime.program import Program
from plait.runtime.progress import OnProgress, Progress

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@dataclass
class _File:
    """What has been collected."""

    platforms: Sequence[str]
    on_function: Callable[[int, str], None]  # how many are done, and of which program the next one is
    arrays: ArrayWriter = field(default_factory=ArrayWriter)
    functions: list[FunctionRecord] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    programs: dict[str, ProgramRecord] = field(default_factory=dict)
    longer: dict[str, tuple[KernelRecord, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Traced:
    """Which data may have other numbers of rows, and at which numbers the model is traced."""

    rows: AnyRows
    numbers: tuple[int, ...]


def save(bound: Bound, path: Path, platforms: Sequence[str], rows: tuple[str, ...], report: OnProgress) -> None:
    """Writes a compiled model, in one step.

    Args:
        bound: the model on its data.
        path: of the file.
        platforms: that it is to run on: of "cpu", "cuda", "rocm" and "tpu".
        rows: the data whose leading axis may have another length after loading.
        report: called before each function is exported, and once after the last.

    Raises:
        ArtifactError: something of the model has no form in a file; or a function can't be exported to a platform.
        OptionError: `rows` names no data, or such of different lengths; a platform is unknown.
        OSError: the file can't be written; what was there before stays.
    """
    if not isinstance(bound._program, Program):
        raise ArtifactError("a loaded model can't be saved: copy its file, and bind other data where it is loaded")
    _require_known(platforms)
    if any(map(is_tracer, bound._data)):
        raise ArtifactError("a model on data that jax is tracing can't be saved: there are no numbers yet")
    if not rows:
        write(path, _members([bound], None, platforms, report))
        return
    n = number_of_rows(bound, rows)
    for fewest in fewest_rows(n):  # other code for few rows is no obstacle to code for more
        try:
            members = _of_any_rows(bound, AnyRows(rows, fewest), n, platforms, report)
        except OtherRowsError:
            if fewest == n:
                raise
        else:
            write(path, members)
            return


def _require_known(platforms: Sequence[str]) -> None:
    if "gpu" in platforms:  # nearer to "cpu" by its letters alone
        raise OptionError("there is no platform 'gpu'; did you mean 'cuda'? (there are: 'cpu', 'cuda', 'rocm', 'tpu')")
    unknown_names(platforms, PLATFORMS, "platform", OptionError)


def _of_any_rows(
    bound: Bound, any_rows: AnyRows, n: int, platforms: Sequence[str], report: OnProgress
) -> dict[str, bytes]:
    numbers = numbers_of_rows(n, any_rows.fewest)
    several = [*at_numbers(bound, any_rows.names, numbers, report)]
    return _members(several, _Traced(any_rows, tuple(numbers)), platforms, report)


def _members(
    several: Sequence[Bound], traced: _Traced | None, platforms: Sequence[str], report: OnProgress
) -> dict[str, bytes]:
    """The members of a file, of the model on its own data and then on other numbers of rows."""
    bound, by_number = several[0], [programs(b) for b in several]
    total = sum(1 for saving in by_number[0].values() for _ in saving.functions(1))
    file = _File(platforms, lambda done, name: report(Progress("export", done, total, step=name)))
    for name in by_number[0]:
        _add_program(file, name, by_number, traced)
    file.on_function(total, "")
    longer = _longer(several, traced, file) if traced is not None else None
    manifest = manifest_of(bound, platforms, file.programs, file.functions, file.arrays, longer)
    whole = by_number[0][WHOLE_MODEL].program
    return {
        "manifest": _json(to_data(manifest)),
        "graph": _json(_graphs(whole)),
        "explanation": _json(whole.explain(bound.certificate, bound._data).to_json()),
        "arrays": b"".join(file.arrays.bodies),
        "functions": b"".join(file.blobs),
    }


# -- programs -------------------------------------------------------------------------------------------------


def _add_program(file: _File, name: str, by_number: Sequence[dict[str, Saving]], traced: _Traced | None) -> None:
    """Adds a program: for any number of rows, or for the saved number where another program is there for others."""
    saving = by_number[0][name]
    if traced is not None:
        # with fewer rows fewer cells have some, and statistics have another room
        chosen = [i for i, n in enumerate(traced.numbers) if n >= traced.numbers[0] or not has_statistics(name, saving)]
        several = [counterpart(name, saving, by_number[i]) for i in chosen]
        try:
            _add(file, name, several, Sizes.any_rows([traced.numbers[i] for i in chosen], traced.rows.fewest))
            return
        except DiffersError as e:
            if ON_ROWS + name not in by_number[0]:
                raise OtherRowsError(f"{name} differs by more than their number: {e}") from e
    _add(file, name, [saving], Sizes.fixed())


def _add(file: _File, name: str, several: Sequence[Saving], sizes: Sizes) -> None:
    any_rows = sizes.m is not None
    records = [program_record(s, any_rows, file.arrays) for s in several] if name != OF_DATA else []
    if records and any_rows:
        next_row = Line(sizes.line.at, 1)
        on_line([(r.uses, r.checks) for r in records], next_row)
        kernels_on_line([r.kernels for r in records], next_row)
    code = list(_code(file, name, several, sizes))
    file.functions += [record for record, _ in code]
    file.blobs += [blob for _, blob in code]
    if records:
        file.programs[name] = records[0]
    if records and any_rows:
        file.longer[name] = records[1].kernels


def _code(file: _File, name: str, several: Sequence[Saving], sizes: Sizes) -> Iterator[tuple[FunctionRecord, bytes]]:
    for done, functions in enumerate(zip(*(s.functions(sizes.n, sizes.m is not None) for s in several), strict=True)):
        file.on_function(len(file.functions) + done, name)
        what = f"{name}/{functions[0].name}"
        blob, constants = _export(what, functions, sizes, file.platforms)
        places = tuple(file.arrays.add(c, f"constants of {what}") for c in constants)
        yield FunctionRecord(what, len(blob), places, sizes.m is not None), blob


def _export(
    name: str, functions: Sequence[Exportable], sizes: Sizes, platforms: Sequence[str]
) -> tuple[bytes, list[Any]]:
    try:
        found, constants = exported(functions, sizes, platforms)
        return bytes(found.serialize()), constants
    except (NotImplementedError, ValueError, TypeError, UndecidedSizeError) as e:
        reason = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
        what = f"{name} can't be exported to {', '.join(platforms)}: {reason}"
        raise (ArtifactError if sizes.m is None else DiffersError)(what) from e


def _longer(several: Sequence[Bound], traced: _Traced, file: _File) -> Longer:
    """What is another with one row more."""
    abouts = [(plain(b._about), plain(b._unscaled._about)) for b in several]
    try:
        on_line(abouts, Line(tuple(n - traced.numbers[0] for n in traced.numbers), 1))
    except DiffersError as e:
        raise OtherRowsError(f"the sites differ by more than their number: {e}") from e
    return Longer(traced.rows, *abouts[1], file.longer)


# -- what is shown --------------------------------------------------------------------------------------------


def _graphs(program: Program) -> dict[str, Any]:
    traced, density = program.traced, program.density_graph
    shown = Pictures(tuple(site_lines(program.model)), _picture(traced), _picture(density))
    rolled = {} if program.model is traced else {"rolled": program.model.to_json()}
    return {"traced": traced.to_json(), **rolled, "density": density.to_json(), "pictures": to_data(shown)}


def _picture(graph: Graph) -> Picture:
    return Picture(to_text(graph), to_text(graph, lines=True), draw(graph.to_json()).dot)


def _json(data: Any) -> bytes:
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode()


__all__ = ["save"]
