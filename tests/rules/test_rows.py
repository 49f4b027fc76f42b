"""Rows with a predictor: the likelihood in 50 digits, its derivatives, and the models that must stay as they are."""

from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpyro.distributions import constraints

import plait
from plait.compiler.passes.fuse import answers
from plait.compiler.rules.term import Fusion, Refused
from tests.helpers import same_density
from tests.rules.normal_models import Pair, Values
from tests.rules.row_models import FAMILIES, Glm, glm, random_glm

FLOOR = {np.float64: 1e-10, np.float32: 4 * float(np.finfo(np.float32).eps)}


def check(model: Glm, at: list[Values], dtype: type) -> None:
    """It fuses, and is about as near to the truth as the sum over rows is."""
    rng, floor = np.random.default_rng(1), FLOOR[dtype]
    with jax.enable_x64(dtype is np.float64):
        pair = Pair(model, dtype)
        assert isinstance(pair.answer, Fusion), pair.answer
        for v in at:
            fused, plain = pair.errors({k: np.asarray(x, dtype) for k, x in v.items()}, rng)
            assert fused.value <= max(floor, 2 * plain.value), (model.label, fused, plain)
            assert fused.derivative <= max(floor, 2 * plain.derivative), (model.label, fused, plain)


SINGLE = ("bernoulli", "binomial", "poisson with exposures", "exponential", "gamma", "negative binomial 2", "normal")


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, np.float64) for name in FAMILIES), *((name, np.float32) for name in SINGLE)]
)
def test_random_models(name: str, dtype: type) -> None:
    seed = list(FAMILIES).index(name) + 20 * (dtype is np.float32)
    model, rng = random_glm(name, seed), np.random.default_rng(seed)
    scales = (0.0, 1.0, FAMILIES[name].far) if dtype is np.float64 else (0.0, 1.0)
    drawn = [(far, model.draw(rng)) for far in scales]
    check(model, [{k: x if k.startswith("s") else far * x for k, x in v.items()} for far, v in drawn], dtype)


# -- where digits get lost, and numbers end ------------------------------------------------------------------

N = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
G = np.repeat([0, 2, 3], 20)  # group 1 has no rows


def line(xp, v, d):
    return v["a"] + v["b"] * d["x"]


def by_group(xp, v, d):
    return v["t"][d["g"]]


def slopes(xp, v, d):
    return v["a"] + d["X"] @ v["b"]


LINE, GROUPS, SLOPES = {"a": (), "b": ()}, {"t": (4,)}, {"a": (), "b": (3,)}
BITS, NONE = RNG.integers(0, 2, N), np.zeros(N)
ENDS = {"x": np.linspace(-1, 1, N)}
LARGE = {"n": np.full(N, 1e12)}


def of(name, eta, shapes, data, y=None, **how):
    return glm(FAMILIES[name], eta, shapes, data, y, **how)


