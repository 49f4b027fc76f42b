"""Factors written in jax.numpy: what fuses is as near to the truth in 50 digits as its rows, and the rest stays."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import plait
from plait.compiler.passes.fuse import answers
from plait.compiler.rules.term import Fusion, Refused
from plait.ir.fused import Fused

mpmath.mp.dps = 50
dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
FLOOR = {np.float64: 1e-10, np.float32: 1e-6}
RNG = np.random.default_rng(5)
N = 60
Values = dict[str, np.ndarray]

exact = np.vectorize(lambda x: mpmath.mpf(float(x)), otypes=[object])
exp = np.vectorize(mpmath.exp, otypes=[object])
log = np.vectorize(mpmath.log, otypes=[object])
log1p_exp = np.vectorize(lambda x: max(x, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(x))), otypes=[object])


@dataclass(frozen=True)
class Case:
    """A factor.

    Attributes:
        code: the log factor, of latents and data.
        terms: its rows, in exact arithmetic.
        shapes: of the latents; those whose name begins with s are positive.
        data: by name.
        at: latents to evaluate it at, where ordinary ones won't do.
        weighted: opens what its rows are weighted by, given the data.
    """

    code: Callable[[Values, Values], Any]
    terms: Callable[[Values, Values], Any]
    shapes: dict[str, tuple[int, ...]]
    data: Values
    at: dict[str, Any] = field(default_factory=dict)
    weighted: Callable[[Values], Any] | None = None

    def __call__(self, d, prefix=""):
        """The model: flat priors, so that the log joint is the factor alone."""
        v = {}
        for name, shape in self.shapes.items():
            support = constraints.positive if name.startswith("s") else constraints.real
            v[name] = plait.sample(prefix + name, dist.ImproperUniform(support, (), shape))
        if self.weighted is None:
            plait.factor(prefix + "lik", self.code(v, d))
        else:
            with plait.handlers.scope(prefix=prefix[:-1]) if prefix else contextlib.nullcontext():
                self.weighted(self, v, d)

    def cast(self, dtype: type) -> Values:
        return {k: x.astype(dtype) if x.dtype.kind == "f" else x for k, x in self.data.items()}

    def draw(self, rng: np.random.Generator, dtype: type) -> Values:
        v = {k: np.asarray(self.at.get(k, 0.5 * rng.normal(size=shape)), dtype) for k, shape in self.shapes.items()}
        return {k: np.exp(x).astype(dtype) if k.startswith("s") and k not in self.at else x for k, x in v.items()}


def said_of(compiled: plait.CompiledModel) -> dict[str, Fusion | Refused]:
    """What became of each factor."""
    found = {a.site: a.answer for a in answers(dict(compiled.history)["unconstrain"], compiled._data)}
    fused = {op.site for op in dict(compiled.history)["fuse"].ops(Fused)}
    assert fused == {site for site, a in found.items() if isinstance(a, Fusion)}
    return found


def relative(got: Any, terms: Any) -> float:
    terms = np.ravel(np.asarray(terms, object))
    total, size = mpmath.fsum(terms), mpmath.fsum(abs(t) for t in terms)
    return float(abs(mpmath.mpf(float(got)) - total) / size) if size else float(abs(got))


def slope(case: Case, data: Values, v: Values, gradient: Values) -> float:
    """The error of a derivative along a random direction, relative to the sum of the rows' magnitudes."""
    rng, step = np.random.default_rng(3), mpmath.mpf(10) ** -18
    direction = {k: rng.normal(size=np.shape(x)) for k, x in v.items()}
    ahead, behind = (
        np.asarray(case.terms({k: exact(x) + s * step * exact(direction[k]) for k, x in v.items()}, data))
        for s in (1, -1)
    )
    got = sum(np.vdot(np.asarray(gradient[k], float), direction[k]) for k in v)
    return relative(got, (ahead - behind) / (2 * step))


def check(cases: dict[str, Case], dtype: type, asked: bool = False) -> dict[str, Fusion]:
    """All fuse, and are as near to the truth as `FLOOR` or twice their rows' error; one model has them all."""
    floor, rng = FLOOR[dtype], np.random.default_rng(2)

    def model(d):
        for name, case in cases.items():
            case(d[name], name + "/")

    with jax.enable_x64(dtype is np.float64):
        data = {name: case.cast(dtype) for name, case in cases.items()}
        passes = {"reroll": False}, {"reroll": False, "fuse": False}  # they would become families
        both = [plait.compile(plait.handlers.seed(model, 0), d=data, passes=p) for p in passes]
        assert {op.site for op in dict(both[0].history)["fuse"].ops(Fused)} == {f"{name}/lik" for name in cases}
        said = said_of(both[0]) if asked else {}
        v = {name: case.draw(rng, dtype) for name, case in cases.items()}
        flat = {f"{name}/{k}": x for name, values in v.items() for k, x in values.items()}
        got = jax.jit(lambda v: [jax.value_and_grad(c.log_joint)(v) for c in both])(flat)
    d = {n: {k: exact(x) if x.dtype.kind == "f" and x.size else x for k, x in data[n].items()} for n in cases}
    truth = np.concatenate([np.ravel(c.terms({k: exact(x) for k, x in v[n].items()}, d[n])) for n, c in cases.items()])
    found = [{"value": relative(value, truth)} for value, _ in got]
    for errors, (_, gradient) in zip(found, got, strict=True):
        for n, case in cases.items():
            errors[n] = slope(case, d[n], v[n], {k: gradient[f"{n}/{k}"] for k in v[n]})
    for what, error in found[0].items():
        of_rows = found[1][what]
        assert error <= (max(floor, 2 * of_rows) if np.isfinite(of_rows) else floor), (what, error, of_rows)
    return {name: said[f"{name}/lik"] for name in cases if asked}


