"""The costs that explain states: counted by hand on small models, term by term and over the whole call."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.explain import flops
from plait.ir.graph import Role, ancestors
from plait.ir.ops import Hoist

RNG = np.random.default_rng(5)
N, J = 12, 4
X, Y = RNG.normal(size=(N, 3)), RNG.normal(size=N)
TIMES = np.sort(RNG.normal(size=N))
COUNTS, BITS = RNG.poisson(2.0, N), RNG.integers(0, 2, 40)
GROUP = np.arange(40) % J
DOUBLE = 8  # bytes


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def terms(model, *args):
    return {t.name: t for t in plait.compile(model, *args).explain().terms}


def normals(name, *shape):
    return plait.sample(name, dist.Normal(jnp.zeros(shape), 1))


# -- what a fused term reads has to be computed ---------------------------------------------------------------


def smooth(raw):
    """``h² exp(−½ ((t − t')/l)²) · raw``: h² once; /, ², ·, exp and · for each pair; a product."""
    height, length = normals("height"), normals("length")
    return height**2 * jnp.exp(-0.5 * ((TIMES[:, None] - TIMES) / length) ** 2) @ raw


SMOOTH = 1 + 5 * N * N + 2 * N * N


def gaussian_process(y):
    plait.sample("y", dist.Poisson(jnp.exp(smooth(normals("raw", N)))), obs=y)


def one_by_one(y):
    plait.sample("y", dist.Poisson(jnp.exp(normals("f", N))), obs=y)


def test_a_gaussian_process_with_poisson_rows():
    whole, rows = (terms(m, COUNTS)["y"] for m in (gaussian_process, one_by_one))
    assert whole.evaluated
    assert rows.evaluated
    assert whole.flops - rows.flops == SMOOTH
    assert whole.written_flops - rows.written_flops == SMOOTH
    assert whole.bytes - rows.bytes == whole.written_bytes - rows.written_bytes == N * N * DOUBLE  # t − t'


def hierarchical(centered, y, k):
    theta = normals("theta", J) if centered else normals("mu") + normals("tau") * normals("raw", J)
    plait.sample("y", dist.Bernoulli(logits=theta[GROUP]), obs=y)
    plait.sample("k", dist.Poisson(jnp.exp(theta[GROUP[:N]])), obs=k)


def test_a_hierarchy_is_computed_for_the_first_term_that_reads_it():
    direct, computed = (terms(lambda y, k, c=c: hierarchical(c, y, k), BITS, COUNTS) for c in (True, False))
    assert computed["y"].rows == (40, J)
    assert computed["y"].flops - direct["y"].flops == 2 * J  # tau · raw, and mu + it
    assert computed["y"].written_flops - direct["y"].written_flops == 2 * J
    assert computed["k"].flops == direct["k"].flops
    assert computed["k"].written_flops == direct["k"].written_flops


# -- a factor of which a part stays as written ----------------------------------------------------------------


def squares(x, y):
    plait.factor("f", -0.5 * jnp.sum(((y - x @ normals("b", 3)) / 1.5) ** 2))


def squares_and_cubes(x, y):
    residual = y - x @ normals("b", 3)
    plait.factor("f", -0.5 * jnp.sum((residual / 1.5) ** 2) + jnp.sum(residual**3))


def test_a_factor_of_which_a_part_stays_as_written():
    alone, both = (terms(m, X, Y)["f"] for m in (squares, squares_and_cubes))
    assert both.evaluated == f"{alone.evaluated};  the rest as written"
    rest = 2 * 3 * N + 3 * N  # x @ b; y − it, its cube, and their sum
    assert both.flops - alone.flops == rest + 2  # the rest's weight, and the sum of both
    assert both.bytes - alone.bytes == (3 * N + N) * DOUBLE  # x, y


# -- the whole call -------------------------------------------------------------------------------------------


def rows_of_one_rate(y, k):
    """A term as written reads what a fused one before it no longer evaluates."""
    rate = jnp.exp(normals("theta", J))[GROUP]
    plait.sample("y", dist.Poisson(rate), obs=y)
    plait.factor("rest", jnp.sum(jnp.sin(rate) ** 3))


MODELS = {
    "a gaussian process": (gaussian_process, COUNTS),
    "a hierarchy": (lambda y, k: hierarchical(False, y, k), BITS, COUNTS),
    "squares and cubes": (squares_and_cubes, X, Y),
    "rows of one rate": (rows_of_one_rate, BITS, COUNTS),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_terms_add_up_to_the_call(name):
    model, *args = MODELS[name]
    compiled = plait.compile(model, *args)
    explained = compiled.explain().terms
    graph = compiled.density_graph
    called = ancestors([graph.output(Role.LOG_JOINT)]) - ancestors(graph.of(Hoist))
    assert any(t.evaluated for t in explained)
    assert sum(t.flops for t in explained) == sum(map(flops, called))


@pytest.mark.parametrize("name", MODELS)
def test_without_fusion_it_is_as_written(name):
    model, *args = MODELS[name]
    fused, plain = (plait.compile(model, *args, passes=p).explain().terms for p in ({}, {"fuse": False}))
    assert [t.written_flops for t in fused] == [t.flops for t in plain]
    assert all(t.flops == t.written_flops and t.bytes == t.written_bytes for t in plain)
