"""Every example runs alone, finds a sensible posterior, and has NumPyro's density."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path

import jax
import numpy as np
import numpyro
import pytest
from numpyro.infer.util import log_density

import plait
from plait.model_file import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
VARIATIONAL = {"digits_vae", "minibatch_logistic_regression"}  # these have tests of their own
NAMES = sorted({path.stem for path in EXAMPLES.glob("*.py")} - VARIATIONAL)

# Posterior means, to within a few standard deviations: of published analyses, or (marked) of least squares.
EXPECTED = {
    "eight_schools": {"mu": (4.4, 2), "tau": (3.6, 2)},
    # Pooled within-firm regression of log investment: slopes 0.65 and 0.39, residual sd 0.3.
    "hierarchical_regression": {"value_mean": (0.65, 0.3), "capital_mean": (0.4, 0.3), "sigma": (0.26, 0.06)},
    "logistic_regression": {"intercept": (0.2, 1.2)},
    # scikit-learn's BayesianRidge: the mean of the coefficients, and the residual sd.
    "diabetes": {"intercept": (0.0, 0.1), "beta": (0.06, 0.03), "sigma": (0.71, 0.05)},
    # The logits of the 24 cells' shares are 0.77 on average; least squares of log visits among those who went.
    "doctor_visits": {"logit": (0.77, 0.15), "level": (1.029, 0.02), "beta": (0.018, 0.005), "sigma": (0.82, 0.02)},
    # The truth of the simulation.
    "radon": {
        "level_mean": (1.5, 0.1),
        "by_uranium": (0.7, 0.2),
        "level_sd": (0.3, 0.06),
        "floor_mean": (-0.6, 0.1),
        "floor_sd": (0.25, 0.1),
        "sigma": (0.75, 0.02),
    },
}

SHORT = {"radon": {"warmup": 150, "draws": 100, "chains": 2}}  # more than 700 latents

# The rows of observed sites, and what is evaluated in their stead.
ROWS = {
    "eight_schools": {"obs": (8, 8)},
    "hierarchical_regression": {"invest": (220, 11)},
    "logistic_regression": {"y": (569, 569)},
    "diabetes": {"y": (442, 1)},
    "doctor_visits": {"went": (20_190, 24), "visits": (13_882, 1)},
    "radon": {"log_radon": (12_573, 386)},
}


@pytest.fixture(autouse=True)
def float64(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "__plait_model__", raising=False)
    with jax.enable_x64(True):
        yield


def test_every_example_is_expected():
    assert set(NAMES) == set(EXPECTED)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_alone(name, monkeypatch, capsys):
    """The file as a script, with short chains."""
    kept = []

    def sample(*args, **options):
        draws = sampler(*args, **{**options, **SHORT.get(name, {"warmup": 300, "draws": 150})})
        kept.append(draws)
        return draws

    sampler = plait.samplers.blackjax.sample
    monkeypatch.setattr(plait.samplers.blackjax, "sample", sample)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "operations of a call" in out
    assert "r_hat" in out
    (draws,) = kept
    assert draws.divergences < 0.1 * draws.chains * draws.draws
    for site, (mean, within) in EXPECTED[name].items():
        assert abs(draws.values[site].mean() - mean) < within, site


@pytest.mark.parametrize("name", NAMES)
def test_its_density_is_numpyros(name, monkeypatch):
    model = load(str(EXAMPLES / f"{name}.py"))
    compiled = plait.compile(model.function, **model.data)
    z = np.random.default_rng(0).uniform(-1, 1, compiled.dim)
    values = compiled.constrain(z)
    monkeypatch.setitem(model.function.__globals__, "plait", numpyro)
    reference, _ = log_density(model.function, (), model.data, values)
    np.testing.assert_allclose(compiled.log_joint(values), reference, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_its_statistics_stand_for_its_rows(name):
    model = load(str(EXAMPLES / f"{name}.py"))
    compiled = plait.compile(model.function, **model.data)
    assert {t.name: t.rows for t in compiled.explain().terms if t.name in ROWS[name]} == ROWS[name]
    by_row = plait.compile(model.function, **model.data, passes={"fuse": False})
    for z in np.random.default_rng(1).normal(size=(3, compiled.dim)):
        value, gradient = compiled.log_density_and_grad(z)
        expected, slope = by_row.log_density_and_grad(z)
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-10 * np.abs(slope).max())


def test_data_need_no_network():
    for package in ("statsmodels", "sklearn"):
        assert importlib.util.find_spec(package) is not None