# -- squares -------------------------------------------------------------------------------------------------

X, G, H = RNG.normal(size=(N, 3)), RNG.choice([0, 2, 3], N), RNG.integers(0, 3, N)
D = {
    "X": X,
    "g": G,  # group 1 is empty
    "h": H,
    "y": X @ [1.0, -2.0, 0.5] + RNG.normal(size=N),
    "w": RNG.normal(size=N),
    "u": RNG.uniform(0.5, 2.0, N),
    "k": RNG.poisson(2.0, N) * 1.0,
    "n": RNG.integers(3, 9, N) * 1.0,
    "bit": RNG.integers(0, 2, N) * 1.0,
    "m": RNG.uniform(size=N) < 0.7,
}
B, S = {"b": (3,)}, {"b": (3,), "s": ()}


def residual(v, d):
    return d["y"] - d["X"] @ v["b"]


def halves(v, d):
    return -((residual(v, d) / v["s"]) ** 2) / 2


def squares_of_a_gather(v, d):
    return -((d["y"] - v["a"][d["g"]] - v["c"] * d["w"]) ** 2) / 2 / v["s"]


SQUARES = {
    "power": Case(lambda v, d: -0.5 * jnp.sum(((d["y"] - d["X"] @ v["b"]) / v["s"]) ** 2), halves, S, D),
    "square": Case(lambda v, d: -0.5 * jnp.sum(jnp.square(residual(v, d)) / v["s"] ** 2), halves, S, D),
    "product": Case(lambda v, d: -0.5 * (residual(v, d) * residual(v, d)).sum() / v["s"] ** 2, halves, S, D),
    "dot": Case(lambda v, d: -jnp.dot(residual(v, d), residual(v, d)) / (2 * v["s"] ** 2), halves, S, D),
    "matmul": Case(
        lambda v, d: -0.5 * v["s"] * (residual(v, d) @ residual(v, d)),
        lambda v, d: -(residual(v, d) ** 2) * v["s"] / 2,
        S,
        D,
    ),
    "precision inside": Case(
        lambda v, d: -0.5 * jnp.sum((v["t"] * (d["X"] @ v["b"] - d["y"])) ** 2),
        lambda v, d: -((v["t"] * residual(v, d)) ** 2) / 2,
        B | {"t": ()},
        D,
        {"t": -1.7},
    ),
    "mean of squares": Case(lambda v, d: -N * jnp.mean(residual(v, d) ** 2), lambda v, d: -(residual(v, d) ** 2), B, D),
    "other sign": Case(lambda v, d: jnp.sum(residual(v, d) ** 2) / 3.0, lambda v, d: residual(v, d) ** 2 / 3, B, D),
    "known scale": Case(
        lambda v, d: -0.5 * jnp.sum(d["w"] ** 2 * (residual(v, d) / d["u"]) ** 2),
        lambda v, d: -((d["w"] * residual(v, d) / d["u"]) ** 2) / 2,
        B,
        D,
    ),
    "with its logarithm": Case(
        lambda v, d: -0.5 * jnp.sum((residual(v, d) / v["s"]) ** 2) - N * jnp.log(v["s"]),
        lambda v, d: np.append(halves(v, d), -N * log(v["s"])),
        S,
        D,
    ),
    "density of a normal": Case(
        lambda v, d: jnp.sum(dist.Normal(d["X"] @ v["b"], v["s"]).log_prob(d["y"])),
        lambda v, d: halves(v, d) - log(v["s"]) - mpmath.log(2 * mpmath.pi) / 2,
        S,
        D,
    ),
    "groups": Case(
        lambda v, d: -0.5 * jnp.sum((d["y"] - v["a"][d["g"]] - v["c"] * d["w"]) ** 2) / v["s"],
        squares_of_a_gather,
        {"a": (4,), "c": (), "s": ()},
        D,
    ),
    "two factors": Case(
        lambda v, d: -jnp.sum((d["y"] - (v["a"][:, None] + v["c"])[d["g"], d["h"]]) ** 2),
        lambda v, d: -((d["y"] - v["a"][d["g"]] - v["c"][d["h"]]) ** 2),
        {"a": (4,), "c": (3,)},
        D,
    ),
    "times an addend": Case(
        lambda v, d: -v["s"] * (jnp.sum(residual(v, d) ** 2) + 3.0),
        lambda v, d: np.append(-v["s"] * residual(v, d) ** 2, -3 * v["s"]),
        S,
        D,
    ),
}


