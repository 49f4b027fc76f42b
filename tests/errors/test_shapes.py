"""Plates and shapes: of observations, of parameters, of masks and scales."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import plait
from plait import ModelError
from plait.ir.errors import SiteTypeError
from tests.errors import Table

table = Table(__file__)
ROW, COLUMN = np.zeros(3, np.float32), np.zeros((3, 1), np.float32)


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


# -- plates -------------------------------------------------------------------------------------------------


@table.model(ModelError, np.array(3), says=("'rows'", "static="))
def plate_size_from_data(n):
    with plait.plate("rows", n):  # here
        plait.sample("x", N())


@table.model(SiteTypeError, ROW, says=("'rows'", "(3,)"))
def plate_size_that_is_a_shape(y):
    with plait.plate("rows", y.shape):  # here
        plait.sample("y", N(), obs=y)


@table.model(SiteTypeError, says=("'rows'", "3.0"))
def plate_size_that_is_a_float():
    with plait.plate("rows", 3.0):  # here
        plait.sample("x", N())


@table.model(ModelError, np.zeros(0), says=("'rows'", "positive", "0"))
def plate_of_no_rows(y):
    with plait.plate("rows", len(y)):  # here
        plait.sample("y", N(), obs=y)


@table.model(ModelError, says=("'rows'", "negative"))
def plate_dim_that_is_not_negative():
    with plait.plate("rows", 3, dim=0):  # here
        plait.sample("x", N())


@table.model(SiteTypeError, says=("'rows'", "dim"))
def plate_dim_that_is_a_string():
    with plait.plate("rows", 3, dim="rows"):  # here
        plait.sample("x", N())


@table.model(ModelError, says=("'a'", "'b'", "-1"))
def two_plates_at_one_dim():
    with plait.plate("a", 3, dim=-1), plait.plate("b", 4, dim=-1):  # here
        plait.sample("x", N())


@table.model(ModelError, says=("'a'", "'b'", "-1"))
def two_plates_built_before_their_with():
    a, b = plait.plate("a", 3), plait.plate("b", 4)
    with a, b:  # here
        plait.sample("x", N())


@table.model(ModelError, says=("'rows'", "5", "3"))
def subsample_larger_than_its_plate():
    with plait.plate("rows", 3, subsample_size=5):  # here
        plait.sample("x", N())


@table.model(ModelError, says=("'rows'", "key"))
def subsample_without_a_key():
    with plait.plate("rows", 3, subsample_size=2):  # here
        plait.sample("x", N())


@table.model(ModelError, says=("'rows'", "with"))
def subsampled_plate_as_a_loop():
    with plait.handlers.seed(rng_seed=0):
        for i in plait.plate("rows", 6, 3):  # here
            plait.sample(f"x{i}", N())


@table.model(ModelError, says=("'x'", "'rows'", "f'x_{i}'"))
def one_name_in_each_step_of_a_plate():
    for i in plait.plate("rows", 3):
        plait.sample("x", N(i))  # here


# -- observations -------------------------------------------------------------------------------------------


@table.model(ModelError, ROW, says=("'y'", "(4,)", "(3,)", "'rows'"))
def plate_of_another_size_than_the_data(y):
    with plait.plate("rows", 4):
        plait.sample("y", N(), obs=y)  # here


@table.model(ModelError, COLUMN, says=("'y'", "(3, 1)", "'rows'"))
def column_of_observations(y):
    with plait.plate("rows", 3):
        plait.sample("y", N(), obs=y)  # here


@table.model(ModelError, np.zeros((3, 2)), says=("'y'", "(3, 2)", "(2, 3)"))
def plates_in_the_wrong_order(y):
    with plait.plate("rows", 3), plait.plate("columns", 2):
        plait.sample("y", N(), obs=y)  # here


@table.model(ModelError, np.zeros((3, 2)), says=("'y'", "to_event", "'rows'"))
def vector_observations_without_to_event(y):
    with plait.plate("rows", 3):
        plait.sample("y", N(jnp.zeros(2)), obs=y)  # here


@table.model(ModelError, COLUMN, ROW, says=("'y'", "(3, 3)"))
def column_of_a_covariate(x, y):
    b = plait.sample("b", N())
    with plait.plate("rows", 3):
        plait.sample("y", N(b * x), obs=y)  # here


@table.model(ModelError, COLUMN, ROW, says=("'y'", "(3, 3)"))
def column_of_a_covariate_without_a_plate(x, y):
    b = plait.sample("b", N())
    plait.sample("y", N(b * x), obs=y)  # here


@table.model(ModelError, np.zeros((3, 3), np.float32), ROW, says=("'y'", "(3, 3)"))
def matrix_product_forgotten(x, y):
    b = plait.sample("b", N().expand([3]).to_event(1))
    with plait.plate("rows", 3):
        plait.sample("y", N(x * b), obs=y)  # here


@table.model(ModelError, np.zeros((4, 1)), says=("'y'", "(2,)", "(4, 1)"))
def events_of_another_length(y):
    with plait.plate("rows", 4):
        plait.sample("y", dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)), obs=y)  # here


@table.model(ModelError, says=("'y'", "(2,)"))
def number_in_place_of_a_vector():
    plait.sample("y", dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)), obs=1.0)  # here


# -- parameters, masks, scales ------------------------------------------------------------------------------


@table.model(ModelError, np.zeros(2), says=("'y'", "(2,)", "'rows'", "3"))
def covariate_of_another_length(x):
    with plait.plate("rows", 3):
        plait.sample("y", N(x), obs=0.0)  # here


@table.model(ModelError, says=("(3,)", "(2,)"))
def parameters_of_two_lengths():
    plait.sample("x", dist.Normal(jnp.zeros(3), jnp.ones(2)))  # here


@table.model(ModelError, says=("(2,)", "(3,)"))
def matrix_product_that_does_not_fit():
    b = plait.sample("b", N().expand([3]).to_event(1))
    plait.sample("y", N(jnp.ones((4, 2)) @ b), obs=0.0)  # here


@table.model(ModelError, says=("'x'", "mask", "(2,)", "'rows'"))
def mask_of_another_length():
    with plait.plate("rows", 3), plait.handlers.mask(mask=np.array([True, False])):
        plait.sample("x", N())  # here


@table.model(ModelError, says=("'x'", "scale", "(3,)"))
def scale_that_would_count_a_site_several_times():
    with plait.handlers.scale(scale=np.ones(3)):
        plait.sample("x", N())  # here


@table.model(ModelError, says=("'f'", "(3, 1)"))
def column_of_factors():
    with plait.plate("rows", 3):
        plait.factor("f", jnp.ones((3, 1)))  # here


@table.model(ModelError, says=("'f'", "(2,)", "'rows'"))
def factor_of_another_length():
    with plait.plate("rows", 3):
        plait.factor("f", jnp.zeros(2))  # here


@table.model(ModelError, np.zeros(1), says=("'y'", "(2,)", "(1,)"))
def event_of_another_length(y):
    plait.sample("y", dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)), obs=y)  # here


test_each_says_what_and_where, test_golden = table.tests()
