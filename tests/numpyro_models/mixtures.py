"""Mixtures and zeros in excess, by distribution and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from numpyro.distributions.transforms import OrderedTransform

from .case import Case


def gaussian_mixture(y, n_components=3):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(n_components)))
    ordered = dist.TransformedDistribution(dist.Normal(0, 3).expand([n_components]), OrderedTransform())
    means = numpyro.sample("means", ordered)
    with numpyro.plate("components", n_components):
        scales = numpyro.sample("scales", dist.LogNormal(0, 0.5))
    with numpyro.plate("N", y.shape[0]):
        mixture = dist.MixtureSameFamily(dist.Categorical(probs=weights), dist.Normal(means, scales))
        numpyro.sample("y", mixture, obs=y)


def outlier_mixture(x, y):
    slope = numpyro.sample("slope", dist.Normal(0, 2))
    share = numpyro.sample("share", dist.Beta(1, 9))
    width = numpyro.sample("width", dist.HalfNormal(5))
    which = dist.Categorical(probs=jnp.stack([1 - share, share]))
    good = dist.Normal(slope * x, 0.5)
    bad = dist.Cauchy(jnp.zeros_like(x), jnp.full_like(x, 1.0) * width)
    numpyro.sample("y", dist.MixtureGeneral(which, [good, bad]), obs=y)


def mixture_by_hand(y):
    mix = numpyro.sample("mix", dist.Beta(5, 5))
    low = numpyro.sample("low", dist.Normal(-1, 2))
    gap = numpyro.sample("gap", dist.HalfNormal(2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2).expand([2]))
    per_component = jnp.stack(
        [
            jnp.log(mix) + dist.Normal(low, sigma[0]).log_prob(y),
            jnp.log1p(-mix) + dist.Normal(low + gap, sigma[1]).log_prob(y),
        ]
    )
    numpyro.factor("likelihood", logsumexp(per_component, axis=0).sum())


def zero_inflated_counts(camper, persons, caught=None):
    gate = jax.nn.sigmoid(numpyro.sample("a", dist.Normal(0, 1)) - numpyro.sample("b", dist.Normal(0, 1)) * persons)
    beta = numpyro.sample("beta", dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)))
    rate = jnp.exp(beta[0] + beta[1] * camper)
    with numpyro.plate("groups", camper.shape[0]):
        numpyro.sample("caught", dist.ZeroInflatedPoisson(gate, rate), obs=caught)


def zero_inflated_negative_binomial(x, counts):
    loc = numpyro.sample("loc", dist.Normal(0.0, 1.0))
    dispersion = numpyro.sample("dispersion", dist.Exponential(1.0))
    gate_logits = numpyro.sample("gate_logits", dist.Logistic(0.0, 1.0))
    base = dist.NegativeBinomial2(jnp.exp(loc + 0.3 * x), dispersion)
    numpyro.sample("counts", dist.ZeroInflatedDistribution(base, gate_logits=gate_logits), obs=counts)


def hurdle_counts(x, counts):
    p_zero = numpyro.sample("p_zero", dist.Uniform(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    rate = jnp.exp(slope * x)
    positive = jnp.log1p(-p_zero) + dist.Poisson(rate).log_prob(counts) - jnp.log1p(-jnp.exp(-rate))
    with numpyro.plate("N", counts.shape[0]):
        numpyro.factor("hurdle", jnp.where(counts == 0, jnp.log(p_zero), positive))


def change_point(disasters):
    early = numpyro.sample("early", dist.Exponential(1.0))
    late = numpyro.sample("late", dist.Exponential(1.0))
    years = jnp.arange(len(disasters))
    before = years[None, :] < years[:, None]
    rates = jnp.where(before, early, late)
    by_switch = dist.Poisson(rates).log_prob(disasters).sum(-1) - jnp.log(len(disasters))
    numpyro.factor("disasters", logsumexp(by_switch))
    numpyro.deterministic("switch_probs", jax.nn.softmax(by_switch))


def topic_mixture(words, doc, n_docs, n_words, n_topics=2):
    with numpyro.plate("docs", n_docs):
        theta = numpyro.sample("theta", dist.Dirichlet(jnp.full(n_topics, 0.8)))
    with numpyro.plate("topics", n_topics):
        phi = numpyro.sample("phi", dist.Dirichlet(jnp.full(n_words, 0.5)))
    with numpyro.plate("tokens", words.shape[0]):
        numpyro.sample("words", dist.Categorical(probs=(theta @ phi)[doc]), obs=words)


def compositions(counts):
    concentration = numpyro.sample("concentration", dist.Gamma(2.0, 0.5))
    center = numpyro.sample("center", dist.Dirichlet(jnp.ones(counts.shape[-1])))
    with numpyro.plate("samples", counts.shape[0]):
        totals = counts.sum(-1)
        numpyro.sample("counts", dist.DirichletMultinomial(concentration * center, totals), obs=counts)


def _cases():
    rng = np.random.default_rng(103)
    y = np.concatenate([rng.normal(-2, 0.6, 6), rng.normal(0, 0.4, 5), rng.normal(3, 0.8, 6)])
    x = rng.normal(size=9)
    counts = np.array([0, 0, 3, 1, 0, 5, 2, 0, 1])
    words, doc = rng.integers(0, 5, 14), np.sort(rng.integers(0, 3, 14))
    return (
        Case(gaussian_mixture, (y,)),
        Case(outlier_mixture, (x, 1.5 * x + rng.normal(size=9))),
        Case(mixture_by_hand, (y,)),
        Case(zero_inflated_counts, (np.arange(9) % 2, np.arange(9) % 4, counts)),
        Case(zero_inflated_negative_binomial, (x, counts)),
        Case(hurdle_counts, (x, counts)),
        Case(change_point, (np.array([4, 5, 4, 1, 0, 4, 3, 1, 1, 0, 1, 0]),)),
        Case(topic_mixture, (words, doc, 3, 5)),
        Case(compositions, (rng.multinomial(15, [0.2, 0.5, 0.3], size=5),)),
    )


CASES = _cases()
