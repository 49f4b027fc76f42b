"""Inverse CDFs of univariate distributions against scipy's, and against NumPyro's density: dx/du · density(x) = 1."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from numpy.testing import assert_allclose
from numpyro.distributions import transforms

from plait.compiler.quantiles.rules import NoQuantileError, quantile
from plait.compiler.quantiles.tails import Tails


class Between:
    """A distribution of scipy's between bounds."""

    def __init__(self, whole, low, high):
        self.whole, self.low, self.high = whole, whole.cdf(low), whole.cdf(high)

    def ppf(self, u):
        return self.whole.ppf(self.low + np.asarray(u) * (self.high - self.low))


INF = np.inf
CASES = {
    "asymmetric_laplace": (lambda: dist.AsymmetricLaplace(1.0, 2.0, 0.7), st.laplace_asymmetric(0.7, 1, 2)),
    "asymmetric_quantile": (lambda: dist.AsymmetricLaplaceQuantile(1.0, 2.0, 0.3), None),
    "cauchy": (lambda: dist.Cauchy(1.0, 2.0), st.cauchy(1, 2)),
    "gumbel": (lambda: dist.Gumbel(1.0, 2.0), st.gumbel_r(1, 2)),
    "laplace": (lambda: dist.Laplace(1.0, 2.0), st.laplace(1, 2)),
    "logistic": (lambda: dist.Logistic(1.0, 2.0), st.logistic(1, 2)),
    "normal": (lambda: dist.Normal(1.0, 2.0), st.norm(1, 2)),
    "soft_laplace": (lambda: dist.SoftLaplace(1.0, 2.0), st.hypsecant(1, 2)),
    "student_t": (lambda: dist.StudentT(3.0, 1.0, 2.0), st.t(3, 1, 2)),
    "beta": (lambda: dist.Beta(0.5, 3.0), st.beta(0.5, 3)),
    "beta_proportion": (lambda: dist.BetaProportion(0.3, 5.0), st.beta(1.5, 3.5)),
    "dagum": (lambda: dist.Dagum(2.0, 3.0, 4.0), st.burr(3, 2, scale=4)),
    "power_law": (lambda: dist.DoublyTruncatedPowerLaw(-2.0, 1.0, 3.0), st.truncpareto(1, 3)),
    "rising_power_law": (lambda: dist.DoublyTruncatedPowerLaw(1.0, 0.0, 3.0), st.powerlaw(2, scale=3)),
    "log_uniform_power_law": (lambda: dist.DoublyTruncatedPowerLaw(-1.0, 0.1, 3.0), st.loguniform(0.1, 3)),
    "exponential": (lambda: dist.Exponential(2.0), st.expon(scale=0.5)),
    "gamma": (lambda: dist.Gamma(0.3, 2.0), st.gamma(0.3, scale=0.5)),
    "chi2": (lambda: dist.Chi2(3.0), st.chi2(3)),
    "inverse_gamma": (lambda: dist.InverseGamma(3.0, 2.0), st.invgamma(3, scale=2)),
    "gompertz": (lambda: dist.Gompertz(1.0, 2.0), st.gompertz(1, scale=0.5)),
    "half_cauchy": (lambda: dist.HalfCauchy(2.0), st.halfcauchy(scale=2)),
    "half_normal": (lambda: dist.HalfNormal(2.0), st.halfnorm(scale=2)),
    "kumaraswamy": (lambda: dist.Kumaraswamy(2.0, 3.0), None),
    "levy": (lambda: dist.Levy(1.0, 2.0), st.levy(1, 2)),
    "lower_power_law": (lambda: dist.LowerTruncatedPowerLaw(-3.0, 2.0), st.pareto(2, scale=2)),
    "uniform": (lambda: dist.Uniform(-1.0, 4.0), st.uniform(-1, 5)),
    "weibull": (lambda: dist.Weibull(2.0, 3.0), st.weibull_min(3, scale=2)),
    "log_normal": (lambda: dist.LogNormal(1.0, 2.0), st.lognorm(2, scale=np.e)),
    "log_uniform": (lambda: dist.LogUniform(1.0, 3.0), st.loguniform(1, 3)),
    "pareto": (lambda: dist.Pareto(2.0, 3.0), st.pareto(3, scale=2)),
    "left_normal": (lambda: dist.TruncatedNormal(1.0, 2.0, low=0.5), Between(st.norm(1, 2), 0.5, INF)),
    "right_normal": (lambda: dist.TruncatedNormal(1.0, 2.0, high=0.5), Between(st.norm(1, 2), -INF, 0.5)),
    "normal_in_the_tail": (lambda: dist.TruncatedNormal(0.0, 1.0, low=12.0, high=14.0), st.truncnorm(12, 14)),
    "between_cauchy": (lambda: dist.TruncatedCauchy(1.0, 2.0, low=-4.0, high=9.0), Between(st.cauchy(1, 2), -4, 9)),
    "between_t": (
        lambda: dist.TruncatedDistribution(dist.StudentT(3.0, 0.0, 1.0), -9.0, -2.0),
        Between(st.t(3), -9, -2),
    ),
    "left_laplace": (lambda: dist.TruncatedDistribution(dist.Laplace(0.0, 1.0), -1.0), Between(st.laplace, -1, INF)),
    "left_logistic": (lambda: dist.TruncatedDistribution(dist.Logistic(0.0, 1.0), 1.0), Between(st.logistic, 1, INF)),
    "right_soft_laplace": (
        lambda: dist.TruncatedDistribution(dist.SoftLaplace(0.0, 1.0), high=1.0),
        Between(st.hypsecant, -INF, 1),
    ),
    "relaxed_bernoulli": (lambda: dist.RelaxedBernoulliLogits(jnp.array(0.7), jnp.array(0.2)), None),
    "falling_affine": (
        lambda: dist.TransformedDistribution(dist.Gumbel(0.0, 1.0), transforms.AffineTransform(1.0, -2.0)),
        st.gumbel_l(1, 2),
    ),
}
# float32 has all of them
U = np.float64([1e-12, 1e-5, 0.1, 0.5, 0.77, 1 - 1e-5]).astype(np.float32).astype(np.float64)
# the density of x near 1 can't be had of x itself, of which too few digits are left
NEAR_ONE = {"beta", "beta_proportion", "kumaraswamy", "relaxed_bernoulli"}
# NumPyro's density is 0/0 there
NO_DENSITY = {"normal_in_the_tail"}


