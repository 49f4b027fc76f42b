"""The loop that samplers on JAX share: any number of steps by one compiled block, and constants as arguments."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plait.runtime import Progress
from plait.runtime.samplers.arguments import at_least, probability
from plait.runtime.samplers.loop import (
    BLOCK,
    compiled_loop,
    constants_as_arguments,
    hamiltonian_details,
    run_phase,
    run_until_done,
    stepping_until,
    strongly_typed,
)


def cumulative(data, carry, x):
    carry = carry + data * x
    return carry, {"sum": carry, "x": x}


@pytest.mark.parametrize("steps", [1, BLOCK, 3 * BLOCK + 7])
def test_every_step_is_taken_once_and_in_order(steps):
    xs = jnp.arange(1.0, steps + 6)
    block = compiled_loop(cumulative, 2.0, jnp.asarray(0.0), xs)
    seen = []
    carry, _ = run_phase(block, jnp.asarray(0.0), Progress("warmup", 0, 5), 0, seen.append)
    carry, kept = run_phase(block, carry, Progress("draws", 0, steps), 5, seen.append)
    np.testing.assert_array_equal(kept["x"], xs[5:])
    np.testing.assert_allclose(kept["sum"], 2 * np.cumsum(np.asarray(xs))[5:], rtol=1e-5)
    assert carry == kept["sum"][-1]
    done = [p.done for p in seen if p.phase == "draws"]
    assert done == sorted(set(done))
    assert done[-1] == steps


def test_a_phase_without_steps():
    block = compiled_loop(cumulative, 1.0, jnp.asarray(0.0), jnp.arange(2.0))
    carry, kept = run_phase(block, jnp.asarray(3.0), Progress("warmup", 0, 0), 0, pytest.fail)
    assert (carry, kept) == (3.0, {})


def test_details_count_divergences_over_blocks():
    progress = Progress("draws", 0, 10)
    for n, size in ((2, 0.5), (3, 0.25)):
        kept = {"diverging": np.ones((n, 2), bool), "step_size": np.full((n, 2), size)}
        progress = hamiltonian_details(progress, kept)
    assert (progress.divergences, progress.step_size) == (10, 0.25)


def test_constants_become_arguments():
    rows = jnp.arange(1000.0)
    data, call = constants_as_arguments(lambda tree, y: {"a": tree["x"] + rows.sum(), "b": (y,)}, {"x": 1.0}, 2)
    assert any(c is rows for c in data)
    found = jax.jit(call)(data, {"x": 1.0}, 5)
    assert found == {"a": 1 + 999 * 500, "b": (5,)}
    assert call([jnp.zeros(1000)], {"x": 1.0}, 5)["a"] == 1


def test_weak_types_go():
    assert not jax.eval_shape(lambda: strongly_typed((1.0, jnp.asarray(2)))[0]).weak_type


def test_counts_and_probabilities_are_checked():
    at_least(0, warmup=0, draws=np.int64(3))
    probability(p=0.5)
    for wrong in (0, -1, 1.5, "4", None):
        with pytest.raises(ValueError, match=f"chains is an integer of at least 1, got chains={wrong!r}"):
            at_least(1, chains=wrong)
    for wrong in (0, 1, float("nan")):
        with pytest.raises(ValueError, match="p is a probability"):
            probability(p=wrong)


def test_a_phase_of_unknown_length_ends_where_the_carry_says(monkeypatch):
    """However the clock cuts it into blocks."""

    def halved(data, carry, x):
        return carry / data, {"value": carry}

    step = stepping_until(lambda carry: carry < 1, halved)
    start = jnp.asarray(2.0**125)
    block = compiled_loop(step, 2.0, start, ())
    seen, ends = [], []
    for seconds in (1e-9, 1e9):
        monkeypatch.setattr("plait.runtime.samplers.loop.BLOCK_SECONDS", seconds)
        carry, kept = run_until_done(block, start, Progress("nested", 0, None), seen.append)
        ends.append((float(carry), kept["value"].tolist()))
        assert (seen[-1].done, seen[-1].total) == (126, None)
    assert ends[0] == ends[1]
    assert ends[0] == (0.5, [2.0**i for i in range(125, -1, -1)])
    assert run_until_done(block, jnp.asarray(0.5), Progress("nested", 0, None), pytest.fail) == (0.5, {})
