"""The ELBO against NumPyro's `Trace_ELBO`: value and gradient in mean over many keys, of one text for both."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.example_libraries import stax
from numpyro.distributions import constraints
from numpyro.infer import Trace_ELBO
from numpyro.infer.autoguide import AutoIAFNormal, AutoNormal

import plait

POSITIVE = constraints.positive
N = 2000


pytestmark = pytest.mark.usefixtures("float64")


# -- models and guides ------------------------------------------------------------------------------------


def eight_schools(ppl, sigma, y):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("obs", dist.Normal(theta, sigma), obs=y)


def schools_guide(ppl, sigma, y):
    """theta depends on the other draws; tau is drawn by implicit reparametrization."""
    mu = ppl.sample("mu", dist.Normal(ppl.param("m", 1.0), ppl.param("s", 0.5, constraint=POSITIVE)))
    tau = ppl.sample("tau", dist.Gamma(ppl.param("a", 12.0, constraint=POSITIVE), 2.0))
    with ppl.plate("schools", len(y)):
        weight = ppl.param("weight", 0.3, constraint=constraints.unit_interval)
        ppl.sample("theta", dist.Normal(weight * y + (1 - weight) * mu, tau))


SCHOOLS = {
    "sigma": np.array([15.0, 10, 16, 11, 9, 11, 10, 18]),
    "y": np.array([28.0, 8, -3, 7, -1, 1, 18, 12]),
}


def _rows(size):
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(size, 3)), "y": rng.normal(size=(size, 5))}


def batches(ppl, x, y):
    """Two nested plates, both subsampled, local latents in one, and a param of the model."""
    noise = ppl.param("noise", 0.7, constraint=POSITIVE)
    weights = ppl.sample("weights", dist.Dirichlet(jnp.array([1.0, 2.0, 1.5])))
    with ppl.plate("rows", y.shape[0], 2, dim=-2) as i:
        scale = ppl.sample("scale", dist.Gamma(2.0, jnp.exp(x[i] @ weights)[:, None]))
        with ppl.plate("columns", y.shape[1], 3, dim=-1) as j:
            ppl.sample("y", dist.StudentT(4.0, scale, noise), obs=y[i[:, None], j])


def batches_guide(ppl, x, y):
    concentration = ppl.param("concentration", jnp.array([2.0, 1.0, 3.0]), constraint=POSITIVE)
    ppl.sample("weights", dist.Dirichlet(concentration))
    with ppl.plate("rows", y.shape[0], 2, dim=-2):
        loc = ppl.param("loc", 0.1 * x[:, :1], event_dim=0)
        ppl.sample("scale", dist.LogNormal(loc, 0.4))


def autoencoder(ppl, x):
    decoder = ppl.module("decoder", stax.serial(stax.Dense(4), stax.Tanh, stax.Dense(3)), (2,))
    with ppl.plate("rows", len(x), 4) as i:
        z = ppl.sample("z", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
        ppl.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x[i])


def encoder(ppl, x):
    network = ppl.module("encoder", stax.serial(stax.Dense(4), stax.Tanh, stax.Dense(4)), (3,))
    with ppl.plate("rows", len(x), 4) as i:
        loc, scale = jnp.split(network(x[i]), 2, axis=-1)
        ppl.sample("z", dist.Normal(loc, jnp.exp(scale)).to_event(1))


DIGITS = {"x": np.random.default_rng(1).integers(0, 2, (10, 3)).astype(float)}


def masked(ppl, y):
    """A scale, a factor, and observations that are missing."""
    with ppl.handlers.scale(scale=0.5):
        loc = ppl.sample("loc", dist.Normal(0.0, 2.0))
    ppl.factor("shrink", -(loc**2))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(loc, 1.0), obs=y, obs_mask=y > 0)


def masked_guide(ppl, y):
    with ppl.handlers.scale(scale=0.5):
        loc = ppl.sample("loc", dist.Normal(ppl.param("m", 0.2), ppl.param("s", 0.3, constraint=POSITIVE)))
    with ppl.plate("rows", len(y)), ppl.handlers.mask(mask=y <= 0):
        ppl.sample("y_unobserved", dist.Normal(loc, 0.8))


CASES = {
    "hierarchy": (eight_schools, schools_guide, SCHOOLS),
    "nested minibatches": (batches, batches_guide, _rows(6)),
    "autoencoder": (autoencoder, encoder, DIGITS),
    "masks": (masked, masked_guide, {"y": np.array([0.5, -1.0, 2.0])}),
}


# -- the comparison -----------------------------------------------------------------------------------------


def compare(model, guide, other_model, other_guide, data, num_particles=1):
    elbo = plait.elbo(model, guide, num_particles=num_particles, **data)
    params = elbo.init(jax.random.key(0))
    theirs, arrays = Trace_ELBO(num_particles=num_particles), {name: jnp.asarray(x) for name, x in data.items()}

    def reference(params, key):
        return theirs.loss(key, elbo.constrain(params), other_model, other_guide, **arrays)

    def moments(loss_and_grad, seed):
        keys = jax.random.split(jax.random.key(seed), N)
        draws = jax.jit(jax.vmap(partial(loss_and_grad, params)))(keys)
        return [np.asarray(x) for x in jax.tree.leaves(draws)]

    mine, others = moments(elbo.loss_and_grad, 1), moments(jax.value_and_grad(reference), 2)
    for a, b in zip(mine, others, strict=True):
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / N)
        assert np.isfinite(error).all()
        assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) <= 4 * error + 1e-9)


@pytest.mark.parametrize("name", CASES)
def test_it_is_numpyros_in_mean(name):
    model, guide, data = CASES[name]
    args = (partial(f, ppl) for ppl in (plait, numpyro) for f in (model, guide))
    compare(*args, data, num_particles=2 if name == "hierarchy" else 1)


def test_an_autoguide_of_a_numpyro_model():
    model = partial(eight_schools, numpyro)
    guide = AutoNormal(model)
    compare(model, guide, model, guide, SCHOOLS)


def test_a_flow_that_numpyro_makes():
    def model():
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.sample("b", dist.Normal(a, 1.0))

    guide = AutoIAFNormal(model, num_flows=1)
    compare(model, guide, model, guide, {})
