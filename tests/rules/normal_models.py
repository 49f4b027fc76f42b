"""Models of normal rows, written once for plait and for exact arithmetic, and the truth about them in 50 digits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

import plait
from plait.compiler.passes.fuse import answers
from plait.compiler.rules.term import Fusion
from plait.ir.fused import Fused

mpmath.mp.dps = 50
Values = dict[str, np.ndarray]
Code = Callable[[Any, Any, Any], Any]  # of (numpy or jax.numpy, latents, data): arithmetic and indexing alone

exact = np.vectorize(lambda x: mpmath.mpf(float(x)), otypes=[object])
log = np.vectorize(mpmath.log, otypes=[object])


@dataclass(frozen=True)
class Rows:
    """One model: flat priors, so that the log joint is the likelihood alone.

    Attributes:
        mean: of each row, without the distribution.
        scale: of each row.
        shapes: of the latents; those whose name begins with `s` are positive.
        data: by name; `y` is observed, `mask` and `weight` count where they are there.
        log: LogNormal instead of Normal.
        wrap: what the distribution becomes, such as `.to_event(1)`.
        full: the size of which the rows are a subsample.
    """

    mean: Code
    scale: Code
    shapes: dict[str, tuple[int, ...]]
    data: Values
    log: bool = False
    wrap: Callable[[Any], Any] | None = None
    full: int | None = None
    label: str = ""

    def __call__(self, d: Values) -> None:
        """The model."""
        v = flat_priors(self.shapes)
        cls = dist.LogNormal if self.log else dist.Normal
        observe(cls(self.mean(jnp, v, d), self.scale(jnp, v, d)), d, self.wrap, self.full)

    def draw(self, rng: np.random.Generator, dtype: type = np.float64) -> Values:
        """Latents of ordinary size."""
        return draw(self.shapes, rng, dtype)

    def terms(self, v: dict[str, np.ndarray], data: Values) -> np.ndarray:
        """The log probability of each row, exactly, of latents that are exact already."""
        d = {k: exact(np.nan_to_num(x)) if x.dtype.kind == "f" and x.size else x for k, x in data.items()}
        keep = np.isfinite(data["y"].astype(float))
        y = np.where(keep, d["y"], mpmath.mpf(1))
        jacobian = log(y) if self.log else 0
        y = log(y) if self.log else y
        mean, scale = (np.broadcast_to(np.asarray(f(np, v, d), object), y.shape) for f in (self.mean, self.scale))
        terms = -(((y - mean) / scale) ** 2) / 2 - log(scale) - mpmath.log(2 * mpmath.pi) / 2 - jacobian
        return counted(terms, d, self.full)


def flat_priors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Latents without a density; those whose name begins with `s` are positive."""
    v = {}
    for name, shape in shapes.items():
        support = constraints.positive if name.startswith("s") else constraints.real
        v[name] = plait.sample(name, dist.ImproperUniform(support, (), shape))
    return v


def draw(shapes: dict[str, tuple[int, ...]], rng: np.random.Generator, dtype: type) -> Values:
    """Latents of ordinary size."""
    v = {name: np.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}
    return {name: np.exp(0.5 * x).astype(dtype) if name.startswith("s") else x for name, x in v.items()}


def observe(rows: Any, d: Values, wrap: Callable[[Any], Any] | None, full: int | None) -> None:
    """The site y of some rows."""
    if wrap is not None:
        plait.sample("y", wrap(rows), obs=d["y"])
        return
    if full is None:
        plates = plait.plate_stack("rows", d["y"].shape)
    else:
        plates = plait.plate("rows", full, subsample_size=len(d["y"]))
    mask = plait.handlers.mask(mask=d["mask"]) if "mask" in d else plait.handlers.scale(scale=d.get("weight", 1.0))
    with plates, mask:
        plait.sample("y", rows, obs=d["y"])


def counted(terms: np.ndarray, d: Values, full: int | None) -> np.ndarray:
    """The terms of rows as `observe` counts them, exactly."""
    weight = d.get("weight", 1) * (1 if full is None else mpmath.mpf(full) / len(terms))
    return np.where(np.broadcast_to(d.get("mask", True), terms.shape), terms * weight, mpmath.mpf(0)).ravel()


@dataclass(frozen=True)
class Error:
    """Of the value and of a derivative, relative to the sum of the rows' magnitudes."""

    value: float
    derivative: float


