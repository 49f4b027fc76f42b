"""Rows of a family with the same parameters: the rule at the level of models, against the same model without it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.passes.fuse import answers
from plait.compiler.rules.families import FAMILIES
from plait.compiler.rules.term import Refused
from tests.helpers import refused, same_density

N, J, K = 40, 3, 3
RNG = np.random.default_rng(3)
GROUP = np.repeat([0, 2], N // 2)[RNG.permutation(N)]  # group 1 is empty
BETALN = 1e-7  # NumPyro's own sum of a negative binomial is off in the eighth digit


ONLY_SHARED = "; only one that all rows share, or the rows of a group, has statistics of fixed size"

# -- models in which every family has a site -------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A family as users write it.

    Attributes:
        make: of the free parameters and the row's known ones.
        free: the prior of each parameter.
        y: data of shape (N, *event).
        known: what `make` gets last, of shape (N,).
    """

    family: type
    make: Callable[..., Any]
    free: tuple[Any, ...]
    y: np.ndarray
    known: tuple[np.ndarray, ...] = ()


def positive():
    return dist.LogNormal(0.0, 0.5)


def unit():
    return dist.Uniform(0.1, 0.9)


def real():
    return dist.Normal(0.0, 1.0)


def split():
    return dist.Dirichlet(jnp.full(K, 3.0))


def scores():
    return dist.Normal(jnp.zeros(K), 1.0).to_event(1)


def concentrations():
    return dist.LogNormal(jnp.zeros(K), 0.5).to_event(1)


TRIALS = RNG.integers(1, 9, N)
BITS = RNG.integers(0, 2, N)
SPLITS = np.stack([RNG.multinomial(n, [0.2, 0.3, 0.5]) for n in TRIALS])
COUNTS = RNG.poisson(3.0, N)
POSITIVE = RNG.gamma(3.0, 1.0, N)
SHAPES = RNG.uniform(0.5, 5.0, N)

CASES = {
    "bernoulli": Case(dist.BernoulliProbs, dist.Bernoulli, (unit,), BITS),
    "bernoulli_logits": Case(dist.BernoulliLogits, lambda x: dist.Bernoulli(logits=x), (real,), BITS),
    "binomial": Case(
        dist.BinomialProbs, lambda p, n: dist.Binomial(n, p), (unit,), RNG.binomial(TRIALS, 0.4), (TRIALS,)
    ),
    "binomial_logits": Case(
        dist.BinomialLogits,
        lambda x, n: dist.Binomial(n, logits=x),
        (real,),
        RNG.binomial(TRIALS, 0.4),
        (TRIALS,),
    ),
    "geometric": Case(dist.GeometricProbs, dist.Geometric, (unit,), COUNTS),
    "geometric_logits": Case(dist.GeometricLogits, lambda x: dist.Geometric(logits=x), (real,), COUNTS),
    "negative_binomial": Case(
        dist.NegativeBinomialProbs, lambda p, r: dist.NegativeBinomialProbs(r, p), (unit,), COUNTS, (SHAPES,)
    ),
    "negative_binomial_logits": Case(
        dist.NegativeBinomialLogits, lambda x, r: dist.NegativeBinomialLogits(r, x), (real,), COUNTS, (SHAPES,)
    ),
    "negative_binomial_2": Case(dist.NegativeBinomial2, lambda m: dist.NegativeBinomial2(m, 2.5), (positive,), COUNTS),
    "gamma_poisson": Case(dist.GammaPoisson, lambda b, r: dist.GammaPoisson(r, b), (positive,), COUNTS, (SHAPES,)),
    "categorical": Case(dist.CategoricalProbs, dist.Categorical, (split,), RNG.integers(0, K, N)),
    "categorical_logits": Case(
        dist.CategoricalLogits, lambda x: dist.Categorical(logits=x), (scores,), RNG.integers(0, K - 1, N)
    ),
    "multinomial": Case(
        dist.MultinomialProbs, lambda p, n: dist.Multinomial(n, p, total_count_max=9), (split,), SPLITS, (TRIALS,)
    ),
    "multinomial_logits": Case(
        dist.MultinomialLogits,
        lambda x, n: dist.Multinomial(n, logits=x, total_count_max=9),
        (scores,),
        SPLITS,
        (TRIALS,),
    ),
    "poisson": Case(dist.Poisson, dist.Poisson, (positive,), COUNTS),
    "exponential": Case(dist.Exponential, dist.Exponential, (positive,), POSITIVE),
    "half_normal": Case(dist.HalfNormal, dist.HalfNormal, (positive,), POSITIVE),
    "pareto": Case(dist.Pareto, dist.Pareto, (unit, positive), 1.0 + POSITIVE),
    "gamma": Case(dist.Gamma, dist.Gamma, (positive, positive), POSITIVE),
    "inverse_gamma": Case(dist.InverseGamma, dist.InverseGamma, (positive, positive), 1.0 / POSITIVE),
    "beta": Case(dist.Beta, dist.Beta, (positive, positive), RNG.beta(2, 3, N)),
    "dirichlet": Case(dist.Dirichlet, dist.Dirichlet, (concentrations,), RNG.dirichlet([2.0, 3.0, 4.0], N)),
}


