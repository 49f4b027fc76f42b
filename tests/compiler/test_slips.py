"""Slips of a user who comes from NumPyro: each would otherwise be a wrong posterior without a word."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.errors import SiteTypeError


def grouped(group, n_groups, y):
    with plait.plate("groups", n_groups):
        a = plait.sample("a", dist.Normal(0, 1))
    with plait.plate("rows", len(group)):
        plait.sample("y", dist.Normal(a[group], 1), obs=y)


@pytest.mark.parametrize("bad", [-1, 3, -9])
def test_an_index_in_data_does_not_wrap(bad: int) -> None:
    group = np.array([0, 1, 2, bad])
    with pytest.raises(plait.DataError, match=rf"index 'group' is out of range for an axis of size 3.*got {bad} at"):
        plait.compile(grouped, group, 3, np.zeros(4))


def test_a_literal_negative_index_is_fine() -> None:
    def model(y):
        a = plait.sample("a", dist.Normal(0, 1).expand([3]).to_event(1))
        plait.sample("y", dist.Normal(a[-1] + a[jnp.array([-2])][0], 1), obs=y)

    value = plait.compile(model, np.ones(2)).log_joint({"a": jnp.array([9.0, 0.25, 0.5])})
    prior = dist.Normal(0, 1).log_prob(jnp.array([9.0, 0.25, 0.5])).sum()
    np.testing.assert_allclose(value, prior + 2 * dist.Normal(0.75, 1).log_prob(1.0), rtol=1e-6)


def test_a_numpy_scalar_is_a_number() -> None:
    group = np.array([0, 1, 2, 2])
    compiled = plait.compile(grouped, group, group.max() + 1, np.zeros(4))
    assert compiled.shapes == {"a": (3,)}


def test_a_pandas_series_is_data() -> None:
    import pandas as pd

    series = pd.Series([1.0, 2.0, 4.0], index=[7, 8, 9])

    def model(y):
        mu = plait.sample("mu", dist.Normal(0, 1))
        with plait.plate("rows", y.shape[0]):
            plait.sample("y", dist.Normal(mu, 1), obs=y)

    compiled = plait.compile(model, series)
    same = plait.compile(model, series.to_numpy())
    assert compiled.log_density(jnp.ones(1)) == same.log_density(jnp.ones(1))
    moved = compiled.bind(y=[2.0, 2.0, 2.0])
    assert moved.log_density(jnp.full(1, 2.0)) == same.bind(y=np.full(3, 2.0)).log_density(jnp.full(1, 2.0))


def test_arguments_in_the_wrong_order() -> None:
    with pytest.raises(SiteTypeError, match="name of a site comes first"):
        plait.sample(dist.Normal(0, 1), "mu")


def test_a_number_of_draws() -> None:
    import jax

    compiled = plait.compile(grouped, np.array([0, 1]), 2, np.zeros(2))
    assert compiled.sample(jax.random.key(0), 5)["a"].shape == (5, 2)
