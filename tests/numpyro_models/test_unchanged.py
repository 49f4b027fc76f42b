"""NumPyro models compile unchanged: densities, gradients, values and sites are NumPyro's own, in float64."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import numpyro
import pytest
from numpyro import handlers
from numpyro.distributions import biject_to, constraints
from numpyro.infer import init_to_uniform

import plait
from tests.models import Model
from tests.models import numpyro_reference as numpyro_says
from tests.numpyro_models import CASES, Case

VALUE = 1e-10  # relative to 1 + |log density|
GRADIENT = 1e-8
POINTS = 2

Values = dict[str, Any]


# NumPyro's own log Beta is off in the eighth digit. That of the fused rows is compared with 50 digits in tests/rules.
INEXACT = ("negative_binomial_regression",)


@pytest.mark.parametrize("case", [c for c in CASES if not c.discrete], ids=lambda c: c.name)
def test_density_gradient_and_values_are_numpyros(case: Case) -> None:
    with jax.enable_x64(True):
        run, args = case.made()
        model = as_reference(case.name, partial(run, *args, **case.kwargs))
        initial, params = params_of(model)
        passes = {"fuse": False} if case.name in INEXACT else {}
        compiled = plait.compile(run, *args, static=case.static, passes=passes, **case.kwargs)
        compiled = with_params(compiled, initial, params)
        shapes = {slot.name: slot.unconstrained.shape for slot in compiled.slots}
        assert shapes == numpyro_says.unconstrained_shapes(model, {})
        rng = np.random.default_rng(0)
        for _ in range(POINTS):
            point = numpyro_says.random_z(model, {}, rng)
            theirs = numpyro_says.answers(model, point, {}, params)
            compare(point, theirs, plait_answers(compiled, flat(compiled, point), theirs.values), compiled)
        assert_same_sites(compiled, model, point, theirs.values)


@pytest.mark.parametrize("case", [c for c in CASES if c.name in INEXACT], ids=lambda c: c.name)
def test_fused_density_is_numpyros_but_for_its_error(case: Case) -> None:
    with jax.enable_x64(True):
        run, args = case.made()
        fused, rows = (
            plait.compile(run, *args, static=case.static, passes=p, **case.kwargs) for p in ({}, {"fuse": False})
        )
        z = np.random.default_rng(0).normal(size=fused.dim)
        np.testing.assert_allclose(fused.log_density(z), rows.log_density(z), rtol=1e-7)


@pytest.mark.parametrize("case", [c for c in CASES if c.discrete], ids=lambda c: c.name)
def test_log_joint_with_discrete_latents_is_numpyros(case: Case) -> None:
    with jax.enable_x64(True):
        run, args = case.made()
        model = as_reference(case.name, partial(run, *args, **case.kwargs))
        compiled = plait.compile(run, *args, static=case.static, **case.kwargs)
        for key in jax.random.split(jax.random.key(0), POINTS):
            values = drawn_latents(model, key)
            joint = float(numpyro_says.log_joint(model, values, {}))
            assert np.isfinite(joint)
            close(compiled.log_joint(values), joint, VALUE * (1 + abs(joint)))
            terms = numpyro_says.site_log_probs(model, values, {})
            assert jax.eval_shape(compiled.log_prob_terms, values).keys() == terms.keys()


def as_reference(name: str, run: Callable[[], Any]) -> Model:
    """A model as `numpyro_reference` takes it: a function of the data, which is closed over here."""
    return Model(name, lambda ppl: run(), dict)


def params_of(model: Model) -> tuple[Values, Values]:
    """NumPyro's initial values of the params, and other values; compiles something only where there are any."""
    return drawn_params(model) if jax.eval_shape(partial(site_values, model, "param")) else ({}, {})


@partial(jax.jit, static_argnums=0)
def drawn_params(model: Model) -> tuple[Values, Values]:
    """Initial values, and values a step away in the space where their constraints are gone."""
    params = {name: site for name, site in seeded_trace(model).items() if site["type"] == "param"}
    initial = {name: site["value"] for name, site in params.items()}
    return initial, {name: jax.tree.map(partial(step_away, site), initial[name]) for name, site in params.items()}


