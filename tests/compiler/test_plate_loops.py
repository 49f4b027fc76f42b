"""``for i in plait.plate(name, n)``: traced once where it is a plate, unrolled where it is not, nothing else ever."""

# ruff: noqa: B023, PERF401, UP028 (loops as users write them)

import itertools
import random
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from numpyro.infer.util import log_density

import plait
from plait import ModelError
from plait.compiler.arguments import split_arguments
from plait.compiler.lower.evaluate import evaluate
from plait.compiler.stack import open_frames
from plait.compiler.trace import trace
from plait.ir.graph import Graph
from plait.ir.ops import Apply, Deterministic, Input, Plate, Scan, Site, inputs
from plait.runtime import compile as driver
from tests.helpers import eagerly, either_way, refused

N = 8
Y, S = np.linspace(-1.0, 1.0, N), np.linspace(0.5, 2.0, N)
X = np.arange(3.0 * N).reshape(N, 3) / 10
DATA = {"y": Y, "s": S, "x": X}


def ranged(name, n):
    return range(n)


def traced(model, **data):
    """The graph and the notes of one trace."""
    return trace(model, split_arguments(model, (), data, ()))


def sites(graph):
    """The members of each family, and of each site its name, by name."""
    found = {}
    for node in graph:
        for body in node.op.bodies[:1]:
            found |= sites(body)
        if isinstance(node.op, (Site, Deterministic)):
            found[node.op.name] = node.op.members.names if node.op.members else node.op.name
    return found


def over(model, loop):
    return partial(model, loop) if loop is not None else model


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def same_as_ordinary(model, check=0):
    """Compiles a loop over a plate and the same over range, left unrolled: their densities are equal, term by term."""
    ours = plait.compile(partial(model, plait.plate), **DATA, check=check)
    ordinary = plait.compile(partial(model, ranged), **DATA, passes={"reroll": False})
    assert set(ours.names) == set(ordinary.names)
    values = ordinary.constrain(np.random.default_rng(0).uniform(-1, 1, ordinary.dim))
    assert_allclose(ours.log_joint(values), ordinary.log_joint(values), rtol=1e-10)
    terms, wanted = ours.log_prob_terms(values), ordinary.log_prob_terms(values)
    assert terms.keys() == wanted.keys()
    for name, term in wanted.items():
        assert_allclose(terms[name], term, rtol=1e-10, atol=1e-12, err_msg=name)
    return ours


# -- traced once ------------------------------------------------------------------------------------------


def schools(loop, y, s, x):
    mu = plait.sample("mu", dist.Normal(0, 5))
    for i in loop("schools", N):
        theta = plait.sample(f"theta_{i}", dist.Normal(mu, 1.0))
        plait.sample(f"y_{i}", dist.Normal(theta, s[i]), obs=y[i])


def arithmetic(loop, y, s, x):
    mu = plait.sample("mu", dist.Normal(0, 1))
    for i in loop("rows", N):
        before = jnp.where(i > 0, y[i - 1], 0.0)
        scale = s[i] * 2**i + i // 2 + abs(i - 3) + 0.5**i
        plait.sample(f"y_{i}", dist.Normal(mu * (i % 3) + i / 3 - before, scale), obs=y[7 - i])


