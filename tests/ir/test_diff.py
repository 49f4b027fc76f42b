"""What a model says and how it is written: pairs by hand, and the test models rewritten by a program."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import types
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.errors import ArtifactError, ModelError
from plait.ir.hash import structural_hash
from tests.models import MODELS, SCAN_MODELS, some

ROOT = Path(__file__).resolve().parents[2]
CHECKED = (*some(some(MODELS)), *some(SCAN_MODELS))
each_model = pytest.mark.parametrize("model", CHECKED, ids=lambda model: model.name)

sample, plate, factor, N = plait.sample, plait.plate, plait.factor, dist.Normal
Y = np.array([0.5, 1.0, -1.0], np.float32)
X = np.array([1.0, 2.0, 3.0], np.float32)


def graph_of(model, **data):
    known = {"x": X, "y": Y} | data
    return plait.compile(model, **{name: known[name] for name in inspect.signature(model).parameters}).graph


def changes(a, b):
    """By name what changed, the words of it; "+name" and "-name" where there is one side only."""
    found = plait.diff(a, b)
    words = {site.name: ", ".join(site.what) for site in found.changed}
    words |= {f"+{site.line.name}": site.line.text for site in found.added}
    return words | {f"-{site.line.name}": site.line.text for site in found.removed}


# -- how it is written does not count -----------------------------------------------------------------------------


def plain(x, y):
    a = sample("a", N(0, 1))
    s = sample("s", dist.HalfNormal(1))
    with plate("rows", 3):
        sample("y", N(a * x + jnp.exp(a), s), obs=y)


def other_order_and_names(x, y):
    scale = sample("s", dist.HalfNormal(1))
    slope = sample("a", N(0, 1))
    with plate("rows", 3):
        grown = jnp.exp(slope)
        sample("y", N(slope * x + grown, scale), obs=y)


def dead_code(x, y):
    a = sample("a", N(0, 1))
    s = sample("s", dist.HalfNormal(1))
    jnp.cumsum(x) * a
    with plate("rows", 3):
        sample("y", N(a * x + jnp.exp(a), s), obs=y)
    with plate("nothing", 7):
        jnp.sin(s)


def with_a_deterministic(x, y):
    a = sample("a", N(0, 1))
    s = sample("s", dist.HalfNormal(1))
    with plate("rows", 3):
        sample("y", N(plait.deterministic("eta", a * x + jnp.exp(a)), s), obs=y)


@pytest.mark.parametrize("other", [other_order_and_names, dead_code, with_a_deterministic])
def test_the_same_density_written_in_another_way(other):
    a, b = graph_of(plain), graph_of(other)
    assert structural_hash(a) != structural_hash(b)
    assert a.semantic_hash() == b.semantic_hash()
    assert plait.diff(a, b).same_density


def test_code_that_is_written_twice():
    def once(x, y):
        a = sample("a", N(0, 1))
        e = jnp.exp(a)
        sample("y", N(e, e).expand([3]), obs=y)

    def twice(x, y):
        a = sample("a", N(0, 1))
        sample("y", N(jnp.exp(a), jnp.exp(a)).expand([3]), obs=y)

    a, b = graph_of(once), graph_of(twice)
    assert len(a.nodes) < len(b.nodes)
    assert a.semantic_hash() == b.semantic_hash()


def test_a_condition_says_what_obs_says():
    def latent():
        sample("a", N(0, 1))

    def observed():
        sample("a", N(0, 1), obs=np.float32(2))

    for handler in (plait.handlers.condition, plait.handlers.substitute):
        given = plait.compile(handler(latent, {"a": 2.0})).graph
        assert given.semantic_hash() == graph_of(observed).semantic_hash()


def chain(y, *, order=(0, 1), idle=False, first=0.0, decay=0.5, step=0.1, reverse=False):
    """x_t ~ N(decay * level_t + drift_t, 1): a carry of a latent, its level, and a counter, in any order."""

    def body(carry, y_t):
        level, drift = (carry[i] for i in order)
        x = sample("x", N(decay * level + drift, 1))
        sample("y", N(x, 1), obs=y_t)
        after = (level + x, drift * 0.9 + step)
        after = tuple(after[i] for i in order)
        return (*after, *carry[2:]), x

    start = (jnp.float32(first), jnp.float32(1.0))
    start = tuple(start[i] for i in order) + (jnp.float32(7.0),) * idle
    last, xs = jax.lax.scan(body, start, y, reverse=reverse)
    factor("ends", -xs[-1])
    factor("last", -last[order.index(0)])


def chain_graph(data=Y, **how):
    return graph_of(lambda y: chain(y, **how), y=data)


@pytest.mark.parametrize("how", [{"order": (1, 0)}, {"idle": True}, {"order": (1, 0), "idle": True}])
def test_the_order_of_a_carry_and_what_nobody_reads_of_it_do_not_count(how):
    a, b = chain_graph(), chain_graph(**how)
    assert structural_hash(a) != structural_hash(b)
    assert a.semantic_hash() == b.semantic_hash()


@pytest.mark.parametrize("how", [{"first": 1.0}, {"decay": 0.6}, {"step": 0.2}, {"reverse": True}])
def test_a_recurrence_counts_in_the_sites_that_read_it(how):
    found = plait.diff(chain_graph(), chain_graph(**how))
    assert not found.same_density
    assert {site.name for site in found.changed} == ({"x", "last"} if {"first", "reverse"} & how.keys() else {"x"})


def test_the_length_of_a_scan_counts_in_all_of_its_sites():
    short, long = (chain_graph(data=np.zeros(n, np.float32)) for n in (3, 4))
    found = changes(short, long)
    assert found["x"] == "shape [steps:3] → [steps:4]"
    assert found["y (data)"] == "shape [3] → [4]"
    assert found.keys() == {"x", "y", "y (data)", "ends", "last"}


CARRIES = {
    "each from itself": lambda a, b: (a + 1.0, b + 2.0),
    "crossed": lambda a, b: (b + 2.0, a + 1.0),
    "the first from both": lambda a, b: (a - b, b + 2.0),
    "the other way round": lambda a, b: (b - a, b + 2.0),
    "from another second one": lambda a, b: (a - b, b + 3.0),
    "from a second one of both": lambda a, b: (a - b, b + a),
}


def test_what_two_carries_are_made_of_is_told_apart():
    """Pairs that begin alike, of which a site reads the first."""

    def model(rule, y):
        def body(carry, _):
            x = sample("x", N(carry[0], 1))
            return rule(*carry), x

        jax.lax.scan(body, (jnp.float32(0), jnp.float32(0)), None, length=3)

    found = {name: graph_of(partial(model, rule)).semantic_hash() for name, rule in CARRIES.items()}
    assert len(set(found.values())) == len(found)


def test_branches_count_by_what_they_hold():
    def model(first, second, y):
        a = sample("a", N(0, 1))
        low, high = (lambda a, c=c: sample("b", N(a, c)) for c in (first, second))
        b = jax.lax.cond(a > 0, low, high, a)
        sample("y", N(b, 1), obs=y[0])

    before, low, high = (graph_of(partial(model, *pair)) for pair in [(1.0, 2.0), (3.0, 2.0), (1.0, 3.0)])
    assert changes(before, low) == {"b": "~ Normal(a, 2) or ~ Normal(a, 1) → ~ Normal(a, 2) or ~ Normal(a, 3)"}
    assert changes(before, high) == {"b": "~ Normal(a, 2) or ~ Normal(a, 1) → ~ Normal(a, 3) or ~ Normal(a, 1)"}


# -- what it says counts ------------------------------------------------------------------------------------------


def edited(**edit):
    """The model of the table below with one thing changed."""
    e = {"loc": 0.0, "tau": 1.0, "family": N, "size": 3, "name": "rows", "obs": True, "mask": None, "scale": None}
    e |= {"b": "b", "weights": X, "dtype": jnp.float32, "more": False, "eta": 1.0, **edit}

    def model(y):
        a = sample("a", e["family"](e["loc"], 1))
        b = sample(e["b"], N(a, e["tau"]))
        if e["more"]:
            sample("c", N(b, 1))
        plait.deterministic("eta", a * e["eta"])
        factor("pull", -b * jnp.asarray(e["weights"]).sum())
        with plate(e["name"], e["size"]):
            rows = partial(sample, "y", N(b.astype(e["dtype"]), 1), obs=y if e["obs"] else None)
            rows = rows if e["scale"] is None else plait.handlers.scale(rows, scale=e["scale"])
            (rows if e["mask"] is None else plait.handlers.mask(rows, mask=e["mask"]))()

    return graph_of(model, y=e.get("y", Y))


@pytest.fixture(scope="module")
def before():
    return edited()


EDITS = {
    "constant": ({"loc": 1.0}, {"a": "~ Normal(0, 1) → ~ Normal(1, 1)"}),
    "parameter": ({"tau": 2.0}, {"b": "~ Normal(a, 1) → ~ Normal(a, 2)"}),
    "family": ({"family": dist.Cauchy}, {"a": "~ Normal(0, 1) → ~ Cauchy(0, 1)"}),
    "plate": ({"name": "people"}, {"y": "shape [rows:3] → [people:3]"}),
    "latent": ({"obs": False}, {"y": "observed → latent", "-y (data)": ""}),
    "mask": ({"mask": X > 1}, {"y": "observed → observed, masked"}),
    "scale": ({"scale": 2.0}, {"y": "observed → observed, scaled"}),
    "array": ({"weights": X + 1}, {"pull": "its constants differ"}),
    "name": ({"b": "b2"}, {"+b2": "~ Normal(a, 1)", "-b": "~ Normal(a, 1)", "pull": None, "y": None}),
    "site": ({"more": True}, {"+c": "~ Normal(b, 1)"}),
    "data": ({"y": Y.astype(np.int32)}, {"y (data)": "dtype float32 → int32", "y": None}),
    "code": ({"dtype": jnp.int32}, {"y": "the code that it depends on differs"}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_found_at_its_site(before, edit):
    how, wanted = EDITS[edit]
    after = edited(**how)
    found = changes(before, after)
    assert found == {name: found[name] if words is None else words for name, words in wanted.items()}
    assert not plait.diff(before, after).same_density
    assert before.semantic_hash() != after.semantic_hash()


def test_two_scales_differ_by_their_constants(before):
    assert changes(edited(scale=2.0), edited(scale=3.0)) == {"y": "its constants differ"}
    assert changes(edited(mask=X > 1), edited(mask=X > 2)) == {"y": "its constants differ"}


def test_a_deterministic_that_no_term_reads_changes_no_density(before):
    found = plait.diff(before, after := edited(eta=2.0))
    assert found.same_density
    assert changes(before, after) == {"eta": "= a * 1 → = a * 2"} or changes(before, after).keys() == {"eta"}


def test_a_deterministic_that_a_term_reads_is_where_the_density_changed():
    def model(c, y):
        a = sample("a", N(0, 1))
        sample("y", N(plait.deterministic("eta", a * c), 1).expand([3]), obs=y)

    one, two = (graph_of(partial(model, c)) for c in (2.0, 3.0))
    assert changes(one, two) == {"eta": "= a * 2 → = a * 3"}
    assert not plait.diff(one, two).same_density


def test_sites_of_one_distribution_are_told_apart_by_name():
    def pair(first, second):
        def model():
            sample(first, N(0, 1))
            sample(second, N(0, 2))

        return graph_of(model)

    assert pair("a", "b").semantic_hash() != pair("b", "a").semantic_hash()


def test_a_param_counts_by_its_first_value_and_its_constraint():
    def model(value, constraint=dist.constraints.real):
        return graph_of(lambda: factor("f", plait.param("p", jnp.float32(value), constraint=constraint)))

    first = model(1.0)
    assert first.semantic_hash() == model(1.0).semantic_hash()
    assert changes(first, model(2.0)) == {"p": "its constants differ"}
    assert changes(first, model(1.0, dist.constraints.positive)) == {"p": "in real → in positive"}


def test_a_subsample_counts_by_the_number_of_all():
    def model(full):
        def rows(i, y):
            with plait.handlers.substitute(data={"rows": i}), plate("rows", full, subsample_size=3):
                sample("y", N(0, 1), obs=y)

        return graph_of(rows, i=np.arange(3))

    assert changes(model(10), model(20)) == {"y": "plates rows:3 of 10 → rows:3 of 20"}


# -- code of the user's inside distributions -----------------------------------------------------------------------


def diffusion(drift):
    def model():
        a = sample("a", N(0, 1))
        sde = lambda x, t: (drift(x) * a, 1.0)  # noqa: E731
        sample("path", dist.EulerMaruyama(jnp.arange(4.0), sde, N(0, 1)))

    return graph_of(model)


def module(source, **scope):
    """Definitions as a file of the user's would have them."""
    found = types.ModuleType("users_model")
    vars(found).update(jnp=jnp, jax=jax, dist=dist, **scope)
    exec(source, vars(found))
    return found


