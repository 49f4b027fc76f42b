"""What looks like bad input and is none: the neighbours of the refusals in this folder."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait import DataError, ModelError


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


# -- missing data that nothing reads ------------------------------------------------------------------------


def test_nan_under_a_mask_is_allowed():
    def model(y, seen):
        m = plait.sample("m", N())
        with plait.plate("rows", 2), plait.handlers.mask(mask=seen):
            plait.sample("y", N(m), obs=y)

    y = np.array([1.0, np.nan], np.float32)
    compiled = plait.compile(model, y, np.array([True, False]))
    value, grad = compiled.log_density_and_grad(np.zeros(1))
    np.testing.assert_allclose(value, 2 * N().log_prob(0.0) - 0.5, rtol=1e-6)
    np.testing.assert_allclose(grad, [1.0])
    with pytest.raises(DataError, match="'y'"):
        plait.compile(model, y, np.array([True, True]))
    with pytest.raises(DataError, match="'y'"):
        compiled.bind(seen=np.array([True, True]))


def test_nan_under_a_mask_of_the_distribution_is_allowed():
    def model(y, seen):
        m = plait.sample("m", N())
        plait.sample("y", dist.Normal(m, 1.0).expand([2]).mask(seen), obs=y)

    compiled = plait.compile(model, np.array([1.0, np.nan], np.float32), np.array([True, False]))
    _, grad = compiled.log_density_and_grad(np.zeros(1))
    np.testing.assert_allclose(grad, [1.0])


def test_nan_that_jnp_where_replaces_is_allowed():
    def model(x):
        b = plait.sample("b", N())
        with plait.plate("rows", 2):
            plait.sample("y", N(b * jnp.where(jnp.isnan(x), 0.0, x)), obs=jnp.ones(2))

    compiled = plait.compile(model, np.array([1.0, np.nan], np.float32))
    _, grad = compiled.log_density_and_grad(np.zeros(1))
    np.testing.assert_allclose(grad, [1.0])


def test_a_support_violation_under_a_mask_is_allowed():
    def model(y, seen):
        with plait.plate("rows", 2), plait.handlers.mask(mask=seen):
            plait.sample("y", dist.Exponential(1.0), obs=y)

    compiled = plait.compile(model, np.array([1.0, -5.0], np.float32), np.array([True, False]))
    np.testing.assert_allclose(compiled.log_joint({}), -1.0, rtol=1e-6)


# -- data, indices, static arguments -----------------------------------------------------------------------


def test_an_index_from_the_end_is_allowed_where_the_model_says_so():
    """In data -1 is refused (it codes what is missing); the model's own constants count from the end."""

    def model():
        group = jnp.array([0, -1])
        with plait.plate("groups", 3):
            a = plait.sample("a", N())
        with plait.plate("rows", 2):
            plait.sample("y", N(a[group]), obs=0.0)

    compiled = plait.compile(model)
    values = {"a": np.array([1.0, 0.0, 2.0], np.float32)}
    np.testing.assert_allclose(compiled.log_prob_terms(values)["y"], N().log_prob(np.array([1.0, 2.0])), rtol=1e-6)


def test_int64_data_that_fit_are_cast():
    def model(y):
        plait.sample("y", dist.Poisson(3.0), obs=y)

    compiled = plait.compile(model, np.array([1, 2], np.int64))
    expected = dist.Poisson(3.0).log_prob(np.array([1, 2])).sum()
    np.testing.assert_allclose(compiled.log_joint({}), expected, rtol=1e-6)


def test_wide_integers_fit_under_x64():
    def model(y):
        plait.sample("y", N(), obs=y / 2**40)

    with jax.enable_x64(True):
        compiled = plait.compile(model, np.array([2**40]))
        np.testing.assert_allclose(compiled.log_joint({}), N().log_prob(1.0), rtol=1e-6)


def test_static_arguments_are_python_values():
    def model(group, y):
        with plait.plate("groups", len(np.unique(group))):
            plait.sample("a", N())
        plait.sample("y", N(), obs=y)

    compiled = plait.compile(model, np.array([0, 1, 1]), 0.5, static=("group",))
    assert compiled.shapes == {"a": (2,)}


def test_strings_that_no_site_reads_are_static():
    def model(labels, y):
        with plait.plate("rows", len(labels)):
            plait.sample("y", N(), obs=y)

    assert plait.compile(model, np.array(["a", "b"]), np.zeros(2, np.float32)).shapes == {}


# -- edges and bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "y"),
    [
        (lambda: dist.Beta(1.0, 1.0), [0.0, 1.0]),
        (lambda: dist.Uniform(0.0, 1.0), [0.0, 1.0]),
        (lambda: dist.DiscreteUniform(2, 2), [2.0]),
        (lambda: dist.TruncatedNormal(0.0, 1.0, low=-jnp.inf, high=1.0), [-1.0, 0.5]),
        (lambda: dist.Bernoulli(0.5), [0.0, 1.0]),
        (lambda: dist.Poisson(2.0), [0.0, 3.0]),
    ],
    ids=["flat beta", "closed interval", "equal bounds", "infinite bound", "bools", "counts"],
)
def test_observations_on_an_edge_that_has_a_density(fn, y):
    def model(y):
        plait.sample("y", fn(), obs=y)

    y = np.array(y, np.float32)
    np.testing.assert_allclose(plait.compile(model, y).log_joint({}), fn().log_prob(y).sum(), rtol=1e-6, atol=1e-5)


def test_an_edge_under_a_mask_is_allowed():
    def model(y, seen):
        b = plait.sample("b", dist.LogNormal(0.0, 1.0))
        with plait.plate("rows", 2), plait.handlers.mask(mask=seen):
            plait.sample("y", dist.Beta(b, 2.0), obs=y)

    compiled = plait.compile(model, np.array([0.5, 1.0], np.float32), np.array([True, False]))
    assert np.isfinite(compiled.log_joint({"b": 1.0}))
    with pytest.raises(DataError, match="edge"):
        compiled.bind(seen=np.array([True, True]))


def test_a_covariance_is_symmetric_to_rounding():
    def model(c):
        plait.sample("x", dist.MultivariateNormal(jnp.zeros(20), c))

    root = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32)
    covariance = root @ np.diag(np.arange(1, 21, dtype=np.float32)) @ root.T
    assert (covariance != covariance.T).any()
    assert plait.compile(model, covariance).shapes == {"x": (20,)}


def test_whole_floats_stand_for_counts():
    def model():
        plait.sample("k", dist.Poisson(2.0))

    compiled = plait.compile(model)
    np.testing.assert_allclose(compiled.log_joint({"k": 3.0}), dist.Poisson(2.0).log_prob(3), rtol=1e-6)


# -- errors that are not ours -------------------------------------------------------------------------------


def test_an_error_of_the_users_own_passes_through():
    def model():
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        plait.compile(model)


def test_an_error_leaves_nothing_open():
    def model():
        if plait.sample("x", N()) > 0:
            plait.sample("y", N())

    with pytest.raises(ModelError):
        plait.compile(model)
    assert plait.compile(lambda: plait.sample("x", N())).shapes == {"x": ()}
