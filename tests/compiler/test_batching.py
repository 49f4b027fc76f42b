"""Nodes of all members at once against the members themselves, one by one."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.batching.nodes import Axis, NotBatched, batched
from plait.compiler.importer import Builder
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.passes.density import density
from plait.compiler.reference import interpret
from plait.ir.graph import Graph, Output, Role, make, with_outputs
from plait.ir.ops import (
    Deterministic,
    Input,
    InSupport,
    LogProb,
    Observe,
    Plate,
    Sample,
    Scan,
    Site,
    from_aval,
)
from plait.ir.types import ArrayType
from plait.ir.verify import verify

N = 3  # as long as inner axes are, so that a swap of axes shows in numbers only


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True):
        yield


def names_of(prefix, size):
    """Names as a loop makes them: of a site 'x' the members 'x_0', 'x_1', …; of members 'x_0' all 'x_0_0', …"""
    return tuple(f"{prefix}_{i}" for i in range(size))


def for_all(graph, lanes, size=N, plate="loop"):
    """A member's graph for all members: the inputs with the members' axis where `lanes` says so."""
    builder, axis, given = Builder(), Axis(plate, size), iter(lanes)
    env, has_axis = {}, {}

    def rename(name):
        members = old.get(name, (name,))
        return name, tuple(f"{member}_{i}" for i in range(size) for member in members)

    old = {op.name: op.members.names for op in sites_and_more(graph) if op.members is not None}
    for node in graph:
        args, differ = [env[a] for a in node.args], [has_axis[a] for a in node.args]
        if isinstance(node.op, Input):
            has_axis[node] = next(given)
            env[node] = builder.add(Input(node.op.name, node.op.kind, grown(node.type, size, has_axis[node])))
        elif any(differ) or node.op.is_root:
            env[node] = batched(builder, node, args, differ, axis, rename=rename)
            has_axis[node] = not isinstance(node.op, Plate)
        else:
            env[node], has_axis[node] = builder.add(node.op, args, node.loc), False
    outputs = [Output(out.role, out.name, env[out.node]) for out in graph.outputs]
    all_at_once = Graph(tuple(builder.nodes), tuple(outputs))
    verify(all_at_once)
    return all_at_once


def sites_and_more(graph):
    for node in graph:
        if isinstance(node.op, (Site, Deterministic)):
            yield node.op
        for body in node.op.bodies[:1]:
            yield from sites_and_more(body)


def grown(t, size, lane):
    return ArrayType(t.dtype, (size, *t.shape), weak=t.weak) if lane else t


# -- code ---------------------------------------------------------------------------------------------------


def counted(x):
    return jax.lax.while_loop(lambda s: s[0] < 5.0, lambda s: (s[0] + jnp.abs(s[1]) + 1, s[1] * 2), (0.0, x[0]))[1]


def summed(x, y):
    return jax.lax.scan(lambda c, xs: (c * 0.5 + xs[0], c + xs[1]), y[0], (x, x * y))


@jax.custom_jvp
def cubed(x):
    return x**3


cubed.defjvp(lambda primals, tangents: (cubed(primals[0]), 3 * primals[0] ** 2 * tangents[0]))

CODE = {
    "elementwise": lambda x, y, i: jnp.exp(x) * y + 2.0 - x / (1 + y**2),
    "dot_general": lambda x, y, i: x @ y,
    "outer": lambda x, y, i: jnp.einsum("i,j->ji", x, y),
    "gather": lambda x, y, i: x[i] + y[jnp.array([2, 0, 2])],
    "gather vectors": lambda x, y, i: jnp.outer(x, y)[i, [0, 1]],
    "scatter": lambda x, y, i: x.at[i].add(y[0]),
    "dynamic_slice": lambda x, y, i: jax.lax.dynamic_slice(x, (i,), (2,)) * y[0],
    "dynamic_update_slice": lambda x, y, i: jax.lax.dynamic_update_slice(x, y[:1], (i,)),
    "cumsum": lambda x, y, i: jnp.cumsum(x) - jax.lax.cumlogsumexp(y),
    "relu": lambda x, y, i: jax.nn.relu(x) + jax.nn.softplus(y),
    "custom_jvp": lambda x, y, i: cubed(x * y),
    "xlogy": lambda x, y, i: jax.scipy.special.xlogy(jnp.abs(x), jnp.abs(y)),
    "where": lambda x, y, i: jnp.where(x > y, x, i),
    "reductions": lambda x, y, i: jnp.sum(x) + jnp.max(y) + jnp.argmin(x) + jax.nn.logsumexp(y),
    "sort": lambda x, y, i: jnp.sort(x)[0] * jnp.argsort(y),
    "matrices": lambda x, y, i: jnp.linalg.cholesky(jnp.outer(x, x) + jnp.diag(jnp.abs(y) + 1)),
    "several results": lambda x, y, i: jnp.linalg.eigh(jnp.outer(x, x) + jnp.diag(jnp.arange(3.0)))[0] + y,
    "top_k": lambda x, y, i: jax.lax.top_k(x, 2)[1] + y[:2],
    "scan": lambda x, y, i: summed(x, y)[1] + summed(x, y)[0],
    "while": lambda x, y, i: counted(x) + y,
    "cond": lambda x, y, i: jax.lax.cond(x[0] > 0, lambda: x * 2, lambda: y),
    "switch": lambda x, y, i: jax.lax.switch(i, [lambda: x, lambda: y, lambda: x * y]),
    "shapes": lambda x, y, i: jnp.concatenate([x, y]).reshape(2, 3).T[::-1, None] + jnp.arange(2.0),
    "map": lambda x, y, i: jax.vmap(lambda a: jnp.dot(y, y) * a)(x),
    "a key": lambda x, y, i: jax.random.normal(jax.random.fold_in(jax.random.key(3), i), (3,)) * x,
}
LANES = [(True, True, True), (True, False, False), (False, True, False), (False, False, True)]


def graph_of(function, *args):
    """The graph of some code, its results as outputs."""
    builder = Builder()
    closed = jax.make_jaxpr(function)(*args)
    ins = [builder.add(Input(f"a{k}", Input.DATA, from_aval(a))) for k, a in enumerate(closed.in_avals)]
    results = builder.inline(closed, ins)
    return Graph(tuple(builder.nodes), tuple(Output(Role.RESULT, str(k), n) for k, n in enumerate(results)))


def run(graph, args):
    given = dict(zip(graph.of(Input), args, strict=True))
    return evaluate(graph, given, list(graph.named(Role.RESULT).values()))


@pytest.mark.parametrize("lanes", LANES, ids=str)
@pytest.mark.parametrize("name", CODE)
def test_code_is_what_each_member_computes(name, lanes):
    rng = np.random.default_rng(3)
    whole = [rng.normal(size=(N, 3)), rng.normal(size=(N, 3)), np.array([1, 0, 2])]
    whole = [jnp.asarray(x if lane else x[0]) for x, lane in zip(whole, lanes, strict=True)]
    members = [[x[k] if lane else x for x, lane in zip(whole, lanes, strict=True)] for k in range(N)]
    graph = graph_of(CODE[name], *members[0])
    ours = run(for_all(graph, lanes), whole)
    for result, theirs in zip(ours, zip(*(jax.tree.leaves(CODE[name](*m)) for m in members), strict=True), strict=True):
        np.testing.assert_allclose(
            np.broadcast_to(result, (N, *theirs[0].shape)), np.stack(theirs), rtol=1e-13, atol=1e-14
        )


@pytest.mark.parametrize("lanes", [(True, True), (True, False)])
def test_elementwise_code_stays_one_equation(lanes):
    graph = graph_of(lambda a, b: a * b, 1.0, 2.0)
    assert len(for_all(graph, lanes).nodes) == len(graph.nodes)


def test_gradients_go_through_custom_rules():
    graph = for_all(graph_of(lambda x: jax.nn.relu(cubed(x)), 1.0), [True])
    x = jnp.array([-1.0, 0.0, 2.0])
    ours = jax.grad(lambda x: run(graph, [x])[0].sum())(x)
    np.testing.assert_array_equal(ours, [0.0, 0.0, 12.0])


# -- sites --------------------------------------------------------------------------------------------------


def plain(mu, y):
    x = plait.sample("x", dist.Normal(mu, 2.0))
    z = plait.sample("z", dist.Gamma(2.0, 3.0))
    plait.deterministic("d", x * z)
    plait.deterministic("shared", jnp.float64(2.0))
    plait.sample("y", dist.StudentT(4.0, x, z), obs=y)


def with_plates(mu, y):
    with plait.plate("rows", 2, dim=-2):
        a = plait.sample("a", dist.Normal(0.0, mu**2 + 1))
        with plait.plate("columns", 3) as j:
            b = plait.sample("b", dist.Beta(1 + j, 2.0))
            plait.sample("y", dist.Normal(a * b, jnp.exp(mu)), obs=y)


def with_vectors(mu, y):
    s = plait.sample("s", dist.LKJCholesky(3, 1.0 + mu**2))
    x = plait.sample("x", dist.MultivariateNormal(y[0], scale_tril=s))
    with plait.plate("rows", 2):
        p = plait.sample("p", dist.Dirichlet(jnp.exp(x)))
        plait.sample("k", dist.Categorical(p), obs=jnp.array([2, 1]))
        plait.sample("y", dist.Normal(x, mu**2 + 1).to_event(1), obs=y)


def with_masks_and_scales(mu, y):
    with plait.plate("columns", 3), plait.handlers.mask(mask=y[0] > 0):
        x = plait.sample("x", dist.Normal(mu, 1.0))
        with plait.handlers.scale(scale=1 + mu**2):
            plait.sample("y", dist.Cauchy(x, 1.0), obs=y[0])
    with plait.handlers.scale(scale=3.0):
        plait.factor("f", mu * jnp.sum(x))
        plait.sample("z", dist.Normal(mu, 1.0).mask(y[1] > 0).to_event(1), obs=y[1])


def broadcasting(mu, y):
    """Observed values with more axes than their site, and with fewer; factors that are the same for all members."""
    x = plait.sample("x", dist.Normal(mu, 1.0))
    plait.sample("more", dist.Normal(x, 1.0), obs=y)
    with plait.handlers.mask(mask=y > 0):
        plait.sample("masked", dist.Normal(x, 1.0), obs=y)
        plait.factor("f", x)
    plait.sample("fewer", dist.Normal(y, 1.0), obs=mu)
    plait.sample("in_box", dist.Uniform(y - 9.0, 9.0), obs=mu)
    plait.sample("shared", dist.Normal(0.0, 1.0), obs=jnp.float64(0.5))
    with plait.plate("rows", 2, dim=-2), plait.plate("columns", 3):
        z = plait.sample("read", dist.Normal(x, 1.0), obs=y[0])
    plait.factor("of_read", jnp.sum(jnp.cumsum(z) * jnp.array([1.0, 2.0, 3.0])))
    plait.factor("of_none", jnp.float64(2.0))


def with_loops(mu, y):
    def step(carry, row):
        t, before = carry
        x = plait.sample("x", dist.Normal(before * 0.5 + t, jnp.exp(mu)))
        plait.deterministic("twice", 2 * x)
        with plait.plate("columns", 3) as j:
            plait.sample("y", dist.Normal(x + j, 1.0), obs=row)
            plait.sample("alone", dist.Normal(t, 1.0))
        return (t + 1, x), x * row

    init = plait.sample("init", dist.Normal(0.0, 1.0))
    (t, last), rows = jax.lax.scan(step, (0.0, init), y, reverse=True)
    plait.factor("f", last * t + jnp.sum(rows * mu))


def with_loops_in_loops(mu, y):
    def outer(carry, row):
        t, before = carry

        def inner(d, v):
            x = plait.sample("x", dist.Normal(d * mu, 1.0))
            return x, x + v

        last, sums = jax.lax.scan(inner, before, row)
        b = jax.lax.cond(
            t > 0.5,
            lambda: plait.sample("b", dist.Normal(last, 1.0)) * t,
            lambda: plait.sample("b", dist.Normal(0.0, 2.0)),
        )
        return (t + 1, b), (t, jnp.sum(sums))

    (t, last), (ts, sums) = jax.lax.scan(outer, (0.0, mu), y)
    plait.factor("f", last * t + ts @ sums)


def with_loop_of_known(mu, y):
    """A carry that no member changes, whose initial value only differs; a result that all share."""

    def step(carry, _):
        fixed, t = carry
        plait.factor("f", fixed * t * mu)
        return (fixed, t + 1), t

    (_, _), ts = jax.lax.scan(step, (y[0, 0], 0.0), None, length=4)
    plait.factor("g", jnp.sum(ts) + mu)


def with_branches(mu, y):
    k = plait.sample("k", dist.Normal(0.0, 1.0))

    def branch(shift):
        def run():
            x = plait.sample("x", dist.Normal(mu + shift, 1.0))
            plait.sample("y", dist.Normal(x, 1.0).expand([3]).to_event(1), obs=y[0])
            return x * shift, jnp.float64(shift)

        return run

    x, shift = jax.lax.cond(jnp.float64(len(y)) > 1, branch(1.0), branch(2.0))
    plait.factor("f", x * k + shift)


MODELS = [plain, with_plates, with_vectors, with_masks_and_scales, broadcasting, with_loops, with_loop_of_known]
MODELS += [with_loops_in_loops, with_branches]
MU = np.array([0.3, -0.7, 1.1])
Y = np.arange(18.0).reshape(3, 2, 3) * 0.21 - 1.7


def observed(model):
    """`plain` observes a number, the others a matrix."""
    return Y[:, 0, 0] if model is plain else Y


def traced(model, *args):
    return plait.compile(model, *jax.tree.map(jnp.asarray, args), passes={"reroll": False}).graph


def point_of(graph, seed, steps=()):
    """Values in the supports of the models' latents."""
    rng = np.random.default_rng(seed)
    found = {}
    for node in graph:
        if isinstance(node.op, Sample):
            u = jnp.asarray(rng.normal(0, 0.4, (*steps, *node.op.type.shape)))
            found[node.op.name] = constrained(node.op, u)
        length = (node.op.length,) if isinstance(node.op, Scan) else ()
        for body in node.op.bodies[:1]:
            found |= point_of(body, seed + 1, (*steps, *length))
    return found


