"""The table of inverse CDFs: from a distribution and probabilities to its value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import ndtr
from numpyro.distributions import Distribution, biject_to

from plait.compiler.quantiles import scalars, truncated, vectors
from plait.compiler.quantiles.scalars import of_location_and_scale
from plait.compiler.quantiles.tails import Tails
from plait.ir.types import Shape

Rule = Callable[[Any, Tails], Any]


class NoQuantileError(Exception):
    """A distribution that no rule takes; says why, as the rest of a sentence about its site."""


def quantile(d: Distribution, p: Tails) -> Any:
    """The value of a distribution at probabilities.

    Args:
        d: a distribution.
        p: of shape `cube_shape`, or with more axes in front, over which `d` is expanded.

    Returns:
        Of uniform p a draw of `d`; rising in p where `d` is univariate (but not if it is folded).

    Raises:
        NoQuantileError: there is no rule for it.
    """
    return _rule(d)(d, p)


def cube_shape(d: Distribution) -> Shape:
    """The shape of the probabilities that a draw takes: that of its unconstrained value."""
    value = jax.ShapeDtypeStruct(d.shape(), jnp.result_type(float))
    return tuple(jax.eval_shape(biject_to(d.support).inv, value).shape)


def _rule(d: Distribution) -> Rule:
    """The rule of its class, or of the nearest base class whose draws it inherits."""
    for cls in type(d).__mro__:
        if cls in RULES:
            return RULES[cls]
        if "icdf" in vars(cls) and cls is not Distribution:
            return lambda d, p: d.icdf(p.lower)
        if {"sample", "rsample", "log_prob"} & vars(cls).keys():
            break  # it is another distribution than its base class
    raise NoQuantileError(
        f"{type(d).__name__} has no inverse CDF here; write it as a transformation of a distribution that has one, "
        "such as Normal, Gamma, Beta, StudentT, Dirichlet or LKJ, or use a sampler that needs only its density"
    )


# -- distributions made of others -----------------------------------------------------------------------------


def _of_base(d: Any, p: Tails) -> Any:
    return quantile(d.base_dist, p)


def _of_masked(d: Any, p: Tails) -> Any:
    if d._mask is not True:
        raise NoQuantileError("its mask leaves out a part of its density and not of its draws; leave the mask out")
    return quantile(d.base_dist, p)


def _of_transformed(d: Any, p: Tails) -> Any:
    ours, bases = (cube_shape(x)[len(x.batch_shape) :] for x in (d, d.base_dist))
    if math.prod(ours) != math.prod(bases):
        raise NoQuantileError(
            f"its base distribution has {math.prod(bases)} numbers and it has {math.prod(ours)}; "
            "make it of a base of as many"
        )
    lead = p.lower.shape[: p.lower.ndim - len(ours)]
    x = quantile(d.base_dist, p.reshaped((*lead, *bases)).swapped_where(_falls(d)))
    for transform in d.transforms:
        x = transform(x)
    return x


def _falls(d: Any) -> Any:
    """Whether the transformed value falls as its base's rises, where both are numbers and NumPyro knows it."""
    falls: Any = False
    if d.base_dist.event_shape or d.event_shape:
        return falls  # the order of vectors is of no account
    for transform in d.transforms:
        try:
            falls = falls ^ (jnp.asarray(transform.sign) < 0)
        except NotImplementedError:
            return False
    return falls


def _of_copula(d: Any, p: Tails) -> Any:
    z = vectors.of_multivariate_normal(d.base_dist, p)
    return quantile(d.marginal_dist, Tails(ndtr(z), ndtr(-z)))


RULES: dict[type[Distribution], Rule] = {
    dist.ExpandedDistribution: _of_base,
    dist.Independent: _of_base,
    dist.MaskedDistribution: _of_masked,
    dist.TransformedDistribution: _of_transformed,
    dist.FoldedDistribution: _of_transformed,
    # real numbers
    dist.AsymmetricLaplace: scalars.of_asymmetric_laplace,
    dist.AsymmetricLaplaceQuantile: lambda d, p: scalars.of_asymmetric_laplace(d._ald, p),
    dist.Cauchy: of_location_and_scale(scalars.cauchy),
    dist.Gumbel: scalars.of_gumbel,
    dist.Laplace: of_location_and_scale(scalars.laplace),
    dist.Logistic: of_location_and_scale(scalars.logistic),
    dist.Normal: of_location_and_scale(scalars.normal),
    dist.SoftLaplace: of_location_and_scale(scalars.soft_laplace),
    dist.StudentT: scalars.of_student_t,
    # bounded below, or on both sides
    dist.Beta: scalars.of_beta,
    dist.Dagum: scalars.of_dagum,
    dist.DoublyTruncatedPowerLaw: scalars.of_doubly_truncated_power_law,
    dist.Exponential: scalars.of_exponential,
    dist.Gamma: scalars.of_gamma,
    dist.Gompertz: scalars.of_gompertz,
    dist.HalfCauchy: lambda d, p: d.scale * scalars.half_cauchy(p),
    dist.HalfNormal: lambda d, p: d.scale * scalars.half_normal(p),
    dist.Kumaraswamy: scalars.of_kumaraswamy,
    dist.LeftTruncatedDistribution: truncated.of_left_truncated,
    dist.Levy: scalars.of_levy,
    dist.LowerTruncatedPowerLaw: scalars.of_lower_truncated_power_law,
    dist.RightTruncatedDistribution: truncated.of_right_truncated,
    dist.TwoSidedTruncatedDistribution: truncated.of_two_sided_truncated,
    dist.Uniform: scalars.of_uniform,
    dist.Weibull: scalars.of_weibull,
    # vectors and matrices
    dist.CAR: vectors.of_car,
    dist.Dirichlet: vectors.of_dirichlet,
    dist.GaussianCopula: _of_copula,
    dist.GaussianRandomWalk: vectors.of_random_walk,
    dist.LKJCholesky: vectors.of_lkj_cholesky,
    dist.LowRankMultivariateNormal: vectors.of_low_rank_normal,
    dist.MatrixNormal: vectors.of_matrix_normal,
    dist.MultivariateNormal: vectors.of_multivariate_normal,
    dist.MultivariateStudentT: vectors.of_multivariate_student_t,
    dist.WishartCholesky: vectors.of_wishart_cholesky,
}


__all__ = ["NoQuantileError", "RULES", "cube_shape", "quantile"]
