"""The reference interpreter against scipy and closed forms: it must not be wrong in the same way as the passes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import plait
from plait.compiler.reference import element, interpret

Y = np.array([[0.3, -1.2, 2.0], [0.7, 0.1, -0.4]])


def hierarchy(y):
    mu = plait.sample("mu", dist.Normal(1.0, 2.0))
    tau = plait.sample("tau", dist.HalfNormal(3.0))
    with plait.plate("columns", 3, dim=-1):
        a = plait.sample("a", dist.Normal(mu, tau))
        with plait.plate("rows", 2, dim=-2):
            plait.sample("y", dist.StudentT(4.0, a, 0.5), obs=y)


def test_values_against_scipy() -> None:
    with jax.enable_x64(True):
        compiled = plait.compile(hierarchy, Y)
        point = {"mu": jnp.array(0.4), "tau": jnp.array(1.7), "a": jnp.array([0.1, -0.5, 2.2])}
        report = interpret(compiled.graph, [Y], [], point, unconstrained=False)
        wanted = {
            "mu": stats.norm(1, 2).logpdf(0.4),
            "tau": stats.halfnorm(scale=3).logpdf(1.7),
            "a": stats.norm(0.4, 1.7).logpdf([0.1, -0.5, 2.2]).sum(),
            "y": stats.t(4, [0.1, -0.5, 2.2], 0.5).logpdf(Y).sum(),
        }
        assert report.terms.keys() == wanted.keys()
        for name, total in wanted.items():
            np.testing.assert_allclose(report.terms[name], total, rtol=1e-12)
        assert not report.whole
        np.testing.assert_allclose(report.log_joint, compiled.log_joint(point), rtol=1e-12)


def test_jacobian_of_a_positive_value() -> None:
    """tau = exp(u): log |d tau / du| = u."""
    with jax.enable_x64(True):
        compiled = plait.compile(hierarchy, Y)
        point = {"mu": jnp.array(0.4), "tau": jnp.array(-0.3), "a": jnp.zeros(3)}
        report = interpret(compiled.graph, [Y], [], point, unconstrained=True)
        np.testing.assert_allclose(report.log_jacobian, -0.3, rtol=1e-12)
        np.testing.assert_allclose(report.values["tau"], np.exp(-0.3), rtol=1e-12)


BATCHED = {
    "normal": (dist.Normal(np.arange(6.0).reshape(2, 3), np.arange(1.0, 4.0)), ()),
    "expanded": (dist.Gamma(np.array([[1.0], [2.0]]), 3.0).expand([2, 3]), ()),
    "event": (dist.Normal(np.arange(24.0).reshape(2, 3, 4), 1.0).to_event(1), ()),
    "lognormal": (dist.LogNormal(np.arange(6.0).reshape(2, 3), 0.5), ()),
    "beta": (dist.Beta(np.full((2, 3), 2.0), np.arange(1.0, 4.0)), ()),
    "uniform": (dist.Uniform(np.zeros((2, 3)), np.arange(1.0, 4.0)), ()),
    "dirichlet": (dist.Dirichlet(np.ones((2, 3, 4))), ()),
    "mvn": (dist.MultivariateNormal(np.ones((2, 3, 2)), scale_tril=np.eye(2)), ()),
    "categorical": (dist.Categorical(logits=np.arange(24.0).reshape(2, 3, 4) / 10), ()),
    "masked": (dist.Normal(np.zeros((2, 3)), 1.0).mask(np.array([True, False, True])), ()),
    "affine": (
        dist.TransformedDistribution(
            dist.Normal(np.zeros((2, 3)), 1.0), dist.transforms.AffineTransform(np.arange(3.0), 2.0)
        ),
        (),
    ),
    "mixture": (
        dist.MixtureSameFamily(dist.Categorical(np.full((2, 3, 2), 0.5)), dist.Normal(np.zeros((2, 3, 2)), 1.0)),
        (),
    ),
}


@pytest.mark.parametrize("name", BATCHED)
def test_an_element_is_the_scalar_distribution(name: str) -> None:
    fn, _ = BATCHED[name]
    x = fn.sample(jax.random.key(0))
    whole = np.asarray(fn.log_prob(x))
    for index in np.ndindex(2, 3):
        one = element(fn, index)
        assert one is not None
        assert one.batch_shape == ()
        assert one.event_shape == fn.event_shape
        np.testing.assert_allclose(one.log_prob(x[index]), whole[index], rtol=1e-6, atol=1e-6)


def test_what_cannot_be_taken_apart_is_said() -> None:
    """A custom distribution whose array is declared by nothing: NumPyro evaluates the batch, and it is listed."""

    class Shifted(dist.Distribution):
        support = dist.constraints.real

        def __init__(self, by):
            self.by = by
            super().__init__(batch_shape=jnp.shape(by), event_shape=())

        def sample(self, key, sample_shape=()):
            return self.by + jax.random.normal(key, sample_shape + self.batch_shape)

        def log_prob(self, value):
            return -0.5 * (value - self.by) ** 2

    def model(by):
        with plait.plate("rows", 3):
            plait.sample("x", Shifted(by))

    compiled = plait.compile(model, np.arange(3.0), check=True)
    assert compiled.certificate.whole == ("x",)
    np.testing.assert_allclose(compiled.log_density(jnp.ones(3)), -0.5 * (1 + 0 + 1), rtol=1e-6)


def bounded(top):
    s = plait.sample("s", dist.Gamma(2.0, 2.0))
    with plait.plate("rows", 2):
        plait.sample("top", dist.Uniform(0.0, s), obs=top)


@pytest.mark.parametrize(("s", "allowed"), [(3.0, True), (1.5, False), (0.5, False)])
def test_an_observation_outside_a_support_that_latents_move_has_density_0(s, allowed) -> None:
    """NumPyro's Uniform has the same log_prob inside and outside."""
    top = np.array([1.0, 2.0])
    with jax.enable_x64(True):
        compiled = plait.compile(bounded, top, check=1)
        report = interpret(compiled.graph, [top], [], {"s": jnp.array(s)}, unconstrained=False)
        wanted = stats.gamma(2, scale=0.5).logpdf(s) + stats.uniform(0, s).logpdf(top).sum()
        np.testing.assert_allclose(report.log_joint, wanted, rtol=1e-12)
        np.testing.assert_allclose(compiled.log_joint({"s": s}), wanted, rtol=1e-12)
        assert np.isfinite(wanted) == allowed


@pytest.mark.parametrize("own", [True, False])
def test_what_is_masked_may_lie_anywhere(own) -> None:
    top, mask = np.array([1.0, 2.0]), np.array([True, False])

    def model(top):
        s = plait.sample("s", dist.Gamma(2.0, 2.0))
        with plait.plate("rows", 2), plait.handlers.mask(mask=True if own else mask):
            fn = dist.Uniform(0.0, s).expand([2])
            plait.sample("top", fn.mask(mask) if own else fn, obs=top)

    with jax.enable_x64(True):
        compiled = plait.compile(model, top)
        report = interpret(compiled.graph, [top], [], {"s": jnp.array(1.5)}, unconstrained=False)
        wanted = stats.gamma(2, scale=0.5).logpdf(1.5) + stats.uniform(0, 1.5).logpdf(1.0)
        np.testing.assert_allclose(report.log_joint, wanted, rtol=1e-12)
        np.testing.assert_allclose(compiled.log_joint({"s": 1.5}), wanted, rtol=1e-12)