def constrained(op, u):
    match op.family:
        case "Gamma":
            return jnp.exp(u)
        case "Beta":
            return jax.nn.sigmoid(u)
        case "Dirichlet":
            return jax.nn.softmax(u)
        case "LKJCholesky":
            lower = jnp.tril(u, -1) + jnp.eye(u.shape[-1])
            return lower / jnp.linalg.norm(lower, axis=-1, keepdims=True)
    return u


def axis_of(graph, name, steps=0):
    """Where the members' axis of a latent's values is: behind those of the scans around it."""
    for node in graph:
        if isinstance(node.op, Sample) and node.op.name == name:
            return steps
        for body in node.op.bodies[:1]:
            found = axis_of(body, name, steps + isinstance(node.op, Scan))
            if found is not None:
                return found
    return None


def log_joint(graph, data, point):
    """By the terms of the density graph, as the pipeline would go on."""
    terms = density(graph)
    return jax.jit(lambda data, point: by_terms(terms, data, point))(data, point)


def by_terms(terms, data, point):
    given = dict(zip([n for n in terms if isinstance(n.op, Input)], data, strict=True))
    given |= {node: point[name] for name, node in terms.named(Role.VALUE).items()}
    return evaluate(terms, given, [terms.output(Role.LOG_JOINT)])[0]


