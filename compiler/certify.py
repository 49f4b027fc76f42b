"""The certificate: value and gradient after every pass equal the reference interpreter's in float64."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from plait.compiler.control_flow import named_nodes
from plait.compiler.layout import Slot
from plait.compiler.lower.density import Function, Lowered, lower
from plait.compiler.lower.sampler import draw, drawn_shapes
from plait.compiler.members import stacked, stacks, unstacked
from plait.compiler.passes import PIPELINE, run_passes
from plait.compiler.reference import Report, interpret
from plait.ir.errors import CertificateError
from plait.ir.graph import Graph, Role
from plait.ir.ops import Sample, array_type
from plait.ir.types import Shape

TOLERANCE = {np.dtype("float64"): 1e-8, np.dtype("float32"): 5e-4}


@dataclass(frozen=True)
class Row:
    """One comparison: errors are relative to the sum of the terms' magnitudes."""

    stage: str
    point: int
    unconstrained: bool  # log density of z, or log joint of the constrained values
    value: float
    reference: float
    value_error: float
    gradient_error: float


@dataclass(frozen=True)
class Certificate:
    """What `check=True` compared."""

    rows: tuple[Row, ...]
    whole: tuple[str, ...]  # sites that the reference could not loop over

    @property
    def worst(self) -> float:
        return max((max(r.value_error, r.gradient_error) for r in self.rows), default=0.0)


@dataclass(frozen=True)
class Case:
    """Graphs of one model with the arrays to run them on."""

    data: Sequence[Any]
    params: Sequence[Any]


def certify(
    history: Sequence[tuple[str, Graph]],
    case: Case,
    reference: Graph,
    exact: Case,
    slots: Sequence[Slot],
    points: int,
) -> Certificate:
    """Compares every graph of a history with the reference interpreter.

    Args:
        history: (pass, graph after it), the first one the traced model.
        case: data and params in the compiled dtype.
        reference: the model graph of a second trace in float64.
        exact: data and params in float64.
        slots: the layout of z; none where a latent has no bijection onto the reals. Then the log joint alone is
            compared, at prior draws.
        points: random unconstrained points, uniform in (-2, 2).

    Raises:
        CertificateError: names the first pass after which value or gradient differ.
        ModelError: there is neither a bijection nor a prior draw.
    """
    rows: list[Row] = []
    whole: set[str] = set()
    for point in range(points):
        truth = _Truth(reference, exact, slots, rolled(history), point)
        whole |= truth.whole
        for stage, graph in history:
            rows.append(_compare(stage, graph, case, slots, truth, point))
    return Certificate(tuple(rows), tuple(sorted(whole)))


def random_point(point: int, dim: int) -> np.ndarray:
    """The unconstrained point of that number: uniform in (-2, 2), the same in every process."""
    return np.random.default_rng(point).uniform(-2, 2, dim)


def rolled(history: Sequence[tuple[str, Graph]]) -> Graph:
    """The last model graph of a history: its sites are those of the densities."""
    names = [name for name, _ in history]
    return history[names.index("density") - 1][1]


class _Truth:
    """The reference's values and gradients at one point, in float64, by the user's sites."""

    def __init__(self, graph: Graph, case: Case, slots: Sequence[Slot], model: Graph, point: int) -> None:
        self.families = stacks(model)
        self.shapes = drawn_shapes(model)
        self.unconstrained = {s.name: s.unconstrained.shape for s in slots}
        with jax.enable_x64(True):
            if slots or not any(isinstance(n.op, Sample) for n in named_nodes(graph)):
                z = random_point(point, sum(s.unconstrained.size for s in slots))
                self.u = unstacked(split_flat(slots, z), self.families)
                self.density = _with_gradient(lambda p: _run(graph, case, p, True).log_density, self.u)
                self.values = _values(graph, case, self.u)
            else:
                drawn = draw(graph, case.data, case.params, jax.random.key(point), {})
                latents = [n.op.name for n in named_nodes(graph) if isinstance(n.op, Sample)]
                self.values = {name: drawn[name] for name in latents}
            self.joint = _with_gradient(lambda p: _run(graph, case, p, False).log_joint, self.values)
            report = _run(graph, case, self.values, False)
        self.whole = report.whole
        self.scale = 1.0 + sum(abs(float(t)) for t in report.terms.values())

    def held(self, values: Mapping[str, Any], names: Collection[str], shapes: Mapping[str, Shape]) -> dict[str, Any]:
        """Values of the user's sites as a graph takes them whose sites and families have these names."""
        wanted = {name: shapes[name] for name in shapes if name in names}
        rest = {name: values[name] for name in names if name in values}
        return rest | stacked(values, wanted, {n: f for n, f in self.families.items() if n in wanted})


