"""Small priors of one family are one term of the joint, with the same density and gradient."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.graph import Role
from plait.ir.ops import LogProb, Sum
from tests.helpers import with_priors as sites
from tests.models import MODELS
from tests.models import numpyro_reference as numpyro_says

join_terms = importlib.import_module("plait.compiler.passes.join_terms")  # the package's name is its function
SMALL_PRIORS = next(m for m in MODELS if m.name == "small_priors")
OTHERS = [dist.Laplace(0, 1), dist.Gumbel(0, 1), dist.Logistic(0, 1)] * 2


@pytest.fixture
def least(monkeypatch):
    """Four sites are a family, so that models stay small."""
    monkeypatch.setattr(join_terms, "LEAST", 4)


def families(model, *args):
    """The sites of each joined term; values and gradient are those without the pass."""
    with jax.enable_x64(True):
        compiled = plait.compile(model, *args)
        plain = plait.compile(model, *args, passes={"join_terms": False})
        z = np.random.default_rng(1).uniform(-1, 1, compiled.dim)
        for got, wanted in zip(compiled.log_density_and_grad(z), plain.log_density_and_grad(z), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11)
        values = plain.constrain(z)
        np.testing.assert_allclose(compiled.log_joint(values), plain.log_joint(values), rtol=1e-11)
        terms = compiled.log_prob_terms(values)
        for name, wanted in plain.log_prob_terms(values).items():
            np.testing.assert_array_equal(terms[name], wanted)
    graph = dict(compiled.history)["join_terms"]
    joint, density = (graph.output(role).args[0] for role in (Role.LOG_JOINT, Role.LOG_DENSITY))
    assert set(joint.args[0].args) <= set(density.args)
    added = [n.args[0] if isinstance(n.op, Sum) else n for n in joint.args[0].args]
    mine = {n: n.op.site.split(", ") for n in added if isinstance(n.op, LogProb)}
    return [names for names in mine.values() if len(names) > 1]


def named(*indices):
    return [f"s{i}" for i in indices]


def test_constants_free_values_and_vectors_are_one_term(least):
    def model(x):
        mu = plait.sample("mu", dist.Laplace(0, 1))
        tau = plait.sample("tau", dist.HalfCauchy(1))
        plait.sample("a", dist.Normal(0, 2.5))
        plait.sample("b", dist.Normal(mu, 1))
        plait.sample("c", dist.Normal(x, tau))
        plait.sample("d", dist.Normal(mu, jnp.array([1.0, 2.0, 3.0])))
        plait.sample("e", dist.Normal(0, tau).expand([2]))

    assert families(model, np.array(0.3)) == [["a", "b", "c", "d", "e"]]


def test_what_all_share_stays_a_scalar(least):
    with jax.enable_x64(True):
        graph = dict(plait.compile(sites(*[dist.Normal(0, 1 + i) for i in range(5)])).history)["join_terms"]
    (term,) = [n for n in graph.of(LogProb) if "," in n.op.site]
    assert [a.type.shape for a in term.args] == [(5,), (), (5,)]


FAMILIES = {
    "HalfNormal": [dist.HalfNormal(1 + i) for i in range(4)],
    "HalfCauchy": [dist.HalfCauchy(1 + i) for i in range(4)],
    "Exponential": [dist.Exponential(1 + i) for i in range(4)],
    "LogNormal": [dist.LogNormal(i, 1) for i in range(4)],
    "InverseGamma": [dist.InverseGamma(3, 1 + i) for i in range(4)],
    "StudentT": [dist.StudentT(3 + i, 0, 1) for i in range(4)],
    "Gamma": [dist.Gamma(2, 1 + i) for i in range(4)],
    "equal": [dist.Cauchy(0, 1) for _ in range(4)],
}


@pytest.mark.parametrize("priors", FAMILIES.values(), ids=FAMILIES)
def test_families(least, priors):
    assert families(sites(*priors, *OTHERS[:5])) == [named(0, 1, 2, 3)]


def test_alternating_families(least):
    priors = [d for i in range(4) for d in (dist.Normal(i, 1), dist.HalfNormal(1 + i))]
    assert families(sites(*priors, dist.Normal(1, 2))) == [named(0, 2, 4, 6, 8), named(1, 3, 5, 7)]


def weighted(handler, priors):
    inner = sites(*priors)

    def model(w):
        with handler(w):
            inner()

    return model


@pytest.mark.parametrize(
    ("handler", "weight"),
    [
        (lambda w: plait.handlers.scale(scale=w), np.array(0.3)),
        (lambda w: plait.handlers.mask(mask=w), np.array(False)),
        (lambda w: plait.handlers.mask(mask=w), np.array([True, False, True])),
    ],
    ids=["scale", "mask", "mask of entries"],
)
def test_weights(least, handler, weight):
    priors = [dist.HalfNormal(1 + i).expand([3]) for i in range(4)]
    assert families(weighted(handler, priors), weight) == [named(0, 1, 2, 3)]


def test_masked_and_unmasked_are_two_families(least):
    def model():
        plait.sample("a", dist.Normal(0, 1))
        plait.sample("b", dist.Normal(0, 2))
        with plait.handlers.mask(mask=np.array(False)):
            plait.sample("c", dist.Normal(0, 3))
            plait.sample("d", dist.Normal(0, 4))

    assert families(model) == []


APART = {
    "few": [dist.Normal(0, 1 + i) for i in range(3)],
    "large": [dist.Normal(0, 1).expand([20 + i]) for i in range(4)],
    "matrices": [dist.Normal(0, 1).expand([2, 1 + i]) for i in range(4)],
    "events": [dist.Normal(jnp.zeros(1 + i), 1).to_event(1) for i in range(4)],
    "vectors": [dist.Dirichlet(jnp.ones(2 + i)) for i in range(4)],
    "a Dirichlet inside": [dist.Beta(2, 1 + i) for i in range(4)],
    "own supports": [dist.Uniform(0.0, 1 + i) for i in range(4)],
    "point masses": [dist.Delta(1.0 + i) for i in range(4)],
    "parameters of components": [
        dist.MixtureSameFamily(dist.Categorical(jnp.array([0.3, 0.7])), dist.Normal(jnp.array([0.0, i]), 1))
        for i in range(4)
    ],
}


@pytest.mark.parametrize("priors", APART.values(), ids=APART)
def test_others_stay_apart(least, priors):
    graph = dict(plait.compile(sites(*priors)).history)["join_terms"]
    assert not [n for n in graph.of(LogProb) if "," in n.op.site]


def test_values_from_too_many_places_stay_apart(least):
    priors = [d for i in range(12) for d in (dist.Normal(i, 1), OTHERS[i % 3])]
    assert [len(names) for names in families(sites(*priors))] == [8, 4, 4, 4]


def test_small_families_stay_apart_by_default():
    assert families(sites(*[dist.Normal(0, 1 + i) for i in range(12)])) == []
    assert families(sites(*[dist.Normal(0, 1 + i) for i in range(40)])) == [named(*range(40))]


def test_the_joint_of_a_discrete_latent(least):
    with jax.enable_x64(True):
        compiled = plait.compile(sites(*[dist.Normal(0, 1 + i) for i in range(5)], dist.Poisson(3.0)))
        values = {f"s{i}": np.array(0.1 * i) for i in range(5)} | {"s5": np.array(2)}
        wanted = sum(np.sum(t) for t in compiled.log_prob_terms(values).values())
        np.testing.assert_allclose(compiled.log_joint(values), wanted)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_small_priors_are_numpyros(least, dtype):
    with jax.enable_x64(dtype is np.float64):
        data = SMALL_PRIORS.args(dtype)
        compiled = plait.compile(SMALL_PRIORS.bind(plait), **data)
        graph = dict(compiled.history)["join_terms"]
        assert sum("," in op.site for op in graph.ops(LogProb)) == 4
        z = np.random.default_rng(2).uniform(-1, 1, compiled.dim).astype(dtype)
        u = {s.name: z[s.offset :][: s.unconstrained.size].reshape(s.unconstrained.shape) for s in compiled.slots}
        value, gradient = numpyro_says.log_density_and_grad(SMALL_PRIORS, u, data)
        got, got_gradient = compiled.log_density_and_grad(z)
        tolerance = {np.float64: 1e-11, np.float32: 1e-4}[dtype]
        np.testing.assert_allclose(got, value, rtol=tolerance)
        wanted = np.concatenate([np.ravel(gradient[name]) for name in u])
        np.testing.assert_allclose(got_gradient, wanted, rtol=tolerance, atol=tolerance)
