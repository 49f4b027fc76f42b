"""SciPy's optimizers on a compiled model: the mode of the posterior, and its Laplace approximation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from plait.runtime import (
    CompiledModel,
    Draws,
    OnProgress,
    Progress,
    one_key,
    optional,
    reporting,
    start_points,
)
from plait.runtime.samplers.arguments import at_least
from plait.runtime.samplers.batches import OnPoints
from plait.runtime.samplers.laplace import Laplace, draws_by, laplace_at
from plait.runtime.samplers.modes import End, Mode, best_mode, default_tolerance

# What `scipy.optimize.minimize` takes besides the gradient; it refuses what a method does not read.
_WITH_HESSIAN = ("trust-exact", "dogleg")
_WITH_PRODUCTS = ("Newton-CG", "trust-ncg", "trust-krylov")
_WITH_GRADIENT = ("L-BFGS-B", "BFGS", "CG", "TNC", "SLSQP")


def maximum_a_posteriori(
    compiled: CompiledModel,
    key: Any,
    *,
    jacobian: bool = False,
    starts: int = 8,
    method: str = "L-BFGS-B",
    max_iterations: int = 1000,
    tolerance: float | None = None,
    init: Any = None,
    strict: bool = True,
    progress: bool | OnProgress = True,
) -> Mode:
    """The mode of the posterior: the highest that `scipy.optimize.minimize` finds from several starting points.

    It is the mode of the density of the constrained values, as Stan's ``optimize`` gives by default: the density
    without the Jacobian of the transformation. With ``jacobian=True`` it is that of the unconstrained vector, which
    depends on the transformation.

    Args:
        compiled: the model.
        key: a jax random key, of the starting points.
        jacobian: whether to add the Jacobian.
        starts: how many starting points.
        method: of SciPy, one that uses gradients.
        max_iterations: from each start.
        tolerance: the largest entry of the gradient at a mode, relative to the log density where that is more than 1
            nat; default the cube root of the dtype's precision.
        init: unconstrained starting points, (dim,) or (starts, dim); default `CompiledModel.init_params`.
        strict: whether to refuse what is no maximum instead of saying so in `Mode.converged`.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            after each start.

    Raises:
        ConvergenceError: no maximum was found: the density is unbounded, or it takes more iterations.
        ModelError: the model has nothing to optimize, or no usable starting point.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
    """
    at_least(1, starts=starts, max_iterations=max_iterations)
    known = (*_WITH_GRADIENT, *_WITH_PRODUCTS, *_WITH_HESSIAN)
    if method not in known:
        raise ValueError(f"method is one of {', '.join(known)}, got {method!r}")
    tolerance = default_tolerance(compiled) if tolerance is None else tolerance
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        points = start_points(compiled, one_key(key), 1 if np.ndim(init) == 1 else starts, init)
        minimize = _minimizer(compiled, jacobian, method, max_iterations, tolerance)
        report(Progress("compile", 1, 1))
        ends = []
        best = -np.inf
        for point in np.asarray(points, np.float64):
            result = minimize(point)
            height = -float(result.fun)
            ends.append(End(result.x.astype(compiled.dtype), int(result.nit), str(result.message), height))
            best = max(best, height)
            report(Progress("optimize", len(ends), len(points), details={"log density": best}))
    return best_mode(compiled, ends, jacobian, tolerance, strict)


def laplace(compiled: CompiledModel, key: Any, **options: Any) -> Laplace:
    """The normal approximation at the mode of the unconstrained vector's density.

    Args:
        compiled: the model.
        key: a jax random key, of the starting points.
        options: as for `maximum_a_posteriori`, without ``jacobian`` and ``strict``.

    Raises:
        ConvergenceError: no maximum was found, or none that is strict; names the direction that is flat.
    """
    return laplace_at(compiled, maximum_a_posteriori(compiled, key, jacobian=True, **options))


def sample(compiled: CompiledModel, key: Any, *, chains: int = 4, draws: int = 1000, **options: Any) -> Draws:
    """Independent draws of the Laplace approximation: see `Laplace.sample` and `laplace`, which has the options."""
    return draws_by(laplace, compiled, key, chains, draws, options)


def negative_log_density(compiled: CompiledModel, *, jacobian: bool = True) -> Callable[[Any], tuple[float, Any]]:
    """What ``scipy.optimize.minimize(fun, z0, jac=True)`` wants: minus the log density (nats) and its gradient.

    Of a flat unconstrained vector (dim,), both in float64; any number of threads may call it.
    """

    def both(z: Any) -> Any:
        value, grad = compiled.log_density_and_grad(z, jacobian=jacobian)
        return -value, -grad

    return OnPoints(compiled, both)


def negative_hessian(compiled: CompiledModel, *, jacobian: bool = True) -> Callable[[Any], Any]:
    """Its ``hess=``: minus the Hessian of the log density, (dim, dim) in float64."""
    return OnPoints(compiled, lambda z: -compiled.hessian(z, jacobian=jacobian))


def negative_hvp(compiled: CompiledModel, *, jacobian: bool = True) -> Callable[[Any, Any], Any]:
    """Its ``hessp=``: of (z, v) minus the Hessian of the log density at z times v, (dim,) in float64."""
    return OnPoints(compiled, lambda z, v: -compiled.hvp(z, v, jacobian=jacobian), arguments=2)


def _minimizer(
    compiled: CompiledModel, jacobian: bool, method: str, max_iterations: int, tolerance: float
) -> Callable[[np.ndarray], Any]:
    second: dict[str, Any] = {}
    if method in _WITH_HESSIAN:
        second["hess"] = negative_hessian(compiled, jacobian=jacobian)
    elif method in _WITH_PRODUCTS:
        second["hessp"] = negative_hvp(compiled, jacobian=jacobian)
    options: dict[str, Any] = {"maxfun" if method == "TNC" else "maxiter": max_iterations}
    if method == "L-BFGS-B":  # which stops by the density, too: only where that can't be told apart any more
        options |= {"gtol": tolerance, "ftol": float(np.finfo(compiled.dtype).eps), "maxfun": 20 * max_iterations}
    else:
        second["tol"] = tolerance
    fun = negative_log_density(compiled, jacobian=jacobian)
    minimize = optional("scipy.optimize").minimize
    return lambda point: minimize(fun, point, jac=True, method=method, options=options, **second)


__all__ = ["laplace", "maximum_a_posteriori", "negative_hessian", "negative_hvp", "negative_log_density", "sample"]
