"""Draws as ArviZ holds them: groups, names of axes, labels, files."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import plait
from plait import ModelError, ValueNamesError
from plait.runtime import arviz_data, constrained_draws
from tests.helpers import open_netcdf

X = np.arange(10.0).reshape(5, 2)
SERIES = np.arange(12.0).reshape(6, 2)


def model(x, series):
    level = plait.sample("level", dist.Normal(0, 1))
    with plait.plate("groups", 3):
        effect = plait.sample("effect", dist.Normal(level, 1))
        weights = plait.sample("weights", dist.Dirichlet(jnp.ones(4)))
        plait.deterministic("first", effect * weights[:, 0])
    plait.deterministic("picked", effect[jnp.array([0, 1, 2, 2, 1])])

    def step(carry, y):
        with plait.plate("inner", 2):
            state = plait.sample("state", dist.Normal(carry, 1))
            plait.sample("series", dist.Normal(state, 1), obs=y)
        return state.mean(), None

    jax.lax.scan(step, level, series)
    for i in range(3):
        plait.sample(f"extra_{i}", dist.Normal(level, 1))
    with plait.plate("rows", len(x), dim=-2), plait.plate("columns", x.shape[1]), plait.handlers.scale(scale=10.0):
        plait.sample("obs", dist.Normal(level, 2), obs=x)


@pytest.fixture(scope="module")
def compiled():
    return plait.compile(model, X, SERIES)


@pytest.fixture(scope="module")
def draws(compiled):
    z = np.random.default_rng(0).normal(size=(2, 7, compiled.dim))
    return constrained_draws(compiled, z, {"diverging": np.zeros((2, 7), bool)})


@pytest.fixture(scope="module")
def data(compiled, draws):
    labels = {"groups": ["a", "b", "c"]}
    return plait.to_arviz(draws, compiled, key=jax.random.key(1), prior_draws=20, coords=labels)


def test_axes_are_named_by_plates(compiled):
    assert compiled.dims == {
        "level": (),
        "effect": ("groups",),
        "weights": ("groups", None),
        "first": ("groups",),
        "picked": (None,),
        "state": (None, "inner"),
        "series": (None, "inner"),
        **{f"extra_{i}": () for i in range(3)},
        "obs": ("rows", "columns"),
    }
    assert {name: len(dims) for name, dims in compiled.dims.items()} == {
        name: len(shape) for name, shape in compiled.site_shapes.items()
    }


def test_each_group_has_named_axes_and_labels(data):
    assert data["posterior"]["weights"].dims == ("chain", "draw", "groups", "weights_dim_1")
    assert data["posterior"]["state"].dims == ("chain", "draw", "state_dim_0", "inner")
    assert_array_equal(data["posterior"]["effect"].coords["groups"], ["a", "b", "c"])
    for group in ("log_likelihood", "posterior_predictive"):
        assert data[group]["obs"].dims == ("chain", "draw", "rows", "columns")
        assert data[group]["series"].shape == (2, 7, 6, 2)
    assert data["observed_data"]["obs"].dims == ("rows", "columns")
    assert data["prior"]["first"].shape == (1, 20, 3)
    assert data["prior_predictive"]["series"].shape == (1, 20, 6, 2)
    assert data["sample_stats"]["diverging"].shape == (2, 7)


def test_values_are_the_draws_and_the_data(data, draws):
    for name, values in draws.values.items():
        assert_array_equal(data["posterior"][name], values)
    assert_array_equal(data["observed_data"]["obs"], X)
    assert_array_equal(data["observed_data"]["series"], SERIES)
    assert_array_equal(data["constant_data"]["x"], X)
    assert "series" not in data["constant_data"]


def test_log_likelihood_is_by_observation_and_unscaled(data, draws):
    level = draws.values["level"][..., None, None]
    assert_allclose(data["log_likelihood"]["obs"], stats.norm(level, 2).logpdf(X), rtol=1e-5)
    wanted = stats.norm(draws.values["state"], 1).logpdf(SERIES)
    assert_allclose(data["log_likelihood"]["series"], wanted, rtol=1e-5)


def test_log_likelihoods_of_more_draws_than_a_batch_holds(compiled):
    z = np.random.default_rng(1).normal(size=(130, compiled.dim)).astype(np.float32)
    values = compiled.constrain(z)
    many = compiled.log_likelihood(values)
    one = compiled.log_likelihood({name: x[77] for name, x in values.items()})
    for name in one:
        assert_allclose(many[name][77], one[name], rtol=1e-6)


def test_predictions_follow_the_draws(compiled, draws):
    fixed = {name: np.broadcast_to(x[:1, :1], (1, 4000, *x.shape[2:])) for name, x in draws.values.items()}
    z = np.broadcast_to(draws.unconstrained[:1, :1], (1, 4000, compiled.dim))
    repeated = constrained_draws(compiled, z, {})
    data = plait.to_arviz(repeated, compiled, key=jax.random.key(0), prior_draws=0, log_likelihood=False)
    replicates = data["posterior_predictive"]["obs"]
    assert_allclose(replicates.mean(), fixed["level"][0, 0], atol=5 * 2 / np.sqrt(40000))
    assert "prior" not in (data.groups() if callable(data.groups) else data.groups)


def test_a_file(data, tmp_path):
    path = tmp_path / "draws.nc"
    data.to_netcdf(path)
    again = open_netcdf(path)
    assert_array_equal(again["posterior"]["weights"], data["posterior"]["weights"])
    assert_array_equal(again["posterior"].coords["groups"], ["a", "b", "c"])


def test_slashes_of_scopes_become_dots(tmp_path):
    def inner():
        with plait.plate("groups", 2):
            plait.sample("x", dist.Normal(0, 1))

    compiled = plait.compile(plait.handlers.scope(inner, prefix="a"))
    draws = constrained_draws(compiled, np.zeros((1, 4, 2), np.float32), {})
    data = plait.to_arviz(draws, compiled)
    assert data["posterior"]["a.x"].dims == ("chain", "draw", "a.groups")
    data.to_netcdf(tmp_path / "draws.nc")


def test_draws_alone(draws):
    data = plait.to_arviz(draws)
    assert data["posterior"]["effect"].shape == (2, 7, 3)


def test_what_depends_on_a_latent_is_no_observed_data():
    def model(y):
        level = plait.sample("level", dist.Normal(0, 1))
        plait.sample("data", dist.Normal(level, 1), obs=y)
        plait.sample("latent", dist.Normal(level, 1), obs=2 * level)

        def step(carry, y):
            plait.sample("given", dist.Normal(carry, 1), obs=y)
            plait.sample("carried", dist.Normal(0, 1), obs=carry)
            return carry + level, None

        jax.lax.scan(step, 0.0, jnp.stack([y, y]))

    assert list(plait.compile(model, 3.0).observed_data) == ["data", "given"]


def test_a_model_with_observations_that_broadcast_and_a_branch():
    def model(y, which):
        level = plait.sample("level", dist.Normal(0, 1))
        with plait.plate("rows", 3):
            plait.sample("same", dist.Normal(level, 1), obs=y)

        def branch(scale):
            plait.sample("chosen", dist.Normal(level, scale), obs=y)

        jax.lax.cond(which > 0, lambda: branch(1.0), lambda: branch(2.0))

    observed = plait.compile(model, 3.0, np.array(1)).observed_data
    assert_array_equal(observed["same"], [3, 3, 3])
    assert observed["chosen"] == 3


def test_wrong_arguments(compiled, draws, monkeypatch):
    with pytest.raises(ValueNamesError, match="there is no plate 'group'; did you mean 'groups'"):
        plait.to_arviz(draws, compiled, coords={"group": [1]})
    with pytest.raises(ValueNamesError, match="plate 'groups' has 3 elements, got 2 labels"):
        plait.to_arviz(draws, compiled, coords={"groups": ["a", "b"]})
    with pytest.raises(ValueError, match="need the model"):
        plait.to_arviz(draws, key=jax.random.key(0))
    monkeypatch.setattr(arviz_data, "MOST_BYTES", 1000)
    with pytest.raises(ModelError, match="14 draws × 22 observations takes 0 GiB: pass log_likelihood=False"):
        plait.to_arviz(draws, compiled)
    plait.to_arviz(draws, compiled, log_likelihood=False)


def test_an_improper_prior_has_no_prior_draws():
    def model(y):
        level = plait.sample("level", dist.ImproperUniform(dist.constraints.real, (), ()))
        plait.sample("y", dist.Normal(level, 1), obs=y)

    compiled = plait.compile(model, 3.0)
    draws = constrained_draws(compiled, np.zeros((1, 4, 1), np.float32), {})
    with pytest.raises(ModelError, match="'level'"):
        plait.to_arviz(draws, compiled, key=jax.random.key(0))
    data = plait.to_arviz(draws, compiled, key=jax.random.key(0), prior_draws=0)
    assert data["posterior_predictive"]["y"].shape == (1, 4)


def test_axes_of_events_get_names_and_labels(compiled, draws):
    data = plait.to_arviz(
        draws,
        compiled,
        dims={"weights": ["groups", "topic"]},
        coords={"topic": list("pqrs")},
    )
    assert data["posterior"]["weights"].dims == ("chain", "draw", "groups", "topic")
    assert_array_equal(data["posterior"].coords["topic"], list("pqrs"))
    with pytest.raises(ValueNamesError, match=r"site 'weights' has shape \(3, 4\), got the names \['topic'\]"):
        plait.to_arviz(draws, compiled, dims={"weights": ["topic"]})
    with pytest.raises(ValueNamesError, match="there is no site 'weight'; did you mean 'weights'"):
        plait.to_arviz(draws, compiled, dims={"weight": ["topic"]})


def test_the_evidence_is_kept(compiled):
    draws = constrained_draws(compiled, np.zeros((1, 4, compiled.dim)), {}, (-3.5, 0.1))
    attributes = plait.to_arviz(draws)["posterior"].attrs
    assert (attributes["log_evidence"], attributes["log_evidence_error"]) == (-3.5, 0.1)
    assert attributes["inference_library"] == "plait"