@dtypes
def test_squares(dtype: type) -> None:
    some = {k: c for k, c in SQUARES.items() if dtype is np.float64 or k in ("power", "precision inside", "groups")}
    said = check(some, dtype, dtype is np.float64)
    if not said:
        return
    assert {name: a.cells for name, a in said.items()} == dict.fromkeys(SQUARES, 1) | {
        "groups": 4,
        "two factors": said["two factors"].cells,
    }
    assert {a.rows for a in said.values()} == {N}


# -- known times unknown -------------------------------------------------------------------------------------


def predictor(v, d):
    return d["X"] @ v["b"]


LINEAR = {
    "gather": Case(lambda v, d: jnp.sum(d["w"] * v["a"][d["g"]]), lambda v, d: d["w"] * v["a"][d["g"]], {"a": (4,)}, D),
    "dot": Case(lambda v, d: jnp.dot(d["y"], predictor(v, d)), lambda v, d: d["y"] * predictor(v, d), B, D),
    "matmul": Case(lambda v, d: predictor(v, d) @ d["y"], lambda v, d: d["y"] * predictor(v, d), B, D),
    "scalars outside": Case(
        lambda v, d: jnp.sum(d["w"] * predictor(v, d)) / v["s"] * 3.0,
        lambda v, d: 3 * d["w"] * predictor(v, d) / v["s"],
        S,
        D,
    ),
    "offset": Case(
        lambda v, d: jnp.sum(d["w"] * (d["y"] - predictor(v, d) - v["a"][d["g"]])),
        lambda v, d: d["w"] * (residual(v, d) - v["a"][d["g"]]),
        B | {"a": (4,)},
        D,
    ),
    "code of groups": Case(
        lambda v, d: jnp.sum(d["w"] * jnp.tanh(v["a"])[d["g"]]),
        lambda v, d: d["w"] * np.vectorize(mpmath.tanh, otypes=[object])(v["a"])[d["g"]],
        {"a": (4,)},
        D,
    ),
    "a choice by data": Case(
        lambda v, d: jnp.sum(jnp.where(d["m"], v["a"][d["g"]], 2.0 * v["c"])),
        lambda v, d: np.where(d["m"], v["a"][d["g"]], 2 * v["c"]),
        {"a": (4,), "c": ()},
        D,
    ),
}


@dtypes
def test_known_times_unknown(dtype: type) -> None:
    assert {a.cells for a in check(LINEAR, dtype, True).values()} == {1}


# -- curves --------------------------------------------------------------------------------------------------

LOGISTIC = {
    "log1p exp": lambda eta: jnp.log1p(jnp.exp(eta)),
    "log 1 + exp": lambda eta: jnp.log(1 + jnp.exp(eta)),
    "softplus": jax.nn.softplus,
    "logaddexp": lambda eta: jnp.logaddexp(0.0, eta),
    "logaddexp turned": lambda eta: jnp.logaddexp(eta, 0),
    "log sigmoid": lambda eta: eta - jax.nn.log_sigmoid(eta),
    "log of sigmoid": lambda eta: -jnp.log(jax.nn.sigmoid(-eta)),
    "log of the rest": lambda eta: -jnp.log1p(-jax.nn.sigmoid(eta)),
}


def poisson(v, d):
    return d["k"] * predictor(v, d) - exp(predictor(v, d))


def logistic(v, d):
    return d["bit"] * predictor(v, d) - log1p_exp(predictor(v, d))


def bernoulli(v, d):
    p = jax.nn.sigmoid(predictor(v, d))
    return jnp.sum(d["bit"] * jnp.log(p) + (1 - d["bit"]) * jnp.log1p(-p))


