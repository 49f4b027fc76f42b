"""Parts of the log density: which of its addends are summed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Which addends of the log density are summed.

    Attributes:
        prior: those of the latent sites, which the sampler draws.
        likelihood: all others: of observed sites and factors.
        jacobian: log|det| of the map from unconstrained to constrained values.
        constants: what depends on no latent and no param; it is left out where it is an addend.
    """

    prior: bool = True
    likelihood: bool = True
    jacobian: bool = True
    constants: bool = True


WHOLE = Part()
PRIOR = Part(likelihood=False)
LIKELIHOOD = Part(prior=False, jacobian=False)
JACOBIAN = Part(prior=False, likelihood=False)

__all__ = ["JACOBIAN", "LIKELIHOOD", "PRIOR", "WHOLE", "Part"]