NASTY = {
    "rows that count once": (
        of("bernoulli", line, LINE, {"x": X[:, 0]}, BITS, wrap=lambda rows: rows.to_event(1)),
        [{"a": 0.3, "b": 0.5}, {"a": 0.0, "b": 800.0}],
    ),
    "shapes of groups": (
        of("gamma", by_group, GROUPS, {"g": G}),
        [{"t": np.array([0.3, 0.0, 1.0, -1.0]), "s_a": 2.5}],
    ),
    "logits of 800": (of("bernoulli", line, LINE, ENDS, BITS), [{"a": 0.0, "b": 800.0}, {"a": -800.0, "b": 1.0}]),
    "logits of 800, counts": (of("binomial", line, LINE, ENDS), [{"a": 0.0, "b": 800.0}, {"a": 800.0, "b": 1.0}]),
    "log-rates of 700": (of("poisson", line, LINE, ENDS), [{"a": 0.0, "b": 700.0}, {"a": -700.0, "b": 0.0}]),
    "times at rates of 700": (
        of("exponential", line, LINE, ENDS | {"t": np.ones(N)}),
        [{"a": 0.0, "b": 690.0, "s_e": 1.0}, {"a": -600.0, "b": 1.0, "s_e": 1.0}],
    ),
    "far groups of counts": (of("poisson", by_group, GROUPS, {"g": G}), [{"t": np.array([-700.0, 0, 700, 1])}]),
    "no counts": (of("poisson", line, LINE, ENDS, NONE), [{"a": 0.5, "b": 2.0}, {"a": -30.0, "b": 2.0}]),
    "no counts in one group": (
        of("poisson with exposures", by_group, GROUPS, {"g": G}, np.where(G == 2, 0, 3)),
        [{"t": np.array([0.0, 0, 1, -1])}, {"t": np.array([1.0, 0, -40, 1])}],
    ),
    "all counts are 0, dispersed": (
        of("negative binomial 2", line, LINE, ENDS, NONE),
        [{"a": 0.5, "b": 2.0, "s_r": 2.0}],
    ),
    "counts of 1e12": (
        of("poisson", line, LINE, ENDS, np.round(1e12 * np.exp(X[:, 0]))),
        [{"a": 27.6, "b": 0.1}, {"a": 20.0, "b": 1.0}],
    ),
    "counts of 1e12 in groups": (
        of("poisson", by_group, GROUPS, {"g": G}, np.round(1e12 + 1e6 * X[:, 0])),
        [{"t": np.full(4, np.log(1e12))}, {"t": np.full(4, 27.0)}],
    ),
    "trials of 1e12": (
        of("binomial", by_group, GROUPS, {"g": G} | LARGE, np.round(2e11 + 1e6 * X[:, 0])),
        [{"t": np.full(4, np.log(0.25))}, {"t": np.full(4, 30.0)}],
    ),
    "trials that are negative where masked": (
        of("binomial", line, LINE, ENDS | {"n": np.where(G > 0, 8, -5), "mask": G > 0}, np.where(G > 0, 3, 99)),
        [{"a": 0.5, "b": 2.0}],
    ),
    "trials of 0": (of("binomial", line, LINE, ENDS | {"n": NONE}, NONE), [{"a": 0.5, "b": 2.0}]),
    "one outcome": (
        of("ordered logistic", line, LINE, ENDS, 0 * BITS),
        [{"a": 0.5, "b": 2.0, "c": 0.1, "s_c": np.ones(2)}],
    ),
    "an outcome that was never seen": (
        of("ordered logistic", by_group, GROUPS, {"g": G}, 3 * BITS),
        [{"t": np.array([30.0, 0, 1, -30]), "c": 0.1, "s_c": np.array([1e-9, 5.0])}],
    ),
    "one row that counts": (
        of("poisson", line, LINE, ENDS | {"mask": np.arange(N) == 7}, np.where(np.arange(N) == 7, 3.0, np.nan)),
        [{"a": 0.5, "b": 2.0}],
    ),
    "two rows": (of("poisson", line, LINE, {"x": ENDS["x"][:2]}, np.array([2, 3])), [{"a": 0.5, "b": 2.0}]),
    "rows that are all the same": (of("poisson", line, LINE, {"x": np.ones(N)}), [{"a": 0.5, "b": 2.0}]),
    "collinear columns": (
        of("bernoulli", slopes, SLOPES, {"X": np.column_stack([X[:, 0], X[:, 0], np.ones(N)])}, BITS),
        [{"a": 0.5, "b": np.array([1e5, -1e5, 2])}],
    ),
    "a covariate that is enormous where masked": (
        of("gamma", line, LINE, {"x": np.where(G == 0, 1e300, X[:, 0]), "mask": G > 0}, np.where(G > 0, 1.5, np.nan)),
        [{"a": 0.5, "b": 0.2, "s_a": 2.0}],
    ),
    "shapes far from 1": (of("gamma", line, LINE, ENDS), [{"a": 0.5, "b": 0.2, "s_a": s} for s in (1e-8, 1e8)]),
    "concentrations far from 1": (
        of("negative binomial 2", line, LINE, ENDS),
        [{"a": 0.5, "b": 0.2, "s_r": s} for s in (1e-8, 1e8)],
    ),
}


