"""What a certificate says: rows up to the pass that breaks, and points that prove nothing."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler import certify, reference
from plait.compiler.certificate import Certificate, Row
from plait.compiler.passes import PIPELINE
from plait.runtime import compile as driver

ROW = Row("trace", 0, False, -3.0, -3.0, 0.0, 0.0, 2.0, 2.0, True, True)


def test_the_table_ends_with_the_pass_that_breaks():
    wrong = replace(ROW, stage="fuse", value=-4.0, value_error=0.25, holds=False)
    certificate = Certificate((ROW, replace(ROW, stage="simplify", changed=False), wrong), ())
    assert certificate.broken is wrong
    assert not certificate.proves
    lines = str(certificate).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["trace", "simplify", "fuse"]
    assert lines[2].split()[1] == "="
    assert lines[3].split()[1:4] == ["-4", "-3", "2.5e-01"]
    assert "pass 'fuse' changes the density: log density -4, reference -3" in str(certificate)
    error = plait.CertificateError(certificate)
    assert str(error) == certificate.verdict
    assert error.certificate is certificate


def test_the_errors_of_a_row_are_the_worst_of_all_points():
    rows = (ROW, replace(ROW, point=1, value=-9.0, value_error=1e-11, gradient_error=2e-12))
    certificate = Certificate(rows, ("x",), ("y",), 3)
    assert (certificate.points, certificate.worst) == (2, 1e-11)
    assert str(certificate).splitlines()[1].split() == ["trace", "-3", "-3", "1.0e-11", "2", "2", "2.0e-12"]
    for part in ("2 random points", "not taken apart: x", "one by one: y", "3 more points have no finite density"):
        assert part in certificate.verdict


def half_line(y):
    """Finite where a is positive."""
    a = plait.sample("a", dist.Normal(0, 1))
    with plait.plate("rows", 3):
        plait.sample("y", dist.Normal(jnp.log(a), 1), obs=y)


def test_points_without_a_finite_reference_are_replaced():
    with jax.enable_x64(True):
        certificate = plait.compile(half_line, np.zeros(3), check=3).certificate
    finite = [certify.random_point(i, 1)[0] > 0 for i in range(3 + certificate.skipped)]
    assert certificate.skipped == finite.count(False) > 0
    assert (certificate.points, len(certificate.rows) % 3) == (3, 0)
    assert all(np.isfinite([r.value, r.reference, r.gradient]).all() for r in certificate.rows)


@pytest.mark.parametrize("value", [jnp.nan, -jnp.inf])
def test_a_density_that_is_nowhere_finite_proves_nothing(value):
    def model():
        a = plait.sample("a", dist.Normal(0, 1))
        plait.factor("f", value * a**2)

    with pytest.raises(plait.CertificateError, match="nothing is proved: the density is not finite at any of 20"):
        plait.compile(model, check=True)
    assert driver.certificate_of(plait.compile(model), model).rows == ()


NONE = {p.name: False for p in PIPELINE if p.optional}


def weighted(x, y, seen):
    """Masked, scaled, with a bijector on rows, events and gathers."""
    tau = plait.sample("tau", dist.HalfNormal(1))
    with plait.plate("rows", 6), plait.handlers.scale(scale=2.0):
        s = plait.sample("s", dist.LogNormal(0, tau))
        v = plait.sample("v", dist.Dirichlet(jnp.ones(3)))
        with plait.handlers.mask(mask=seen):
            plait.sample("y", dist.Normal(x * v[:, 0], s), obs=y)
            plait.sample("w", dist.Normal(0, 1).expand([6, 2]).to_event(1), obs=jnp.stack([x, y], -1))


def test_a_large_site_is_the_same_sum(monkeypatch):
    """All but a few of its elements in one batch; the certificate says so."""
    x, y, seen = np.linspace(-1, 1, 6), np.arange(6.0), np.arange(6) % 3 > 0
    with jax.enable_x64(True):
        one_by_one = plait.compile(weighted, x, y, seen, check=1, passes=NONE).certificate
        monkeypatch.setattr(reference, "LARGE", 5)
        monkeypatch.setattr(reference, "ALONE", 4)
        together = plait.compile(weighted, x, y, seen, check=1, passes=NONE).certificate
    assert one_by_one.large == ()
    assert together.large == ("s", "v", "w", "y")
    for a, b in zip(one_by_one.rows, together.rows, strict=True):
        assert a.reference == pytest.approx(b.reference, rel=1e-13)
        assert a.gradient_reference == pytest.approx(b.gradient_reference, rel=1e-13)


def test_elements_of_a_large_site_are_still_taken_one_by_one(monkeypatch):
    """A distribution whose batch is wrong is found by those."""

    class Slip(dist.Normal):
        def log_prob(self, value):
            return super().log_prob(value) + 0.1 * (len(self.batch_shape) > 0)

    def model(y):
        a = plait.sample("a", dist.Normal(0, 1))
        with plait.plate("rows", 20):
            plait.sample("y", Slip(a, jnp.ones(20)), obs=y)

    monkeypatch.setattr(reference, "LARGE", 5)
    monkeypatch.setattr(reference, "ALONE", 4)
    with pytest.raises(plait.CertificateError, match="changes the density"):
        plait.compile(model, np.zeros(20), check=1)