def rows(loop, y, s, x):
    beta = plait.sample("beta", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
    for i in loop("rows", N):
        eta = plait.deterministic(f"eta_{i}", x[i, :] @ beta)
        plait.factor(f"penalty_{i}", -(eta**2))
        plait.sample(f"y_{i}", dist.Bernoulli(logits=eta), obs=jnp.asarray(y[i] > 0, int))


def plate_inside(loop, y, s, x):
    for i in loop("rows", N):
        a = plait.sample(f"a_{i}", dist.Normal(0, 1))
        with plait.plate("columns", 3):
            b = plait.sample(f"b_{i}", dist.Normal(a, 1))
            plait.sample(f"y_{i}", dist.Normal(b, s[i]), obs=x[i])


def plate_around(loop, y, s, x):
    with plait.plate("columns", 3):
        mu = plait.sample("mu", dist.Normal(0, 1))
        for i in loop("rows", N):
            a = plait.sample(f"a_{i}", dist.Normal(mu, 1))
            plait.sample(f"y_{i}", dist.Normal(a, s[i]), obs=x[i])


def loops_in_loops(loop, y, s, x):
    for i in loop("rows", N):
        a = plait.sample(f"a_{i}", dist.Normal(0, 1))
        for j in loop("columns", 3):
            b = plait.sample(f"b{j}-{i}", dist.Normal(a * j, 1))
            plait.sample(f"y_{i}_{j}", dist.Normal(b + i, s[i]), obs=x[i, j])


def loops_of_one_size(loop, y, s, x):
    for i in loop("rows", 3):
        a = plait.sample(f"a_{i}", dist.Normal(i, 1))
        for j in loop("columns", 3):
            plait.sample(f"y_{j}_{i}", dist.Normal(a, 1.0 + j), obs=x[i, j])


def scan_inside(loop, y, s, x):
    for i in loop("series", N):

        def step(state, seen):
            state = plait.sample(f"state_{i}", dist.Normal(state, 1))
            plait.sample(f"seen_{i}", dist.Normal(state, s[i]), obs=seen)
            return state, state

        jax.lax.scan(step, 0.0, x[i])


def inside_a_scan(loop, y, s, x):
    def step(state, row):
        state = plait.sample("state", dist.Normal(state, 1))
        for i in loop("columns", 3):
            plait.sample(f"seen_{i}", dist.Normal(state, s[i]), obs=row[i])
        return state, None

    jax.lax.scan(step, 0.0, x)


def jitted_helpers(loop, y, s, x):
    mu = plait.sample("mu", dist.Normal(0, 1))
    shifted = jax.jit(lambda m, by: m + by)
    for i in loop("rows", N):

        @jax.jit
        def theta(m):
            return plait.sample(f"theta_{i}", dist.Normal(m, 1))

        plait.sample(f"y_{i}", dist.Normal(shifted(theta(mu), s[i]), 1), obs=y[i])


def handlers(loop, y, s, x):
    mu = plait.sample("mu", dist.Normal(0, 1))
    for i in loop("rows", N):
        with plait.handlers.scale(scale=s[i]), plait.handlers.mask(mask=y[i] > 0):
            plait.sample(f"y_{i}", dist.Normal(mu, 1), obs=y[i])
        with plait.handlers.scope(prefix=f"group{i}"):
            plait.sample("z", dist.Normal(mu, 1))


def shared_code(loop, y, s, x):
    """What depends on no index may be used outside; an observation may be the same for all."""
    log_scale = plait.sample("log_scale", dist.Normal(0, 1))
    for i in loop("rows", N):
        scale = jnp.exp(log_scale)
        plait.sample(f"y_{i}", dist.Normal(0, scale), obs=y[0])
    plait.sample("z", dist.Normal(0, scale))
    plait.sample(f"last_{i}", dist.Normal(0, scale))  # i as an ordinary loop leaves it


def vectors(loop, y, s, x):
    mu = plait.sample("mu", dist.Normal(jnp.zeros(3), 1.0).to_event(1))
    for i in loop("rows", N):
        a = plait.sample(f"a_{i}", dist.MultivariateNormal(mu, jnp.eye(3) * s[i]))
        b = plait.sample(f"b_{i}", dist.Dirichlet(jnp.ones(3)))
        plait.sample(f"y_{i}", dist.MultivariateNormal(a * b, jnp.eye(3)), obs=x[i])


def supports(loop, y, s, x):
    for i in loop("rows", N):
        u = plait.sample(f"u_{i}", dist.Uniform(0, s[i]))
        plait.sample(f"v_{i}", dist.Uniform(-u, u))
        plait.sample(f"g_{i}", dist.Gamma(1 + i, s[i]))


def partly_observed(loop, y, s, x):
    mu = plait.sample("mu", dist.Normal(0, 1))
    for i in loop("rows", N):
        plait.sample(f"y_{i}", dist.Normal(mu, s[i]), obs=y[i], obs_mask=y[i] > 0)


def latent_vector(loop, y, s, x):
    with plait.plate("rows", N):
        theta = plait.sample("theta", dist.Normal(0, 1))
    for i in loop("rows", N):
        plait.sample(f"y_{i}", dist.Normal(theta[i] + jax.nn.softplus(theta[(i + 1) % N]), s[i]), obs=y[i])


def two_loops(loop, y, s, x):
    for i in loop("rows", N):
        plait.sample(f"a_{i}", dist.Normal(0, 1))
    for i in loop("rows", N):
        plait.sample(f"b_{i}", dist.Normal(0, s[i]), obs=y[i])


def numpyros_sites(loop, y, s, x):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    for i in loop("rows", N):
        a = numpyro.sample(f"a_{i}", dist.Normal(mu, 1))
        with numpyro.plate("columns", 3):
            numpyro.sample(f"y_{i}", dist.Normal(a, s[i]), obs=x[i])


def draw_named(name, mean):
    return plait.sample(name, dist.Normal(mean, 1))


def school(ppl, mean, name):
    return draw_named(f"{name}_again", draw_named(mean=mean, name=name))


def name_of(i):
    return f"v_{i}"


def texts(loop, y, s, x):
    """Names in every way that goes nowhere else."""
    for i in loop("rows", N):
        plait.sample("a_" + str(i), dist.Normal(0, 1))
        plait.sample("b_%s" % i, dist.Normal(0, 1))  # noqa: UP031
        plait.sample("c_{:>3}_{}".format(i, i), dist.Normal(0, 1))  # noqa: UP032
        plait.sample(name=f"d_{i:02d}_{i + 1}_{-i}", fn=dist.Normal(0, 1))
        name = f"e_{i!r}"
        plait.deterministic(name + "_twice", 2 * plait.sample(name, dist.Normal(0, 1)))
        school(plait, 0.0, name=f"f_{i}")
        plait.sample(name_of(i), dist.Normal(0, 1))
        for k in range(2):
            plait.sample(f"g_{i}_{k}", dist.Normal(k, 1))


def plates_of_their_own(loop, y, s, x):
    for i in loop("rows", N):
        with plait.plate(f"columns_{i}", 3):
            plait.sample(f"x_{i}", dist.Normal(0, 1))


ONCE = {
    plates_of_their_own: ["x_*"],
    schools: ["mu", "theta_*", "y_*"],
    arithmetic: ["mu", "y_*"],
    rows: ["beta", "eta_*", "penalty_*", "y_*"],
    plate_inside: ["a_*", "b_*", "y_*"],
    plate_around: ["mu", "a_*", "y_*"],
    loops_in_loops: ["a_*", "b*-*", "y_*_*"],
    loops_of_one_size: ["a_*", "y_*_*"],
    scan_inside: ["state_*", "seen_*"],
    inside_a_scan: ["state", "seen_*"],
    jitted_helpers: ["mu", "theta_*", "y_*"],
    handlers: ["mu", "y_*", "group*/z"],
    shared_code: ["log_scale", "y_*", "z", "last_7"],
    vectors: ["mu", "a_*", "b_*", "y_*"],
    supports: ["u_*", "v_*", "g_*"],
    partly_observed: ["mu", "y_*_observed", "y_*_unobserved", "y_*"],
    latent_vector: ["theta", "y_*"],
    two_loops: ["a_*", "b_*"],
    numpyros_sites: ["mu", "a_*", "y_*"],
    texts: ["a_*", "b_*", "c_*_*", "d_*_*_*", "e_*", "e_*_twice", "f_*", "f_*_again", "v_*", "g_*_0", "g_*_1"],
}


@pytest.mark.parametrize("model", ONCE, ids=lambda m: m.__name__)
def test_a_loop_that_is_a_plate_is_traced_once(model):
    graph, notes = traced(partial(model, plait.plate), **DATA)
    assert notes == ()
    assert list(sites(graph)) == ONCE[model]
    same_as_ordinary(model)


@pytest.mark.parametrize("model", [schools, loops_in_loops, plate_inside, scan_inside], ids=lambda m: m.__name__)
def test_the_certificate_compares_with_the_true_loop(model, monkeypatch):
    asked = []

    def recorded(model, arguments, *, unrolled=False):
        asked.append(unrolled)
        return trace(model, arguments, unrolled=unrolled)

    monkeypatch.setattr(driver, "trace", recorded)
    assert same_as_ordinary(model, check=1).certificate.worst < 1e-10
    assert asked == [False, True, False]


def test_members_have_the_ordinary_names_outer_index_first():
    graph, _ = traced(partial(loops_in_loops, plait.plate), **DATA)
    found = sites(graph)
    assert found["a_*"] == tuple(f"a_{i}" for i in range(N))
    assert found["b*-*"] == tuple(f"b{j}-{i}" for i in range(N) for j in range(3))
    assert found["y_*_*"] == tuple(f"y_{i}_{j}" for i in range(N) for j in range(3))
    (site,) = [node for node in graph.of(Site) if node.op.name == "y_*_*"]
    assert (site.type.shape, site.type.axes) == ((N, 3), ("rows", "columns"))
    assert {p.name: (p.size, p.dim) for p in site.op.plates} == {"rows": (N, -2), "columns": (3, -1)}
    assert [op.frame.name for op in graph.ops(Plate)] == ["rows", "columns"]


def test_texts_are_those_of_integers():
    found = sites(traced(partial(texts, plait.plate), **DATA).graph)
    assert found["c_*_*"] == tuple(f"c_{i:>3}_{i}" for i in range(N))
    assert found["d_*_*_*"] == tuple(f"d_{i:02d}_{i + 1}_{-i}" for i in range(N))
    assert found["f_*_again"] == tuple(f"f_{i}_again" for i in range(N))


def test_the_family_can_be_given_as_one_array():
    compiled = plait.compile(partial(schools, plait.plate), **DATA)
    theta = np.linspace(0, 1, N)
    one_by_one = {f"theta_{i}": theta[i] for i in range(N)}
    assert compiled.log_joint({"mu": 0.3, "theta_*": theta}) == compiled.log_joint({"mu": 0.3, **one_by_one})


def test_the_graph_does_not_grow_with_the_loop():
    def model(n):
        for i in plait.plate("rows", n):
            plait.sample(f"x_{i}", dist.Normal(i, 1))

    sizes = [len(trace(model, split_arguments(model, (n,), {}, ("n",))).graph.nodes) for n in (3, 300)]
    assert sizes[0] == sizes[1]


def test_a_loop_inside_a_scan_is_in_its_body():
    graph, _ = traced(partial(inside_a_scan, plait.plate), **DATA)
    (scan,) = graph.of(Scan)
    (seen,) = [node for node in scan.op.body.of(Site) if node.op.name == "seen_*"]
    assert seen.op.members.names == ("seen_0", "seen_1", "seen_2")


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        (lambda v, i: v[i], np.arange(12.0)[:6]),
        (lambda v, i: v[i + 3], np.arange(12.0)[3:9]),
        (lambda v, i: v[2 * i + 1], np.arange(12.0)[1::2]),
        (lambda v, i: v[5 - i], np.arange(12.0)[5::-1]),
        (lambda v, i: v[-1 - i], np.arange(12.0)[:5:-1]),
        (lambda v, i: v.reshape(6, 2)[i, 1], np.arange(12.0)[1::2]),
        (lambda v, i: v.reshape(2, 6)[0, i], np.arange(12.0)[:6]),
        (lambda v, i: v.reshape(2, 6)[:, i], np.arange(12.0).reshape(2, 6).T),
        (lambda v, i: jax.lax.dynamic_slice(v, (3 * i // 2,), (1,)), None),
        (lambda v, i: v[(i * i) % 12], None),
        (lambda v, i: v[i % 4], None),
        (lambda v, i: v[i + 9], None),
    ],
)
def test_what_the_index_takes_evenly_is_a_slice(part, wanted):
    v = np.arange(12.0)

    def model(loop, v):
        for i in loop("rows", 6):
            plait.deterministic(f"part_{i}", part(v, i))

    graph, notes = traced(partial(model, plait.plate), v=v)
    assert notes == ()
    needed = traced_value(graph, v)
    ordinary = [np.asarray(part(jnp.asarray(v), i)) for i in range(6)]
    assert_allclose(needed, np.stack(ordinary))
    if wanted is not None:
        assert_allclose(needed, wanted)
        compiled = plait.compile(partial(model, plait.plate), v=v)
        simplified = dict(compiled.history)["simplify"]
        assert not [op for op in simplified.ops(Apply) if op.primitive.name == "gather"]


def traced_value(graph, v):
    """The value of the one deterministic site."""
    (node,) = graph.of(Deterministic)
    return np.asarray(evaluate(graph, {inputs(graph, Input.DATA)[0]: jnp.asarray(v)}, [node])[0])


# -- unrolled ---------------------------------------------------------------------------------------------

VALUES = [float(v) for v in Y]
ARRAY = np.array(Y)
SERIES = pd.Series(Y)
BY_INDEX = dict(enumerate(VALUES))
BY_NAME = {"y_5": 1.5}  # as sparse as missing data
KEPT: list = []


class Box:
    count = 0


UNROLLED = {}


def unrolled(*says):
    """Registers the body of a model whose loop has to be unrolled, and what the note says."""

    def register(body):
        def model(loop, y, s, x):
            body(partial(loop, "rows", N), y, s, x, plait.sample("mu", dist.Normal(0, 1)))

        model.__name__ = body.__name__
        UNROLLED[model] = (body, says)
        return body

    return register


INTEGER = "its index is used as a Python integer; index jnp arrays with it (jnp.asarray) to trace it once"
STATEMENT = "write a for statement over the plate itself to trace it once"
TEXT = "a text of its index goes, or may go, into something else than the name of a site"


@unrolled(INTEGER)
def a_list(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"y_{i}", dist.Normal(mu, 1), obs=VALUES[i])


@unrolled(INTEGER)
def a_numpy_array(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"y_{i}", dist.Normal(mu, 1), obs=ARRAY[i])


@unrolled("pandas does not take its index")
def a_series(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"y_{i}", dist.Normal(mu, 1), obs=SERIES.iloc[i])


@unrolled("looked up in a dict")
def a_dict(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"y_{i}", dist.Normal(mu, 1), obs=BY_INDEX[i])


@unrolled(INTEGER)
def a_range(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"y_{i}", dist.Normal(mu + sum(range(i)), 1), obs=y[i])


@unrolled(INTEGER)
def an_error_that_the_model_catches(loop, y, s, x, mu):
    for i in loop():
        try:
            mean = VALUES[i]
        except TypeError:
            mean = 0.0
        plait.sample(f"y_{i}", dist.Normal(mean, 1), obs=y[i])


@unrolled("use jnp.where or jax.lax.cond")
def an_if(loop, y, s, x, mu):
    for i in loop():
        if i == 0:
            plait.sample(f"y_{i}", dist.Normal(0, 1), obs=y[i])
        else:
            plait.sample(f"y_{i}", dist.Normal(mu, 1), obs=y[i])


@unrolled("Python asks for the truth of its index")
def a_truth(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"y_{i}", dist.Normal(mu if i else 0.0, 1), obs=y[i])


@unrolled("change the Python variable 'thetas'")
def an_append(loop, y, s, x, mu):
    thetas = []
    for i in loop():
        thetas.append(plait.sample(f"theta_{i}", dist.Normal(mu, 1)))
    plait.sample("y", dist.Normal(jnp.stack(thetas), s).to_event(1), obs=y)


@unrolled("change the Python variable 'KEPT'")
def an_append_to_a_global(loop, y, s, x, mu):
    KEPT.clear()
    for i in loop():
        KEPT.append(plait.sample(f"theta_{i}", dist.Normal(mu, 1)))
    plait.sample("y", dist.Normal(len(KEPT), 1), obs=1.0)


@unrolled("'x_*' of a step is used in the next one")
def a_chain(loop, y, s, x, mu):
    before = mu
    for i in loop():
        now = plait.sample(f"x_{i}", dist.Normal(before, 1))
        plait.sample(f"y_{i}", dist.Normal(now, 1), obs=y[i])
        before = now


@unrolled("is used in the next one")
def a_chain_that_begins_with_none(loop, y, s, x, mu):
    before = None
    for i in loop():
        before = plait.sample(f"x_{i}", dist.Normal(0.0 if before is None else before, 1))


@unrolled("is used in the next one")
def a_sum(loop, y, s, x, mu):
    total = 0.0
    for i in loop():
        total = total + plait.sample(f"x_{i}", dist.Normal(mu, 1))
    plait.sample("total", dist.Normal(total, 1), obs=1.0)


@unrolled("change the Python variable 'count'")
def a_counter(loop, y, s, x, mu):
    count = 0
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 1))
        count += 1
    plait.sample("y", dist.Normal(float(count), 1), obs=1.0)


