"""Prior, likelihood, Jacobian and constants of one density, tempered densities and second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import plait
from plait import ModelError, ValueNamesError
from plait.ir.parts import LIKELIHOOD
from tests.helpers import counting
from tests.models import EMPTY, MODELS, SCAN_MODELS, some
from tests.models.numpyro_reference import init_params, latent_names, site_log_probs

TESTED = (*some(MODELS), *some(SCAN_MODELS), EMPTY)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def compiled_of(model):
    data = model.args(np.float64)
    return plait.compile(model.bind(plait), **data).with_params(init_params(model, data)), data


@pytest.mark.parametrize("model", TESTED, ids=lambda model: model.name)
def test_prior_and_likelihood_are_numpyros_terms_and_the_parts_add_up(model):
    compiled, data = compiled_of(model)
    z = np.random.default_rng(0).uniform(-1.5, 1.5, compiled.dim)
    parts = {
        "whole": compiled.log_density,
        "bare": lambda z: compiled.log_density(z, jacobian=False),
        "prior": compiled.log_prior,
        "bare_prior": lambda z: compiled.log_prior(z, jacobian=False),
        "likelihood": compiled.total_log_likelihood,
        "jacobian": compiled.log_det_jacobian,
        "propto": lambda z: compiled.log_density(z, propto=True),
        "tempered": lambda z: compiled.tempered_log_density(z, 0.3),
    }
    found = jax.jit(lambda z: {name: jax.value_and_grad(f)(z) for name, f in parts.items()})(z)
    (wanted, terms), latents = _numpyro(model, compiled, data, z), latent_names(model, data)
    scale = 1 + sum(abs(np.sum(t)) for t in terms.values())
    assert_allclose(found["bare_prior"][0], sum(np.sum(terms[n]) for n in latents), atol=1e-9 * scale)
    rest = sum(np.sum(t) for n, t in terms.items() if n not in latents)
    assert_allclose(found["likelihood"][0], rest, atol=1e-9 * scale)
    assert_allclose(found["whole"][0], wanted, atol=1e-9 * scale)
    for whole, a, b, weight in [
        ("whole", "bare", "jacobian", 1),
        ("whole", "prior", "likelihood", 1),
        ("prior", "bare_prior", "jacobian", 1),
        ("tempered", "prior", "likelihood", 0.3),
    ]:
        for got, x, y in zip(found[whole], found[a], found[b], strict=True):
            assert_allclose(got, x + weight * y, rtol=1e-9, atol=1e-9 * scale, err_msg=whole)
    assert_allclose(found["propto"][1], found["whole"][1], rtol=1e-9, atol=1e-9 * scale)


def _numpyro(model, compiled, data, z):
    """NumPyro's terms by site at the point, and with the Jacobian the log density."""
    terms = site_log_probs(model, compiled.constrain(z), data)
    return sum(np.sum(t) for t in terms.values()) + compiled.log_det_jacobian(z), terms


@pytest.mark.parametrize("model", some(MODELS), ids=lambda model: model.name)
def test_what_propto_leaves_out_is_the_same_at_every_point(model):
    compiled, _ = compiled_of(model)
    points = np.random.default_rng(0).uniform(-1, 1, (3, compiled.dim))
    both = jax.jit(jax.vmap(lambda z: (compiled.log_density(z), compiled.log_density(z, propto=True))))(points)
    out = both[0] - both[1]
    assert_allclose(out, out[:1].repeat(3), rtol=1e-9, atol=1e-9 * np.abs(both[0]).max())


def rows(x, y, weight=None):
    slope = plait.sample("slope", dist.Normal(0, 2))
    sigma = plait.sample("sigma", dist.HalfNormal(1))
    with plait.plate("rows", len(x)):
        plait.sample("y", dist.Normal(slope * x, sigma), obs=y)
    if weight is not None:
        plait.factor("extra", weight * slope)


X, Y = np.array([0.5, 1.0, -2.0, 0.3]), np.array([0.1, 0.9, -1.7, 0.6])
VALUES = {"slope": 0.7, "sigma": 0.4}


def test_closed_forms():
    compiled = plait.compile(rows, X, Y, 3.0)
    z = compiled.unconstrain(VALUES)
    log_prior = stats.norm(0, 2).logpdf(0.7) + stats.halfnorm(0, 1).logpdf(0.4)
    log_likelihood = stats.norm(0.7 * X, 0.4).logpdf(Y).sum() + 3.0 * 0.7
    assert_allclose(compiled.log_prior(z, jacobian=False), log_prior, rtol=1e-12)
    assert_allclose(compiled.total_log_likelihood(z), log_likelihood, rtol=1e-12)
    assert_allclose(compiled.log_det_jacobian(z), np.log(0.4), rtol=1e-12)