@pytest.mark.parametrize("name", NASTY)
def test_nasty(name: str) -> None:
    check(*NASTY[name], np.float64)


# -- derivatives of second order, ways to write a model ----------------------------------------------------------


def flat(name, *shape, positive=False):
    support = constraints.positive if positive else constraints.real
    return plait.sample(name, dist.ImproperUniform(support, (), shape))


def sites(found):
    return {a.site: a.answer for a in answers(dict(found.history)["unconstrain"], found._data)}


def test_derivatives_of_second_order():
    """At 0 too, where |η| has none."""
    names = [name for name in FAMILIES if not FAMILIES[name].in_cells]

    given = {name: of(name, line, LINE, {"x": X[:, 0]}) for name in names}

    def weighting(name):  # Bernoulli rows that count once have a loss of their own
        return nullcontext() if name == "bernoulli" else plait.handlers.scale(scale=0.5)

    # what jax says of NumPyro's own is wrong where the concentration is 1
    other = {"negative binomial 2": lambda eta, v, d: dist.NegativeBinomialLogits(v["s_r"], eta - jnp.log(v["s_r"]))}

    def model(make):
        for name in names:
            d = given[name].data
            with plait.handlers.scope(prefix=name), weighting(name):
                v = {k: flat(k, *s, positive=k.startswith("s")) for k, s in given[name].shapes.items()}
                plait.sample("y", make.get(name, FAMILIES[name].make)(line(jnp, v, d), v, d), obs=d["y"])

    with jax.enable_x64(True):
        fused, plain = (
            plait.compile(partial(model, make), passes={"fuse": not make, "reroll": False}) for make in ({}, other)
        )
        assert not [a for a in sites(fused).values() if isinstance(a, Refused)]
        both = jax.jit(lambda z: [jax.hessian(c.log_density)(z) for c in (fused, plain)])
        for z in (np.zeros(fused.dim), RNG.normal(size=fused.dim)):
            got, wanted = both(z)
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())


DATA = {
    "x": X[:, 0],
    "X": X,
    "g": G,
    "h": np.arange(N) % 3,
    "z": RNG.normal(size=(12, 1)),
    "k": np.arange(1, 6),
    "bits": BITS,
    "counts": RNG.poisson(2.0, N),
    "positive": RNG.gamma(2.0, 1.0, N),
    "table": RNG.integers(0, 2, (12, 5)),
    "on": RNG.uniform(size=N) < 0.5,
    "zeros": np.where(np.arange(N) % 7 == 0, 0.0, 1.5),
    "share": RNG.beta(2.0, 3.0, N),
}


def trials_of_a_column(d):
    return dist.Binomial(d["k"], logits=flat("a") * d["z"] + flat("t", 5)), d["table"]


def degrees_of_a_column(d):
    return dist.StudentT(d["k"] * 1.0, flat("a") * d["z"] + flat("t", 5), 1.0), d["table"] * 1.0


def shapes_of_a_column(d):
    return dist.NegativeBinomial2(jnp.exp(flat("a") * d["z"] + flat("t", 5)), d["k"] * 1.0), d["table"]


def a_condition_on_data(d):
    eta = jnp.where(d["on"], flat("t", 4)[d["g"]] * flat("u", 3)[d["h"]], 1.0)
    return dist.Bernoulli(logits=eta), d["bits"]


def no_covariates(d):
    return dist.Bernoulli(logits=flat("a") + d["X"][:, :0] @ flat("b", 0)), d["bits"]


