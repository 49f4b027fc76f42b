"""What data alone decide is computed once: split_stages, check_data, and the cost that explain reports."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.graph import ancestors
from plait.ir.ops import Apply, Hoist, NotNan

COUNTS = np.array([0, 3, 1, 7])


def poisson(y, exposure):
    rate = plait.sample("rate", dist.Gamma(2.0, 1.0))
    with plait.plate("rows", y.shape[0]):
        plait.sample("y", dist.Poisson(rate * exposure), obs=y)


def rowwise(nodes) -> set[str]:
    """Primitives with one result per row; constant scalars are XLA's to fold."""
    return {n.op.primitive.name for n in nodes if isinstance(n.op, Apply) and getattr(n.type, "shape", None) == (4,)}


def test_lgamma_of_the_counts_moves_to_prepare() -> None:
    compiled = plait.compile(poisson, COUNTS, np.ones(4))
    graph = compiled.density_graph
    prepared = ancestors(graph.of(Hoist))
    assert "lgamma" in rowwise(prepared)
    assert "lgamma" not in rowwise(n for n in graph if n not in prepared)
    without = plait.compile(poisson, COUNTS, np.ones(4), passes={"split_stages": False})
    z = jnp.array([0.3])
    np.testing.assert_allclose(compiled.log_density(z), without.log_density(z), rtol=1e-6)


def test_a_term_known_from_data_alone_costs_nothing_per_call() -> None:
    def model(x, y):
        plait.sample("x", dist.Normal(0, 1), obs=x)
        plait.sample("y", dist.Normal(plait.sample("mu", dist.Normal(0, 1)), 1), obs=y)

    compiled = plait.compile(model, np.ones(50), np.ones(5))
    terms = {t.name: t for t in compiled.explain().terms}
    assert terms["x"].stage == "prepare"
    assert (terms["x"].flops, terms["y"].stage) == (0, "call")
    assert terms["x"].prepared > 50
    moved = compiled.bind(x=np.full(50, 2.0))
    wanted = 50 * (dist.Normal(0, 1).log_prob(2.0) - dist.Normal(0, 1).log_prob(1.0))
    np.testing.assert_allclose(moved.log_density(jnp.ones(1)) - compiled.log_density(jnp.ones(1)), wanted, rtol=1e-5)


def test_nan_is_refused_where_it_enters_arithmetic_only() -> None:
    x = np.array([1.0, np.nan, 3.0])

    def regression(x, y):
        slope = plait.sample("slope", dist.Normal(0, 1))
        with plait.plate("rows", 3):
            plait.sample("y", dist.Normal(slope * x, 1), obs=y)

    with pytest.raises(plait.DataError, match=r"data 'x' make a NaN or an infinity here.*got nan at index \[1\]"):
        plait.compile(regression, x, np.zeros(3))

    def imputed(x, y):
        missing = jnp.isnan(x)
        slope = plait.sample("slope", dist.Normal(0, 1))
        with plait.plate("rows", 3):
            guess = plait.sample("guess", dist.Normal(0, 1))
            plait.sample("y", dist.Normal(slope * jnp.where(missing, guess, x), 1), obs=y)

    compiled = plait.compile(imputed, x, np.zeros(3))
    value, gradient = compiled.log_density_and_grad(jnp.full(4, 0.5))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_checks_are_conditions_on_the_host_and_leave_the_density() -> None:
    compiled = plait.compile(poisson, COUNTS, np.ones(4))
    checks = compiled._program.lowered.checks
    assert any(isinstance(check.op.condition, NotNan) for check in checks)
    assert not {n for c in checks for n in [c]} & ancestors(
        o.node for o in compiled.density_graph.outputs if o.role.value == "log density"
    )
    for bad, what in (({"y": np.array([0, 3, -1, 7])}, "'y' is observed outside its support"),):
        with pytest.raises(plait.DataError, match=what):
            compiled.bind(**bad)
    with pytest.raises(plait.DataError, match=r"make a NaN or an infinity here"):
        compiled.bind(exposure=np.array([1.0, np.nan, 1.0, 1.0]))


@pytest.mark.parametrize("n", [1, 2])
def test_one_row_and_huge_mean_with_tiny_spread(n: int) -> None:
    """Against scipy, which shares nothing with NumPyro: y around 1e8 with spread 1e-2, in float64."""
    from scipy import stats

    y = 1e8 + 1e-2 * np.arange(n)

    def model(y):
        mu = plait.sample("mu", dist.Normal(1e8, 10.0))
        with plait.plate("rows", n):
            plait.sample("y", dist.Normal(mu, 1e-2), obs=y)

    with jax.enable_x64(True):
        compiled = plait.compile(model, y)
        mu = 1e8 + 0.003
        wanted = stats.norm(1e8, 10).logpdf(mu) + stats.norm(mu, 1e-2).logpdf(y).sum()
        np.testing.assert_allclose(compiled.log_joint({"mu": mu}), wanted, rtol=1e-10)
        step = 1e-6
        central = [compiled.log_density(jnp.array([mu + s * step])) for s in (1, -1)]
        gradient = compiled.log_density_and_grad(jnp.array([mu]))[1][0]
        np.testing.assert_allclose(gradient, np.sum(y - mu) / 1e-4 - (mu - 1e8) / 100, rtol=1e-6)
        assert np.sign(central[0] - central[1]) == np.sign(gradient)


@pytest.mark.parametrize("logit", [-800.0, 800.0])
def test_logits_of_800_are_finite(logit: float) -> None:
    def model(y):
        a = plait.sample("a", dist.Normal(0, 1000.0))
        with plait.plate("rows", 2):
            plait.sample("y", dist.Bernoulli(logits=a), obs=y)

    compiled = plait.compile(model, np.array([0, 1]))
    value, gradient = compiled.log_density_and_grad(jnp.array([logit]))
    prior = dist.Normal(0, 1000.0).log_prob(logit)
    np.testing.assert_allclose(value - prior, -800.0, rtol=1e-5)
    np.testing.assert_allclose(gradient, [-np.sign(logit) - logit / 1e6], rtol=1e-5)


@pytest.mark.parametrize("inside", [True, False])
def test_an_observed_value_outside_its_support_counts_in_both_spaces(inside: bool) -> None:
    """In a scan that runs step by step nothing is checked at bind; the density says it, with z as with values."""

    def model(y):
        rate = plait.sample("rate", dist.HalfNormal(1.0))

        def step(carry, y_t):
            plait.sample("y", dist.HalfNormal(rate), obs=y_t)
            return carry, None

        jax.lax.scan(step, 0.0, y)

    y = np.array([0.5, 1.0 if inside else -1.0])
    compiled = plait.compile(model, y, passes={"vectorize_scans": False})
    assert np.isfinite(compiled.log_density(jnp.zeros(1))) == inside
    assert np.isfinite(compiled.log_joint({"rate": 1.0})) == inside
    assert compiled.log_joint({"rate": -1.0}) == -np.inf
    with nullcontext() if inside else pytest.raises(plait.DataError, match="'y' is observed outside its support"):
        plait.compile(model, y)
