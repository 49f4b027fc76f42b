"""Every example runs alone, finds a sensible posterior, and has NumPyro's density."""

from __future__ import annotations

import importlib.util
import runpy
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import numpyro
import pytest
from numpyro.infer.util import log_density

import plait
from plait.model_file import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))

# Posterior means, to within a few standard deviations: of published analyses, or (marked) of least squares.
EXPECTED = {
    "eight_schools": {"mu": (4.4, 2), "tau": (3.6, 2)},
    # Pooled within-firm regression of log investment: slopes 0.65 and 0.39, residual sd 0.3.
    "hierarchical_regression": {"value_mean": (0.65, 0.3), "capital_mean": (0.4, 0.3), "sigma": (0.26, 0.06)},
    "logistic_regression": {"intercept": (0.2, 1.2)},
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
        draws = short(*args, **options)
        kept.append(draws)
        return draws

    short = partial(plait.samplers.blackjax.sample, warmup=300, draws=150)
    monkeypatch.setattr(plait.samplers.blackjax, "sample", sample)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "nodes after each pass" in out
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


def test_data_need_no_network():
    for package in ("statsmodels", "sklearn"):
        assert importlib.util.find_spec(package) is not None
