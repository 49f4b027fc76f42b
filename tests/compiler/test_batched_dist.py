"""Distributions of all members at once against the members themselves, one by one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints, transforms

from plait.compiler.batching import distributions
from plait.compiler.batching.distributions import batched_constraint, batched_dist
from plait.compiler.batching.growing import NotBatched
from plait.ir.ops import from_aval
from plait.ir.spec import flatten, rebuild, spec_text
from tests.models import some

N = 3  # as long as most inner axes, so that a swap of axes shows in numbers only


@pytest.fixture(autouse=True)
def _in_float64():
    with jax.enable_x64(True), numpyro.validation_enabled(False):
        yield


# -- parameters: functions of a generator and a batch shape -------------------------------------------------


def real(*event):
    return lambda rng, batch: rng.normal(size=(*batch, *event))


def between(low, high, *event):
    return lambda rng, batch: rng.uniform(low, high, (*batch, *event))


def positive(*event):
    return between(0.5, 2.0, *event)


def large(*event):
    return between(3.0, 5.0, *event)


def unit(*event):
    return between(0.2, 0.8, *event)


def count(low, high, *event):
    return lambda rng, batch: rng.integers(low, high, (*batch, *event))


def simplex(k):
    return lambda rng, batch: rng.dirichlet(np.full(k, 3.0), batch)


def increasing(k):
    return lambda rng, batch: np.cumsum(rng.uniform(0.3, 1.0, (*batch, k)), -1)


def tril(k):
    def draw(rng, batch):
        return np.tril(rng.normal(size=(*batch, k, k)), -1) * 0.3 + np.eye(k) * rng.uniform(0.7, 1.5, (*batch, k, 1))

    return draw


def covariance(k):
    def draw(rng, batch):
        a = tril(k)(rng, batch)
        return a @ np.swapaxes(a, -1, -2)

    return draw


def correlation(k):
    def draw(rng, batch):
        a = covariance(k)(rng, batch)
        sd = np.sqrt(np.diagonal(a, axis1=-2, axis2=-1))
        return a / (sd[..., :, None] * sd[..., None, :])

    return draw


def circulant(rng, batch):
    other = rng.uniform(0.1, 0.5, batch)
    return np.stack([rng.uniform(2, 3, batch), other, other], -1)


# -- values in supports that no bijection reaches -----------------------------------------------------------


def of_point(rng, fn):
    return np.broadcast_to(np.asarray(fn.v), fn.shape())


def of_counts(rng, fn):
    n = np.broadcast_to(np.asarray(fn.total_count), fn.batch_shape)
    rest = fn.event_shape[0] - 1
    return np.stack([np.ones_like(n)] * rest + [n - rest], -1)


def on_sphere(rng, fn):
    x = rng.normal(size=fn.shape())
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def zero_sum(rng, fn):
    x = rng.normal(size=fn.shape())
    return x - x.mean(-1, keepdims=True)


def in_range(low, high):
    return lambda rng, fn: rng.uniform(low, high, fn.shape())


def in_integers(low, high):
    return lambda rng, fn: rng.integers(low, high, fn.shape())


def matrix(of):
    return lambda rng, fn: of(fn.event_shape[-1])(rng, fn.batch_shape)


# -- the distributions --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    make: Callable
    params: dict
    value: Callable | None = None
    refused: frozenset = frozenset()  # parameters that must not differ from member to member
    has_gradient: bool = True
    batched: bool = True  # whether the constructor takes batches of parameters


def case(make, value=None, refused=(), has_gradient=True, batched=True, **params):
    return Case(make, params, value, frozenset(refused), has_gradient, batched)


def last(x):
    return jnp.asarray(x)[..., None]


def drift(x, t):
    return -x, 1.0


NEIGHBOURS = np.array([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])

CASES = {
    "AsymmetricLaplace": case(dist.AsymmetricLaplace, loc=real(), scale=positive(), asymmetry=positive()),
    "AsymmetricLaplaceQuantile": case(dist.AsymmetricLaplaceQuantile, loc=real(), scale=positive(), quantile=unit()),
    "BernoulliLogits": case(dist.BernoulliLogits, logits=real()),
    "BernoulliProbs": case(dist.BernoulliProbs, probs=unit()),
    "Beta": case(dist.Beta, concentration1=positive(), concentration0=positive()),
    "BetaBinomial": case(
        dist.BetaBinomial, concentration1=positive(), concentration0=positive(), total_count=count(3, 9)
    ),
    "BetaNegativeBinomial": case(
        dist.BetaNegativeBinomial, concentration1=positive(), concentration0=positive(), n=positive()
    ),
    "BetaProportion": case(dist.BetaProportion, mean=unit(), concentration=positive()),
    "BinomialLogits": case(dist.BinomialLogits, logits=real(), total_count=count(3, 9)),
    "BinomialProbs": case(dist.BinomialProbs, probs=unit(), total_count=count(3, 9)),
    "BinomialProbs of one count": case(lambda probs: dist.BinomialProbs(probs, 5), probs=unit()),
    "CAR": case(
        lambda loc, correlation, precision: dist.CAR(loc, correlation, precision, NEIGHBOURS),
        loc=real(3),
        correlation=unit(),
        precision=positive(),
    ),
    "CategoricalLogits": case(dist.CategoricalLogits, logits=real(3)),
    "CategoricalProbs": case(dist.CategoricalProbs, probs=simplex(3)),
    "Cauchy": case(dist.Cauchy, loc=real(), scale=positive()),
    "Chi2": case(dist.Chi2, df=positive()),
    "CirculantNormal": case(dist.CirculantNormal, loc=real(3), covariance_row=circulant),
    "Dagum": case(dist.Dagum, concentration=positive(), sharpness=positive(), scale=positive()),
    "Delta": case(dist.Delta, of_point, v=real(), log_density=real()),
    "Delta of vectors": case(
        lambda v, log_density: dist.Delta(v, log_density, event_dim=1), of_point, v=real(3), log_density=real()
    ),
    "Dirichlet": case(dist.Dirichlet, concentration=positive(3)),
    "DirichletMultinomial": case(
        lambda concentration: dist.DirichletMultinomial(concentration, 5, total_count_max=5),
        of_counts,
        concentration=positive(3),
    ),
    "DiscreteUniform": case(
        dist.DiscreteUniform, in_integers(3, 5), has_gradient=False, low=count(0, 3), high=count(5, 9)
    ),
    "DoublyTruncatedPowerLaw": case(dist.DoublyTruncatedPowerLaw, alpha=real(), low=unit(), high=large()),
    "EulerMaruyama": case(
        lambda loc, t: dist.EulerMaruyama(t, drift, dist.Normal(loc, 1.0)),
        loc=real(),
        t=increasing(3),
    ),
    "Exponential": case(dist.Exponential, rate=positive()),
    "FoldedDistribution": case(
        lambda loc, scale: dist.FoldedDistribution(dist.Normal(loc, scale)), loc=real(), scale=positive()
    ),
    "Gamma": case(dist.Gamma, concentration=positive(), rate=positive()),
    "GammaPoisson": case(dist.GammaPoisson, concentration=positive(), rate=positive()),
    "GaussianCopula": case(
        lambda loc, scale, matrix: dist.GaussianCopula(dist.Normal(loc, last(scale)), matrix),
        loc=real(3),
        scale=positive(),
        matrix=correlation(3),
    ),
    "GaussianCopulaBeta": case(
        dist.GaussianCopulaBeta,
        has_gradient=False,
        concentration1=positive(3),
        concentration0=positive(3),
        correlation_matrix=correlation(3),
    ),
    "GaussianRandomWalk": case(lambda scale: dist.GaussianRandomWalk(scale, 3), scale=positive()),
    "GaussianStateSpace": case(
        lambda transition, noise: dist.GaussianStateSpace(4, transition, scale_tril=noise),
        refused=("transition",),
        batched=False,
        transition=real(2, 2),
        noise=tril(2),
    ),
    "GeometricLogits": case(dist.GeometricLogits, logits=real()),
    "GeometricProbs": case(dist.GeometricProbs, probs=unit()),
    "Gompertz": case(dist.Gompertz, concentration=positive(), rate=positive()),
    "Gumbel": case(dist.Gumbel, loc=real(), scale=positive()),
    "HalfCauchy": case(dist.HalfCauchy, scale=positive()),
    "HalfNormal": case(dist.HalfNormal, scale=positive()),
    "HurdleGamma": case(dist.HurdleGamma, in_range(0.1, 1), gate=unit(), concentration=positive(), rate=positive()),
    "HurdleLogits": case(
        lambda gate, rate: dist.HurdleDistribution(dist.Poisson(rate), gate_logits=gate), gate=real(), rate=positive()
    ),
    "HurdleLogNormal": case(dist.HurdleLogNormal, in_range(0.1, 1), gate=unit(), loc=real(), scale=positive()),
    "HurdleNegativeBinomial2": case(
        dist.HurdleNegativeBinomial2, gate=unit(), mean=positive(), concentration=positive()
    ),
    "HurdlePoisson": case(dist.HurdlePoisson, gate=unit(), rate=positive()),
    "ImproperUniform": case(lambda: dist.ImproperUniform(constraints.positive, (), (2,)), in_range(0, 1)),
    "InverseGamma": case(dist.InverseGamma, concentration=positive(), rate=positive()),
    "InverseWishart": case(dist.InverseWishart, matrix(covariance), concentration=large(), scale_matrix=covariance(2)),
    "InverseWishart of rates": case(
        lambda df, m: dist.InverseWishart(df, rate_matrix=m), matrix(covariance), df=large(), m=covariance(2)
    ),
    "InverseWishart of triangles": case(
        lambda df, m: dist.InverseWishart(df, scale_tril=m), matrix(covariance), df=large(), m=tril(2)
    ),
    "InverseWishartCholesky": case(
        lambda df, m: dist.InverseWishartCholesky(df, rate_matrix=m), df=large(), m=covariance(2)
    ),
    "Kumaraswamy": case(dist.Kumaraswamy, concentration1=positive(), concentration0=positive()),
    "Laplace": case(dist.Laplace, loc=real(), scale=positive()),
    "LeftTruncatedDistribution": case(
        lambda loc, scale, low: dist.LeftTruncatedDistribution(dist.Normal(loc, scale), low),
        loc=real(),
        scale=positive(),
        low=real(),
    ),
    "RightTruncatedDistribution": case(
        lambda loc, scale, high: dist.RightTruncatedDistribution(dist.Laplace(loc, scale), high),
        loc=real(),
        scale=positive(),
        high=real(),
    ),
    "TwoSidedTruncatedDistribution": case(
        lambda loc, scale, low, high: dist.TwoSidedTruncatedDistribution(dist.Normal(loc, scale), low, high),
        loc=real(),
        scale=positive(),
        low=unit(),
        high=large(),
    ),
    "TruncatedCauchy": case(
        lambda loc, scale, low: dist.TruncatedCauchy(loc, scale, low=low), loc=real(), scale=positive(), low=unit()
    ),
    "LeftTruncatedGamma": case(
        lambda a, b, low: dist.LeftTruncatedGamma(dist.Gamma(a, b), low), a=positive(), b=positive(), low=unit()
    ),
    "RightTruncatedGamma": case(
        lambda a, b, high: dist.RightTruncatedGamma(dist.Gamma(a, b), high), a=positive(), b=positive(), high=large()
    ),
    "TwoSidedTruncatedGamma": case(
        lambda a, low, high: dist.TwoSidedTruncatedGamma(dist.Gamma(a, 1.0), low, high),
        a=positive(),
        low=unit(),
        high=large(),
    ),
    "LeftCensoredDistribution": case(
        lambda loc, scale, censored: dist.LeftCensoredDistribution(dist.Normal(loc, scale), censored),
        loc=real(),
        scale=positive(),
        censored=count(0, 2),
    ),
    "RightCensoredDistribution": case(
        lambda rate, censored: dist.RightCensoredDistribution(dist.Exponential(rate), censored),
        rate=positive(),
        censored=count(0, 2),
    ),
    "IntervalCensoredDistribution": case(
        lambda loc, left, right: dist.IntervalCensoredDistribution(dist.Normal(loc, 1.0), left, right),
        lambda rng, fn: np.cumsum(rng.uniform(0, 1, fn.shape()), -1),
        loc=real(),
        left=count(0, 2),
        right=count(0, 2),
    ),
    "Levy": case(dist.Levy, loc=real(), scale=positive()),
    "LKJ": case(lambda concentration: dist.LKJ(3, concentration), matrix(correlation), concentration=positive()),
    "LKJCholesky": case(lambda concentration: dist.LKJCholesky(3, concentration), concentration=positive()),
    "LKJCholesky by vines": case(
        lambda concentration: dist.LKJCholesky(3, concentration, sample_method="cvine"), concentration=positive()
    ),
    "Logistic": case(dist.Logistic, loc=real(), scale=positive()),
    "LogNormal": case(dist.LogNormal, loc=real(), scale=positive()),
    "LogUniform": case(dist.LogUniform, low=unit(), high=large()),
    "LowerTruncatedPowerLaw": case(dist.LowerTruncatedPowerLaw, alpha=between(-3, -2), low=unit()),
    "LowRankMultivariateNormal": case(
        dist.LowRankMultivariateNormal, loc=real(3), cov_factor=real(3, 2), cov_diag=positive(3)
    ),
    "MatrixNormal": case(dist.MatrixNormal, loc=real(3, 2), scale_tril_row=tril(3), scale_tril_column=tril(2)),
    "MixtureSameFamily": case(
        lambda p, loc, scale: dist.MixtureSameFamily(dist.Categorical(probs=p), dist.Normal(loc, scale)),
        p=simplex(3),
        loc=real(3),
        scale=positive(3),
    ),
    "MixtureSameFamily of one scale": case(
        lambda p, loc, scale: dist.MixtureSameFamily(dist.Categorical(logits=p), dist.Normal(loc, last(scale))),
        p=real(3),
        loc=real(3),
        scale=positive(),
    ),
    "MixtureSameFamily of vectors": case(
        lambda p, loc: dist.MixtureSameFamily(dist.Categorical(probs=p), dist.Normal(loc, 1.0).to_event(1)),
        p=simplex(2),
        loc=real(2, 3),
    ),
    "MixtureGeneral": case(
        lambda p, loc, scale: dist.MixtureGeneral(
            dist.Categorical(probs=p), [dist.Normal(loc, scale), dist.Cauchy(0.0, scale), dist.Normal(0.0, 1.0)]
        ),
        p=simplex(3),
        loc=real(),
        scale=positive(),
    ),
    "MixtureGeneral with a support": case(
        lambda p, loc, scale: dist.MixtureGeneral(
            dist.Categorical(probs=p), [dist.Normal(loc, 1.0), dist.HalfNormal(scale)], support=constraints.real
        ),
        p=simplex(2),
        loc=real(),
        scale=positive(),
    ),
    "MixtureGeneral in boxes": case(
        lambda p, loc, low: dist.MixtureGeneral(
            dist.Categorical(probs=p),
            [dist.Normal(loc, 1.0).to_event(1), dist.Laplace(loc, 1.0).to_event(1)],
            support=constraints.independent(constraints.interval(low, low + 3.0), 1),
        ),
        in_range(-3, 3),
        p=simplex(2),
        loc=real(3),
        low=real(3),
    ),
    "MultinomialLogits": case(
        lambda logits: dist.MultinomialLogits(logits, 5, total_count_max=5), of_counts, logits=real(3)
    ),
    "MultinomialProbs": case(
        lambda probs, total_count: dist.MultinomialProbs(probs, total_count, total_count_max=9),
        of_counts,
        probs=simplex(3),
        total_count=count(3, 9),
    ),
    "MultivariateNormal of triangles": case(
        lambda loc, m: dist.MultivariateNormal(loc, scale_tril=m), loc=real(3), m=tril(3)
    ),
    "MultivariateNormal of covariances": case(dist.MultivariateNormal, loc=real(3), covariance_matrix=covariance(3)),
    "MultivariateNormal of precisions": case(
        lambda loc, m: dist.MultivariateNormal(loc, precision_matrix=m), loc=real(3), m=covariance(3)
    ),
    "MultivariateNormal at 0": case(lambda m: dist.MultivariateNormal(0.0, m), m=covariance(3)),
    "MultivariateStudentT": case(dist.MultivariateStudentT, df=large(), loc=real(3), scale_tril=tril(3)),
    "NegativeBinomial2": case(dist.NegativeBinomial2, mean=positive(), concentration=positive()),
    "NegativeBinomialLogits": case(dist.NegativeBinomialLogits, total_count=positive(), logits=real()),
    "NegativeBinomialProbs": case(dist.NegativeBinomialProbs, total_count=positive(), probs=unit()),
    "Normal": case(dist.Normal, loc=real(), scale=positive()),
    "OrderedLogistic": case(dist.OrderedLogistic, predictor=real(), cutpoints=increasing(3)),
    "Pareto": case(dist.Pareto, scale=positive(), alpha=positive()),
    "Poisson": case(dist.Poisson, rate=positive()),
    "ProjectedNormal": case(dist.ProjectedNormal, on_sphere, concentration=real(3)),
    "RelaxedBernoulliLogits": case(dist.RelaxedBernoulliLogits, temperature=positive(), logits=real()),
    "SineBivariateVonMises": case(
        dist.SineBivariateVonMises,
        in_range(-1, 1),
        phi_loc=real(),
        psi_loc=real(),
        phi_concentration=large(),
        psi_concentration=large(),
        correlation=unit(),
    ),
    "SineSkewed": case(
        lambda loc, scale, skewness: dist.SineSkewed(dist.VonMises(loc, last(scale)).to_event(1), skewness),
        in_range(-1, 1),
        loc=real(3),
        scale=positive(),
        skewness=between(-0.3, 0.3, 3),
    ),
    "SoftLaplace": case(dist.SoftLaplace, loc=real(), scale=positive()),
    "StudentT": case(dist.StudentT, df=large(), loc=real(), scale=positive()),
    "TransformedDistribution by a line": case(
        lambda loc, scale: dist.TransformedDistribution(
            dist.Normal(0.0, 1.0),
            [transforms.ExpTransform(), transforms.AffineTransform(loc, scale, domain=constraints.positive)],
        ),
        loc=real(),
        scale=positive(),
    ),
    "TransformedDistribution in a box": case(
        lambda low, scale: dist.TransformedDistribution(
            dist.Uniform(low, low + 1.0),
            transforms.AffineTransform(0.0, scale, domain=constraints.interval(low, low + 1.0)),
        ),
        low=real(),
        scale=positive(),
    ),
    "TransformedDistribution by a power": case(
        lambda power, scale: dist.TransformedDistribution(dist.HalfNormal(scale), transforms.PowerTransform(power)),
        power=positive(),
        scale=positive(),
    ),
    "TransformedDistribution of vectors": case(
        lambda loc, scale: dist.TransformedDistribution(
            dist.Normal(loc, 1.0).to_event(1),
            [transforms.AffineTransform(0.0, scale), transforms.OrderedTransform()],
        ),
        loc=real(3),
        scale=positive(3),
    ),
    "TransformedDistribution to simplices": case(
        lambda loc: dist.TransformedDistribution(
            dist.Normal(loc, 1.0).to_event(1), transforms.StickBreakingTransform()
        ),
        loc=real(2),
    ),
    "TransformedDistribution to triangles": case(
        lambda loc, scale: dist.TransformedDistribution(
            dist.Normal(loc, 1.0).to_event(1),
            [transforms.LowerCholeskyTransform(), transforms.AffineTransform(0.0, scale)],
        ),
        matrix(tril),
        loc=real(3),
        scale=positive(2, 2),
    ),
    "TransformedDistribution by a triangle": case(
        lambda loc, m: dist.TransformedDistribution(
            dist.Normal(jnp.zeros(3), 1.0).to_event(1), transforms.LowerCholeskyAffine(loc, m)
        ),
        refused=("loc", "m"),
        batched=False,
        loc=real(3),
        m=tril(3),
    ),
    "TransformedDistribution by an inverse": case(
        lambda loc, scale: dist.TransformedDistribution(
            dist.LogNormal(loc, 1.0), [transforms.ExpTransform().inv, transforms.AffineTransform(0.0, scale)]
        ),
        loc=real(),
        scale=positive(),
    ),
    "TruncatedNormal": case(
        lambda loc, scale, low: dist.TruncatedNormal(loc, scale, low=low), loc=real(), scale=positive(), low=real()
    ),
    "TruncatedPolyaGamma": case(dist.TruncatedPolyaGamma),
    "Uniform": case(dist.Uniform, low=unit(), high=large()),
    "Unit": case(dist.Unit, in_range(0, 1), log_factor=real()),
    "VonMises": case(dist.VonMises, in_range(-1, 1), loc=real(), concentration=positive()),
    "Weibull": case(dist.Weibull, scale=positive(), concentration=positive()),
    "Wishart": case(dist.Wishart, matrix(covariance), concentration=large(), scale_matrix=covariance(2)),
    "WishartCholesky": case(lambda df, m: dist.WishartCholesky(df, scale_tril=m), df=large(), m=tril(2)),
    "ZeroInflatedLogits": case(
        lambda gate, rate: dist.ZeroInflatedDistribution(dist.Poisson(rate), gate_logits=gate),
        gate=real(),
        rate=positive(),
    ),
    "ZeroInflatedPoisson": case(dist.ZeroInflatedPoisson, gate=unit(), rate=positive()),
    "ZeroInflatedNegativeBinomial2": case(
        dist.ZeroInflatedNegativeBinomial2, mean=positive(), concentration=positive(), gate=unit()
    ),
    "ZeroInflatedProbs": case(
        lambda gate, p: dist.ZeroInflatedDistribution(dist.Binomial(4, p), gate=gate), gate=unit(), p=unit()
    ),
    "ZeroSumNormal": case(lambda scale: dist.ZeroSumNormal(scale, (3,)), zero_sum, batched=False, scale=positive()),
    "to_event": case(lambda loc, scale: dist.Normal(loc, last(scale)).to_event(1), loc=real(3), scale=positive()),
    "expand": case(
        lambda loc, scale: dist.Normal(loc, scale).expand((3, *jnp.shape(loc))), loc=real(), scale=positive()
    ),
    "expand between": case(
        lambda loc, scale: dist.Normal(last(loc), last(scale)).expand((*jnp.shape(loc), 3)),
        loc=real(),
        scale=positive(),
    ),
    "expand and to_event": case(
        lambda loc: dist.Normal(last(loc), 1.0).expand((*jnp.shape(loc), 3)).to_event(1), loc=real()
    ),
    "expand of vectors": case(
        lambda concentration: dist.Dirichlet(concentration).expand((3, *jnp.shape(concentration)[:-1])),
        concentration=positive(3),
    ),
    "mask": case(
        lambda loc, scale, mask: dist.Normal(loc, scale).mask(jnp.asarray(mask, bool)),
        loc=real(),
        scale=positive(),
        mask=count(0, 2),
    ),
    "mask of vectors": case(
        lambda loc, mask: dist.Normal(loc, 1.0).to_event(1).mask(jnp.asarray(mask, bool)),
        loc=real(3),
        mask=count(0, 2),
    ),
    "mask and to_event": case(
        lambda shape, mask: dist.Gamma(shape, 1.0).mask(jnp.asarray(mask, bool)).to_event(1),
        shape=positive(3),
        mask=count(0, 2, 3),
    ),
    "mask of all": case(lambda loc: dist.Normal(loc, 1.0).mask(False), loc=real()),
    "an array in two places": case(
        lambda x: dist.ZeroInflatedDistribution(dist.Categorical(logits=x), gate=x),
        x=unit(3),
        batched=False,
    ),
}


# -- families of members ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Members of one family, and their distribution at once."""

    members: list
    part: object
    leaves: list  # of the family: with the members' axis where `lanes` says so
    lanes: list
    new: object
    closed: object

    def rebuilt(self, leaves):
        return rebuild(self.part, leaves)

    def at_once(self, leaves):
        return rebuild(self.new, jax.core.eval_jaxpr(self.closed.jaxpr, self.closed.consts, *leaves))