@pytest.mark.parametrize("lanes", [(True, True), (True, False), (False, True)], ids=str)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_sites_have_the_density_of_the_members(model, lanes):
    data = [x if lane else x[1] for x, lane in zip((MU, observed(model)), lanes, strict=True)]
    members = [[x[i] if lane else x for x, lane in zip(data, lanes, strict=True)] for i in range(N)]
    graph = traced(model, *members[0])
    points = [point_of(graph, 7 * i) for i in range(N)]
    expected = sum(interpret(graph, m, [], p, False).log_joint for m, p in zip(members, points, strict=True))
    whole = for_all(graph, lanes)
    point = {name: jnp.stack([p[name] for p in points], axis_of(graph, name)) for name in points[0]}
    report = interpret(whole, data, [], point, False)
    assert not report.whole
    np.testing.assert_allclose(report.log_joint, expected, rtol=1e-12)
    np.testing.assert_allclose(log_joint(whole, data, point), expected, rtol=1e-12)


@pytest.mark.parametrize("model", [with_loops, with_loops_in_loops], ids=lambda model: model.__name__)
def test_as_many_steps_as_members(model):
    """Where a swap of steps and members shows in numbers only."""
    y = np.random.default_rng(2).normal(size=(N, N, 3))
    graph = traced(model, MU[0], y[0])
    points = [point_of(graph, 7 * i) for i in range(N)]
    expected = sum(interpret(graph, [MU[i], y[i]], [], points[i], False).log_joint for i in range(N))
    point = {name: jnp.stack([p[name] for p in points], axis_of(graph, name)) for name in points[0]}
    np.testing.assert_allclose(log_joint(for_all(graph, (True, True)), [MU, y], point), expected, rtol=1e-12)


