"""`CompiledModel.prior_transform`: from the unit cube to the latents, as their prior draws are distributed."""

import dynesty
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from jax import lax
from numpy.testing import assert_allclose

import plait
from plait import ModelError, ValueNamesError
from tests.helpers import refused
from tests.models import MODELS, SCAN_MODELS, some
from tests.models.loops import LOOP_MODELS

DRAWS = 1000
# These have latents whose density is masked or scaled, or improper.
REFUSED = ("small_priors", "subsampled", "scaled", "masked_latents", "imputed", "improper_ordered", "jitted_reuse")
# Most rules, and sites inside scans and branches.
ALWAYS = ("many_families", "switching_walk")
TRANSFORMED = tuple(model for model in (*MODELS, *SCAN_MODELS) if model.name not in REFUSED)
TRIED = {model.name: model for model in (*some(some(TRANSFORMED)), *(m for m in TRANSFORMED if m.name in ALWAYS))}


def compiled(model):
    found = plait.compile(model.bind(plait), **model.args(np.float32))
    return found.with_params(found.init_param_values(jax.random.key(0))) if found.has_random_params else found


@pytest.mark.parametrize("name", TRIED)
def test_values_at_uniform_points_are_distributed_as_prior_draws(name):
    model = compiled(TRIED[name])
    values = model.prior_transform(jax.random.uniform(jax.random.key(1), (DRAWS, model.dim)))
    draws = model.sample(jax.random.key(2), DRAWS)
    assert list(values) == list(model.shapes)
    for site, value in values.items():
        assert value.shape == draws[site].shape
        assert value.dtype == draws[site].dtype
        marginals = (np.reshape(x, (DRAWS, -1)).T for x in (value, draws[site]))
        for transformed, drawn in zip(*marginals, strict=True):
            # a false alarm would come once in a million marginals, of which there are some hundred
            assert st.ks_2samp(transformed, drawn).pvalue > 1e-6, site


@pytest.mark.parametrize("name", REFUSED)
def test_models_whose_latents_are_weighted_or_improper_are_refused(name):
    model = next(m for m in MODELS if m.name == name)
    with pytest.raises(ModelError, match="has no prior transform"):
        compiled(model).prior_transform(np.zeros(1))


# -- values by hand -------------------------------------------------------------------------------------------


