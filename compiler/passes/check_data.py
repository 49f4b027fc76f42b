"""check_data: what can be known wrong from data alone is checked once per data set, with the site's line.

ok: bool[8] = in_support y in nonnegative_integer      the guard leaves the density, and
log joint = guard (...) ok                         ⇒   check ok else "site 'y' is observed outside ..."
"""

from __future__ import annotations

from collections.abc import Iterator

from numpyro.distributions import DiscreteUniform, Distribution, MaskedDistribution, constraints

from plait.compiler.binding import data_names, known_nodes
from plait.compiler.conditions import below, finite_in, has_factor, off_edge, symmetric
from plait.compiler.host_checks import require
from plait.compiler.importer import Builder
from plait.compiler.wording import in_words
from plait.ir.graph import Graph, Node, Output, Role, ancestors, make, with_outputs
from plait.ir.ops import Apply, Check, Const, Guard, InRange, InSet, InSupport, LogProb, array_type
from plait.ir.spec import Leaf, Part, Spec, Static, family


def check_data(graph: Graph) -> Graph:
    """Moves conditions on data out of the density: ``guard joint (y in support)  ⇒  guard joint;  check …``."""
    known = known_nodes(graph)
    builder = Builder()
    checks: list[Node] = []
    env: dict[Node, Node] = {}
    for node in graph:
        args = tuple(env[a] for a in node.args)
        if isinstance(node.op, Guard):
            args = (
                args[0],
                *(new for new, old in zip(args[1:], node.args[1:], strict=True) if old not in known),
            )
        env[node] = node if args == node.args else make(node.op, args, node.loc)
        builder.nodes.append(env[node])
        checks += _checks(builder, node, env, known)
    outputs = [Output(out.role, out.name, env[out.node]) for out in graph.outputs]
    outputs += [Output(Role.CHECK, str(i), node) for i, node in enumerate(checks)]
    return with_outputs(builder.nodes, outputs)


def _checks(builder: Builder, node: Node, env: dict[Node, Node], known: set[Node]) -> list[Node]:
    op = node.op
    if isinstance(op, InSupport) and node in known:
        allowed = in_words(op.support, [_bound(a) for a in node.args[1:]])
        message = f"{op.what} is observed outside its support ({allowed}); correct the data or the distribution"
        check = Check(InSet(finite_in(op.support), op.masked), message)
        return [builder.add(check, [env[a] for a in node.args], node.loc)]
    if isinstance(op, LogProb):
        wanted = [*_parameters(node, known), *_orders(node, known), *_edges(node, known)]
        return [builder.add(check, [env[a] for a in args], node.loc) for check, args in wanted]
    if isinstance(op, Apply) and op.primitive.name == "gather" and node.args[1] in known:
        return _index_check(builder, node, env)
    return []


def _bound(node: Node) -> str:
    """A bound of a support, as a message calls it."""
    if isinstance(node.op, Const) and node.op.literal is not None:
        return node.op.literal
    return ", ".join(data_names(node)) or "…"


# -- parameters of distributions -----------------------------------------------------------------------

Wanted = Iterator[tuple[Check, tuple[Node, ...]]]  # a check and its arguments


def _parameters(node: Node, known: set[Node]) -> Wanted:
    """What data and constants are given as a parameter lies in the set that the distribution declares."""
    op = node.op
    assert isinstance(op, LogProb)
    required = [] if op.masked else list(_constrained_leaves(op.dist))
    if op.scaled:
        required.append(("its scale", constraints.positive, -2))
    for what, constraint, leaf in required:
        arg = node.args[1 + leaf]
        if arg not in known:
            continue
        check = Check(InSet(finite_in(Static(constraint))), f"site {op.site!r}: {what} takes {in_words(constraint)}")
        if isinstance(arg.op, Const) and arg.op.literal is not None:
            require(make(check, (arg,), node.loc), [arg.op.value])
            continue
        if constraint is constraints.lower_cholesky and (matrix := _factored(arg)) is not None:
            what = f"site {op.site!r}: its covariance or precision matrix"
            yield Check(InSet(symmetric()), f"{what} is not symmetric"), (matrix,)
            yield Check(InSet(has_factor()), f"{what} is not positive definite; {_JITTER}"), (matrix, arg)
        yield check, (arg,)


def _orders(node: Node, known: set[Node]) -> Wanted:
    """The bounds of a distribution are in order, which no constraint of NumPyro says."""
    op = node.op
    assert isinstance(op, LogProb)
    for spec in _distributions(op.dist):
        low, high = spec.field("low"), spec.field("high")
        if op.masked or not (isinstance(low, Leaf) and isinstance(high, Leaf)):
            continue
        bounds = (node.args[1 + low.index], node.args[1 + high.index])
        if known.issuperset(bounds):
            may_be_equal = spec.cls is DiscreteUniform
            message = f"site {op.site!r}: 'low' of {_called(spec)} is not below its 'high'"
            yield Check(InSet(below(may_be_equal)), message), bounds


