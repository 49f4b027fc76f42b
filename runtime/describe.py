"""The description of a program, read off its graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpyro.distributions import MaskedDistribution
from numpyro.distributions.constraints import Constraint

from plait.compiler.arguments import Arguments, argument_leaves
from plait.compiler.control_flow import named_nodes
from plait.compiler.layout import obstacles, stacks
from plait.compiler.lower.density import Lowered
from plait.compiler.lower.prior_transform import weighted
from plait.compiler.lower.sampler import drawn_shapes
from plait.compiler.variants import observed_names
from plait.compiler.wording import in_words
from plait.ir.graph import Graph, Node
from plait.ir.ops import Deterministic, Input, Param, Sample, Site, Value, array, inputs
from plait.ir.spec import Part, Spec, rebuild
from plait.ir.types import Loc
from plait.runtime.description import DataSchema, Description, ParamArray, ParamSites, Refusal
from plait.runtime.dims import site_dims


def describe(traced: Graph, model: Graph, with_supports: Graph, lowered: Lowered, arguments: Arguments) -> Description:
    """What a program says of itself.

    Args:
        traced: the graph as traced.
        model: the same with its loops rolled.
        with_supports: the graph whose values know their supports and whose bijectors are still ops.
        lowered: the functions.
        arguments: of the model.
    """
    families = stacks(model)
    return Description(
        lowered.log_joint.results[""].type.dtype,  # type: ignore[union-attr]
        lowered.slots,
        None if lowered.log_density is not None else _no_density(with_supports),
        {op.name: op.type for op in lowered.graph.ops(Value)},
        {op.name: in_words(op.support, ["…"] * op.n_leaves) for op in with_supports.ops(Value)},
        families,
        drawn_shapes(model),
        tuple(observed_names(model)),
        tuple(op.name for op in model.ops(Deterministic)),
        tuple(lowered.terms.results),
        site_dims(model, families),
        _lines(traced),
        _weighted_prior(traced),
        param_sites(model),
        DataSchema(
            arguments.names,
            {name: tuple(argument_leaves({name: value})) for name, value in arguments.values.items()},
            arguments.static,
        ),
    )


def param_sites(model: Graph) -> ParamSites:
    """The `param` sites of a model."""
    found = [(op, array(node.type), node.loc) for node, op in zip(model.of(Param), model.ops(Param), strict=True)]
    return ParamSites(
        tuple(ParamArray(op.name, op.part, op.path, t, _allowed(op), loc) for op, t, loc in found),
        {op.name: op.treedef for op, *_ in found},
        bool(inputs(model, Input.KEY)),
    )


def _allowed(op: Param) -> str:
    constraint = rebuild(op.constraint, ())
    return in_words(constraint) if isinstance(constraint, Constraint) else repr(constraint)  # `initial` refuses it


def _no_density(graph: Graph) -> Refusal:
    node, why = obstacles(graph)[0]
    by_hand = ", and you can sum it out by hand in a factor" if "discrete" in why else ""
    message = f"latent {node.op.label!r} has no unconstrained density: {why}; log_joint works{by_hand}"
    return Refusal(message, node.loc)


def _lines(traced: Graph) -> dict[str, Loc]:
    lines: dict[str, Loc] = {}
    for node in named_nodes(traced):
        for name in (node.op.label, *_members(node)):
            if name is not None and node.loc is not None:
                lines.setdefault(name, node.loc)
    return lines


def _members(node: Node) -> tuple[str, ...]:
    members = node.op.members if isinstance(node.op, (Site, Deterministic)) else None
    return () if members is None else members.names


# -- the prior ------------------------------------------------------------------------------------------------


def _weighted_prior(traced: Graph) -> Refusal | None:
    for node in named_nodes(traced):
        if isinstance(node.op, Sample) and (why := weighted(node, node.op) or _masks_itself(node.op)):
            return Refusal(f"this sampler starts from prior draws, and of latent {node.op.name!r} {why}", node.loc)
    return None


def _masks_itself(op: Sample) -> str | None:
    if not any(spec.cls is MaskedDistribution for spec in _nested(op.dist)):
        return None
    return "the distribution is masked by .mask(), so its draws are not from its density; mask observed sites alone"


def _nested(part: Part) -> Iterator[Any]:
    """A distribution and what is inside it."""
    if isinstance(part, Spec):
        yield part
        for _, value in part.fields:
            yield from _nested(value)


__all__ = ["describe", "param_sites"]