def test_a_function_counts_by_its_code():
    one, two = module("drift = lambda x: 2 * x"), module("def other(z):\n\n    return 2 * z\ndrift = other")
    three = module("drift = lambda x: 3 * x")
    assert diffusion(one.drift).semantic_hash() == diffusion(two.drift).semantic_hash()
    assert changes(diffusion(one.drift), diffusion(three.drift)).keys() == {"path"}


@pytest.mark.parametrize(
    "source",
    [
        "C = {}\ndef drift(x): return C * x",
        "def half(x): return x * {}\ndef drift(x): return half(x)",
        "@jax.jit\ndef half(x): return x * {}\ndef drift(x): return half(x)",
        "def drift(x, c={}): return c * x",
        "def drift(x, *, c={}): return c * x",
        "def make(c):\n    return lambda x: c * x\ndrift = make({})",
        "import functools\ndrift = functools.partial(lambda c, x: c * x, {})",
        "class D:\n    def __init__(self, c): self.c = c\n    def __call__(self, x): return self.c * x\ndrift = D({})",
        "class Drift:\n    def of(self, x): return {} * x\ndrift = Drift().of",
        "A = jnp.array([{}, 1.0])\ndef drift(x): return A[0] * x",
        "def drift(x):\n    def inner(v): return {} * v\n    return inner(x)",
        "def drift(x): return x if x is None else {} * (drift and x)",
    ],
)
def test_a_function_counts_by_what_it_names_and_holds(source):
    one, again, two = (diffusion(module(source.format(c)).drift) for c in (2.0, 2.0, 3.0))
    assert one.semantic_hash() == again.semantic_hash()
    assert one.semantic_hash() != two.semantic_hash()
    assert structural_hash(one) == structural_hash(again)
    assert structural_hash(one) != structural_hash(two)


