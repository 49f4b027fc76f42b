"""Values, flat vectors and keys given to a compiled model."""

from functools import cache

import jax
import numpy as np
import numpyro.distributions as dist

import plait
from plait import ModelError, ValueNamesError
from plait.ir.errors import SiteTypeError
from tests.errors import Table

table = Table(__file__)
KEY = jax.random.key(0)
VALUES = {"beta": 0.0, "sigma": 1.0, "alpha": np.zeros(2)}


@cache
def compiled():
    def model(y):
        beta = plait.sample("beta", dist.Normal(0.0, 1.0))
        sigma = plait.sample("sigma", dist.HalfNormal(1.0))
        with plait.plate("groups", 2):
            alpha = plait.sample("alpha", dist.Normal(0.0, 1.0))
        mu = plait.deterministic("mu", beta + alpha.sum())
        plait.sample("y", dist.Normal(mu, sigma), obs=y)

    return plait.compile(model, np.zeros(3, np.float32))


@cache
def counting():
    def model():
        k = plait.sample("k", dist.Poisson(2.0))
        plait.sample("y", dist.Normal(k, 1.0), obs=0.0)

    return plait.compile(model)


# -- values by name -----------------------------------------------------------------------------------------


@table.call(ValueNamesError, says=("'sigma', 'alpha'",))
def missing_values():
    compiled().log_joint({"beta": 0.0})


@table.call(ValueNamesError, says=("'simga'", "did you mean 'sigma'?"))
def misspelt_value():
    compiled().log_joint({**VALUES, "simga": 1.0})


@table.call(ValueNamesError, says=("'mu'", "deterministic", "leave it out"))
def value_of_a_deterministic():
    compiled().log_joint({**VALUES, "mu": 0.0})


@table.call(ValueNamesError, says=("0",))
def value_whose_name_is_a_number():
    compiled().log_joint({0: 1.0})


@table.call(ValueNamesError, says=("'alpha'", "(2,)", "(3,)", "test_values.py"))
def value_of_another_shape():
    compiled().log_joint({**VALUES, "alpha": np.zeros(3)})


@table.call(ValueNamesError, says=("'alpha'", "(2,)", "()"))
def number_for_a_vector():
    compiled().log_joint({**VALUES, "alpha": 0.0})


@table.call(ValueNamesError, says=("'beta'", "string"))
def string_value():
    compiled().log_joint({**VALUES, "beta": "0"})


@table.call(ValueNamesError, says=("no value", "'beta'"))
def value_that_is_none():
    compiled().log_joint({**VALUES, "beta": None})


@table.call(ValueNamesError, says=("'beta'", "complex"))
def complex_value():
    compiled().log_joint({**VALUES, "beta": 1j})


@table.call(ValueNamesError, says=("'alpha'", "ragged"))
def ragged_value():
    compiled().log_joint({**VALUES, "alpha": [0.0, [1.0]]})


@table.call(ValueNamesError, says=("'k'", "integers", "1.5"))
def fraction_for_a_count():
    counting().log_joint({"k": 1.5})


@table.call(ValueNamesError, says=("dict", "ndarray"))
def flat_vector_for_a_dict():
    compiled().log_joint(np.zeros(4))


@table.call(ValueNamesError, says=("'sigma'", "outside its support", "positive"))
def unconstrained_outside_the_support():
    compiled().unconstrain({**VALUES, "sigma": -1.0})


@table.call(ValueNamesError, says=("'sigma'", "(4,)", "(5,)"))
def draws_of_two_lengths():
    compiled().unconstrain({**VALUES, "beta": np.zeros(4), "sigma": np.ones(5)})


# -- flat vectors -------------------------------------------------------------------------------------------


@table.call(ValueNamesError, says=("(4,)", "(3,)"))
def flat_vector_of_another_length():
    compiled().log_density(np.zeros(3))


@table.call(ValueNamesError, says=("(4,)", "(2, 4)", "jax.vmap"))
def many_flat_vectors():
    compiled().log_density(np.zeros((2, 4)))


@table.call(ValueNamesError, says=("dict", "log_joint"))
def dict_for_a_flat_vector():
    compiled().log_density(VALUES)


@table.call(ValueNamesError, says=("real", "complex"))
def complex_flat_vector():
    compiled().log_density(np.zeros(4, complex))


@table.call(ModelError, says=("'k'", "discrete", "log_joint", "test_values.py"))
def density_of_an_integer_latent():
    counting().log_density(np.zeros(1))


# -- keys, shapes, given values -----------------------------------------------------------------------------


@table.call(SiteTypeError, says=("key", "jax.random.key(0)", "0"))
def seed_for_a_key():
    compiled().sample(0)


@table.call(SiteTypeError, says=("key", "jax.random.key(0)", "1"))
def seed_for_a_samplers_key():
    plait.samplers.blackjax.sample(compiled(), 1)


@table.call(SiteTypeError, says=("key", "(3,)", "jax.vmap"))
def several_keys():
    compiled().init_params(jax.random.split(KEY, 3))


@table.call(SiteTypeError, says=("shape", "-3"))
def negative_number_of_draws():
    compiled().sample(KEY, -3)


@table.call(ValueNamesError, says=("'bta'", "did you mean 'beta'?"))
def given_value_that_is_misspelt():
    compiled().sample(KEY, given={"bta": 0.0})


@table.call(ValueNamesError, says=("'sigma'", "(5,)", "(4,)"))
def given_values_of_two_lengths():
    compiled().sample(KEY, given={"beta": np.zeros(5), "sigma": np.ones(4)})


@table.call(ModelError, says=("'x'", "ImproperUniform", "no draws"))
def draws_of_an_improper_prior():
    improper = dist.ImproperUniform(dist.constraints.real, (), ())
    plait.compile(lambda: plait.sample("x", improper)).sample(KEY)


# -- the graph ------------------------------------------------------------------------------------------------


@table.call(ValueNamesError, says=("'sgima'", "did you mean 'sigma'?"))
def misspelt_site_of_the_site_graph():
    compiled().site_graph.is_d_separated("beta", "alpha", given=["sgima"])


@table.call(ModelError, says=("diff", "function"))
def difference_of_a_function():
    plait.diff(compiled(), lambda y: None)


test_each_says_what_and_where, test_golden = table.tests()