@unrolled("change the Python variable 'box'")
def a_counter_in_an_object(loop, y, s, x, mu):
    box = Box()
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 1))
        box.count += 1
    plait.sample("y", dist.Normal(float(box.count), 1), obs=1.0)


@unrolled("change the Python variable 'up'")
def a_counter_in_a_helper(loop, y, s, x, mu):
    count = 0

    def up():
        nonlocal count
        count += 1
        return 1.0 if count < 4 else 2.0

    def run():  # whose own variables say nothing
        for i in loop():
            plait.sample(f"x_{i}", dist.Normal(mu, up()))

    run()


@unrolled("change the Python variable 'total'")
def an_array_in_place(loop, y, s, x, mu):
    total = np.zeros(())
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 1))
        total += 1
    plait.sample("y", dist.Normal(total, 1), obs=1.0)


@unrolled("change the Python variable 'scales'")
def an_iterator(loop, y, s, x, mu):
    scales = iter([1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, next(scales)))


@unrolled("a value of Python's changes from step to step, 1.84442 and then 1.75795")
def a_number_from_outside(loop, y, s, x, mu):
    numbers = random.Random(0)
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 1 + round(numbers.random(), 5)))


@unrolled(STATEMENT)
def a_zip(loop, y, s, x, mu):
    for i, value in zip(loop(), VALUES, strict=True):
        plait.sample(f"x_{i}", dist.Normal(mu, 1), obs=value)