def nothing_but_no_covariates(d):
    return dist.Bernoulli(logits=d["X"][:, :0] @ flat("b", 0)), d["bits"]


def sums_of_entries_times_data(d):
    return dist.Bernoulli(logits=flat("m", 4, 2)[d["g"]].sum(-1) * d["x"]), d["bits"]


def two_negative_factors(d):
    rate = -jnp.exp(flat("a")) * jnp.exp(flat("b") * d["x"]) * -jnp.exp(flat("c"))
    return dist.Exponential(rate), d["positive"]


def offsets_of_two_factors(d):
    return dist.Bernoulli(logits=(flat("t", 4)[d["g"]] + d["x"]) * (flat("u", 3)[d["h"]] - d["share"])), d["bits"]


def a_latent_of_each_row(d):
    return dist.Bernoulli(logits=flat("a") + flat("e", N)), d["bits"]


def a_network(d):
    return dist.Bernoulli(logits=jnp.tanh(d["X"] @ flat("m", 3, 4)) @ flat("o", 4)), d["bits"]


def angles(d):
    t, u = flat("t", 4)[d["g"]], flat("u", 3)[d["h"]]
    return dist.Bernoulli(logits=jnp.arctan2(t, u) * jax.lax.stop_gradient(t)), d["bits"]


def weights_in_events(d):
    eta = flat("a") * d["z"] + flat("t", 5)
    return dist.Bernoulli(logits=eta).mask(d["table"] > 0).to_event(1), d["table"]


WAYS = (
    *(trials_of_a_column, degrees_of_a_column, shapes_of_a_column, a_condition_on_data, no_covariates),
    *(nothing_but_no_covariates, sums_of_entries_times_data, two_negative_factors, a_latent_of_each_row, a_network),
    weights_in_events,
    offsets_of_two_factors,
    angles,
)


def each(ways, d):
    for way in ways:
        with plait.handlers.scope(prefix=way.__name__):
            rows, y = way(d)
            plait.sample("y", rows, obs=y)


def same_as_rows(ways, rtol=1e-10):
    """What became of each; all together are what the rows are."""
    with jax.enable_x64(True):
        both = [
            plait.compile(partial(each, ways), DATA, passes={"fuse": on, "reroll": False, "check_data": False})
            for on in (True, False)
        ]
        same_density(*both, rtol)
        return {site.split("/")[0]: answer for site, answer in sites(both[0]).items()}


def test_ways_to_write_rows():
    found = same_as_rows(WAYS)
    assert {name: a.reason for name, a in found.items() if isinstance(a, Refused)} == {}
    assert sorted(found) == sorted(way.__name__ for way in WAYS)


# -- the same density of many families -----------------------------------------------------------------------------

PARAMETERS = {
    dist.HalfCauchy: ("scale",),
    dist.Laplace: ("loc", "scale"),
    dist.AsymmetricLaplace: ("loc", "scale", "asymmetry"),
    dist.Weibull: ("scale", "concentration"),
    dist.Kumaraswamy: ("concentration1", "concentration0"),
    dist.BernoulliProbs: ("probs",),
    dist.Normal: ("loc", "scale"),
}
ON = {dist.Kumaraswamy: "share", dist.BernoulliProbs: "bits"}


def test_families_on_distinct_rows():
    """Each parameter is a product of two groups' effects, and rows are there twice."""
    g, h = np.tile(np.arange(30) % 4, 2), np.tile(np.arange(30) % 3, 2)

    def model(values, g, h):
        for cls, names in PARAMETERS.items():
            with plait.handlers.scope(prefix=cls.__name__):
                given = {}
                for name in names:
                    x = plait.sample(name + "_t", dist.Uniform(0.2, 0.9).expand([4]))
                    given[name] = x[g] * plait.sample(name + "_u", dist.Uniform(0.2, 0.9).expand([3]))[h]
                plait.sample("y", cls(**given), obs=values[cls.__name__])

    values = {cls.__name__: np.tile(DATA[ON.get(cls, "positive")][:30], 2) for cls in PARAMETERS}
    with jax.enable_x64(True):
        both = [plait.compile(model, values, g, h, passes={"fuse": on, "reroll": False}) for on in (True, False)]
        assert max(a.cells for a in sites(both[0]).values()) <= 32 < 60
        same_density(*both, 1e-12)


