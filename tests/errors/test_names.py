"""Names: missing, of the wrong type, used twice; and the arguments of the primitives in the wrong place."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import scipy.stats
from jax.example_libraries import stax

import plait
from plait import ModelError
from plait.ir.errors import SiteTypeError
from tests.errors import Table

table = Table(__file__)


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


# -- names used twice ---------------------------------------------------------------------------------------


@table.model(ModelError, says=("'x'", "test_names.py"))
def two_sites_of_one_name():
    plait.sample("x", N())
    plait.sample("x", N())  # here


@table.model(ModelError, says=("'x'",))
def loop_that_forgets_its_index():
    for _ in range(2):
        plait.sample("x", N())  # here


@table.model(ModelError, says=("'x'",))
def deterministic_of_a_sites_name():
    x = plait.sample("x", N())
    plait.deterministic("x", x + 1)  # here


@table.model(ModelError, says=("'x'",))
def plate_of_a_sites_name():
    with plait.plate("x", 3):
        plait.sample("x", N())  # here


@table.model(ModelError, says=("plates", "'rows'"))
def one_plate_name_with_two_sizes():
    with plait.plate("rows", 3):
        plait.sample("x", N())
    with plait.plate("rows", 4):  # here
        plait.sample("y", N())


@table.model(ModelError, says=("'rows'", "open already"))
def plate_inside_itself():
    rows = plait.plate("rows", 3)
    with rows, rows:  # here
        plait.sample("x", N())


@table.model(ModelError, says=("'nn$params'",))
def two_modules_of_one_name():
    plait.module("nn", stax.Dense(3), (4,))
    plait.module("nn", stax.Dense(3), (4,))  # here


@table.model(ModelError, says=("'a/x'",))
def one_scope_entered_twice():
    for _ in range(2):
        with plait.handlers.scope(prefix="a"):
            plait.sample("x", N())  # here


# -- names that are none ------------------------------------------------------------------------------------


@table.model(SiteTypeError, says=("name", "Normal"))
def name_and_distribution_swapped():
    plait.sample(N(), "x")  # here


@table.model(SiteTypeError, says=("name", "3"))
def name_that_is_a_number():
    plait.sample(3, N())  # here


@table.model(SiteTypeError)
def name_forgotten():
    plait.sample(N(), obs=1.0)  # here


@table.model(SiteTypeError, says=("plate", "the name"))
def plate_name_and_size_swapped():
    with plait.plate(3, "rows"):  # here
        plait.sample("x", N())


@table.model(SiteTypeError, says=("plate", "the name"))
def plate_name_that_is_a_number():
    with plait.plate(3, 3):  # here
        plait.sample("x", N())


@table.model(SiteTypeError, says=("factor", "the name"))
def factor_name_and_value_swapped():
    plait.factor(1.0, "f")  # here


@table.model(SiteTypeError, says=("param", "the name"))
def param_name_forgotten():
    plait.param(1.0)  # here


# -- what stands in the place of a distribution -------------------------------------------------------------


@table.model(SiteTypeError, says=("'x'",))
def distribution_class_without_its_parameters():
    plait.sample("x", dist.Normal)  # here


@table.model(SiteTypeError, says=("'x'", "function"))
def function_in_place_of_a_distribution():
    plait.sample("x", jax.random.normal)  # here


@table.model(SiteTypeError, says=("'x'", "1.0"))
def observation_in_place_of_a_distribution():
    plait.sample("x", 1.0)  # here


@table.model(SiteTypeError, says=("'x'",))
def draw_in_place_of_a_distribution():
    plait.sample("x", N().sample(jax.random.key(0)))  # here


@table.model(SiteTypeError, says=("'x'",))
def scipy_distribution():
    plait.sample("x", scipy.stats.norm(0.0, 1.0))  # here


@table.model(SiteTypeError, says=("'x'", "key"))
def random_key_in_the_place_of_obs():
    plait.sample("x", N(), jax.random.key(0))  # here


@table.model(SiteTypeError, says=("'x'", "tuple of integers", "3"))
def sample_shape_that_is_a_number():
    plait.sample("x", N(), sample_shape=3)  # here


@table.model(SiteTypeError, says=("'f'",))
def factor_of_a_distribution():
    plait.factor("f", N())  # here


@table.model(SiteTypeError, says=("'d'", "string"))
def deterministic_string():
    plait.deterministic("d", "abc")  # here


@table.model(SiteTypeError, says=("'d'",))
def deterministic_none():
    plait.deterministic("d", None)  # here


@table.model(ModelError, says=("'f'", "complex"))
def complex_factor():
    plait.factor("f", 1j)  # here


@table.call(ModelError, says=("'x'", "key", "plait.compile"))
def site_outside_any_model():
    jnp.zeros(3) + plait.sample("x", N())  # here


test_each_says_what_and_where, test_golden = table.tests()
