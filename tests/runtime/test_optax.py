"""`minimize` on any pytree: losses with and without a key, Optax's optimizers, one compiled loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plait
from plait.runtime.samplers.optax import loss, minimize
from tests.runtime.adapters import Y, normal_mean
from tests.runtime.compiles import Compiles

TARGET = {"a": np.array([1.0, -2.0, 3.0]), "b": (np.array(0.5),)}


def distance(params):
    """Has its minimum at TARGET, badly scaled."""
    a, b = params["a"] - TARGET["a"], params["b"][0] - TARGET["b"][0]
    return (jnp.array([1.0, 10.0, 100.0]) * a**2).sum() + b**4 + b**2


pytestmark = pytest.mark.usefixtures("float64")


def zeros():
    return jax.tree.map(jnp.zeros_like, TARGET)


@pytest.mark.parametrize("optimizer", [None, optax.adam(0.1), optax.chain(optax.scale_by_adam(), optax.scale(-0.1))])
def test_a_loss_on_a_tree(optimizer):
    found = minimize(distance, zeros(), steps=400, optimizer=optimizer)
    assert jax.tree.structure(found.params) == jax.tree.structure(TARGET)
    jax.tree.map(lambda x, t: np.testing.assert_allclose(x, t, atol=1e-4), found.params, TARGET)
    assert found.losses.shape == (400,)
    assert found.losses[0] == distance(zeros())
    assert found.losses[-1] < 1e-7


def test_steps_are_optaxs():
    optimizer = optax.sgd(1e-3, momentum=0.9)
    params, state = zeros(), optimizer.init(zeros())
    losses = []
    for _ in range(130):  # more than one block
        value, grad = jax.value_and_grad(distance)(params)
        updates, state = optimizer.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(value)
    found = minimize(distance, zeros(), steps=130, optimizer=optimizer)
    jax.tree.map(lambda x, t: np.testing.assert_allclose(x, t, rtol=1e-10), found.params, params)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-10)


def test_a_random_loss_gets_a_fresh_key_each_step():
    def noisy(x, key):
        return (x - 1.0) ** 2 + jax.random.normal(key)

    run = [minimize(noisy, 0.0, jax.random.key(k), steps=1000) for k in (0, 0, 1)]
    noise = run[0].losses[:100] - run[0].losses[:100].mean()
    assert len(np.unique(run[0].losses)) == 1000
    assert 0.7 < noise.std() < 1.4
    assert float(run[0].params) == pytest.approx(1, abs=0.05)  # the noise does not depend on x
    np.testing.assert_array_equal(run[0].losses, run[1].losses)
    assert not (run[0].losses == run[2].losses).any()


def test_params_keep_their_dtype():
    found = minimize(lambda p: (p["x"] ** 2).sum() + p["y"] ** 2, {"x": jnp.ones(2, jnp.float32), "y": 1.0}, steps=5)
    assert (found.params["x"].dtype, found.params["y"].dtype) == (np.float32, np.float64)


def test_progress_and_one_compilation():
    seen = []
    with Compiles() as compiles:
        minimize(distance, zeros(), steps=500, progress=seen.append)
    assert compiles.names.count("jit(_block)") == 1
    assert [p.phase for p in seen[:2]] == ["compile", "compile"]
    assert [seen[-1].phase, seen[-1].done, seen[-1].total] == ["optimize", 500, 500]
    assert seen[2].details["loss"] > seen[-1].details["loss"]


def test_a_loss_that_becomes_nan_stops():
    seen = []
    with pytest.raises(plait.ConvergenceError, match="the loss is NaN at step 6 of 100000"):
        minimize(jnp.log, 1.0, steps=100_000, optimizer=optax.sgd(0.1), progress=seen.append)
    assert seen[-1].done < 1000


def test_the_loss_of_a_model():
    compiled = plait.compile(normal_mean, y=Y)
    z = jnp.array([0.3])
    assert loss(compiled)(z) == -compiled.log_density(z)
    found = minimize(loss(compiled, jacobian=False), z, steps=50)
    assert float(found.params[0]) == pytest.approx(Y.sum() / 1.5**2 / (1 / 4 + 4 / 1.5**2), rel=1e-8)


def test_errors():
    with pytest.raises(ValueError, match="steps=0"):
        minimize(distance, zeros(), steps=0)
    with pytest.raises(TypeError, match="one jax random key"):
        minimize(lambda x, key: x**2, 1.0, 0)