def family(case, batch, differing, size=N, rank=None):
    rng = np.random.default_rng(7)
    values = {name: [draw(rng, batch) for _ in range(N)] for name, draw in case.params.items()}
    shared = {name: each[:1] * N for name, each in values.items() if name not in differing}
    members = [case.make(**{k: jnp.asarray(x[i]) for k, x in (values | shared).items()}) for i in range(N)]
    flat = [flatten(fn, "x") for fn in members]
    columns = list(zip(*(leaves for leaves, _ in flat), strict=True))
    lanes = [any(not np.array_equal(x, column[0]) for x in column) for column in columns]
    leaves = [jnp.stack(c)[:size] if lane else jnp.asarray(c[0]) for c, lane in zip(columns, lanes, strict=True)]
    part = flat[0][1]
    rank = len(members[0].batch_shape) if rank is None else rank
    new, closed = batched_dist(part, types(leaves), tuple(lanes), size, rank)
    return Family(members[:size], part, leaves, lanes, new, closed)


def types(leaves):
    return tuple(from_aval(jax.typeof(x)) for x in leaves)


def settings(case):
    """Batch shapes, differing parameters and numbers of members."""
    names = tuple(case.params)
    alone = [(name,) for name in names if len(names) > 1 or case.batched]
    return [((), names, N), *(((3,) * case.batched, one, N) for one in alone), ((), (), N), ((), names, 1)]


