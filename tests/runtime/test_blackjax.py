"""The BlackJAX adapter: right posteriors, BlackJAX's own adaptation, live progress, one compile."""

from __future__ import annotations

import importlib.util
import math

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.runtime import Progress
from plait.runtime.arviz_data import to_arviz
from plait.runtime.samplers.blackjax import logdensity
from plait.runtime.samplers.blackjax.nuts import DRAW, WINDOW_END, _warmup_stages
from plait.runtime.summary import diagnose, summary
from tests.models import hierarchical
from tests.runtime.compiles import Compiles
from tests.runtime.posteriors import eight_schools_means

STATS = {"acceptance_rate", "diverging", "energy", "n_steps", "tree_depth", "step_size"}
CONJUGATE = {"chains": 3, "warmup": 300, "draws": 1500}
Y = np.array([1.0, 2.5, 0.3, 1.7])


def normal_mean(y=None):
    mu = plait.sample("mu", dist.Normal(0, 2))
    plait.deterministic("twice", 2 * mu)
    with plait.plate("rows", 4):
        plait.sample("y", dist.Normal(mu, 1.5), obs=y)


pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def conjugate():
    """(compiled, draws, what progress got, log records) of a model whose posterior is known."""
    seen, compiles = [], Compiles()
    with jax.enable_x64(True), compiles:
        compiled = plait.compile(normal_mean, y=Y)

        def on_progress(progress: Progress) -> None:
            seen.append((progress, compiles.count))

        draws = plait.samplers.blackjax.sample(compiled, jax.random.key(1), progress=on_progress, **CONJUGATE)
    return compiled, draws, seen, compiles


# -- the posterior --------------------------------------------------------------------------------------


def test_a_conjugate_posterior(conjugate):
    _, draws, _, _ = conjugate
    precision = 1 / 2**2 + len(Y) / 1.5**2
    mean, sd = Y.sum() / 1.5**2 / precision, precision**-0.5
    row = summary(draws).loc["mu"]
    assert abs(row["mean"] - mean) < 5 * row["mcse_mean"]
    assert abs(row["sd"] - sd) < 5 * row["mcse_sd"]
    assert row["r_hat"] < 1.02


def test_eight_schools():
    compiled = plait.compile(
        lambda sigma, y: hierarchical.eight_schools_noncentered(plait, sigma, y), **_eight_schools_data()
    )
    table = summary(plait.samplers.blackjax.sample(compiled, jax.random.key(0), target_accept=0.9))
    for name, exact in eight_schools_means(**_eight_schools_data(), tau_prior="HalfNormal").items():
        row = table.loc[name]
        assert abs(row["mean"] - exact) < 5 * row["mcse_mean"]


def _eight_schools_data():
    return {k: np.asarray(v) for k, v in hierarchical.eight_schools_data().items()}


def test_the_warm_up_is_blackjaxs(conjugate):
    compiled, *_ = conjugate
    key, init, warmup = jax.random.key(3), jnp.array([[0.5], [-1.0]]), 60
    ours = plait.samplers.blackjax.sample(compiled, key, chains=2, warmup=warmup, draws=1, init=init)
    _, rest = jax.random.split(key)
    for c, (chain_key, z) in enumerate(zip(jax.random.split(rest, 2), init, strict=True)):
        adaptation = blackjax.window_adaptation(blackjax.nuts, compiled.log_density)
        (_, tuned), _ = adaptation.run(chain_key, z, num_steps=warmup)
        assert ours.stats["step_size"][c, 0] == pytest.approx(float(tuned["step_size"]), rel=1e-6)


def test_stages_follow_stans_windows():
    stages = _warmup_stages(1000)
    assert len(stages) == 1000
    assert list(np.flatnonzero(stages == WINDOW_END)) == [99, 149, 249, 449, 949]
    assert DRAW not in stages
    assert len(_warmup_stages(0)) == 0


# -- shapes, statistics, progress -----------------------------------------------------------------------