# -- near misses --------------------------------------------------------------------------------------------------


def rate_plus_one(d):
    return dist.Poisson(jnp.exp(flat("c", 4)[d["g"]] + flat("b") * d["x"]) + 1.0), d["counts"]


def softplus_rate(d):
    return dist.Poisson(jax.nn.softplus(flat("a") + flat("b") * d["x"])), d["counts"]


def rate_of_an_offset(d):
    return dist.Poisson(jnp.exp(flat("a") + 400.0 * flat("f") - 280.0 * (1 + 0 * d["x"]))), d["counts"]


def rate_of_an_enormous_offset(d):
    return dist.Poisson(jnp.exp(flat("a") + 1000.0 * flat("f") - 700.0 * (1 + 0 * d["x"]))), d["counts"]


def times_of_an_enormous_offset(d):
    return dist.Gamma(2.0, jnp.exp(flat("a") + 1000.0 * flat("f") - 700.0 * (1 + 0 * d["x"]))), d["positive"]


def an_index_of_latents(d):
    t = flat("t", 4)
    return dist.Bernoulli(logits=t[(d["g"] + (t[0] > 5)) % 4]), d["bits"]


def concentrations_of_groups(d):
    return dist.NegativeBinomial2(jnp.exp(flat("a") * d["x"]), jnp.exp(flat("t", 4))[d["g"]]), d["counts"]


def shapes_of_groups(d):
    return dist.Gamma(jnp.exp(flat("t", 4))[d["g"]], jnp.exp(flat("a") * d["x"])), d["positive"]


def trials_of_latents(d):
    return dist.NegativeBinomialLogits(jnp.exp(flat("r")), flat("a") * d["x"]), d["counts"]


def cutpoints_of_rows(d):
    cut = jnp.array([0.0, 1.0, 2.0]) + 0.1 * flat("c") * d["x"][:, None]
    return dist.OrderedLogistic(flat("a") * d["x"], cut), d["g"]


def exposures_of_0(d):
    return dist.Poisson(d["zeros"] * jnp.exp(flat("a") * d["x"])), jnp.where(d["zeros"] > 0, d["counts"], 0)


def exposures_of_0_in_products(d):
    eta = flat("t", 4)[d["g"]] * flat("u", 3)[d["h"]] + jnp.log(d["zeros"])
    return dist.Poisson(jnp.exp(eta)), jnp.where(d["zeros"] > 0, d["counts"], 0)


def a_negative_exposure_times_a_negative_number(d):
    return dist.Exponential(jnp.exp(flat("b") * d["x"]) * -(1.0 + 0.1 * d["share"]) * -jnp.exp(flat("a"))), d[
        "positive"
    ]


def filled_rates(d):
    g = jnp.where(d["h"] == 1, 99, d["g"])
    return dist.Poisson(jnp.exp(flat("t", 4)).at[g].get(mode="fill", fill_value=0.5)), d["counts"]


def filled_predictors(d):
    g = jnp.where(d["h"] == 1, 99, d["g"])
    eta = flat("t", 4).at[g].get(mode="fill", fill_value=0.5)
    return dist.Bernoulli(logits=eta + flat("a") * d["x"]), d["bits"]


def filled_rates_of_rows(d):
    g = jnp.where(d["h"] == 1, 99, jnp.arange(N))
    rate = jnp.exp(flat("e", N)).at[g].get(mode="fill", fill_value=0.5)
    return dist.Poisson(rate), d["counts"]


