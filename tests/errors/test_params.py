"""`param` and `module`: initial values, constraints, networks; and values given for them later."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.example_libraries import stax

import plait
from plait import ModelError, ValueNamesError
from plait.ir.errors import SiteTypeError
from tests.errors import Table

table = Table(__file__)
POSITIVE = dist.constraints.positive


# -- initial values -----------------------------------------------------------------------------------------


@table.model(ModelError, says=("'p'", "init_value"))
def param_without_an_initial_value():
    plait.param("p")  # here


@table.model(ModelError, says=("'p'", "-1.0", "positive"))
def initial_value_outside_its_constraint():
    plait.param("p", -1.0, constraint=POSITIVE)  # here


@table.model(ModelError, says=("'p'", "[0.5, 0.6]", "sum to 1"))
def initial_vector_outside_its_constraint():
    plait.param("p", jnp.array([0.5, 0.6]), constraint=dist.constraints.simplex)  # here


@table.model(ModelError, says=("'p'", "nan"))
def initial_value_that_is_missing():
    plait.param("p", jnp.nan)  # here


@table.model(ModelError, says=("'p'", "1j"))
def complex_initial_value():
    plait.param("p", 1j)  # here


@table.model(ModelError, says=("'p'", "'x'"))
def initial_value_that_is_latent():
    x = plait.sample("x", dist.Normal(0.0, 1.0))
    plait.param("p", x)  # here


@table.model(SiteTypeError, says=("'p'", "string"))
def initial_value_that_is_a_string():
    plait.param("p", "zero")  # here


@table.model(SiteTypeError, says=("'p'", "distribution"))
def distribution_as_initial_value():
    plait.param("p", dist.Normal(0.0, 1.0))  # here


@table.model(ModelError, says=("'p'", "event_dim", "(7,)", "'rows'"))
def initial_value_of_another_length_than_its_plate():
    with plait.plate("rows", 3):
        plait.param("p", jnp.zeros(7), event_dim=0)  # here


@table.model(SiteTypeError, says=("'p'", "constraint", "constrain"))
def misspelt_setting():
    plait.param("p", 1.0, constrain=POSITIVE)  # here


@table.model(ModelError, says=("'p'", "constraint"))
def constraint_that_is_a_distribution():
    plait.param("p", 1.0, constraint=dist.HalfNormal(1.0))  # here


@table.model(SiteTypeError, says=("'p'", "constraint", "positive"))
def constraint_that_is_a_string():
    plait.param("p", 1.0, constraint="positive")  # here


@table.model(SiteTypeError, says=("'p'", "constraint"))
def constraint_class_without_its_bound():
    plait.param("p", 1.0, constraint=dist.constraints.greater_than)  # here


@table.model(ModelError, says=("'p'", "constraint"))
def constraint_that_depends_on_a_latent():
    x = plait.sample("x", dist.Normal(0.0, 1.0))
    plait.param("p", 1.0, constraint=dist.constraints.greater_than(x))  # here


# -- modules ------------------------------------------------------------------------------------------------


@table.model(ModelError, says=("'nn'", "input_shape"))
def module_without_input_shape():
    plait.module("nn", stax.Dense(3))  # here


@table.model(SiteTypeError, says=("'nn'", "stax", "function"))
def function_in_place_of_a_module():
    plait.module("nn", stax.Dense, (4,))  # here


@table.model(SiteTypeError, says=("'nn'", "input_shape", "4"))
def input_shape_that_is_a_number():
    plait.module("nn", stax.Dense(3), 4)  # here


@table.model(ModelError, says=("(5,)", "(4,)"))
def module_called_on_another_shape():
    plait.module("nn", stax.Dense(3), (4,))(jnp.zeros(5))  # here


# -- values given later -------------------------------------------------------------------------------------


def compiled():
    def model():
        p = plait.param("p", jnp.ones(2))
        q = plait.param("q", 1.0, constraint=POSITIVE)
        plait.sample("x", dist.Normal(p.sum(), q))

    return plait.compile(model)


def network():
    def model():
        nn = plait.module("nn", stax.Dense(1), (3,))
        plait.sample("y", dist.Normal(nn(jnp.ones(3)), 1.0), obs=0.0)

    return plait.compile(model)


@table.call(ModelError, says=("init_param_values", "with_params"))
def weights_that_were_not_drawn():
    network().log_joint({})


@table.call(ValueNamesError, says=("'nn'", "nn$params"))
def weights_under_the_modules_name():
    network().log_joint({}, {"nn": np.zeros((3, 1))})


@table.call(ValueNamesError, says=("'nn$params'", "2 arrays", "1"))
def weights_without_their_bias():
    network().log_joint({}, {"nn$params": np.zeros((3, 1))})


@table.call(ValueNamesError, says=("'pp'", "did you mean 'p'?"))
def misspelt_param():
    compiled().log_density(np.zeros(1), {"pp": np.ones(2)})


@table.call(ValueNamesError, says=("'p'", "(2,)", "(3,)"))
def param_of_another_shape():
    compiled().log_density(np.zeros(1), {"p": np.ones(3)})


@table.call(ValueNamesError, says=("'p'", "string"))
def param_that_is_a_string():
    compiled().log_density(np.zeros(1), {"p": "one"})


@table.call(ValueNamesError, says=("'q'", "-1.0", "positive"))
def param_outside_its_constraint():
    compiled().with_params({"q": -1.0})


@table.call(ValueNamesError, says=("dict", "ndarray"))
def params_that_are_no_dict():
    compiled().log_density(np.zeros(1), np.ones(3))


test_each_says_what_and_where, test_golden = table.tests()
