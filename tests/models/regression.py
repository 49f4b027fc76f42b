"""Generalized linear models: a linear predictor and one of the usual links."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.stats import norm

from .model import Array


def logistic_regression(ppl: ModuleType, x: Array, y: Array | None = None) -> None:
    """y_i ~ Bernoulli(logit = alpha + x_i . beta)."""
    alpha = ppl.sample("alpha", dist.Normal(0, 2))
    beta = ppl.sample("beta", dist.Normal(jnp.zeros(x.shape[1]), 1).to_event(1))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Bernoulli(logits=alpha + x @ beta), obs=y)


def logistic_regression_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {"x": rng.normal(size=(12, 3)), "y": np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1])}


def sigmoid_regression(ppl: ModuleType, x: Array, y: Array | None = None) -> None:
    """y_i ~ Bernoulli(p = sigmoid(a + b x_i)): what a stability rewrite turns into logits."""
    a = ppl.sample("a", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Normal(0, 1))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Bernoulli(probs=jax.nn.sigmoid(a + b * x)), obs=y)


def sigmoid_regression_data() -> dict[str, np.ndarray]:
    return {"x": np.array([-1.0, -0.5, 0.25, 0.5, 1.5]), "y": np.array([0, 1, 0, 1, 1])}


def count_regression(
    ppl: ModuleType,
    x: Array,
    exposure: Array,
    trials: Array,
    events: Array | None = None,
    spread: Array | None = None,
    successes: Array | None = None,
) -> None:
    """eta_i = a + b x_i behind Poisson(e_i exp eta_i), NegBinomial2(exp eta_i, phi), Binomial(n_i, eta_i)."""
    a = ppl.sample("a", dist.Normal(0, 0.5))
    b = ppl.sample("b", dist.Normal(0, 0.5))
    phi = ppl.sample("phi", dist.Gamma(3, 1))
    eta = a + b * x
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("events", dist.Poisson(exposure * jnp.exp(eta)), obs=events)
        ppl.sample("spread", dist.NegativeBinomial2(jnp.exp(eta), phi), obs=spread)
        ppl.sample("successes", dist.Binomial(trials, logits=eta), obs=successes)


def count_regression_data() -> dict[str, np.ndarray]:
    return {
        "x": np.array([-1.0, -0.3, 0.1, 0.4, 0.4, 1.2]),
        "exposure": np.array([1.0, 2.0, 0.5, 1.5, 1.5, 3.0]),
        "trials": np.array([3, 5, 4, 10, 10, 7]),
        "events": np.array([0, 2, 1, 1, 2, 7]),
        "spread": np.array([1, 0, 0, 2, 5, 3]),
        "successes": np.array([1, 2, 2, 6, 7, 7]),
    }


def zero_inflated(ppl: ModuleType, x: Array, y: Array | None = None, z: Array | None = None) -> None:
    """y_i = 0 with chance gate, else Poisson(softplus(a + b x_i)); z_i the same over NegBinomial2."""
    gate = ppl.sample("gate", dist.Beta(2, 3))
    a = ppl.sample("a", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Normal(0, 1))
    rate = jax.nn.softplus(a + b * x)
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.ZeroInflatedPoisson(gate, rate), obs=y)
        ppl.sample("z", dist.ZeroInflatedDistribution(dist.NegativeBinomial2(rate, 2.0), gate_logits=a), obs=z)


def zero_inflated_data() -> dict[str, np.ndarray]:
    return {
        "x": np.array([-0.8, 0.0, 0.3, 0.9, 1.4]),
        "y": np.array([0, 0, 3, 0, 2]),
        "z": np.array([0, 1, 0, 0, 4]),
    }


def written_out(
    ppl: ModuleType, x: Array, y: Array | None = None, c: Array | None = None, k: Array | None = None
) -> None:
    """Probabilities and logarithms as a book has them; each has a form that neither overflows nor cancels."""
    a = ppl.sample("a", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Normal(0, 1))
    w = ppl.sample("w", dist.Normal(jnp.zeros(3), 1).to_event(1))
    eta = a + b * x
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Bernoulli(probs=1 / (1 + jnp.exp(-eta))), obs=y)
        ppl.sample("c", dist.Categorical(probs=jax.nn.softmax(eta[:, None] * w)), obs=c)
        ppl.sample("k", dist.Binomial(4, probs=norm.cdf(eta)), obs=k)
        ppl.factor("either", jnp.log(jnp.exp(-eta) + jnp.exp(eta)))
        ppl.factor("mixed", jnp.log(jnp.sum(jax.nn.softmax(w) * jnp.exp(eta[:, None] * w), -1)))
        ppl.factor("tails", jnp.log(1 - norm.cdf(eta)) + jnp.log(1 + jnp.exp(eta)) + jnp.log(1 - jax.nn.sigmoid(eta)))


def written_out_data() -> dict[str, np.ndarray]:
    return {
        "x": np.array([-1.0, -0.5, 0.25, 0.5]),
        "y": np.array([0, 1, 0, 1]),
        "c": np.array([2, 0, 1, 1]),
        "k": np.array([0, 3, 2, 4]),
    }
