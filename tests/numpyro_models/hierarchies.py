"""Hierarchies: groups that share what they know."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import AffineTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import CircularReparam, LocScaleReparam, ProjectedNormalReparam, TransformReparam

from .case import Case


def eight_schools(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", len(sigma)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("obs", dist.Normal(theta, sigma), obs=y)


def noncentered_schools(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", len(sigma)), reparam(config={"theta": LocScaleReparam(0)}):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
    with numpyro.plate("measurements", len(sigma)):
        numpyro.sample("obs", dist.Normal(theta, sigma), obs=y)


def transformed_schools(sigma, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    log_tau = numpyro.sample("log_tau", dist.Normal(5, 1))
    with numpyro.plate("schools", len(sigma)):
        with reparam(config={"theta": TransformReparam()}):
            shift = AffineTransform(mu, jnp.exp(log_tau))
            theta = numpyro.sample("theta", dist.TransformedDistribution(dist.Normal(0.0, 1.0), shift))
        numpyro.sample("obs", dist.Normal(theta, sigma), obs=y)


def partial_pooling(county, floor, log_radon=None):
    n_counties = len(np.unique(county))
    mu_a = numpyro.sample("mu_a", dist.Normal(0.0, 1.0))
    sigma_a = numpyro.sample("sigma_a", dist.HalfNormal(1.0))
    mu_b = numpyro.sample("mu_b", dist.Normal(0.0, 1.0))
    sigma_b = numpyro.sample("sigma_b", dist.HalfNormal(1.0))
    with numpyro.plate("counties", n_counties):
        a = numpyro.sample("a", dist.Normal(mu_a, sigma_a))
        b = numpyro.sample("b", dist.Normal(mu_b, sigma_b))
    eps = numpyro.sample("eps", dist.HalfCauchy(1.0))
    with numpyro.plate("homes", len(county)):
        numpyro.sample("log_radon", dist.Normal(a[county] + b[county] * floor, eps), obs=log_radon)


def crossed_effects(data, n_actors, n_blocks):
    intercept = numpyro.sample("intercept", dist.Normal(0, 1.5))
    with numpyro.plate("actors", n_actors):
        actor = numpyro.sample("actor", dist.Normal(0, numpyro.sample("sigma_actor", dist.Exponential(1))))
    sigma_block = numpyro.sample("sigma_block", dist.Exponential(1))
    with numpyro.plate("blocks", n_blocks):
        block = numpyro.sample("block", dist.Normal(0, sigma_block))
    logits = intercept + actor[data["actor"]] + block[data["block"]]
    numpyro.sample("pulled", dist.Binomial(data["trials"], logits=logits), obs=data["pulled"])


def varying_slopes(cafe, afternoon, wait=None, n_cafes=4):
    average = numpyro.sample("average", dist.Normal(jnp.array([3.0, -1.0]), 1.0).to_event(1))
    spread = numpyro.sample("spread", dist.Exponential(1).expand([2]).to_event(1))
    corr = numpyro.sample("corr", dist.LKJCholesky(2, concentration=2))
    with numpyro.plate("cafes", n_cafes):
        effect = numpyro.sample("effect", dist.MultivariateNormal(average, scale_tril=spread[:, None] * corr))
    noise = numpyro.sample("noise", dist.Exponential(1))
    mean = effect[cafe, 0] + effect[cafe, 1] * afternoon
    with numpyro.plate("visits", cafe.shape[0]):
        numpyro.sample("wait", dist.Normal(mean, noise), obs=wait)


def noncentered_slopes(group, x, y=None, n_groups=3):
    n_effects = x.shape[1]
    tau = numpyro.sample("tau", dist.HalfNormal(1).expand([n_effects]).to_event(1))
    corr = numpyro.sample("corr", dist.LKJCholesky(n_effects, 1.5))
    with numpyro.plate("effects", n_effects, dim=-2), numpyro.plate("groups", n_groups, dim=-1):
        z = numpyro.sample("z", dist.Normal(0, 1))
    effects = numpyro.deterministic("effects_by_group", (tau[:, None] * corr @ z).T)
    numpyro.deterministic("correlation", corr @ corr.T)
    with numpyro.plate("N", x.shape[0]):
        numpyro.sample("y", dist.Normal((x * effects[group]).sum(-1), 0.5), obs=y)


def schools_in_districts(scores, hours):
    n_districts, n_schools = scores.shape
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0), sample_shape=(3,))
    districts = numpyro.plate("districts", n_districts, dim=-2)
    schools = numpyro.plate("schools", n_schools, dim=-1)
    with districts:
        district = numpyro.sample("district", dist.Normal(0.0, sd[0]))
        with schools:
            school = numpyro.sample("school", dist.Normal(district, sd[1]))
            numpyro.sample("score", dist.Normal(school + slope * hours, sd[2]), obs=scores)


def zero_sum_effects(region, votes=None, n_regions=5):
    intercept = numpyro.sample("intercept", dist.Normal(0, 1))
    scale = numpyro.sample("scale", dist.HalfNormal(1))
    effect = numpyro.sample("effect", dist.ZeroSumNormal(scale, event_shape=(n_regions,)))
    with numpyro.plate("polls", region.shape[0]):
        numpyro.sample("votes", dist.Bernoulli(logits=intercept + effect[region]), obs=votes)


def home_ranges(turn, heading):
    center = numpyro.sample("center", dist.VonMises(0.0, 2.0))
    with reparam(config={"drift": CircularReparam(), "axis": ProjectedNormalReparam()}):
        drift = numpyro.sample("drift", dist.VonMises(center, 4.0))
        axis = numpyro.sample("axis", dist.ProjectedNormal(jnp.array([1.0, 0.0])))
    numpyro.sample("turn", dist.VonMises(drift, 3.0), obs=turn)
    numpyro.sample("heading", dist.VonMises(jnp.arctan2(axis[1], axis[0]), 2.0), obs=heading)


def _cases():
    rng = np.random.default_rng(102)
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    sigma = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    county = np.array([0, 0, 1, 1, 1, 2, 3, 3, 2, 0])
    pulls = {
        "actor": np.array([0, 0, 1, 1, 2, 2, 3, 3]),
        "block": np.array([0, 1, 2, 0, 1, 2, 0, 1]),
        "trials": np.full(8, 6),
        "pulled": rng.binomial(6, 0.6, size=8),
    }
    visits = rng.normal(3, 1, size=10), rng.normal(size=10)

    def centered(by=None):
        return partial(reparam, config={"theta": LocScaleReparam(by)})

    return (
        Case(eight_schools, (sigma,), {"y": y}),
        Case(noncentered_schools, (sigma,), {"y": y}),
        Case(eight_schools, (sigma,), {"y": y}, around=centered(by=0.4), label="reparam_from_outside"),
        Case(eight_schools, (sigma,), {"y": y}, around=centered(), label="learned_centering"),
        Case(transformed_schools, (sigma,), {"y": y}),
        Case(partial_pooling, (county, np.arange(10) % 2, visits[0]), static=("county",)),
        Case(crossed_effects, (pulls, 4, 3)),
        Case(varying_slopes, (county, np.arange(10) % 2, visits[0])),
        Case(noncentered_slopes, (county % 3, rng.normal(size=(10, 2)), visits[1])),
        Case(schools_in_districts, (rng.normal(size=(3, 4)), rng.normal(size=(3, 4)))),
        Case(zero_sum_effects, (np.array([0, 1, 2, 3, 4, 4, 2]), np.array([0, 1, 1, 0, 1, 0, 1]))),
        Case(home_ranges, (rng.uniform(-1, 1, 5), rng.uniform(-1, 1, 6))),
    )


CASES = _cases()
