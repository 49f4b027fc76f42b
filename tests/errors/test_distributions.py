"""Parameters of distributions: numbers and matrices that data or constants get wrong."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait import DataError, ModelError
from tests.errors import Table

table = Table(__file__)
NOT_DEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]], np.float32)
NOT_SYMMETRIC = np.array([[1.0, 0.2], [0.5, 1.0]], np.float32)
UPPER = np.array([[1.0, 2.0], [0.0, 1.0]], np.float32)


def f32(*xs):
    return np.array(xs, np.float32)


# -- numbers ------------------------------------------------------------------------------------------------


@table.model(DataError, says=("'x'", "'scale'", "positive", "-1.0"))
def scale_of_a_constant_array():
    plait.sample("x", dist.Normal(0.0, jnp.float32(-1.0)))  # here


@table.model(DataError, f32(1.0, 0.0), says=("'x'", "'scale'", "positive", "0.0", "[1]"))
def scale_of_data_that_is_zero(s):
    plait.sample("x", dist.Normal(0.0, s))  # here


@table.model(DataError, f32(1.0, np.inf), says=("'x'", "'scale'", "inf", "[1]"))
def scale_of_data_that_is_infinite(s):
    plait.sample("x", dist.Normal(0.0, s))  # here


@table.model(DataError, f32(1.0, np.nan), says=("'x'", "'loc'", "nan", "[1]", "missing"))
def location_of_data_that_is_missing(m):
    plait.sample("x", dist.Normal(m, 1.0))  # here


@table.model(DataError, f32(0.5, 1.5, -1.0), says=("'y'", "probs", "from 0 to 1", "1.5", "[1]", "2 such"))
def probability_of_data(p):
    with plait.plate("rows", 3):
        plait.sample("y", dist.Bernoulli(p), obs=1)  # here


@table.model(DataError, f32(-1.0, 2.0), says=("'y'", "rate", "-1.0"))
def log_rate_in_place_of_a_rate(log_rate):
    plait.sample("y", dist.Poisson(log_rate), obs=1)  # here


@table.model(DataError, f32(0.5, 0.6), says=("'k'", "probs", "sum to 1", "[0.5, 0.6]"))
def probabilities_that_do_not_sum_to_one(p):
    plait.sample("k", dist.Categorical(p))  # here


@table.model(DataError, f32(0.5, 0.6), says=("'y'", "probs", "sum to 1"))
def mixture_weights_that_do_not_sum_to_one(w):
    parts = dist.Normal(jnp.zeros(2), 1.0)
    plait.sample("y", dist.MixtureSameFamily(dist.Categorical(w), parts), obs=0.0)  # here


@table.model(DataError, f32(0.5, -0.6), says=("'y'", "scale", "-0.6", "[1]"))
def scale_of_a_mixtures_component(s):
    weights = dist.Categorical(jnp.ones(2) / 2)
    plait.sample("y", dist.MixtureSameFamily(weights, dist.Normal(jnp.zeros(2), s)), obs=0.0)  # here


@table.model(DataError, f32(1.0, 0.0), says=("'y'", "cutpoints", "increasing"))
def cutpoints_that_are_not_in_order(c):
    plait.sample("y", dist.OrderedLogistic(0.0, c), obs=1)  # here


@table.model(DataError, np.array([-1, 2]), says=("'y'", "total_count", "-1"))
def negative_number_of_trials(n):
    plait.sample("y", dist.Binomial(n, 0.5), obs=0)  # here


@table.model(DataError, f32(1.0, 2.0), says=("'x'", "'low'", "'high'", "2.0", "[1]"))
def bounds_of_data_in_the_wrong_order(low):
    plait.sample("x", dist.Uniform(low, 1.5))  # here


@table.model(DataError, says=("'x'", "TruncatedNormal", "'low'", "'high'"))
def constant_bounds_in_the_wrong_order():
    plait.sample("x", dist.TruncatedNormal(0.0, 1.0, low=2.0, high=1.5))  # here


@table.model(DataError, f32(1.0, -1.0), says=("'x'", "scale", "-1.0", "[1]"))
def scale_handler_of_data(weights):
    with plait.plate("rows", 2), plait.handlers.scale(scale=weights):
        plait.sample("x", dist.Normal(0.0, 1.0))  # here


@table.model(ModelError, says=("'x'", "complex"))
def complex_location():
    plait.sample("x", dist.Normal(1j, 1.0))  # here


@table.model(DataError, np.array([1.5, 2.0]), says=("'y'", "total_count"))
def number_of_trials_that_is_no_integer(n):
    plait.sample("y", dist.Binomial(n, 0.5), obs=0)  # here


# -- matrices -----------------------------------------------------------------------------------------------


@table.model(DataError, NOT_DEFINITE, says=("'x'", "covariance", "positive definite", "[[1., 2.], [2., 1.]]"))
def covariance_of_data_that_is_not_definite(c):
    plait.sample("x", dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=c))  # here


@table.model(DataError, says=("'x'", "covariance", "positive definite", "diagonal"))
def constant_covariance_that_is_singular():
    plait.sample("x", dist.MultivariateNormal(jnp.zeros(2), jnp.ones((2, 2))))  # here


@table.model(DataError, NOT_SYMMETRIC, says=("'x'", "symmetric", "0.2"))
def covariance_that_is_not_symmetric(c):
    plait.sample("x", dist.MultivariateNormal(jnp.zeros(2), c))  # here


@table.model(DataError, NOT_DEFINITE, says=("'x'", "precision", "[[1., 2.], [2., 1.]]"))
def precision_that_is_not_definite(p):
    plait.sample("x", dist.MultivariateNormal(jnp.zeros(2), precision_matrix=p))  # here


@table.model(DataError, UPPER, says=("'x'", "scale_tril", "lower triangular"))
def scale_tril_that_is_upper_triangular(t):
    plait.sample("x", dist.MultivariateNormal(jnp.zeros(2), scale_tril=t))  # here


@table.model(ModelError, np.ones((3, 2)), says=("(3, 2)",))
def covariance_that_is_not_square(c):
    plait.sample("x", dist.MultivariateNormal(jnp.zeros(3), c))  # here


# -- what the compiler can't see ----------------------------------------------------------------------------


@table.model(ModelError, says=("'y'", "array field"))
def distribution_that_hides_a_latent():
    class Box:
        def __init__(self, value):
            self.value = value

    class Hidden(dist.Normal):
        def __init__(self, box):
            self.box = box
            super().__init__(0.0, 1.0)

    x = plait.sample("x", dist.Normal(0.0, 1.0))
    plait.sample("y", Hidden(Box(x)))  # here


test_each_says_what_and_where, test_golden = table.tests()


@pytest.mark.parametrize(
    ("make", "name"),
    [(lambda: dist.Normal(0.0, -1.0), "scale"), (lambda: dist.Categorical(np.array([0.5, 0.6])), "probs")],
    ids=["scale_of_a_python_number", "constant_probabilities_that_do_not_sum_to_one"],
)
def test_constants_are_refused_by_numpyro_or_by_plait(make, name):
    """Which of the two looks first depends on NumPyro's version, and so does the wording."""
    with pytest.raises(plait.PlaitError, match=rf"{name}.*\(test_distributions\.py:\d+\)$"):
        plait.compile(lambda: plait.sample("x", make()))
