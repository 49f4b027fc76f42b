"""Writes a compiled model: exports its functions, and collects what is data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.binding import data_names
from plait.compiler.host_checks import condition
from plait.compiler.jax_compat import is_tracer
from plait.compiler.kernels.recipes import recipe
from plait.compiler.lower.prior_transform import require_quantiles
from plait.compiler.lower.sampler import undrawn_sites
from plait.ir.dot import to_dot
from plait.ir.errors import ArtifactError, ModelError
from plait.ir.graph import Graph, Node
from plait.ir.ops import Check, Const, Input, inputs
from plait.ir.records import to_data
from plait.ir.sites import site_lines
from plait.ir.text import to_text
from plait.runtime.artifact.arrays import ArrayWriter
from plait.runtime.artifact.container import write
from plait.runtime.artifact.exporting import (
    Example,
    Exportable,
    data_functions,
    density_functions,
    drawing_functions,
    drawn_types,
    exported,
    param_functions,
    site_functions,
    space_functions,
    terms_function,
    unconstrain_function,
)
from plait.runtime.artifact.manifest import (
    ArrayRecord,
    CheckRecord,
    FunctionRecord,
    KernelRecord,
    Known,
    Manifest,
    ProgramRecord,
    Source,
    tree_of,
)
from plait.runtime.artifact.parts import ON_ROWS, PARTS, UNSCALED, WHOLE_MODEL
from plait.runtime.artifact.pictures import Picture, Pictures
from plait.runtime.bound import Bound
from plait.runtime.description import Description, Refusal
from plait.runtime.program import Program
from plait.runtime.progress import OnProgress, Progress


@dataclass(frozen=True)
class _Part:
    """A program to save: on which data, and what of it."""

    bound: Bound
    functions: Callable[[Program, Example], Iterator[Exportable]]

    @property
    def program(self) -> Program:
        assert isinstance(self.bound._program, Program)
        return self.bound._program


def save(bound: Bound, path: Path, platforms: Sequence[str], report: OnProgress) -> None:
    """Writes a compiled model, in one step.

    Args:
        bound: the model on its data.
        path: of the file.
        platforms: that it is to run on: of "cpu", "cuda", "rocm" and "tpu".
        report: called before each function is exported, and once after the last.

    Raises:
        ArtifactError: something of the model has no form in a file; or a function can't be exported to a platform.
        OSError: the file can't be written; what was there before stays.
    """
    if any(map(is_tracer, bound._data)):
        raise ArtifactError("a model on data that jax is tracing can't be saved: there are no numbers yet")
    parts = dict(_parts(bound))
    arrays, records, blobs = ArrayWriter(), [], []
    todo = [(f"{name}/{f.name}", f) for name, part in parts.items() for f in _functions(part)]
    for done, (name, function) in enumerate(todo):
        report(Progress("export", done, len(todo), step=name.rpartition("/")[0]))
        blob, constants = _export(name, function, platforms)
        records.append(FunctionRecord(name, len(blob), tuple(arrays.add(c, f"constants of {name}") for c in constants)))
        blobs.append(blob)
    report(Progress("export", len(todo), len(todo)))
    programs = {name: _program_record(part, arrays) for name, part in parts.items()}
    manifest = _manifest(bound, platforms, programs, records, arrays)
    write(
        path,
        {
            "manifest": _json(to_data(manifest)),
            "graph": _json(_graphs(parts[WHOLE_MODEL].program)),
            "explanation": _json(parts[WHOLE_MODEL].program.explain(bound.certificate, bound._data).to_json()),
            "arrays": b"".join(arrays.bodies),
            "functions": b"".join(blobs),
        },
    )


# -- which programs, and which of their functions -------------------------------------------------------------


def _parts(bound: Bound) -> Iterator[tuple[str, _Part]]:
    """By name; each once more without statistics of the host, where it has such."""
    has_density = bound._about.no_density is None
    named: dict[str, _Part] = {WHOLE_MODEL: _Part(bound, _of_whole)}
    if has_density:
        named |= {name: _Part(bound._of(part), density_functions) for name, part in PARTS.items()}
    named[UNSCALED] = _Part(bound._unscaled, lambda program, example: iter([terms_function(program, example)]))
    yield from named.items()
    for name, part in named.items():
        if part.program.lowered.kernels:
            on_rows = part.program.on_traced_data
            known = on_rows.lowered.prepare(bound._data)
            functions = _of_known if name == WHOLE_MODEL else part.functions
            yield ON_ROWS + name, _Part(replace(part.bound, _program=on_rows, _known=known), functions)


def _of_whole(program: Program, example: Example) -> Iterator[Exportable]:
    yield from _of_known(program, example)
    yield from drawing_functions(program, example, undrawn_sites(program.model))
    yield from param_functions(program, example)
    if program.description.no_density is None:
        yield unconstrain_function(program, example)


def _of_known(program: Program, example: Example) -> Iterator[Exportable]:
    """What reads statistics of the data; the rest is the same with and without them."""
    yield from site_functions(program, example)
    if program.description.no_density is None:
        yield from density_functions(program, example)
        yield from space_functions(program, example)


def _functions(part: _Part) -> Iterator[Exportable]:
    example = Example.of(part.bound._data, part.bound._known, _params_of(part.bound._about))
    yield from data_functions(part.program, example)
    yield from part.functions(part.program, example)


def _params_of(about: Description) -> tuple[Any, ...]:
    return tuple(np.zeros(site.type.shape, site.type.dtype) for site in about.params.arrays)


def _export(name: str, function: Exportable, platforms: Sequence[str]) -> tuple[bytes, list[Any]]:
    try:
        found, constants = exported(function, platforms)
        return bytes(found.serialize()), constants
    except (NotImplementedError, ValueError, TypeError) as e:
        reason = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise ArtifactError(f"{name} can't be exported to {', '.join(platforms)}: {reason}") from e


# -- what is data ---------------------------------------------------------------------------------------------


def _program_record(part: _Part, arrays: ArrayWriter) -> ProgramRecord:
    program = part.program
    lowered, has_density = program.lowered, program.lowered.log_density is not None
    functions = ("log_joint", "terms", *(("log_density", "values", "deterministics") if has_density else ()))
    checks = zip(lowered.checks, lowered.checked(program.computed(part.bound._data)), strict=True)
    return ProgramRecord(
        {name: program.uses(name) for name in functions},
        tuple(_known(value, arrays) for value in part.bound._known),
        tuple(_kernel(node, program, arrays) for node in lowered.kernels),
        tuple(_check(check, values, program) for check, values in checks),
    )


def _known(value: Any, arrays: ArrayWriter) -> Known:
    items = value if isinstance(value, tuple) else (value,)
    return Known(tuple(arrays.add(x, "statistics of the data") for x in items), isinstance(value, tuple))


def _kernel(node: Any, program: Program, arrays: ArrayWriter) -> KernelRecord:
    return KernelRecord(
        json.dumps(recipe(node.op.kernel)),
        tuple(_source(a, program, arrays) for a in node.args),
        tuple(ArrayRecord(t.dtype, t.shape) for t in node.type.items),
        node.op.site,
        tuple(data_names(node)),
        node.loc,
    )


def _source(node: Node, program: Program, arrays: ArrayWriter) -> Source:
    lowered = program.lowered
    if isinstance(node.op, Const):
        return Source("array", arrays.add(np.asarray(node.op.value), "constants of a statistic"))
    if node in lowered.traceable:
        return Source("computed", lowered.traceable.index(node))
    return Source("data", inputs(lowered.graph, Input.DATA).index(node))


def _check(check: Node, values: Sequence[Any], program: Program) -> CheckRecord:
    assert isinstance(check.op, Check)
    _, event_ndim = condition(check.op, jnp, values)
    return CheckRecord(check.op.message, program.lowered.traceable.index(check.args[0]), event_ndim, check.loc)


def _manifest(
    bound: Bound,
    platforms: Sequence[str],
    programs: dict[str, ProgramRecord],
    functions: Sequence[FunctionRecord],
    arrays: ArrayWriter,
) -> Manifest:
    about, program = bound._about, bound._program
    assert isinstance(program, Program)
    data = tuple(arrays.add(x, f"data {name!r}") for name, x in zip(about.data.names, bound._data, strict=True))
    example, undrawn = Example.of(bound._data, bound._known, _params_of(about)), undrawn_sites(program.model)
    params = None if bound._params is None else tuple(arrays.add(x, "params") for x in bound._params)
    return Manifest(
        _version(),
        jax.__version__,
        _x64(),
        tuple(platforms),
        str(jax.random.key_impl(jax.random.key(0))),
        _plain(about),
        {name: tree_of(tree) for name, tree in about.params.trees.items()},
        {name: repr(value) for name, value in about.data.static.items()},
        programs,
        tuple(functions),
        tuple(arrays.records),
        data,
        params,
        bound._params_are_users,
        {name: t.dtype for name, t in drawn_types(program, example, undrawn).items()},
        len(inputs(program.model, Input.KEY)),
        tuple(undrawn),
        _no_prior_transform(program),
    )


def _plain(about: Description) -> Description:
    """The description without what is no plain data."""
    return replace(about, params=replace(about.params, trees={}), data=replace(about.data, static={}))


def _no_prior_transform(program: Program) -> Refusal | None:
    try:
        require_quantiles(program.model)
    except ModelError as e:
        return Refusal(str(e), None)
    return None


def _graphs(program: Program) -> dict[str, Any]:
    traced, density = program.traced, program.density_graph
    shown = Pictures(tuple(site_lines(program.model)), _picture(traced), _picture(density))
    return {"traced": traced.to_json(), "density": density.to_json(), "pictures": to_data(shown)}


def _picture(graph: Graph) -> Picture:
    return Picture(to_text(graph), to_text(graph, lines=True), to_dot(graph))


def _json(data: Any) -> bytes:
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode()


def _x64() -> bool:
    return bool(jax.dtypes.canonicalize_dtype(np.float64) == np.float64)


def _version() -> str:
    from importlib.metadata import version

    return version("plait")


__all__ = ["save"]