def _edges(node: Node, known: set[Node]) -> Wanted:
    """NumPyro's supports are closed where a beta density is 0 or infinite, and so is every density of the model."""
    op = node.op
    assert isinstance(op, LogProb)
    name, value = family(op.dist), node.args[0]
    mask = (node.args[-2 if op.scaled else -1],) if op.masked else ()
    masks_itself = any(spec.cls is MaskedDistribution for spec in _distributions(op.dist))
    if name not in _EDGES or masks_itself or not known.issuperset((value, *mask)):
        return
    message = (
        f"site {op.site!r} is observed on the edge of the support of {name}, where its density is 0 or infinite; "
        "squeeze the data into the inside, or model the edge apart"
    )
    density = (node,) if node in known else ()  # Beta(1, 1) has one on its edge
    yield Check(InSet(off_edge(*_EDGES[name], bool(density)), op.masked), message), (value, *density, *mask)


def _distributions(part: Part) -> Iterator[Spec]:
    """A distribution and those inside it."""
    if isinstance(part, Spec) and issubclass(part.cls, Distribution):
        yield part
        for name, value in part.fields:
            if name == "base_dist" or name.endswith("_distribution"):
                yield from _distributions(value)


def _constrained_leaves(part: Part) -> Iterator[tuple[str, constraints.Constraint, int]]:
    """The declared parameters of a distribution and of those inside it, with what they must satisfy."""
    for spec in _distributions(part):
        for name, value in spec.fields:
            constraint = spec.cls.arg_constraints.get(name)
            if isinstance(value, Leaf) and constraint is not None and not constraints.is_dependent(constraint):
                yield f"parameter {name!r} of {_called(spec)}", constraint, value.index


def _called(spec: Spec) -> str:
    """A distribution as users call it: NumPyro's functions Bernoulli and TruncatedNormal make other classes."""
    name = spec.cls.__name__
    inner = spec.field("base_dist")
    if name.endswith("TruncatedDistribution") and isinstance(inner, Spec):
        return f"Truncated{inner.cls.__name__}"
    return name.removesuffix("Probs").removesuffix("Logits")


def _factored(factor: Node) -> Node | None:
    """The matrix that a Cholesky factor comes from, as it was before jax symmetrized it."""
    nearest = [n for n in ancestors([factor]) if _is(n, "cholesky")]
    if not nearest:
        return None
    matrix = nearest[0].args[0]
    if _is(matrix, "div") and _is(matrix.args[0], "add") and _is(matrix.args[0].args[1], "transpose"):
        matrix = matrix.args[0].args[0]
    while _is(matrix, "rev"):  # a precision matrix is factored from its last row up
        matrix = matrix.args[0]
    return matrix


def _is(node: Node, primitive: str) -> bool:
    return isinstance(node.op, Apply) and node.op.primitive.name == primitive


_JITTER = "add a small number to its diagonal if it is nearly singular"
# points on the edge of a support, and how many axes an event has
_EDGES = {"Beta": ((0.0, 1.0), 0), "BetaProportion": ((0.0, 1.0), 0), "Dirichlet": ((0.0,), 1)}


# -- indices ------------------------------------------------------------------------------------------


def _index_check(builder: Builder, node: Node, env: dict[Node, Node]) -> list[Node]:
    """A gather past the end is clamped or filled by jax without a word."""
    op = node.op
    assert isinstance(op, Apply)
    operand, indices = (array_type(a) for a in node.args)
    dimensions = op.parameters["dimension_numbers"].start_index_map
    last = [operand.shape[d] - op.parameters["slice_sizes"][d] for d in dimensions]
    if indices.size == 0 or not last:
        return []

    raw = _as_written(node.args[1]) if len(last) == 1 else None
    shown = node.args[1] if raw is None else raw
    data = ", ".join(repr(n) for n in data_names(shown))
    sizes = " × ".join(str(operand.shape[d]) for d in dimensions)
    message = (
        f"index {data} is out of range for an axis of size {sizes}, which counts from 0 (jax would wrap or clamp it); "
        "recode it from 0, and drop what is missing"
    )
    return [builder.add(Check(InRange(tuple(last), raw is None), message), [env[shown]], node.loc)]


def _as_written(index: Node) -> Node | None:
    """The index before jnp wrapped negative ones: -1 in data is a code for 'missing', not the last element."""
    node = index
    while isinstance(node.op, Apply) and node.op.primitive.name in _MOVES:
        node = node.args[0]
    if not (isinstance(node.op, Apply) and node.op.primitive.name == "select_n"):
        return None
    is_negative = node.args[0]
    wraps = isinstance(is_negative.op, Apply) and is_negative.op.primitive.name == "lt"
    raw = is_negative.args[0] if wraps else None
    return raw if raw is not None and data_names(raw) else None


_MOVES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "convert_element_type"})
