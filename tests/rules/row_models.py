"""Models of rows with a predictor, written once for plait and for exact arithmetic: densities by their definitions."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist

from tests.rules.normal_models import (
    PIECES,
    Code,
    Piece,
    Values,
    counted,
    draw,
    exact,
    flat_priors,
    log,
    observe,
    random_predictor,
)

exp = np.vectorize(mpmath.exp, otypes=[object])
log_gamma = np.vectorize(lambda x: mpmath.loggamma(x).real, otypes=[object])
log_sigmoid = np.vectorize(lambda x: -mpmath.log1p(mpmath.exp(-x)), otypes=[object])
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Family:
    """A distribution of rows with a predictor η.

    Attributes:
        make: of (η, latents, data), as users write it.
        density: the logarithm, exactly, of (y, η, latents, data).
        draw: observations, of (generator, η, latents, data).
        shapes: of its own latents.
        far: how many times as large as usual the latents may be.
        in_cells: fuses where rows repeat, and where the predictor is not linear, which another rule takes.
    """

    make: Callable[[Any, Any, Any], Any]
    density: Callable[[Any, Any, Any, Any], Any]
    draw: Callable[[np.random.Generator, Any, Any, Any], np.ndarray]
    shapes: Shapes = field(default_factory=dict)
    far: float = 1e3
    in_cells: bool = False


def _choose(n: Any, y: Any) -> Any:
    return log_gamma(n + 1) - log_gamma(y + 1) - log_gamma(n - y + 1)


def _poisson(y: Any, rate: Any) -> Any:
    return y * log(rate) - rate - log_gamma(y + 1)


def _gamma(y: Any, a: Any, b: Any) -> Any:
    return a * log(b) + (a - 1) * log(y) - b * y - log_gamma(a)


def _negative_binomial(y: Any, r: Any, logits: Any) -> Any:
    return _choose(y + r - 1, y) + r * log_sigmoid(-logits) + y * log_sigmoid(logits)


def _normal(y: Any, mean: Any, scale: Any) -> Any:
    return -(((y - mean) / scale) ** 2) / 2 - log(scale) - mpmath.log(2 * mpmath.pi) / 2


def _student(y: Any, mean: Any, scale: Any, df: int) -> Any:
    const = (
        mpmath.loggamma(mpmath.mpf(df + 1) / 2) - mpmath.loggamma(mpmath.mpf(df) / 2) - mpmath.log(df * mpmath.pi) / 2
    )
    return const - log(scale) - log(1 + ((y - mean) / scale) ** 2 / df) * (df + 1) / 2


def _cutpoints(xp: Any, v: Any) -> Any:
    return xp.stack([v["c"], v["c"] + v["s_c"][0], v["c"] + v["s_c"][0] + v["s_c"][1]])


def _ordered(y: Any, eta: Any, v: Any, d: Any) -> Any:
    c = [-mpmath.inf, *_cutpoints(np, v), mpmath.inf]
    sigma = np.vectorize(lambda x: 1 / (1 + mpmath.exp(-x)), otypes=[object])
    above, below = (np.array([c[int(k) + i] for k in y], object) for i in (1, 0))
    with mpmath.workdps(900):  # the difference of two numbers near 1
        return log(
            np.where(below > -eta, sigma(eta - below) - sigma(eta - above), sigma(above - eta) - sigma(below - eta))
        )


def _clipped(eta: Any) -> np.ndarray:
    return np.clip(np.asarray(eta, float), -3, 3)


def _rate(eta: Any) -> np.ndarray:
    return np.exp(_clipped(eta))


def _sigma(eta: Any) -> np.ndarray:
    return 1 / (1 + np.exp(-_clipped(eta)))


FAMILIES: dict[str, Family] = {
    "bernoulli": Family(
        lambda eta, v, d: dist.Bernoulli(logits=eta),
        lambda y, eta, v, d: log_sigmoid(np.where(y > 0, eta, -eta)),
        lambda rng, eta, v, d: rng.binomial(1, _sigma(eta)),
    ),
    "binomial": Family(
        lambda eta, v, d: dist.Binomial(d["n"], logits=eta),
        lambda y, eta, v, d: _choose(d["n"], y) + y * log_sigmoid(eta) + (d["n"] - y) * log_sigmoid(-eta),
        lambda rng, eta, v, d: rng.binomial(d["n"], _sigma(eta)),
    ),
    "geometric": Family(
        lambda eta, v, d: dist.Geometric(logits=eta),
        lambda y, eta, v, d: log_sigmoid(eta) + y * log_sigmoid(-eta),
        lambda rng, eta, v, d: rng.geometric(_sigma(eta)) - 1,
    ),
    "negative binomial": Family(
        lambda eta, v, d: dist.NegativeBinomialLogits(d["r"], eta),
        lambda y, eta, v, d: _negative_binomial(y, d["r"], eta),
        lambda rng, eta, v, d: rng.negative_binomial(d["r"], 1 - _sigma(eta)),
    ),
    "poisson": Family(
        lambda eta, v, d: dist.Poisson(jnp.exp(eta)),
        lambda y, eta, v, d: _poisson(y, exp(eta)),
        lambda rng, eta, v, d: rng.poisson(_rate(eta)),
        far=8,
    ),
    "poisson with exposures": Family(
        lambda eta, v, d: dist.Poisson(d["t"] * jnp.exp(eta)),
        lambda y, eta, v, d: _poisson(y, d["t"] * exp(eta)),
        lambda rng, eta, v, d: rng.poisson(d["t"] * _rate(eta)),
        far=8,
    ),
    "exponential": Family(
        lambda eta, v, d: dist.Exponential(d["t"] / (v["s_e"] * jnp.exp(eta))),
        lambda y, eta, v, d: log(d["t"] / v["s_e"]) - eta - y * d["t"] / v["s_e"] * exp(-eta),
        lambda rng, eta, v, d: rng.exponential(_rate(eta) / d["t"]),
        {"s_e": ()},
        far=8,
    ),
    "gamma": Family(
        lambda eta, v, d: dist.Gamma(v["s_a"], v["s_a"] / (jnp.exp(eta) * d["t"])),
        lambda y, eta, v, d: _gamma(y, v["s_a"], v["s_a"] / d["t"] * exp(-eta)),
        lambda rng, eta, v, d: rng.gamma(2.0, _rate(eta) * d["t"]) + 1e-3,
        {"s_a": ()},
        far=8,
    ),
    "negative binomial 2": Family(
        lambda eta, v, d: dist.NegativeBinomial2(jnp.exp(eta), v["s_r"]),
        lambda y, eta, v, d: _negative_binomial(y, v["s_r"], eta - log(v["s_r"])),
        lambda rng, eta, v, d: rng.poisson(_rate(eta) * rng.gamma(2.0, 0.5, np.shape(eta))),
        {"s_r": ()},
        far=8,
    ),
    "negative binomial 2, known": Family(
        lambda eta, v, d: dist.NegativeBinomial2(jnp.exp(eta), d["r"]),
        lambda y, eta, v, d: _negative_binomial(y, d["r"], eta - log(d["r"])),
        lambda rng, eta, v, d: rng.poisson(_rate(eta)),
        far=8,
    ),
    "ordered logistic": Family(
        lambda eta, v, d: dist.OrderedLogistic(eta, _cutpoints(jnp, v)),
        _ordered,
        lambda rng, eta, v, d: rng.integers(0, 4, np.shape(eta)),
        {"c": (), "s_c": (2,)},
        far=1,
    ),
    "normal": Family(
        lambda eta, v, d: dist.Normal(eta, v["s"]),
        lambda y, eta, v, d: _normal(y, eta, v["s"]),
        lambda rng, eta, v, d: rng.normal(eta),
        {"s": ()},
        in_cells=True,
    ),
    "log-normal": Family(
        lambda eta, v, d: dist.LogNormal(eta, v["s"]),
        lambda y, eta, v, d: _normal(log(y), eta, v["s"]) - log(y),
        lambda rng, eta, v, d: np.exp(rng.normal(_clipped(eta))),
        {"s": ()},
        in_cells=True,
    ),
    "student": Family(
        lambda eta, v, d: dist.StudentT(4.0, eta, v["s"]),
        lambda y, eta, v, d: _student(y, eta, v["s"], 4),
        lambda rng, eta, v, d: np.tile(rng.standard_t(4, len(eta) // 4), 4),
        {"s": ()},
        in_cells=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Glm:
    """One model with flat priors; `Pair` of `normal_models` compares it with the truth.

    Attributes:
        family: of the rows.
        eta: their predictor.
        shapes: of the predictor's latents and the family's.
        data: by name; `y` is observed, `mask` and `weight` count where they are there.
        wrap: what the distribution becomes, such as `.to_event(1)`.
        full: the size of which the rows are a subsample.
    """

    family: Family
    eta: Code
    shapes: Shapes
    data: Values
    wrap: Callable[[Any], Any] | None = None
    full: int | None = None
    label: str = ""

    def __call__(self, d: Values) -> None:
        """The model."""
        v = flat_priors(self.shapes)
        observe(self.family.make(self.eta(jnp, v, d), v, d), d, self.wrap, self.full)

    def draw(self, rng: np.random.Generator, dtype: type = np.float64) -> Values:
        """Latents of ordinary size."""
        return draw(self.shapes, rng, dtype)

    def terms(self, v: dict[str, np.ndarray], data: Values) -> np.ndarray:
        """The log probability of each row, exactly; a masked one may hold anything."""
        keep = np.broadcast_to(data.get("mask", True), data["y"].shape)
        given = {k: np.where(keep, x, 1) if k in ("y", "n") else x for k, x in data.items()}
        d = {k: x if k in ("g", "h") or x.dtype == bool or not x.size else exact(x) for k, x in given.items()}
        eta = np.broadcast_to(np.asarray(self.eta(np, v, d), object), data["y"].shape)
        return counted(self.family.density(d["y"], eta, v, d), d, self.full)


def glm(family: Family, eta: Code, shapes: Shapes, data: Values, y: np.ndarray | None = None, **how: Any) -> Glm:
    """A model with data that were drawn from it, or with `y`."""
    rng = np.random.default_rng(7)
    shapes = shapes | family.shapes
    n = len(next(iter(data.values()))) if y is None else len(y)
    d = {"n": rng.integers(0, 9, n), "r": rng.integers(1, 9, n) / 2, "t": rng.uniform(0.5, 2, n), **data}
    v = draw(shapes, rng, np.float64)
    predicted = np.broadcast_to(eta(np, v, d), (n,))
    return Glm(family, eta, shapes, d | {"y": family.draw(rng, predicted, v, d) if y is None else y}, **how)


# -- random models within the pattern -------------------------------------------------------------------


def _response(rng: np.random.Generator, n: int) -> Piece:
    code: Code = lambda xp, v, d: v["item"][d["g"], 0] * (v["who"][d["h"]] - v["item"][d["g"], 1])  # noqa: E731
    return {"item": (5, 2), "who": (3,)}, {}, code


def _product(rng: np.random.Generator, n: int) -> Piece:
    return {"j": (5,)}, {}, lambda xp, v, d: xp.where(d["g"] > 2, v["j"][d["g"]] * v["j"][d["h"]], d["x"])


def _summed(rng: np.random.Generator, n: int) -> Piece:
    return {"both": (3, 2)}, {}, lambda xp, v, d: v["both"][d["h"]].sum(-1) * d["x"]


NONLINEAR = {"response": _response, "product": _product}
ALL = PIECES | NONLINEAR | {"summed": _summed}


def random_glm(name: str, seed: int, n: int = 60) -> Glm:
    """A sum of pieces of a predictor, counted in one of several ways."""
    family, rng = FAMILIES[name], np.random.default_rng(seed)
    shapes, d, eta, labels = random_predictor(rng, n, ALL)
    if family.in_cells and not set(labels) & set(NONLINEAR):
        linear, (more, data, code) = eta, _response(rng, n)
        shapes, d, labels = shapes | more, d | data, [*labels, "response"]
        eta = lambda xp, v, d: linear(xp, v, d) + code(xp, v, d)  # noqa: E731
    if family.in_cells or rng.integers(2):  # rows that are there more than once
        d = {k: np.concatenate([x[: n // 4]] * 4) for k, x in d.items()}
    weighting = str(rng.choice(["once", "once", "weight", "mask", "full", "event"]))
    model = glm(family, eta, shapes, d, label="-".join([*labels, weighting]))
    data = model.data
    match weighting:
        case "weight":
            return replace(model, data=data | {"weight": rng.uniform(0.1, 3, n)})
        case "mask":
            mask = rng.uniform(size=n) < 0.8
            wrong = np.nan if data["y"].dtype.kind == "f" else -1
            return replace(model, data=data | {"mask": mask, "y": np.where(mask, data["y"], wrong)})
        case "full":
            return replace(model, full=10 * n)
        case "event":
            return replace(model, wrap=lambda rows: rows.expand([n]).to_event(1))
    return model