@unrolled(STATEMENT)
def an_enumerate(loop, y, s, x, mu):
    for k, i in enumerate(loop()):
        plait.sample(f"x_{i}", dist.Normal(mu, 1 + k))


@unrolled(STATEMENT)
def a_comprehension(loop, y, s, x, mu):
    thetas = [plait.sample(f"x_{i}", dist.Normal(mu, 1)) for i in loop()]
    plait.sample("y", dist.Normal(len(thetas), 1), obs=1.0)


@unrolled(STATEMENT)
def a_generator(loop, y, s, x, mu):
    def indices():
        for i in loop():
            yield i

    for i in indices():
        plait.sample(f"x_{i}", dist.Normal(mu, 1))


@unrolled(STATEMENT)
def a_chain_of_iterators(loop, y, s, x, mu):
    for i in itertools.chain(loop()):
        plait.sample(f"x_{i}", dist.Normal(mu, 1))


@unrolled("it ends before its last step")
def a_break(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 1))
        break


@unrolled("it ends before its last step")
def a_return(loop, y, s, x, mu):
    def first():
        for i in loop():
            return plait.sample(f"x_{i}", dist.Normal(mu, 1))
        return None

    first()


@unrolled("param 'w_*' is inside")
def a_param(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(plait.param(f"w_{i}", 1.0), 1))


