"""The passes and their order: the whole pipeline is this one tuple."""

from plait.compiler.passes.check_data import check_data
from plait.compiler.passes.density import density
from plait.compiler.passes.expand import expand
from plait.compiler.passes.fuse import fuse
from plait.compiler.passes.join_parts import join_parts
from plait.compiler.passes.join_terms import join_terms
from plait.compiler.passes.late_gathers import late_gathers
from plait.compiler.passes.reroll import reroll
from plait.compiler.passes.runner import Pass, run_passes
from plait.compiler.passes.share_exps import share_exps
from plait.compiler.passes.simplify import simplify
from plait.compiler.passes.split_stages import split_stages
from plait.compiler.passes.stabilize import stabilize
from plait.compiler.passes.unconstrain import unconstrain
from plait.compiler.passes.vectorize_scans import vectorize_scans

PIPELINE: tuple[Pass, ...] = (
    # Validation code of NumPyro is most of a traced model; nothing later should walk over it.
    Pass("simplify", simplify),
    # Before density, so that draws are rolled too; without dead code, which would keep look-alikes apart.
    Pass("reroll", reroll),
    # From here on there are terms instead of sites.
    Pass("density", density, optional=False),
    # As soon as values are given; what was hidden in loops is in sight of all later passes.
    Pass("vectorize_scans", vectorize_scans, requires=("density",)),
    # While supports are still ops with a name: afterwards they are anonymous comparisons.
    Pass("check_data", check_data, requires=("density",)),
    # After check_data, which names the user's parameter; before late_gathers, which takes expressions apart.
    Pass("stabilize", stabilize, requires=("density",)),
    # After check_data, which names the index that the user wrote; before fuse, which asks what rows have in common.
    Pass("late_gathers", late_gathers, requires=("density",)),
    # Before expand, which would hide the bijectors that `CompiledModel.unconstrain` inverts.
    Pass("unconstrain", unconstrain, requires=("density",), optional=False),
    # Knows distributions, so before they become arithmetic; after check_data, which looks at rows.
    Pass("fuse", fuse, requires=("unconstrain",), reads_data=True),
    # While bijectors still have a name; before join_terms, which sums values that lie side by side.
    Pass("join_parts", join_parts, requires=("unconstrain",)),
    # While a term still names its family; the guards have read the sites' own values by now.
    Pass("join_terms", join_terms, requires=("unconstrain",)),
    # Below this line there is only arithmetic.
    Pass("expand", expand, requires=("unconstrain",)),
    # Several terms of one family repeat each other's arithmetic.
    Pass("simplify_terms", simplify, requires=("expand",)),
    # NumPyro's own code, too: at logits of exactly 0 its Bernoulli and binomial have a wrong derivative.
    Pass("stabilize_terms", stabilize, requires=("density",)),
    # After expand and simplify: jax's log Σ exp is known by its equations, also in a distribution, each of them once.
    Pass("share_exps", share_exps, requires=("unconstrain",)),
    # Last, so that whatever the passes found to be known is computed once.
    Pass("split_stages", split_stages, requires=("unconstrain",)),
)

__all__ = ["PIPELINE", "Pass", "run_passes"]