def test_shapes_and_names(conjugate):
    compiled, draws, _, _ = conjugate
    assert (draws.chains, draws.draws) == (3, 1500)
    assert draws.unconstrained.shape == (3, 1500, compiled.dim)
    assert {k: v.shape for k, v in draws.values.items()} == {"mu": (3, 1500), "twice": (3, 1500)}
    np.testing.assert_allclose(draws.values["twice"], 2 * draws.values["mu"])
    assert {k: v.shape for k, v in draws.stats.items()} == dict.fromkeys(STATS, (3, 1500))
    assert draws.stats["diverging"].dtype == bool
    assert "3 chains × 1500 draws of mu, twice" in repr(draws)


def test_statistics_make_sense(conjugate):
    _, draws, _, _ = conjugate
    stats = draws.stats
    assert ((stats["acceptance_rate"] >= 0) & (stats["acceptance_rate"] <= 1)).all()
    assert abs(stats["acceptance_rate"].mean() - 0.8) < 0.15
    assert (stats["n_steps"] <= 2 ** stats["tree_depth"]).all()
    # Warm-up is over: one step size for each chain.
    assert (stats["step_size"] == stats["step_size"][:, :1]).all()
    assert len(np.unique(stats["step_size"])) == 3
    assert draws.divergences == stats["diverging"].sum()


def test_progress_is_reported(conjugate):
    _, _, seen, _ = conjugate
    reports = [p for p, _ in seen]
    assert [p.phase for p in reports[:2]] == ["compile", "compile"]
    for phase, total in (("warmup", 300), ("draws", 1500)):
        done = [p.done for p in reports if p.phase == phase]
        assert len(done) > 3
        assert done == sorted(set(done))
        assert done[-1] == total
    assert all(p.step_size is not None and p.step_size > 0 for p in reports[2:])


def test_the_loop_is_compiled_once(conjugate):
    _, _, seen, compiles = conjugate
    assert compiles.names.count("jit(_block)") == 1
    # Between the first step and the last nothing is compiled.
    assert len({count for p, count in seen if p.phase != "compile"}) == 1


def test_the_same_key_gives_the_same_draws(conjugate):
    # However the clock cuts the loop into blocks.
    compiled, draws, _, _ = conjugate
    again = plait.samplers.blackjax.sample(compiled, jax.random.key(1), **CONJUGATE)
    np.testing.assert_array_equal(again.unconstrained, draws.unconstrained)


def test_float32():
    with jax.enable_x64(False):
        compiled = plait.compile(normal_mean, y=Y.astype(np.float32))
        draws = plait.samplers.blackjax.sample(compiled, jax.random.key(0), warmup=0, draws=100)
    assert draws.values["mu"].dtype == np.float32
    assert abs(draws.values["mu"].mean() - 1.2) < 0.5


def test_logdensity_is_for_ones_own_loop(conjugate):
    compiled, *_ = conjugate
    nuts = blackjax.nuts(logdensity(compiled), 0.5, jnp.ones(compiled.dim))
    state = nuts.init(jnp.zeros(compiled.dim))
    assert state.logdensity == compiled.log_density(jnp.zeros(compiled.dim))


# -- errors ---------------------------------------------------------------------------------------------


def test_errors(conjugate):
    compiled, *_ = conjugate
    sample = plait.samplers.blackjax.sample
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="chains=0"):
        sample(compiled, key, chains=0)
    with pytest.raises(ValueError, match="target_accept"):
        sample(compiled, key, target_accept=1.0)
    with pytest.raises(plait.ValueNamesError, match=r"init has shape \(4, 1\)"):
        sample(compiled, key, init=jnp.zeros((3, 1)))
    with pytest.raises(plait.ModelError, match="chain 2 has no finite"):
        sample(compiled, key, init=jnp.array([[0.0], [0.0], [math.inf], [0.0]]))


def test_nothing_to_sample():
    compiled = plait.compile(lambda y: plait.sample("y", dist.Normal(0, 1), obs=y), np.ones(()))
    with pytest.raises(plait.ModelError, match="no latent site"):
        plait.samplers.blackjax.sample(compiled, jax.random.key(0))