@dataclass
class Pair:
    """A model with its rows fused and without, in one function."""

    rows: Any
    dtype: type
    data: Values = field(init=False)

    def __post_init__(self) -> None:
        self.data = {k: x.astype(self.dtype) if x.dtype.kind == "f" else x for k, x in self.rows.data.items()}
        model = plait.handlers.seed(self.rows, 0)
        self.fused = plait.compile(model, d=self.data)
        self.plain = plait.compile(model, d=self.data, passes={"fuse": False})
        both = [jax.value_and_grad(c.log_joint) for c in (self.fused, self.plain)]
        self.call = jax.jit(lambda v: tuple(f(v) for f in both))

    @property
    def answer(self) -> Any:
        """What became of the likelihood."""
        return answer(self.fused)

    def errors(self, v: Values, rng: np.random.Generator) -> tuple[Error, Error]:
        """Of the fused density and of the other one; the derivative is along a random direction."""
        direction = {k: rng.normal(size=np.shape(x)) * np.where(x, np.abs(x), 1) for k, x in v.items()}
        here = {k: exact(x) for k, x in v.items()}
        step = mpmath.mpf(10) ** -15
        ahead, behind = (
            self.rows.terms({k: x + s * step * exact(direction[k]) for k, x in here.items()}, self.data)
            for s in (1, -1)
        )
        terms, slopes = self.rows.terms(here, self.data), (ahead - behind) / (2 * step)
        found = []
        for value, gradient in self.call(v):
            slope = sum(
                (mpmath.mpf(float(g)) * mpmath.mpf(d))
                for k in v
                for g, d in zip(np.ravel(gradient[k]), direction[k].ravel(), strict=True)
            )
            found.append(Error(_relative(mpmath.mpf(float(value)), terms), _relative(slope, slopes)))
        return found[0], found[1]


def _relative(got: Any, terms: np.ndarray) -> float:
    total, size = mpmath.fsum(terms), mpmath.fsum(abs(t) for t in terms)
    return float(abs(got - total) / size) if size else float(abs(got))


def answer(compiled: plait.CompiledModel) -> Any:
    """What became of site y."""
    (found,) = [a.answer for a in answers(dict(compiled.history)["unconstrain"], compiled._data) if a.site == "y"]
    fused = [op for op in dict(compiled.history)["fuse"].ops(Fused) if op.site == "y"]
    assert len(fused) == isinstance(found, Fusion)
    return found


# -- random models within the pattern -------------------------------------------------------------------


def random_rows(seed: int, n: int = 240) -> Rows:
    """A sum of two or three pieces of a linear predictor, with one of the scales."""
    rng = np.random.default_rng(seed)
    shapes, d, mean, labels = random_predictor(rng, n, PIECES)
    scale_name = str(rng.choice(list(SCALES)))
    more, scale = SCALES[scale_name]
    shapes |= more
    d["s"] = rng.uniform(0.5, 2, n)
    weighting = str(rng.choice(["once", "once", "weight", "mask", "full", "event"]))
    full = None
    is_log = bool(rng.integers(4) == 0)
    rows = Rows(mean, scale, shapes, d)
    v = rows.draw(rng)
    y = np.asarray(np.broadcast_to(mean(np, v, d), (n,)) + scale(np, v, d) * rng.normal(size=n))
    d["y"] = np.exp(np.clip(y, -20, 20)) if is_log else y
    match weighting:
        case "weight":
            d["weight"] = rng.uniform(0.1, 3, n)
        case "mask":
            d["mask"] = rng.uniform(size=n) < 0.8
            d["y"] = np.where(d["mask"], d["y"], np.nan)
        case "full":
            full = 10 * n
    wrap = None
    if weighting == "event":
        wrap = (
            (lambda rows: rows.to_event(1)) if np.shape(mean(np, v, d)) else (lambda rows: rows.expand([n]).to_event(1))
        )
    label = "-".join([*labels, scale_name, weighting, *(["log"] if is_log else [])])
    return Rows(mean, scale, shapes, d, is_log, wrap, full, label)


def random_predictor(
    rng: np.random.Generator, n: int, pieces: Any
) -> tuple[dict[str, tuple[int, ...]], Values, Code, list[str]]:
    """A sum of one, two or three of the pieces: shapes of latents, data, code, and names."""
    d: Values = {"x": rng.normal(size=n), "g": _groups(rng, n, 5), "h": _groups(rng, n, 3)}
    shapes: dict[str, tuple[int, ...]] = {}
    chosen, labels = [], []
    for name in rng.choice(list(pieces), size=rng.integers(1, 4), replace=False):
        more, data, code = pieces[name](rng, n)
        shapes |= more
        d |= data
        chosen.append((code, bool(rng.integers(2))))
        labels.append(str(name))

    def mean(xp: Any, v: Any, d: Any) -> Any:
        total = 0.0
        for code, plus in chosen:
            total = total + code(xp, v, d) if plus else total - code(xp, v, d)
        return total

    return shapes, d, mean, labels