@unrolled("'x_7' of a step is used outside of the loop")
def the_last_value(loop, y, s, x, mu):
    for i in loop():
        last = plait.sample(f"x_{i}", dist.Normal(mu, 1))
    plait.sample("y", dist.Normal(last, 1), obs=1.0)


@unrolled("the index of a step is used outside of the loop", "")
def the_last_index(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 1))
    plait.sample("y", dist.Normal(i * 1.0, 1), obs=1.0)


@unrolled(TEXT)
def a_name_that_is_looked_up(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"y_{i}", dist.Normal(mu, 1), obs=BY_NAME.get(f"y_{i}"))


@unrolled(TEXT)
def a_variable_that_is_looked_up(loop, y, s, x, mu):
    for i in loop():
        name = f"y_{i}"
        plait.sample(name, dist.Normal(mu, 1), obs=BY_NAME.get(name))


@unrolled(TEXT)
def a_name_that_a_helper_looks_up(loop, y, s, x, mu):
    def observed(name):
        return plait.sample(name, dist.Normal(mu, 1), obs=BY_NAME.get(name))

    for i in loop():
        observed(f"y_{i}")


@unrolled(TEXT)
def a_helpers_text_that_is_looked_up(loop, y, s, x, mu):
    for i in loop():
        plait.sample(name_of(i), dist.Normal(mu, 1), obs=BY_NAME.get(name_of(i).replace("v", "y")))


