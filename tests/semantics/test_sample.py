"""Rows 1 to 18: sample."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose

import plait
from plait import ModelError, ValueNamesError
from plait.ir.errors import SiteTypeError
from tests.helpers import any_error, both, compiled, draws, each_way, either_way, log_joint, refused, sites

LP0 = -0.9189385332046727
KEY = jax.random.PRNGKey(3)


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


def one(ppl, obs=None):
    return ppl.sample("x", N(), obs=obs)


def plated(ppl, sample_shape=(), obs=None):
    with ppl.plate("rows", 10):
        return ppl.sample("x", N(), sample_shape=sample_shape, obs=obs)


def left_joined(ppl):
    with ppl.plate("a", 10, dim=-1), ppl.plate("b", 5, dim=-3):
        return ppl.sample("x", N(), sample_shape=(10,))


def partly_observed(ppl):
    seen = jnp.array([True, False, True])
    with ppl.plate("rows", 3):
        return ppl.sample("y", N(), obs=jnp.array([1.0, 2.0, 3.0]), obs_mask=seen)


# -- outside handlers, keys -------------------------------------------------------------------------------


@both
def test_row_01_a_key_draws(ppl):
    assert ppl.sample("x", N(), rng_key=KEY) == N().sample(KEY)
    assert ppl.sample("x", N(), rng_key=KEY, sample_shape=(2, 3)).shape == (2, 3)


@both
def test_row_01_an_observation_returns(ppl):
    assert ppl.sample("x", N(), obs=3.0) == 3.0


def test_row_01_neither_key_nor_observation():
    def run():
        plait.sample("x", N())  # here

    with refused(ModelError, "'x'", "seed", "rng_key", "plait.compile", at=run):
        run()
    with pytest.raises(AssertionError):
        numpyro.sample("x", N())


def explicit_key(ppl):
    ppl.sample("x", N())
    return ppl.sample("y", N(), rng_key=jax.random.key(7))


@both
def test_row_02_an_explicit_key_wins(ppl):
    assert ppl.handlers.seed(partial(explicit_key, ppl), 0)() == N().sample(jax.random.key(7))


def test_row_02_an_explicit_key_wins_compiled():
    drawn = compiled(explicit_key).sample(KEY, (2,))
    assert_allclose(drawn["y"], [N().sample(jax.random.key(7))] * 2, rtol=1e-6)
    assert drawn["x"][0] != drawn["x"][1]


# -- sample_shape, fn -------------------------------------------------------------------------------------


@either_way
@pytest.mark.parametrize("wrong", [[2], 2, (2.0,)])
def test_row_03_sample_shape_is_a_tuple_of_integers(run, wrong):
    def model():
        plait.sample("x", N(), sample_shape=wrong)  # here

    with refused(SiteTypeError, "'x'", "sample_shape", "tuple of integers", at=model):
        run(model)


def test_row_03_sample_shape_in_numpyro():
    with pytest.raises(AssertionError, match="sample_shape needs to be a tuple of integers"):
        numpyro.sample("x", N(), sample_shape=[2])


@either_way
@pytest.mark.parametrize(("wrong", "called"), [(3.0, "float"), (None, "None"), (dist.Normal, "class Normal")])
def test_row_03_fn_is_a_distribution(run, wrong, called):
    def model():
        plait.sample("x", wrong)  # here

    with refused(SiteTypeError, "'x'", "numpyro distribution", called, at=model) as caught:
        run(model)
    assert isinstance(caught.value, TypeError)
    with pytest.raises(TypeError, match=f"received {type(wrong).__name__}"):
        numpyro.sample("x", wrong)


@each_way
def test_row_04_sample_shape_joins_the_batch_shape(shapes):
    assert shapes(left_joined) == {"x": (5, 1, 10)}


@each_way
def test_row_05_sample_shape_that_fits_the_plate(shapes):
    assert shapes(plated, (3, 1)) == {"x": (3, 10)}


@both
def test_row_05_sample_shape_that_does_not(ppl):
    with pytest.raises(any_error(ppl)):
        draws(ppl, plated, (3,))


@either_way
def test_row_05_says_both_shapes(run):
    def model():
        with plait.plate("rows", 10):
            plait.sample("x", N(), sample_shape=(3,))  # here

    with refused(ModelError, "'x'", "'rows'", "(3,)", "10", at=model):
        run(model)


@both
def test_row_06_sample_shape_of_an_observed_site(ppl):
    def model(ppl):
        ppl.sample("x", N(), sample_shape=(3,), obs=jnp.zeros(3))

    assert_allclose(log_joint(ppl, model, {}), 3 * LP0, rtol=1e-6)


# -- observed values --------------------------------------------------------------------------------------


def observed_in_three(ppl, obs, returned):
    with ppl.plate("rows", 3):
        returned.append(ppl.sample("x", N(), obs=obs))


@both
@pytest.mark.parametrize("obs", [0.0, np.zeros(1), np.zeros(3)], ids=["scalar", "one", "all"])
def test_row_07_an_observed_value_is_returned_as_given(ppl, obs):
    returned = []
    draws(ppl, observed_in_three, obs, returned)
    assert np.shape(returned[0]) == np.shape(obs)
    assert np.all(returned[0] == obs)


@pytest.mark.parametrize("obs", [0.0, np.zeros(1), np.zeros(3)], ids=["scalar", "one", "all"])
def test_row_07_an_observed_value_is_returned_as_given_compiled(obs):
    returned = []
    plait.compile(lambda: observed_in_three(plait, obs, returned))
    assert np.shape(returned[0]) == np.shape(obs)


@both
def test_row_08_a_scalar_observation_counts_for_each_element(ppl):
    assert_allclose(log_joint(ppl, plated, {}, (), 0.0), 10 * LP0, rtol=1e-6)


@either_way
def test_row_09_an_observation_does_not_broadcast_a_site_beyond_its_plate(run):
    def model():
        with plait.plate("rows", 10):
            plait.sample("x", N(), obs=jnp.zeros((10, 1)))  # here

    with refused(ModelError, "'x'", "'rows'", "beyond its plate", "(10, 1)", at=model):
        run(model)


@both
def test_row_10_an_observation_of_another_length(ppl):
    with pytest.raises(any_error(ppl)):
        log_joint(ppl, plated, {}, (), jnp.zeros(5))


@either_way
def test_row_10_says_both_shapes(run):
    def model():
        with plait.plate("rows", 10):
            plait.sample("x", N(), obs=jnp.zeros(5))  # here

    with refused(ModelError, "'x'", "(10,)", "(5,)", at=model):
        run(model)


@either_way
@pytest.mark.parametrize("subsample_size", [1, 4])
def test_row_11_an_observation_of_the_whole_plate_in_a_subsample(run, subsample_size):
    def model():
        with plait.plate("rows", 10, subsample_size):
            plait.sample("x", N(), obs=jnp.zeros(10))  # here

    with refused(ModelError, "'x'", "'rows'", f"({subsample_size},)", "(10,)", at=model):
        run(plait.handlers.seed(model, 0))


# -- the dict of values -----------------------------------------------------------------------------------


def test_row_12_a_value_of_another_shape_than_its_site():
    def model():
        plait.sample("x", N())  # here

    with refused(ValueNamesError, "'x'", "()", "(5,)", at=model):
        plait.compile(model).log_joint({"x": np.zeros(5)})


@both
def test_row_13_the_value_of_an_observed_site(ppl):
    assert_allclose(log_joint(ppl, one, {"x": 5.0}, 1.0), N().log_prob(5.0), rtol=1e-6)


@both
def test_row_13_it_stays_observed(ppl):
    def substituted(ppl):
        with ppl.handlers.substitute(data={"x": 5.0}):
            one(ppl, 1.0)

    site = sites(ppl, substituted)["x"]
    assert site["value"] == 5.0
    assert site["is_observed"]


def test_row_13_the_compiled_model_keeps_its_data():
    def model(y):
        mu = plait.sample("mu", N())
        plait.sample("y", N(mu), obs=y)

    fused = plait.compile(model, np.float32(1.0).reshape(()))
    assert_allclose(fused.log_joint({"mu": 0.0, "y": 5.0}), 2 * LP0 - 12.5, rtol=1e-6)
    assert_allclose(fused.log_prob_terms({"mu": 0.0, "y": 5.0})["y"], LP0 - 12.5, rtol=1e-6)
    assert fused.shapes == {"mu": ()}
    assert_allclose(fused.log_joint({"mu": 0.0}), 2 * LP0 - 0.5, rtol=1e-6)


def two(ppl):
    with ppl.plate("groups", 2):
        theta = ppl.sample("theta", N())
    ppl.sample("mu", N(theta[0]))


@pytest.mark.parametrize(("unknown", "says"), [("thet", ["did you mean 'theta'?"]), ("zzz", [])])
def test_row_14_an_unknown_name(unknown, says):
    with refused(ValueNamesError, f"'{unknown}'", "'theta', 'mu'", *says):
        compiled(two).log_joint({"theta": np.zeros(2), "mu": 0.0, unknown: 1.0})


@each_way
def test_row_14_data_of_none_are_absent(shapes):
    assert shapes(one, None) == {"x": ()}


@both
@pytest.mark.parametrize("handler", ["substitute", "condition"])
def test_row_14_a_value_of_none_is_absent_from_a_handler(ppl, handler):
    def model(ppl):
        with getattr(ppl.handlers, handler)(data={"x": None}):
            one(ppl)

    assert draws(ppl, model) == draws(ppl, one)


def test_row_14_a_value_of_none_is_absent_from_the_dict():
    with refused(ValueNamesError, "no value for latent 'x'"):
        compiled(one).log_joint({"x": None})


# -- names ------------------------------------------------------------------------------------------------

KINDS = {
    "sample": lambda: plait.sample("twice", N()),
    "observed": lambda: plait.sample("twice", N(), obs=0.0),
    "deterministic": lambda: plait.deterministic("twice", 1.0),
    "param": lambda: plait.param("twice", 1.0),
    "factor": lambda: plait.factor("twice", 1.0),
    "plate": lambda: plait.plate("twice", 3),
}
PAIRS = [(a, b) for a in KINDS for b in KINDS if (a, b) != ("plate", "plate")]  # equal plates are one plate


@either_way
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_row_15_two_sites_of_one_name(run, first, second):
    makers = KINDS[first], KINDS[second]

    def model():
        for make in makers:
            make()

    lines = [f"test_sample.py:{make.__code__.co_firstlineno}" for make in makers]
    with refused(ModelError, "'twice'", *lines):
        run(model)


@either_way
def test_row_15_a_loop_that_forgets_its_index(run):
    def model():
        for _ in range(2):
            plait.sample("x", N())  # here

    with refused(ModelError, "two sites are called 'x'", at=model):
        run(model)


# -- obs_mask ---------------------------------------------------------------------------------------------


@both
def test_row_18_the_density(ppl):
    values = {"y_unobserved": jnp.array([9.0, 0.0, 9.0])}
    assert_allclose(log_joint(ppl, partly_observed, values), -7.756816, rtol=1e-6)


@both
def test_row_18_the_sites(ppl):
    found = sites(ppl, partly_observed)
    assert [name for name in found if name != "rows"] == ["y_observed", "y_unobserved", "y"]
    assert found["y_observed"]["is_observed"]
    assert not found["y_unobserved"]["is_observed"]
    assert found["y"]["type"] == "deterministic"
    assert_allclose(found["y"]["value"], [1.0, found["y_unobserved"]["value"][1], 3.0], rtol=1e-6)


def test_row_18_the_compiled_sites():
    model = compiled(partly_observed)
    assert model.shapes == {"y_unobserved": (3,)}
    assert_allclose(model.constrain(jnp.array([9.0, 0.5, 9.0]), deterministic=True)["y"], [1.0, 0.5, 3.0])


def test_row_18_obs_mask_needs_obs():
    def model():
        plait.sample("y", N(), obs_mask=jnp.array(True))  # here

    with refused(ModelError, "'y'", "obs_mask", "obs", at=model):
        plait.compile(model)


@both
def test_row_18_vector_events(ppl):
    def model(ppl):
        obs, seen = jnp.array([[0.2, 0.8], [0.5, 0.5]]), jnp.array([True, False])
        with ppl.plate("rows", 2):
            ppl.sample("p", dist.Dirichlet(jnp.array([2.0, 3.0])), obs=obs, obs_mask=seen)

    values = {"p_unobserved": jnp.array([[0.5, 0.5], [0.3, 0.7]])}
    expected = dist.Dirichlet(jnp.array([2.0, 3.0])).log_prob(jnp.array([[0.2, 0.8], [0.3, 0.7]])).sum()
    assert_allclose(log_joint(ppl, model, values), expected, rtol=1e-5)