@pytest.mark.parametrize("name", CASES)
def test_the_members_at_once_are_the_members(name):
    case = CASES[name]
    for batch, differing, size in some(settings(case)):
        if case.refused & set(differing):
            with pytest.raises(NotBatched, match="can't be stacked"):
                family(case, batch, differing, size)
        else:
            compare(case, family(case, batch, differing, size))


def compare(case, found):
    at_once, member, size = found.at_once(found.leaves), found.members[0], len(found.members)
    assert at_once.batch_shape == (size, *member.batch_shape)
    assert at_once.event_shape == member.event_shape
    rng = np.random.default_rng(1)
    x = [value_of(case, rng, fn) for fn in found.members]
    support = np.stack([fn.support(v) for fn, v in zip(found.members, x, strict=True)])
    np.testing.assert_array_equal(at_once.support(np.stack(x)), support)
    log_prob = np.stack([fn.log_prob(v) for fn, v in zip(found.members, x, strict=True)])
    assert np.any(np.isfinite(log_prob))
    np.testing.assert_allclose(at_once.log_prob(np.stack(x)), log_prob, rtol=1e-12, atol=1e-12)


def value_of(case, rng, fn):
    if case.value is not None:
        return jnp.asarray(case.value(rng, fn))
    if fn.support.is_discrete:
        return jnp.asarray(rng.integers(0, 2, fn.shape()))
    bijector = dist.biject_to(fn.support)
    free = jax.eval_shape(bijector.inv, jax.ShapeDtypeStruct(fn.shape(), float)).shape
    return jnp.broadcast_to(bijector(jnp.asarray(rng.normal(0, 0.5, free))), fn.shape())