@unrolled(TEXT)
def a_name_that_is_compared(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 2.0 if f"x_{i}" == "x_3" else 1.0))


@unrolled("the name of 'a' is not made with its index alone")
def names_from_elsewhere(loop, y, s, x, mu):
    names = list("hgfedcba")
    for _ in loop():
        plait.sample(names.pop(), dist.Normal(mu, 1))


@unrolled("is not made with its index alone")
def names_of_floats(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"x_{i}_{i / 2}", dist.Normal(mu, 1))


@unrolled("its steps open plate 'rows' again")
def the_same_plate_inside(loop, y, s, x, mu):
    for i in loop():
        with plait.plate("rows", N):
            plait.sample(f"x_{i}", dist.Normal(mu, 1))


@unrolled("it is inside another loop over plate 'rows'")
def the_same_plate_in_a_loop(loop, y, s, x, mu):
    for i in loop():
        for j in loop():
            plait.sample(f"x_{i}_{j}", dist.Normal(mu, 1))


@unrolled("handler 'condition' may act on each of its sites in another way")
def a_handler_by_name(loop, y, s, x, mu):
    with plait.handlers.condition(data={"x_3": 0.7}):
        for i in loop():
            plait.sample(f"x_{i}", dist.Normal(mu, 1))


@unrolled("handler 'seed' may act on each of its sites in another way")
def a_handler_that_counts(loop, y, s, x, mu):
    with plait.handlers.seed(rng_seed=0):
        for i in loop():
            plait.sample(f"x_{i}", dist.Normal(mu, 1))
        with plait.plate("some", N, 3) as index:
            plait.sample("y", dist.Normal(mu, 1), obs=y[index])