CURVES = {
    "poisson": Case(lambda v, d: jnp.sum(d["k"] * predictor(v, d) - jnp.exp(predictor(v, d))), poisson, B, D),
    "poisson apart": Case(
        lambda v, d: jnp.dot(d["k"], predictor(v, d)) - jnp.exp(predictor(v, d)).sum(), poisson, B, D
    ),
    "exposure": Case(
        lambda v, d: jnp.sum(d["k"] * (v["a"][d["g"]] + d["w"]) - jnp.exp(v["a"][d["g"]] + d["w"])),
        lambda v, d: d["k"] * (v["a"][d["g"]] + d["w"]) - exp(v["a"][d["g"]] + d["w"]),
        {"a": (4,)},
        D,
    ),
    "times exposure": Case(
        lambda v, d: jnp.sum(d["k"] * v["a"][d["g"]] - d["u"] * jnp.exp(v["a"][d["g"]])),
        lambda v, d: d["k"] * v["a"][d["g"]] - d["u"] * exp(v["a"][d["g"]]),
        {"a": (4,)},
        D,
    ),
    "survival": Case(
        lambda v, d: jnp.sum(-d["bit"] * predictor(v, d) - d["u"] * jnp.exp(-predictor(v, d))),
        lambda v, d: -d["bit"] * predictor(v, d) - d["u"] * exp(-predictor(v, d)),
        B,
        D,
    ),
    **{
        name: Case(lambda v, d, f=f: jnp.sum(d["bit"] * predictor(v, d) - f(predictor(v, d))), logistic, B, D)
        for name, f in LOGISTIC.items()
    },
    "log p and log 1 - p": Case(bernoulli, logistic, B, D),
    "binomial groups": Case(
        lambda v, d: jnp.sum(d["k"] * v["a"][d["g"]] - d["n"] * jnp.log1p(jnp.exp(v["a"][d["g"]]))),
        lambda v, d: d["k"] * v["a"][d["g"]] - d["n"] * log1p_exp(v["a"][d["g"]]),
        {"a": (4,)},
        D,
    ),
    "margins": Case(
        lambda v, d: jnp.sum(d["n"] * -jnp.log1p(jnp.exp(-predictor(v, d)))),
        lambda v, d: -d["n"] * log1p_exp(-predictor(v, d)),
        B,
        D,
    ),
    "a safe choice": Case(
        lambda v, d: jnp.sum(jnp.where(d["m"], jnp.exp(jnp.where(d["m"], predictor(v, d), 0.0)), 0.0)),
        lambda v, d: np.where(d["m"], exp(predictor(v, d)), mpmath.mpf(0)),
        B,
        D,
    ),
    "counts of any sign": Case(
        lambda v, d: jnp.sum(d["w"] * v["a"][d["g"]] + d["y"] * jnp.exp(v["a"][d["g"]])),
        lambda v, d: d["w"] * v["a"][d["g"]] + d["y"] * exp(v["a"][d["g"]]),
        {"a": (4,)},
        D,
    ),
    "several curves": Case(
        lambda v, d: (
            jnp.sum(d["w"] * v["a"][d["g"]] - jnp.exp(v["a"][d["g"]]) - 2 * jnp.exp(-v["a"][d["g"]]))
            - jnp.sum(d["u"] * jax.nn.softplus(v["a"][d["g"]]) + jax.nn.softplus(-v["a"][d["g"]]))
        ),
        lambda v, d: (
            d["w"] * v["a"][d["g"]]
            - exp(v["a"][d["g"]])
            - 2 * exp(-v["a"][d["g"]])
            - d["u"] * log1p_exp(v["a"][d["g"]])
            - log1p_exp(-v["a"][d["g"]])
        ),
        {"a": (4,)},
        D,
    ),
    "tempered": Case(
        lambda v, d: jnp.sum(d["k"] * v["a"][d["g"]] - jnp.exp(v["a"][d["g"]])) / v["s"],
        lambda v, d: (d["k"] * v["a"][d["g"]] - exp(v["a"][d["g"]])) / v["s"],
        {"a": (4,), "s": ()},
        D,
    ),
}
BY_GROUP = {name: case for name, case in CURVES.items() if case.shapes.get("a")}


@dtypes
def test_curves(dtype: type) -> None:
    said = check(
        CURVES if dtype is np.float64 else BY_GROUP | {"poisson": CURVES["poisson"]}, dtype, dtype is np.float64
    )
    if not said:
        return
    assert {name: a.cells < N for name, a in said.items()} == {name: name in BY_GROUP for name in CURVES}
    assert all(a.rows == N and a.notation for a in said.values())
    fits = {name: a.notation[:3] for name, a in said.items()}
    assert fits["tempered"] == fits["exposure"] == fits["survival"] == "Σa·"
    assert {fits[name] for name in LOGISTIC} == {"Σs·"}


# -- where digits get lost -----------------------------------------------------------------------------------

