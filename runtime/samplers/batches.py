"""From a function on JAX to one that numpy samplers call: float64 in and out, any batch, any thread.

- A new size of batch would compile again: batches are padded to the next power of two, so at most one program for
  each power is compiled, and it is compiled once, also where several threads ask at the same time.
- ``jax.enable_x64`` holds in one thread only: the precision that holds where the function is made holds in every
  call of it.
- Arrays that the function closes over are arguments of the program, not constants in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import numpy as np

from plait.runtime import CompiledModel
from plait.runtime.samplers.loop import constants_as_arguments

Function = Callable[[Any], Any]  # of an array on JAX, to a pytree of arrays


class OnPoints:
    """A function of flat vectors as a thread-safe function of numpy arrays (dim,), compiled when it is made.

    Results are writable arrays, floats in float64, and scalars Python's, in the function's own tree.

    Args:
        compiled: the model, whose `dim` and `dtype` the vectors have.
        function: traceable, of `arguments` vectors (dim,).
        arguments: how many.
    """

    def __init__(self, compiled: CompiledModel, function: Callable[..., Any], arguments: int = 1) -> None:
        self.dim, self.dtype = compiled.dim, compiled.dtype
        self.x64 = _x64()
        vectors = (jax.ShapeDtypeStruct((self.dim,), self.dtype),) * arguments
        self.data, self.function = constants_as_arguments(function, *vectors)
        self.program = jax.jit(self.function).lower(self.data, *vectors).compile()

    def __call__(self, *vectors: Any) -> Any:
        with _precision(self.x64):
            return jax.tree.map(_as_numpy, self.program(self.data, *map(self._checked, vectors)))

    def _checked(self, vector: Any) -> np.ndarray:
        array = np.asarray(vector, self.dtype)
        if array.shape != (self.dim,):
            raise ValueError(f"expected a flat vector of shape ({self.dim},), got shape {array.shape}")
        return array


class OnBatches:
    """A function of one flat vector as a thread-safe function of numpy arrays (n, dim), or (dim,), of any n.

    Results are writable arrays with the leading axis n, floats in float64; of one vector (dim,) they lack the axis, and
    scalars are Python's.

    Args:
        compiled: the model, whose `dim` and `dtype` the vectors have.
        function: traceable, of one vector (dim,).
    """

    def __init__(self, compiled: CompiledModel, function: Function) -> None:
        self.dim, self.dtype = compiled.dim, compiled.dtype
        self.x64 = _x64()
        one = jax.ShapeDtypeStruct((self.dim,), self.dtype)
        self.data, self.function = constants_as_arguments(function, one)
        self.programs: dict[int, Callable[[Any, Any], Any]] = {}  # by the padded number of rows
        self.lock = threading.Lock()

    def __call__(self, z: Any) -> Any:
        z = np.asarray(z, self.dtype)
        if z.ndim not in (1, 2) or z.shape[-1] != self.dim:
            raise ValueError(f"expected flat vectors of shape (n, {self.dim}) or ({self.dim},), got shape {z.shape}")
        rows = z if z.ndim == 2 else z[None]
        n = _power_of_two(len(rows))
        with _precision(self.x64):
            results = self._program(n)(self.data, rows if n == len(rows) else self._padded(rows, n))
            # On the host before it is cut: JAX would compile a slice for each n.
            wanted = slice(len(rows)) if z.ndim == 2 else 0
            if isinstance(results, jax.Array):
                return _as_numpy(np.asarray(results)[wanted])
            return jax.tree.map(lambda x: _as_numpy(np.asarray(x)[wanted]), results)

    def _padded(self, rows: np.ndarray, n: int) -> np.ndarray:
        padded = np.zeros((n, self.dim), self.dtype)
        padded[: len(rows)] = rows
        if len(rows):
            padded[len(rows) :] = rows[0]  # a point of the caller's: one of ours might be slow, or far out
        return padded

    def _program(self, n: int) -> Callable[[Any, Any], Any]:
        if n not in self.programs:
            with self.lock:
                if n not in self.programs:  # another thread may have been first
                    batch = jax.ShapeDtypeStruct((n, self.dim), self.dtype)
                    batched = jax.jit(jax.vmap(self.function, (None, 0)))
                    self.programs[n] = batched.lower(self.data, batch).compile()
        return self.programs[n]


def numpy_seed(key: Any) -> np.ndarray:
    """Words for a generator of numpy's, from a jax random key: uint32 (4,)."""
    return np.asarray(jax.random.bits(key, (4,), np.uint32))


def _precision(x64: bool) -> AbstractContextManager[Any]:
    """Whether floats are float64 in this thread, set where it is not so by itself: to set it takes microseconds."""
    return nullcontext() if _x64() == x64 else jax.enable_x64(x64)


def _x64() -> bool:
    """Whether floats are float64 here and now."""
    return bool(jax.dtypes.canonicalize_dtype(np.float64) == np.float64)


def _power_of_two(n: int) -> int:
    """The least one that is not less than n."""
    return 1 << max(n - 1, 0).bit_length()


def _as_numpy(x: Any) -> Any:
    x = np.asarray(x)
    array = np.array(x, np.float64 if x.dtype.kind == "f" else None)  # a copy: JAX's own memory is read-only
    return array if array.ndim else array.item()


__all__ = ["OnBatches", "OnPoints", "numpy_seed"]
