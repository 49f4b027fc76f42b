"""Whether a guide is one of its model: the same latents, of the same shapes, inside their supports, with a gradient."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution, biject_to

from plait.compiler.control_flow import named_nodes
from plait.compiler.jax_compat import is_tracer
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.members import Stack, member_shapes
from plait.compiler.refused_data import shown
from plait.compiler.staged import struct
from plait.compiler.supports import unconstrained_type
from plait.compiler.wording import in_words
from plait.ir.errors import ModelError
from plait.ir.graph import Graph, Node, ancestors
from plait.ir.ops import Factor, Input, Observe, Param, Sample, Site, Value, array_type
from plait.ir.spec import rebuild
from plait.ir.types import ArrayType, Shape
from plait.runtime.program import Program

_PROBES = 64  # random points of a guide's support that have to lie in the model's
_PROBE_RADIUS = 3.0  # in unconstrained space


def require_guide(model: Program, guide: Program, auxiliary: Collection[str]) -> None:
    """Raises ModelError where an estimate of the ELBO, or its gradient, would be wrong.

    Args:
        model: the program of the model.
        guide: the program of the guide.
        auxiliary: the guide's sites that the model need not have; a star for each index of a loop.
    """
    _require_drawn(guide)
    _require_same_sites(model, guide, auxiliary)
    _require_supports(model, guide)
    _require_params(model, guide)


# -- each site of the guide by itself ---------------------------------------------------------------------


def _require_drawn(guide: Program) -> None:
    for node in named_nodes(guide.traced):
        match node.op:
            case Factor(name):
                raise ModelError(
                    f"factor {name!r} is in the guide, whose density has to be normalized; move it to the model",
                    node.loc,
                )
            case Observe(name):
                raise ModelError(
                    f"site {name!r} has a value in the guide, which draws the latents; leave out its obs", node.loc
                )
            case Sample() as op:
                _require_reparametrized(op, node)


def _require_reparametrized(op: Sample, node: Node) -> None:
    if op.KEY in op.extras:
        raise ModelError(
            f"site {op.name!r} of the guide has a random key of its own, with which each particle would draw the same "
            "value; leave out rng_key",
            node.loc,
        )
    if not _has_reparametrized_draws(op, node):
        raise ModelError(
            f"site {op.name!r} of the guide ({op.family}) has no reparametrized draws, so the gradient of the ELBO "
            "would be biased; use a distribution whose has_rsample is true, and sum discrete sites out of the model",
            node.loc,
        )


def _has_reparametrized_draws(op: Site, node: Node) -> bool:
    """Whether a draw is a differentiable function of the distribution's parameters."""
    if not jnp.issubdtype(op.type.dtype, np.floating):
        return False
    found: list[bool] = []

    def look(*leaves: Any) -> None:
        fn = rebuild(op.dist, leaves)
        found.append(bool(fn.has_rsample) and _declares(_innermost(fn), len(leaves)))

    jax.eval_shape(look, *(struct(array_type(a)) for a in op.leaves(node.args)))
    return found[-1]


def _innermost(fn: Distribution) -> Distribution:
    while isinstance(getattr(fn, "base_dist", None), Distribution):
        fn = fn.base_dist
    return fn


def _declares(fn: Distribution, leaves: int) -> bool:
    """NumPyro takes a class that declares no parameters for reparametrized; ImproperUniform is one."""
    return bool(fn.arg_constraints) or (leaves == 0 and type(fn).sample is not Distribution.sample)


# -- the same latents -----------------------------------------------------------------------------------


def _require_same_sites(model: Program, guide: Program, auxiliary: Collection[str]) -> None:
    wanted = _shapes({name: t.shape for name, t in model.description.latents.items()}, model.description.families)
    drawn = _shapes({name: t.shape for name, t in guide.description.latents.items()}, guide.description.families)
    for name in wanted:
        if name not in drawn:
            raise ModelError(
                f"latent {name!r} of the model is not in the guide (it draws: {', '.join(drawn) or 'nothing'}); sample "
                "it there, or observe it in the model",
                _line(model, name),
            )
        if drawn[name] != wanted[name]:
            raise ModelError(
                f"site {name!r} has shape {drawn[name]} in the guide and {wanted[name]} in the model; give both the "
                "same plates and events",
                _line(guide, name),
            )
    aside = set(guide.description.members(auxiliary))
    for name in drawn.keys() - wanted.keys() - aside:
        what = "is observed in the model" if name in _observed(model) else "is not in the model"
        raise ModelError(
            f"site {name!r} of the guide {what}; leave it out, or mark it infer={{'is_auxiliary': True}}",
            _line(guide, name),
        )
    for node in model.lowered.graph.of(Value):
        if not jnp.issubdtype(array_type(node).dtype, np.floating):
            raise ModelError(f"latent {node.op.label!r} of the model is discrete; sum it out by hand", node.loc)


def _shapes(shapes: Mapping[str, Shape], families: Mapping[str, Stack]) -> dict[str, Shape]:
    return member_shapes(dict(shapes), families)


