"""From the cube to vectors and matrices: |det dz/du| · density(z) = 1, by NumPyro's density, z unconstrained."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.distributions import biject_to, transforms

from plait.compiler.quantiles.rules import NoQuantileError, cube_shape, quantile
from plait.compiler.quantiles.tails import Tails

L = np.array([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-1.0, 0.3, 0.7]])
PATH = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
LOC = np.arange(3.0)


def normals(n):
    return dist.Normal(0.0, 1.0).expand([n]).to_event(1)


CASES = {
    "independent": lambda: dist.Normal(LOC, 1.0).expand([2, 3]).to_event(2),
    "multivariate_normal": lambda: dist.MultivariateNormal(LOC, scale_tril=L),
    "low_rank": lambda: dist.LowRankMultivariateNormal(LOC, L[:, :2], np.array([1.0, 2.0, 3.0])),
    "car": lambda: dist.CAR(LOC, 0.5, 1.0, PATH),
    "matrix_normal": lambda: dist.MatrixNormal(np.ones((2, 3)), 0.5 * L[:2, :2], L),
    "random_walk": lambda: dist.GaussianRandomWalk(np.array(2.0), 4),
    "multivariate_t": lambda: dist.MultivariateStudentT(3.0, LOC, L),
    "copula": lambda: dist.GaussianCopulaBeta(
        np.array([2.0, 3.0]), np.array([1.0, 0.5]), correlation_matrix=np.array([[1.0, 0.5], [0.5, 1.0]])
    ),
    "dirichlet": lambda: dist.Dirichlet(np.array([0.5, 1.0, 3.0, 2.0])),
    "lkj_cholesky": lambda: dist.LKJCholesky(4, np.array(1.5)),
    "lkj": lambda: dist.LKJ(3, np.array(0.8)),
    "wishart_cholesky": lambda: dist.WishartCholesky(np.array(4.5), scale_tril=L),
    "wishart": lambda: dist.Wishart(np.array(4.5), scale_tril=L[:2, :2]),
    "stick_breaking": lambda: dist.TransformedDistribution(normals(3), transforms.StickBreakingTransform()),
    "ordered": lambda: dist.TransformedDistribution(normals(3), transforms.OrderedTransform()),
    "affine": lambda: dist.TransformedDistribution(normals(3), transforms.LowerCholeskyAffine(LOC, L)),
    "reshaped": lambda: dist.TransformedDistribution(normals(6), transforms.ReshapeTransform((2, 3), (6,))),
    "zero_sum": lambda: dist.ZeroSumNormal(np.array(2.0), (4,)),
}


def log_volume(d, u):
    """The log of |det dz/du| · density(z), and the value."""
    bijector = biject_to(d.support)

    def unconstrained(u):
        x = quantile(d, Tails.at(jnp.reshape(u, cube_shape(d))))
        z = bijector.inv(x)
        return jnp.ravel(z), (x, z)

    jacobian, (x, z) = jax.jacobian(unconstrained, has_aux=True)(jnp.ravel(u))
    log_density = d.log_prob(x) + jnp.sum(bijector.log_abs_det_jacobian(z, x))
    return log_density + jnp.linalg.slogdet(jacobian)[1], x


@pytest.mark.parametrize("name", CASES)
def test_volumes_are_kept(name):
    with jax.enable_x64(True):
        d = CASES[name]()
        u = np.random.default_rng(1).uniform(size=(3, *cube_shape(d)))
        log, x = jax.jit(jax.vmap(lambda u: log_volume(d, u)))(jnp.asarray(u))
    assert x.shape == (3, *d.shape())
    assert_allclose(log, 0.0, atol=1e-8)


@pytest.mark.parametrize("d", [dist.Dirichlet(jnp.ones(3)), dist.LKJCholesky(3, 2.0)], ids=["dirichlet", "lkj"])
def test_no_corner_of_the_cube_is_no_number(d):
    corners = np.float32([*np.ndindex((2,) * cube_shape(d)[0])])
    assert not np.isnan(jax.jit(lambda: quantile(d, Tails.at(jnp.asarray(corners))))()).any()


def test_expanded_vectors_take_a_cube_each():
    one = dist.Dirichlet(jnp.array([0.5, 1.0, 3.0]))
    u = jax.random.uniform(jax.random.key(0), cube_shape(one.expand([2, 4])))
    assert u.shape == (2, 4, 2)
    x, y = jax.jit(lambda: (quantile(one.expand([2, 4]), Tails.at(u)), quantile(one, Tails.at(u[1, 2]))))()
    assert_allclose(x[1, 2], y, rtol=1e-5)


def test_a_transformation_that_takes_more_numbers_than_there_are_is_refused():
    d = dist.TransformedDistribution(dist.Dirichlet(jnp.ones(3)), transforms.AffineTransform(0.0, 2.0))
    d = dist.TransformedDistribution(d, transforms.ExpTransform())
    with pytest.raises(NoQuantileError, match="2 numbers"):
        quantile(d, Tails.at(jnp.full(cube_shape(d), 0.5)))
