"""dynesty's nested sampling, which needs no gradient, on a compiled model and the inverse CDFs of its prior.

Speagle, dynesty: a dynamic nested sampling package, MNRAS 493 (2020).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from plait.runtime import (
    CompiledModel,
    Draws,
    ModelError,
    OnProgress,
    Progress,
    constrained_draws,
    one_key,
    optional,
    reporting,
)
from plait.runtime.samplers.arguments import at_least, positive
from plait.runtime.samplers.batches import OnBatches, OnPoints, numpy_seed
from plait.runtime.samplers.undefined import NanRejected
from plait.runtime.samplers.weights import equal_weights

REPORT_SECONDS = 0.1


def sample(
    compiled: CompiledModel,
    key: Any,
    *,
    live: int = 500,
    dynamic: bool = False,
    effective: int = 10_000,
    precision: float = 0.01,
    method: Literal["auto", "unif", "rwalk", "slice", "rslice"] = "auto",
    draws: int | None = None,
    progress: bool | OnProgress = True,
) -> Draws:
    """Draws from the posterior and the log evidence, by static or dynamic nested sampling.

    A point where the log likelihood is NaN counts as impossible, and a warning at the end says how many there were and
    where the first one is: a NaN is an error of the model.

    Args:
        compiled: the model; each latent has a proper prior with an inverse CDF (`CompiledModel.prior_transform`).
        key: a jax random key.
        live: live points, more than twice the dimensions; the evidence's error falls with their square root.
        dynamic: whether to go on, after a run with `live` points, with batches of points where the posterior is,
            until it has `effective` effective draws.
        effective: see `dynamic`, unused without.
        precision: the run ends when the live points would add less than this to the log evidence (nats).
        method: dynesty's, of drawing new points: by default uniform below 10 dimensions, random walks up to 20, and
            slices above.
        draws: how many; default the effective size of the weighted points.
        progress: True for a live bar on a terminal, False for none, or a function that is called with a `Progress`
            a few times a second, whose ``details`` have ``log_evidence``, ``remaining`` (nats) and ``calls``.

    Returns:
        Draws (1, draws), of equal weight and in random order: points of weight above 1 / draws come several times.
        ``log_evidence`` and ``log_evidence_error`` are dynesty's (nats). ``stats`` has ``log_likelihood`` (nats).

    Raises:
        MissingExtraError: dynesty is not installed.
        SiteTypeError: `key` is no single random key, but an integer seed or the like.
        ModelError: the model has nothing to sample, the prior of a latent has no inverse CDF, or dynesty finds no point
            of the prior where the likelihood is positive.
        ValueError: a count is too small.

    Warns:
        RuntimeWarning: the log likelihood was NaN somewhere, or dynesty warns, as of a likelihood with a plateau.
    """
    dynesty = optional("dynesty")  # before anything slow
    at_least(1, effective=effective, draws=1 if draws is None else draws)
    at_least(2 * compiled.dim + 1, live=live)
    positive(precision=precision)
    run_key, key = jax.random.split(one_key(key))
    with reporting(progress) as report:
        report(Progress("compile", 0, 1))
        to_z = prior_transform(compiled)
        one = _unconstrained(compiled)
        # One call of JAX for each point, where dynesty's two functions would make two.
        likelihood = NanRejected(OnPoints(compiled, lambda u: compiled.total_log_likelihood(one(u))), compiled.names)
        report(Progress("compile", 1, 1))
        make = dynesty.DynamicNestedSampler if dynamic else dynesty.NestedSampler
        rng = np.random.default_rng(numpy_seed(run_key))
        stop = {"dlogz_init": precision, "n_effective": effective} if dynamic else {"dlogz": precision}
        reports = _Reports(report)
        try:
            sampler = make(likelihood, _itself, compiled.dim, nlive=live, sample=method, rstate=rng)
            sampler.run_nested(print_progress=True, print_func=reports, **stop)
        except RuntimeError as e:
            if likelihood.possible:
                raise
            raise ModelError(
                f"the likelihood is zero or NaN at all of {likelihood.points} points of the prior: take a prior "
                "that is nearer to the data; find_nonfinite of compiled.sample's values says which site it is"
            ) from e
        reports.last()
    found = sampler.results
    chosen = equal_weights(np.random.default_rng(numpy_seed(key)), np.asarray(found.logwt), draws)
    z = to_z(found.samples[chosen])
    if likelihood.first is not None:
        likelihood.first = to_z(likelihood.first)
    likelihood.warn("log likelihood", stacklevel=3)
    stats = {"log_likelihood": np.asarray(found.logl)[None, chosen]}
    return constrained_draws(compiled, z.astype(compiled.dtype)[None], stats, (found.logz[-1], found.logzerr[-1]))


def loglikelihood(compiled: CompiledModel) -> Callable[[Any], Any]:
    """The log likelihood (nats) as dynesty, UltraNest, nautilus and other samplers on the unit cube want it.

    Of one flat unconstrained vector (dim,), as `prior_transform` gives them, it is a float; of many (n, dim), float64
    (n,). Where the data are impossible it is -inf; where it would be NaN it is -inf, too, and the first such point is
    told by a RuntimeWarning. Another n compiles nothing (batches are padded to powers of two), and any number of
    threads may call it.
    """
    return NanRejected(OnBatches(compiled, compiled.total_log_likelihood), compiled.names, at_once=True)


def prior_transform(compiled: CompiledModel) -> Callable[[Any], Any]:
    """From the unit cube to flat unconstrained vectors: of uniform points, draws from the prior.

    Of (dim,) it gives float64 (dim,), of (n, dim) float64 (n, dim); `CompiledModel.constrain` reads them. Entries next
    to 0 and 1 are taken as 1e-154 (in float32 1e-19) and the last number before 1 in the model's dtype, since at the
    ends of a support an unconstrained value is infinite. It may be infinite all the same where a prior has mass so near
    to an end that the dtype can't tell them apart.

    Raises:
        ModelError: the model has nothing to sample, or the prior of a latent has no inverse CDF.
    """
    return OnBatches(compiled, _unconstrained(compiled))


def _unconstrained(compiled: CompiledModel) -> Callable[[Any], Any]:
    """Traceable, of one point (dim,) of the unit cube."""
    if compiled.dim == 0:
        raise ModelError("the model has no latent site, so there is nothing to sample")
    limits = np.finfo(compiled.dtype)

    def call(u: Any) -> Any:
        inside = jnp.clip(u, limits.tiny**0.5, 1 - limits.epsneg)
        return compiled.unconstrain(compiled.prior_transform(inside))

    return call


def _itself(u: Any) -> Any:
    return u


class _Reports:
    """dynesty's ``print_func``: called after each point, reports a few times a second."""

    def __init__(self, report: OnProgress) -> None:
        self.report = report
        self.reported = -np.inf
        self.progress = Progress("nested", 0, None)

    def __call__(self, result: Any, iterations: int, calls: int, **_: Any) -> None:
        details = {"log_evidence": float(result.logz), "remaining": float(result.delta_logz), "calls": float(calls)}
        self.progress = Progress("nested", iterations, None, details=details)
        now = time.perf_counter()
        if now - self.reported > REPORT_SECONDS:
            self.reported = now
            self.report(self.progress)

    def last(self) -> None:
        """Reports where the run has ended."""
        self.report(self.progress)


__all__ = ["loglikelihood", "prior_transform", "sample"]
