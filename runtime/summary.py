"""What a posterior looks like, and whether its draws can be trusted: by ArviZ, before and from its 1.0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from plait.runtime.arviz_data import before_1, installed_arviz, quiet
from plait.runtime.draws import Draws
from plait.runtime.extras import optional
from plait.runtime.names import entry_names

DataFrame = Any  # pandas comes with ArviZ, and has no types

# Vehtari, Gelman, Simpson, Carpenter, Bürkner (2021), Rank-normalization, folding, and localization: above this
# r-hat the chains disagree, below this ess r-hat and ess themselves are unreliable.
R_HAT_MAX = 1.01
ESS_PER_CHAIN = 100
# Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling: above this estimates do not converge
# at any practical number of draws.
PARETO_K_MAX = 0.7


def summary(draws: Draws, *, hdi_prob: float = 0.94) -> DataFrame:
    """One row for each entry of each site (``theta[0]``), numbers unrounded.

    Args:
        draws: of a sampler.
        hdi_prob: mass of the highest-density interval.

    Returns:
        Columns ``mean``, ``sd``, the interval's ends (``hdi_3%``, ``hdi_97%``), ``mcse_mean``, ``mcse_sd``,
        ``ess_bulk``, ``ess_tail``, ``r_hat``. An entry that is the same in all draws, such as a corner of a
        Cholesky factor, has NaN for what has no meaning there.

    Raises:
        MissingExtraError: arviz is not installed.
    """
    low, high = f"hdi_{50 * (1 - hdi_prob):g}%", f"hdi_{50 * (1 + hdi_prob):g}%"
    with quiet():
        table = _arviz_summary(_entries(draws.values), hdi_prob)
    # ArviZ 1 calls the interval's ends hdi94_lb and hdi94_ub, which other 94 would.
    ends = [c for c in table.columns if str(c).startswith("hdi")]
    table = table.rename(columns=dict(zip(ends, (low, high), strict=True)))
    table.index = [e for name, v in draws.values.items() for e in entry_names(name, v.shape[2:])]
    constant = table["sd"] == 0
    diagnostics = ["mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]
    table.loc[constant, diagnostics] = np.nan
    return table[["mean", "sd", low, high, *diagnostics]]


def diagnose(draws: Draws, table: DataFrame = None, *, max_treedepth: int | None = None) -> list[str]:
    """What is wrong with the draws, a sentence each; none when nothing is.

    Args:
        draws: of a sampler.
        table: their `summary`; computed where it is not given.
        max_treedepth: the sampler's bound, to count the trajectories that it cut short.
    """
    table = summary(draws) if table is None else table
    found = []
    if (k := _pareto_k(draws)) is not None and not k <= PARETO_K_MAX:
        found.append(
            f"the draws are of an approximation, and their importance weights have Pareto k = {k:.2f} (reliable up to "
            f"{PARETO_K_MAX}): it is far from the posterior, whatever ess and r_hat say; use a sampler"
        )
    total = draws.chains * draws.draws
    if n := draws.divergences:
        found.append(
            f"{n} of {total} transitions diverged, so the draws may miss regions of high curvature: raise the "
            "target acceptance rate, or reparametrize (for example, non-center a hierarchy)"
        )
    if max_treedepth is not None and (n := int(np.sum(draws.stats["tree_depth"] >= max_treedepth))):
        found.append(f"{n} of {total} trajectories reached the maximum tree depth {max_treedepth}: expect slow mixing")
    if len(high := table[table["r_hat"] > R_HAT_MAX]):
        found.append(f"r_hat is above {R_HAT_MAX} for {_worst(high['r_hat'], largest=True)}: run longer chains")
    few = ESS_PER_CHAIN * draws.chains
    ess = table[["ess_bulk", "ess_tail"]].min(axis=1)
    if len(low := ess[ess < few]):
        found.append(f"the effective sample size is below {few} for {_worst(low, largest=False)}: draw more")
    if draws.chains == 1 and k is None and draws.log_evidence is None:  # independent draws need no r_hat
        found.append("r_hat needs two chains or more")
    return found


def _pareto_k(draws: Draws) -> float | None:
    """Of the importance weights of an approximation's draws; None for a sampler that has none."""
    if "pareto_k" in draws.stats:
        return float(np.max(draws.stats["pareto_k"]))
    if "log_importance_ratio" not in draws.stats:
        return None
    weights = np.asarray(draws.stats["log_importance_ratio"], np.float64).ravel()
    if np.ptp(weights) < 1e-6:  # exact: there is no tail to fit
        return -np.inf
    az = installed_arviz()
    with quiet():
        fit = az.psislw if before_1(az) else optional("arviz_stats.base").array_stats.psislw
        return float(fit(weights)[1])


def _arviz_summary(entries: np.ndarray, hdi_prob: float) -> DataFrame:
    """ArviZ's table of (chains, draws, entries): one variable, so that no name of a site can disturb it."""
    az = installed_arviz()
    group = {"posterior": {"x": entries}}
    if before_1(az):
        return az.summary(az.from_dict(**group), hdi_prob=hdi_prob, round_to="none")
    return az.summary(az.from_dict(group), ci_prob=hdi_prob, ci_kind="hdi", round_to="none")


def _entries(values: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([v.reshape(*v.shape[:2], -1).astype(np.float64) for v in values.values()], axis=-1)


def _worst(values: Any, *, largest: bool) -> str:
    ordered = values.sort_values(ascending=not largest)
    shown = ", ".join(f"{name} ({value:.3g})" for name, value in ordered.head(3).items())
    return shown + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")


__all__ = ["diagnose", "summary"]