NEAR = {
    rate_plus_one: "Poisson(y_i)",
    softplus_rate: "its 60 rows have 60 different parameters",
    rate_of_an_offset: "Σλ",
    rate_of_an_enormous_offset: "its parameter rate is computed row by row",
    times_of_an_enormous_offset: "its parameter rate is computed row by row",
    an_index_of_latents: "−Σlog(1 + exp ∓η)",
    concentrations_of_groups: "its concentration is not known",
    shapes_of_groups: "Gamma(y_i)",
    trials_of_latents: "NegativeBinomialLogits(y_i)",
    cutpoints_of_rows: "its cutpoints are not the same in all rows",
    exposures_of_0: "its parameter rate is computed row by row",
    exposures_of_0_in_products: "its parameter rate is computed row by row",
    a_negative_exposure_times_a_negative_number: "its parameter rate is computed row by row",
    filled_rates: "its parameter rate is read by an index that is out of range",
    filled_predictors: "its parameter logits is computed row by row",
    filled_rates_of_rows: "its parameter rate is computed row by row",
}


def test_near_misses():
    """Evaluated as NumPyro writes them, by rows or by distinct ones."""
    with jax.enable_x64(True):
        passes = {"reroll": False, "check_data": False}
        fused, plain = (plait.compile(partial(each, NEAR), DATA, passes=passes | {"fuse": on}) for on in (True, False))
        v = {k: 0.7 + 0.1 * RNG.normal(size=s) for k, s in fused.shapes.items()}
        (value, slopes), (wanted, rows) = jax.jit(
            lambda v: [jax.value_and_grad(c.log_joint)(v) for c in (fused, plain)]
        )(v)
        found = sites(fused)
    np.testing.assert_allclose(value, wanted, rtol=1e-11)
    assert np.isfinite(wanted)
    for k, slope in slopes.items():  # those of a rate of 0 are NaN in rows, too
        np.testing.assert_allclose(slope, rows[k], rtol=1e-9, atol=1e-9, err_msg=k)
    for site, a in found.items():
        (what,) = [what for way, what in NEAR.items() if way.__name__ == site.split("/")[0]]
        assert what in (a.reason if isinstance(a, Refused) else a.notation), (site, a)


# -- other data ---------------------------------------------------------------------------------------------------


def bound_counts(y, g, x, mask):
    a, t, r = flat("a"), flat("t", 6), flat("r", positive=True)
    with plait.plate("rows", len(y)), plait.handlers.mask(mask=mask):
        plait.sample("y", dist.NegativeBinomial2(jnp.exp(t[g] + a * x), r), obs=y)


def bound_rates(y, g, x, mask):
    a, t = flat("a"), flat("t", 6)
    flat("r", positive=True)
    with plait.plate("rows", len(y)), plait.handlers.mask(mask=mask):
        plait.sample("y", dist.Poisson(x * jnp.exp(t[g] + a * (g > 2))), obs=y)


def dispersed_by_hand(v, y, g, x, mask):
    rate = v["r"] / np.exp(v["t"][g] + v["a"] * x)
    return float(np.sum(np.where(mask, dist.GammaPoisson(v["r"], rate).log_prob(np.where(mask, y, 0)), 0)))


def rates_by_hand(v, y, g, x, mask):
    rate = np.where(mask, x * np.exp(v["t"][g] + v["a"] * (g > 2)), 1.0)
    rows = scipy.stats.poisson(rate).logpmf(np.where(mask, y, 0))
    return float(np.sum(np.where(mask, rows, 0)))


