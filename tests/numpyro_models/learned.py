"""Models with values that are optimized, and with neural networks: stax, flax, nnx, equinox."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from flax import linen, nnx
from jax.example_libraries import stax
from numpyro.contrib.module import (
    eqx_module,
    flax_module,
    nnx_module,
    random_eqx_module,
    random_flax_module,
    random_nnx_module,
)
from numpyro.distributions import constraints
from numpyro.handlers import lift

from .case import Case


def empirical_bayes(y):
    loc = numpyro.param("loc", 0.0)
    scale = numpyro.param("scale", jnp.array(1.5), constraint=constraints.positive)
    with numpyro.plate("groups", y.shape[0]):
        theta = numpyro.sample("theta", dist.Normal(loc, scale))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def params_in_plates(y):
    start = numpyro.param("start", lambda key: jax.random.normal(key, (2,)))
    with numpyro.plate("groups", y.shape[0]):
        weights = numpyro.param(
            "weights", jnp.full((y.shape[0], 3), 1 / 3), constraint=constraints.simplex, event_dim=1
        )
        theta = numpyro.sample("theta", dist.Normal(start[0], 1.0))
        components = dist.Normal(theta[:, None] + start[1] * jnp.arange(3), 1.0)
        numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(probs=weights), components), obs=y)


def stax_regression(x, y=None):
    layers = stax.serial(stax.Dense(3), stax.Tanh, stax.Dense(1))
    net = numpyro.module("net", layers, input_shape=(x.shape[1],))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    with numpyro.plate("N", x.shape[0]):
        numpyro.sample("y", dist.Normal(net(x).squeeze(-1), sigma), obs=y)


def bayesian_network(x, y=None, hidden=3):
    n, p = x.shape
    w1 = numpyro.sample("w1", dist.Normal(jnp.zeros((p, hidden)), jnp.ones((p, hidden))))
    w2 = numpyro.sample("w2", dist.Normal(jnp.zeros((hidden, hidden)), 1.0))
    w3 = numpyro.sample("w3", dist.Normal(jnp.zeros((hidden, 1)), 1.0))
    output = jnp.tanh(jnp.tanh(x @ w1) @ w2) @ w3
    precision = numpyro.sample("precision", dist.Gamma(3.0, 1.0))
    with numpyro.plate("data", n):
        numpyro.sample("y", dist.Normal(output, 1 / jnp.sqrt(precision)).to_event(1), obs=y)


class TwoLayers(linen.Module):
    """A flax network."""

    width: int

    @linen.compact
    def __call__(self, x):
        return linen.Dense(1)(jnp.tanh(linen.Dense(self.width)(x)))


def flax_regression(x, y=None):
    net = flax_module("net", TwoLayers(3), input_shape=(1, x.shape[1]))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(net(x)[:, 0], sigma), obs=y)


def random_flax_regression(x, y=None):
    net = random_flax_module("net", TwoLayers(3), dist.Normal(0, 1), input_shape=(1, x.shape[1]))
    with numpyro.plate("N", len(x)):
        numpyro.sample("y", dist.Normal(net(x)[:, 0], 0.5), obs=y)


def random_flax_priors(x, y=None):
    def prior(name, shape):
        return dist.Cauchy() if "bias" in name else dist.Normal(0, 1 / np.sqrt(shape[0]))

    net = random_flax_module("net", TwoLayers(2), prior, input_shape=(1, x.shape[1]))
    numpyro.sample("y", dist.Bernoulli(logits=net(x)[:, 0]), obs=y)


def flax_priors_in_part(x, y=None):
    priors = {"Dense_0.kernel": dist.Normal(0, 1), "Dense_1.bias": dist.Laplace(0, 1)}
    net = random_flax_module("net", TwoLayers(2), priors, input_shape=(1, x.shape[1]))
    numpyro.sample("y", dist.Normal(net(x)[:, 0], 0.5), obs=y)


class Affine(nnx.Module):
    """A network in flax's newer interface."""

    def __init__(self, n_in, rngs):
        self.w = nnx.Param(jax.random.normal(rngs.params(), (n_in,)))
        self.b = nnx.Param(jnp.zeros(()))

    def __call__(self, x):
        return jnp.tanh(x @ self.w + self.b)


def nnx_regression(x, y=None):
    net = nnx_module("net", Affine(x.shape[1], nnx.Rngs(0)))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(net(x), sigma), obs=y)


def random_nnx_regression(net, x, y=None):
    net = random_nnx_module("net", net, prior={"w": dist.Normal(), "b": dist.StudentT(3.0)})
    with numpyro.plate("N", len(x)):
        numpyro.sample("y", dist.Normal(net(x), 0.5), obs=y)


def eqx_regression(net, x, y=None):
    net = eqx_module("net", net)
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))
    numpyro.sample("y", dist.Normal(jax.vmap(net)(x)[:, 0], sigma), obs=y)


def random_eqx_regression(net, x, y=None):
    net = random_eqx_module("net", net, prior=lambda name, shape: dist.Normal(0, 1 + len(shape)))
    with numpyro.plate("N", len(x)):
        numpyro.sample("y", dist.Normal(jax.vmap(net)(x)[:, 0], 0.5), obs=y)


def _cases():
    rng = np.random.default_rng(108)
    x, y = rng.normal(size=(7, 2)), rng.normal(size=7)

    def with_nnx():
        return Affine(2, nnx.Rngs(1)), x, y

    def with_eqx():
        return eqx.nn.MLP(2, 1, width_size=3, depth=1, activation=jnp.tanh, key=jax.random.key(3)), x, y

    prior = {"loc": dist.Normal(0, 1), "scale": dist.HalfNormal(2)}
    return (
        Case(empirical_bayes, (y,)),
        Case(empirical_bayes, (y,), around=partial(lift, prior=prior), label="lifted_params"),
        Case(params_in_plates, (y[:4],)),
        Case(stax_regression, (x, y)),
        Case(bayesian_network, (x, y[:, None])),
        Case(flax_regression, (x, y)),
        Case(random_flax_regression, (x, y)),
        Case(random_flax_priors, (x, (y > 0).astype(int))),
        Case(flax_priors_in_part, (x, y)),
        Case(nnx_regression, (x, y)),
        Case(random_nnx_regression, with_nnx),
        Case(eqx_regression, with_eqx),
        Case(random_eqx_regression, with_eqx),
    )


CASES = _cases()