def evaluated(name, u):
    """The values at u, their slopes, the log densities there, and the values at 0 and 1."""
    d = CASES[name][0]()

    def value(u):
        return quantile(d, Tails.at(u))

    def run(u):
        x, slope = jax.vmap(jax.value_and_grad(value))(u)
        return x, slope, d.log_prob(x), value(jnp.array([0.0, 1.0], u.dtype))

    return jax.device_get(jax.jit(run)(u))


@pytest.mark.parametrize("name", CASES)
def test_values_are_scipys_and_slopes_one_over_the_density(name):
    with jax.enable_x64(True):
        x, slope, log_prob, ends = evaluated(name, jnp.asarray(U))
    assert np.all(np.diff([ends[0], *x, ends[1]]) >= 0)
    assert np.all(np.diff(x) > 0)
    if name not in NO_DENSITY:
        cut = slice(0, 5) if name in NEAR_ONE else slice(None)
        assert_allclose((slope * np.exp(log_prob))[cut], 1.0, rtol=1e-9)
    reference = CASES[name][1]
    if reference is not None:
        assert_allclose(x[1:], reference.ppf(U[1:]), rtol=1e-8)
        assert_allclose(ends, reference.ppf([0.0, 1.0]), atol=1e-12, rtol=1e-12)
    narrow = jax.device_get(jax.jit(lambda u: quantile(CASES[name][0](), Tails.at(u)))(jnp.asarray(U, jnp.float32)))
    assert narrow.dtype == np.float32
    assert_allclose(narrow, x, rtol=1e-4, atol=1e-37)


def test_a_folded_distribution_has_the_law_of_the_absolute_value():
    d = dist.FoldedDistribution(dist.Normal(0.5, 1.0))
    u = (np.arange(2000) + 0.5) / 2000
    with jax.enable_x64(True):
        x = np.asarray(quantile(d, Tails.at(jnp.asarray(u))))
    assert st.kstest(x, st.foldnorm(0.5).cdf).statistic < 2e-3


def test_a_truncation_to_less_than_floating_point_holds_is_no_number():
    d = dist.TruncatedNormal(0.0, 1.0, low=50.0, high=51.0)
    assert np.isnan(quantile(d, Tails.at(jnp.array(0.5))))


def test_outside_the_interval_there_is_no_number():
    ds = dist.Uniform(0.0, 1.0), dist.Gamma(2.0, 1.0), dist.Beta(2.0, 1.0), dist.Normal(0.0, 1.0)
    p = Tails.at(jnp.array([-0.1, 1.1, np.nan]))
    assert np.all(np.isnan(jax.jit(lambda: [quantile(d, p) for d in ds])()))


class Mine(dist.Distribution):
    """A user's own: the square root of a uniform number."""

    support = dist.constraints.unit_interval

    def __init__(self):
        super().__init__((), ())

    def sample(self, key, sample_shape=()):
        return self.icdf(jax.random.uniform(key, sample_shape))

    def log_prob(self, value):
        return jnp.log(2 * value)

    def icdf(self, q):
        return jnp.sqrt(q)


class AnotherNormal(dist.Normal):
    """Not the normal that its base class is."""

    def sample(self, key, sample_shape=()):
        return 2 * super().sample(key, sample_shape)


def test_an_inverse_cdf_of_the_users_own_is_taken():
    assert_allclose(quantile(Mine(), Tails.at(jnp.array(0.25))), 0.5)


def test_a_subclass_with_other_draws_is_not_its_base_class():
    with pytest.raises(NoQuantileError, match="AnotherNormal"):
        quantile(AnotherNormal(0.0, 1.0), Tails.at(jnp.array(0.25)))