def test_every_family_has_a_case():
    assert {case.family for case in CASES.values()} == set(FAMILIES)


EXACT = tuple(name for name in CASES if name not in ("negative_binomial", "negative_binomial_2", "gamma_poisson"))
DATA = {name: {"y": case.y, "known": case.known} for name, case in CASES.items()}


def all_families(names, size, read, observe):
    """A model with these families; `size` is the batch shape of parameters, `read` how rows read them."""

    def model(data, g):
        for name in names:
            case = CASES[name]
            priors = [prior() for prior in case.free]
            given = [plait.sample(f"{name}_{i}", p.expand(size) if size else p) for i, p in enumerate(priors)]
            observe(name, case.make(*(read(p, g) for p in given), *data[name]["known"]), data[name]["y"])

    return model


def observe(name, d, y):
    plait.sample(name, d, obs=y)


def compare(model, *args, rtol=1e-10):
    """What became of each site; value and gradient are those without the pass, in one compilation.

    `rtol` is of the sum of the absolute terms.
    """
    passes = {"reroll": False}
    fused = plait.compile(model, *args, passes=passes)
    plain = plait.compile(model, *args, passes=passes | {"fuse": False})
    found = {a.site: a.answer for a in answers(dict(fused.history)["unconstrain"], fused._data)}
    same_density(fused, plain, rtol)
    return found


def fires(found, names):
    """All sites are fused."""
    assert {name: a.reason for name, a in found.items() if isinstance(a, Refused)} == {}
    assert sorted(found) == sorted(names)


TOLERANCE = {"float64": 1e-10, "float32": 2e-5}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def read_whole(p, g):
    return p


def read_group(p, g):
    return p[g]


@pytest.mark.parametrize(
    ("size", "read", "dtype"),
    [((J,), read_group, "float64"), ((), read_whole, "float32")],
    ids=["groups", "scalars in float32"],
)
def test_every_family(size, read, dtype):
    rest = [name for name in CASES if name not in EXACT]
    with jax.enable_x64(dtype == "float64"):
        for names, rtol in [(EXACT, TOLERANCE[dtype]), (rest, max(TOLERANCE[dtype], BETALN))]:
            fires(compare(all_families(names, size, read, observe), DATA, GROUP, rtol=rtol), names)


# -- how rows read their parameters ---------------------------------------------------------------------------


def latent(name, prior, *size):
    return plait.sample(name, prior.expand(size) if size else prior)


def plate_axis(d):
    rate = latent("plate_axis_rate", positive(), J)
    with plait.plate("plate_axis_rows", N, dim=-2), plait.plate("plate_axis_columns", J, dim=-1):
        plait.sample("plate_axis", dist.Poisson(rate), obs=d["table"])