def step_away(site: Values, value: jax.Array) -> jax.Array:
    bijector = biject_to(site["kwargs"].get("constraint", constraints.real))
    return bijector(bijector.inv(value) + 0.3)


def with_params(compiled: plait.CompiledModel, initial: Values, params: Values) -> plait.CompiledModel:
    """The compiled model at other values of its params than the initial ones, which are NumPyro's unless drawn.

    A param that the density does not read, such as one that a prior replaces, need not be there.
    """
    ours = compiled.init_param_values(jax.random.key(0))
    theirs = leaves(initial)
    assert shapes_of(leaves(ours)).items() <= shapes_of(theirs).items()
    if not compiled.has_random_params:
        for name, value in leaves(ours).items():
            close(value, theirs[name], VALUE)
    return compiled.with_params({name: params[name] for name in ours})


def leaves(params: Values) -> Values:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


@partial(jax.jit, static_argnums=0)
def plait_answers(compiled: plait.CompiledModel, z: jax.Array, values: Values) -> Values:
    """What plait says at the same point: one compilation, of densities that are used inside a caller's jit."""
    density, gradient = jax.value_and_grad(compiled.log_density)(z)
    joint, back = compiled.log_joint(values), compiled.unconstrain(values)
    return {"z": back, "density": density, "gradient": gradient, "values": compiled.constrain(z), "joint": joint}


def compare(point: Values, theirs: numpyro_says.Answers, ours: Values, compiled: plait.CompiledModel) -> None:
    """All answers at one point."""
    gradient = flat(compiled, theirs.gradient)
    scale = 1 + abs(float(theirs.density))
    assert np.isfinite(theirs.density)
    assert np.isfinite(theirs.joint)
    assert np.all(np.isfinite(gradient))
    close(ours["density"], theirs.density, VALUE * scale)
    close(ours["gradient"], gradient, GRADIENT * max(scale, np.max(np.abs(gradient), initial=0)))
    close(ours["joint"], theirs.joint, VALUE * (1 + abs(float(theirs.joint))))
    assert ours["values"].keys() == theirs.values.keys()
    for name, value in ours["values"].items():
        assert value.shape == theirs.values[name].shape
        close(value, theirs.values[name], VALUE * (1 + np.max(np.abs(value), initial=0)))
    close(ours["z"], flat(compiled, point), GRADIENT)


def assert_same_sites(compiled: plait.CompiledModel, model: Model, point: Values, values: Values) -> None:
    """A run of NumPyro with a seed has the same latents, observations, factors and deterministics."""
    terms = jax.eval_shape(compiled.log_prob_terms, values)
    assert set(terms) == set(jax.eval_shape(partial(site_values, model, "sample")))
    every = jax.eval_shape(partial(compiled.constrain, deterministic=True), flat(compiled, point))
    wanted = jax.eval_shape(partial(site_values, model, "deterministic"))
    assert {name: v.shape for name, v in every.items() if name not in values} == shapes_of(wanted)


def shapes_of(values: Values) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(value) for name, value in values.items()}


def seeded_trace(model: Model) -> dict[str, Values]:
    """NumPyro's trace under a seed; latents start as its samplers start them."""
    started = handlers.substitute(handlers.seed(model.bind(numpyro), 0), substitute_fn=init_to_uniform)
    return handlers.trace(started).get_trace()


def site_values(model: Model, kind: str) -> Values:
    return {name: site["value"] for name, site in seeded_trace(model).items() if site["type"] == kind}


@partial(jax.jit, static_argnums=0)
def drawn_latents(model: Model, key: jax.Array) -> Values:
    """Values of the latents, discrete ones included."""
    sites = handlers.trace(handlers.seed(model.bind(numpyro), key)).get_trace().items()
    return {name: site["value"] for name, site in sites if site["type"] == "sample" and not site["is_observed"]}


def flat(compiled: plait.CompiledModel, by_site: Values) -> np.ndarray:
    """The flat vector of unconstrained values by site."""
    parts = [np.ravel(by_site[slot.name]) for slot in compiled.slots]
    return np.concatenate(parts) if parts else np.zeros(0)


def close(got: Any, wanted: Any, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=0, atol=tolerance)
