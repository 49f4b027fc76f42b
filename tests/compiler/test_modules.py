"""Networks of four libraries: parameters in one param site, priors on them, mutable state, dropout keys."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from flax import nnx
from jax.example_libraries import stax

import plait
from plait.ir.errors import SiteTypeError
from tests.helpers import refused

N = dist.Normal
X = np.arange(10, dtype=np.float32).reshape(5, 2) / 10


class Linen(nn.Module):
    """One hidden layer; batch norm or dropout on demand."""

    norm: bool = False
    drop: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(3)(x))
        if self.norm:
            x = nn.BatchNorm(use_running_average=False, momentum=0.5)(x)
        if self.drop:
            x = nn.Dropout(0.5, deterministic=False)(x)
        return nn.Dense(1)(x)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(2, 3, rngs=rngs), nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x)))


STAX = stax.serial(stax.Dense(3), stax.Tanh, stax.Dense(1))
NNX = Nnx(nnx.Rngs(0))
EQX = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.tanh, key=jax.random.key(0))
NETWORKS = {"stax": STAX, "linen": Linen(), "nnx": NNX, "equinox": EQX}
networks = pytest.mark.parametrize("library", NETWORKS)


def called(library, net, x):
    return (jax.vmap(net) if library == "equinox" else net)(x)[:, 0]


def regression(library, make):
    nn = NETWORKS[library]
    shape = (5, 2) if library in ("stax", "linen") else None

    def model(x):
        net = make(nn, shape)
        with plait.plate("rows", 5):
            plait.sample("y", N(called(library, net, x), 1), obs=x[:, 0])

    return model


def weights_of(tree):
    """The four arrays of a network with one hidden layer, by their shapes."""
    found = {np.shape(x): np.asarray(x) for x in jax.tree.leaves(tree)}
    assert len(found) == 4
    return found


def by_hand(weights):
    """tanh(x W + b) w + c, whichever way round a library stores W."""
    kernel = weights[(2, 3)] if (2, 3) in weights else weights[(3, 2)].T
    last = weights[(3, 1)] if (3, 1) in weights else weights[(1, 3)].T
    return (np.tanh(X @ kernel + weights[(3,)]) @ last + weights[(1,)])[:, 0]


@networks
def test_parameters_are_one_param_site(library):
    compiled = plait.compile(regression(library, lambda nn, shape: plait.module("net", nn, shape)), X)
    params = compiled.init_param_values(jax.random.key(3))
    assert list(params) == ["net$params"]
    assert compiled.shapes == {}
    shifted = jax.tree.map(lambda w: w + 0.1, params)
    for given in (params, shifted):
        expected = N(by_hand(weights_of(given)), 1).log_prob(X[:, 0]).sum()
        np.testing.assert_allclose(compiled.log_joint({}, given), expected, rtol=1e-5)


@networks
def test_every_array_gets_a_prior(library):
    compiled = plait.compile(
        regression(library, lambda nn, shape: plait.random_module("net", nn, N(0, 2), shape)), X, check=1
    )
    assert compiled.params == {}
    assert all(name.startswith("net/") for name in compiled.shapes)
    values = compiled.constrain(jnp.linspace(-1, 1, compiled.dim))
    prior = sum(N(0, 2).log_prob(w).sum() for w in values.values())
    expected = prior + N(by_hand(weights_of(values)), 1).log_prob(X[:, 0]).sum()
    np.testing.assert_allclose(compiled.log_joint(values), expected, rtol=1e-5)


def test_priors_on_a_part_leave_the_rest_parameters():
    model = regression("linen", lambda nn, shape: plait.random_module("net", nn, {"Dense_0.kernel": N(0, 1)}, shape))
    compiled = plait.compile(model, X)
    assert compiled.shapes == {"net/Dense_0.kernel": (2, 3)}
    params = compiled.init_param_values(jax.random.key(0))
    assert params["net$params"]["Dense_0"]["kernel"] is None
    values = {"net/Dense_0.kernel": jnp.full((2, 3), 0.3)}
    weights = weights_of([params, values])
    expected = N(0, 1).log_prob(0.3) * 6 + N(by_hand(weights), 1).log_prob(X[:, 0]).sum()
    np.testing.assert_allclose(compiled.log_joint(values, params), expected, rtol=1e-5)


def test_a_prior_may_be_a_function_of_path_and_shape():
    model = regression(
        "stax", lambda nn, shape: plait.random_module("net", nn, lambda path, s: N(float(path[0]), len(s)), shape)
    )
    compiled = plait.compile(model, X)
    assert compiled.shapes == {"net/0.0": (2, 3), "net/0.1": (3,), "net/2.0": (3, 1), "net/2.1": (1,)}
    terms = compiled.log_prob_terms({name: jnp.zeros(shape) for name, shape in compiled.shapes.items()})
    np.testing.assert_allclose(terms["net/2.0"], N(2, 2).log_prob(0.0) * 3, rtol=1e-6)


def test_state_is_a_param_site_and_its_new_value_a_deterministic():
    def model(x):
        net = plait.module("net", Linen(norm=True), (5, 2), mutable=["batch_stats"])
        plait.sample("s", dist.HalfNormal(1))
        plait.sample("y", N(net(x)[:, 0], 1).to_event(1), obs=x[:, 0])

    compiled = plait.compile(model, X)
    params = compiled.init_param_values(jax.random.key(0))
    (stats,) = params["net$state"]["batch_stats"].values()
    np.testing.assert_array_equal(stats["mean"], np.zeros(3))
    hidden = params["net$params"]["Dense_0"]
    batch_mean = np.tanh(X @ hidden["kernel"] + hidden["bias"]).mean(0)
    reported = compiled.with_params(params).constrain(jnp.zeros(1), deterministic=True)
    (name,) = [n for n in reported if n.startswith("net$new_state") and n.endswith("['mean']")]
    np.testing.assert_allclose(reported[name], 0.5 * batch_mean, rtol=1e-5)


def test_a_dropout_key_is_an_argument():
    def model(x, key):
        net = plait.module("net", Linen(drop=True), (5, 2), apply_rng=["dropout"])
        plait.sample("y", N(net(x, rngs={"dropout": key})[:, 0], 1).to_event(1), obs=x[:, 0])

    compiled = plait.compile(model, X, jax.random.key(0))
    params = compiled.init_param_values(jax.random.key(1))
    first = compiled.log_joint({}, params)
    assert first == compiled.bind(key=jax.random.key(0)).log_joint({}, params)
    assert first != compiled.bind(key=jax.random.key(5)).log_joint({}, params)


@networks
def test_it_runs_eagerly(library):
    model = regression(library, lambda nn, shape: plait.module("net", nn, shape))
    sites = plait.handlers.trace(plait.handlers.seed(model, 0)).get_trace(X)
    assert list(sites) == ["net$params", "rows", "y"]
    weights_of(sites["net$params"]["value"])


def no_network():
    plait.module("net", dict)  # here


def test_what_is_no_network_is_refused():
    with refused(SiteTypeError, "'net'", "stax pair", "type", at=no_network):
        plait.compile(no_network)


def without_a_shape():
    plait.module("net", Linen())  # here


def test_linen_needs_the_shape_of_its_input():
    with refused(plait.ModelError, "'net'", "input_shape", at=without_a_shape):
        plait.compile(without_a_shape)
