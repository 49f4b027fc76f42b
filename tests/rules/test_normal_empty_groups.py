"""A group without rows may have any scale: normal rows by their least-squares statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.passes.fuse import answers
from plait.compiler.rules.term import Fusion

G = np.repeat([0, 2], 20)
Y = np.random.default_rng(0).normal(size=40)


def rows(y, g):
    scale = plait.sample("scale", dist.LogNormal(jnp.zeros(3), 1.0))
    plait.sample("y", dist.Normal(0.3, scale[g]), obs=y)


@pytest.mark.parametrize(("dtype", "tiny"), [("float64", -500.0), ("float32", -60.0)])
def test_the_scale_of_a_group_without_rows_may_be_tiny(dtype, tiny):
    with jax.enable_x64(dtype == "float64"):
        fused = plait.compile(rows, Y.astype(dtype), G)
        assert isinstance(answers(dict(fused.history)["unconstrain"], fused._data)[0].answer, Fusion)
        value, gradient = map(np.asarray, fused.log_density_and_grad(np.array([0.1, tiny, 0.2], dtype)))
        other, slope = map(np.asarray, fused.log_density_and_grad(np.array([0.1, 1.0, 0.2], dtype)))
    rtol = {"float64": 1e-12, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(gradient, [slope[0], -tiny, slope[2]], rtol=rtol)
    np.testing.assert_allclose(value, other + 0.5 - 0.5 * tiny**2, rtol=rtol)
