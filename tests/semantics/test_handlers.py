"""Rows 76 to 83: handlers that change what a site is."""

from functools import partial

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.infer.reparam import LocScaleReparam

import plait
from plait import ModelError
from tests.helpers import any_error, both, compiled, draws, each_way, either_way, log_joint, refused, sites

LP0 = -0.9189385332046727


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


# -- substitute, condition --------------------------------------------------------------------------------


def nested(ppl, handler):
    h = getattr(ppl.handlers, handler)
    with h(data={"x": 1.0}), h(data={"x": 2.0}):
        return ppl.sample("x", N())


@both
@pytest.mark.parametrize("handler", ["substitute", "condition"])
def test_row_76_the_outermost_wins(ppl, handler):
    assert nested(ppl, handler) == 1.0


@both
@pytest.mark.parametrize("handler", ["substitute", "condition"])
def test_row_76_in_the_density(ppl, handler):
    assert_allclose(log_joint(ppl, nested, {}, handler), LP0 - 0.5, rtol=1e-6)


def doubled(ppl, handler):
    """Has a deterministic site d = 3 that y depends on."""
    with getattr(ppl.handlers, handler)(data={"d": 7.0}):
        d = ppl.deterministic("d", 3.0)
    ppl.sample("y", N(d), obs=0.0)


@both
@pytest.mark.parametrize(("handler", "value"), [("substitute", 7.0), ("condition", 3.0)])
def test_row_77_substitute_replaces_a_deterministic_and_condition_does_not(ppl, handler, value):
    assert sites(ppl, doubled, handler)["d"]["value"] == value


@both
@pytest.mark.parametrize(("handler", "value"), [("substitute", 7.0), ("condition", 3.0)])
def test_row_77_in_the_density(ppl, handler, value):
    assert_allclose(log_joint(ppl, doubled, {}, handler), LP0 - value**2 / 2, rtol=1e-6)


# -- do ---------------------------------------------------------------------------------------------------


def squared(ppl):
    z = ppl.sample("z", N())
    ppl.sample("y", N(z), obs=0.0)
    return z**2


def intervened(ppl):
    return ppl.handlers.do(partial(squared, ppl), data={"z": 3.0})()


@both
def test_row_78_do_sets_what_the_model_sees(ppl):
    assert ppl.handlers.seed(partial(intervened, ppl), 0)() == 9.0


@both
def test_row_78_the_site_is_drawn_and_not_observed(ppl):
    z = sites(ppl, intervened)["z"]
    assert not z["is_observed"]
    assert z["value"] == draws(ppl, squared)["z"] != 3.0


@both
def test_row_78_its_own_density_still_counts(ppl):
    expected = N().log_prob(1.0) + N(3.0).log_prob(0.0)
    assert_allclose(log_joint(ppl, intervened, {"z": 1.0}), expected, rtol=1e-6)


@each_way
def test_row_78_it_is_a_latent(shapes):
    found = shapes(intervened)
    assert found["z"] == ()


# -- scope ------------------------------------------------------------------------------------------------


def scoped(ppl, prefix="a", divider="/"):
    with ppl.handlers.scope(prefix=prefix, divider=divider), ppl.plate("rows", 2):
        ppl.sample("x", N(), obs=0.0)
        ppl.deterministic("d", 1.0)


@both
@pytest.mark.parametrize(("prefix", "divider"), [("a", "/"), ("a", "::"), ("", "a")])
def test_row_79_scope_renames_sites_plates_and_frames(ppl, prefix, divider):
    found = sites(ppl, scoped, prefix, divider)
    renamed = [f"{prefix}{divider}{name}" for name in ("rows", "x", "d")]
    assert sorted(found) == sorted(renamed)
    assert [frame.name for frame in found[renamed[1]]["cond_indep_stack"]] == [renamed[0]]


def test_row_79_compiled():
    graph = compiled(scoped).graph
    assert [n.op.label for n in graph if n.op.label] == ["a/rows", "a/x", "a/d"]
    assert [p.name for n in graph if n.op.label == "a/x" for p in n.op.plates] == ["a/rows"]


# -- lift -------------------------------------------------------------------------------------------------


def learned(ppl):
    p = ppl.param("p", 1.0)
    ppl.sample("x", N(p), obs=0.0)


def lifted(ppl, prior):
    ppl.handlers.lift(partial(learned, ppl), prior=prior)()


PRIORS = pytest.mark.parametrize("prior", [N(5.0), {"p": N(5.0)}], ids=["for all", "by name"])


@both
@PRIORS
def test_row_80_a_lifted_param_is_a_sample_site(ppl, prior):
    p = sites(ppl, partial(lifted, prior=prior))["p"]
    assert p["type"] == "sample"
    assert not p["is_observed"]


@both
@PRIORS
def test_row_80_it_has_a_density(ppl, prior):
    found = log_joint(ppl, partial(lifted, prior=prior), {"p": 2.0})
    assert_allclose(found, 2 * LP0 - 3.0**2 / 2 - 2.0, rtol=1e-6)