MINE = """
class Mine(dist.Distribution):
    support = dist.constraints.{support}
    arg_constraints = {{}}
    def __init__(self):
        super().__init__(batch_shape=(), event_shape=())
    def sample(self, key, sample_shape=()):
        return jax.random.normal(key, sample_shape)
    def log_prob(self, value):
        return self._scaled(value**2)
    def _scaled(self, x):
        return -{c} * x
"""


def test_a_distribution_of_the_users_counts_by_its_code():
    def model(**how):
        cls = module(MINE.format(**{"c": 1.0, "support": "real"} | how)).Mine
        return graph_of(lambda: sample("a", cls()))

    assert model().semantic_hash() == model().semantic_hash()
    assert changes(model(), model(c=2.0)) == {"a": "the code that it depends on differs"}
    assert changes(model(), model(support="positive")).keys() == {"a"}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (dist.transforms.AffineTransform(0, 2), dist.transforms.AffineTransform(0, 3)),
        (dist.transforms.PowerTransform(2.0), dist.transforms.PowerTransform(3.0)),
        (dist.transforms.ExpTransform(), dist.transforms.SoftplusTransform()),
    ],
)
def test_a_transform_counts_by_its_fields(one, two):
    def model(transform, y):
        sample("a", dist.TransformedDistribution(N(1, 1), transform))

    a, again, b = (graph_of(partial(model, t)) for t in (one, one, two))
    assert a.semantic_hash() == again.semantic_hash() != b.semantic_hash()
    assert structural_hash(a) != structural_hash(b)