@pytest.mark.parametrize("name", some([name for name, case in CASES.items() if case.has_gradient and not case.refused]))
def test_so_are_their_derivatives(name):
    """Each member's in a random direction of its own, in which a wrong gradient shows."""
    case = CASES[name]
    found = family(case, (), tuple(case.params))
    rng = np.random.default_rng(1)
    everything = [*found.leaves, jnp.stack([value_of(case, rng, fn) for fn in found.members])]
    lanes = [0 if lane else None for lane in (*found.lanes, True)]
    floats = [i for i, a in enumerate(everything) if jnp.issubdtype(a.dtype, jnp.floating)]
    point = [everything[i] for i in floats]
    direction = [jnp.asarray(rng.normal(size=x.shape)) for x in point]

    def derivative(rebuilt, everything, point, direction):
        def log_prob(*point):
            whole = list(everything)
            for i, x in zip(floats, point, strict=True):
                whole[i] = x
            return rebuilt(whole[:-1]).log_prob(whole[-1])

        return jax.jvp(log_prob, point, direction)[1]

    ours = derivative(found.at_once, everything, point, direction)
    # vmap of a member runs what all at once run, so little has to be compiled for it
    along = [lanes[i] for i in floats]
    theirs = jax.vmap(partial(derivative, found.rebuilt), (lanes, along, along))(everything, point, direction)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_all_of_numpyros_distributions_are_here():
    classes = {c for c in vars(dist).values() if isinstance(c, type) and issubclass(c, dist.Distribution)}
    classes -= {dist.Distribution}
    rng = np.random.default_rng(0)
    for case in CASES.values():
        fn = case.make(**{name: jnp.asarray(draw(rng, ())) for name, draw in case.params.items()})
        while isinstance(fn, dist.Distribution):
            classes.discard(type(fn))
            fn = getattr(fn, "base_dist", None)
    assert classes == set()