E = RNG.normal(size=N)
FAR = {"y": 1e8 + 0.01 * E, "w": RNG.normal(size=N), "g": G}
YEARS = np.column_stack([np.ones(N), 2010 + 10 * np.linspace(-1, 1, N)])
SIGNS = np.where(np.arange(N) % 2, 1.0, -1.0)
NASTY = {
    "far squares": Case(
        lambda v, d: -0.5 * jnp.sum(((d["y"] - v["a"]) / v["s"]) ** 2),
        lambda v, d: -(((d["y"] - v["a"]) / v["s"]) ** 2) / 2,
        {"a": (), "s": ()},
        FAR,
        {"a": 1e8 + 0.003, "s": 0.01},
    ),
    "far groups": Case(
        lambda v, d: jnp.sum(d["w"] * (d["y"] - v["a"][d["g"]])),
        lambda v, d: d["w"] * (d["y"] - v["a"][d["g"]]),
        {"a": (4,)},
        FAR,
        {"a": 1e8 + np.array([0.001, 5.0, -0.02, 0.03])},
    ),
    "years": Case(
        lambda v, d: jnp.sum(d["w"] * (d["y"] - d["X"] @ v["b"])),
        lambda v, d: d["w"] * (d["y"] - d["X"] @ v["b"]),
        {"b": (2,)},
        {"X": YEARS, "y": 3 + 2 * (YEARS[:, 1] - 2010) + E, "w": FAR["w"]},
        {"b": np.array([3.1 - 4020, 2.0])},
    ),
    **{
        f"logits {name}": Case(
            lambda v, d, f=f: jnp.sum(d["bit"] * (d["x"] * v["b"]) - f(d["x"] * v["b"])),
            lambda v, d: d["bit"] * d["x"] * v["b"] - log1p_exp(d["x"] * v["b"]),
            {"b": ()},
            {"x": SIGNS, "bit": D["bit"]},
            {"b": 800.0},
        )
        for name, f in LOGISTIC.items()
    },
    "logits of groups": Case(
        lambda v, d: jnp.sum(d["bit"] * v["a"][d["g"]] - jnp.log1p(jnp.exp(v["a"][d["g"]]))),
        lambda v, d: d["bit"] * v["a"][d["g"]] - log1p_exp(v["a"][d["g"]]),
        {"a": (4,)},
        D,
        {"a": np.array([800.0, 1e5, -800.0, -3.0])},
    ),
    "log rates": Case(
        lambda v, d: jnp.sum(d["k"] * (v["b"] * d["x"]) - jnp.exp(v["b"] * d["x"])),
        lambda v, d: d["k"] * v["b"] * d["x"] - exp(v["b"] * d["x"]),
        {"b": ()},
        {"x": SIGNS, "k": D["k"]},
        {"b": 700.0},
    ),
    "offsets beyond exp": Case(
        lambda v, d: jnp.sum(d["k"] * (v["b"] + d["x"]) - jnp.exp(v["b"] + d["x"])),
        lambda v, d: d["k"] * (v["b"] + d["x"]) - exp(v["b"] + d["x"]),
        {"b": ()},
        {"x": 1000.0 + E, "k": D["k"]},
        {"b": -1000.0},
    ),
    "an empty group far away": Case(
        lambda v, d: jnp.sum(d["k"] * v["a"][d["g"]] - jnp.exp(v["a"][d["g"]])),
        lambda v, d: d["k"] * v["a"][d["g"]] - exp(v["a"][d["g"]]),
        {"a": (4,)},
        D,
        {"a": np.array([0.1, 1e4, 0.3, -0.4])},
    ),
    "no exposure": Case(
        lambda v, d: jnp.sum(d["k"] * v["a"][d["g"]] - (d["g"] > 0) * jnp.exp(v["a"][d["g"]])),
        lambda v, d: d["k"] * v["a"][d["g"]] - np.where(d["g"] > 0, exp(v["a"][d["g"]]), 0),
        {"a": (4,)},
        D,
        {"a": np.array([1e4, 0.2, 0.3, -0.4])},
    ),
    "no counts": Case(
        lambda v, d: jnp.sum(0 * d["k"] * v["a"][d["h"]] - jnp.exp(v["a"][d["h"]])),
        lambda v, d: -exp(v["a"][d["h"]]),
        {"a": (3,)},
        D,
    ),
    "counts beyond the trials": Case(
        lambda v, d: jnp.sum(d["k"] * v["a"][d["h"]] - jax.nn.softplus(v["a"][d["h"]])),
        lambda v, d: d["k"] * v["a"][d["h"]] - log1p_exp(v["a"][d["h"]]),
        {"a": (3,)},
        D,
        {"a": np.array([30.0, -40.0, 0.5])},
    ),
}
F64_ONLY = ("far squares", "far groups", "years", "log rates", "offsets beyond exp")


@dtypes
def test_where_digits_get_lost(dtype: type) -> None:
    cases = NASTY if dtype is np.float64 else {k: c for k, c in NASTY.items() if k not in F64_ONLY}
    alone = [{name: case} for name, case in cases.items() if not name.startswith("logits")]
    for some in ({k: c for k, c in cases.items() if k.startswith("logits")}, *alone):  # as large as each other
        check(some, dtype)


@pytest.mark.parametrize("n", [1, 2])
def test_few_rows(n: int) -> None:
    few = {k: x[:n] for k, x in D.items()}
    cases = {**LINEAR, **CURVES, **SQUARES}

    def code(v, d):
        return sum(
            cases[name].code(v, d) for name in ("poisson", "times exposure", "softplus", "power", "offset", "groups")
        )

    agrees(Case(code, code, S | {"a": (4,), "c": ()}, few), few)


