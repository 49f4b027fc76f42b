"""What a test model is: one function, written once, that NumPyro and plait both run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
from numpy.typing import DTypeLike

Array = jax.Array | np.ndarray
Data = Mapping[str, np.ndarray]
# The first argument of every model is the namespace of the primitives: the module `plait` or `numpyro`.
ModelFn = Callable[..., Any]


@dataclass(frozen=True)
class Model:
    """A model function with small, fixed data.

    Arguments of `fn` that default to None are observations: left out, their sites are predicted.
    `twin` says the same (site names, shapes, density) for NumPyro where NumPyro cannot run `fn`.
    """

    name: str
    fn: ModelFn
    data: Callable[[], dict[str, np.ndarray]]
    prior_moments: bool = True  # prior draws have finite means and variances, fit to be compared by moments
    prior_draws: bool = True  # False where a prior is improper
    twin: ModelFn | None = None

    def args(self, dtype: DTypeLike) -> dict[str, np.ndarray]:
        """The data by argument name, floats cast to `dtype`; integers and booleans stay."""
        return {name: _cast_float(value, dtype) for name, value in self.data().items()}

    def bind(self, ppl: ModuleType) -> Callable[..., Any]:
        """The model over the primitives of `ppl`; its signature names the data alone."""
        if self.twin is not None and ppl.__name__ == "numpyro":
            return partial(self.twin, ppl)
        return partial(self.fn, ppl)


def _cast_float(value: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    return value.astype(dtype) if np.issubdtype(value.dtype, np.floating) else value