@pytest.mark.parametrize(
    "name",
    ["StudentT", "LKJCholesky", "MixtureSameFamily of one scale", "RelaxedBernoulliLogits", "expand between", "mask"],
)
def test_each_member_draws_for_itself(name):
    """Members whose parameters are equal have different draws."""
    case = CASES[name]
    for differing in [(), *((one,) for one in case.params)]:
        found = family(case, (), differing)
        leaves = [
            jnp.broadcast_to(x[0], x.shape) if lane else x for x, lane in zip(found.leaves, found.lanes, strict=True)
        ]
        draws = np.asarray(found.at_once(leaves).sample(jax.random.key(4)))
        assert draws.shape == (N, *found.members[0].shape())
        assert len(np.unique(draws.reshape(N, -1), axis=0)) == N


def test_an_axis_does_not_fit_by_its_length_alone():
    """Two members, and an event of two: as wrong as can be without an error."""
    case = CASES["SineBivariateVonMises"]
    compare(case, family(case, (), ("phi_loc",), 2))


def test_an_array_in_two_places_stays_one_where_it_is_aligned_alike():
    found = family(CASES["Uniform"], (), ("low", "high"))
    assert found.new.n_leaves == found.part.n_leaves == 2
    found = family(CASES["an array in two places"], (), ("x",))
    assert (found.part.n_leaves, found.new.n_leaves) == (1, 2)