def test_row_80_it_is_no_param_of_the_compiled_model():
    model = compiled(partial(lifted, prior=N(5.0)))
    assert model.shapes == {"p": ()}
    assert model.params == {}


@both
def test_row_80_a_param_without_a_prior_stays_one(ppl):
    assert sites(ppl, partial(lifted, prior={"q": N()}))["p"]["type"] == "param"


# -- reparam ----------------------------------------------------------------------------------------------


def centered(ppl, fn, obs=None):
    with ppl.plate("rows", 3):
        ppl.sample("theta", fn(), obs=obs)


def noncentered(ppl, fn, obs=None):
    config = {"theta": LocScaleReparam(0)}
    ppl.handlers.reparam(partial(centered, ppl, fn, obs), config=config)()


def normal():
    return dist.Normal(2.0, 3.0)


def log_normal():
    return dist.LogNormal(0.0, 1.0)


@both
def test_row_81_the_sites_of_a_decentered_one(ppl):
    found = {name: site["type"] for name, site in sites(ppl, noncentered, normal).items()}
    assert found == {"rows": "plate", "theta_decentered": "sample", "theta": "deterministic"}


@both
def test_row_81_their_values(ppl):
    found = sites(ppl, noncentered, normal)
    assert_allclose(found["theta"]["value"], 2 + 3 * found["theta_decentered"]["value"], rtol=1e-6)


@both
def test_row_81_their_density(ppl):
    values = {"theta_decentered": jnp.array([0.0, 1.0, -1.0])}
    assert_allclose(log_joint(ppl, noncentered, values, normal), 3 * LP0 - 1.0, rtol=1e-6)


def test_row_81_compiled():
    model = compiled(noncentered, normal)
    assert model.shapes == {"theta_decentered": (3,)}
    found = model.constrain(jnp.array([0.0, 1.0, -1.0]), deterministic=True)
    assert_allclose(found["theta"], [2.0, 5.0, -1.0], rtol=1e-6)


@both
@pytest.mark.parametrize(("fn", "obs"), [(normal, 0.0), (log_normal, None)], ids=["observed", "LogNormal"])
def test_row_81_sites_that_have_no_loc_and_scale_to_take_out(ppl, fn, obs):
    with pytest.raises(any_error(ppl)):
        sites(ppl, noncentered, fn, obs)


@either_way
@pytest.mark.parametrize(("fn", "obs"), [(normal, 0.0), (log_normal, None)], ids=["observed", "LogNormal"])
def test_row_81_says_which(run, fn, obs):
    def model():
        plait.sample("theta", fn(), obs=obs)  # here

    with refused(ModelError, "'theta'", "LocScaleReparam", at=model):
        run(plait.handlers.reparam(model, config={"theta": LocScaleReparam(0)}))


# -- replay, uncondition ----------------------------------------------------------------------------------


def one(ppl, obs=None):
    return ppl.sample("x", N(), obs=obs)


def replayed(ppl, recorded_obs):
    """`one`, replayed from a trace of it, in which it may be observed."""
    recorded = sites(ppl, one, recorded_obs, seed=1)
    return ppl.handlers.replay(partial(one, ppl), recorded)


@both
def test_row_82_replay_of_a_latent(ppl):
    assert replayed(ppl, None)() == draws(ppl, one, seed=1)["x"]


@both
def test_row_82_replay_of_a_latent_from_a_trace_where_it_is_observed(ppl):
    with pytest.raises(ModelError if ppl is plait else RuntimeError, match="x"):
        replayed(ppl, 1.0)()


@either_way
def test_row_82_says_which(run):
    def model():
        plait.sample("x", N())  # here

    recorded = sites(plait, one, 1.0)
    with refused(ModelError, "'x'", at=model):
        run(plait.handlers.replay(model, recorded))


def unconditioned(ppl):
    return ppl.handlers.uncondition(partial(one, ppl, 3.0))()


@both
def test_row_83_uncondition_draws_the_site(ppl):
    x = sites(ppl, unconditioned)["x"]
    assert not x["is_observed"]
    assert x["value"] == draws(ppl, one)["x"] != 3.0


@both
def test_row_83_uncondition_around_seed(ppl):
    seeded = ppl.handlers.seed(partial(one, ppl, 3.0), 0)
    assert ppl.handlers.uncondition(seeded)() == draws(ppl, one)["x"]


@each_way
def test_row_83_it_is_a_latent(shapes):
    assert shapes(unconditioned) == {"x": ()}


@both
def test_row_83_its_density_is_at_the_value(ppl):
    assert_allclose(log_joint(ppl, unconditioned, {"x": 0.0}), LP0, rtol=1e-6)


def test_row_83_without_the_observation_the_model_draws_as_if_there_were_none():
    key = jax.random.key(5)
    assert compiled(unconditioned).sample(key)["x"] == compiled(one).sample(key)["x"]
    assert draws(plait, unconditioned) == draws(numpyro, unconditioned)