def agrees(case: Any, data: Values, rtol: float = 1e-12) -> Any:
    """Value and gradient are those without the pass; says what became of it."""
    with jax.enable_x64(True):
        fused, plain = (plait.compile(case, d=data, passes=passes) for passes in ({}, {"fuse": False}))
        z = np.random.default_rng(4).normal(size=plain.dim) * 0.3
        (value, gradient), (wanted, slope) = jax.jit(lambda z: [c.log_density_and_grad(z) for c in (fused, plain)])(z)
        np.testing.assert_allclose(value, wanted, rtol=rtol, atol=rtol * N)
        np.testing.assert_allclose(gradient, slope, rtol=rtol, atol=rtol * N)
        said = said_of(fused)
        return said if len(said) > 1 else said.get("lik")


# -- what rows count -----------------------------------------------------------------------------------------


def in_a_plate(case, v, d):
    with plait.plate("rows", N):
        plait.factor("lik", case.code(v, d))


def masked(case, v, d):
    with plait.plate("rows", N), plait.handlers.mask(mask=d["m"]):
        plait.factor("lik", case.code(v, d))


def scaled(case, v, d):
    with plait.handlers.scale(scale=d["u"]), plait.plate("rows", N):
        plait.factor("lik", case.code(v, d))


def scaled_sum(case, v, d):
    with plait.handlers.scale(scale=2.5):
        plait.factor("lik", jnp.sum(case.code(v, d)))


def subsampled(case, v, d):
    with plait.plate("rows", 10 * N, subsample_size=N):
        plait.factor("lik", case.code(v, d))


def chosen(case, v, d):
    plait.factor("lik", jnp.sum(jnp.where(d["m"], case.code(v, d), 0.0)))


HOLES = D | {k: np.where(D["m"], D[k], -99.0) for k in ("y", "w", "k", "bit")}  # a NaN is refused, whatever masks it
ROWS = {
    "square": (lambda v, d: -0.5 * (residual(v, d) / v["s"]) ** 2, halves, S),
    "linear": (lambda v, d: d["w"] * v["a"][d["g"]], LINEAR["gather"].terms, {"a": (4,)}),
    "poisson": (lambda v, d: d["k"] * predictor(v, d) - jnp.exp(predictor(v, d)), poisson, B),
    "groups": (
        lambda v, d: d["bit"] * v["a"][d["g"]] - jnp.log1p(jnp.exp(v["a"][d["g"]])),
        lambda v, d: d["bit"] * v["a"][d["g"]] - log1p_exp(v["a"][d["g"]]),
        {"a": (4,)},
    ),
}
WAYS = {
    in_a_plate: (D, lambda d: 1),
    masked: (HOLES, lambda d: np.where(D["m"], 1, 0)),
    scaled: (D, lambda d: d["u"]),
    scaled_sum: (D, lambda d: mpmath.mpf(2.5)),
    subsampled: (D, lambda d: 10),
    chosen: (HOLES, lambda d: np.where(D["m"], 1, 0)),
}


@dtypes
def test_what_rows_count(dtype: type) -> None:
    cases = {
        f"{name} {way.__name__}": Case(
            code, lambda v, d, terms=terms, weight=weight: terms(v, d) * weight(d), shapes, data, {}, way
        )
        for name, (code, terms, shapes) in ROWS.items()
        for way, (data, weight) in WAYS.items()
        if way is masked or (dtype is np.float64 and name in ("square", "groups"))
    }
    check(cases, dtype)


def test_a_scalar_counts_once_for_each_row() -> None:
    def in_rows(case, v, d):
        with plait.plate("rows", 7):
            plait.factor("lik", case.code(v, d))

    case = SQUARES["with its logarithm"]
    check({"in rows": Case(case.code, lambda v, d: 7 * case.terms(v, d), S, D, {}, in_rows)}, np.float64)


# -- near misses ---------------------------------------------------------------------------------------------

CANONICAL = f"its {N} rows are not sums of squares, multiples, exp or log(1 + exp) of an affine expression"


@jax.custom_jvp
def product(columns, b):
    return b @ columns


product.defjvps(lambda t, _, columns, b: b @ t, lambda t, _, columns, b: t @ columns)

