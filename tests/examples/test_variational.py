"""The examples of variational inference run, learn, and agree with NUTS."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import binom

import plait

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_autoencoder_learns_and_draws(tmp_path, monkeypatch, capsys):
    plot = tmp_path / "plot.png"
    monkeypatch.setattr(sys, "argv", ["digits_vae.py", "--steps", "300", "--out", str(plot)])
    module = example("digits_vae")
    module.main()
    loss = float(re.search(r"held-out images: ([\d.]+) nats", capsys.readouterr().out)[1])
    seen, held_out = module.data()["x"], module.data(held_out=True)["x"]
    rates = np.clip(seen.mean(axis=0) / 16, 1e-3, 1 - 1e-3)
    without_latents = -binom(16, rates).logpmf(held_out).sum(axis=1).mean()
    assert loss < 0.7 * without_latents
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert plot.stat().st_size > 10_000


def test_minibatches_find_what_nuts_finds(monkeypatch, capsys):
    module = example("minibatch_logistic_regression")
    kept = {}

    def short(*args, **options):
        kept["nuts"] = sampler(*args, **{**options, "warmup": 150, "draws": 150})
        return kept["nuts"]

    def trained(elbo, *args):
        params, loss = train(elbo, *args)
        kept["guide"] = elbo.sample(params, jax.random.key(5), (2000,))["beta"]
        return params, loss

    data, sampler, train = module.data, plait.samplers.blackjax.sample, module.train
    monkeypatch.setattr(plait.samplers.blackjax, "sample", short)
    monkeypatch.setattr(module, "train", trained)
    monkeypatch.setattr(module, "STEPS", 1000)
    monkeypatch.setattr(module, "data", lambda: {name: x[:3000] for name, x in data().items()})
    module.main()
    assert "beta[10]" in capsys.readouterr().out
    nuts, guide = kept["nuts"].values["beta"].reshape(-1, 11), np.asarray(kept["guide"])
    assert kept["nuts"].divergences == 0
    sd = nuts.std(axis=0)
    assert np.abs(guide.mean(axis=0) - nuts.mean(axis=0)).max() < sd.max()
    assert guide.std(axis=0) == pytest.approx(sd, rel=1.0)
