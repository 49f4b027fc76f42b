"""Rows 19 to 24: random keys and the handlers of keys."""

from functools import partial

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose

import plait
from tests.helpers import both, compiled, draws, sites

KEY = jax.random.key(0)


def N():  # noqa: N802
    return dist.Normal(0.0, 1.0)


def two(ppl):
    return ppl.sample("x", N()), ppl.sample("y", N())


def after_another(ppl, observed):
    if observed:
        ppl.sample("o", N(), obs=0.0)
    ppl.sample("x", N())


@both
def test_row_19_an_observed_site_uses_no_key(ppl):
    assert draws(ppl, after_another, True)["x"] == draws(ppl, after_another, False)["x"]


def test_row_19_the_compiled_sampler_draws_the_same_whether_a_site_is_observed():
    def model(o=None):
        plait.sample("o", N(), obs=o)
        plait.sample("x", N())

    observed, latent = plait.compile(model, 0.0), plait.compile(model)
    assert observed.sample(KEY)["x"] == latent.sample(KEY)["x"]


@both
def test_row_21_a_seeded_model_repeats_itself(ppl):
    run = ppl.handlers.seed(partial(two, ppl), 0)
    first = run()
    assert run() == first
    assert first[0] != first[1]


@both
def test_row_22_the_innermost_seed_wins(ppl):
    inner = ppl.handlers.seed(partial(two, ppl), 1)
    assert ppl.handlers.seed(inner, 2)() == inner()
    assert inner() != ppl.handlers.seed(partial(two, ppl), 2)()


@both
def test_row_23_vmap_of_a_seeded_model_over_keys(ppl):
    keys = jax.random.split(KEY, 3)

    def run(key):
        return ppl.handlers.seed(partial(two, ppl), key)()

    assert_allclose(jax.vmap(run)(keys), np.transpose([run(k) for k in keys]), rtol=1e-6)


@both
def test_row_23_under_jit(ppl):
    keys = jax.random.split(KEY, 3)

    def run(key):
        return ppl.handlers.seed(partial(two, ppl), key)()

    assert_allclose(jax.jit(jax.vmap(run))(keys), np.transpose([run(k) for k in keys]), rtol=1e-6)


@both
def test_row_24_block_around_seed(ppl):
    h, seeded = ppl.handlers, ppl.handlers.seed(partial(two, ppl), 0)
    assert h.block(seeded)() == seeded()
    assert h.seed(h.block(seeded), 5)() == seeded()


@both
def test_row_24_seed_around_block(ppl):
    h, seeded = ppl.handlers, ppl.handlers.seed(partial(two, ppl), 0)
    assert h.seed(h.block(partial(two, ppl)), 0)() == seeded()


def blocked_inside(ppl):
    with ppl.handlers.seed(rng_seed=3), ppl.handlers.block():
        x = ppl.sample("x", N())
    ppl.deterministic("d", x)


def seeded_inside(ppl):
    with ppl.handlers.block(), ppl.handlers.seed(rng_seed=3):
        x = ppl.sample("x", N())
    ppl.deterministic("d", x)


@pytest.mark.parametrize("model", [blocked_inside, seeded_inside])
def test_row_24_a_blocked_site_is_no_latent(model):
    expected = sites(numpyro, model)["d"]["value"]
    assert sites(plait, model)["d"]["value"] == expected
    assert compiled(model).constrain(np.zeros(0), deterministic=True)["d"] == expected