NATURAL = {
    "Normal": lambda x: dist.Normal(x, 2.0),
    "to_event": lambda x: dist.Normal(last(x), jnp.array([1.0, 2.0])).to_event(1),
    "expand": lambda x: dist.Normal(last(x), 2.0).expand((*x.shape, 4)),
    "mask": lambda x: dist.Normal(0.0, 1.0).mask(x > 0),
    "transform": lambda x: dist.TransformedDistribution(dist.Normal(0.0, 1.0), transforms.AffineTransform(x, 2.0)),
    "gamma": lambda x: dist.Gamma(2.0, jnp.exp(x)),
    "vectors": lambda x: dist.MultivariateNormal(last(x) * jnp.ones(3), jnp.eye(3)),
    "shared": lambda x: dist.Normal(0.0 * 3, 1.0).expand(x.shape),
}


@pytest.mark.parametrize("name", NATURAL)
def test_it_is_what_a_user_would_write(name):
    x = jnp.array([0.3, -0.2, 0.9])
    found = family(case(NATURAL[name], x=lambda rng, batch: x[rng.integers(0, 3)]), (), ("x",))
    leaves, part = flatten(NATURAL[name](x), "x")
    assert spec_text(found.new, range_of(found.new)) == spec_text(part, range_of(part))
    assert found.at_once(found.leaves).batch_shape == rebuild(part, leaves).batch_shape