def other_plate_axis(d):
    rate = latent("other_plate_axis_rate", positive(), J)
    plait.sample("other_plate_axis", dist.Poisson(rate[:, None]).expand([J, N]), obs=d["table"].T)


def entries_of_a_matrix(d):
    rate = latent("entries_of_a_matrix_rate", positive(), 2, J)
    plait.sample("entries_of_a_matrix", dist.Poisson(rate[d["h"], d["g"]]), obs=d["counts"])


def a_column_of_a_matrix(d):
    rate = latent("a_column_of_a_matrix_rate", positive(), J, 2)
    plait.sample("a_column_of_a_matrix", dist.Poisson(rate[d["g"], 1]), obs=d["counts"])


def one_known_number(d):
    rate = latent("one_known_number_rate", positive(), J)
    plait.sample("one_known_number", dist.Gamma(d["shape"], rate[d["g"]]), obs=d["positive"])


def a_known_number_in_each_row(d):
    a = latent("a_known_number_in_each_row_a", positive())
    plait.sample("a_known_number_in_each_row", dist.Gamma(a, jnp.full(N, 2.0)), obs=d["positive"])


def a_total_count_of_python(d):
    p = latent("a_total_count_of_python_p", split())
    plait.sample("a_total_count_of_python", dist.Multinomial(8, p), obs=jnp.tile(jnp.array([2, 3, 3]), (N, 1)))


def a_scalar_and_groups(d):
    a, b = latent("a_scalar_and_groups_a", positive()), latent("a_scalar_and_groups_b", positive(), J)
    plait.sample("a_scalar_and_groups", dist.Gamma(a, b[d["g"]]), obs=d["positive"])


def two_kinds_of_groups(d):
    a, b = latent("two_kinds_of_groups_a", positive(), J), latent("two_kinds_of_groups_b", positive(), 2)
    plait.sample("two_kinds_of_groups", dist.Beta(a[d["g"]], b[d["h"]]), obs=d["shares"])


def two_parameters_from_one_array(d):
    both = latent("two_parameters_from_one_array_both", positive(), 2, J)
    plait.sample(
        "two_parameters_from_one_array", dist.InverseGamma(both[0][d["g"]], both[1][d["g"]]), obs=d["positive"]
    )


def exp_of_groups(d):
    a, mu = latent("exp_of_groups_a", real(), J), latent("exp_of_groups_mu", real())
    plait.sample("exp_of_groups", dist.Poisson(jnp.exp(mu + 0.5 * a[d["g"]])), obs=d["counts"])


def sigmoid_of_groups(d):
    a = latent("sigmoid_of_groups_a", real(), J)
    plait.sample("sigmoid_of_groups", dist.Bernoulli(jax.nn.sigmoid(a[d["g"]])), obs=d["bits"])


def vectors_of_groups(d):
    p = latent("vectors_of_groups_p", split(), J)
    plait.sample("vectors_of_groups", dist.Categorical(p[d["g"]]), obs=d["categories"])


def exp_of_vectors(d):
    a = latent("exp_of_vectors_a", scores(), J)
    plait.sample("exp_of_vectors", dist.Dirichlet(jnp.exp(a[d["g"]])), obs=d["simplices"])


def expanded_to_an_event(d):
    rate = latent("expanded_to_an_event_rate", positive())
    plait.sample("expanded_to_an_event", dist.Exponential(rate).expand([N]).to_event(1), obs=d["positive"])


def an_event_axis_has_parameters(d):
    p = latent("an_event_axis_has_parameters_p", unit(), J)
    with plait.plate("an_event_axis_has_parameters_rows", N):
        plait.sample("an_event_axis_has_parameters", dist.Bernoulli(p).to_event(1), obs=d["table"] > 2)


def two_to_event(d):
    p = latent("two_to_event_p", unit(), J)
    plait.sample("two_to_event", dist.Bernoulli(p).to_event(1).expand([N]).to_event(1), obs=d["table"] > 2)