def _observed(program: Program) -> set[str]:
    return {name for node in named_nodes(program.traced) if isinstance(node.op, Observe) for name in _names(node)}


def _names(node: Node) -> tuple[str, ...]:
    members = getattr(node.op, "members", None)
    return (node.op.label or "", *(() if members is None else members.names))


def _line(program: Program, name: str) -> Any:
    return next((node.loc for node in named_nodes(program.traced) if name in _names(node)), None)


# -- supports -------------------------------------------------------------------------------------------


def _require_supports(model: Program, guide: Program) -> None:
    """A guide's draws have to lie in the model's support; looked at where both are known before any value is."""
    theirs = dict(_supports(guide))
    for name, (_, support) in _supports(model):
        if name not in theirs or theirs[name][1] is None or support is None:
            continue
        drawn, drawn_from = theirs[name]
        assert isinstance(drawn.op, Value)
        if drawn.op.family == "Delta" or drawn_from is support:
            continue  # a Delta says nothing of where it is
        if not _inside(support, drawn_from, drawn):
            raise ModelError(
                f"site {name!r} of the guide ({drawn.op.family}) draws {in_words(drawn_from)}, but the model allows "
                f"{in_words(support)}; use a distribution on these, or dist.TransformedDistribution",
                drawn.loc,
            )


def _supports(program: Program) -> Iterator[tuple[str, tuple[Node, Any]]]:
    """For each latent's name its node and its support, None where values decide it."""
    graph = dict(program.history)["unconstrain"]
    for node in graph.of(Value):
        op = node.op
        assert isinstance(op, Value)
        leaves = op.leaves(node.args)
        known = not any(isinstance(n.op, (Input, Param, Value)) for n in ancestors(leaves))
        support = rebuild(op.support, evaluate(graph, {}, leaves)) if known else None
        family = program.description.families.get(op.name)
        for name in (op.name,) if family is None else family.names:
            yield name, (node, support)


def _inside(support: Any, drawn_from: Any, node: Node) -> bool:
    op, t = node.op, array_type(node)
    assert isinstance(op, Value)
    leaves = tuple(array_type(a) for a in op.leaves(node.args))
    try:
        free = unconstrained_type(op.support, leaves, ArrayType(t.dtype, t.shape))
    except NotImplementedError:
        return True  # NumPyro has no bijection that could make a point of it
    u = np.random.default_rng(0).uniform(-_PROBE_RADIUS, _PROBE_RADIUS, (_PROBES, *free.shape))
    return bool(np.all(support(biject_to(drawn_from)(jnp.asarray(u, free.dtype)))))


# -- params ---------------------------------------------------------------------------------------------


def _require_params(model: Program, guide: Program) -> None:
    mine, theirs = _params(model.model), _params(guide.model)
    for name in mine.keys() & theirs.keys():
        if mine[name] != theirs[name]:
            node = next(node for node in guide.model.of(Param) if node.op.name == name)  # type: ignore[attr-defined]
            raise ModelError(
                f"param {name!r} is in the model and in the guide, with another shape, dtype or constraint; rename one",
                node.loc,
            )
    for node in [*model.model.of(Param), *guide.model.of(Param)]:
        op = node.op
        assert isinstance(op, Param)
        if op.name.endswith("$state"):
            raise ModelError(
                f"module {op.name.removesuffix('$state')!r} has state that its calls change, which no gradient moves; "
                "use layers without state, such as LayerNorm for BatchNorm",
                node.loc,
            )
        if not jnp.issubdtype(array_type(node).dtype, np.floating):
            raise ModelError(
                f"param {op.label!r} is of {array_type(node).dtype}, which no gradient moves; give it a float", node.loc
            )


def require_same_starts(model: Program, guide: Program, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raises ModelError where a param of both starts at different numbers; of random ones the model's is taken."""
    random = {n.op.name for p in (model, guide) for n in p.model.of(Param) if _is_drawn(n)}  # type: ignore[attr-defined]
    for name in (mine.keys() & theirs.keys()) - random:
        for a, b in zip(jax.tree.leaves(mine[name]), jax.tree.leaves(theirs[name]), strict=True):
            if not is_tracer(a) and not is_tracer(b) and not np.array_equal(a, b):
                raise ModelError(
                    f"param {name!r} starts at {shown(np.asarray(a))} in the model and at {shown(np.asarray(b))} in "
                    "the guide; start it at the same value",
                    _line(guide, name),
                )


def _is_drawn(node: Node) -> bool:
    return any(isinstance(n.op, Input) and n.op.kind == Input.KEY for n in ancestors(node.args))


def _params(graph: Graph) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for node in graph.of(Param):
        op, t = node.op, array_type(node)
        assert isinstance(op, Param)
        found.setdefault(op.name, []).append((op.part, op.treedef, op.constraint, t.dtype, t.shape))
    return found


__all__ = ["require_guide", "require_same_starts"]