def test_a_loop_of_jaxs_counts_by_the_arrays_that_it_closes_over():
    def model(table, y):
        def body(i, total):
            return total + jnp.asarray(table)[i] * total

        a = sample("a", N(0, 1))
        factor("f", jax.lax.fori_loop(0, 3, body, a))
        factor("g", jax.lax.while_loop(lambda v: v < table[0], lambda v: v + 1, a))

    one, again, two = (graph_of(partial(model, t)) for t in (X, X.copy(), X + 1))
    assert one.semantic_hash() == again.semantic_hash()
    assert changes(one, two).keys() == {"f", "g"}


def test_a_loop_of_jaxs_counts_by_the_parameters_of_its_code():
    def model(axis, y):
        a = sample("a", N(0, 1).expand([3, 3]).to_event(2))
        factor("f", jax.lax.fori_loop(0, 3, lambda i, v: v + v.sum(axis), a))

    rows, columns = (graph_of(partial(model, axis)) for axis in (0, 1))
    assert changes(rows, columns) == {"f": "the code that it depends on differs"}


def test_hashes_do_not_depend_on_the_process():
    code = "from tests.ir import test_diff as t; print(*t.known_hashes())"
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=env)
    assert done.stdout.split() == known_hashes()


def known_hashes():
    drift = module("def drift(x): return x * (1.0 if 'a' in {'a', 'b', 'c', 'd'} else 2.0)").drift
    graphs = [graph_of(plain), chain_graph(), diffusion(drift), edited()]
    return [graph.semantic_hash() for graph in graphs]