def one_value_in_many_rows(d):
    rate = latent("one_value_in_many_rows_rate", positive())
    plait.sample("one_value_in_many_rows", dist.Poisson(rate).expand([N]), obs=d["counts"][0])


WAYS = (
    *(
        a_total_count_of_python,
        plate_axis,
        other_plate_axis,
        entries_of_a_matrix,
        a_column_of_a_matrix,
        one_known_number,
    ),
    *(a_known_number_in_each_row, a_scalar_and_groups, two_kinds_of_groups, two_parameters_from_one_array),
    *(exp_of_groups, sigmoid_of_groups, vectors_of_groups, exp_of_vectors, expanded_to_an_event),
    *(an_event_axis_has_parameters, two_to_event, one_value_in_many_rows),
)
ROWS = {
    "g": GROUP,
    "h": RNG.integers(0, 2, N),
    "table": RNG.poisson(2.0, (N, J)),
    "counts": COUNTS,
    "bits": BITS,
    "positive": POSITIVE,
    "shape": np.array(2.5),
    "shares": RNG.beta(2, 3, N),
    "categories": RNG.integers(0, K - 1, N),
    "simplices": CASES["dirichlet"].y,
    "mask": RNG.random(N) < 0.6,
    "weights": RNG.uniform(0.1, 2.0, N),
    "exposure": RNG.uniform(0.5, 2.0, N),
    "shapes": SHAPES,
}


def each_of(*ways):
    def model(d):
        for way in ways:
            way(d)

    return model


def test_ways_to_read_parameters():
    with jax.enable_x64(True):
        found = compare(each_of(*WAYS), ROWS)
        fires(found, [way.__name__ for way in WAYS])
    cells = {name: answer.cells for name, answer in found.items()}
    assert cells["plate_axis"] == cells["other_plate_axis"] == cells["exp_of_groups"] == J
    assert cells["a_known_number_in_each_row"] == cells["expanded_to_an_event"] == 1


# -- masks, scales, subsamples --------------------------------------------------------------------------------


def wrong_where_masked(d, name, wrong):
    return jnp.where(d["mask"], d[name], jnp.asarray(wrong, d[name].dtype))


def masked_nan(d):
    rate = latent("masked_nan_rate", positive(), J)
    with plait.handlers.mask(mask=d["mask"]):
        plait.sample("masked_nan", dist.Exponential(rate[d["g"]]), obs=wrong_where_masked(d, "positive", np.nan))


def masked_outside_the_support(d):
    a = latent("masked_outside_the_support_a", positive())
    with plait.handlers.mask(mask=d["mask"]):
        plait.sample("masked_outside_the_support", dist.Gamma(a, 2.0), obs=wrong_where_masked(d, "positive", -1.0))


def masked_category(d):
    p = latent("masked_category_p", split(), J)
    d = d | {"categories": wrong_where_masked(d, "categories", 99)}
    with plait.plate("masked_category_rows", N), plait.handlers.mask(mask=d["mask"]):
        plait.sample("masked_category", dist.Categorical(p[d["g"]]), obs=d["categories"])


def masked_by_the_distribution(d):
    p = latent("masked_by_the_distribution_p", unit())
    plait.sample("masked_by_the_distribution", dist.Bernoulli(p).expand([N]).mask(d["mask"]), obs=d["bits"])


def masked_events(d):
    p = latent("masked_events_p", unit(), J)
    events = dist.Bernoulli(p).expand([N, J]).to_event(1).mask(d["mask"])
    plait.sample("masked_events", events, obs=d["table"] > 2)


def masked_inside_events(d):
    p = latent("masked_inside_events_p", unit(), J)
    events = dist.Bernoulli(p).expand([N, J]).mask(d["mask"][:, None]).to_event(1)
    plait.sample("masked_inside_events", events, obs=d["table"] > 2)