def test_one_member_alone():
    graph = traced(with_loops, MU[0], Y[0])
    point = point_of(graph, 5)
    whole = for_all(graph, (True, True), 1)
    at_once = {name: jnp.expand_dims(x, axis_of(graph, name)) for name, x in point.items()}
    expected = interpret(graph, [MU[0], Y[0]], [], point, False).log_joint
    np.testing.assert_allclose(log_joint(whole, [MU[:1], Y[:1]], at_once), expected, rtol=1e-12)


@pytest.mark.parametrize("model", [with_plates, with_loops, broadcasting], ids=lambda model: model.__name__)
def test_members_of_members(model):
    """A loop in a loop: I x J members, the outer loop's axis first."""
    mu, y = np.stack([MU, MU + 0.2]), np.stack([Y, Y * 0.5])  # 2 x 3 members
    graph = traced(model, mu[0, 0], y[0, 0])
    inner = for_all(graph, (True, True), 3, "inner")
    outer = for_all(inner, (True, True), 2, "outer")
    points = [[point_of(graph, 3 * i + j) for j in range(3)] for i in range(2)]
    expected = sum(
        interpret(graph, [mu[i, j], y[i, j]], [], points[i][j], False).log_joint for i in range(2) for j in range(3)
    )

    def stacked(name):
        k = axis_of(graph, name)
        return jnp.stack([jnp.stack([p[name] for p in row], k) for row in points], k)

    point = {name: stacked(name) for name in points[0][0]}
    np.testing.assert_allclose(log_joint(outer, [mu, y], point), expected, rtol=1e-12)
    for op in sites_and_more(outer):
        assert op.members.names == tuple(f"{op.name}_{j}_{i}" for i in range(2) for j in range(3))
        assert op.members.axes == 2
        assert [p.name for p in op.plates][-2:] == ["inner", "outer"]