def regression(x, y=None):
    mu = plait.sample("mu", dist.Normal(0.0, 2.0))
    tau = plait.sample("tau", dist.HalfNormal(1.0))
    w = plait.sample("w", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
    with plait.plate("groups", 3):
        theta = plait.sample("theta", dist.Normal(mu, tau))
    mean = plait.deterministic("mean", theta * w[0] + x)
    plait.factor("weight", -mu)
    plait.sample("y", dist.Normal(mean, 0.5).to_event(1), obs=y)


@pytest.fixture(scope="module")
def hierarchy():
    return plait.compile(regression, np.zeros(3, np.float32), np.ones(3, np.float32))


U = np.random.default_rng(1).uniform(size=(2, 3, 7)).astype(np.float32)


def by_hand(u):
    mu, tau = st.norm.ppf(u[..., 0]) * 2, st.halfnorm.ppf(u[..., 1])
    first, second = st.beta(1, 5).ppf(u[..., 2]), st.beta(2, 3).ppf(u[..., 3])
    w = np.stack([first, (1 - first) * second, (1 - first) * (1 - second)], axis=-1)
    theta = mu[..., None] + tau[..., None] * st.norm.ppf(u[..., 4:])
    return {"mu": mu, "tau": tau, "w": w, "theta": theta, "mean": theta * w[..., :1]}


def test_each_latent_takes_its_entries_given_those_before(hierarchy):
    values = hierarchy.prior_transform(U, deterministic=True)
    expected = by_hand(U.astype(np.float64))
    assert list(values) == list(expected)
    for name, value in values.items():
        assert_allclose(value, expected[name], rtol=2e-5, atol=1e-5)


def test_it_runs_inside_transformations_of_jax(hierarchy):
    at_once = hierarchy.prior_transform(U[0])
    mapped = jax.jit(jax.vmap(hierarchy.prior_transform))(U[0])
    for name in at_once:
        assert_allclose(at_once[name], mapped[name], rtol=1e-6)


def test_the_jacobian_is_that_of_differences(hierarchy):
    def flat(u):
        values = hierarchy.prior_transform(u)
        return jnp.concatenate([jnp.ravel(values[name]) for name in ("mu", "tau", "w", "theta")])

    def reference(u):
        values = by_hand(u)
        return np.concatenate([np.ravel(values[name]) for name in ("mu", "tau", "w", "theta")])

    u, h = U[0, 0], 1e-6
    slopes = [(reference(u + h * e) - reference(u - h * e)) / (2 * h) for e in np.eye(7)]
    assert_allclose(jax.jit(jax.jacobian(flat))(u), np.stack(slopes, axis=1), rtol=1e-3, atol=1e-5)


def test_the_corners_are_the_ends_of_the_supports(hierarchy):
    low, high = (hierarchy.prior_transform(np.full(7, end, np.float32)) for end in (0.0, 1.0))
    assert low["mu"] == -np.inf
    assert high["mu"] == np.inf
    assert low["tau"] == 0
    assert_allclose(low["w"], [0, 0, 1])
    assert_allclose(high["w"], [1, 0, 0])


def test_points_outside_the_cube_are_refused(hierarchy):
    with refused(ValueNamesError, "unit cube", "from 0 to 1", "1.5"):
        hierarchy.prior_transform(np.full(7, 1.5, np.float32))
    with refused(ValueNamesError, "unit cube", "nan"):
        hierarchy.prior_transform(np.full(7, np.nan, np.float32))
    with refused(ValueNamesError, "unit cube", "(…, 7)", "(6,)"):
        hierarchy.prior_transform(np.zeros(6, np.float32))
    assert np.isnan(jax.jit(hierarchy.prior_transform)(np.full(7, 1.5, np.float32))["mu"])


def test_params_and_new_data_count():
    def model(loc, y=None):
        scale = plait.param("scale", jnp.array(1.0))
        mu = plait.sample("mu", dist.Normal(loc, scale))
        plait.sample("y", dist.Normal(mu, 1.0), obs=y)

    found = plait.compile(model, np.array(1.0, np.float32), np.array(0.0, np.float32))
    z = st.norm.ppf(0.9)
    u = np.full(1, 0.9, np.float32)
    assert_allclose(found.prior_transform(u)["mu"], 1 + z, rtol=1e-5)
    assert_allclose(found.prior_transform(u, params={"scale": 3.0})["mu"], 1 + 3 * z, rtol=1e-5)
    assert_allclose(found.bind(loc=np.array(2.0, np.float32)).prior_transform(u)["mu"], 2 + z, rtol=1e-5)


def test_observed_values_of_the_data_are_what_later_latents_read():
    def model(y=None):
        y = plait.sample("y", dist.Normal(0.0, 1.0), obs=y)
        plait.sample("x", dist.Normal(y, 1.0))

    assert_allclose(
        plait.compile(model, np.array(7.0, np.float32)).prior_transform(np.full(1, 0.5))["x"], 7.0, rtol=1e-6
    )


# -- loops ----------------------------------------------------------------------------------------------------


def test_a_chain_in_nested_scans_takes_each_step_its_entry():
    def model():
        def inner(x, _):
            x = plait.sample("x", dist.Normal(x, 1.0))
            return x, x

        def outer(x, _):
            tau = plait.sample("tau", dist.Exponential(1.0))
            return lax.scan(inner, x * tau, None, length=3)

        lax.scan(outer, 0.0, None, length=2, reverse=True)

    found = plait.compile(model)
    u = np.random.default_rng(2).uniform(size=found.dim).astype(np.float32)
    values = found.prior_transform(u)
    at = dict(zip(found.names, u.astype(np.float64), strict=True))
    x = 0.0
    for i in (1, 0):
        tau = -np.log1p(-at[f"tau[{i}]"])
        assert_allclose(values["tau"][i], tau, rtol=1e-5)
        x *= tau
        for j in range(3):
            x += st.norm.ppf(at[f"x[{i},{j}]"])
            assert_allclose(values["x"][i, j], x, rtol=1e-4)


@pytest.mark.parametrize("loop", LOOP_MODELS[::12], ids=lambda loop: loop.name)
def test_families_are_their_members(loop):
    kwargs = loop.model.args(np.float32)
    rolled = plait.compile(loop.model.bind(plait), **kwargs)
    written = plait.compile(loop.model.bind(plait), **kwargs, passes={"reroll": False})
    u = np.random.default_rng(3).uniform(size=rolled.dim).astype(np.float32)
    at = dict(zip(rolled.names, u, strict=True))
    values = rolled.prior_transform(u)
    expected = written.prior_transform(np.array([at[name] for name in written.names]))
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)
    for family, members in rolled.families.items():
        stacked = rolled.prior_transform(u, stacked=True)
        if family in stacked:
            assert_allclose(stacked[family].ravel(), np.ravel([values[name] for name in members]))


# -- evidence -------------------------------------------------------------------------------------------------


def test_dynesty_finds_the_evidence_of_a_conjugate_model():
    """Of y ~ N(X b, s²), b ~ N(0, 4): y ~ N(0, 4 X X' + s²)."""
    rng = np.random.default_rng(4)
    X, s = rng.normal(size=(12, 2)).astype(np.float32), np.float32(0.7)
    y = (X @ np.float32([1.0, -2.0]) + s * rng.normal(size=12)).astype(np.float32)

    def model(X, y=None):
        b = plait.sample("b", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
        with plait.plate("rows", X.shape[0]):
            plait.sample("y", dist.Normal(X @ b, s), obs=y)

    found = plait.compile(model, X, y)
    transform = jax.jit(lambda u: found.prior_transform(u)["b"])
    likelihood = jax.jit(lambda b: jnp.sum(found.log_likelihood({"b": b})["y"]))
    sampler = dynesty.NestedSampler(
        lambda b: float(likelihood(b.astype(np.float32))),
        lambda u: np.asarray(transform(u.astype(np.float32)), np.float64),
        2,
        nlive=150,
        rstate=np.random.default_rng(5),
    )
    sampler.run_nested(dlogz=0.1, print_progress=False)
    exact = st.multivariate_normal(np.zeros(12), 4 * X @ X.T + s**2 * np.eye(12)).logpdf(y)
    assert abs(sampler.results.logz[-1] - exact) < 3 * sampler.results.logzerr[-1]
    assert sampler.results.logzerr[-1] < 0.4
