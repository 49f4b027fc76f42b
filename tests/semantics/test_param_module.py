"""Rows 54 to 60: param and module."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.example_libraries import stax
from numpy.testing import assert_allclose
from numpyro.distributions import constraints
from numpyro.infer.util import potential_energy

import plait
from plait import ModelError, ValueNamesError
from tests.helpers import both, compiled, either_way, log_joint, refused, sites

LP0 = -0.9189385332046727
X = np.ones(4, np.float32)
WEIGHTS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), np.array([0.1, -0.2, 0.3], np.float32)


def constrained(ppl):
    p = ppl.param("p", 3.0, constraint=constraints.positive)
    ppl.sample("x", dist.Normal(0, p), obs=0.0)


def drawn_param(ppl):
    return ppl.param("p", lambda key: jax.random.normal(key, (2,)))


def network(ppl):
    nn = ppl.module("nn", stax.Dense(3), input_shape=(4,))
    ppl.sample("y", dist.Normal(nn(X), 1).to_event(1), obs=jnp.zeros(3))


# -- param ------------------------------------------------------------------------------------------------


@both
def test_row_54_outside_handlers(ppl):
    assert ppl.param("p", 2.0) == 2.0


def test_row_54_a_random_initial_value_without_a_key():
    def run():
        plait.param("p", lambda key: 1.0)  # here

    with refused(ModelError, "'p'", "random key", at=run):
        run()
    with pytest.raises(AssertionError, match="seed handler"):
        numpyro.param("p", lambda key: 1.0)


@pytest.mark.parametrize("run", [plait.compile, lambda model: model()], ids=["compiled", "eagerly"])
def test_row_54_no_initial_value(run):
    def model():
        plait.param("p")  # here

    with refused(ModelError, "'p'", "initial value", at=model):
        run(model)


def test_row_54_a_random_initial_value_takes_the_key_of_seed():
    ours, theirs = (ppl.handlers.seed(partial(drawn_param, ppl), 0)() for ppl in (plait, numpyro))
    assert_allclose(ours, theirs, rtol=0)


@both
def test_row_55_a_constrained_param_has_no_term(ppl):
    values = {"p": 3.0} if ppl is numpyro else {}
    assert_allclose(log_joint(ppl, constrained, values), LP0 - np.log(3), rtol=1e-6)
    assert [name for name, site in sites(ppl, constrained).items() if site["type"] == "sample"] == ["x"]


def test_row_55_a_constrained_param_has_no_jacobian():
    model = compiled(constrained)
    theirs = -potential_energy(partial(constrained, numpyro), (), {}, {"p": 3.0})
    assert list(model.log_prob_terms({})) == ["x"]
    assert_allclose(model.log_density(np.zeros(0)), LP0 - np.log(3), rtol=1e-6)
    assert_allclose(theirs, LP0 - np.log(3), rtol=1e-6)


def with_params(ppl):
    p = ppl.param("p", jnp.array([1.0, 2.0]))
    s = ppl.param("s", 0.5, constraint=constraints.positive)
    with ppl.plate("rows", 2):
        ppl.sample("x", dist.Normal(p, s))


def test_row_57_params_are_no_part_of_the_vector():
    model = compiled(with_params)
    assert model.names == ("x[0]", "x[1]")
    assert list(model.params) == ["p", "s"]
    assert_allclose(model.params["p"], [1.0, 2.0])


def test_row_57_params_are_an_argument_of_their_own():
    x, given = jnp.array([1.5, 1.5]), {"p": jnp.zeros(2), "s": 2.0}
    model, theirs = compiled(with_params), log_joint(numpyro, with_params, {"x": x, **given})
    assert_allclose(theirs, dist.Normal(0, 2).log_prob(x).sum(), rtol=1e-6)
    assert_allclose(model.log_joint({"x": x}, given), theirs, rtol=1e-6)
    assert_allclose(model.log_density(x, given), theirs, rtol=1e-6)


def test_row_57_params_are_no_latents():
    with refused(ValueNamesError, "'s'", "'x'"):
        compiled(with_params).log_joint({"x": np.zeros(2), "s": 2.0})


# -- module -----------------------------------------------------------------------------------------------


@both
def test_row_58_a_stax_module_is_one_param_site(ppl):
    found = {name: site for name, site in sites(ppl, network).items() if site["type"] == "param"}
    assert list(found) == ["nn$params"]
    assert [w.shape for w in found["nn$params"]["value"]] == [(4, 3), (3,)]


def test_row_58_seeded_weights_are_numpyros():
    ours, theirs = (sites(ppl, network)["nn$params"]["value"] for ppl in (plait, numpyro))
    assert_allclose(ours[0], theirs[0], rtol=0)
    assert_allclose(ours[1], theirs[1], rtol=0)


def test_row_58_compiled():
    model = compiled(network)
    drawn = model.init_param_values(jax.random.key(0))
    assert list(drawn) == ["nn$params"]
    assert [w.shape for w in drawn["nn$params"]] == [(4, 3), (3,)]
    given = {"nn$params": WEIGHTS}
    assert_allclose(model.log_joint({}, given), log_joint(numpyro, network, given), rtol=1e-5)


@either_way
def test_row_59_a_module_needs_its_input_shape(run):
    def model():
        plait.module("nn", stax.Dense(3))  # here

    with refused(ModelError, "'nn'", "input_shape", at=model):
        run(model)
    with pytest.raises(ValueError, match="input_shape"):
        numpyro.handlers.seed(lambda: numpyro.module("nn", stax.Dense(3)), 0)()


def test_row_59_a_module_needs_a_key():
    def run():
        plait.module("nn", stax.Dense(3), input_shape=(4,))  # here

    with refused(ModelError, "nn$params", "random key", at=run):
        run()
    with pytest.raises(TypeError), numpyro.handlers.trace():
        numpyro.module("nn", stax.Dense(3), input_shape=(4,))


@either_way
def test_row_60_a_module_twice(run):
    def model():
        plait.module("nn", stax.Dense(3), input_shape=(4,))
        plait.module("nn", stax.Dense(3), input_shape=(4,))  # here

    with refused(ModelError, "nn$params", at=model):
        run(model)