def _compare(stage: str, graph: Graph, case: Case, slots: Sequence[Slot], truth: _Truth, point: int) -> Row:
    lowered = lower(graph) if graph.named(Role.LOG_JOINT) else None
    unconstrained = lowered is not None and lowered.log_density is not None
    if lowered is None:
        names = [n.op.name for n in named_nodes(graph) if isinstance(n.op, Sample)]
        wanted = truth.joint
        got = _with_gradient(
            lambda v: _run(graph, case, truth.held(v, names, truth.shapes), False).log_joint, _cast(truth.values)
        )
    elif lowered.log_density is None:
        wanted, got = truth.joint, _with_gradient(_joint(lowered, case, truth), _cast(truth.values))
    else:
        wanted, got = truth.density, _with_gradient(_density(lowered, case, slots, truth), _cast(truth.u))
    errors = _error(got[0], wanted[0]) / truth.scale, _gradient_error(got[1], wanted[1], truth.scale)
    row = Row(stage, point, unconstrained, float(got[0]), float(wanted[0]), *errors)
    tolerance = TOLERANCE.get(np.dtype(got[0].dtype), 5e-4)
    if not (row.value_error <= tolerance and row.gradient_error <= tolerance):
        raise CertificateError(
            f"pass {stage!r} changes the density: log density {row.value:.12g}, reference {row.reference:.12g} "
            f"(relative error {row.value_error:.2g}, of the gradient {row.gradient_error:.2g}) at a random point; "
            f"switch it off with passes={{{stage!r}: False}} and report this model"
        )
    return row


def _density(lowered: Lowered, case: Case, slots: Sequence[Slot], truth: _Truth) -> Callable[[Mapping[str, Any]], Any]:
    known, _ = lowered.prepare(case.data)
    function = lowered.log_density
    assert function is not None

    def density(u: Mapping[str, Any]) -> Any:
        z = _joined(slots, truth.held(u, truth.unconstrained, truth.unconstrained))
        return apply(function, known, case.params, (z,))[""]

    return density


def _joint(lowered: Lowered, case: Case, truth: _Truth) -> Callable[[Mapping[str, Any]], Any]:
    known, _ = lowered.prepare(case.data)
    latents = [(node.op.label or "", array_type(node).dtype) for node in lowered.log_joint.arguments]

    def joint(values: Mapping[str, Any]) -> Any:
        whole = truth.held(values, dict(latents), truth.shapes)
        ordered = [jnp.asarray(whole[name], dtype) for name, dtype in latents]
        return apply(lowered.log_joint, known, case.params, ordered)[""]

    return joint


def apply(function: Function, known: Sequence[Any], params: Sequence[Any], x: Sequence[Any]) -> dict[str, Any]:
    """Calls a lowered function with what it needs of `prepare`'s results."""
    return function([known[i] for i in function.uses], params, x)


def split_flat(slots: Sequence[Slot], z: Any) -> dict[str, Any]:
    """The parts of the flat vector by site, in their unconstrained shapes."""
    return {s.name: jnp.reshape(z[s.offset : s.offset + s.unconstrained.size], s.unconstrained.shape) for s in slots}


def _run(graph: Graph, case: Case, point: Mapping[str, Any], unconstrained: bool) -> Report:
    return interpret(graph, case.data, case.params, point, unconstrained)


def _values(graph: Graph, case: Case, u: Mapping[str, Any]) -> dict[str, Any]:
    """Constrained values in the sites' shapes; a scan's sites come from the bijector of the stacked support."""
    lowered = lower_to_density(graph)
    known, _ = lowered.prepare(case.data)
    assert lowered.values is not None
    return apply(lowered.values, known, case.params, (_joined(lowered.slots, u),))


def _joined(slots: Sequence[Slot], u: Mapping[str, Any]) -> Any:
    """The flat vector of the parts: the inverse of `split_flat`."""
    return jnp.concatenate([jnp.ravel(u[s.name]) for s in slots]) if slots else jnp.zeros(0)


def lower_to_density(graph: Graph) -> Lowered:
    """The functions of a model graph with no optional pass."""
    off = {p.name: False for p in PIPELINE if p.optional}
    return lower(run_passes(graph, PIPELINE, off, lambda name, graph: None))


def _with_gradient(f: Callable[[Mapping[str, Any]], Any], point: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Value, and gradient with respect to the floats."""
    fixed = {name: x for name, x in point.items() if not jnp.issubdtype(x.dtype, jnp.floating)}
    free = {name: x for name, x in point.items() if name not in fixed}
    value, gradient = jax.value_and_grad(lambda p: f({**p, **fixed}))(free) if free else (f(point), {})
    return jnp.asarray(value), gradient


def _cast(point: Mapping[str, Any]) -> dict[str, Any]:
    """The reference's values in the precision that jax is configured for."""
    return {name: jnp.asarray(np.asarray(x)) for name, x in point.items()}


def _error(a: Any, b: Any) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return float(np.max(np.where(same, 0.0, np.abs(a - b)), initial=0.0))


def _gradient_error(got: Mapping[str, Any], wanted: Mapping[str, Any], scale: float) -> float:
    largest = max((float(np.max(np.abs(g), initial=0.0)) for g in wanted.values()), default=0.0)
    return max((_error(got[k], wanted[k]) for k in wanted), default=0.0) / max(scale, largest)


__all__ = ["Case", "Certificate", "Row", "certify", "random_point", "split_flat"]