def test_a_rolled_site_is_what_a_user_would_write():
    def in_a_plate(mu, y):
        with plait.plate("loop", 3, dim=-2), plait.plate("columns", 4, dim=-1):
            plait.sample("x", dist.Normal(mu[:, None], 2.0))

    def member(mu, y):
        with plait.plate("columns", 4):
            plait.sample("x", dist.Normal(mu, 2.0))

    (ours,) = for_all(traced(member, MU[0], Y), (True, False)).of(Sample)
    (theirs,) = traced(in_a_plate, MU, Y).of(Sample)
    assert str(ours.type) == str(theirs.type)
    assert ours.op.dist == theirs.op.dist
    assert (ours.op.plates, ours.op.drawn) == (theirs.op.plates, theirs.op.drawn)


def test_names_members_and_types():
    whole = for_all(traced(plain, 0.3, 0.1), (True, False))
    ops = {op.name: op for op in sites_and_more(whole)}
    assert list(ops) == ["x", "z", "d", "shared", "y"]
    for name, op in ops.items():
        assert op.members.names == names_of(name, N)
        assert (op.members.axes, op.members.steps) == (1, 0)
        assert op.plates[-1].name == "loop"
    types = {node.op.name: str(node.type) for node in whole.of(Site, Deterministic)}
    assert types == {name: "f64[3]" if name in ("d", "shared") else "f64[loop:3]" for name in ops}
    assert isinstance(ops["y"], Observe)
    assert ops["x"].drawn == (3,)


def test_plates_inside_a_loop_are_renamed_with_their_sites():
    graph = traced(with_loops, MU[0], Y[0])
    (scan,) = graph.of(Scan)
    builder = Builder()
    args = [builder.add(Input(f"a{i}", Input.DATA, t)) for i, t in enumerate(scan.op.ins)]
    results = batched(
        builder,
        scan,
        args,
        [False] * len(args),
        Axis("loop", N),
        rename=lambda name: (f"all_{name}", names_of(name, N)),
    )
    assert len(results) == len(scan.type.items)
    (whole,) = Graph(tuple(builder.nodes)).of(Scan)
    verify(Graph(tuple(builder.nodes)))
    assert {op.name for op in sites_and_more(Graph((whole,)))} == {"all_x", "all_twice", "all_y", "all_alone"}
    (y,) = whole.op.body.of(Observe)
    assert [str(p) for p in y.op.plates] == ["all_columns:3", "loop:3"]
    assert y.type.axes == ("loop", "all_columns")


def test_a_counter_in_a_loop_stays_one_for_all():
    (scan,) = for_all(traced(with_loops, MU[0], Y[0]), (True, True)).of(Scan)
    carries = [node.type.shape for node in scan.op.body.of(Input) if node.op.name.startswith("carry")]
    assert carries == [(), (3,)]


