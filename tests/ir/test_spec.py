"""Distributions taken apart and put together again: equal densities, whatever NumPyro or a user wrote."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.distributions import constraints, transforms
from numpyro.distributions.flows import InverseAutoregressiveTransform

import plait
from plait import ModelError
from plait.ir.spec import Leaf, Spec, Static, constraint_name, family, flatten, rebuild, spec_text

V = np.array([0.2, 0.5, 1.5], np.float32)
P = np.array([0.2, 0.3, 0.5], np.float32)
C = np.array([[2.0, 0.3], [0.3, 1.0]], np.float32)
L = np.linalg.cholesky(C).astype(np.float32)
ADJACENCY = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)


def mixture():
    return dist.MixtureSameFamily(dist.Categorical(P), dist.Normal(V, 1.0))


# Made when they are used: constructing them all takes seconds.
DISTRIBUTIONS = {
    "AffineBeta": lambda: dist.TransformedDistribution(
        dist.Beta(2.0, V), transforms.AffineTransform(-1.0, 3.0, domain=constraints.unit_interval)
    ),
    "AsymmetricLaplace": lambda: dist.AsymmetricLaplace(0.0, V, 0.4),
    "AsymmetricLaplaceQuantile": lambda: dist.AsymmetricLaplaceQuantile(0.0, V, 0.4),
    "BernoulliLogits": lambda: dist.Bernoulli(logits=V),
    "BernoulliProbs": lambda: dist.Bernoulli(P),
    "Beta": lambda: dist.Beta(V, 2.0),
    "BetaBinomial": lambda: dist.BetaBinomial(V, 2.0, total_count=5),
    "BetaProportion": lambda: dist.BetaProportion(P, 3.0),
    "BinomialLogits": lambda: dist.Binomial(7, logits=V),
    "BinomialProbs": lambda: dist.Binomial(np.array([3, 4, 5]), P),
    "CAR": lambda: dist.CAR(np.zeros(2, np.float32), 0.3, 1.5, ADJACENCY),
    "CategoricalLogits": lambda: dist.Categorical(logits=V),
    "CategoricalProbs": lambda: dist.Categorical(P),
    "Cauchy": lambda: dist.Cauchy(V, 2.0),
    "Chi2": lambda: dist.Chi2(V),
    "Delta": lambda: dist.Delta(V, log_density=0.5),
    "DeltaEvent": lambda: dist.Delta(V, event_dim=1),
    "Dirichlet": lambda: dist.Dirichlet(V),
    "DirichletMultinomial": lambda: dist.DirichletMultinomial(V, 4),
    "DiscreteUniform": lambda: dist.DiscreteUniform(0, 5),
    "DoublyTruncatedPowerLaw": lambda: dist.DoublyTruncatedPowerLaw(V, 1.0, 3.0),
    "EulerMaruyama": lambda: dist.EulerMaruyama(np.linspace(0, 1, 4, dtype=np.float32), _drift, dist.Normal(0.0, 1.0)),
    "Expanded": lambda: dist.Normal(0.0, V).expand((2, 3)),
    "Exponential": lambda: dist.Exponential(V),
    "FoldedNormal": lambda: dist.FoldedDistribution(dist.Normal(V, 1.0)),
    "Gamma": lambda: dist.Gamma(V, 3.0),
    "GammaPoisson": lambda: dist.GammaPoisson(V, 2.0),
    "GaussianRandomWalk": lambda: dist.GaussianRandomWalk(0.5, num_steps=4),
    "GaussianStateSpace": lambda: dist.GaussianStateSpace(3, C / 3, covariance_matrix=C),
    "GeometricLogits": lambda: dist.Geometric(logits=V),
    "GeometricProbs": lambda: dist.Geometric(P),
    "Gompertz": lambda: dist.Gompertz(V, 1.0),
    "Gumbel": lambda: dist.Gumbel(V, 2.0),
    "HalfCauchy": lambda: dist.HalfCauchy(V),
    "HalfNormal": lambda: dist.HalfNormal(V),
    "ImproperUniform": lambda: dist.ImproperUniform(constraints.greater_than(V), (3,), ()),
    "Independent": lambda: dist.Normal(V, 1.0).to_event(1),
    "InverseGamma": lambda: dist.InverseGamma(V, 3.0),
    "Kumaraswamy": lambda: dist.Kumaraswamy(V, 2.0),
    "LKJ": lambda: dist.LKJ(3, 1.5),
    "LKJCholesky": lambda: dist.LKJCholesky(3, 1.5),
    "Laplace": lambda: dist.Laplace(V, 2.0),
    "LeftTruncated": lambda: dist.LeftTruncatedDistribution(dist.Cauchy(0.0, 1.0), low=V),
    "LevyStable": lambda: dist.Levy(V, 1.0),
    "LogNormal": lambda: dist.LogNormal(V, 2.0),
    "LogUniform": lambda: dist.LogUniform(V, 3.0),
    "Logistic": lambda: dist.Logistic(V, 2.0),
    "LowRankMultivariateNormal": lambda: dist.LowRankMultivariateNormal(V[:2], L, V[:2]),
    "Masked": lambda: dist.Normal(V, 1.0).mask(np.array([True, False, True])),
    "MaskedByPython": lambda: dist.Normal(V, 1.0).mask(False),
    "MatrixNormal": lambda: dist.MatrixNormal(np.zeros((2, 2), np.float32), L, L),
    "MixtureGeneral": lambda: dist.MixtureGeneral(
        dist.Categorical(P[:2] / P[:2].sum()), [dist.Normal(0.0, 1.0), dist.Cauchy(1.0, 2.0)]
    ),
    "MixtureSameFamily": mixture,
    "MultinomialLogits": lambda: dist.Multinomial(4, logits=V),
    "MultinomialProbs": lambda: dist.Multinomial(4, P),
    "MultivariateNormal": lambda: dist.MultivariateNormal(V[:2], covariance_matrix=C),
    "MultivariateNormalPrecision": lambda: dist.MultivariateNormal(V[:2], precision_matrix=C),
    "MultivariateNormalTril": lambda: dist.MultivariateNormal(V[:2], scale_tril=L),
    "MultivariateStudentT": lambda: dist.MultivariateStudentT(5.0, V[:2], L),
    "NegativeBinomial2": lambda: dist.NegativeBinomial2(V, 2.0),
    "NegativeBinomialProbs": lambda: dist.NegativeBinomial(3, P),
    "Normal": lambda: dist.Normal(V, 2.0),
    "OrderedLogistic": lambda: dist.OrderedLogistic(0.3, V),
    "Pareto": lambda: dist.Pareto(V, 2.0),
    "Poisson": lambda: dist.Poisson(V),
    "ProjectedNormal": lambda: dist.ProjectedNormal(V),
    "RelaxedBernoulli": lambda: dist.RelaxedBernoulli(0.7, P),
    "RightTruncated": lambda: dist.RightTruncatedDistribution(dist.Normal(0.0, 1.0), high=V),
    "SineBivariateVonMises": lambda: dist.SineBivariateVonMises(0.1, 0.2, 1.0, 1.5, 0.5),
    "SoftLaplace": lambda: dist.SoftLaplace(V, 2.0),
    "StudentT": lambda: dist.StudentT(V + 2, 0.0, 2.0),
    "TransformedTwice": lambda: dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), [transforms.AffineTransform(V, 2.0), transforms.SigmoidTransform()]
    ),
    "TruncatedCauchy": lambda: dist.TruncatedCauchy(0.0, 1.0, low=V),
    "TruncatedNormal": lambda: dist.TruncatedNormal(V, 1.0, low=-1.0, high=2.0),
    "TruncatedPolyaGamma": dist.TruncatedPolyaGamma,
    "TwoSidedTruncated": lambda: dist.TwoSidedTruncatedDistribution(dist.Laplace(V, 1.0), low=-1.0, high=2.0),
    "Uniform": lambda: dist.Uniform(V, 3.0),
    "Unit": lambda: dist.Unit(V),
    "VonMises": lambda: dist.VonMises(V, 2.0),
    "Weibull": lambda: dist.Weibull(V, 2.0),
    "Wishart": lambda: dist.Wishart(3.0, C),
    "ZeroInflatedLogits": lambda: dist.ZeroInflatedDistribution(dist.Poisson(V), gate_logits=0.3),
    "ZeroInflatedNegativeBinomial2": lambda: dist.ZeroInflatedNegativeBinomial2(V, 2.0, gate=0.2),
    "ZeroInflatedPoisson": lambda: dist.ZeroInflatedPoisson(0.3, V),
    "ZeroSumNormal": lambda: dist.ZeroSumNormal(1.5, (3,)),
}
NO_DRAWS = {"ImproperUniform", "Unit"}


def _drift(x, t):
    return -x, 0.5


def a_value(fn):
    """Somewhere in the support, with no draw: those would take a minute to compile."""
    if isinstance(fn, dist.Delta):
        return fn.v
    ramp = jnp.reshape(jnp.linspace(0.2, 0.9, int(np.prod(fn.shape()))), fn.shape())
    real = "real" in constraint_name(fn.support)
    return ramp if real or isinstance(fn, dist.Unit) else fn.support.feasible_like(jnp.ones(fn.shape()))


def rebuilt(fn):
    """Flattened, its leaves moved through jax as a compiled program would."""
    leaves, part = flatten(fn, "site 'x'")
    return rebuild(part, [jnp.asarray(leaf) for leaf in leaves])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_round_trip(name):
    fn = DISTRIBUTIONS[name]()
    again = rebuilt(fn)
    assert type(again) is type(fn)
    assert (again.batch_shape, again.event_shape) == (fn.batch_shape, fn.event_shape)
    assert type(again.support) is type(fn.support)

    def compare():
        x = a_value(fn)
        return fn.log_prob(x), again.log_prob(x)

    one, other = jax.jit(compare)()
    assert one.shape == other.shape
    assert np.all(np.isfinite(one))
    assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    if name not in NO_DRAWS:
        shapes = [jax.eval_shape(d.sample, jax.random.PRNGKey(0)) for d in (fn, again)]
        assert (shapes[0].shape, shapes[0].dtype) == (shapes[1].shape, shapes[1].dtype)


@pytest.mark.parametrize("name", ["Normal", "StudentT", "MultivariateNormal", "MixtureSameFamily", "TransformedTwice"])
def test_draws_are_the_same(name):
    fn = DISTRIBUTIONS[name]()
    again = rebuilt(fn)
    one, other = jax.jit(lambda key: (fn.sample(key), again.sample(key)))(jax.random.PRNGKey(0))
    assert_allclose(other, one, rtol=1e-5)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_equal_distributions_have_equal_specs_and_texts(name):
    (a, one), (b, other) = (flatten(DISTRIBUTIONS[name](), "site 'x'") for _ in range(2))
    assert len(a) == len(b)
    assert spec_text(one, [f"a{i}" for i in range(len(a))]) == spec_text(other, [f"a{i}" for i in range(len(b))])
    assert "0x" not in spec_text(one, [f"a{i}" for i in range(len(a))])


# Specs are keys of caches, so those of equal distributions should be equal; some hold objects that compare
# by identity (a transform, a base constraint, a function) and only cost a second trace.
@pytest.mark.parametrize(
    "name", ["Normal", "StudentT", "MultivariateNormal", "Expanded", "Masked", "Dirichlet", "MixtureSameFamily",
             "Bernoulli" + "Logits", "ZeroInflatedPoisson", "HalfCauchy", "Independent"],
)  # fmt: skip
def test_specs_of_equal_distributions_are_equal(name):
    one, other = (flatten(DISTRIBUTIONS[name](), "site 'x'")[1] for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)


def test_specs_tell_distributions_apart():
    # ways to say one distribution make one spec
    same = {"MultivariateNormalPrecision", "MultivariateNormalTril", "TruncatedCauchy"}
    specs = [flatten(make(), "site 'x'")[1] for name, make in DISTRIBUTIONS.items() if name not in same]
    for i, one in enumerate(specs):
        assert all(one != other for other in specs[:i])


def test_the_arrays_are_leaves_and_each_is_one_once():
    loc = jnp.zeros(3)
    leaves, part = flatten(dist.Normal(loc, 2.0 * jnp.ones(3)), "site 'x'")
    assert len(leaves) == part.n_leaves == 2
    assert any(leaf is loc for leaf in leaves)
    twice, _ = flatten(dist.Normal(loc, jnp.ones(3)).mask(loc > 0).expand([2, 3]), "site 'x'")
    assert sum(leaf is loc for leaf in twice) == 1


def test_traced_parameters_are_leaves():
    def f(loc, scale):
        leaves, part = flatten(dist.LogNormal(loc, scale).expand([3]), "site 'x'")
        return rebuild(part, leaves).log_prob(jnp.ones(3))

    value, grad = jax.value_and_grad(lambda m: f(m, 2.0).sum())(0.5)
    expected = jax.value_and_grad(lambda m: dist.LogNormal(m, 2.0).expand([3]).log_prob(jnp.ones(3)).sum())(0.5)
    assert_allclose((value, grad), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["Normal", "StudentT", "MultivariateNormal", "MixtureSameFamily", "Gamma"])
def test_new_leaves_make_a_new_distribution(name):
    """No value computed from the old leaves survives in the spec."""
    fn = DISTRIBUTIONS[name]()
    leaves, part = flatten(fn, "site 'x'")
    changed = [leaf * 0.5 if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf for leaf in leaves]
    x = fn.sample(jax.random.PRNGKey(0))
    assert not np.allclose(rebuild(part, changed).log_prob(x), fn.log_prob(x))


def test_a_compiled_density_follows_a_latent_parameter():
    """Quantities that NumPyro computes in `__init__`, such as a Cholesky factor, stay connected."""

    def model():
        s = plait.sample("s", dist.HalfNormal(1.0))
        plait.sample("x", dist.MultivariateNormal(jnp.zeros(2), covariance_matrix=s * jnp.eye(2)), obs=V[:2])

    value, grad = jax.value_and_grad(lambda s: plait.compile(model).log_joint({"s": s}))(2.0)
    q = float(V[0] ** 2 + V[1] ** 2)
    assert_allclose(value, dist.HalfNormal(1.0).log_prob(2.0) - np.log(2 * np.pi * 2) - q / 4, rtol=1e-5)
    assert_allclose(grad, -2.0 - 0.5 + q / 8, rtol=1e-5)


# -- what users write ---------------------------------------------------------------------------------------------


class Undeclared(dist.Distribution):
    """Its author forgot to declare the fields as pytree data, so they vanish when NumPyro flattens it."""

    support = constraints.real

    def __init__(self, center, table, kind):
        self.center, self.table, self.kind = center, {"weights": table}, kind
        super().__init__(batch_shape=jnp.shape(center), event_shape=())

    def sample(self, key, sample_shape=()):
        return self.center + jax.random.normal(key, sample_shape + self.batch_shape)

    def log_prob(self, value):
        assert self.kind == "quadratic"
        return -jnp.sum(self.table["weights"]) * (value - self.center) ** 2


def test_undeclared_arrays_survive():
    fn = Undeclared(jnp.array([1.0, 2.0]), jnp.array([0.5, 1.0]), "quadratic")
    leaves, part = flatten(fn, "site 'x'")
    assert len(leaves) >= 2
    assert_allclose(rebuild(part, leaves).log_prob(jnp.zeros(2)), fn.log_prob(jnp.zeros(2)))


def test_undeclared_latents_keep_their_gradient():
    def model():
        c = plait.sample("c", dist.Normal(0.0, 1.0))
        plait.sample("y", Undeclared(c, jnp.float32(2.0), "quadratic"), obs=1.0)

    compiled = plait.compile(model)
    value, grad = jax.value_and_grad(lambda c: compiled.log_joint({"c": c}))(0.25)
    assert_allclose(value, dist.Normal(0.0, 1.0).log_prob(0.25) - 2 * 0.75**2, rtol=1e-6)
    assert_allclose(grad, -0.25 + 3.0, rtol=1e-6)


class WithFunction(dist.Normal):
    def __init__(self, link):
        self.link = link
        super().__init__(0.0, 1.0)

    def log_prob(self, value):
        return super().log_prob(self.link(value))


def test_a_function_over_constants_is_part_of_the_program():
    shift = 2.0
    leaves, part = flatten(WithFunction(lambda v: v - shift), "site 'x'")
    assert_allclose(rebuild(part, leaves).log_prob(2.0), dist.Normal(0.0, 1.0).log_prob(0.0))


def test_a_closure_over_a_latent_is_taken_apart():
    def model():
        c = plait.sample("c", dist.Normal(0.0, 1.0))

        def shifted(v):
            return v - 2 * c

        plait.sample("y", WithFunction(lambda v: shifted(v)), obs=1.0)  # noqa: PLW0108

    compiled = plait.compile(model, check=1)
    value, grad = jax.value_and_grad(lambda c: compiled.log_joint({"c": c}))(0.25)
    normal = dist.Normal(0.0, 1.0)
    assert_allclose(value, normal.log_prob(0.25) + normal.log_prob(0.5), rtol=1e-6)
    assert_allclose(grad, -0.25 + 2 * 0.5, rtol=1e-6)


def test_a_partial_over_latents_is_taken_apart():
    def model():
        c = plait.sample("c", dist.Normal(0.0, 1.0))
        link = partial(lambda p, v, *, scale: v - p["shift"] * scale, {"shift": c}, scale=2 * c)
        plait.sample("y", WithFunction(link), obs=1.0)

    compiled = plait.compile(model, check=1)
    value, grad = jax.value_and_grad(lambda c: compiled.log_joint({"c": c}))(0.25)
    normal = dist.Normal(0.0, 1.0)
    assert_allclose(value, normal.log_prob(0.25) + normal.log_prob(1 - 2 * 0.25**2), rtol=1e-6)
    assert_allclose(grad, -0.25 + (1 - 2 * 0.25**2) * 4 * 0.25, rtol=1e-6)


def test_a_transform_that_calls_a_network_is_taken_apart():
    def model():
        c = plait.sample("c", dist.Normal(0.0, 1.0))

        def network(c, x):
            return c * jnp.concatenate([jnp.zeros(1), x[:-1]]), jnp.zeros(2)

        flow = InverseAutoregressiveTransform(partial(network, c))
        plait.sample("y", dist.TransformedDistribution(dist.Normal(jnp.zeros(2), 1.0).to_event(1), flow), obs=y)

    y = jnp.array([0.5, -1.0])
    compiled = plait.compile(model)
    normal = dist.Normal(0.0, 1.0)
    for c in (0.25, -2.0):
        expected = sum(map(normal.log_prob, (c, y[0], y[1] - c * y[0])))
        assert_allclose(compiled.log_joint({"c": c}), expected, rtol=1e-5)


@pytest.mark.parametrize("hide", ["recursive", "bound method", "default"])
def test_a_function_that_closes_over_a_traced_value_is_refused(hide):
    class Holder:
        def __init__(self, value):
            self.value = value

        def shift(self, v):
            return v - self.value

    def f(hidden):
        def recursive(v):
            return v - hidden if v < 0 else recursive(v - 1)

        link = {
            "recursive": recursive,
            "bound method": Holder(hidden).shift,
            "default": lambda v, h=hidden: v - h,
        }[hide]
        flatten(WithFunction(link), "site 'x'")
        return hidden

    with pytest.raises(ModelError, match=r"site 'x'.*closes over"):
        jax.make_jaxpr(f)(1.0)


def test_a_traced_value_inside_an_unknown_object_is_refused():
    class Box:
        def __init__(self, value):
            self.value = value

    def f(hidden):
        fn = WithFunction(abs)
        fn.box = Box(hidden)
        flatten(fn, "site 'x'")
        return hidden

    with pytest.raises(ModelError, match="site 'x'"):
        jax.make_jaxpr(f)(1.0)


# -- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "text", "name"),
    [
        (lambda: dist.Normal(V, 2.0), "Normal(a0, a1)", "Normal"),
        (lambda: dist.Normal(V, 2.0).expand([4, 3]), "Normal(a0, a1).expand([4, 3])", "Normal"),
        (lambda: dist.Normal(V, 2.0).to_event(1), "Normal(a0, a1).to_event(1)", "Normal"),
        (lambda: dist.Normal(V, 2.0).mask(V > 1), "Normal(a1, a2).mask(a0)", "Normal"),
    ],
)
def test_a_distribution_reads_as_a_user_would_write_it(fn, text, name):
    leaves, part = flatten(fn(), "site 'x'")
    assert spec_text(part, [f"a{i}" for i in range(len(leaves))]) == text
    assert family(part) == name


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        (constraints.real, "real"),
        (constraints.positive, "positive"),
        (constraints.simplex, "simplex"),
        (constraints.interval(0.0, 2.0), "interval(lower_bound=0.0, upper_bound=2.0)"),
        (constraints.greater_than(1.0), "greater_than(lower_bound=1.0)"),
    ],
)
def test_a_constraint_reads_as_the_field_calls_it(constraint, text):
    assert constraint_name(constraint) == text


def test_static_values_compare_by_value_and_type():
    assert Static(1) == Static(1)
    assert Static(1) != Static(1.0) != Static(True)
    assert Static([1]) == Static([1]) != Static([2])
    assert Static(transforms.ExpTransform()) == Static(transforms.ExpTransform())
    assert (
        Static(constraints.interval(0, 1)) == Static(constraints.interval(0, 1)) != Static(constraints.interval(0, 2))
    )
    assert Static(object()) != Static(object())
    assert Static("a") != Leaf(0)
    assert Spec(int, ()) != Spec(float, ())
