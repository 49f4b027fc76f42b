"""Functions of JAX as functions of numpy: any batch without a recompilation, any thread, the maker's precision."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plait
from plait.runtime.samplers.batches import OnBatches, OnPoints, numpy_seed
from tests.runtime.adapters import Y, eight_schools, normal_mean
from tests.runtime.compiles import Compiles


@pytest.fixture(scope="module")
def schools():
    with jax.enable_x64(True):
        yield eight_schools()


@pytest.fixture(scope="module")
def functions(schools):
    """(on points, on batches), made in float64; called outside of it."""
    with jax.enable_x64(True):
        return OnPoints(schools, schools.log_density_and_grad), OnBatches(schools, schools.log_density)


def points(n: int, dim: int = 10) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, dim))


def expected(schools, z):
    with jax.enable_x64(True):
        value, grad = jax.vmap(schools.log_density_and_grad)(jnp.asarray(z))
        return np.asarray(value), np.asarray(grad)


def test_points(schools, functions):
    (z,) = points(1)
    value, grad = functions[0](z)
    assert type(value) is float
    assert (grad.dtype, grad.flags.writeable) == (np.float64, True)
    values, grads = expected(schools, z[None])
    np.testing.assert_allclose(value, values[0], rtol=1e-13)
    np.testing.assert_allclose(grad, grads[0], rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_batches(schools, functions, n):
    z = points(n)
    values = functions[1](z)
    assert (values.dtype, values.shape, values.flags.writeable) == (np.float64, (n,), True)
    np.testing.assert_allclose(values, expected(schools, z)[0], rtol=1e-13)
    assert type(functions[1](z[0])) is float
    assert functions[1](z[0]) == functions[1](z[:1])[0]
    assert functions[1](z.tolist()).tolist() == values.tolist()


def test_an_empty_batch(functions):
    assert functions[1](np.zeros((0, 10))).shape == (0,)


def test_a_batch_of_another_size_compiles_nothing(schools):
    with jax.enable_x64(True):
        function = OnBatches(schools, schools.log_density_and_grad)
        function(points(32))
        function(points(64))
        with Compiles() as compiles:
            for n in [*range(17, 65), 40, 20]:
                value, grad = function(points(n))
                assert (value.shape, grad.shape) == ((n,), (n, 10))
            assert compiles.count == 0
            function(points(65))
            assert compiles.count == 1  # the next power of two: the test can see a compilation


def test_padding_is_a_point_of_the_callers():
    with jax.enable_x64(True):
        seen = []
        compiled = plait.compile(normal_mean, y=Y)

        def watched(z):
            jax.debug.callback(lambda z: seen.append(float(z[0])), z)
            return compiled.log_density(z)

        OnBatches(compiled, watched)(np.array([[3.0], [4.0], [5.0]]))
        jax.effects_barrier()
    assert sorted(seen) == [3, 3, 4, 5]


def test_eight_threads_give_what_one_gives(functions):
    on_points, on_batches = functions
    batches = [points(n) for n in np.random.default_rng(0).integers(1, 33, 1000)]
    serial = [(on_points(z[0])[1], on_batches(z)) for z in batches]
    together = threading.Barrier(8)

    def calls(_):
        together.wait()
        return [(on_points(z[0])[1], on_batches(z)) for z in batches]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(calls, range(8)):
            for (a, b), (c, d) in zip(found, serial, strict=True):
                assert (a == c).all()
                assert (b == d).all()


def test_threads_that_ask_at_once_compile_once(schools):
    with jax.enable_x64(True), Compiles() as compiles:
        function = OnBatches(schools, lambda z: schools.log_density(2 * z))
        made = compiles.count
        together = threading.Barrier(8)

        def call(_):
            together.wait()
            return function(points(3))

        with ThreadPoolExecutor(8) as pool:
            first, *others = pool.map(call, range(8))
        assert compiles.count == made + 1
    assert all((first == other).all() for other in others)


def test_float32_is_cast_and_float64_holds_in_threads_without_it(schools):
    with jax.enable_x64(False):
        compiled = plait.compile(normal_mean, y=Y.astype(np.float32))
        narrow = OnBatches(compiled, compiled.log_density_and_grad)
    z = points(3, 1)
    for x64 in (False, True):
        with jax.enable_x64(x64):
            value, grad = narrow(z)
        assert value.dtype == grad.dtype == np.float64
        assert (value == value.astype(np.float32)).all()
        with jax.enable_x64(False):
            np.testing.assert_allclose(value, jax.vmap(compiled.log_density)(z.astype(np.float32)), rtol=1e-6)


def test_integers_and_bools_keep_their_dtype(schools):
    with jax.enable_x64(True):
        function = OnBatches(schools, lambda z: (z > 0, jnp.int64(z[0]), z[0].astype(jnp.float32)))
    positive, whole, narrow = function(points(3))
    assert (positive.dtype, whole.dtype, narrow.dtype) == (bool, np.int64, np.float64)
    assert [type(x) for x in function(points(3)[0])[1:]] == [int, float]


def test_wrong_shapes(functions):
    on_points, on_batches = functions
    for wrong in (np.zeros(9), np.zeros((2, 10)), 1.0):
        with pytest.raises(ValueError, match=r"flat vector of shape \(10,\)"):
            on_points(wrong)
    for wrong in (np.zeros(9), np.zeros((2, 9)), np.zeros((1, 2, 10)), 1.0):
        with pytest.raises(ValueError, match=r"flat vectors of shape \(n, 10\)"):
            on_batches(wrong)


def test_seeds_come_from_the_whole_key():
    seeds = [numpy_seed(jax.random.key(i)) for i in (0, 0, 1, 2**31)]
    assert all((s.dtype, s.shape) == (np.uint32, (4,)) for s in seeds)
    assert (seeds[0] == seeds[1]).all()
    assert len({tuple(s) for s in seeds}) == 3
