"""The models that every test of every pass runs over.

`MODELS` run as they stand under NumPyro and plait (a few through a NumPyro twin), `SCAN_MODELS` have sites
inside JAX's own loops and branches, and `EMPTY` has no site. All latents are continuous.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

from . import (
    branching,
    control,
    factors,
    hierarchical,
    learned,
    mixtures,
    plates,
    priors,
    regression,
    scans,
    supports,
    vectors,
    weights,
)
from .model import Array, Data, Model, ModelFn

__all__ = ["EMPTY", "MODELS", "SCAN_MODELS", "Array", "Data", "Model", "ModelFn", "some"]

T = TypeVar("T")

MODELS: tuple[Model, ...] = (
    # Half-Cauchy scale: no moments.
    Model("eight_schools", hierarchical.eight_schools, hierarchical.eight_schools_data, prior_moments=False),
    Model("eight_schools_noncentered", hierarchical.eight_schools_noncentered, hierarchical.eight_schools_data),
    Model("eight_schools_reparam", hierarchical.eight_schools_reparam, hierarchical.eight_schools_data),
    Model("radon", hierarchical.radon, hierarchical.radon_data),
    Model("correlated_slopes", hierarchical.correlated_slopes, hierarchical.correlated_slopes_data),
    Model("small_priors", priors.small_priors, priors.small_priors_data),
    Model("logistic_regression", regression.logistic_regression, regression.logistic_regression_data),
    Model("sigmoid_regression", regression.sigmoid_regression, regression.sigmoid_regression_data),
    Model("written_out", regression.written_out, regression.written_out_data),
    Model("count_regression", regression.count_regression, regression.count_regression_data),
    Model("zero_inflated", regression.zero_inflated, regression.zero_inflated_data),
    Model("nested_explicit", plates.nested_explicit, plates.matrix_data),
    Model("nested_allocated", plates.nested_allocated, plates.cube_data),
    Model("nested_outer_left", plates.nested_outer_left, plates.matrix_data),
    Model("crossed", plates.crossed, plates.matrix_data),
    Model("subsampled", plates.subsampled, plates.minibatch_data),
    Model("same_size_plates", plates.same_size_plates, plates.square_data),
    Model("scaled", weights.scaled, weights.rows_data),
    Model("masked_observations", weights.masked_observations, weights.nan_data),
    Model("masked_latents", weights.masked_latents, weights.kept_data),
    Model("imputed", weights.imputed, weights.nan_data),
    Model("vector_events", vectors.vector_events, vectors.vector_data),
    Model("multivariate_rows", vectors.multivariate_rows, vectors.vector_data),
    Model("inverted", vectors.inverted, vectors.inverted_data),
    Model("expanded_events", vectors.expanded_events, vectors.expanded_events_data),
    Model("sample_shapes", vectors.sample_shapes, vectors.sample_shapes_data),
    Model("simplex", supports.simplex, supports.simplex_data),
    Model("ordered", supports.ordered, supports.ordered_data),
    Model(
        "improper_ordered",
        supports.improper_ordered,
        supports.ordered_data,
        prior_moments=False,
        prior_draws=False,
    ),
    Model("dynamic_support", supports.dynamic_support, supports.dynamic_support_data),
    Model("zero_sum", supports.zero_sum, supports.zero_sum_data),
    Model("many_families", supports.many_families, supports.many_families_data),
    Model("factors", factors.factors, factors.factors_data),
    Model("summed_factors", factors.summed_factors, factors.summed_factors_data),
    Model("deterministic_chain", factors.deterministic_chain, factors.deterministic_chain_data),
    Model("one_latent", factors.one_latent, factors.one_latent_data),
    Model("mixture", mixtures.mixture, mixtures.mixture_data),
    Model("handmade_mixture", mixtures.handmade_mixture, mixtures.mixture_data),
    Model("hidden_markov", mixtures.hidden_markov, mixtures.mixture_data),
    Model("empirical_bayes", learned.empirical_bayes, learned.empirical_bayes_data),
    Model("neural_regression", learned.neural_regression, learned.neural_regression_data),
    Model("moving_average", control.moving_average, control.series_data),
    Model("branches", control.branches, control.branches_data),
    Model("jitted_helper", control.jitted_helper, control.series_data, twin=control.unjitted_helper),
    Model("jitted_reuse", control.jitted_reuse, control.series_data, twin=control.unjitted_reuse),
)

SCAN_MODELS: tuple[Model, ...] = (
    Model("random_walk", scans.random_walk, scans.series_data, twin=scans.random_walk_twin),
    Model("state_space", scans.state_space, scans.series_data, twin=scans.state_space_twin),
    Model("positive_walk", scans.positive_walk, scans.series_data, twin=scans.positive_walk_twin),
    Model("plate_in_scan", scans.plate_in_scan, scans.panel_data, twin=scans.plate_scan_twin),
    Model("plate_around_scan", scans.plate_around_scan, scans.panel_data, twin=scans.plate_scan_twin),
    Model("vector_walk", scans.vector_walk, scans.choices_data, twin=scans.vector_walk_twin),
    Model("regimes", branching.regimes, branching.regimes_data, twin=branching.regimes_twin),
    Model(
        "switching_walk",
        branching.switching_walk,
        branching.switching_walk_data,
        twin=branching.switching_walk_twin,
    ),
)

EMPTY = Model("empty", factors.empty, factors.empty_data)


def some(cases: Sequence[T]) -> Sequence[T]:
    """A third of a test's cases where all of them have run already in a similar test; all in `.ci/matrix`."""
    return cases if os.environ.get("PLAIT_EVERY_MODEL") else cases[::3]
