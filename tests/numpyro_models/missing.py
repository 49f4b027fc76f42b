"""Data that are censored, truncated or missing."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.handlers import mask

from .case import Case


def censored_by_factor(days, censored, treated):
    shape = numpyro.sample("shape", dist.Gamma(2, 1))
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([2]))
    scale = jnp.exp(beta[0] + beta[1] * treated)
    log_survival = -((days / scale) ** shape)
    log_event = dist.Weibull(scale, shape).log_prob(days)
    numpyro.factor("days", jnp.where(censored, log_survival, log_event).sum())


def censored_by_mask(days, censored):
    rate = numpyro.sample("rate", dist.Gamma(1.0, 1.0))
    with numpyro.plate("cats", days.shape[0]):
        with mask(mask=~censored):
            numpyro.sample("adopted", dist.Exponential(rate), obs=days)
        with mask(mask=censored):
            numpyro.factor("still_waiting", -rate * days)


def censored_by_latent(seen, cutoffs):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("seen_rows", len(seen)):
        numpyro.sample("seen", dist.Normal(mu, sigma), obs=seen)
    with numpyro.plate("censored_rows", len(cutoffs)):
        numpyro.sample("beyond", dist.TruncatedNormal(mu, sigma, low=cutoffs))


def censored_distribution(days, censored):
    loc = numpyro.sample("loc", dist.Normal(1, 1))
    scale = numpyro.sample("scale", dist.HalfNormal(1))
    with numpyro.plate("patients", len(days)):
        numpyro.sample("days", dist.RightCensoredDistribution(dist.LogNormal(loc, scale), censored), obs=days)


def truncated_incomes(y, floor=1.0):
    mu = numpyro.sample("mu", dist.Normal(2, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    share = numpyro.sample("share", dist.TruncatedNormal(0.5, 0.3, low=0.0, high=1.0))
    with numpyro.plate("N", len(y)):
        numpyro.sample("y", dist.LeftTruncatedDistribution(dist.StudentT(5.0, mu * share, sigma), low=floor), obs=y)


def imputed_by_obs_mask(x, x_seen, y):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        x = numpyro.sample("x", dist.Normal(mu, 1), obs=x, obs_mask=x_seen)
        numpyro.sample("y", dist.Normal(slope * x, 0.5), obs=y)


def imputed_responses(x, y, y_seen):
    a = numpyro.sample("a", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("rows", len(y)):
        numpyro.sample(
            "y", dist.MultivariateNormal(a * x[:, None] + jnp.zeros(2), sigma * jnp.eye(2)), y, obs_mask=y_seen
        )


def filled_by_latents(age, survived):
    holes = np.isnan(age).nonzero()[0]
    mu = numpyro.sample("mu", dist.Normal(0, 0.5))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    imputed = numpyro.sample("imputed", dist.Normal(mu, sigma).expand([len(holes)]).mask(False))
    age = jnp.asarray(age).at[holes].set(imputed)
    numpyro.sample("age", dist.Normal(mu, sigma), obs=age)
    effect = numpyro.sample("effect", dist.Normal(0, 1))
    numpyro.sample("survived", dist.Bernoulli(logits=effect * age), obs=survived)


def filled_in_plates(x, missing, seen, y):
    with numpyro.plate("missing", missing.shape[0]):
        x_missing = numpyro.sample("x_missing", dist.Normal(0, 1))
    with numpyro.plate("seen", seen.shape[0]):
        numpyro.sample("x_seen", dist.Normal(0, 1), obs=x[seen])
    filled = jnp.zeros(len(x)).at[missing].set(x_missing).at[seen].set(x[seen])
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(slope * filled, 1.0), obs=y)


def ragged_panels(y, length):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    seen = jnp.arange(y.shape[1]) < length[:, None]
    with numpyro.plate("people", y.shape[0], dim=-2):
        person = numpyro.sample("person", dist.Normal(mu, 1))
        with numpyro.plate("visits", y.shape[1], dim=-1), mask(mask=seen):
            numpyro.sample("y", dist.Normal(person, 0.7), obs=y)


def masked_distribution(y, seen):
    mu = numpyro.sample("mu", dist.Normal(0, 1).expand([y.shape[1]]).to_event(1))
    with numpyro.plate("rows", y.shape[0], dim=-2), numpyro.plate("columns", y.shape[1], dim=-1):
        numpyro.sample("y", dist.Laplace(mu, 1.0).mask(seen), obs=jnp.where(seen, y, 0.0))


def rounded_weights(weights):
    mu = numpyro.sample("mu", dist.Normal(10, 2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    with numpyro.plate("N", len(weights)):
        error = numpyro.sample("error", dist.Uniform(-0.5, 0.5))
        numpyro.factor("weights", dist.Normal(mu, sigma).log_prob(weights + error))


def _cases():
    rng = np.random.default_rng(107)
    days, censored = rng.exponential(2.0, 9) + 0.1, np.arange(9) % 3 == 0
    x, y = rng.normal(size=8), rng.normal(size=8)
    x_seen = np.array([True, False, True, True, False, True, True, True])
    holes = np.where(x_seen, x, np.nan)
    return (
        Case(censored_by_factor, (days, censored, np.arange(9) % 2)),
        Case(censored_by_mask, (days, censored)),
        Case(censored_by_latent, (x, np.array([0.5, 1.0, -0.3]))),
        Case(censored_distribution, (days, censored)),
        Case(truncated_incomes, (rng.exponential(2.0, 7) + 1,)),
        Case(imputed_by_obs_mask, (np.where(x_seen, x, 0.0), x_seen, y)),
        Case(imputed_by_obs_mask, (holes, x_seen, y), label="imputed_nan_by_obs_mask"),
        Case(imputed_responses, (x[:4], rng.normal(size=(4, 2)), x_seen[:4])),
        Case(filled_by_latents, (holes, (y > 0).astype(int)), static=("age",)),
        Case(filled_in_plates, (holes, np.flatnonzero(~x_seen), np.flatnonzero(x_seen), y)),
        Case(ragged_panels, (rng.normal(size=(4, 3)), np.array([3, 1, 2, 3]))),
        Case(masked_distribution, (np.where(x_seen, rng.normal(size=(3, 8)), np.nan), x_seen)),
        Case(rounded_weights, (np.array([10.0, 9.0, 12.0, 11.0, 10.0]),)),
    )


CASES = _cases()
