"""The driver: trace → passes → lower → bind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.arguments import Arguments, split_arguments
from plait.compiler.certificate import Certificate
from plait.compiler.certify import Case, certify
from plait.compiler.jax_compat import is_tracer
from plait.compiler.passes.runner import require_switches
from plait.compiler.trace import trace
from plait.ir.errors import ArtifactError, CertificateError
from plait.ir.graph import Graph
from plait.ir.verify import verify
from plait.runtime.compiled import CompiledModel
from plait.runtime.program import Program, build


def compile(
    model: Callable[..., Any],
    /,
    *args: Any,
    static: Sequence[str] = (),
    passes: Mapping[str, bool] | None = None,
    check: bool | int = False,
    on_graph: Callable[[str, Graph], None] | None = None,
    **kwargs: Any,
) -> CompiledModel:
    """Compiles a model function on its arguments.

    The function is called once, or twice where a loop over a plate turns out to be none that can be traced once for
    all its steps. Array arguments are data, which `CompiledModel.bind` can replace; everything else is part of the
    program.

    Args:
        model: calls plait's primitives.
        *args: the model's arguments.
        static: names of arguments that the model uses as Python values, such as group labels or sizes.
        passes: optional passes by name, False to switch one off. `CompiledModel.history` names them.
        check: compare value and gradient after every pass with the reference interpreter in float64, at this many
            random points (True: 2). This traces the model a second time and is slow.
        on_graph: called with ("trace", graph) and then with each pass's name and result.
        **kwargs: the model's keyword arguments.

    Returns:
        The compiled model, bound to the data.

    Raises:
        ModelError: the model can't be compiled; names the site and the line.
        DataError: the data contradict the model.
        CertificateError: `check` found a wrong pass; its `certificate` prints all passes up to that one. Or the density
            is finite at no random point, so that nothing is proved.
    """
    require_switches(passes, check)
    record = on_graph or (lambda name, graph: None)
    arguments = split_arguments(model, args, kwargs, static)
    graph, notes = trace(model, arguments)
    verify(graph)
    record("trace", graph)
    data = None if any(map(is_tracer, arguments.arrays)) else arguments.arrays

    def again(arrays: Sequence[Any]) -> CompiledModel:
        args, kwargs = arguments.rebuild(arrays)
        return compile(model, *args, static=static, passes=passes, **kwargs)

    program = replace(build(graph, passes or {}, arguments, record, data), notes=notes, again=again)
    compiled = CompiledModel.bound(program, arguments.arrays)
    points = 2 if check is True else int(check)
    if not points:
        return compiled
    certificate = certificate_of(compiled, model, static, points)
    if not certificate.proves:
        raise CertificateError(certificate)
    return replace(compiled, certificate=certificate)


def certificate_of(
    compiled: CompiledModel, model: Callable[..., Any], static: Sequence[str] = (), points: int = 2
) -> Certificate:
    """What `compile(…, check=points)` compares; raises nothing where a pass is wrong.

    Args:
        compiled: the model, on the data that it was compiled for.
        model: the function that it was compiled from.
        static: as for `compile`.
        points: how many random points.
    """
    program = compiled._program
    if not isinstance(program, Program):
        raise ArtifactError("a loaded model has no graphs to compare; compile it from its source")
    drawn = compiled._params or program.initial_params(program.arguments.arrays, jax.random.key(0))
    with jax.enable_x64(True):
        args, kwargs = program.arguments.rebuild([_exact(a) for a in program.arguments.arrays])
        exact: Arguments = split_arguments(model, args, kwargs, static)
        reference = trace(model, exact, unrolled=True).graph
        params = [jnp.asarray(_exact(p)) for p in drawn]
        exact_case = Case(exact.arrays, params)
    case = Case(program.arguments.arrays, drawn)
    return certify(program.history, case, reference, exact_case, program.lowered.slots, points)


def _exact(x: Any) -> Any:
    """Floats in float64, and everything on the host, so that no narrow dtype enters the reference."""
    x = np.asarray(x)
    return x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x