NEAR = {
    "the user's own function of two": (lambda v, d: jnp.sum(product(d["X"].T, v["b"])), B, CANONICAL),
    "a third power": (lambda v, d: jnp.sum(residual(v, d) ** 3), B, CANONICAL),
    "an absolute value": (lambda v, d: -jnp.sum(jnp.abs(residual(v, d))), B, CANONICAL),
    "two residuals": (lambda v, d: jnp.dot(residual(v, d), residual(v, d) + v["a"]), B | {"a": ()}, None),
    "a scale in each row": (
        lambda v, d: -jnp.sum((residual(v, d) / v["s"][d["g"]]) ** 2),
        B | {"s": (4,)},
        CANONICAL,
    ),
    "weights of both signs": (
        lambda v, d: jnp.sum(d["w"] * residual(v, d) ** 2),
        B,
        "the weights of its squares are not all finite and of one sign",
    ),
    "a mean for each row": (
        lambda v, d: -jnp.sum((d["y"] - jnp.exp(v["c"])) ** 2),
        {"c": (N,)},
        CANONICAL,
    ),
    "the square of a sum": (lambda v, d: -(jnp.sum(d["w"] * jnp.sin(predictor(v, d))) ** 2), B, None),
    "log1p of twice exp": (lambda v, d: -jnp.sum(jnp.log1p(2 * jnp.exp(predictor(v, d)))), B, CANONICAL),
    "logaddexp of 1": (lambda v, d: -jnp.sum(jnp.logaddexp(1.0, predictor(v, d))), B, CANONICAL),
    "a choice on the way": (
        lambda v, d: jnp.sum(jnp.exp(jnp.where(d["m"], predictor(v, d), 0.5))),
        B,
        "what its rows count is no number, or not all of them are on one curve",
    ),
    "exp2": (lambda v, d: -jnp.sum(jnp.exp2(predictor(v, d))), B, CANONICAL),
    "a clipped sigmoid": (
        lambda v, d: jnp.sum(jnp.log(jnp.clip(jax.nn.sigmoid(predictor(v, d)), 0.2, 0.8))),
        B,
        CANONICAL,
    ),
    "a mask by latents": (
        lambda v, d: jnp.sum(jnp.where(predictor(v, d) > 0, jnp.exp(predictor(v, d)), 0.0)),
        B,
        CANONICAL,
    ),
    "an exponential of a square": (lambda v, d: -jnp.exp(-0.5 * jnp.sum(residual(v, d) ** 2) / N), B, None),
    "a factor of rows": (lambda v, d: jnp.sum(v["c"] * jnp.exp(predictor(v, d))), B | {"c": (N,)}, CANONICAL),
}


@pytest.mark.parametrize("name", NEAR)
def test_near_misses(name: str) -> None:
    code, shapes, reason = NEAR[name]
    found = agrees(Case(code, code, shapes, D), D)
    assert isinstance(found, Refused)
    assert found.reason == (reason or "no sum over its rows can be computed before they are known")


def test_what_matches_nothing_stays_beside_the_rest() -> None:
    def code(v, d):
        rest = jnp.sum(jnp.sin(predictor(v, d))) + jnp.sum(d["w"] * residual(v, d) ** 2) - 3 * jnp.log(v["s"])
        return -0.5 * jnp.sum((residual(v, d) / v["s"]) ** 2) + rest

    found = agrees(Case(code, code, S, D), D)
    assert isinstance(found, Fusion)
    assert found.notation.endswith("the rest as written")
    assert (found.rows, found.cells) == (N, 1 + 2 * N)


def loops(d):
    b = plait.sample("b", dist.Normal(jnp.zeros(3), 1))
    a = plait.sample("a", dist.Normal(jnp.zeros(4), 1))
    for i in range(3):
        s = plait.sample(f"s_{i}", dist.HalfNormal(1))
        e = plait.sample(f"e_{i}", dist.Normal(0, 1))
        plait.factor(f"squares_{i}", -0.5 * jnp.sum((d["Y"][i] - d["X"] @ b) ** 2))
        plait.factor(f"scaled_{i}", -0.5 * jnp.sum(((d["Y"][i] - d["X"] @ b) / s) ** 2) - N * jnp.log(s))
        plait.factor(f"groups_{i}", jnp.sum(d["K"][i] * a[d["g"]] - jnp.exp(a[d["g"]])))
        plait.factor(f"slopes_{i}", jnp.sum(d["K"][i] * (e * d["w"]) - jax.nn.softplus(e * d["w"])))
        plait.factor(f"dots_{i}", jnp.dot(d["K"][i], d["X"] @ b) * (i + 1.0))
        plait.factor(f"chosen_{i}", jnp.sum(jnp.where(d["m"], d["Y"][i] * a[d["g"]], jnp.exp(a[d["g"]]))))


def test_loops() -> None:
    """What was a loop is a table now, whose axes of 1 meet whole ones."""
    found = agrees(loops, D | {"Y": np.stack([D["y"], D["w"], D["u"]]), "K": np.stack([D["k"], D["n"], D["bit"]])})
    fused = [name for name, a in found.items() if isinstance(a, Fusion)]
    assert fused == ["squares_*", "groups_*", "slopes_*", "chosen_*"]


def test_latents_alone_are_not_spoken_of() -> None:
    def code(v, d):
        return -(v["b"][0] ** 4) - jnp.sum(v["b"] ** 2)

    with jax.enable_x64(True):
        compiled = plait.compile(Case(code, code, B, D), d=D)
        assert answers(dict(compiled.history)["unconstrain"], compiled._data) == []
        assert "keeps its rows" not in str(compiled.explain())


