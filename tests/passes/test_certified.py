"""Every model, before and after every pass: value and gradient equal NumPyro's and the reference's.

NumPyro's answers are one compilation for each model and dtype, as are the densities of all stages.
"""

import jax
import numpy as np
import pytest

import plait
from plait.compiler.certify import random_point, split_flat
from plait.compiler.passes import PIPELINE
from tests.models import EMPTY, MODELS, SCAN_MODELS, Model, some
from tests.models import numpyro_reference as numpyro_says

ALL = (*MODELS, *SCAN_MODELS, EMPTY)
PRECISION = {np.float64: 1e-10, np.float32: 1e-4}
OPTIONAL = [p.name for p in PIPELINE if p.optional]

models = pytest.mark.parametrize("model", ALL, ids=lambda m: m.name)
PRECISIONS = [("f64", np.float64, m) for m in ALL] + [("f32", np.float32, m) for m in some(ALL)]


@pytest.mark.parametrize(
    ("dtype", "model"), [p[1:] for p in PRECISIONS], ids=[f"{p[0]}-{p[2].name}" for p in PRECISIONS]
)
def test_every_stage_equals_numpyro_and_the_reference(dtype: type, model: Model) -> None:
    with jax.enable_x64(dtype is np.float64):
        data = model.args(dtype)
        params = numpyro_says.init_params(model, data)
        compiled = plait.compile(model.bind(plait), check=1, **data).with_params(params)
        certificate = compiled.certificate
        assert certificate.worst < PRECISION[dtype]
        assert {row.stage for row in certificate.rows} == {name for name, _ in compiled.history}
        for point in range(1 + max(row.point for row in certificate.rows)):
            u = split_flat(compiled.slots, random_point(point, compiled.dim).astype(dtype))
            theirs = numpyro_says.answers(model, u, data, params)
            compare_at(compiled, u, theirs, PRECISION[dtype])
            if not params:  # the certificate draws a module's weights itself
                compare_rows(certificate, point, theirs, PRECISION[dtype])


def compare_at(compiled, u, theirs: numpyro_says.Answers, precision) -> None:
    """The compiled functions at one unconstrained point."""
    z = flat(u, u)
    got, got_gradient = compiled.log_density_and_grad(z)
    scale = 1 + abs(float(theirs.density))
    close(got, theirs.density, precision * scale)
    wanted_gradient = flat(theirs.gradient, u)
    close(got_gradient, wanted_gradient, precision * max(scale, np.max(np.abs(wanted_gradient), initial=0)))
    close(compiled.log_density(z), theirs.density, precision * scale)

    values = compiled.constrain(z)
    for name, x in values.items():
        close(x, theirs.values[name], precision * (1 + np.max(np.abs(x), initial=0)))
    theirs_alone = {name: theirs.values[name] for name in values}
    close(compiled.log_joint(theirs_alone), theirs.joint, precision * scale)
    terms = compiled.log_prob_terms(theirs_alone)
    assert terms.keys() == theirs.terms.keys()
    for name, term in terms.items():
        assert term.shape == np.shape(theirs.terms[name])
        close(term, theirs.terms[name], precision * scale)


def compare_rows(certificate, point, theirs: numpyro_says.Answers, precision) -> None:
    """What each stage evaluated to at this point."""
    for row in certificate.rows:
        if row.point == point:
            wanted = float(theirs.density if row.unconstrained else theirs.joint)
            close(row.value, wanted, precision * (1 + abs(wanted)))


def flat(by_site, order) -> np.ndarray:
    parts = [np.ravel(by_site[name]) for name in order]
    return np.concatenate(parts) if parts else np.zeros(0)


def close(got, wanted, tolerance: float) -> None:
    np.testing.assert_allclose(np.asarray(got), np.asarray(wanted), rtol=0, atol=tolerance)


SWITCHED = [m for m in ALL if m.name in ("radon", "masked_observations", "simplex", "state_space", "dynamic_support")]


@pytest.mark.parametrize("model", SWITCHED, ids=lambda m: m.name)
@pytest.mark.parametrize("on", [*OPTIONAL, ""], ids=lambda name: name or "none")
def test_each_optional_pass_alone_and_none(model: Model, on: str) -> None:
    """`simplify_terms` needs `expand`; every other optional pass works without the others."""
    needed = {"simplify_terms": {"expand"}}.get(on, set())
    switches = {name: name == on or name in needed for name in OPTIONAL}
    with jax.enable_x64(True):
        data = model.args(np.float64)
        compiled = plait.compile(model.bind(plait), passes=switches, **data)
        u = split_flat(compiled.slots, random_point(0, compiled.dim))
        value, gradient = numpyro_says.log_density_and_grad(model, u, data)
        got, got_gradient = compiled.log_density_and_grad(flat(u, u))
        close(got, value, 1e-10 * (1 + abs(value)))
        close(got_gradient, flat(gradient, u), 1e-9 * (1 + abs(value)))
    assert {name for name, _ in compiled.history} & set(OPTIONAL) == {n for n, is_on in switches.items() if is_on}


@models
def test_lowers_for_cuda_and_tpu(model: Model) -> None:
    """Cross-platform lowering needs no device."""
    compiled = plait.compile(model.bind(plait), **model.args(np.float32))
    if compiled.has_random_params:
        compiled = compiled.with_params(compiled.init_param_values(jax.random.key(0)))
    z = jax.ShapeDtypeStruct((compiled.dim,), np.float32)
    exported = jax.export.export(jax.jit(compiled.log_density_and_grad), platforms=("cuda", "tpu"))(z)
    assert exported.platforms == ("cuda", "tpu")


@pytest.mark.parametrize("model", some([m for m in ALL if m.prior_moments]), ids=lambda m: m.name)
def test_prior_draws_have_numpyros_moments(model: Model) -> None:
    n = 3000
    data = model.args(np.float32)
    compiled = plait.compile(model.bind(plait), **data)
    params = numpyro_says.init_params(model, data)
    draws = compiled.with_params(params).sample(jax.random.key(1), (n,))
    theirs = numpyro_says.prior_draws(model, data, jax.random.key(2), n, params)
    assert set(theirs) <= set(draws)
    for name, wanted in theirs.items():
        ours, wanted = np.asarray(draws[name], np.float64), np.asarray(wanted, np.float64)
        assert ours.shape == wanted.shape
        error = np.sqrt((ours.var(0) + wanted.var(0)) / n)
        np.testing.assert_array_less(np.abs(ours.mean(0) - wanted.mean(0)), 5 * error + 1e-6)
        # heavy tails make a standard deviation noisy: compare quantiles, which always have an error
        low, high = (np.quantile(wanted, q, axis=0) for q in (0.2, 0.8))
        np.testing.assert_allclose(np.mean(ours <= low, 0), np.mean(wanted <= low, 0), atol=5 * np.sqrt(0.5 / n))
        np.testing.assert_allclose(np.mean(ours <= high, 0), np.mean(wanted <= high, 0), atol=5 * np.sqrt(0.5 / n))