def _groups(rng: np.random.Generator, n: int, levels: int) -> np.ndarray:
    """One of the levels has no rows."""
    return rng.choice(np.delete(np.arange(levels), rng.integers(levels)), size=n)


Piece = tuple[dict[str, tuple[int, ...]], Values, Code]


def _intercept(rng: np.random.Generator, n: int) -> Piece:
    return {"a": ()}, {}, lambda xp, v, d: v["a"]


def _design(rng: np.random.Generator, n: int) -> Piece:
    p = int(rng.integers(1, 7))
    return {"b": (p,)}, {"X": rng.normal(size=(n, p))}, lambda xp, v, d: d["X"] @ v["b"]


def _elementwise(rng: np.random.Generator, n: int) -> Piece:
    return {"c": ()}, {}, lambda xp, v, d: v["c"] * d["x"]


def _varying_intercepts(rng: np.random.Generator, n: int) -> Piece:
    return {"t": (5,)}, {}, lambda xp, v, d: v["t"][d["g"]]


def _varying_slopes(rng: np.random.Generator, n: int) -> Piece:
    return {"u": (5,)}, {"x2": rng.normal(size=n)}, lambda xp, v, d: v["u"][d["g"]] * d["x2"]


def _second_factor(rng: np.random.Generator, n: int) -> Piece:
    return {"w": (3,)}, {}, lambda xp, v, d: v["w"][d["h"]]


def _pairs(rng: np.random.Generator, n: int) -> Piece:
    return {"q": (5, 2)}, {}, lambda xp, v, d: v["q"][d["g"], 0] + v["q"][d["g"], 1] * d["x"]


def _rows_of_a_matrix(rng: np.random.Generator, n: int) -> Piece:
    return {"r": (3, 2)}, {"Z": rng.normal(size=(n, 2))}, lambda xp, v, d: (v["r"][d["h"]] * d["Z"]).sum(-1)


def _two_factors(rng: np.random.Generator, n: int) -> Piece:
    return {"k": (5, 3)}, {}, lambda xp, v, d: v["k"][d["g"], d["h"]]


def _interaction(rng: np.random.Generator, n: int) -> Piece:
    code: Code = lambda xp, v, d: v["e"][0] * d["x"] * d["z"] + v["e"][1] * d["z"]  # noqa: E731
    return {"e": (2,)}, {"z": rng.integers(0, 2, n) * 1.0}, code


def _offset(rng: np.random.Generator, n: int) -> Piece:
    return {"f": ()}, {"o": rng.normal(size=n)}, lambda xp, v, d: d["o"] - v["f"] / d["o"].shape[0]


def _ratio(rng: np.random.Generator, n: int) -> Piece:
    return {"i": ()}, {"size": rng.uniform(0.5, 2, n)}, lambda xp, v, d: -(v["i"] + d["x"]) / d["size"]


def _either(rng: np.random.Generator, n: int) -> Piece:
    code: Code = lambda xp, v, d: xp.where(d["on"], v["l"][0] * d["x"], v["l"][1] - 2.0)  # noqa: E731
    return {"l": (2,)}, {"on": rng.uniform(size=n) < 0.5}, code


def _centred(rng: np.random.Generator, n: int) -> Piece:
    return {"m": (4,)}, {}, lambda xp, v, d: (v["m"][::-1] - v["m"][0])[d["h"] + 1]


PIECES: dict[str, Callable[[np.random.Generator, int], Piece]] = {
    f.__name__.strip("_"): f
    for f in (
        _intercept, _design, _elementwise, _varying_intercepts, _varying_slopes, _second_factor, _pairs,
        _rows_of_a_matrix, _two_factors, _interaction, _offset, _ratio, _either, _centred,
    )
}  # fmt: skip

SCALES: dict[str, tuple[dict[str, tuple[int, ...]], Code]] = {
    "common scale": ({"s": ()}, lambda xp, v, d: v["s"]),
    "known scale": ({}, lambda xp, v, d: d["s"]),
    "known times common": ({"s": ()}, lambda xp, v, d: v["s"] * d["s"]),
    "scale by group": ({"s_g": (5,)}, lambda xp, v, d: v["s_g"][d["g"]]),
    "scale by group times known": ({"s_g": (5,)}, lambda xp, v, d: v["s_g"][d["g"]] / d["s"]),
}


def points(rows: Rows, rng: np.random.Generator, dtype: type = np.float64) -> Iterator[Values]:
    """Near the data and far from them."""
    for far in (0.0, 1.0, 1e3, 1e6):
        v = rows.draw(rng, dtype)
        yield {k: x if k.startswith("s") else (far * x).astype(dtype) for k, x in v.items()}
