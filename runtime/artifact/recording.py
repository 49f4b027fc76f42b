"""What of a compiled model is data: the manifest and its records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.binding import data_names
from plait.compiler.host_checks import condition
from plait.compiler.jax_compat import has_64_bits
from plait.compiler.kernels.recipes import recipe
from plait.compiler.lower.prior_transform import require_quantiles
from plait.compiler.lower.sampler import undrawn_sites
from plait.ir.errors import ModelError
from plait.ir.graph import Node
from plait.ir.ops import Check, Const, Input, inputs
from plait.runtime.artifact.arrays import ArrayWriter
from plait.runtime.artifact.exporting import drawn_types
from plait.runtime.artifact.manifest import (
    ArrayRecord,
    CheckRecord,
    FunctionRecord,
    KernelRecord,
    Known,
    Longer,
    Manifest,
    ProgramRecord,
    Source,
    tree_of,
)
from plait.runtime.artifact.programs import Saving, example_of
from plait.runtime.bound import Bound
from plait.runtime.description import Description, Refusal
from plait.runtime.program import Program


def program_record(saving: Saving, any_rows: bool, arrays: ArrayWriter) -> ProgramRecord:
    """What is known of a program."""
    program, bound = saving.program, saving.bound
    lowered, has_density = program.lowered, program.lowered.log_density is not None
    functions = ("log_joint", "terms", *(("log_density", "values", "deterministics") if has_density else ()))
    checks = zip(lowered.checks, lowered.checked(program.computed(bound._data)), strict=True)
    return ProgramRecord(
        any_rows,
        {name: program.uses(name) for name in functions},
        tuple(_known(value, arrays) for value in bound._known),
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


def manifest_of(
    bound: Bound,
    platforms: Sequence[str],
    programs: dict[str, ProgramRecord],
    functions: Sequence[FunctionRecord],
    arrays: ArrayWriter,
    longer: Longer | None,
) -> Manifest:
    """All that is no array, function, graph or explanation."""
    about, program = bound._about, bound._program
    assert isinstance(program, Program)
    data = tuple(arrays.add(x, f"data {name!r}") for name, x in zip(about.data.names, bound._data, strict=True))
    example, undrawn = example_of(bound, 1), undrawn_sites(program.model)
    params = None if bound._params is None else tuple(arrays.add(x, "params") for x in bound._params)
    return Manifest(
        _version(),
        jax.__version__,
        has_64_bits(),
        tuple(platforms),
        str(jax.random.key_impl(jax.random.key(0))),
        plain(about),
        plain(bound._unscaled._about),
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
        longer,
    )


def plain(about: Description) -> Description:
    """The description without what is no plain data."""
    return replace(about, params=replace(about.params, trees={}), data=replace(about.data, static={}))


def _no_prior_transform(program: Program) -> Refusal | None:
    try:
        require_quantiles(program.model)
    except ModelError as e:
        return Refusal(str(e), None)
    return None


def _version() -> str:
    from importlib.metadata import version

    return version("plait")


__all__ = ["manifest_of", "plain", "program_record"]
