"""Rows 64 to 75: densities and transforms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.distributions import biject_to, constraints
from numpyro.infer.util import compute_log_probs, constrain_fn, initialize_model, potential_energy

import plait
from plait import ModelError
from plait.ir.graph import Role, ancestors
from plait.ir.ops import InSupport
from tests.helpers import both, compiled, log_joint, refused, seeded

KEY = jax.random.key(0)


def log_density(ppl, model, z):
    """The log density of the unconstrained values `z`, by site, with the Jacobian."""
    if ppl is numpyro:
        return -potential_energy(partial(model, numpyro), (), {}, z)
    return compiled(model).log_density(jnp.concatenate([jnp.ravel(x) for x in z.values()]))


# -- Jacobians --------------------------------------------------------------------------------------------


def subsampled(ppl):
    with ppl.plate("rows", 10, 2):
        ppl.sample("x", dist.HalfNormal(1.0))


def scaled(ppl):
    with ppl.plate("rows", 2), ppl.handlers.scale(scale=5.0):
        ppl.sample("x", dist.HalfNormal(1.0))


@both
@pytest.mark.parametrize("model", [seeded(subsampled), scaled], ids=["subsample", "scale"])
def test_row_64_the_jacobian_is_scaled_too(ppl, model):
    u = jnp.array([0.1, 0.2])
    expected = 5.0 * (dist.HalfNormal(1.0).log_prob(jnp.exp(u)) + u).sum()
    assert_allclose(log_density(ppl, model, {"x": u}), expected, rtol=1e-5)


@both
def test_row_65_the_jacobian_is_masked_too(ppl):
    def model(ppl):
        with ppl.handlers.mask(mask=False):
            ppl.sample("x", dist.HalfNormal(1.0))

    assert log_density(ppl, model, {"x": jnp.array(0.7)}) == 0.0


# -- spaces -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "shape"),
    [(dist.Dirichlet(jnp.ones(4)), (3,)), (dist.LKJCholesky(3), (3,)), (dist.ZeroSumNormal(1.0, (3,)), (2,))],
    ids=["Dirichlet", "LKJCholesky", "ZeroSumNormal"],
)
def test_row_66_unconstrained_shapes(fn, shape):
    (slot,) = plait.compile(lambda: plait.sample("x", fn)).slots
    assert slot.unconstrained.shape == shape
    assert biject_to(fn.support).inverse_shape(fn.shape()) == shape


@both
def test_row_67_a_vector_event(ppl):
    def model(ppl):
        ppl.sample("x", dist.LogNormal(jnp.zeros(3), 1.0).to_event(1))

    assert_allclose(log_density(ppl, model, {"x": jnp.array([0.1, 0.2, 0.3])}), -2.8268156, rtol=1e-6)


def dependent(ppl):
    a = ppl.sample("a", dist.Uniform(0.0, 1.0))
    ppl.sample("b", dist.Uniform(a, 2.0))


@both
def test_row_68_a_support_that_depends_on_a_latent(ppl):
    z = {"a": jnp.array(0.3), "b": jnp.array(0.1)}
    assert_allclose(log_density(ppl, dependent, z), -2.7975037, rtol=1e-6)


def test_row_68_its_constrained_values():
    theirs = constrain_fn(partial(dependent, numpyro), (), {}, {"a": 0.3, "b": 0.1})
    model = compiled(dependent)
    ours = model.constrain(jnp.array([0.3, 0.1]))
    for values in (ours, theirs):
        assert_allclose((values["a"], values["b"]), (0.5744425, 1.3228304), rtol=1e-6)
    assert_allclose(model.unconstrain(ours), [0.3, 0.1], rtol=1e-5)


# -- special sites ----------------------------------------------------------------------------------------


@both
def test_row_69_the_empty_model(ppl):
    assert log_joint(ppl, lambda ppl: None, {}) == 0.0


def test_row_69_the_empty_model_unconstrained():
    model = plait.compile(lambda: None)
    assert (model.dim, model.names, model.shapes) == (0, (), {})
    assert model.log_density(np.zeros(0)) == 0.0
    assert model.sample(KEY, (2,)) == {}


def test_row_70_a_latent_delta():
    def model():
        plait.sample("d", dist.Delta(1.0))  # here

    with refused(ModelError, "'d'", "Delta", at=model):
        plait.compile(model).log_density(np.zeros(1))
    with pytest.raises(ValueError, match="'d' has a delta distribution"):
        initialize_model(KEY, lambda: numpyro.sample("d", dist.Delta(1.0)))


def test_row_70_its_constrained_density():
    assert plait.compile(lambda: plait.sample("d", dist.Delta(1.0))).log_joint({"d": 1.0}) == 0.0


def improper(ppl):
    return ppl.sample("x", dist.ImproperUniform(constraints.positive, (), ()))


@both
def test_row_71_the_density_of_an_improper_prior(ppl):
    assert log_joint(ppl, improper, {"x": 2.0}) == 0.0


@both
def test_row_71_a_draw_of_an_improper_prior(ppl):
    with pytest.raises(ModelError if ppl is plait else NotImplementedError):
        ppl.handlers.seed(partial(improper, ppl), 0)()


def test_row_71_a_compiled_draw_says_which():
    with refused(ModelError, "'x'", "ImproperUniform", "no draws"):
        compiled(improper).sample(KEY)
    assert compiled(improper).sample(KEY, given={"x": 2.0})["x"] == 2.0


X = np.linspace(-1, 1, 1600, dtype=np.float32).reshape(800, 2)
BETA = np.array([0.3, -0.2], np.float32)


def two_columns(ppl):
    with ppl.plate("columns", 2):
        beta = ppl.sample("beta", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 800, dim=-2):
            ppl.sample("obs", dist.Normal(beta, 1.0), obs=X)


def terms(ppl):
    if ppl is plait:
        return compiled(two_columns).log_prob_terms({"beta": BETA})
    return compute_log_probs(partial(two_columns, numpyro), (), {}, {"beta": BETA}, sum_log_prob=False)[0]


@both
def test_row_72_terms_are_unsummed(ppl):
    found = terms(ppl)
    assert {name: term.shape for name, term in found.items()} == {"beta": (2,), "obs": (800, 2)}
    assert_allclose(found["obs"], dist.Normal(BETA, 1).log_prob(X), rtol=1e-5)


@both
def test_row_72_the_sum_is_a_scalar(ppl):
    total = log_joint(ppl, two_columns, {"beta": BETA})
    assert total.shape == ()
    assert_allclose(total, sum(term.sum() for term in terms(ppl).values()), rtol=1e-5)


# -- outside the support ----------------------------------------------------------------------------------

OUTSIDE = [
    (dist.Exponential(1.0), -1.0),
    (dist.Uniform(0.0, 2.0), 2.5),
    (dist.Beta(2.0, 2.0), 1.5),
    (dist.HalfCauchy(1.0), -0.5),
    (dist.Gamma(2.0, 1.0), -2.0),
    (dist.TruncatedNormal(0.0, 1.0, low=0.0), -1.0),
    (dist.Dirichlet(jnp.ones(3)), np.array([0.5, 0.6, 0.2])),
    (dist.Categorical(jnp.array([0.5, 0.5])), 2),
    (dist.Categorical(jnp.array([0.5, 0.5])), -1),
    (dist.Bernoulli(0.5), 3),
    (dist.Poisson(2.0), -1),
    (dist.LogNormal(0.0, 1.0), 0.0),
]


@pytest.mark.parametrize(("fn", "outside"), OUTSIDE, ids=[type(fn).__name__ for fn, _ in OUTSIDE])
def test_row_73_outside_the_support_the_density_is_zero(fn, outside):
    assert plait.compile(lambda: plait.sample("x", fn)).log_joint({"x": outside}) == -jnp.inf


def test_row_73_never_nan_and_never_finite_beside_other_sites():
    def model(y):
        rate = plait.sample("rate", dist.Exponential(1.0))
        with plait.plate("rows", 2):
            plait.sample("y", dist.Poisson(rate), obs=y)

    assert plait.compile(model, np.array([1, 2])).log_joint({"rate": -1.0}) == -jnp.inf


def test_row_73_a_nan_is_never_a_density():
    model = plait.compile(lambda: plait.sample("x", dist.Exponential(1.0)))
    assert not np.isfinite(model.log_joint({"x": np.nan}))


def test_row_73_no_check_where_the_bijector_proves_it():
    graph = dict(plait.compile(lambda: plait.sample("x", dist.Exponential(1.0))).history)["unconstrain"]

    def checks(role):
        return [n for n in ancestors(graph.named(role).values()) if isinstance(n.op, InSupport)]

    assert len(checks(Role.LOG_JOINT)) == 1
    assert checks(Role.LOG_DENSITY) == []


def test_row_74_a_concrete_scale_that_is_negative():
    def model():
        plait.sample("x", dist.Normal(0.0, -1.0))  # here

    with refused(ModelError, "Normal", "scale", at=model):
        plait.compile(model)
    with pytest.raises(ValueError, match="scale"):
        numpyro.sample("x", dist.Normal(0.0, -1.0), obs=0.0)


# -- the flat vector --------------------------------------------------------------------------------------


def test_row_75_names_are_in_program_order():
    def model():
        plait.sample("mu", dist.Normal(0.0, 1.0))
        plait.sample("tau", dist.HalfNormal(1.0))
        plait.sample("w", dist.Dirichlet(jnp.ones(3)))
        with plait.plate("columns", 2, dim=-1), plait.plate("rows", 2, dim=-2):
            plait.sample("a", dist.Normal(0.0, 1.0))

    ordered = plait.compile(model)
    assert ordered.names == ("mu", "tau", "w[0]", "w[1]", "a[0,0]", "a[0,1]", "a[1,0]", "a[1,1]")
    assert ordered.dim == 8
    assert list(ordered.shapes.items()) == [("mu", ()), ("tau", ()), ("w", (3,)), ("a", (2, 2))]


def test_row_75_entries_are_in_the_order_of_their_names():
    def model():
        plait.sample("b", dist.Normal(0.0, 1.0))
        plait.sample("a", dist.HalfNormal(1.0))

    values = plait.compile(model).constrain(jnp.array([0.3, 0.7]))
    assert list(values) == ["b", "a"]
    assert_allclose((values["b"], values["a"]), (0.3, np.exp(0.7)), rtol=1e-6)
