"""Models whose rows fuse by every kernel, and kernels as they may be written in a file."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import plait
from plait.compiler.kernels.categories import CategoryRows
from plait.compiler.kernels.cells import Along, Layout, Taken
from plait.compiler.kernels.families import FamilyStatistics
from plait.compiler.kernels.kept import (
    Events,
    Exceedances,
    GammaMeans,
    Kept,
    Levels,
    Multiples,
    NormalMeans,
    Outcomes,
    Signs,
    Values,
)
from plait.compiler.kernels.linear_sum import LinearSumStatistics
from plait.compiler.kernels.normal import NormalStatistics, SquareStatistics
from plait.compiler.kernels.pairs import PairCounts
from plait.compiler.kernels.recipes import HostKernel
from plait.compiler.kernels.rows import LeafData, RowStatistics
from plait.compiler.kernels.scatter import ScatterStatistics
from plait.compiler.lower.density import _on_host
from plait.ir.ops import Input, inputs
from tests.rules.row_models import random_glm

RNG = np.random.default_rng(11)
N = 60
LEVELS = RNG.integers(0, 2, (N, 3)).astype(float)


def kernels(compiled: plait.CompiledModel) -> Iterator[tuple[HostKernel, list[np.ndarray]]]:
    """The kernels of a compiled model, each with the arrays of the data that it is called with."""
    program, data = compiled._program, tuple(compiled._data)
    lowered = program.lowered
    values = dict(zip(lowered.traceable, program.computed(data), strict=True))
    values |= zip(inputs(lowered.graph, Input.DATA), data, strict=True)
    for node in lowered.kernels:
        yield node.op.kernel, [_on_host(a, values) for a in node.args]


# -- models ----------------------------------------------------------------------------------------------------


def others(d: dict[str, np.ndarray]) -> None:
    """Rows of the kernels that no generalized linear model has."""
    b = plait.sample("b", dist.Normal(0, 1).expand([3]).to_event(1))
    s = plait.sample("s", dist.HalfNormal(1))
    means = plait.sample("means", dist.Normal(0, 1).expand([4, 2]).to_event(2))
    theta = plait.sample("theta", dist.Dirichlet(jnp.ones((4, 3))).to_event(1))
    phi = plait.sample("phi", dist.Dirichlet(jnp.ones((3, 40))).to_event(1))
    a = plait.sample("a", dist.Normal(0, 1).expand([3, 3]).to_event(2))
    shapes = plait.sample("shapes", dist.HalfNormal(1).expand([3]).to_event(1))
    rates = plait.sample("rates", dist.HalfNormal(1).expand([4]).to_event(1))
    eta = d["x"] @ b
    plait.factor("squares", -0.5 * jnp.sum((d["y"] - eta) ** 2))
    plait.factor("multiples", jnp.sum(d["y"] * eta))
    plait.factor("curves", jnp.sum(d["counts"] * eta - jnp.exp(eta)))
    plait.factor("sides", jnp.sum(d["bits"] * eta - jnp.log1p(jnp.exp(eta))))
    with plait.plate("rows", len(d["y"])):
        plait.sample("vectors", dist.MultivariateNormal(means[d["g"]], scale_tril=s * jnp.eye(2)), obs=d["vectors"])
        plait.sample("words", dist.Categorical(theta[d["g"]] @ phi), obs=d["words"])
        plait.sample("choices", dist.Categorical(logits=d["x"] @ a), obs=d["choices"])
        plait.sample("counts", dist.Poisson(rates[d["g"]]), obs=d["counts"])
        plait.sample("waits", dist.Geometric(logits=eta), obs=d["counts"])
        plait.sample("times", dist.Gamma(shapes[d["h"]], rates[d["g"]]), obs=d["times"])
        plait.sample("bits", dist.Bernoulli(logits=d["y"] * s), obs=d["bits"])


DATA = {
    "x": LEVELS,
    "g": RNG.integers(0, 4, N),
    "h": RNG.integers(0, 3, N),
    "y": RNG.normal(size=N).astype(np.float32),
    "bits": RNG.integers(0, 2, N),
    "counts": RNG.poisson(3.0, N),
    "vectors": RNG.normal(size=(N, 2)).astype(np.float32),
    "times": RNG.gamma(3.0, 1.0, N).astype(np.float32),
    "words": RNG.integers(0, 39, N),
    "choices": RNG.integers(0, 3, N),
}


LOSSES = (
    *("bernoulli", "binomial", "negative binomial", "poisson", "gamma", "negative binomial 2", "ordered logistic"),
    *("normal", "student"),
)


def fused() -> Iterator[plait.CompiledModel]:
    """Models in which every kernel occurs, and every loss."""
    yield plait.compile(plait.handlers.seed(others, 0), DATA)
    glms = {name.replace(" ", "_"): random_glm(name, 1) for name in LOSSES}

    def all_of_them(d: dict[str, Any]) -> None:
        for name, glm in glms.items():
            plait.handlers.scope(glm, prefix=name)(d[name])

    yield plait.compile(all_of_them, {name: glm.data for name, glm in glms.items()}, passes={"reroll": False})


# -- kernels ---------------------------------------------------------------------------------------------------

KEPT: tuple[Kept, ...] = (
    *(Signs(), Outcomes("binomial"), Exceedances(8), Events(True), Multiples(), GammaMeans(), NormalMeans(False)),
    *(Levels(3), Values(True)),
)
F32 = np.dtype("float32")
NORMAL = NormalStatistics(
    50,
    Layout(4, (Along(0, 0, 1, 0),), 0, 3),
    (False, True, False),
    ((1, False), (3, True)),
    ((0, 0), (1, 0)),
    1,
    ((0, 0),),
    False,
    False,
    F32,
)


def rows_of(kept: Kept) -> RowStatistics:
    """A kernel of rows that keeps this."""
    return RowStatistics((50,), kept, True, 1, (LeafData(True, ((1, True, False),)),), False, 2, (0, 1), 16, True)


WRITTEN: tuple[Any, ...] = (
    CategoryRows((50,), 3, False, True, (2, 1), True, 8, True),
    FamilyStatistics((5, 10), (), Layout(8, (Taken(0, 0), Taken(1, 1)), 2, 5), False, 0, 1, (1, 1), "GammaPoisson", 0),
    LinearSumStatistics(50, (3, 4), True, ((0, 1, False), (1, 3, True)), np.dtype("float64")),
    NORMAL,
    PairCounts((50,), 6, 9, 0, False, 3),
    ScatterStatistics((50,), 2, Layout(1, ()), False, True, False, F32),
    SquareStatistics(NORMAL, -1.0),
    *map(rows_of, KEPT),
)