def test_propto_leaves_all_constants_out():
    def model(y):
        mu = plait.sample("mu", dist.Normal(0, 1))
        plait.sample("y", dist.Normal(mu, 1).expand([3]).to_event(1), obs=y)
        plait.factor("constant", 7.0)

    compiled = plait.compile(model, np.zeros(3))
    assert_allclose(compiled.log_density(np.array([0.8]), propto=True), -0.5 * 4 * 0.64, rtol=1e-12)


def test_propto_keeps_what_params_decide():
    def model(y):
        scale = plait.param("scale", 2.0)
        mu = plait.sample("mu", dist.Normal(0, 1))
        plait.sample("y", dist.Normal(0.0, scale), obs=y)
        return mu

    compiled = plait.compile(model, 1.5)
    z = np.array([0.3])
    got = [compiled.log_density(z, {"scale": s}, propto=True) for s in (1.0, 3.0)]
    assert_allclose(got[1] - got[0], stats.norm(0, 3).logpdf(1.5) - stats.norm(0, 1).logpdf(1.5), rtol=1e-12)


def test_without_jacobian_the_mode_is_that_of_the_constrained_values():
    def model():
        plait.sample("rate", dist.Gamma(3.0, 2.0))

    compiled = plait.compile(model)
    at_mode = compiled.unconstrain({"rate": 1.0})  # (3 - 1) / 2
    assert_allclose(compiled.log_density_and_grad(at_mode, jacobian=False)[1], 0, atol=1e-12)
    assert abs(compiled.log_density_and_grad(at_mode)[1][0]) > 0.1


def test_an_observation_outside_its_support_is_impossible_for_the_likelihood_alone():
    def model(y):
        log_rate = plait.sample("log_rate", dist.Normal(0, 1))
        plait.sample("y", dist.Uniform(0, jnp.exp(log_rate)), obs=y)

    compiled = plait.compile(model, 5.0)
    z = np.array([0.1])
    assert compiled.total_log_likelihood(z) == -jnp.inf
    assert_allclose(compiled.log_prior(z), stats.norm.logpdf(0.1), rtol=1e-12)


# -- tempered -------------------------------------------------------------------------------------------


def test_at_beta_0_an_impossible_likelihood_does_not_matter():
    def model(y):
        width = plait.sample("width", dist.HalfNormal(1.0))
        plait.factor("inside", jnp.where(y > width, -jnp.inf, jnp.log(width)))

    compiled = plait.compile(model, 5.0)
    z = np.array([0.1])
    prior = jax.value_and_grad(compiled.log_prior)(z)
    assert compiled.total_log_likelihood(z) == -jnp.inf
    for got, wanted in zip(compiled.tempered_log_density_and_grad(z, 0.0), prior, strict=True):
        assert_allclose(got, wanted, rtol=1e-12)
    assert compiled.tempered_log_density(z, 0.0) == prior[0]
    assert compiled.tempered_log_density(z, 0.5) == -jnp.inf


def test_beta_is_an_input():
    compiled = plait.compile(rows, X, Y, 3.0)
    z = np.array([0.3, -0.4])
    betas = np.array([0.0, 0.25, 1.0])
    traces = []

    @jax.jit
    def density(beta):
        traces.append(beta)
        return compiled.tempered_log_density(z, beta)

    got = [density(beta) for beta in betas]
    assert len(traces) == 1
    assert_allclose(got, compiled.log_prior(z) + betas * compiled.total_log_likelihood(z), rtol=1e-12)
    assert_allclose(got[-1], compiled.log_density(z), rtol=1e-12)
    assert_allclose(jax.vmap(lambda b: compiled.tempered_log_density(z, b))(betas), got, rtol=1e-12)
    value, grad = compiled.tempered_log_density_and_grad(z, 0.25)
    assert_allclose(value, got[1], rtol=1e-12)
    assert_allclose(grad, jax.grad(compiled.tempered_log_density)(z, 0.25), rtol=1e-12)


def test_a_beta_that_is_no_number_is_refused():
    compiled = plait.compile(rows, X, Y)
    with pytest.raises(ValueNamesError, match="beta is one number"):
        compiled.tempered_log_density(np.zeros(2), np.ones(3))


# -- data -----------------------------------------------------------------------------------------------


