"""A model file under NumPyro: the same code, plait's primitives replaced by NumPyro's.

They have the same names and signatures. So the file is run a second time while `plait` means a module whose
primitives are NumPyro's: that reaches ``import plait``, ``import plait as numpyro``, ``from plait import sample``, and
files beside it that the model imports. A file that calls NumPyro itself is run like any other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.handlers
from numpyro.infer.util import initialize_model, potential_energy

import plait
from plait.compiler.arguments import Arguments, split_arguments
from plait.ir.errors import PlaitError
from plait.model_file import ModelFile, find_function, run_file
from plait.timing import Prepared

# plait's primitives that NumPyro has, too; its handlers are the module of that name.
SHARED = ("deterministic", "factor", "get_mask", "module", "param", "plate", "plate_stack", "sample", "subsample")
OURS = ("random_module",)  # that models call and NumPyro does not have


class NumPyroError(PlaitError):
    """NumPyro can't run a model; a sentence for the command line."""


def numpyro_function(model: ModelFile) -> Callable[..., Any]:
    """The model function of a second run of its file, on NumPyro's primitives."""
    with _plait_is(_stand_in()), _without_neighbours(model.path):
        module = run_file(model.path)
    return find_function(module, model.path, model.name)


def _stand_in() -> ModuleType:
    """A module `plait` whose primitives are NumPyro's; the rest of it is plait's."""
    module = ModuleType("plait")
    vars(module).update({name: getattr(plait, name) for name in plait.__all__})
    vars(module).update({name: getattr(numpyro, name) for name in SHARED})
    vars(module).update({name: _missing(name) for name in OURS})
    module.handlers = numpyro.handlers  # type: ignore[attr-defined]
    module.__path__ = []  # its submodules are in sys.modules
    return module


def _missing(name: str) -> Callable[..., Any]:
    def missing(*args: Any, **kwargs: Any) -> Any:
        raise NumPyroError(f"it calls plait.{name}, which NumPyro does not have")

    return missing


@contextmanager
def _plait_is(module: ModuleType) -> Iterator[None]:
    """While a file runs, `import plait` means this module."""
    kept = {name: sys.modules[name] for name in ("plait", "plait.handlers")}
    sys.modules.update({"plait": module, "plait.handlers": numpyro.handlers})
    try:
        yield
    finally:
        sys.modules.update(kept)


@contextmanager
def _without_neighbours(path: Path) -> Iterator[None]:
    """Files beside a model file that it has imported are imported again, and then are what they were."""
    folder = path.resolve().parent
    kept = {name: m for name, m in sys.modules.items() if _folder(m) == folder and name != "__main__"}
    for name in kept:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.modules.update(kept)


def _folder(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve().parent if file else None


# -- densities ------------------------------------------------------------------------------------------


def arguments(model: ModelFile, function: Callable[..., Any]) -> Arguments:
    """The model's data, split into arrays and the rest as `plait.compile` splits them."""
    args, kwargs = model.arguments()
    return split_arguments(function, tuple(args), kwargs, ())


def ready(function: Callable[..., Any], given: Arguments, params: Mapping[str, Any]) -> tuple[Any, Any]:
    """What NumPyro's samplers do before their first step: `initialize_model`, then the first gradient."""
    args, kwargs = given.rebuild([jnp.asarray(x) for x in given.arrays])
    info = initialize_model(jax.random.key(0), _at(function, params), model_args=args, model_kwargs=kwargs)
    return jax.jit(jax.value_and_grad(info.potential_fn))(info.param_info.z)


def prepared(
    function: Callable[..., Any], given: Arguments, params: Mapping[str, Any], point: Mapping[str, Any]
) -> Prepared:
    """NumPyro's potential energy of a dictionary of sites; data are arguments of the jitted function.

    Args:
        function: the model on NumPyro's primitives.
        given: its arguments.
        params: values of its param sites.
        point: unconstrained, by site, in the order of plait's flat vector.
    """
    run = _at(function, params)
    arrays = [jnp.asarray(x) for x in given.arrays]

    def gradient(arrays: Any, z: Any) -> Any:
        args, kwargs = given.rebuild(arrays)
        return jax.value_and_grad(lambda z: potential_energy(run, args, kwargs, z))(z)

    def flat(g: Mapping[str, Any]) -> Any:
        return -jnp.concatenate([jnp.ravel(g[site]) for site in point])

    jitted = jax.jit(gradient)
    return Prepared(lambda z: gradient(arrays, z), lambda z: jitted(arrays, z), dict(point), -1, flat)


def _at(function: Callable[..., Any], params: Mapping[str, Any]) -> Callable[..., Any]:
    """The model at these params; a subsample or an initial value that it draws has the key 0."""
    return numpyro.handlers.seed(numpyro.handlers.substitute(function, data=dict(params)), 0)


__all__ = ["NumPyroError", "arguments", "numpyro_function", "prepared", "ready"]
