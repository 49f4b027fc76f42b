"""Damage anywhere in a file is the same typed error: nothing is parsed before the digest is right."""

import hashlib
import json
import os
import random

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.errors import ArtifactError
from plait.runtime.artifact import container, programs

Y = np.array([1.0, 2.0, 4.0])


def model(y):
    loc = plait.param("loc", 0.5)
    mu = plait.sample("mu", dist.Normal(loc, 2))
    sigma = plait.sample("sigma", dist.HalfNormal(1))
    with plait.plate("rows", len(y)):
        plait.sample("y", dist.Normal(mu, sigma), obs=y)


@pytest.fixture(scope="module")
def compiled():
    return plait.compile(model, Y)


@pytest.fixture(scope="module")
def whole(compiled, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "m.plait"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "PARTS", {})
        compiled.save(path, platforms=("cpu",), progress=False)
    return path


@pytest.fixture(scope="module")
def small(compiled, tmp_path_factory):
    """The same with a few functions, of which there are not so many truncations."""
    path = tmp_path_factory.mktemp("small") / "m.plait"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "PARTS", {})
        for name in ("_of_data", "_of_known"):
            patch.setattr(programs, name, lambda *_: iter(()))
        compiled.save(path, platforms=("cpu",), progress=False)
    return path


def refuses(path):
    try:
        plait.load(path)
    except ArtifactError as e:
        return str(path) in str(e)
    return False


def test_2000_flipped_bits_are_refused(whole, tmp_path):
    random.seed(1)
    content, path = bytearray(whole.read_bytes()), tmp_path / "m.plait"
    for bit in random.sample(range(8 * len(content)), 2000):
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        assert refuses(path), bit
    path.write_bytes(content)
    assert plait.load(path)


def test_every_truncation_is_refused(small, tmp_path):
    path = tmp_path / "m.plait"
    path.write_bytes(small.read_bytes())
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        assert refuses(path), length


def test_a_manifest_of_another_shape_is_refused_where_the_digest_is_right(whole, tmp_path):
    """Whoever writes files of their own meets the same error, or a model that was changed in a valid way."""
    random.seed(2)
    members, path = container.read(whole), tmp_path / "m.plait"
    refused = 0
    for _ in range(400):
        manifest = json.loads(members["manifest"])
        places = list(_places(manifest))
        holder, key = random.choice(places)
        if random.random() < 0.3:
            del holder[key]
        else:
            holder[key] = random.choice([None, -1, 10**30, 1.5, "x", [], {}, [[]], {"x": 1}, True])
        container.write(path, members | {"manifest": json.dumps(manifest).encode()})
        try:
            repr(plait.load(path))
        except ArtifactError:
            refused += 1
    assert refused > 200


def _places(data):
    """(holder, key) of everything in nested JSON."""
    keys = data if isinstance(data, dict) else range(len(data))
    for key in keys:
        yield data, key
        if isinstance(data[key], dict | list):
            yield from _places(data[key])


def test_a_member_that_is_no_json_is_refused(whole, tmp_path):
    members, path = container.read(whole), tmp_path / "m.plait"
    for content in (b"", b"\xff", b"[" * 100_000, b"[]", b"null", b"{}"):
        container.write(path, members | {"manifest": content})
        with pytest.raises(ArtifactError, match="manifest"):
            plait.load(path)


def test_the_digest_covers_all_before_it(whole):
    content = whole.read_bytes()
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]
    assert jax.numpy.isfinite(plait.load(whole).log_density(np.zeros(2)))


def test_a_function_of_another_version_of_jaxs_format_names_both_versions(whole, monkeypatch):
    def newer(blob):
        raise ValueError("version 99 is not known")

    monkeypatch.setattr(jax.export, "deserialize", newer)
    with pytest.raises(
        ArtifactError, match=r"was written with jax .*, and jax .* can't read whole/log_density: version"
    ):
        plait.load(whole).log_density(np.zeros(2))
