"""What the site graph says of independence, against networkx, exact covariances, unrolled chains and Hessians."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.dependence import SiteGraph, SitePlate
from plait.ir.errors import ValueNamesError
from plait.ir.types import PlateFrame
from tests.models import MODELS, SCAN_MODELS, some

CHECKED = (*some(some(MODELS)), *some(SCAN_MODELS))
each_model = pytest.mark.parametrize("model", CHECKED, ids=lambda model: model.name)


@dataclass(frozen=True)
class Drawn:
    kind: str = "latent"
    plates: tuple[PlateFrame, ...] = ()


def of(edges, kinds=(), temporal=(), weighted=()):
    """A site graph by hand: edges like "a b"; kinds by name, else sample."""
    drawn = nx.DiGraph()
    kinds = dict(kinds)
    pairs = [edge.split() for edge in edges]
    for name in dict.fromkeys([*kinds, *itertools.chain(*pairs)]):
        drawn.add_node(name, site=Drawn(kinds.get(name, "latent")), weighted=name in weighted)
    drawn.add_edges_from(pairs)
    drawn.add_edges_from([edge.split() for edge in temporal], temporal=True)
    return SiteGraph(drawn)


def compiled_graph(model, *args):
    return plait.compile(model, *args).graph.site_graph()


def random_dag(rng, n, p=0.4):
    """On "0" … "n-1", edges from smaller to larger."""
    graph = nx.DiGraph()
    graph.add_nodes_from(map(str, range(n)))
    graph.add_edges_from((str(i), str(j)) for i in range(n) for j in range(i + 1, n) if rng.random() < p)
    return graph


def with_kinds(graph, kinds):
    drawn = nx.DiGraph()
    drawn.add_nodes_from((name, {"site": Drawn(kind)}) for name, kind in kinds.items())
    drawn.add_edges_from(graph.edges)
    return SiteGraph(drawn)


def random_sets(rng, names):
    """Three disjoint sets, the first two not empty."""
    while True:
        side = rng.integers(0, 4, len(names))
        a, b, given = ({n for n, s in zip(names, side, strict=True) if s == k} for k in range(3))
        if a and b:
            return a, b, given


# -- parents, children, plates ------------------------------------------------------------------------------------


def schools(sigma, y):
    mu = plait.sample("mu", dist.Normal(0, 5))
    tau = plait.sample("tau", dist.HalfCauchy(5))
    with plait.plate("schools", 3):
        raw = plait.sample("raw", dist.Normal(0, 1))
        theta = plait.deterministic("theta", mu + tau * raw)
        plait.sample("obs", dist.Normal(theta, sigma), obs=y)


@pytest.fixture(scope="module")
def g():
    return compiled_graph(schools, np.ones(3, np.float32), np.zeros(3, np.float32))


def test_neighbours_are_in_program_order(g):
    assert g.names == ("sigma (data)", "mu", "tau", "raw", "theta", "obs")
    assert g.parents("theta") == ("mu", "tau", "raw")
    assert g.children("mu") == ("theta",)
    assert g.ancestors("obs") == ("sigma (data)", "mu", "tau", "raw", "theta")
    assert g.descendants("tau") == ("theta", "obs")
    assert (g.latents, g.observed) == (("mu", "tau", "raw"), ("obs",))


def test_the_blanket_sees_through_deterministic_sites_and_leaves_data_out(g):
    assert g.markov_blanket("mu") == ("tau", "raw", "obs")
    assert g.markov_blanket("obs") == ("mu", "tau", "raw")
    assert g.markov_blanket("theta") == ("mu", "tau", "raw")


def test_observing_a_site_joins_its_parents(g):
    assert g.is_d_separated("mu", "tau")
    assert not g.is_d_separated("mu", "tau", given=g.observed)
    assert g.is_d_separated("mu", "obs", given=["tau", "raw", "mu"])


def test_plates_have_their_sizes_and_sites(g):
    assert g.plates == (SitePlate("schools", 3, None, ("raw", "theta", "obs")),)


def test_a_subsampled_plate_says_of_how_many():
    def model(y):
        with plait.plate("rows", 10, subsample_size=2):
            plait.sample("y", dist.Normal(0, 1), obs=y)

    graph = compiled_graph(plait.handlers.seed(model, 0), np.zeros(2, np.float32))
    assert graph.plates == (SitePlate("rows", 2, 10, ("y",)),)


def test_the_digraph_is_a_frozen_copy():
    mine = nx.DiGraph()
    mine.add_node("a", site=Drawn())
    graph = SiteGraph(mine)
    mine.add_node("b", site=Drawn())
    assert graph.names == ("a",)
    with pytest.raises(nx.NetworkXError):
        graph.digraph.add_edge("a", "c")


@pytest.mark.parametrize(
    "ask",
    [
        lambda g: g.parents("thta"),
        lambda g: g.children("thta"),
        lambda g: g.ancestors("thta"),
        lambda g: g.descendants("thta"),
        lambda g: g.markov_blanket("thta"),
        lambda g: g.is_d_separated("thta", "mu"),
        lambda g: g.is_d_separated("mu", ["tau", "thta"]),
        lambda g: g.is_d_separated("mu", "tau", given="thta"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(g, ask):
    with pytest.raises(ValueNamesError, match="there is no site 'thta'; did you mean 'theta'"):
        ask(g)


# -- kinds of sites -----------------------------------------------------------------------------------------------


def test_a_factor_is_always_given():
    graph = of(["a pull", "b pull"], {"pull": "factor"})
    assert not graph.is_d_separated("a", "b")
    assert graph.is_d_separated("a", "pull")


@pytest.mark.parametrize("kind", ["data", "param"])
def test_a_constant_makes_nothing_dependent(kind):
    graph = of(["x a", "x b"], {"x": kind})
    assert graph.is_d_separated("a", "b")
    assert not of(["x a", "x b"]).is_d_separated("a", "b")


def test_params_are_in_the_blanket_and_data_and_factors_are_not():
    kinds = {"p": "param", "x": "data", "pull": "factor"}
    graph = of(["p a", "x a", "a pull", "b pull"], kinds)
    assert graph.markov_blanket("a") == ("p", "b")
    assert graph.markov_blanket("pull") == ("a", "b")
    assert graph.markov_blanket("p") == ("a",)


def test_what_is_computed_of_given_sites_is_given():
    graph = of(["a d", "b d", "d x", "d y"], {"d": "deterministic"})
    assert not graph.is_d_separated("x", "y", given="a")
    assert graph.is_d_separated("x", "y", given=["a", "b"])
    assert graph.is_d_separated("d", "y", given=["a", "b"])
    assert not graph.is_d_separated("a", "b", given="d")


def test_an_observed_site_counts_where_it_is_named():
    graph = of(["a y", "b y"], {"y": "observed"})
    assert graph.is_d_separated("a", "b")
    assert not graph.is_d_separated("a", "b", given=graph.observed)


def test_a_weighted_latent_joins_its_parents():
    assert of(["a x", "b x"]).is_d_separated("a", "b")
    weighted = of(["a x", "b x"], weighted=["x"])
    assert not weighted.is_d_separated("a", "b")
    assert not weighted.is_d_separated("a", "b", given="x")


def plainly(a, b):
    plait.sample("x", dist.Normal(a, jnp.exp(b)))


def scaled(a, b):
    with plait.handlers.scale(scale=2.0):
        plainly(a, b)


def masked(a, b):
    with plait.handlers.mask(mask=np.array(False)):
        plainly(a, b)


def masked_by_itself(a, b):
    plait.sample("x", dist.Normal(a, jnp.exp(b)).mask(False))


def subsampled(a, b):
    with (
        plait.handlers.substitute(data={"rows": np.array([0, 2, 5])}),
        plait.plate("rows", 10, subsample_size=3),
    ):
        plainly(a, b)


@pytest.mark.parametrize("draws", [plainly, scaled, masked, masked_by_itself, subsampled])
def test_what_weighs_a_latent_of_a_model_joins_its_parents(draws):
    """Its density does not integrate to 1 any more: the integral depends on both."""

    def model():
        draws(plait.sample("a", dist.Normal(0, 1)), plait.sample("b", dist.Normal(0, 1)))

    assert plait.compile(model).site_graph.is_d_separated("a", "b") == (draws is plainly)


def test_sites_in_both_sets():
    graph = of(["a b"], {"c": "latent"})
    assert not graph.is_d_separated("a", "a")
    assert graph.is_d_separated("a", "b", given="a")
    assert graph.is_d_separated("a", ())
    assert graph.is_d_separated(["a", "b"], {"c"})


# -- against networkx and exact covariances ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_separation_is_networkx_s(seed):
    rng = np.random.default_rng(seed)
    dag = random_dag(rng, int(rng.integers(3, 9)))
    graph = with_kinds(dag, dict.fromkeys(dag, "latent"))
    for _ in range(20):
        a, b, given = random_sets(rng, list(dag))
        assert graph.is_d_separated(a, b, given) == nx.is_d_separator(dag, a, b, given), (a, b, given)


def partial_correlation(cov, a, b, given):
    """Of two entries of a normal vector, given others; 0 where one of them is constant."""
    pair, rest = [a, b], [i for i in given if cov[i, i] > 1e-10]
    cross = cov[np.ix_(pair, rest)]
    left = cov[np.ix_(pair, pair)] - cross @ np.linalg.pinv(cov[np.ix_(rest, rest)], rcond=1e-10) @ cross.T
    variances = np.diag(left)
    return 0.0 if (variances < 1e-10).any() else left[0, 1] / np.sqrt(variances.prod())


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("with_determinism", [False, True])
def test_what_is_separated_has_no_partial_correlation(seed, with_determinism):
    """Linear Gaussian models with factors (pseudo-observations), constants, and sums as deterministic sites."""
    rng = np.random.default_rng(seed)
    dag = random_dag(rng, n := 6)
    choices = ["latent", "observed", "factor", "data", "param", *["deterministic"] * (4 * with_determinism)]
    kinds = {}
    for name in dag:
        kind = str(rng.choice(choices, p=None if with_determinism else [0.5, 0.2, 0.1, 0.1, 0.1]))
        if kind in ("data", "param"):
            dag.remove_edges_from(list(dag.in_edges(name)))
        if kind == "factor":
            dag.remove_edges_from(list(dag.out_edges(name)))
        kinds[name] = kind
    weights = np.zeros((n, n))
    for i, j in dag.edges:
        weights[int(j), int(i)] = rng.choice([-1, 1]) * rng.uniform(0.5, 1.5)
    noise = np.diag([0.0 if k in ("data", "param", "deterministic") else rng.uniform(0.5, 2) for k in kinds.values()])
    through = np.linalg.inv(np.eye(n) - weights)
    cov = through @ noise @ through.T

    graph = with_kinds(dag, kinds)
    factors = [int(name) for name, kind in kinds.items() if kind == "factor"]
    others = [i for i in range(n) if i not in factors]
    separations = 0
    for a, b in itertools.combinations(others, 2):
        rest = [i for i in others if i not in (a, b)]
        for given in itertools.chain.from_iterable(itertools.combinations(rest, k) for k in range(len(rest) + 1)):
            r = partial_correlation(cov, a, b, [*given, *factors])
            if graph.is_d_separated(str(a), str(b), [str(i) for i in given]):
                separations += 1
                assert abs(r) < 1e-9, (kinds, dag.edges, a, b, given)
            elif not with_determinism:  # sums can be solved for a parent, which no graph says
                assert abs(r) > 1e-6, (kinds, dag.edges, a, b, given)
    assert separations


@pytest.mark.parametrize("seed", range(30))
def test_the_blanket_is_the_smallest_set_that_separates_a_site_from_all_others(seed):
    rng = np.random.default_rng(seed)
    dag = random_dag(rng, 7, p=0.35)
    kinds = {
        name: str(rng.choice(["latent", "observed", "deterministic", "factor"], p=[0.5, 0.2, 0.2, 0.1])) for name in dag
    }
    dag.remove_edges_from([(a, b) for a, b in dag.edges if kinds[a] == "factor"])
    graph = with_kinds(dag, kinds)
    random = [name for name in dag if kinds[name] in ("latent", "observed")]
    for name in random:
        others = [n for n in random if n != name]
        sets = itertools.chain.from_iterable(itertools.combinations(others, k) for k in range(len(others) + 1))
        separating = [s for s in sets if graph.is_d_separated(name, set(others) - set(s), s)]
        assert separating[0] == graph.markov_blanket(name)
        assert sum(len(s) == len(separating[0]) for s in separating) == 1


@pytest.mark.parametrize("seed", range(10))
def test_the_moral_graph_is_networkx_s_with_sites_on_its_nodes(seed):
    dag = random_dag(np.random.default_rng(seed), 7)
    moral = with_kinds(dag, dict.fromkeys(dag, "latent")).moral_graph()
    want = {frozenset(edge) for edge in dag.edges}
    want |= {frozenset(pair) for n in dag for pair in itertools.combinations(dag.predecessors(n), 2)}
    assert {frozenset(edge) for edge in moral.edges} == want
    assert not moral.is_directed()
    assert moral.nodes["0"]["site"] == Drawn()


# -- time ---------------------------------------------------------------------------------------------------------


def unrolled(graph, steps):
    """The digraph of elements: ``x:2`` is x at step 2; every site is in the scan."""
    drawn = nx.DiGraph()
    drawn.add_nodes_from(f"{name}:{t}" for t in range(steps) for name in graph.names)
    for a, b, temporal in graph.digraph.edges(data="temporal"):
        drawn.add_edges_from((f"{a}:{t - bool(temporal)}", f"{b}:{t}") for t in range(bool(temporal), steps))
    return drawn


@pytest.mark.parametrize("seed", range(30))
def test_what_is_separated_in_a_scan_is_separated_in_all_of_its_steps(seed):
    rng = np.random.default_rng(seed)
    names = list("uvwxyz")
    pairs = list(itertools.combinations(names, 2))
    edges = [f"{a} {b}" for a, b in pairs if rng.random() < 0.15]
    temporal = [f"{a} {b}" for a in names for b in names if rng.random() < 0.1 and f"{a} {b}" not in edges]
    graph = of(edges, dict.fromkeys(names, "latent"), temporal)
    steps = unrolled(graph, 4)
    elements = lambda sites: {f"{name}:{t}" for name in sites for t in range(4)}  # noqa: E731
    for _ in range(30):
        a, b, given = random_sets(rng, names)
        if graph.is_d_separated(a, b, given):
            assert nx.is_d_separator(steps, elements(a), elements(b), elements(given))


def ar(scanned):
    def model(y):
        phi = plait.sample("phi", dist.Normal(0, 1))
        sd = plait.sample("sd", dist.HalfNormal(1))
        noise = plait.sample("noise", dist.HalfNormal(1))

        def step(x, y_t, t=""):
            x = plait.sample(f"x{t}", dist.Normal(plait.deterministic(f"mean{t}", phi * x), sd))
            plait.sample(f"y{t}", dist.Normal(x, noise), obs=y_t)
            return x, None

        x = jnp.zeros(())
        if scanned:
            jax.lax.scan(step, x, y)
        for t in range(0 if scanned else 4):
            x, _ = step(x, y[t], t)

    return compiled_graph(model, np.zeros(4, np.float32))


def test_an_autoregression_in_a_scan_is_the_one_written_out():
    """The same statements about whole sites, but for determinism: every set of sites, two ways."""
    scan, loop = ar(True), ar(False)
    assert scan.parents("mean") == ("phi", "x")
    assert scan.markov_blanket("x") == ("phi", "sd", "noise", "y")
    elements = {name: [n for n in loop.names if n.rstrip("0123") == name] for name in scan.names}
    assert [len(e) for e in elements.values()] == [1, 1, 1, 4, 4, 4]
    spread = lambda sites: [e for name in sites for e in elements[name]]  # noqa: E731
    found = set()
    for sides in itertools.product(range(4), repeat=len(scan.names)):
        a, b, given = ([n for n, s in zip(scan.names, sides, strict=True) if s == k] for k in range(3))
        if a and b:
            found.add(scan.is_d_separated(a, b, given))
            assert scan.is_d_separated(a, b, given) == loop.is_d_separated(*map(spread, (a, b, given))), (a, b, given)
    assert found == {True, False}


def test_a_deterministic_site_that_reads_its_own_last_step_is_given_with_the_rest():
    graph = of(["x d", "d y", "d z"], {"d": "deterministic"}, ["d d"])
    assert graph.is_d_separated("y", "z", given="x")
    assert not graph.is_d_separated("y", "z")


def test_the_order_passes_over_temporal_edges():
    graph = of(["s x", "x y"], {"y": "observed"}, ["y x", "x x"])
    assert graph.names == ("y", "s", "x")
    assert graph.topological_order() == ("s", "x", "y")
    assert "x" not in graph.markov_blanket("x")
    assert not list(nx.selfloop_edges(graph.moral_graph()))


def test_branches_that_draw_in_different_orders_stay_together_in_the_order():
    def model(y):
        k = plait.sample("k", dist.Normal(0, 1))

        def pair(first, second):
            def branch(k):
                x = plait.sample(first, dist.Normal(k, 1))
                z = plait.sample(second, dist.Normal(x, 1))
                return x + z

            return branch

        both = jax.lax.cond(k > 0, pair("a", "b"), pair("b", "a"), k)
        plait.sample("y", dist.Normal(both, 1), obs=y)

    graph = compiled_graph(model, np.float32(0))
    order = graph.topological_order()
    assert order[0] == "k"
    assert set(order[1:3]) == {"a", "b"}
    assert order[3] == "y"
    assert graph.markov_blanket("a") == tuple(n for n in graph.names if n != "a")


# -- the test models ----------------------------------------------------------------------------------------------


def bound(model):
    return plait.compile(model.bind(plait), **model.args(np.float64))


@each_model
def test_the_graph_of_a_model_hangs_together(model):
    with jax.enable_x64(True):
        graph = bound(model).graph.site_graph()
    place = {name: i for i, name in enumerate(graph.topological_order())}
    assert place.keys() == set(graph.names)
    for name in graph.names:
        assert all(name in graph.children(p) for p in graph.parents(name))
        assert all(name in graph.ancestors(d) for d in graph.descendants(name))
        for parent in graph.parents(name):
            assert graph.digraph.edges[parent, name].get("temporal") or place[parent] < place[name]
    for name in graph.latents:
        blanket = graph.markov_blanket(name)
        assert graph.is_d_separated(name, set(graph.latents + graph.observed) - {name, *blanket}, blanket)
        assert all(name in graph.markov_blanket(other) for other in blanket)


@each_model
def test_the_log_joint_has_no_mixed_derivative_outside_of_blankets(model):
    with jax.enable_x64(True):
        compiled = bound(model)
        if compiled.has_random_params:
            compiled = compiled.with_params(compiled.init_param_values(jax.random.key(0)))
        graph = compiled.graph.site_graph()
        z = np.random.default_rng(0).uniform(-1, 1, compiled.dim)
        values = compiled.constrain(z)
        hessian = jax.jit(jax.hessian(compiled.log_joint))(values)
    for a, b in itertools.permutations(values, 2):
        if b not in graph.markov_blanket(a):
            assert np.abs(hessian[a][b]).max(initial=0.0) == 0.0, (a, b)


def test_mixed_derivatives_fill_the_blankets_of_eight_schools():
    """The other direction, where it holds: no blanket is too large."""
    (model,) = [m for m in MODELS if m.name == "eight_schools_noncentered"]
    with jax.enable_x64(True):
        compiled = bound(model)
        graph = compiled.graph.site_graph()
        values = compiled.constrain(np.full(compiled.dim, 0.3))
        hessian = jax.hessian(compiled.log_joint)(values)
    for name in graph.latents:
        found = [b for b in graph.latents if b != name and np.abs(hessian[name][b]).max() > 1e-6]
        assert tuple(found) == tuple(b for b in graph.markov_blanket(name) if b in graph.latents)
