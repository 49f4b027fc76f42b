"""Regressions: one response, some predictors, a link and a noise."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.transforms import OrderedTransform

from .case import Case


def mean_and_spread(y):
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    sigma = numpyro.sample("sigma", dist.HalfNormal(5))
    numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def linear_regression(x, y=None):
    intercept = numpyro.sample("intercept", dist.Normal(0, 10))
    slopes = numpyro.sample("slopes", dist.Normal(0, 2).expand([x.shape[1]]).to_event(1))
    noise = numpyro.sample("noise", dist.Exponential(1.0))
    mean = numpyro.deterministic("mean", intercept + x @ slopes)
    numpyro.sample("y", dist.Normal(mean, noise), obs=y)


def named_predictors(columns, y=None):
    mean = numpyro.sample("intercept", dist.Normal(0.0, 1.0))
    for name, column in columns.items():
        standardized = (column - column.mean()) / column.std()
        mean = mean + numpyro.sample(f"b_{name}", dist.Laplace(0.0, 0.5)) * standardized
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.0))
    with numpyro.plate("rows", len(mean)):
        numpyro.sample("y", dist.Normal(mean, sigma), obs=y)


def robust_regression(x, y=None):
    a = numpyro.sample("a", dist.Normal(0, 5))
    b = numpyro.sample("b", dist.Normal(0, 5))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    nu = numpyro.sample("nu", dist.Gamma(2, 0.1))
    with numpyro.plate("N", x.shape[0]):
        numpyro.sample("y", dist.StudentT(nu, a + b * x, sigma), obs=y)


def quantile_regression(x, y=None, quantile=0.8):
    a = numpyro.sample("a", dist.Normal(0, 3))
    b = numpyro.sample("b", dist.Normal(0, 3))
    scale = numpyro.sample("scale", dist.InverseGamma(3.0, 2.0))
    with numpyro.plate("N", len(x)):
        numpyro.sample("y", dist.AsymmetricLaplaceQuantile(a + b * x, scale, quantile), obs=y)


def heteroscedastic_regression(x, y=None):
    beta = numpyro.sample("beta", dist.Normal(jnp.zeros(3), jnp.array([2.0, 1.0, 0.5])))
    gamma = numpyro.sample("gamma", dist.Normal(0, 1), sample_shape=(2,))
    design = jnp.stack([jnp.ones_like(x), x, x**2], axis=-1)
    numpyro.sample("y", dist.Normal(design @ beta, jnp.exp(gamma[0] + gamma[1] * x)).to_event(1), obs=y)


def logistic_regression(x, passed=None):
    n, p = x.shape
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("predictors", p):
        beta = numpyro.sample("beta", dist.Normal(0.0, scale))
    intercept = numpyro.sample("intercept", dist.StudentT(7.0, 0.0, 2.5))
    with numpyro.plate("students", n):
        numpyro.sample("passed", dist.Bernoulli(logits=intercept + jnp.dot(x, beta)), obs=passed)


def poisson_regression(exposure, treated, counts=None):
    rate = numpyro.sample("rate", dist.LogNormal(0.0, 1.0))
    effect = numpyro.sample("effect", dist.Normal(0.0, 0.5))
    numpyro.deterministic("ratio", jnp.exp(effect))
    with numpyro.plate("visits", exposure.shape[0]):
        log_mean = jnp.log(exposure) + jnp.log(rate) + effect * treated
        numpyro.sample("counts", dist.Poisson(jnp.exp(log_mean)), obs=counts)


def negative_binomial_regression(traps, complaints=None):
    alpha = numpyro.sample("alpha", dist.Normal(1, 1))
    beta = numpyro.sample("beta", dist.Normal(-0.25, 0.5))
    inverse_phi = numpyro.sample("inverse_phi", dist.HalfNormal(1))
    phi = numpyro.deterministic("phi", 1 / inverse_phi)
    mean = jnp.exp(alpha + beta * traps)
    numpyro.sample("complaints", dist.NegativeBinomial2(mean, phi), obs=complaints)


def ordinal_regression(x, rating=None, n_levels=4):
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    thresholds = numpyro.sample(
        "thresholds",
        dist.TransformedDistribution(dist.Normal(0, 2).expand([n_levels - 1]), OrderedTransform()),
    )
    with numpyro.plate("answers", x.shape[0]):
        numpyro.sample("rating", dist.OrderedLogistic(slope * x, thresholds), obs=rating)


def ordered_probit(x, rating):
    cuts = numpyro.sample("cuts", dist.ImproperUniform(constraints.ordered_vector, (), event_shape=(3,)))
    numpyro.factor("cuts_prior", dist.Normal(0, 5).log_prob(cuts).sum())
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    below = dist.Normal(slope * x[:, None], 5.0).cdf(cuts)
    edges = jnp.concatenate([jnp.zeros_like(x)[:, None], below, jnp.ones_like(x)[:, None]], axis=1)
    with numpyro.plate("answers", x.shape[0]):
        numpyro.sample("rating", dist.Categorical(probs=jnp.diff(edges, axis=1)), obs=rating)


def multinomial_logit(x, choice=None, n_choices=3):
    with numpyro.plate("options", n_choices - 1, dim=-1):
        with numpyro.plate("features", x.shape[1], dim=-2):
            free = numpyro.sample("free", dist.Normal(0.0, 1.5))
        intercepts = numpyro.sample("intercepts", dist.Normal(0.0, 3.0))
    beta = jnp.concatenate([free, jnp.zeros((x.shape[1], 1))], axis=1)
    logits = x @ beta + jnp.append(intercepts, 0.0)
    with numpyro.plate("choosers", x.shape[0]):
        numpyro.sample("choice", dist.Categorical(logits=logits), obs=choice)


def multinomial_counts(votes, swing):
    base = numpyro.sample("base", dist.Normal(0, 1).expand([votes.shape[1]]).to_event(1))
    pull = numpyro.sample("pull", dist.Normal(0, 1).expand([votes.shape[1]]).to_event(1))
    with numpyro.plate("districts", votes.shape[0]):
        shares = jax.nn.softmax(base + pull * swing[:, None], axis=-1)
        numpyro.sample("votes", dist.Multinomial(votes.sum(-1), probs=shares), obs=votes)


def overdispersed_trials(treatment, tumors, animals):
    mean = numpyro.sample("mean", dist.Beta(1, 1).expand([2]).to_event(1))
    size = numpyro.sample("size", dist.Pareto(0.5, 1.5))
    with numpyro.plate("cages", tumors.shape[0]):
        p = mean[treatment]
        numpyro.sample("tumors", dist.BetaBinomial(p * size, (1 - p) * size, animals), obs=tumors)


def horseshoe_regression(x, y=None, slab_scale=2.0):
    n, p = x.shape
    tau = numpyro.sample("tau", dist.HalfCauchy(0.1))
    c2 = slab_scale**2 * numpyro.sample("c2", dist.InverseGamma(2.0, 2.0))
    with numpyro.plate("coefficients", p):
        lam = numpyro.sample("lam", dist.HalfCauchy(1.0))
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        lam_tilde = jnp.sqrt(c2) * lam / jnp.sqrt(c2 + tau**2 * lam**2)
        beta = numpyro.deterministic("beta", z * tau * lam_tilde)
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("N", n):
        numpyro.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def wind_direction(hour, angle=None):
    north = numpyro.sample("north", dist.VonMises(0.0, 1.0))
    shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
    kappa = numpyro.sample("kappa", dist.Gamma(2.0, 1.0))
    with numpyro.plate("hours", hour.shape[0]):
        numpyro.sample("angle", dist.VonMises(north + 2 * jnp.arctan(shift * hour), kappa), obs=angle)


def measurement_error(x_seen, x_error, y=None):
    a, b = (numpyro.sample(name, dist.Normal(0, 1)) for name in ("a", "b"))
    sigma = numpyro.sample("sigma", dist.Exponential(1))
    with numpyro.plate("states", len(x_seen)):
        x = numpyro.sample("x", dist.Normal(0, 1))
        numpyro.sample("x_seen", dist.Normal(x, x_error), obs=x_seen)
        numpyro.sample("y", dist.Normal(a + b * x, sigma), obs=y)


def seemingly_unrelated(x, y=None):
    n_responses = y.shape[1]
    with numpyro.plate_stack("coefficients", (x.shape[1], n_responses)):
        beta = numpyro.sample("beta", dist.Normal(0.0, 5.0))
    scales = numpyro.sample("scales", dist.HalfCauchy(jnp.full(n_responses, 2.5)).to_event(1))
    corr = numpyro.sample("corr", dist.LKJ(n_responses, concentration=2.0))
    covariance = jnp.outer(scales, scales) * corr
    with numpyro.plate("N", x.shape[0]):
        numpyro.sample("y", dist.MultivariateNormal(x @ beta, covariance_matrix=covariance), obs=y)


def _cases():
    rng = np.random.default_rng(101)
    x1, x2 = rng.normal(size=12), rng.normal(size=(12, 3))
    y = 0.5 + x2 @ [1.0, -0.5, 0.2] + 0.3 * rng.normal(size=12)
    columns = {"age": rng.uniform(20, 40, 12), "marriage": rng.normal(20, 3, 12)}
    levels = np.array([0, 1, 2, 3, 1, 2, 0, 3, 2, 1, 0, 2])
    votes = rng.multinomial(20, [0.5, 0.3, 0.2], size=6)
    return (
        Case(mean_and_spread, (y,)),
        Case(linear_regression, (x2,), {"y": y}),
        Case(linear_regression, (x2,), label="unobserved_response"),
        Case(named_predictors, (columns,), {"y": y}),
        Case(robust_regression, (x1, y)),
        Case(quantile_regression, (x1, y), {"quantile": 0.9}),
        Case(heteroscedastic_regression, (x1, y)),
        Case(logistic_regression, (x2,), {"passed": (y > 0.5).astype(int)}),
        Case(poisson_regression, (rng.uniform(1, 9, 10), np.arange(10) % 2 == 1), {"counts": rng.poisson(4, 10)}),
        Case(negative_binomial_regression, (rng.poisson(5, 15) * 1.0, rng.poisson(3, 15))),
        Case(ordinal_regression, (x1, levels)),
        Case(ordered_probit, (x1, levels)),
        Case(multinomial_logit, (x2, levels % 3)),
        Case(multinomial_counts, (votes, rng.normal(size=6))),
        Case(
            overdispersed_trials, (np.array([0, 1, 0, 1, 1]), np.array([2, 5, 0, 7, 3]), np.array([10, 11, 9, 12, 10]))
        ),
        Case(horseshoe_regression, (rng.normal(size=(8, 5)), y[:8])),
        Case(wind_direction, (np.linspace(-1, 1, 9), rng.uniform(-3, 3, 9))),
        Case(measurement_error, (x1[:7], rng.uniform(0.1, 0.4, 7), y[:7])),
        Case(seemingly_unrelated, (x2[:9], np.stack([y[:9], x1[:9]], axis=1))),
    )


CASES = _cases()
