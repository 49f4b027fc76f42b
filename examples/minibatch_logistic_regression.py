"""Logistic regression on minibatches: a step of variational inference reads 500 of 50,000 rows.

A Gaussian guide with a full covariance, trained by stochastic gradients of the ELBO, beside NUTS, which reads all rows
each time. Rows of 10 correlated covariates are simulated by scikit-learn.

Run this file: it prints means and standard deviations of both (some 30 seconds).
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import rich
from rich.progress import track
from rich.table import Table
from sklearn.datasets import make_classification

import plait

BATCH = 500  # rows of a step
STEPS, BLOCK = 8000, 500  # in all; between two looks at the progress bar


def clicks(x, y, batch=None):
    beta = plait.sample("beta", dist.Normal(jnp.zeros(x.shape[1]), 1).to_event(1))
    with plait.plate("rows", len(y), batch) as i:
        plait.sample("y", dist.Bernoulli(logits=x[i] @ beta), obs=y[i])


def gaussian(x, y, batch=None):
    features = x.shape[1]
    loc = plait.param("loc", jnp.zeros(features))
    factor = plait.param("factor", 0.02 * jnp.eye(features), constraint=dist.constraints.lower_cholesky)
    plait.sample("beta", dist.MultivariateNormal(loc, scale_tril=factor))


def data():
    x, y = make_classification(50_000, 10, n_informative=10, n_redundant=0, flip_y=0.2, random_state=1)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return {"x": np.column_stack([np.ones(len(x)), x]), "y": y}


def train(elbo, params, key, steps):
    """The params after so many steps of Adam, and the mean loss (nats) of the last block."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.005, steps))

    def step(state, key):
        params, moments = state
        loss, gradient = elbo.loss_and_grad(params, key)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), loss

    @jax.jit
    def block(state, key):
        return jax.lax.scan(step, state, jax.random.split(key, BLOCK))

    state = params, optimizer.init(params)
    for block_key in track(jax.random.split(key, steps // BLOCK), "training"):
        state, losses = jax.block_until_ready(block(state, block_key))
    return state[0], losses.mean()


def main():
    """Trains on minibatches, runs NUTS on all rows, and prints both posteriors."""
    elbo = plait.elbo(clicks, gaussian, **data(), batch=BATCH, num_particles=4)
    init_key, train_key, draw_key, nuts_key = jax.random.split(jax.random.key(0), 4)
    params, loss = train(elbo, elbo.init(init_key), train_key, STEPS)
    print(f"ELBO: {-loss:,.0f} nats, by minibatches of {BATCH} of {len(data()['y']):,} rows")
    guide = elbo.sample(params, draw_key, (4000,))["beta"]

    compiled = plait.compile(clicks, **data())
    draws = plait.samplers.blackjax.sample(compiled, nuts_key, chains=2, warmup=300, draws=500)
    nuts = draws.values["beta"].reshape(-1, guide.shape[1])

    table = Table("coefficient", "guide", "NUTS", title="posterior mean ± standard deviation")
    for i in range(guide.shape[1]):
        texts = [f"{b[:, i].mean():.3f} ± {b[:, i].std():.3f}" for b in (guide, nuts)]
        table.add_row(f"beta[{i}]", *texts)
    rich.print(table)


if __name__ == "__main__":
    main()