@unrolled("Python's arithmetic with its index does not fit")
def fractions(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 2**-i))


@unrolled("Python's arithmetic with its index does not fit")
def large_numbers(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 1e-20 * (i + 1) ** 30))


@unrolled("two sites are called 'x_*'")
def families_of_one_pattern(loop, y, s, x, mu):
    for i in loop():
        plait.sample(f"x_{i}", dist.Normal(mu, 1))
        plait.sample(f"x_{i:02d}", dist.Normal(mu, 1))


@unrolled("the branch differs from member to member")
def branches(loop, y, s, x, mu):
    for i in loop():

        def site(mean):
            return plait.sample(f"x_{i}", dist.Normal(mean, 1))

        jax.lax.cond(y[i] > 0, lambda: site(0.0), lambda: site(1.0))


a_list_model = next(iter(UNROLLED))


@pytest.mark.parametrize("model", UNROLLED, ids=lambda m: m.__name__)
def test_a_loop_that_is_no_plate_is_unrolled_and_says_why(model):
    body, says = UNROLLED[model]
    graph, notes = traced(partial(model, plait.plate), **DATA)
    assert notes[0].startswith("the loop over plate 'rows' (test_plate_loops.py:")
    assert all(part in notes[0] for part in says), notes
    first, count = body.__code__.co_firstlineno, 20
    assert first < int(notes[0].partition(":")[2].partition(")")[0]) < first + count
    ordinary, none = traced(partial(model, ranged), **DATA)
    assert without_plates(graph) == without_plates(ordinary)
    assert none == ()


def without_plates(graph):
    """The text of a graph, but for plates whose indices nobody reads, such as those that loops go over."""
    read = {arg for node in graph for arg in node.args}
    return str(Graph(tuple(n for n in graph if n in read or not isinstance(n.op, Plate)), graph.outputs))


def test_a_compiled_model_keeps_the_notes():
    _, notes = traced(partial(a_list_model, plait.plate), **DATA)
    assert same_as_ordinary(a_list_model)._program.notes == notes


def test_of_several_reasons_the_first_is_noted_and_calls_are_noted_too():
    def model(loop, y, s, x):
        for i, value in zip(loop("pairs", N), VALUES, strict=True):
            plait.sample(f"a_{i}", dist.Normal(value, 1))
        for i in loop("lists", N):
            plait.sample(f"b_{i}", dist.Normal(VALUES[i], 1))

    _, notes = traced(partial(model, plait.plate), **DATA)
    assert len(notes) == 2
    assert notes[0].startswith("the loop over plate 'pairs'")
    assert notes[1].startswith("the loop over plate 'lists'")


