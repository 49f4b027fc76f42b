"""Rows 43 to 53: factor, mask and scale."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.distributions import constraints
from numpyro.infer import log_likelihood

import plait
from plait import DataError, ModelError
from tests.helpers import both, compiled, each_way, either_way, log_joint, refused, seeded, sites

LP0 = -0.9189385332046727


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


def factor_in_plate(ppl, subsample_size=None):
    with ppl.plate("rows", 10, subsample_size):
        ppl.factor("f", 2.0)


def masked_site(ppl):
    with ppl.handlers.mask(mask=jnp.array([True, False, True])):
        return ppl.sample("x", N())


# -- factor -----------------------------------------------------------------------------------------------


@both
def test_row_43_a_scalar_factor_in_a_plate(ppl):
    assert log_joint(ppl, factor_in_plate, {}) == 20.0


@both
def test_row_43_a_scalar_factor_in_a_subsample(ppl):
    assert log_joint(ppl, seeded(factor_in_plate), {}, 5) == 20.0


@both
def test_row_44_a_factor_is_summed(ppl):
    assert log_joint(ppl, lambda ppl: ppl.factor("f", jnp.arange(4.0)), {}) == 6.0


@both
def test_row_44_the_call_returns_none(ppl):
    returned = []
    sites(ppl, lambda ppl: returned.append(ppl.factor("f", jnp.arange(4.0))))
    assert returned == [None]


def test_row_44_the_call_returns_none_compiled():
    returned = []
    compiled(lambda ppl: returned.append(ppl.factor("f", jnp.arange(4.0))))
    assert returned == [None]


@both
def test_row_45_a_masked_infinity(ppl):
    def model(ppl):
        with ppl.handlers.mask(mask=False):
            ppl.factor("f", -jnp.inf)

    assert log_joint(ppl, model, {}) == 0.0


@both
def test_row_46_a_scaled_factor(ppl):
    def model(ppl):
        with ppl.handlers.scale(scale=3.0):
            ppl.factor("f", 5.0)

    assert log_joint(ppl, model, {}) == 15.0


@both
def test_row_46_an_int_factor(ppl):
    value = log_joint(ppl, lambda ppl: ppl.factor("f", 5), {})
    assert value == 5.0
    assert jnp.issubdtype(jnp.result_type(value), jnp.floating)


# -- mask -------------------------------------------------------------------------------------------------


def masks(ppl, found):
    found.append(ppl.get_mask())
    with ppl.handlers.mask(mask=False):
        found.append(ppl.get_mask())


@both
def test_row_48_get_mask(ppl):
    found = []
    masks(ppl, found)
    assert found == [None, False]


def test_row_48_get_mask_compiled():
    found = []
    plait.compile(lambda: masks(plait, found))
    assert found == [None, False]


@each_way
def test_row_49_a_mask_widens_a_scalar_site(shapes):
    assert shapes(masked_site) == {"x": (3,)}


@both
def test_row_49_only_the_true_entries_count(ppl):
    assert_allclose(log_joint(ppl, masked_site, {"x": jnp.array([0.0, 9.0, 0.0])}), 2 * LP0, rtol=1e-6)


@both
def test_row_50_a_masked_nan_stays_out_of_the_gradient(ppl):
    def model(ppl):
        mu = ppl.sample("mu", dist.ImproperUniform(constraints.real, (), ()))
        with ppl.handlers.mask(mask=jnp.array([False, True])):
            ppl.sample("y", N(mu), obs=jnp.array([jnp.nan, 1.0]))

    value, grad = jax.jit(jax.value_and_grad(lambda mu: log_joint(ppl, model, {"mu": mu})))(0.0)
    assert_allclose(value, LP0 - 0.5, rtol=1e-6)
    assert grad == 1.0


@either_way
def test_row_51_a_mask_is_boolean(run):
    def model():
        with plait.handlers.mask(mask=jnp.array([1.0, 0.0])):  # here
            plait.sample("x", N(), obs=0.0)

    with refused(ModelError, "mask", "boolean", "float32", at=model):
        run(model)
    with pytest.raises(ValueError, match="bool"):
        numpyro.handlers.mask(mask=jnp.array([1.0, 0.0]))


# -- scale ------------------------------------------------------------------------------------------------


@either_way
@pytest.mark.parametrize("wrong", [0, 0.0, -1.0, np.array([1.0, -1.0])])
def test_row_51_a_scale_is_positive(run, wrong):
    def model():
        with plait.handlers.scale(scale=wrong):  # here
            plait.sample("x", N(), obs=0.0)

    with refused(ModelError, "scale", "positive", at=model):
        run(model)
    with pytest.raises(ValueError, match="positive"):
        numpyro.handlers.scale(scale=wrong)


def test_row_51_a_scale_of_data_is_checked_with_the_data():
    def model(w):
        with plait.handlers.scale(scale=w):
            plait.sample("x", N(), obs=0.0)  # here

    assert_allclose(plait.compile(model, np.array(3.0, np.float32)).log_joint({}), 3 * LP0, rtol=1e-6)
    with refused(DataError, "'x'", "scale", "positive", at=model):
        plait.compile(model, np.array(-3.0, np.float32))


@either_way
def test_row_52_a_scale_that_would_count_a_site_several_times(run):
    def model():
        with plait.handlers.scale(scale=jnp.array([1.0, 2.0, 3.0])):
            plait.sample("x", N(), obs=0.0)  # here

    with refused(ModelError, "'x'", "(3,)", "several times", at=model):
        run(model)


def scaled(ppl):
    mu = ppl.sample("mu", N())
    with ppl.handlers.scale(scale=7.0), ppl.plate("rows", 2):
        ppl.sample("y", N(mu), obs=jnp.array([0.0, 1.0]))


@both
def test_row_53_the_pointwise_log_likelihood_is_unscaled(ppl):
    substituted = ppl.handlers.substitute(partial(scaled, ppl), data={"mu": 0.0})
    y = ppl.handlers.trace(substituted).get_trace()["y"]
    theirs = log_likelihood(partial(scaled, numpyro), {"mu": jnp.zeros(1)})["y"][0]
    assert_allclose(y["fn"].log_prob(y["value"]), [LP0, LP0 - 0.5], rtol=1e-6)
    assert_allclose(theirs, [LP0, LP0 - 0.5], rtol=1e-6)
    assert y["scale"] == 7.0
