"""What the tests of all adapters share: models whose posteriors are known, and how close draws have to be."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpyro.distributions as dist
from scipy.stats import multivariate_normal

import plait
from plait.runtime.summary import summary
from tests.models import hierarchical
from tests.runtime.posteriors import eight_schools_log_evidence, eight_schools_means

Y = np.array([1.0, 2.5, 0.3, 1.7])


def normal_mean(y=None):
    """mu | y is normal."""
    mu = plait.sample("mu", dist.Normal(0, 2))
    plait.deterministic("twice", 2 * mu)
    with plait.plate("rows", 4):
        plait.sample("y", dist.Normal(mu, 1.5), obs=y)


def normal_mean_posterior() -> tuple[float, float]:
    """Mean and sd of mu | Y."""
    precision = 1 / 2**2 + len(Y) / 1.5**2
    return Y.sum() / 1.5**2 / precision, precision**-0.5


def normal_mean_log_evidence() -> float:
    """Of Y: normal with variance 1.5², and covariance 2² from the mean."""
    return float(multivariate_normal(np.zeros(len(Y)), 1.5**2 * np.eye(len(Y)) + 2**2).logpdf(Y))


def nothing_to_sample():
    """A compiled model without a latent."""
    return plait.compile(lambda y: plait.sample("y", dist.Normal(0, 1), obs=y), np.ones(()))


def eight_schools():
    """The non-centered model, compiled."""
    return plait.compile(partial(hierarchical.eight_schools_noncentered, plait), **eight_schools_data())


def near_eight_schools(draws, errors: float = 5) -> None:
    """Asserts that the means of mu and tau are within so many Monte Carlo errors of what quadrature gives."""
    table = summary(draws)
    for name, exact in eight_schools_means(**eight_schools_data(), tau_prior="HalfNormal").items():
        row = table.loc[name]
        assert abs(row["mean"] - exact) < errors * row["mcse_mean"], (name, exact, row)
        assert row["mcse_mean"] < 0.3, (name, row)  # or nearness would say nothing


def eight_schools_evidence() -> float:
    """The log evidence of `eight_schools`."""
    return eight_schools_log_evidence(**eight_schools_data(), tau_prior="HalfNormal")


def near_normal_mean(draws, errors: float = 5) -> None:
    """Asserts the same of `normal_mean`, and of the sd."""
    mean, sd = normal_mean_posterior()
    row = summary(draws).loc["mu"]
    assert abs(row["mean"] - mean) < errors * row["mcse_mean"], row
    assert abs(row["sd"] - sd) < errors * row["mcse_sd"], row
    np.testing.assert_allclose(draws.values["twice"], 2 * draws.values["mu"], rtol=1e-6)


def near_log_evidence(draws, exact: float, errors: float = 4, at_most: float = 0.1) -> None:
    """Asserts that the log evidence is within so many of its errors of the exact one, and these are small."""
    assert draws.log_evidence_error < at_most
    assert abs(draws.log_evidence - exact) < errors * draws.log_evidence_error, (draws.log_evidence, exact)


def eight_schools_data() -> dict[str, np.ndarray]:
    return {k: np.asarray(v) for k, v in hierarchical.eight_schools_data().items()}