def test_short_loops_are_ordinary_ones():
    def model(loop, y, s, x):
        for i in loop("rows", 2):
            plait.sample(f"x_{i}", dist.Normal(VALUES[i], 1))

    graph, notes = traced(partial(model, plait.plate), **DATA)
    assert (list(sites(graph)), notes) == (["x_0", "x_1"], ())


def test_a_chain_has_numpyros_density():
    """A value that flows from step to step is never silently the first one."""

    def chain(ppl, loop, y):
        before = ppl.sample("start", dist.Normal(0, 1))
        for i in loop:
            before = ppl.sample(f"x_{i}", dist.Normal(0.9 * before, 0.5))
            ppl.sample(f"y_{i}", dist.Normal(before, 1), obs=y[i])

    def model(y):
        before = plait.sample("start", dist.Normal(0, 1))
        for i in plait.plate("time", N):
            before = plait.sample(f"x_{i}", dist.Normal(0.9 * before, 0.5))
            plait.sample(f"y_{i}", dist.Normal(before, 1), obs=y[i])

    compiled = plait.compile(model, y=Y, check=1)
    values = {"start": 0.4} | {f"x_{i}": x for i, x in enumerate(np.cos(np.arange(N)))}
    theirs, _ = log_density(chain, (numpyro, range(N), jnp.asarray(Y)), {}, values)
    assert_allclose(compiled.log_joint(values), theirs, rtol=1e-12)


# -- errors and ordinary runs -------------------------------------------------------------------------------


def test_outside_of_compile_it_is_a_loop_over_integers():
    seen = []

    def model():
        for i in plait.plate("rows", 4):
            seen.append(i)
            plait.sample(f"x_{i}", dist.Normal(VALUES[i], 1))

    assert [name for name in eagerly(model) if name != "rows"] == ["x_0", "x_1", "x_2", "x_3"]
    assert seen == [0, 1, 2, 3]
    assert list(plait.plate("rows", 3)) == [0, 1, 2]


@either_way
def test_a_subsample_has_no_loop(run):
    def model():
        for i in plait.plate("rows", 8, 4):  # here
            plait.sample(f"x_{i}", dist.Normal(0, 1))

    with refused(ModelError, "plate 'rows' is a subsample of 4 of 8 elements", "write `with", at=model):
        run(plait.handlers.seed(model, 0))


def test_a_name_without_the_index_is_refused():
    def model():
        for _ in plait.plate("rows", 8):
            plait.sample("x", dist.Normal(0, 1))  # here

    says = "site 'x' has the same name in each step of the loop over plate 'rows'; put the index into it: f'x_{i}'"
    with refused(ModelError, says, at=model):
        plait.compile(model)


def test_a_name_that_comes_again_is_refused():
    def model():
        for i in plait.plate("rows", 8):
            plait.sample(f"x_{i % 3}", dist.Normal(0, 1))  # here

    with refused(ModelError, "site 'x_0' has the same name in steps 0 and 3 of the loop", at=model):
        plait.compile(model)


def test_a_member_and_a_site_of_one_name_are_refused():
    def model():
        for i in plait.plate("rows", 8):
            plait.sample(f"x_{i}", dist.Normal(0, 1))
        plait.sample("x_3", dist.Normal(0, 1))  # here

    with refused(ModelError, "two sites are called 'x_3'", at=model):
        plait.compile(model)


def test_an_error_in_a_loop_is_about_the_ordinary_loop():
    def model():
        for i in plait.plate("rows", 8):
            plait.sample(f"x_{i}", dist.Normal(0, 1)) @ jnp.ones((2, 3))  # here

    with refused(ModelError, "matmul", at=model):
        plait.compile(model)
    with pytest.raises(ZeroDivisionError):
        plait.compile(lambda: [1 // i for i in plait.plate("rows", 8)])


def test_a_trace_keeps_no_values_of_the_model():
    """jax's caches hold on to what is open while a model runs."""
    frames = []

    def model():
        frames.append(open_frames()[0])
        for i in plait.plate("rows", 8):
            plait.sample(f"x_{i}", dist.Normal(i + 1, 1))

    plait.compile(model)
    assert not frames[0].loops.indices
