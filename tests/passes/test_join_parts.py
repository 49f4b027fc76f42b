"""z is read in blocks, and neighbours on one support have one bijector, with the same density and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.graph import Role
from plait.ir.ops import Constrain, Flat, Input, LogDet, Split, inputs
from tests.helpers import with_priors as sites
from tests.models import MODELS
from tests.models import numpyro_reference as numpyro_says

SMALL_PRIORS = next(m for m in MODELS if m.name == "small_priors")


def joined(model, *args):
    """The graph after the pass; values and gradient are those without it."""
    with jax.enable_x64(True):
        compiled = plait.compile(model, *args)
        plain = plait.compile(model, *args, passes={"join_parts": False, "join_terms": False})
        assert compiled.names == plain.names
        z = np.random.default_rng(1).uniform(-1, 1, compiled.dim)
        for got, wanted in zip(compiled.log_density_and_grad(z), plain.log_density_and_grad(z), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11)
        for name, value in plain.constrain(z).items():
            np.testing.assert_array_equal(compiled.constrain(z)[name], value)
    return dict(compiled.history)["join_parts"]


def blocks(graph):
    return [op.lengths for op in graph.ops(Split)]


def bijected(graph):
    """The lengths of the vectors that bijectors get."""
    return [n.type.shape for n in graph.of(Constrain)]


def test_few_sites_are_a_piece_of_z_each():
    graph = joined(sites(dist.Normal(0, 1), dist.HalfNormal(1), dist.Normal(0, 1).expand([30])))
    assert blocks(graph) == [(1, 1, 30)]
    assert bijected(graph) == [()]


def test_one_site_reads_z_itself():
    graph = joined(sites(dist.HalfNormal(1).expand([20])))
    assert not blocks(graph)


def test_many_sites_share_blocks_and_a_large_one_has_its_own():
    graph = joined(
        sites(*[dist.Normal(0, 1 + i) for i in range(18)], dist.Normal(0, 1).expand([30]), dist.Normal(0, 1))
    )
    assert blocks(graph) == [(16, 2, 30, 1)]
    (z,) = inputs(graph, Input.FLAT)
    assert not [n for n in graph.of(Flat) if n.args[0] is z]


def test_neighbours_on_one_support_have_one_bijector_and_one_jacobian():
    priors = [dist.HalfNormal(1), dist.Exponential(2.0), dist.Gamma(2, 3).expand([3]), dist.HalfCauchy(1)]
    graph = joined(sites(*priors, *[dist.Normal(0, 1 + i) for i in range(6)]))
    assert bijected(graph) == [(6,)]
    addends = graph.output(Role.LOG_DENSITY).args[0].args
    (total,) = [n for n in addends if n.args and isinstance(n.args[0].op, LogDet)]
    assert total.args[0].op.site == "s0, s1, s2, s3"
    assert len(graph.named(Role.JACOBIAN)) == 4


def test_a_neighbour_across_the_end_of_a_block_has_another_bijector():
    graph = joined(sites(*[dist.HalfNormal(1 + i) for i in range(18)]))
    assert bijected(graph) == [(16,), (2,)]


ALONE = {
    "between others": [dist.HalfNormal(1), dist.Normal(0, 1), dist.HalfNormal(2), dist.Normal(0, 3)],
    "another support": [dist.HalfNormal(1), dist.Beta(2, 2), dist.Exponential(1.0)],
    "events": [dist.HalfNormal(jnp.ones(2)).to_event(1), dist.HalfNormal(jnp.ones(3)).to_event(1)],
    "bounds": [dist.Uniform(0.0, 1), dist.Uniform(0.0, 2)],
    "simplex": [dist.Dirichlet(jnp.ones(3)), dist.Dirichlet(jnp.ones(3))],
}


@pytest.mark.parametrize("priors", ALONE.values(), ids=ALONE)
def test_others_keep_their_bijectors(priors):
    graph = joined(sites(*priors, *[dist.Normal(0, 1 + i) for i in range(8)]))
    assert len(bijected(graph)) == sum(p.support is not dist.constraints.real for p in priors)


@pytest.mark.parametrize("handler", [plait.handlers.scale(scale=0.5), plait.handlers.mask(mask=np.array(False))])
def test_weighted_jacobians_stay_apart(handler):
    inner = sites(*[dist.HalfNormal(1 + i) for i in range(10)])

    def model():
        with handler:
            inner()

    assert bijected(joined(model)) == [()] * 10


def test_a_discrete_latent_leaves_no_z():
    graph = dict(plait.compile(sites(dist.Normal(0, 1), dist.Poisson(3.0))).history)["join_parts"]
    assert not graph.of(Split)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_small_priors_are_numpyros(dtype):
    with jax.enable_x64(dtype is np.float64):
        data = SMALL_PRIORS.args(dtype)
        compiled = plait.compile(SMALL_PRIORS.bind(plait), **data)
        z = np.random.default_rng(2).uniform(-1, 1, compiled.dim).astype(dtype)
        u = {s.name: z[s.offset :][: s.unconstrained.size].reshape(s.unconstrained.shape) for s in compiled.slots}
        value, gradient = numpyro_says.log_density_and_grad(SMALL_PRIORS, u, data)
        got, got_gradient = compiled.log_density_and_grad(z)
        tolerance = {np.float64: 1e-11, np.float32: 1e-4}[dtype]
        np.testing.assert_allclose(got, value, rtol=tolerance)
        wanted = np.concatenate([np.ravel(gradient[name]) for name in u])
        np.testing.assert_allclose(got_gradient, wanted, rtol=tolerance, atol=tolerance)