def range_of(part):
    return [f"x{i}" for i in range(part.n_leaves)]


# -- constraints --------------------------------------------------------------------------------------------

CONSTRAINTS = {
    "interval": (lambda a, b: constraints.interval(a, a + jnp.abs(b)), (2, 3), (2, 3)),
    "interval of one end each": (lambda a, b: constraints.interval(a, b + 2), (3,), ()),
    "greater_than": (lambda a, b: constraints.greater_than(a), (3,), ()),
    "less_than_eq": (lambda a, b: constraints.less_than_eq(a), (), ()),
    "integer_interval": (lambda a, b: constraints.integer_interval(jnp.round(a), jnp.round(b) + 1), (3,), (2, 3)),
    "integer_greater_than": (lambda a, b: constraints.integer_greater_than(jnp.round(a)), (3,), ()),
    "multinomial": (lambda a, b: constraints.multinomial(jnp.abs(jnp.round(3 * a))), (2,), ()),
    "independent": (lambda a, b: constraints.independent(constraints.interval(a, a + jnp.abs(b)), 1), (3,), ()),
    "none that differs": (lambda a, b: constraints.positive, (), ()),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints_of_all_members(name):
    make, *shapes = CONSTRAINTS[name]
    rng = np.random.default_rng(11)
    ends = [rng.normal(size=(N, *shape)) for shape in shapes]
    x = jnp.asarray(np.round(rng.normal(size=(N, 2, 3)) * 2) / 2)
    if name == "multinomial":
        x = jnp.abs(jnp.round(x))
    members = [make(*(jnp.asarray(e[i]) for e in ends)) for i in range(N)]
    flat = [flatten(c, "a support") for c in members]
    leaves = [jnp.stack(column) for column in zip(*(leaves for leaves, _ in flat), strict=True)]
    new, closed = batched_constraint(flat[0][1], types(leaves), (True,) * len(leaves), N, 3 - 1)
    at_once = rebuild(new, jax.core.eval_jaxpr(closed.jaxpr, closed.consts, *leaves))
    expected = np.stack([c(v) for c, v in zip(members, x, strict=True)])
    np.testing.assert_array_equal(at_once(x), expected)


class EvenNumber(constraints.Constraint):
    def __call__(self, x):
        return jnp.all(x % 2 == 0)

    def tree_flatten(self):
        return (), ((), {})


@pytest.mark.parametrize("constraint", [EvenNumber(), constraints.independent(EvenNumber(), 1)])
def test_a_users_constraint_is_refused(constraint):
    with pytest.raises(NotBatched, match="can't be stacked"):
        batched_constraint(flatten(constraint, "a support")[1], (), (), N, 1)


# -- distributions that are not NumPyro's -------------------------------------------------------------------


class Triangle(dist.Distribution):
    """On [loc - width, loc + width]."""

    arg_constraints: ClassVar = {"loc": constraints.real, "width": constraints.positive}
    support = constraints.real

    def __init__(self, loc, width):
        self.loc, self.width = jnp.asarray(loc), jnp.asarray(width)
        super().__init__(jax.lax.broadcast_shapes(self.loc.shape, self.width.shape))

    def sample(self, key, sample_shape=()):
        u = jax.random.uniform(key, (2, *sample_shape, *self.batch_shape))
        return self.loc + self.width * (u[0] - u[1])

    def log_prob(self, value):
        return jnp.log1p(-jnp.abs(value - self.loc) / self.width) - jnp.log(self.width)


class Normalized(Triangle):
    """Looks at all members, though its shapes are right."""

    def log_prob(self, value):
        return super().log_prob(value) - jnp.log(jnp.sum(self.width))


class OfOne(Triangle):
    """Returns one number, whatever the batch."""

    def log_prob(self, value):
        return jnp.sum(super().log_prob(value))


class Undeclared(Triangle):
    """Has an array of which nobody says where its batch axes begin."""

    def __init__(self, loc, width):
        super().__init__(loc, width)
        self.bound = self.loc + self.width

    def log_prob(self, value):
        return jnp.where(value < self.bound, super().log_prob(value), -jnp.inf)


class Undrawn(Triangle):
    def sample(self, key, sample_shape=()):
        raise NotImplementedError


class ByLeaves(Triangle):
    """Draws in the shape of its parameters, not in that of its batch."""

    def sample(self, key, sample_shape=()):
        u = jax.random.uniform(key, (2, *sample_shape, *self.loc.shape))
        return self.loc + self.width * (u[0] - u[1])


class Around(dist.Distribution):
    """Has another distribution inside, from which it draws."""

    arg_constraints: ClassVar = {"shift": constraints.real}
    support = constraints.real

    def __init__(self, shift, loc, width):
        self.shift, self.inner = jnp.asarray(shift), ByLeaves(loc, width)
        super().__init__(jax.lax.broadcast_shapes(self.shift.shape, self.inner.batch_shape))

    def sample(self, key, sample_shape=()):
        return self.shift + self.inner.sample(key, sample_shape)

    def log_prob(self, value):
        return self.inner.log_prob(value - self.shift)


class Misread(dist.Distribution):
    """Divides vectors by a number of the batch, which fits where there are as many members as components."""

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.real_vector

    def __init__(self, scale):
        self.scale = jnp.asarray(scale)
        super().__init__(self.scale.shape, (3,))

    def sample(self, key, sample_shape=()):
        return jax.random.normal(key, (*sample_shape, *self.batch_shape, 3))

    def log_prob(self, value):
        return jnp.sum(value / self.scale, -1)


class Doubled(transforms.Transform):
    """A transform of the user's that looks at all members."""

    domain = codomain = constraints.real

    def __call__(self, x):
        return 2 * x

    def _inverse(self, y):
        return y / 2

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return jnp.full(jnp.shape(x), jnp.log(2.0)) + 0 * x + jnp.size(x)

    def tree_flatten(self):
        return (), ((), {})


def test_a_users_distribution():
    compare_all(case(Triangle, lambda rng, fn: fn.loc + 0.4 * fn.width, loc=real(), width=positive()))


def compare_all(own):
    for batch, differing, size in settings(own):
        compare(own, family(own, batch, differing, size))


@pytest.mark.parametrize("cls", [Normalized, OfOne, Undeclared, Undrawn])
def test_a_users_distribution_that_may_be_wrong_is_refused(cls):
    with pytest.raises(NotBatched) as caught:
        family(case(cls, loc=real(), width=positive()), (), ("loc", "width"))
    assert str(caught.value) == f"{cls.__name__} can't be stacked"


def test_a_users_transform_that_looks_at_all_members_is_refused():
    own = case(lambda loc: dist.TransformedDistribution(dist.Normal(loc, 1.0), Doubled()), loc=real())
    with pytest.raises(NotBatched, match="TransformedDistribution can't be stacked"):
        family(own, (), ("loc",))


def test_draws_of_a_distribution_inside_are_each_members_own():
    own = case(Around, shift=real(), loc=real(), width=positive())
    found = family(own, (), ("shift",))
    draws = found.at_once(found.leaves).sample(jax.random.key(2)) - found.leaves[found.lanes.index(True)]
    assert len(np.unique(np.round(draws, 6))) == N


@pytest.mark.parametrize("known", [False, True])
def test_what_fits_by_accident_is_refused_whoever_wrote_it(known, monkeypatch):
    if known:
        monkeypatch.setattr(distributions, "is_numpyros", lambda part: True)
    with pytest.raises(NotBatched, match="Misread can't be stacked"):
        family(case(Misread, scale=positive()), (), ("scale",))