def test_a_missing_package_names_the_extra(conjugate, monkeypatch):
    compiled, draws, _, _ = conjugate
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(plait.MissingExtraError, match=r"blackjax is not installed: pip install 'plait\[samplers\]'"):
        plait.samplers.blackjax.sample(compiled, jax.random.key(0))
    with pytest.raises(ImportError, match=r"arviz is not installed: pip install 'plait\[samplers\]'"):
        plait.summary(draws)


# -- the summary ----------------------------------------------------------------------------------------


def made_up_draws(chains=4, n=200, **values):
    rng = np.random.default_rng(0)
    shape = (chains, n)
    values = {k: np.broadcast_to(v, shape + np.shape(v)[2:]) for k, v in values.items()}
    values = {"mu": rng.normal(size=shape), "a/b": rng.normal(size=(*shape, 2, 2)), **values}
    stats = {"diverging": np.zeros(shape, bool), "tree_depth": np.full(shape, 3)}
    return plait.Draws(values, rng.normal(size=(*shape, 1)), stats)


def test_summary_columns_and_names():
    table = plait.summary(made_up_draws(), hdi_prob=0.9)
    assert list(table.index) == ["mu", "a/b[0,0]", "a/b[0,1]", "a/b[1,0]", "a/b[1,1]"]
    assert list(table.columns) == [
        *("mean", "sd", "hdi_5%", "hdi_95%"),
        *("mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"),
    ]
    row = table.loc["mu"]
    assert row["hdi_5%"] == pytest.approx(-1.645, abs=0.25)
    assert row["hdi_95%"] == pytest.approx(1.645, abs=0.25)


def test_entries_that_never_change_have_no_diagnostics():
    row = plait.summary(made_up_draws(corner=np.ones((1, 1)))).loc["corner"]
    assert (row["mean"], row["sd"]) == (1, 0)
    assert np.isnan([row["ess_bulk"], row["r_hat"], row["mcse_mean"]]).all()


def test_good_draws_have_no_diagnosis():
    draws = made_up_draws(n=1000)
    assert diagnose(draws, summary(draws), max_treedepth=10) == []


def test_what_is_wrong_is_said():
    draws = made_up_draws(stuck=np.arange(4.0)[:, None] + np.linspace(0, 1e-3, 200))
    draws.stats["diverging"][0, :5] = True
    divergences, depth, r_hat, ess = diagnose(draws, summary(draws), max_treedepth=3)
    assert divergences.startswith("5 of 800 transitions diverged")
    assert depth.startswith("800 of 800 trajectories reached the maximum tree depth 3")
    assert r_hat.startswith("r_hat is above 1.01 for stuck (")
    assert "below 400 for stuck (" in ess


def test_one_chain_has_no_r_hat():
    draws = made_up_draws(chains=1, n=1000)
    table = summary(draws)
    assert np.isnan(table["r_hat"]).all()
    assert diagnose(draws, table) == ["r_hat needs two chains or more"]


def test_a_poor_approximation_is_told_by_its_weights():
    rng = np.random.default_rng(0)
    draws = made_up_draws(n=1000)
    poor = plait.Draws(draws.values, draws.unconstrained, {"log_importance_ratio": 3 * rng.standard_cauchy((4, 1000))})
    assert "Pareto k = " in diagnose(poor)[0]
    good = plait.Draws(draws.values, draws.unconstrained, {"log_importance_ratio": 0.1 * rng.normal(size=(4, 1000))})
    exact = plait.Draws(draws.values, draws.unconstrained, {"log_importance_ratio": np.full((4, 1000), 2.0)})
    assert diagnose(good) == diagnose(exact) == []
    stored = plait.Draws(draws.values, draws.unconstrained, {"pareto_k": np.full((4, 1000), 0.93)})
    assert "Pareto k = 0.93" in diagnose(stored)[0]


def test_to_arviz():
    data = to_arviz(made_up_draws())
    assert data["posterior"]["mu"].shape == (4, 200)
    assert data["sample_stats"]["diverging"].shape == (4, 200)