# -- second derivatives, other data, what is shown -----------------------------------------------------------


def test_hessians() -> None:
    cases = {**SQUARES, **LINEAR, **CURVES}
    names = ("with its logarithm", "times exposure", "log p and log 1 - p")
    with jax.enable_x64(True):
        both = {n: [plait.compile(cases[n], d=D, passes=p) for p in ({}, {"fuse": False})] for n in names}
        z = {n: np.random.default_rng(6).normal(size=c[0].dim) * 0.4 for n, c in both.items()}
        found = jax.jit(lambda z: {n: [jax.hessian(c.log_density)(z[n]) for c in cs] for n, cs in both.items()})(z)
    for mine, theirs in found.values():
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


OTHER = {
    "the same cells": ({"y": D["y"][::-1], "k": D["k"][::-1] + 1, "w": 2 * D["w"]}, True),
    "weights of another sign": ({"u": -D["u"]}, False),
    "weights of both signs": ({"u": D["w"]}, False),
}


@pytest.mark.parametrize("name", OTHER)
def test_bind(name: str) -> None:
    new, same_program = OTHER[name]

    def code(v, d):
        eta = v["a"][d["g"]]
        return jnp.sum(d["k"] * eta - jnp.exp(eta) + d["w"] * eta) - 0.5 * jnp.sum(d["u"] * residual(v, d) ** 2)

    case = Case(code, code, B | {"a": (4,)}, D)
    with jax.enable_x64(True):
        fused = plait.compile(case, d=D)
        bound = fused.bind(d=D | new)
        assert (bound._program is fused._program) == same_program
        wanted = plait.compile(case, d=D | new, passes={"fuse": False})
        z = np.linspace(-1, 1, wanted.dim)
        np.testing.assert_allclose(bound.log_density(z), wanted.log_density(z), rtol=1e-12)
        assert not np.isclose(bound.log_density(z), fused.log_density(z))


@pytest.mark.parametrize("name", ["power", "offset", "poisson", "gather"])
def test_data_that_are_not_finite_stay_as_written(name: str) -> None:
    case = {**SQUARES, **LINEAR, **CURVES}[name]
    wrong = D | {k: np.where(np.arange(N) == 3, np.inf, D[k]) for k in ("y", "w", "k")}
    with jax.enable_x64(True):
        fused = plait.compile(case, d=D)
        try:
            found = [c.log_density(np.zeros(fused.dim)) for c in (fused.bind(d=wrong), plait.compile(case, d=wrong))]
        except plait.DataError as error:
            assert "infinity" in str(error)  # noqa: PT017
        else:
            assert not np.any(np.isfinite(found))


def test_traced_data() -> None:
    with jax.enable_x64(True):
        case = SQUARES["power"]
        fused, z = plait.compile(case, d=D), np.linspace(-1, 1, 4)
        many = np.stack([D["y"], D["y"][::-1]])
        found = jax.jit(jax.vmap(lambda y: fused.bind(d=D | {"y": y}).log_density(z)))(many)
        wanted = [plait.compile(case, d=D | {"y": y}).log_density(z) for y in many]
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_terms_stay_as_written() -> None:
    with jax.enable_x64(True):
        fused = plait.compile(Case(ROWS["square"][0], halves, S, D, {}, in_a_plate), d=D)
        v = {"b": np.array([0.3, 0.2, -0.4]), "s": np.array(1.3)}
        np.testing.assert_allclose(fused.log_prob_terms(v)["lik"], -0.5 * (residual(v, D) / 1.3) ** 2, rtol=1e-12)


def explained(s, y, X, k, g):
    b = plait.sample("b", dist.Normal(jnp.zeros(3), 1))
    a = plait.sample("a", dist.Normal(jnp.zeros(4), 1))
    plait.factor("squares", -0.5 * jnp.sum(((y - X @ b) / s) ** 2))
    plait.factor("dots", jnp.sum(k * a[g]))
    plait.factor("counts", jnp.sum(k * a[g] - jnp.exp(a[g])))
    plait.factor("third", jnp.sum((y - X @ b) ** 3))


def test_explain() -> None:
    with jax.enable_x64(True):
        compiled = plait.compile(explained, np.array(1.5), D["y"], D["X"], D["k"], D["g"])
        text = str(compiled.explain())
        terms = {t.name: t for t in compiled.explain().terms}
    assert "squares ⇒ −½ (‖R(φ − φ̂)‖² + RSS),  φ = b" in text
    assert "dots ⇒ Zᵀw·φ,  φ = a" in text
    assert "counts ⇒ Σa·η − Σb·exp η + const,  η = a[g],  distinct rows counted" in text
    assert f"third keeps its rows: {CANONICAL}" in " ".join(text.split())
    assert [terms[n].rows for n in ("squares", "dots", "counts")] == [(N, 1), (N, 1), (N, 8)]
    assert all(terms[n].flops < terms[n].written_flops for n in ("squares", "dots"))