MORE = {"g": np.arange(N) % 6, "x": np.repeat([1.0, 2, 3, 4, 5, 6], 10)}
OTHERS = {
    "as many rows": ({"g": (G + 1) % 6, "y": (1.0 * DATA["counts"])[::-1]}, True),
    "fewer rows": ({"g": 0 * G, "x": np.full(N, 2.0)}, True),
    "more rows": (MORE, "where data of the predictor keep rows apart"),
    "rows that are all different": ({"x": np.linspace(1, 2, N)}, None),
    "large counts": ({"y": 100.0 + DATA["counts"]}, None),
    "another mask": ({"mask": np.arange(N) > 40, "y": np.where(np.arange(N) > 40, 3.0, np.nan)}, True),
    "no rows": ({"mask": np.zeros(N, bool), "y": np.full(N, np.nan)}, False),
}


@pytest.fixture(scope="module", params=[bound_counts, bound_rates])
def bound(request):
    by_hand = {bound_counts: dispersed_by_hand, bound_rates: rates_by_hand}[request.param]
    data = {"y": 1.0 * DATA["counts"], "g": G, "x": np.repeat([1.0, 2.0], 30), "mask": np.arange(N) % 7 > 0}
    data["y"] = np.where(data["mask"], data["y"], np.nan)
    with jax.enable_x64(True):
        compiled = plait.compile(request.param, **data)
        assert isinstance(sites(compiled)["y"], Fusion)
        yield compiled, data, by_hand


V = {"a": 0.3, "t": np.linspace(-1, 1, 6), "r": 1.7}


@pytest.mark.parametrize("name", OTHERS)
def test_other_data(bound, name):
    compiled, data, by_hand = bound
    new, same = OTHERS[name]
    other = compiled.bind(**new)
    np.testing.assert_allclose(other.log_joint(V), by_hand(V, **(data | new)), rtol=1e-7 if "r" in V else 1e-12)
    if same is not None:
        same = by_hand is rates_by_hand if same == OTHERS["more rows"][1] else same
        assert (other._program is compiled._program) == same
    np.testing.assert_allclose(other.bind(**data).log_joint(V), by_hand(V, **data), rtol=1e-7)


def test_exposures_that_become_0(bound):
    compiled, data, by_hand = bound
    new = {"x": np.where(G == 3, 0.0, data["x"]), "y": np.where(G == 3, 0.0, np.nan_to_num(data["y"]))}
    np.testing.assert_allclose(compiled.bind(**new).log_joint(V), by_hand(V, **(data | new)), rtol=1e-7)


def test_data_that_jax_traces(bound):
    compiled, data, by_hand = bound
    ys = np.stack([data["y"], 2 * data["y"]])
    wanted = [by_hand(V, **(data | {"y": y})) for y in ys]
    np.testing.assert_allclose(jax.vmap(lambda y: compiled.bind(y=y).log_joint(V))(ys), wanted, rtol=1e-7)
    np.testing.assert_allclose(jax.jit(lambda x: compiled.bind(x=x).log_joint(V))(data["x"]), wanted[0], rtol=1e-7)


def test_rows_are_there_for_those_who_ask(bound):
    compiled, data, by_hand = bound
    y = np.where(data["mask"], data["y"] + 1, 0)
    np.testing.assert_allclose(compiled.log_joint(V | {"y": y}), by_hand(V, **(data | {"y": y})), rtol=1e-7)
    np.testing.assert_allclose(np.sum(compiled.log_prob_terms(V)["y"]), by_hand(V, **data), rtol=1e-7)


def test_what_explain_says():
    def model(y, g, x):
        t, a = flat("t", 4), flat("a")
        plait.sample("y", dist.Bernoulli(logits=t[g] + a * x), obs=y)

    cells = plait.compile(model, BITS, G, np.repeat([0.0, 1.0, 2.0], 20))
    (term,) = [t for t in cells.explain().terms if t.name == "y"]
    assert term.rows == (60, 8)
    assert "y ⇒ Σy·η − Σlog(1 + exp η) + const,  η = t[g] + a * x,  distinct rows counted" in str(cells.explain())
    (term,) = [t for t in plait.compile(model, BITS, G, X[:, 0]).explain().terms if t.name == "y"]
    assert term.rows == (60, 60)