def test_the_parts_follow_new_data_without_a_compilation():
    compiled = plait.compile(rows, X, Y, 1.0)
    z = np.array([0.3, -0.4])
    compiled.total_log_likelihood(z)
    likelihood = compiled._of(LIKELIHOOD)._program
    other = compiled.bind(y=Y + 1)
    slope, sigma = compiled.constrain(z).values()
    wanted = stats.norm(slope * X, sigma).logpdf(Y + 1).sum() + slope
    with counting() as count:
        found = other.total_log_likelihood(z)
    assert count.compiles == 0
    assert_allclose(found, wanted, rtol=1e-10)
    assert other._of(LIKELIHOOD)._program is likelihood


def test_rows_of_a_likelihood_are_fused_as_those_of_the_density():
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    compiled = plait.compile(rows, x, 2 * x)
    explained = plait.compile(rows, x, 2 * x)._of(LIKELIHOOD).explain()
    assert "500 → 1" in str(explained)
    assert "500 → 1" in str(compiled.explain())


def test_parts_of_data_that_a_jit_traces():
    compiled = plait.compile(rows, X, Y, 1.0)
    z = np.array([0.3, -0.4])
    got = jax.jit(lambda y: compiled.bind(y=y).total_log_likelihood(z))(Y + 1)
    assert_allclose(got, compiled.bind(y=Y + 1).total_log_likelihood(z), rtol=1e-12)


def test_a_discrete_latent_has_no_parts_either():
    def model():
        plait.sample("n", dist.Poisson(2.0))

    with pytest.raises(ModelError, match="'n' has no unconstrained density"):
        plait.compile(model).log_prior(np.zeros(0))


# -- second derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize("model", some(MODELS)[::2], ids=lambda model: model.name)
def test_hessians_by_differences_of_gradients(model, jacobian):
    compiled, _ = compiled_of(model)
    rng = np.random.default_rng(1)
    z, v = rng.uniform(-1, 1, (2, compiled.dim))
    h = 1e-5

    def gradient(z):
        return compiled.log_density_and_grad(z, jacobian=jacobian)[1]

    wanted = (gradient(z + h * v) - gradient(z - h * v)) / (2 * h)
    scale = 1 + np.abs(gradient(z)).max() + np.abs(wanted).max()
    assert_allclose(compiled.hvp(z, v, jacobian=jacobian), wanted, atol=1e-6 * scale)
    hessian = compiled.hessian(z, jacobian=jacobian)
    assert_allclose(hessian @ v, wanted, atol=1e-6 * scale)
    assert_allclose(hessian, hessian.T, atol=1e-9 * scale)


# -- Stan's names ---------------------------------------------------------------------------------------


def shapes():
    plait.sample("b", dist.Normal(0, 1).expand([2, 3]).to_event(2))
    plait.sample("w", dist.Dirichlet(jnp.ones(3)))
    for i in range(2):
        plait.sample(f"s_{i}", dist.HalfNormal(1).expand([2]).to_event(1))


def test_names_as_stan_writes_them():
    compiled = plait.compile(shapes)
    assert compiled.param_names == (
        *("b.1.1", "b.2.1", "b.1.2", "b.2.2", "b.1.3", "b.2.3"),
        *("w.1", "w.2", "w.3", "s_0.1", "s_0.2", "s_1.1", "s_1.2"),
    )
    assert compiled.param_unc_names == (
        *("b.1.1", "b.1.2", "b.1.3", "b.2.1", "b.2.2", "b.2.3"),
        *("w.1", "w.2", "s_0.1", "s_0.2", "s_1.1", "s_1.2"),
    )
    assert [n.replace("[", ".").replace(",", ".").strip("]").count(".") for n in compiled.names] == [
        n.count(".") for n in compiled.param_unc_names
    ]


def test_constrained_values_in_stans_order():
    compiled = plait.compile(shapes)
    z = np.random.default_rng(0).normal(size=(4, 5, compiled.dim))
    theta = compiled.param_constrain(z)
    values = compiled.constrain(z)
    assert theta.shape == (4, 5, len(compiled.param_names))
    by_name = dict(zip(compiled.param_names, np.moveaxis(theta, -1, 0), strict=True))
    assert_allclose(by_name["b.2.3"], values["b"][..., 1, 2])
    assert_allclose(by_name["w.2"], values["w"][..., 1])
    assert_allclose(by_name["s_1.2"], values["s_1"][..., 1])
    assert_allclose(compiled.param_unconstrain(theta), z, rtol=1e-9)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ValueNamesError, match=r"has shape \(…, 13\), got \(12,\)"):
        plait.compile(shapes).param_unconstrain(np.zeros(12))