# -- what diff takes and prints -----------------------------------------------------------------------------------


def hierarchy(tau, y):
    mu = sample("mu", N(0, 5))
    with plate("rows", 3):
        theta = sample("theta", N(mu, tau))
        sample("y", N(theta, 1), obs=y)


def test_the_text_has_a_line_for_each_site():
    one, two = (graph_of(partial(hierarchy, t)) for t in (1.0, 2.0))
    line = inspect.getsourcelines(hierarchy)[1] + 3
    assert str(plait.diff(one, two)).splitlines() == [
        "the density differs",
        f"theta changed: ~ Normal(mu, 1) → ~ Normal(mu, 2)  (test_diff.py:{line})",
    ]
    assert str(plait.diff(one, one)) == "the density is the same"


def test_the_text_of_sites_on_one_side(before):
    added = str(plait.diff(before, edited(more=True))).splitlines()[1]
    removed = str(plait.diff(edited(more=True), before)).splitlines()[1]
    assert added.startswith("c added: ~ Normal(b, 1) latent  (test_diff.py:")
    assert removed.startswith("c removed: ~ Normal(b, 1) latent  (test_diff.py:")


def test_sites_of_a_loop_share_a_line():
    def model(scale, y):
        for i in range(9):
            sample(f"a_{i}", N(0, scale if i < 5 else 1))

    first, *others = str(plait.diff(*(graph_of(partial(model, c)) for c in (2.0, 3.0)))).splitlines()
    assert first == "the density differs"
    (line,) = others
    assert line.startswith("a_0, a_1, … (5 in all) changed: ~ Normal(0, 2) → ~ Normal(0, 3)  (test_diff.py:")


def test_compiled_models_and_graphs_are_taken_and_nothing_else(tmp_path):
    compiled = plait.compile(lambda y: hierarchy(1.0, y), Y)
    assert plait.diff(compiled, compiled.graph).same_density
    with pytest.raises(ModelError, match="takes compiled models or their graphs, got function"):
        plait.diff(compiled, hierarchy)
    compiled.save(tmp_path / "m.plait", platforms=("cpu",), progress=False)
    with pytest.raises(ArtifactError, match="graphs as JSON only"):
        plait.diff(compiled, plait.load(tmp_path / "m.plait"))


# -- the test models, rewritten by a program ----------------------------------------------------------------------


