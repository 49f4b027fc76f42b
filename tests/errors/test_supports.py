"""Observed values that the distribution can't have produced, NaN and infinity in data, indices out of range."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import plait
from plait import DataError
from tests.errors import Table

table = Table(__file__)


def f32(*xs):
    return np.array(xs, np.float32)


def observed(name, fn, y, *says):
    """A case: `y` observed under a distribution that is made while the model runs."""

    def model(y):
        plait.sample("y", fn(), obs=y)

    model.__name__ = name
    table.model(DataError, y, says=("site 'y'", *says))(model)


# -- supports -----------------------------------------------------------------------------------------------

observed("lognormal_of_zero", lambda: dist.LogNormal(0.0, 1.0), f32(1.0, 0.0), "positive", "0.0", "[1]")
observed("gamma_of_negatives", lambda: dist.Gamma(2.0, 1.0), f32(1.0, -2.0), "positive", "-2.0", "[1]")
observed("gamma_of_infinity", lambda: dist.Gamma(2.0, 1.0), f32(1.0, np.inf), "inf", "[1]")
observed("bernoulli_of_two", lambda: dist.Bernoulli(0.5), np.array([1, 2, 2]), "0 and 1", "got 2", "2 such")
observed("bernoulli_of_minus_one", lambda: dist.Bernoulli(logits=0.5), np.array([1, -1]), "0 and 1", "-1")
observed("poisson_of_negatives", lambda: dist.Poisson(2.0), np.array([1, -2]), "integers 0, 1, 2", "-2")
observed("poisson_of_fractions", lambda: dist.Poisson(2.0), f32(0.5, 1.0), "integers 0, 1, 2", "0.5", "[0]")
observed("binomial_above_its_trials", lambda: dist.Binomial(3, 0.5), np.array([1, 4]), "from 0 to 3", "4")
observed("multinomial_of_another_total", lambda: dist.Multinomial(5, jnp.ones(3) / 3), np.array([1, 2, 3]), "sum to 5")
observed("categories_from_one", lambda: dist.Categorical(jnp.ones(3) / 3), np.array([1, 2, 3]), "from 0 to 2", "[2]")
observed("beta_of_percent", lambda: dist.Beta(2.0, 2.0), f32(0.5, 45.0), "from 0 to 1", "45.0")
observed("beta_of_one", lambda: dist.Beta(2.0, 2.0), f32(0.5, 1.0), "edge", "Beta", "1.0", "[1]")
observed("dirichlet_off_the_simplex", lambda: dist.Dirichlet(jnp.ones(2)), f32([0.5, 0.6], [0.5, 0.5]), "sum to 1")
observed("von_mises_of_degrees", lambda: dist.VonMises(0.0, 1.0), f32(0.0, 180.0), "π", "180.0")
observed("uniform_above_its_bound", lambda: dist.Uniform(0.0, 1.0), f32(0.5, 2.0), "from 0 to 1", "2.0")
observed("nan_among_observations", lambda: dist.Normal(0.0, 1.0), f32(0.0, np.nan, np.nan), "nan", "2 such", "obs_mask")


@table.model(DataError, f32(1.0, 0.5), says=("'y'", "edge", "Beta", "1.0"))
def beta_of_one_in_a_regression(y):
    b = plait.sample("b", dist.LogNormal(0.0, 1.0))
    plait.sample("y", dist.Beta(b, 2.0), obs=y)  # here


@table.model(DataError, f32([0.5, 0.5, 0.0]), says=("'y'", "edge", "Dirichlet"))
def composition_with_a_zero(y):
    a = plait.sample("a", dist.LogNormal(0.0, 1.0))
    plait.sample("y", dist.Dirichlet(a * jnp.ones(3)), obs=y)  # here


@table.model(DataError, f32(1.0, 2.0), says=("'y'", "from 0 to high", "2.5", "[1]"))
def uniform_above_a_bound_of_data(high):
    plait.sample("y", dist.Uniform(0.0, high), obs=jnp.array([0.5, 2.5]))  # here


@table.model(DataError, says=("'y'", "positive", "-1.0"))
def constant_outside_its_support():
    plait.sample("y", dist.Exponential(1.0), obs=-1.0)  # here


@table.model(DataError, says=("'s'", "positive", "-1.0"))
def conditioned_outside_its_support():
    with plait.handlers.condition(data={"s": -1.0}):
        plait.sample("s", dist.HalfNormal(1.0))  # here


# -- missing and infinite covariates, indices ---------------------------------------------------------------


@table.model(DataError, f32(0.0, np.nan), says=("'x'", "NaN", "missing"))
def nan_in_a_covariate(x):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    with plait.plate("rows", 2):
        plait.sample("y", dist.Normal(b * x, 1.0), obs=jnp.zeros(2))  # here


@table.model(DataError, f32(0.0, np.inf), says=("'x'", "inf"))
def infinity_in_a_covariate(x):
    b = plait.sample("b", dist.Normal(0.0, 1.0))
    with plait.plate("rows", 2):
        plait.sample("y", dist.Normal(b * x, 1.0), obs=jnp.zeros(2))  # here


@table.model(DataError, np.array([1, 2, 3]), says=("'group'", "size 3", "got 3", "[2]", "from 0"))
def groups_from_one(group):
    with plait.plate("groups", 3):
        a = plait.sample("a", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(a[group], 1.0), obs=0.0)  # here


@table.model(DataError, np.array([0, 2, -1]), says=("'group'", "size 3", "got -1", "[2]", "missing"))
def missing_group_coded_as_minus_one(group):
    with plait.plate("groups", 3):
        a = plait.sample("a", dist.Normal(0.0, 1.0))
    plait.sample("y", dist.Normal(a[group], 1.0), obs=0.0)  # here


test_each_says_what_and_where, test_golden = table.tests()
