"""Handlers with the wrong settings, or around the wrong thing."""

import numpy as np
import numpyro
import numpyro.distributions as dist

import plait
from plait import ModelError, handlers
from plait.ir.errors import SiteTypeError
from tests.errors import Table

table = Table(__file__)


def two():
    x = plait.sample("x", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(x, 1.0), obs=0.0)


# -- seed ---------------------------------------------------------------------------------------------------


@table.call(ModelError, says=("rng_seed",))
def seed_without_a_seed():
    handlers.seed(two)  # here


@table.call(ModelError, says=("'seed'", "0"))
def seed_without_a_model():
    handlers.seed(0)  # here


@table.call(SiteTypeError, says=("rng_seed", "'a'"))
def seed_that_is_a_string():
    handlers.seed(two, "a")  # here


@table.call(SiteTypeError, says=("rng_seed", "0.5"))
def seed_that_is_a_fraction():
    handlers.seed(two, 0.5)  # here


# -- substitute and condition -------------------------------------------------------------------------------


@table.call(ModelError, says=("substitute", "data"))
def substitute_without_data():
    handlers.substitute(two)  # here


@table.call(ModelError, says=("substitute",))
def substitute_with_data_and_function():
    handlers.substitute(two, {"x": 1.0}, lambda site: None)  # here


@table.call(SiteTypeError, says=("substitute", "dict"))
def substitute_of_a_number():
    handlers.substitute(two, 1.0)  # here


@table.call(ModelError, says=("'x'", "(3,)"))
def substitute_of_another_shape():
    def model():
        plait.sample("x", dist.Normal(0.0, 1.0))  # here

    plait.compile(handlers.substitute(model, {"x": np.zeros(3)}))


@table.call(SiteTypeError, says=("'x'", "string"))
def condition_on_a_string():
    plait.compile(handlers.condition(two, {"x": "a"}))


@table.call(ModelError, says=("'condition'", "name its setting"))
def condition_with_its_arguments_swapped():
    handlers.condition({"x": 1.0}, two)  # here


# -- the others ---------------------------------------------------------------------------------------------


@table.call(ModelError, says=("'x'", "block"))
def blocked_latent():
    def model():
        plait.sample("x", dist.Normal(0.0, 1.0))  # here

    plait.compile(handlers.block(model, hide=["x"]))


@table.call(ModelError, says=("block", "one of"))
def block_with_two_settings():
    handlers.block(two, hide=["x"], expose=["y"])  # here


@table.call(SiteTypeError, says=("hide", "list"))
def block_of_one_name():
    handlers.block(two, hide="xy")  # here


@table.call(ModelError, says=("scale", "positive", "-1.0"))
def negative_scale():
    handlers.scale(two, -1.0)  # here


@table.call(ModelError, says=("scale", "positive", "entry [3] is -0.5"))
def scale_with_a_negative_entry():
    handlers.scale(two, np.array([1.0, 2.0, 1.0, -0.5, 0.0]))  # here


@table.call(ModelError, says=("scale", "positive", "entry [1, 0] is 0"))
def scale_with_a_zero_in_a_matrix():
    handlers.scale(two, np.ones((500, 2), int) - np.eye(500, 2, -1, int))  # here


@table.call(ModelError, says=("'scale'", "scale(scale=2.0)"))
def scale_without_a_model():
    handlers.scale(2.0)  # here


@table.call(SiteTypeError, says=("scale", "string"))
def scale_that_is_a_string():
    handlers.scale(two, "a")  # here


@table.call(ModelError, says=("scale", "complex"))
def complex_scale():
    plait.compile(handlers.scale(two, 1j))


@table.call(ModelError, says=("mask", "boolean", "int"))
def mask_of_integers():
    handlers.mask(two, np.array([0, 1]))  # here


@table.call(ModelError, says=("'trace'",))
def trace_of_nothing():
    handlers.trace()()  # here


@table.call(ModelError, says=("inside an open handler",))
def compiled_inside_a_handler():
    with handlers.seed(rng_seed=0):
        plait.compile(two)  # here


@table.model(ModelError, says=("'x'", "numpyro.handlers.scale", "plait"))
def handler_of_numpyro_around_a_site_of_plait():
    with numpyro.handlers.scale(scale=2.0):
        plait.sample("x", dist.Normal(0.0, 1.0))  # here


test_each_says_what_and_where, test_golden = table.tests()