def rewritten(fn, change):
    """A test model whose function, and those of its file that it calls, went through `change` as syntax trees."""
    scope = dict(fn.__globals__)
    todo, done = [fn.__name__], set()
    while todo:
        name = todo.pop()
        if name not in done:
            done.add(name)
            (tree,) = ast.parse(inspect.getsource(fn.__globals__[name])).body
            exec(compile(ast.Module([ast.fix_missing_locations(change(tree))], []), "<rewritten>", "exec"), scope)
            names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
            todo += [n for n in sorted(names) if getattr(scope.get(n), "__module__", "") == fn.__module__
                     and isinstance(scope[n], types.FunctionType)]  # fmt: skip
    return scope[fn.__name__]


def stored(*trees):
    return {n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def renamed(function):
    """Local Python variables get other names."""
    local = stored(function) - {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id in local:
            node.id += "_renamed"
    return function


def swapped(function):
    """Neighbours that don't read each other's variables change places."""
    for node in ast.walk(function):
        body = getattr(node, "body", None)
        i = 0
        while isinstance(body, list) and i + 1 < len(body):
            if independent(body[i], body[i + 1]):
                body[i], body[i + 1] = body[i + 1], body[i]
                i += 1
            i += 1
    return function


def independent(a, b):
    used = [{n.id for n in ast.walk(s) if isinstance(n, ast.Name)} | defined(s) for s in (a, b)]
    bound = [stored(s) | defined(s) for s in (a, b)]
    stays = any(isinstance(s, ast.Return) or isinstance(getattr(s, "value", None), ast.Constant) for s in (a, b))
    return not stays and not (bound[0] & used[1] or bound[1] & used[0])


def defined(statement):
    return {statement.name} if isinstance(statement, ast.FunctionDef) else set()


def traced(fn, model):
    data = model.args(np.float32)
    return plait.compile(partial(fn, plait), **data)


@each_model
def test_a_test_model_with_other_variables_in_another_order_is_the_same(model):
    a = traced(model.fn, model).graph
    b = traced(rewritten(model.fn, lambda tree: swapped(renamed(tree))), model).graph
    assert a.semantic_hash() == b.semantic_hash()
    found = plait.diff(a, b)
    assert found.same_density
    assert (found.added, found.removed, found.changed) == ((), (), ())


def test_the_rewriting_does_swap():
    swaps = [structural_hash(traced(m.fn, m).graph) != structural_hash(traced(rewritten(m.fn, swapped), m).graph)
             for m in MODELS if m.name in ("eight_schools", "crossed", "factors")]  # fmt: skip
    assert all(swaps)


def changed_number(k):
    """The k-th number of what is rewritten, which a model's functions share, is another one."""
    left = [k]

    def change(tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and type(node.value) in (int, float):
                if left[0] == 0:
                    node.value = node.value + 1 if isinstance(node.value, int) else node.value * 1.25 + 0.125
                left[0] -= 1
        return tree

    return change


def joint_at(compiled, values):
    params = compiled.init_param_values(jax.random.key(0)) if compiled.has_random_params else None
    return compiled.log_joint(values, params)


@each_model
@pytest.mark.parametrize("k", range(2))
def test_another_number_is_another_hash_or_no_other_density(model, k):
    a = traced(model.fn, model)
    try:
        b = traced(rewritten(model.fn, changed_number(k)), model)
    except (plait.PlaitError, TypeError, ValueError, IndexError):
        return  # no model any more: an axis, a shape or an index
    found = plait.diff(a, b)
    if found.same_density:
        assert b.shapes == a.shapes
        params = {} if not a.has_random_params else {"params": a.init_param_values(jax.random.key(0))}
        values = a.constrain(np.random.default_rng(0).uniform(-1, 1, a.dim), **params)
        np.testing.assert_array_equal(joint_at(a, values), joint_at(b, values))
    else:
        assert found.changed or found.added or found.removed


def test_names_that_are_no_text_of_utf_8_are_hashed():
    def named(name):
        return lambda: plait.sample(name, dist.Normal(0, 1))

    one, other = (plait.compile(named(name)) for name in ("\ud800", "\ud801"))
    assert one.graph.semantic_hash() != other.graph.semantic_hash()
    assert not plait.diff(one, other).same_density