def all_masked(d):
    p = latent("all_masked_p", unit())
    with plait.handlers.mask(mask=jnp.zeros(N, bool)):
        plait.sample("all_masked", dist.Geometric(p), obs=wrong_where_masked(d, "counts", -1))


def scaled(d):
    rate = latent("scaled_rate", positive(), J)
    with plait.handlers.scale(scale=0.25):
        plait.sample("scaled", dist.Poisson(rate[d["g"]]), obs=d["counts"])


def weighted_rows(d):
    p = latent("weighted_rows_p", split())
    with plait.handlers.scale(scale=d["weights"]), plait.handlers.mask(mask=d["mask"]):
        plait.sample("weighted_rows", dist.Categorical(p), obs=d["categories"])


def weighted_events(d):
    p = latent("weighted_events_p", unit(), J)
    with plait.plate("weighted_events_rows", N), plait.handlers.scale(scale=d["weights"]):
        plait.sample("weighted_events", dist.Bernoulli(p).to_event(1), obs=d["table"] > 2)


def a_subsample(d):
    rate = latent("a_subsample_rate", positive(), J)
    with plait.plate("a_subsample_rows", N, subsample_size=N // 2) as rows:
        plait.sample("a_subsample", dist.Poisson(rate[d["g"][rows]]), obs=d["counts"][rows])


WEIGHTS = (
    *(masked_nan, masked_outside_the_support, masked_category, masked_by_the_distribution, masked_events),
    *(masked_inside_events, all_masked, scaled, weighted_rows, weighted_events, a_subsample),
)


@each_dtype
def test_masks_scales_and_subsamples(dtype):
    model = plait.handlers.seed(each_of(*WEIGHTS), 0)
    with jax.enable_x64(dtype == "float64"):
        fires(compare(model, ROWS, rtol=TOLERANCE[dtype]), [way.__name__ for way in WEIGHTS])


# -- few rows -------------------------------------------------------------------------------------------------


def poisson_rows(y, g):
    rate = plait.sample("rate", dist.LogNormal(jnp.zeros(J), 1.0))
    plait.sample("y", dist.Poisson(rate[g]), obs=y)


def poisson_of_one_rate(y):
    plait.sample("y", dist.Poisson(latent("rate", positive())).expand(y.shape), obs=y)


@pytest.mark.parametrize(("n", "cells"), [(0, None), (1, None), (2, 1)])
def test_few_rows(n, cells):
    with jax.enable_x64(True):
        (answer,) = compare(poisson_of_one_rate, COUNTS[:n]).values()
    assert (answer.cells if cells else answer.reason) == (cells or f"its {n} rows have 1 different parameters")


# -- near misses ----------------------------------------------------------------------------------------------


def exposure(d):
    rate = latent("rate", positive(), J)
    plait.sample("exposure", dist.Poisson(rate[d["g"]] * d["exposure"]), obs=d["counts"])


def free_total_count(d):
    r, p = latent("r", positive()), latent("p", unit())
    plait.sample("free_total_count", dist.NegativeBinomialProbs(r, p), obs=d["counts"])


def free_concentration(d):
    m, r = latent("m", positive()), latent("s", positive(), J)
    plait.sample("free_concentration", dist.NegativeBinomial2(m, r[d["g"]]), obs=d["counts"])


def means_with_known_shapes(d):
    m = jax.nn.softplus(latent("means", real()) * d["exposure"])
    plait.sample("means_with_known_shapes", dist.NegativeBinomial2(m, d["shapes"]), obs=d["counts"])


def known_and_different(d):
    b = latent("b", positive())
    plait.sample("known_and_different", dist.Gamma(d["shapes"], b), obs=d["positive"])


def as_many_cells_as_rows(d):
    rates = latent("rates", positive(), N)
    plait.sample("as_many_cells_as_rows", dist.Exponential(rates), obs=d["positive"])


def two_columns(d):
    b, c = latent("beta", positive(), 2), latent("slope", positive(), 2)
    plait.sample("two_columns", dist.Poisson(b[d["h"]] + c[d["h"]] * d["exposure"]), obs=d["counts"])


def unknown_mask(d):
    p = latent("q", unit())
    with plait.handlers.mask(mask=p > d["exposure"]):
        plait.sample("unknown_mask", dist.Bernoulli(p), obs=d["bits"])


def without_a_rule(d):
    plait.sample("without_a_rule", dist.Weibull(latent("w", positive()), 1.5), obs=d["positive"])


def expanded_between_two_events(d):
    p = latent("v", unit(), J)
    events = dist.ExpandedDistribution(dist.Bernoulli(p).to_event(1), (N,)).to_event(1)
    plait.sample("expanded_between_two_events", events, obs=d["table"] > 2)


def a_latent_value(d):
    latent("a_latent_value", dist.Exponential(latent("its_rate", positive())), N)


def one_free_concentration(d):
    m, r = latent("one_free_concentration_m", positive()), latent("one_free_concentration_r", positive())
    plait.sample("one_free_concentration", dist.NegativeBinomial2(m, r), obs=d["counts"])


def one_mean_with_known_shapes(d):
    m = latent("one_mean_with_known_shapes_m", positive())
    plait.sample("one_mean_with_known_shapes", dist.NegativeBinomial2(m, d["shapes"]), obs=d["counts"])


def a_log_link(d):
    b, c = latent("a_log_link_b", real(), 2), latent("a_log_link_c", real())
    plait.sample("a_log_link", dist.Poisson(jnp.exp(b[d["h"]] + c * d["exposure"])), obs=d["counts"])


TAKEN_BY_ROWS = (one_free_concentration, one_mean_with_known_shapes, a_log_link)
NEAR = {
    exposure: "its parameter rate is computed row by row" + ONLY_SHARED,
    free_total_count: "its total_count is not known",
    free_concentration: "its concentration is not known",
    means_with_known_shapes: "its parameter rate is computed row by row" + ONLY_SHARED,
    known_and_different: "its concentration is data that differ from row to row",
    as_many_cells_as_rows: f"its {N} rows have {N} different parameters",
    two_columns: "its parameter rate is computed row by row" + ONLY_SHARED,
    unknown_mask: "its mask or scale depends on latents",
    without_a_rule: "no sufficient statistics are known for Weibull",
    expanded_between_two_events: "its events are expanded between two to_event",
}


def test_near_misses():
    with jax.enable_x64(True):
        found = compare(each_of(*NEAR, *TAKEN_BY_ROWS, a_latent_value), ROWS, rtol=BETALN)
    taken = {way.__name__: found.pop(way.__name__) for way in TAKEN_BY_ROWS}
    fires(taken, list(taken))
    reasons = {name: a.reason if isinstance(a, Refused) else a for name, a in found.items()}
    assert reasons == {way.__name__: reason for way, reason in NEAR.items()}


# -- other data -----------------------------------------------------------------------------------------------


def gamma_rows(y, g, h):
    a = plait.sample("a", dist.LogNormal(jnp.zeros(20), 1.0))
    b = plait.sample("b", dist.LogNormal(jnp.zeros(20), 1.0))
    plait.sample("y", dist.Gamma(a[g], b[h]), obs=y)


def categories(y, g):
    p = latent("p", split(), J)
    plait.sample("y", dist.Categorical(p[g]), obs=y)


def gamma_of_shape(y, shape):
    plait.sample("y", dist.Gamma(shape, latent("rate", positive())), obs=y)


FEW, MANY = np.arange(N) % 3, np.arange(N) % 20


@pytest.mark.parametrize(
    ("model", "args", "new", "same_program"),
    [
        (poisson_rows, (COUNTS, GROUP), {"y": COUNTS[::-1], "g": FEW}, True),
        (categories, (0 * BITS, GROUP), {"y": FEW, "g": FEW[::-1]}, True),
        (gamma_rows, (POSITIVE, FEW, FEW % 2), {"g": FEW + 5, "h": MANY % 2}, True),
        (gamma_rows, (POSITIVE, FEW, FEW % 2), {"g": MANY, "h": FEW}, False),
        (gamma_of_shape, (POSITIVE, np.full(N, 2.0)), {"shape": np.full(N, 3.0)}, True),
        (gamma_of_shape, (POSITIVE, np.full(N, 2.0)), {"shape": SHAPES}, False),
    ],
    ids=["groups", "categories", "pairs", "more pairs", "another number", "different numbers"],
)
def test_bind(model, args, new, same_program):
    with jax.enable_x64(True):
        fused = plait.compile(model, *args)
        fires({a.site: a.answer for a in answers(dict(fused.history)["unconstrain"], fused._data)}, ["y"])
        bound = fused.bind(**new)
        assert (bound._program is fused._program) == same_program
        same_density(bound, plait.compile(model, *args, passes={"fuse": False}).bind(**new), 1e-10)


def test_traced_data():
    with jax.enable_x64(True):
        fused = plait.compile(poisson_rows, COUNTS, GROUP)
        plain = plait.compile(poisson_rows, COUNTS, GROUP, passes={"fuse": False})
        z, many = np.linspace(-1, 1, J), np.stack([COUNTS, COUNTS[::-1], 0 * COUNTS])
        groups = np.stack([GROUP, FEW, 0 * FEW])

        def density(compiled, y, g):
            return compiled.bind(y=y, g=g).log_density(z)

        found = jax.jit(jax.vmap(lambda y, g: density(fused, y, g)))(many, groups)
        np.testing.assert_allclose(found, [density(plain, y, g) for y, g in zip(many, groups, strict=True)], rtol=1e-12)

        def compiled_inside(y):
            inside = plait.compile(poisson_rows, y, GROUP)
            (answer,) = answers(dict(inside.history)["unconstrain"], None)
            assert answer.answer.reason.startswith("the data are traced by jax")
            return inside.log_density(z)

        np.testing.assert_allclose(jax.jit(compiled_inside)(COUNTS), plain.log_density(z), rtol=1e-12)


def test_another_value_of_the_observed_site():
    with jax.enable_x64(True):
        fused = plait.compile(poisson_rows, COUNTS, GROUP)
        rate, y = np.array([0.5, 1.0, 3.0]), COUNTS[::-1] + 1
        wanted = dist.LogNormal(0.0, 1.0).log_prob(rate).sum() + dist.Poisson(rate[GROUP]).log_prob(y).sum()
        np.testing.assert_allclose(fused.log_joint({"rate": rate, "y": y}), wanted, rtol=1e-12)
        mine = fused.log_joint({"rate": rate}) - fused.log_joint({"rate": rate, "y": y})
        change = dist.Poisson(rate[GROUP]).log_prob(COUNTS).sum() - dist.Poisson(rate[GROUP]).log_prob(y).sum()
        np.testing.assert_allclose(mine, change, rtol=1e-12)


def test_pointwise_terms_stay():
    with jax.enable_x64(True):
        fused = plait.compile(poisson_rows, COUNTS, GROUP)
        rate = np.array([0.5, 1.0, 3.0])
        wanted = dist.Poisson(rate[GROUP]).log_prob(COUNTS)
        np.testing.assert_allclose(fused.log_likelihood({"rate": rate})["y"], wanted, rtol=1e-12)
        np.testing.assert_allclose(fused.log_prob_terms({"rate": rate})["y"], wanted, rtol=1e-12)


# -- data that are wrong --------------------------------------------------------------------------------------


def blamed_counts(y, g):
    rate = plait.sample("rate", dist.LogNormal(jnp.zeros(J), 1.0))
    plait.sample("y", dist.Poisson(rate[g]), obs=y)  # here


def blamed_index(y, g):
    rate = plait.sample("rate", dist.LogNormal(jnp.zeros(J), 1.0))
    rows = rate[g]  # here
    plait.sample("y", dist.Poisson(rows), obs=y)


def blamed_categories(y, g):
    p = plait.sample("p", dist.Dirichlet(jnp.ones((J, K))))
    plait.sample("y", dist.Categorical(p[g]), obs=y)  # here


def blamed_gamma(y, g):
    a = plait.sample("a", dist.LogNormal(jnp.zeros(J), 1.0))
    plait.sample("y", dist.Gamma(a[g], 1.0), obs=y)  # here


def blamed_multinomial(y, g):
    p = plait.sample("p", dist.Dirichlet(jnp.ones((J, K))))
    plait.sample("y", dist.Multinomial(8, p[g]), obs=y)  # here


def blamed_trials(y, g):
    p = plait.sample("p", dist.Beta(jnp.ones(J), 1.0))
    plait.sample("y", dist.Binomial(g + 1, p[g]), obs=y)  # here


def changed(x, value):
    return np.where(np.arange(len(x)) == 5, np.asarray(value, np.result_type(x, value)), x)


EIGHT = np.tile([2, 3, 3], (N, 1))
WRONG = {
    "negative count": (blamed_counts, (COUNTS, GROUP), {"y": changed(COUNTS, -1)}),
    "half a count": (blamed_counts, (COUNTS * 1.0, GROUP), {"y": changed(COUNTS * 1.0, 0.5)}),
    "NaN": (blamed_counts, (COUNTS * 1.0, GROUP), {"y": changed(COUNTS * 1.0, np.nan)}),
    "infinity": (blamed_gamma, (POSITIVE, GROUP), {"y": changed(POSITIVE, np.inf)}),
    "zero": (blamed_gamma, (POSITIVE, GROUP), {"y": changed(POSITIVE, 0.0)}),
    "index": (blamed_index, (COUNTS, GROUP), {"g": changed(GROUP, J)}),
    "negative index": (blamed_index, (COUNTS, GROUP), {"g": changed(GROUP, -1)}),
    "huge index": (blamed_index, (COUNTS, GROUP), {"g": changed(GROUP, 2**31 - 1)}),
    "category": (blamed_categories, (FEW, GROUP), {"y": changed(FEW, K)}),
    "negative category": (blamed_categories, (FEW, GROUP), {"y": changed(FEW, -1)}),
    "another total": (blamed_multinomial, (EIGHT, GROUP), {"y": EIGHT + 1}),
    "more successes than trials": (blamed_trials, (0 * GROUP, GROUP), {"y": 0 * GROUP + 9}),
}


@pytest.mark.parametrize(("model", "args", "new"), WRONG.values(), ids=WRONG)
def test_wrong_data(model, args, new):
    fused = plait.compile(model, *args)
    fires({a.site: a.answer for a in answers(dict(fused.history)["unconstrain"], fused._data)}, ["y"])
    with refused(plait.DataError, at=model):
        fused.bind(**new)
    with refused(plait.DataError, at=model):
        plait.compile(model, **(dict(zip(("y", "g"), args, strict=True)) | new))


def test_an_index_that_all_rows_share_is_data_too():
    """Which entry all rows read is up to the data that are bound, and no part of the program."""

    def model(k, y, counts):
        with plait.plate("groups", 3):
            a, s = plait.sample("a", dist.Normal(0, 1)), plait.sample("s", dist.HalfNormal(1))
        with plait.plate("rows", len(y)):
            plait.sample("y", dist.Normal(a[k], s[k]), obs=y)
            plait.sample("counts", dist.Poisson(s[k]), obs=counts)

    rng = np.random.default_rng(0)
    y, counts, z = rng.normal(size=20), rng.poisson(2, 20), rng.normal(size=6)
    moved = plait.compile(model, np.array(0), y, counts).bind(k=np.array(2))
    wanted = plait.compile(model, np.array(2), y, counts, passes={"fuse": False}).log_density(z)
    np.testing.assert_allclose(moved.log_density(z), wanted, rtol=1e-5)
