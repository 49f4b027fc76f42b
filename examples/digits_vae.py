"""A variational autoencoder of handwritten digits: amortized inference on minibatches.

1,797 images of 8 × 8 pixels, each a count from 0 to 16; scikit-learn ships the data. A decoder network turns ten latent
numbers into the pixels' rates, an encoder network guesses the latents of an image, and stochastic gradients of the ELBO
train both. Kingma and Welling (2014), Auto-encoding variational Bayes.

Run this file: it prints the bound on held-out images and draws digits_vae.png (some 30 seconds). `--steps 300` is
quicker, and `--out plot.png` puts the picture elsewhere.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from jax.example_libraries import stax
from matplotlib.figure import Figure
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.datasets import load_digits

import plait

LATENT, HIDDEN, PIXELS, LEVELS = 10, 128, 64, 16
BATCH = 128  # images of a step
BLOCK = 50  # steps between two looks at the progress bar
SHOWN = 9  # images in the picture


def digits(x, batch=None):
    layers = stax.serial(stax.Dense(HIDDEN), stax.Softplus, stax.Dense(PIXELS))
    decoder = plait.module("decoder", layers, input_shape=(LATENT,))
    with plait.plate("images", len(x), batch) as i:
        z = plait.sample("z", dist.Normal(jnp.zeros(LATENT), 1).to_event(1))
        plait.sample("x", dist.Binomial(LEVELS, logits=decoder(z)).to_event(1), obs=x[i])


def encoded(x, batch=None):
    layers = stax.serial(stax.Dense(HIDDEN), stax.Softplus, stax.Dense(2 * LATENT))
    encoder = plait.module("encoder", layers, input_shape=(PIXELS,))
    with plait.plate("images", len(x), batch) as i:
        loc, log_scale = jnp.split(encoder(x[i] / LEVELS), 2, axis=-1)
        plait.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))


def data(held_out=False):
    images = load_digits().data
    fold = np.arange(len(images)) % 10 == 0
    return {"x": images[fold if held_out else ~fold]}


def train(elbo, test, params, key, steps):
    """Adam's params after so many steps, and the losses by block: of training minibatches and of held-out images."""
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    def step(state, key):
        params, moments = state
        loss, gradient = elbo.loss_and_grad(params, key)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, updates), moments), loss

    @jax.jit
    def block(state, key):
        state, losses = jax.lax.scan(step, state, jax.random.split(key, BLOCK))
        return state, losses.mean(), test.loss(state[0], key)

    state, curve = (params, optimizer.init(params)), []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        task = progress.add_task("compiling", total=steps)
        for block_key in jax.random.split(key, -(-steps // BLOCK)):
            state, *losses = block(state, block_key)
            curve.append([float(loss) for loss in losses])
            text = f"held out: {curve[-1][1] / len(data(held_out=True)['x']):.1f} nats an image"
            progress.update(task, advance=BLOCK, description=text)
    return state[0], np.array(curve)


def picture(path, curve, x, again, new):
    """Saves the losses (nats an image), images above what the model makes of them, and new images."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    at = BLOCK * (1 + np.arange(len(curve)))
    left.plot(at, curve[:, 0], label="training minibatches")
    left.plot(at, curve[:, 1], label="held-out images")
    left.set(xlabel="step", ylabel="−ELBO (nats an image)", ylim=(curve.min() - 5, np.quantile(curve, 0.9) + 20))
    left.legend(frameon=False)
    sheet = np.vstack([tiles(x), tiles(again), tiles(new)])
    right.imshow(sheet, cmap="gray_r", vmin=0, vmax=LEVELS)
    right.set(xticks=[], yticks=4.5 + 10 * np.arange(3), yticklabels=["held out", "reconstructed", "new"])
    right.spines[:].set_visible(False)
    right.tick_params(length=0)
    figure.savefig(path, dpi=150)


def tiles(images):
    """Images side by side, with a margin."""
    return np.hstack(np.pad(np.asarray(images, float).reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1))))


def main():
    """Trains, prints the bound of held-out images, and saves a picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--out", default="digits_vae.png")
    options = parser.parse_args()

    elbo = plait.elbo(digits, encoded, **data(), batch=BATCH)
    test = plait.elbo(digits, encoded, **data(held_out=True))  # all of them at once
    print(elbo)
    init_key, train_key, draw_key, new_key = jax.random.split(jax.random.key(0), 4)
    params, curve = train(elbo, test, elbo.init(init_key), train_key, options.steps)
    curve /= np.array([len(data()["x"]), len(data(held_out=True)["x"])])
    print(f"−ELBO of held-out images: {curve[-1][1]:.2f} nats an image")

    shown = 20 * np.arange(SHOWN)
    x = data(held_out=True)["x"][shown]
    again = test.predict(params, draw_key, (10,))["x"].mean(axis=0)[shown]  # means of the posterior predictive
    model = plait.compile(digits, x)
    of_model = {name: value for name, value in elbo.constrain(params).items() if name in model.param_shapes}
    new = model.with_params(of_model).sample(new_key)["x"]
    picture(options.out, curve, x, again, new)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
