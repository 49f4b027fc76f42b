"""Priors that have no transform of the unit cube, and points that are in no cube."""

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from numpyro.distributions import constraints

import plait
from plait import ModelError, ValueNamesError
from tests.errors import Table

table = Table(__file__)


def transformed(model, u=0.5):
    found = plait.compile(model)
    return found.prior_transform(jnp.full(1, u))


@table.call(ModelError, says=("'k'", "discrete"))
def discrete_latent():
    def model():
        plait.sample("k", dist.Bernoulli(0.5))  # here

    transformed(model)


@table.call(ModelError, says=("'x'", "improper"))
def improper_prior():
    def model():
        plait.sample("x", dist.ImproperUniform(constraints.real, (), ()))  # here

    transformed(model)


@table.call(ModelError, says=("'angle'", "VonMises", "no inverse CDF"))
def family_without_an_inverse_cdf():
    def model():
        plait.sample("angle", dist.VonMises(0.0, 1.0))  # here

    transformed(model)


@table.call(ModelError, says=("'angle'", "VonMises"))
def family_without_an_inverse_cdf_in_a_scan():
    def model():
        def step(x, _):
            return plait.sample("angle", dist.VonMises(x, 1.0)), None  # here

        lax.scan(step, 0.0, None, length=3)

    transformed(model)


@table.call(ModelError, says=("'x'", "masked", "handlers.mask"))
def masked_latent():
    def model():
        with plait.handlers.mask(mask=jnp.array(False)):
            plait.sample("x", dist.Normal(0.0, 1.0))  # here

    transformed(model)


@table.call(ModelError, says=("'x'", "mask"))
def latent_of_a_masked_distribution():
    def model():
        plait.sample("x", dist.Normal(0.0, 1.0).mask(jnp.array(False)))  # here

    transformed(model)


@table.call(ModelError, says=("'x'", "scaled", "handlers.scale"))
def scaled_latent():
    def model():
        with plait.handlers.scale(scale=2.0):
            plait.sample("x", dist.Normal(0.0, 1.0))  # here

    transformed(model)


@table.call(ValueNamesError, says=("unit cube", "1.5"))
def point_outside_the_cube():
    transformed(lambda: plait.sample("x", dist.Normal(0.0, 1.0)), 1.5)


@table.call(ValueNamesError, says=("unit cube", "(2,)"))
def point_of_another_cube():
    plait.compile(lambda: plait.sample("x", dist.Normal(0.0, 1.0))).prior_transform(jnp.zeros(2))


test_each_says_what_and_where, test_golden = table.tests()
