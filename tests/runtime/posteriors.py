"""Posteriors that are known without sampling."""

from __future__ import annotations

import numpy as np

_LOG_PRIOR = {
    "HalfCauchy": lambda tau: np.log(2 / (5 * np.pi)) - np.log1p((tau / 5) ** 2),
    "HalfNormal": lambda tau: np.log(2 / (5 * np.sqrt(2 * np.pi))) - 0.5 * (tau / 5) ** 2,
}


def eight_schools_means(sigma: np.ndarray, y: np.ndarray, *, tau_prior: str) -> dict[str, float]:
    """Posterior means of mu ~ Normal(0, 5) and tau ~ `tau_prior`(5), theta integrated out, by quadrature in tau.

    Given tau, y_j ~ Normal(mu, sqrt(sigma_j² + tau²)), so mu and its evidence are conjugate normal: see Gelman
    and others, Bayesian Data Analysis, section 5.4.
    """
    tau, mean, log_weight = _eight_schools(sigma, y, tau_prior)
    weight = np.exp(log_weight - log_weight.max())
    return {"mu": float(weight @ mean / weight.sum()), "tau": float(weight @ tau / weight.sum())}


def eight_schools_log_evidence(sigma: np.ndarray, y: np.ndarray, *, tau_prior: str) -> float:
    """The log evidence (nats) of y in the same model."""
    _, _, log_weight = _eight_schools(sigma, y, tau_prior)
    return float(np.logaddexp.reduce(log_weight))


def _eight_schools(sigma: np.ndarray, y: np.ndarray, tau_prior: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of tau, the mean of mu given each, and the log of the joint density of y and tau times the step."""
    # tau = sinh(u) resolves both the origin and a Cauchy tail.
    u = np.linspace(1e-6, 9, 20001)
    tau = np.sinh(u)
    precision = 1 / (sigma**2 + tau[:, None] ** 2)
    total = precision.sum(1) + 1 / 5**2
    mean = (precision * y).sum(1) / total
    log_evidence = 0.5 * (np.log(precision).sum(1) - np.log(total) + total * mean**2 - (precision * y**2).sum(1))
    log_evidence -= 0.5 * len(y) * np.log(2 * np.pi) + np.log(5)
    return tau, mean, log_evidence + _LOG_PRIOR[tau_prior](tau) + np.log(np.cosh(u)) + np.log(u[1] - u[0])