# -- terms of a density -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [m for m in MODELS if m not in (plain, with_loop_of_known)])
def test_terms_of_a_density_keep_their_distribution(model):
    """Batching what `density` made gives what `density` makes of the batched sites."""
    graph = traced(model, MU[0], Y[0])
    points = [point_of(graph, i) for i in range(N)]
    terms = as_inputs(density(graph))
    at_once = for_all(terms, [True] * len(terms.of(Input)))
    data = [MU, Y, *(jnp.stack([p[name] for p in points]) for name in points[0])]
    ours = evaluate(at_once, dict(zip(at_once.of(Input), data, strict=True)), [at_once.output(Role.LOG_JOINT)])[0]
    expected = [interpret(graph, [MU[i], Y[i]], [], points[i], False).log_joint for i in range(N)]
    np.testing.assert_allclose(ours, np.stack(expected), rtol=1e-12)
    for op in (LogProb, InSupport):
        assert len(at_once.of(op)) == len(terms.of(op))


def test_each_members_value_is_held_against_its_own_support():
    def model(mu, y):
        plait.sample("x", dist.Uniform(y, y + 1.0), obs=mu)

    terms = density(traced(model, MU[0], np.full_like(Y[0], MU[0])))  # the data are checked
    checks = with_outputs(terms, [Output(Role.RESULT, "0", terms.of(InSupport)[0])])
    (inside,) = run(for_all(checks, (True, True)), [MU, Y])
    expected = (MU[:, None, None] >= Y) & (MU[:, None, None] <= Y + 1)
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(inside, expected)


def as_inputs(graph):
    """A density graph whose values are inputs like the data, and which returns the log joint alone."""
    values = list(graph.named(Role.VALUE).values())
    new = {node: make(Input(node.op.label, Input.DATA, node.type)) for node in values}
    data = graph.of(Input)
    new |= {node: node for node in data}
    rest = []
    for node in graph:
        if node not in new:
            new[node] = make(node.op, [new[a] for a in node.args], node.loc)
            rest.append(new[node])
    joint = new[graph.output(Role.LOG_JOINT)]
    return Graph((*data, *(new[v] for v in values), *rest), (Output(Role.LOG_JOINT, "", joint),))


# -- what is refused ----------------------------------------------------------------------------------------


def subsampled(x):
    with plait.plate("rows", 6, subsample_size=2):
        plait.sample("x", dist.Normal(x, 1.0))


def own_key(x):
    plait.sample("x", dist.Normal(0.0, 1.0), rng_key=x)


def with_param(x):
    plait.param("w", x)


def branches(x):
    jax.lax.cond(x > 0, *[lambda: plait.sample("x", dist.Normal(0.0, 1.0))] * 2)


def called_back(x):
    y = jax.pure_callback(np.sin, jax.ShapeDtypeStruct((), float), x)
    plait.sample("x", dist.Normal(y, 1.0))


REFUSED = {
    own_key: "each draws with a key of its own",
    with_param: "params are kept one by one",
    branches: "the branch differs from member to member",
    called_back: "jax can't vmap pure_callback",
}


@pytest.mark.parametrize("model", REFUSED, ids=lambda model: model.__name__)
def test_refused(model):
    x = jax.random.key(0) if model is own_key else 1.0
    graph = traced(model, x)
    for lanes in [(True,), (False,)] if model is own_key else [(True,)]:
        with pytest.raises(NotBatched) as caught:
            for_all(graph, lanes)
        assert str(caught.value) == REFUSED[model]


def test_a_mask_with_more_axes_than_the_site_is_refused():
    (site,) = traced(plain, 0.3, 0.1).of(Sample)[:1]
    builder = Builder()
    mask = builder.add(Input("mask", Input.DATA, ArrayType(np.dtype(bool), (N, 2))))
    masked = make(replace(site.op, extras=(Site.MASK,)), (*site.args, mask), site.loc)
    with pytest.raises(NotBatched, match="its mask or scale has more axes than the site"):
        batched(builder, masked, masked.args, [False, False, True], Axis("loop", N), "all", names_of("x", N))


def test_a_subsample_is_shared_or_refused():
    builder = Builder()
    (plate,) = traced(partial(plait.handlers.seed, subsampled, 0)(), 1.0).of(Plate)
    shared = builder.add(Input("i", Input.DATA, plate.args[0].type))
    assert batched(builder, plate, [shared], [False], Axis("loop", N), "all").op.frame.name == "all"
    differ = builder.add(Input("j", Input.DATA, grown(plate.args[0].type, N, True)))
    with pytest.raises(NotBatched, match="each takes a subsample of its own"):
        batched(builder, plate, [differ], [True], Axis("loop", N), "all")
