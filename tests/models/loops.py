"""Models whose sites a Python loop made, each beside a twin that says the same with plates.

`LOOP_MODELS` run as they stand under NumPyro and plait. `PLATE_LOOPS` are written over a loop that the caller chooses:
`for i in plait.plate(name, n)`, which NumPyro lacks, or `for i in range(n)`, which means the same everywhere.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.infer.reparam import LocScaleReparam

from .model import Array, Model, ModelFn

Values = Mapping[str, Any]
Loop = Callable[[str, int], Iterable[Any]]  # the name of a plate and its size


@dataclass(frozen=True)
class LoopModel:
    """A loop model and its plate twin.

    Attributes:
        model: with one site for each step of a loop.
        twin_fn: the same density with plates; its sites have names of their own.
        to_twin: the twin's latent values, of the loop model's.
        chain: whether a step reads an earlier one.
    """

    name: str
    model: Model
    twin_fn: ModelFn
    to_twin: Callable[[Values], Values]
    chain: bool = False

    @property
    def twin(self) -> Model:
        """The twin as a model of the same data."""
        return Model(f"{self.name}_twin", self.twin_fn, self.model.data)


@dataclass(frozen=True)
class PlateLoop:
    """A model ``fn(ppl, loop, ...)`` that runs its steps over ``loop(name, n)``."""

    name: str
    fn: Callable[..., Any]
    data: Callable[[], dict[str, np.ndarray]]
    ranged: Model = field(init=False)  # over range: what every way of running the model must say

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranged", self.over(lambda name, n: range(n)))

    def over(self, loop: Loop) -> Model:
        """The model over a loop of the caller's."""
        return Model(self.name, partial(self.fn, loop=loop), self.data)


def stack(**families: str) -> Callable[[Values], Values]:
    """Joins sites by pattern, ``theta="theta_*"``, in the order of the numbers in their names.

    The axes of ``x="x_*_*"`` are (first number, second number) where every pair occurs, else one axis of pairs.
    """
    return partial(_stacked, families)


def _stacked(families: Mapping[str, str], values: Values) -> Values:
    out = dict(values)
    for joined, pattern in families.items():
        digits = re.compile(r"(\d+)".join(map(re.escape, pattern.split("*"))))
        found = sorted((tuple(map(int, m.groups())), name) for name in values if (m := digits.fullmatch(name)))
        members = jnp.stack([jnp.asarray(out.pop(name)) for _, name in found])
        axes = [sorted(set(numbers)) for numbers in zip(*(index for index, _ in found), strict=True)]
        grid = tuple(map(len, axes)) if len(found) == np.prod([len(a) for a in axes]) else (len(found),)
        out[joined] = jnp.reshape(members, grid + members.shape[1:])
    return out


def path(ppl: ModuleType, name: str, *shape: int) -> Array:
    """Latent values without a prior: their chain is what the twin observes of them."""
    return ppl.sample(name, dist.Normal(0, 1).expand(shape).mask(False))


# -- independent steps ------------------------------------------------------------------------------------


def schools(ppl: ModuleType, sigma: Array, y: Array) -> None:
    """theta_i ~ N(mu, tau), y_i ~ N(theta_i, sigma_i)."""
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfNormal(5))
    for i in range(8):
        theta = ppl.sample(f"theta_{i}", dist.Normal(mu, tau))
        ppl.sample(f"y_{i}", dist.Normal(theta, sigma[i]), obs=y[i])


def schools_twin(ppl: ModuleType, sigma: Array, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfNormal(5))
    with ppl.plate("schools", 8):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def schools_data() -> dict[str, np.ndarray]:
    return {
        "sigma": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
        "y": np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    }


def comprehension(ppl: ModuleType, group: Array, y: Array) -> None:
    """alpha = stack of alpha_g, read by rows through an index in the data."""
    mu = ppl.sample("mu", dist.Normal(0, 2))
    alpha = jnp.stack([ppl.sample(f"alpha_{g}", dist.Normal(mu, 0.7)) for g in range(5)])
    with ppl.plate("rows", y.shape[0]):
        ppl.sample("y", dist.Normal(alpha[group], 1), obs=y)


def comprehension_twin(ppl: ModuleType, group: Array, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("groups", 5):
        alpha = ppl.sample("alpha", dist.Normal(mu, 0.7))
    with ppl.plate("rows", y.shape[0]):
        ppl.sample("y", dist.Normal(alpha[group], 1), obs=y)


def comprehension_data() -> dict[str, np.ndarray]:
    return {"group": np.array([0, 3, 3, 1, 4, 2, 0]), "y": np.random.default_rng(20).normal(size=7)}


def recursion(ppl: ModuleType, y: Array) -> None:
    """The loop is a function that calls itself."""
    mu = ppl.sample("mu", dist.Normal(0, 2))

    def rest(i: int) -> None:
        if i < len(y):
            theta = ppl.sample(f"theta_{i}", dist.Normal(mu, 1))
            ppl.sample(f"y_{i}", dist.Normal(theta, 0.5), obs=y[i])
            rest(i + 1)

    rest(0)


def recursion_twin(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("steps", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, 1))
        ppl.sample("y", dist.Normal(theta, 0.5), obs=y)


COVARIATES = ("age", "income", "urban", "height", "score")


def dictionary(ppl: ModuleType, x: Array, y: Array) -> None:
    """beta_age, beta_income, …: names without a number."""
    beta = {name: ppl.sample(f"beta_{name}", dist.Normal(0, 2)) for name in COVARIATES}
    eta = sum(beta[name] * x[:, k] for k, name in enumerate(COVARIATES))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(eta, 1), obs=y)


def dictionary_twin(ppl: ModuleType, x: Array, y: Array) -> None:
    with ppl.plate("covariates", 5):
        beta = ppl.sample("beta", dist.Normal(0, 2))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(x @ beta, 1), obs=y)


def dictionary_values(values: Values) -> Values:
    return {"beta": jnp.stack([values[f"beta_{name}"] for name in COVARIATES])}


LOCS = [0.0, -1.0, 2.5, 0.3, 0.3, 7.0]
SCALES = [0.5, 1.0, 2.0, 0.25, 3.0, 1.0]


def constants(ppl: ModuleType, y: Array) -> None:
    """theta_i ~ N(loc_i, scale_i) with numbers from lists, y_i ~ N(theta_i, 1 / (1 + i))."""
    for i in range(6):
        theta = ppl.sample(f"theta_{i}", dist.Normal(LOCS[i], SCALES[i]))
        ppl.sample(f"y_{i}", dist.Normal(theta, 1 / (1 + i)), obs=y[i])


def constants_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("steps", 6):
        theta = ppl.sample("theta", dist.Normal(jnp.array(LOCS), jnp.array(SCALES)))
        ppl.sample("y", dist.Normal(theta, 1 / (1 + jnp.arange(6))), obs=y[:6])


def rows(ppl: ModuleType, X: Array, y: Array) -> None:
    """y_i ~ Bernoulli(logit = X_i . beta + a_i): a row of a matrix in each step."""
    beta = ppl.sample("beta", dist.Normal(0, 1).expand([3]).to_event(1))
    for i in range(X.shape[0]):
        a = ppl.sample(f"a_{i}", dist.Normal(0, 0.5))
        ppl.sample(f"y_{i}", dist.Bernoulli(logits=X[i] @ beta + a), obs=y[i])


def rows_twin(ppl: ModuleType, X: Array, y: Array) -> None:
    beta = ppl.sample("beta", dist.Normal(0, 1).expand([3]).to_event(1))
    with ppl.plate("rows", X.shape[0]):
        a = ppl.sample("a", dist.Normal(0, 0.5))
        ppl.sample("y", dist.Bernoulli(logits=X @ beta + a), obs=y)


def rows_data() -> dict[str, np.ndarray]:
    return {"X": np.random.default_rng(21).normal(size=(6, 3)), "y": np.array([0, 1, 1, 0, 1, 0])}


TRIALS = [3, 10, 1, 7, 5]


def trials(ppl: ModuleType, exposure: Array, events: Array, wins: Array) -> None:
    """Poisson with exposures from the data and Binomial with totals from a list."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    for i in range(5):
        eta = ppl.sample(f"eta_{i}", dist.Normal(mu, 0.5))
        ppl.sample(f"events_{i}", dist.Poisson(exposure[i] * jnp.exp(eta)), obs=events[i])
        ppl.sample(f"wins_{i}", dist.Binomial(TRIALS[i], logits=eta), obs=wins[i])


def trials_twin(ppl: ModuleType, exposure: Array, events: Array, wins: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("steps", 5):
        eta = ppl.sample("eta", dist.Normal(mu, 0.5))
        ppl.sample("events", dist.Poisson(exposure * jnp.exp(eta)), obs=events)
        ppl.sample("wins", dist.Binomial(jnp.array(TRIALS), logits=eta), obs=wins)


def trials_data() -> dict[str, np.ndarray]:
    exposure = np.array([0.5, 2.0, 1.0, 3.5, 1.2])
    return {"exposure": exposure, "events": np.array([0, 3, 1, 4, 0]), "wins": np.array([1, 8, 0, 3, 5])}


def three_loops(ppl: ModuleType, x: Array, y: Array) -> None:
    """Three loops over one index: a_i, then b_i ~ N(a_i, 1), then y_i."""
    n = len(y)
    a = [ppl.sample(f"a_{i}", dist.Normal(0, 1)) for i in range(n)]
    b = [ppl.sample(f"b_{i}", dist.Normal(a[i], 1)) for i in range(n)]
    for i in range(n):
        ppl.sample(f"y_{i}", dist.Normal(a[i] + b[i] * x[i], 0.5), obs=y[i])


def three_loops_twin(ppl: ModuleType, x: Array, y: Array) -> None:
    with ppl.plate("steps", len(y)):
        a = ppl.sample("a", dist.Normal(0, 1))
        b = ppl.sample("b", dist.Normal(a, 1))
        ppl.sample("y", dist.Normal(a + b * x, 0.5), obs=y)


def interleaved(ppl: ModuleType, y: Array) -> None:
    """Two latents and an observation in each step: a_i, b_i, y_i ~ N(a_i, b_i)."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    for i in range(7):
        a = ppl.sample(f"a_{i}", dist.Normal(mu, 1))
        b = ppl.sample(f"b_{i}", dist.LogNormal(0, 0.5))
        ppl.sample(f"y_{i}", dist.Normal(a, b), obs=y[i])


def interleaved_twin(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("steps", 7):
        a = ppl.sample("a", dist.Normal(mu, 1))
        b = ppl.sample("b", dist.LogNormal(0, 0.5))
        ppl.sample("y", dist.Normal(a, b), obs=y)


def grid(ppl: ModuleType, y: Array) -> None:
    """A loop in a loop: x_{i}_{j} ~ N(a_i + b_j, 1), y_{i}_{j} ~ N(x_{i}_{j}, 1/2)."""
    b = [ppl.sample(f"b_{j}", dist.Normal(0, 1)) for j in range(4)]
    for i in range(3):
        a = ppl.sample(f"a_{i}", dist.Normal(0, 1))
        for j in range(4):
            x = ppl.sample(f"x_{i}_{j}", dist.Normal(a + b[j], 1))
            ppl.sample(f"y_{i}_{j}", dist.Normal(x, 0.5), obs=y[i, j])


def grid_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("columns", 4):
        b = ppl.sample("b", dist.Normal(0, 1))
    with ppl.plate("rows", 3, dim=-2):
        a = ppl.sample("a", dist.Normal(0, 1).expand([3, 1]))
        with ppl.plate("columns_again", 4, dim=-1):
            x = ppl.sample("x", dist.Normal(a + b, 1))
            ppl.sample("y", dist.Normal(x, 0.5), obs=y)


def grid_values(values: Values) -> Values:
    stacked = dict(stack(a="a_*", b="b_*", x="x_*_*")(values))
    return stacked | {"a": stacked["a"][:, None]}


def square(ppl: ModuleType, y: Array) -> None:
    """Loops of equal sizes, crossed and read both ways round: no shape tells i from j."""
    out = [ppl.sample(f"out_{i}", dist.Normal(0, 1)) for i in range(5)]
    into = [ppl.sample(f"into_{j}", dist.Normal(1, 2)) for j in range(5)]
    for i in range(5):
        for j in range(5):
            ppl.sample(f"y_{i}_{j}", dist.Normal(out[i] - 2 * into[j], 1), obs=y[i, j])
            ppl.sample(f"back_{i}_{j}", dist.Normal(out[j], 1 + 0.1 * i), obs=y[j, i])


def square_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("senders", 5):
        out = ppl.sample("out", dist.Normal(0, 1))
    with ppl.plate("receivers", 5):
        into = ppl.sample("into", dist.Normal(1, 2))
    with ppl.plate("i", 5, dim=-2), ppl.plate("j", 5, dim=-1):
        ppl.sample("y", dist.Normal(out[:, None] - 2 * into, 1), obs=y)
        ppl.sample("back", dist.Normal(out, 1 + 0.1 * jnp.arange(5)[:, None]), obs=y.T)


RAGGED = (3, 1, 4, 2)
STARTS = (0, 3, 4, 8)
OWNER = np.repeat(np.arange(4), RAGGED)


def ragged_loops(ppl: ModuleType, y: Array) -> None:
    """Inner loops of several lengths: x_{g}_{j} ~ N(theta_g, 1) for j < n_g."""
    for g in range(4):
        theta = ppl.sample(f"theta_{g}", dist.Normal(0, 2))
        for j in range(RAGGED[g]):
            x = ppl.sample(f"x_{g}_{j}", dist.Normal(theta, 1))
            ppl.sample(f"y_{g}_{j}", dist.Normal(x, 0.5), obs=y[STARTS[g] + j])


def ragged_loops_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("groups", 4):
        theta = ppl.sample("theta", dist.Normal(0, 2))
    with ppl.plate("rows", 10):
        x = ppl.sample("x", dist.Normal(theta[OWNER], 1))
        ppl.sample("y", dist.Normal(x, 0.5), obs=y)


def ragged_arrays(ppl: ModuleType, y: Array) -> None:
    """y_g is a slice of the data, each of its own length, in a plate of its own."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    for g, (start, n) in enumerate(zip(STARTS, RAGGED, strict=True)):
        theta = ppl.sample(f"theta_{g}", dist.Normal(mu, 1))
        with ppl.plate(f"rows_{g}", n):
            ppl.sample(f"y_{g}", dist.Normal(theta, 0.8), obs=y[start : start + n])


def ragged_events(ppl: ModuleType, y: Array) -> None:
    """The same with event axes instead of plates."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    for g, (start, n) in enumerate(zip(STARTS, RAGGED, strict=True)):
        theta = ppl.sample(f"theta_{g}", dist.Normal(mu, 1))
        ppl.sample(f"y_{g}", dist.Normal(theta, 0.8).expand([n]).to_event(1), obs=y[start : start + n])


def ragged_arrays_twin(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("groups", 4):
        theta = ppl.sample("theta", dist.Normal(mu, 1))
    with ppl.plate("rows", 10):
        ppl.sample("y", dist.Normal(theta[OWNER], 0.8), obs=y)


def accumulator(ppl: ModuleType, x: Array, y: Array) -> None:
    """eta grows by one covariate a step; one likelihood after the loop."""
    eta = jnp.zeros(x.shape[0])
    for k in range(5):
        beta = ppl.sample(f"beta_{k}", dist.Normal(0, 1 + k))
        eta = eta + x[:, k] * beta
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(eta, 1), obs=y)


def accumulator_twin(ppl: ModuleType, x: Array, y: Array) -> None:
    with ppl.plate("covariates", 5):
        beta = ppl.sample("beta", dist.Normal(0, 1 + jnp.arange(5)))
    with ppl.plate("rows", x.shape[0]):
        ppl.sample("y", dist.Normal(x @ beta, 1), obs=y)


def covariates_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(22)
    return {"x": rng.normal(size=(6, 5)), "y": rng.normal(size=6)}


GROUP = (0, 2, 2, 1, 0, 3, 1)


def gather(ppl: ModuleType, y: Array) -> None:
    """y_j ~ N(thetas[group_j], 1): a Python list of sites, read through a static index."""
    thetas = [ppl.sample(f"theta_{g}", dist.Normal(0, 2)) for g in range(4)]
    for j in range(7):
        ppl.sample(f"y_{j}", dist.Normal(thetas[GROUP[j]], 1), obs=y[j])


def gather_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("groups", 4):
        theta = ppl.sample("theta", dist.Normal(0, 2))
    with ppl.plate("rows", 7):
        ppl.sample("y", dist.Normal(theta[np.array(GROUP)], 1), obs=y)


def plate_inside(ppl: ModuleType, y: Array) -> None:
    """A `with` plate of its own name in each step, with a latent in it."""
    for i in range(4):
        theta = ppl.sample(f"theta_{i}", dist.Normal(0, 1))
        with ppl.plate(f"rows_{i}", 3):
            x = ppl.sample(f"x_{i}", dist.Normal(theta, 1))
            ppl.sample(f"y_{i}", dist.Normal(x, 0.5), obs=y[i])


def plate_inside_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("steps", 4, dim=-2):
        theta = ppl.sample("theta", dist.Normal(0, 1))
        with ppl.plate("rows", 3, dim=-1):
            x = ppl.sample("x", dist.Normal(theta, 1))
            ppl.sample("y", dist.Normal(x, 0.5), obs=y)


def plate_inside_values(values: Values) -> Values:
    stacked = dict(stack(theta="theta_*", x="x_*")(values))
    return stacked | {"theta": stacked["theta"][:, None]}


def plate_around(ppl: ModuleType, y: Array) -> None:
    """The loop stands in a plate: theta_i has the plate's shape."""
    with ppl.plate("units", 3):
        level = ppl.sample("level", dist.Normal(0, 1))
        for i in range(4):
            theta = ppl.sample(f"theta_{i}", dist.Normal(level, 1 + 0.5 * i))
            ppl.sample(f"y_{i}", dist.Normal(theta, 0.5), obs=y[i])


def plate_around_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("units", 3, dim=-1):
        level = ppl.sample("level", dist.Normal(0, 1))
        with ppl.plate("steps", 4, dim=-2):
            theta = ppl.sample("theta", dist.Normal(level, 1 + 0.5 * jnp.arange(4)[:, None]))
            ppl.sample("y", dist.Normal(theta, 0.5), obs=y)


def panel_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(23).normal(size=(4, 3))}


def helper(ppl: ModuleType, y: Array) -> None:
    """Sites in a helper function, which the model also calls once outside the loop."""

    def effect(name: str, loc: Any) -> Any:
        raw = ppl.sample(f"{name}_raw", dist.Normal(0, 1))
        return jax.nn.softplus(loc + 0.5 * raw)

    base = effect("base", 1.0)
    for i in range(6):
        ppl.sample(f"y_{i}", dist.Normal(base, effect(f"sd_{i}", base)), obs=y[i])


def helper_twin(ppl: ModuleType, y: Array) -> None:
    base = jax.nn.softplus(1.0 + 0.5 * ppl.sample("base_raw", dist.Normal(0, 1)))
    with ppl.plate("steps", 6):
        raw = ppl.sample("sd_raw", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(base, jax.nn.softplus(base + 0.5 * raw)), obs=y[:6])


def scoped(ppl: ModuleType, y: Array) -> None:
    """Names from `handlers.scope`: g0/theta, g1/theta, …"""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    for g in range(5):
        with ppl.handlers.scope(prefix=f"g{g}"):
            theta = ppl.sample("theta", dist.Normal(mu, 1))
            ppl.sample("y", dist.Normal(theta, 0.5), obs=y[g])


def scoped_twin(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("groups", 5):
        theta = ppl.sample("theta", dist.Normal(mu, 1))
        ppl.sample("y", dist.Normal(theta, 0.5), obs=y[:5])


def padded_names(ppl: ModuleType, y: Array) -> None:
    """w01_raw … w11_raw: numbers that start at 1, with zeros, inside the name; latents that nothing reads."""
    for i in range(1, 12):
        ppl.sample(f"w{i:02d}_raw", dist.Normal(i, 1))
    shared = ppl.sample("shared", dist.Normal(0, 1))
    for i in range(1, 8):
        ppl.sample(f"y{i}", dist.Normal(shared, i), obs=y[i - 1])


def padded_names_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("raws", 11):
        ppl.sample("w", dist.Normal(jnp.arange(1, 12), 1))
    shared = ppl.sample("shared", dist.Normal(0, 1))
    with ppl.plate("steps", 7):
        ppl.sample("y", dist.Normal(shared, jnp.arange(1, 8)), obs=y)


def neighbours(ppl: ModuleType, y: Array) -> None:
    """Data read at i, i + 1, the mirrored index and i // 2; latents at i + 1, one more of them than steps."""
    theta = [ppl.sample(f"theta_{i}", dist.Normal(0, 1)) for i in range(6)]
    for i in range(5):
        mean = theta[i] - theta[i + 1] + 0.3 * y[6 - i] * y[i // 2]
        ppl.sample(f"y_{i}", dist.Normal(mean, 1), obs=y[i + 1] - y[i])


def neighbours_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("points", 6):
        theta = ppl.sample("theta", dist.Normal(0, 1))
    with ppl.plate("steps", 5):
        mean = theta[:-1] - theta[1:] + 0.3 * y[::-1][:5] * y[np.arange(5) // 2]
        ppl.sample("y", dist.Normal(mean, 1), obs=y[1:6] - y[:5])


def total(ppl: ModuleType, y: Array) -> None:
    """What reads every member: the sum of the thetas is observed, and the largest one pulled to 0."""
    theta = [ppl.sample(f"theta_{i}", dist.Normal(i - 2.0, 1)) for i in range(5)]
    ppl.sample("total", dist.Normal(sum(theta), 0.5), obs=y[0])
    ppl.factor("largest", -(jnp.max(jnp.stack(theta)) ** 2))


def total_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("steps", 5):
        theta = ppl.sample("theta", dist.Normal(jnp.arange(5) - 2.0, 1))
    ppl.sample("total", dist.Normal(jnp.sum(theta), 0.5), obs=y[0])
    ppl.factor("largest", -(jnp.max(theta) ** 2))


# -- look-alikes that differ ------------------------------------------------------------------------------


def other_family(ppl: ModuleType, y: Array) -> None:
    """theta_3 has heavier tails than its neighbours."""
    for i in range(7):
        prior = dist.StudentT(4.0, 0.0, 2.0) if i == 3 else dist.Normal(0.0, 2.0)
        theta = ppl.sample(f"theta_{i}", prior)
        ppl.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])


def other_family_twin(ppl: ModuleType, y: Array) -> None:
    usual = np.arange(7) != 3
    with ppl.plate("steps", 7):
        with ppl.handlers.mask(mask=usual):
            theta = ppl.sample("theta", dist.Normal(0.0, 2.0))
        ppl.sample("y", dist.Normal(theta, 1), obs=y)
    ppl.sample("heavy", dist.StudentT(4.0, 0.0, 2.0), obs=theta[3])


def extra_code(ppl: ModuleType, y: Array) -> None:
    """y_2 has mean exp(theta_2), its neighbours theta_i."""
    for i in range(6):
        theta = ppl.sample(f"theta_{i}", dist.Normal(0, 1))
        ppl.sample(f"y_{i}", dist.Normal(jnp.exp(theta) if i == 2 else theta, 1), obs=y[i])


def extra_code_twin(ppl: ModuleType, y: Array) -> None:
    with ppl.plate("steps", 6):
        theta = ppl.sample("theta", dist.Normal(0, 1))
        mean = jnp.where(np.arange(6) == 2, jnp.exp(theta), theta)
        ppl.sample("y", dist.Normal(mean, 1), obs=y[:6])


def missing(ppl: ModuleType, y: Array) -> None:
    """y_1 and y_4 are latent, the others observed."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    for i in range(7):
        ppl.sample(f"y_{i}", dist.Normal(mu, 1 + 0.1 * i), obs=None if i in (1, 4) else y[i])


def missing_twin(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 1))
    seen, unseen = np.array([0, 2, 3, 5, 6]), np.array([1, 4])
    with ppl.plate("missing", 2):
        ppl.sample("y", dist.Normal(mu, 1 + 0.1 * unseen))
    with ppl.plate("seen", 5):
        ppl.sample("y_seen", dist.Normal(mu, 1 + 0.1 * seen), obs=y[seen])


def conditioned(ppl: ModuleType, y: Array) -> None:
    """`handlers.condition` observes theta_2, `handlers.substitute` fixes theta_4."""

    def model() -> None:
        for i in range(6):
            theta = ppl.sample(f"theta_{i}", dist.Normal(0, 2))
            ppl.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])

    ppl.handlers.condition(model, data={"theta_2": 0.7, "theta_4": -1.2})()


def conditioned_twin(ppl: ModuleType, y: Array) -> None:
    free = np.array([0, 1, 3, 5])
    with ppl.plate("steps", 4):
        theta = ppl.sample("theta", dist.Normal(0, 2))
        ppl.sample("y", dist.Normal(theta, 1), obs=y[free])
    with ppl.plate("fixed", 2):
        ppl.sample("theta_fixed", dist.Normal(0, 2), obs=np.array([0.7, -1.2]))
        ppl.sample("y_fixed", dist.Normal(np.array([0.7, -1.2]), 1), obs=y[np.array([2, 4])])


# -- supports, event shapes, weights ----------------------------------------------------------------------


def supports(ppl: ModuleType, y: Array) -> None:
    """Positive, bounded and truncated latents; the bounds are different in every step."""
    for i in range(5):
        sd = ppl.sample(f"sd_{i}", dist.HalfNormal(1 + i))
        rate = ppl.sample(f"rate_{i}", dist.Gamma(2.0 + i, 1.5))
        u = ppl.sample(f"u_{i}", dist.Uniform(-1.0 - i, 1.0 + 0.5 * i))
        low = ppl.sample(f"low_{i}", dist.TruncatedNormal(0.0, 1.0, low=0.2 * i))
        ppl.sample(f"y_{i}", dist.Normal(u + low, sd + rate), obs=y[i])


def supports_twin(ppl: ModuleType, y: Array) -> None:
    i = jnp.arange(5)
    with ppl.plate("steps", 5):
        sd = ppl.sample("sd", dist.HalfNormal(1 + i))
        rate = ppl.sample("rate", dist.Gamma(2.0 + i, 1.5))
        u = ppl.sample("u", dist.Uniform(-1.0 - i, 1.0 + 0.5 * i))
        low = ppl.sample("low", dist.TruncatedNormal(0.0, 1.0, low=0.2 * i))
        ppl.sample("y", dist.Normal(u + low, sd + rate), obs=y[:5])


def simplexes(ppl: ModuleType, counts: Array) -> None:
    """p_g ~ Dirichlet(1 + w), counts_g ~ Multinomial(10, p_g): a vector event in each step."""
    w = ppl.sample("w", dist.Gamma(2.0, 1.0).expand([3]).to_event(1))
    for g in range(5):
        p = ppl.sample(f"p_{g}", dist.Dirichlet(1 + w))
        ppl.sample(f"counts_{g}", dist.Multinomial(10, probs=p), obs=counts[g])


def simplexes_twin(ppl: ModuleType, counts: Array) -> None:
    w = ppl.sample("w", dist.Gamma(2.0, 1.0).expand([3]).to_event(1))
    with ppl.plate("groups", 5):
        p = ppl.sample("p", dist.Dirichlet(1 + w))
        ppl.sample("counts", dist.Multinomial(10, probs=p), obs=counts)


def simplexes_data() -> dict[str, np.ndarray]:
    return {"counts": np.array([[2, 3, 5], [0, 0, 10], [4, 4, 2], [9, 1, 0], [3, 3, 4]])}


def multivariate(ppl: ModuleType, X: Array, y: Array) -> None:
    """L_g ~ LKJ, b_g ~ MVN(m, diag(tau_g) L_g), y_g ~ N(X_g b_g, 1) with four rows each."""
    m = ppl.sample("m", dist.Normal(0, 1).expand([2]).to_event(1))
    for g in range(3):
        corr = ppl.sample(f"L_{g}", dist.LKJCholesky(2, concentration=1.5 + g))
        tau = ppl.sample(f"tau_{g}", dist.HalfNormal(1).expand([2]).to_event(1))
        b = ppl.sample(f"b_{g}", dist.MultivariateNormal(m, scale_tril=tau[:, None] * corr))
        ppl.sample(f"y_{g}", dist.Normal(X[g] @ b, 1).to_event(1), obs=y[g])


def multivariate_twin(ppl: ModuleType, X: Array, y: Array) -> None:
    m = ppl.sample("m", dist.Normal(0, 1).expand([2]).to_event(1))
    with ppl.plate("groups", 3):
        corr = ppl.sample("L", dist.LKJCholesky(2, concentration=1.5 + jnp.arange(3)))
        tau = ppl.sample("tau", dist.HalfNormal(1).expand([2]).to_event(1))
        b = ppl.sample("b", dist.MultivariateNormal(m, scale_tril=tau[..., None] * corr))
        ppl.sample("y", dist.Normal(jnp.einsum("grk,gk->gr", X, b), 1).to_event(1), obs=y)


def multivariate_data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(24)
    return {"X": rng.normal(size=(3, 4, 2)), "y": rng.normal(size=(3, 4))}


WEIGHTS = [1.0, 0.5, 2.0, 1.0, 3.5, 0.1]
KEPT = [True, True, False, True, False, True]


def weighted(ppl: ModuleType, keep: Array, y: Array) -> None:
    """A scale and a mask of its own for each step, around a positive latent and its observation."""
    for i in range(6):
        with ppl.handlers.scale(scale=WEIGHTS[i]):
            with ppl.handlers.mask(mask=KEPT[i]):
                sd = ppl.sample(f"sd_{i}", dist.HalfNormal(1))
            with ppl.handlers.mask(mask=keep[i]):
                ppl.sample(f"y_{i}", dist.Normal(0, sd), obs=y[i])


def weighted_twin(ppl: ModuleType, keep: Array, y: Array) -> None:
    with ppl.plate("steps", 6), ppl.handlers.scale(scale=jnp.array(WEIGHTS)):
        with ppl.handlers.mask(mask=np.array(KEPT)):
            sd = ppl.sample("sd", dist.HalfNormal(1))
        with ppl.handlers.mask(mask=keep):
            ppl.sample("y", dist.Normal(0, sd), obs=y)


def weighted_data() -> dict[str, np.ndarray]:
    keep = np.array([True, False, True, True, True, False])
    return {"keep": keep, "y": np.array([0.3, np.nan, -0.8, 1.1, 0.2, np.nan])}


def penalties(ppl: ModuleType, y: Array) -> None:
    """Factors and deterministics in the loop, one of them read by the next site."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    for i in range(6):
        theta = ppl.sample(f"theta_{i}", dist.Normal(mu, 1))
        double = ppl.deterministic(f"double_{i}", 2 * theta + i)
        ppl.factor(f"penalty_{i}", -jnp.square(double - mu) / (1 + i))
        ppl.sample(f"y_{i}", dist.Normal(double, 1), obs=y[i])


def penalties_twin(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("steps", 6):
        theta = ppl.sample("theta", dist.Normal(mu, 1))
        double = ppl.deterministic("double", 2 * theta + jnp.arange(6))
        ppl.factor("penalty", -jnp.square(double - mu) / (1 + jnp.arange(6)))
        ppl.sample("y", dist.Normal(double, 1), obs=y[:6])


def noncentered(ppl: ModuleType, y: Array) -> None:
    """theta_i un-centered by `handlers.reparam`: latents theta_{i}_decentered, deterministics theta_i."""

    def model() -> None:
        mu = ppl.sample("mu", dist.Normal(0, 1))
        tau = ppl.sample("tau", dist.HalfNormal(1))
        for i in range(5):
            theta = ppl.sample(f"theta_{i}", dist.Normal(mu, tau))
            ppl.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])

    ppl.handlers.reparam(model, config={f"theta_{i}": LocScaleReparam(0.0) for i in range(5)})()


def noncentered_twin(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 1))
    tau = ppl.sample("tau", dist.HalfNormal(1))
    with ppl.plate("steps", 5):
        raw = ppl.sample("raw", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(mu + tau * raw, 1), obs=y[:5])


# -- chains -----------------------------------------------------------------------------------------------


def random_walk(ppl: ModuleType, y: Array) -> None:
    """x_t ~ N(x_{t-1}, tau), y_t ~ N(x_t, 1/2); x_0 is a site before the loop."""
    tau = ppl.sample("tau", dist.HalfNormal(1))
    x = ppl.sample("x_0", dist.Normal(0, 2))
    for t in range(1, 7):
        x = ppl.sample(f"x_{t}", dist.Normal(x, tau))
        ppl.sample(f"y_{t}", dist.Normal(x, 0.5), obs=y[t])


def random_walk_twin(ppl: ModuleType, y: Array) -> None:
    tau = ppl.sample("tau", dist.HalfNormal(1))
    x = path(ppl, "x", 7)
    ppl.sample("first", dist.Normal(0, 2), obs=x[0])
    with ppl.plate("steps", 6):
        ppl.sample("next", dist.Normal(x[:-1], tau), obs=x[1:])
        ppl.sample("y", dist.Normal(x[1:], 0.5), obs=y[1:])


def walk_from_none(ppl: ModuleType, y: Array) -> None:
    """The first step of the loop has no step before it and another prior."""
    phi = ppl.sample("phi", dist.Uniform(-1, 1))
    previous = None
    for t in range(7):
        prior = dist.Normal(0, 2) if previous is None else dist.Normal(phi * previous, 0.7)
        previous = ppl.sample(f"x_{t}", prior)
        ppl.sample(f"y_{t}", dist.Normal(previous, 0.5), obs=y[t])


def walk_from_none_twin(ppl: ModuleType, y: Array) -> None:
    phi = ppl.sample("phi", dist.Uniform(-1, 1))
    x = path(ppl, "x", 7)
    ppl.sample("first", dist.Normal(0, 2), obs=x[0])
    with ppl.plate("steps", 6):
        ppl.sample("next", dist.Normal(phi * x[:-1], 0.7), obs=x[1:])
    with ppl.plate("time", 7):
        ppl.sample("y", dist.Normal(x, 0.5), obs=y)


def second_order(ppl: ModuleType, y: Array) -> None:
    """AR(2): x_t ~ N(a x_{t-1} + b x_{t-2}, 1), kept in a list."""
    a = ppl.sample("a", dist.Normal(0, 0.5))
    b = ppl.sample("b", dist.Normal(0, 0.5))
    x = [ppl.sample("x_0", dist.Normal(0, 1)), ppl.sample("x_1", dist.Normal(0, 1))]
    for t in range(2, 7):
        x.append(ppl.sample(f"x_{t}", dist.Normal(a * x[t - 1] + b * x[t - 2], 1)))
    for t in range(7):
        ppl.sample(f"y_{t}", dist.Normal(x[t], 0.5), obs=y[t])


def second_order_twin(ppl: ModuleType, y: Array) -> None:
    a = ppl.sample("a", dist.Normal(0, 0.5))
    b = ppl.sample("b", dist.Normal(0, 0.5))
    x = path(ppl, "x", 7)
    with ppl.plate("starts", 2):
        ppl.sample("start", dist.Normal(0, 1), obs=x[:2])
    with ppl.plate("steps", 5):
        ppl.sample("next", dist.Normal(a * x[1:-1] + b * x[:-2], 1), obs=x[2:])
    with ppl.plate("time", 7):
        ppl.sample("y", dist.Normal(x, 0.5), obs=y)


def state_space(ppl: ModuleType, y: Array) -> None:
    """AR(1) from 0, observed with noise, with a factor in each step."""
    phi = ppl.sample("phi", dist.Uniform(-1, 1))
    sigma = ppl.sample("sigma", dist.LogNormal(0, 0.5))
    x = 0.0
    for t in range(7):
        x = ppl.sample(f"x_{t}", dist.Normal(phi * x, 1))
        ppl.sample(f"y_{t}", dist.Normal(x, sigma), obs=y[t])
        ppl.factor(f"pull_{t}", -(x**2) / 10)


def state_space_twin(ppl: ModuleType, y: Array) -> None:
    phi = ppl.sample("phi", dist.Uniform(-1, 1))
    sigma = ppl.sample("sigma", dist.LogNormal(0, 0.5))
    x = path(ppl, "x", 7)
    with ppl.plate("time", 7):
        before = jnp.concatenate([jnp.zeros(1), x[:-1]])
        ppl.sample("next", dist.Normal(phi * before, 1), obs=x)
        ppl.sample("y", dist.Normal(x, sigma), obs=y)
        ppl.factor("pull", -(x**2) / 10)


def local_level(ppl: ModuleType, y: Array) -> None:
    """level_t = level_{t-1} + tau eps_t is deterministic; eps_t are independent."""
    tau = ppl.sample("tau", dist.HalfNormal(1))
    level = ppl.sample("start", dist.Normal(0, 1))
    for t in range(6):
        eps = ppl.sample(f"eps_{t}", dist.Normal(0, 1))
        level = ppl.deterministic(f"level_{t}", level + tau * eps)
        ppl.sample(f"y_{t}", dist.Normal(level, 0.5), obs=y[t])


def local_level_twin(ppl: ModuleType, y: Array) -> None:
    tau = ppl.sample("tau", dist.HalfNormal(1))
    start = ppl.sample("start", dist.Normal(0, 1))
    with ppl.plate("time", 6):
        eps = ppl.sample("eps", dist.Normal(0, 1))
        level = ppl.deterministic("level", start + tau * jnp.cumsum(eps))
        ppl.sample("y", dist.Normal(level, 0.5), obs=y[:6])


def smoothing(ppl: ModuleType, y: Array) -> None:
    """Exponential smoothing: level = a y_t + (1 - a) level is code, no site; y_t ~ N(level, s)."""
    a = ppl.sample("a", dist.Beta(2, 2))
    s = ppl.sample("s", dist.HalfNormal(1))
    level = ppl.sample("level", dist.Normal(0, 1))
    for t in range(7):
        ppl.sample(f"y_{t}", dist.Normal(level, s), obs=y[t])
        level = a * y[t] + (1 - a) * level


def smoothing_twin(ppl: ModuleType, y: Array) -> None:
    a = ppl.sample("a", dist.Beta(2, 2))
    s = ppl.sample("s", dist.HalfNormal(1))
    level = ppl.sample("level", dist.Normal(0, 1))
    _, levels = jax.lax.scan(lambda before, y_t: (a * y_t + (1 - a) * before, before), level, jnp.asarray(y))
    with ppl.plate("time", 7):
        ppl.sample("y", dist.Normal(levels, s), obs=y)


def moving_average(ppl: ModuleType, y: Array) -> None:
    """MA(1): error = y_t - mean feeds the next mean."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    theta = ppl.sample("theta", dist.Uniform(-1, 1))
    error = 0.0
    for t in range(7):
        mean = mu + theta * error
        error = y[t] - mean
        ppl.sample(f"y_{t}", dist.Normal(mean, 0.8), obs=y[t])


def moving_average_twin(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 1))
    theta = ppl.sample("theta", dist.Uniform(-1, 1))

    def step(error: Any, y_t: Any) -> tuple[Any, Any]:
        mean = mu + theta * error
        return y_t - mean, mean

    _, means = jax.lax.scan(step, jnp.zeros_like(mu), jnp.asarray(y))
    with ppl.plate("time", 7):
        ppl.sample("y", dist.Normal(means, 0.8), obs=y)


def volatility(ppl: ModuleType, y: Array) -> None:
    """GARCH(1, 1): v = omega + a r^2 + b v."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    omega = ppl.sample("omega", dist.HalfNormal(1))
    a = ppl.sample("a", dist.Uniform(0, 1))
    b = ppl.sample("b", dist.Uniform(0, 1 - a))
    v = 1.0
    for t in range(7):
        ppl.sample(f"y_{t}", dist.Normal(mu, jnp.sqrt(v)), obs=y[t])
        v = omega + a * (y[t] - mu) ** 2 + b * v


def volatility_twin(ppl: ModuleType, y: Array) -> None:
    mu = ppl.sample("mu", dist.Normal(0, 1))
    omega = ppl.sample("omega", dist.HalfNormal(1))
    a = ppl.sample("a", dist.Uniform(0, 1))
    b = ppl.sample("b", dist.Uniform(0, 1 - a))

    def step(v: Any, y_t: Any) -> tuple[Any, Any]:
        return omega + a * (y_t - mu) ** 2 + b * v, v

    _, variances = jax.lax.scan(step, jnp.ones_like(mu), jnp.asarray(y))
    with ppl.plate("time", 7):
        ppl.sample("y", dist.Normal(mu, jnp.sqrt(variances)), obs=y)


def positive_chain(ppl: ModuleType, y: Array) -> None:
    """s_t ~ Gamma(20, 20 / s_{t-1}), y_t ~ N(0, s_t): a Jacobian in every step."""
    s = 1.0
    for t in range(7):
        s = ppl.sample(f"s_{t}", dist.Gamma(20, 20 / s))
        ppl.sample(f"y_{t}", dist.Normal(0, s), obs=y[t])


def positive_chain_twin(ppl: ModuleType, y: Array) -> None:
    s = path(ppl, "s", 7)
    with ppl.plate("time", 7):
        ppl.sample("next", dist.Gamma(20, 20 / jnp.concatenate([jnp.ones(1), s[:-1]])), obs=s)
        ppl.sample("y", dist.Normal(0, s), obs=y)


def shrinking(ppl: ModuleType, y: Array) -> None:
    """u_t ~ Uniform(0, u_{t-1}): the support of a step is the value of the one before."""
    u = ppl.sample("u_0", dist.HalfNormal(5))
    for t in range(1, 6):
        u = ppl.sample(f"u_{t}", dist.Uniform(0, u))
        ppl.sample(f"y_{t}", dist.Normal(u, 1), obs=y[t])


def shrinking_twin(ppl: ModuleType, y: Array) -> None:
    u = path(ppl, "u", 6)
    ppl.sample("first", dist.HalfNormal(5), obs=u[0])
    with ppl.plate("steps", 5):
        ppl.factor("next", -jnp.log(u[:-1]))
        ppl.sample("y", dist.Normal(u[1:], 1), obs=y[1:6])


def mutual(ppl: ModuleType, y: Array) -> None:
    """a_t reads b_{t-1}, b_t reads a_{t-1}."""
    a, b = 0.5, -0.5
    for t in range(6):
        a, b = (
            ppl.sample(f"a_{t}", dist.Normal(0.8 * b, 1)),
            ppl.sample(f"b_{t}", dist.Normal(0.3 * a, 2)),
        )
        ppl.sample(f"y_{t}", dist.Normal(a + b, 0.5), obs=y[t])


def mutual_twin(ppl: ModuleType, y: Array) -> None:
    a, b = path(ppl, "a", 6), path(ppl, "b", 6)
    with ppl.plate("time", 6):
        ppl.sample("next_a", dist.Normal(0.8 * jnp.concatenate([jnp.full(1, -0.5), b[:-1]]), 1), obs=a)
        ppl.sample("next_b", dist.Normal(0.3 * jnp.concatenate([jnp.full(1, 0.5), a[:-1]]), 2), obs=b)
        ppl.sample("y", dist.Normal(a + b, 0.5), obs=y[:6])


def backwards(ppl: ModuleType, y: Array) -> None:
    """A loop from the last step to the first: x_t ~ N(x_{t+1}, 1)."""
    x = ppl.sample("x_6", dist.Normal(0, 1))
    for t in reversed(range(6)):
        x = ppl.sample(f"x_{t}", dist.Normal(x, 1))
        ppl.sample(f"y_{t}", dist.Normal(x, 0.5), obs=y[t])


def backwards_twin(ppl: ModuleType, y: Array) -> None:
    x = path(ppl, "x", 7)
    ppl.sample("last", dist.Normal(0, 1), obs=x[6])
    with ppl.plate("steps", 6):
        ppl.sample("before", dist.Normal(x[1:], 1), obs=x[:-1])
        ppl.sample("y", dist.Normal(x[:-1], 0.5), obs=y[:6])


def panel(ppl: ModuleType, y: Array) -> None:
    """A chain for each of 4 subjects, who share tau and have a phi each."""
    tau = ppl.sample("tau", dist.HalfNormal(1))
    for s in range(4):
        phi = ppl.sample(f"phi_{s}", dist.Normal(0, 0.5))
        x = 0.0
        for t in range(3):
            x = ppl.sample(f"x_{s}_{t}", dist.Normal(phi * x, tau))
            ppl.sample(f"y_{s}_{t}", dist.Normal(x, 0.5), obs=y[s, t])


def panel_twin(ppl: ModuleType, y: Array) -> None:
    tau = ppl.sample("tau", dist.HalfNormal(1))
    with ppl.plate("subjects", 4):
        phi = ppl.sample("phi", dist.Normal(0, 0.5))
    x = path(ppl, "x", 4, 3)
    before = jnp.concatenate([jnp.zeros((4, 1)), x[:, :-1]], axis=1)
    with ppl.plate("subjects_again", 4, dim=-2), ppl.plate("time", 3, dim=-1):
        ppl.sample("next", dist.Normal(phi[:, None] * before, tau), obs=x)
        ppl.sample("y", dist.Normal(x, 0.5), obs=y)


PARENT = (0, 0, 0, 1, 1, 2, 3, 3, 6)


def tree(ppl: ModuleType, y: Array) -> None:
    """x_i ~ N(x_parent(i), tau): each step reads an earlier one, no fixed lag."""
    tau = ppl.sample("tau", dist.HalfNormal(1))
    x = [ppl.sample("x_0", dist.Normal(0, 1))]
    for i in range(1, 9):
        x.append(ppl.sample(f"x_{i}", dist.Normal(x[PARENT[i]], tau)))
    for i in range(7):
        ppl.sample(f"y_{i}", dist.Normal(x[i + 2], 0.5), obs=y[i])


def tree_twin(ppl: ModuleType, y: Array) -> None:
    tau = ppl.sample("tau", dist.HalfNormal(1))
    x = path(ppl, "x", 9)
    ppl.sample("root", dist.Normal(0, 1), obs=x[0])
    with ppl.plate("children", 8):
        ppl.sample("child", dist.Normal(x[np.array(PARENT[1:])], tau), obs=x[1:])
    with ppl.plate("leaves", 7):
        ppl.sample("y", dist.Normal(x[2:], 0.5), obs=y)


def vector_chain(ppl: ModuleType, y: Array) -> None:
    """p_t ~ Dirichlet(1 + 5 p_{t-1}), v_t ~ MVN(A v_{t-1}, I): carried vectors."""
    p, v = jnp.ones(3) / 3, jnp.zeros(2)
    A = jnp.array([[0.5, 0.2], [-0.3, 0.8]])
    for t in range(5):
        p = ppl.sample(f"p_{t}", dist.Dirichlet(1 + 5 * p))
        v = ppl.sample(f"v_{t}", dist.MultivariateNormal(A @ v, scale_tril=jnp.eye(2)))
        ppl.sample(f"y_{t}", dist.Normal(p[0] + v[1], 0.5), obs=y[t])


def vector_chain_twin(ppl: ModuleType, y: Array) -> None:
    p, v = path(ppl, "p", 5, 3), path(ppl, "v", 5, 2)
    A = jnp.array([[0.5, 0.2], [-0.3, 0.8]])
    with ppl.plate("time", 5):
        before = jnp.concatenate([jnp.ones((1, 3)) / 3, p[:-1]])
        ppl.sample("next_p", dist.Dirichlet(1 + 5 * before), obs=p)
        moved = jnp.concatenate([jnp.zeros((1, 2)), v[:-1]]) @ A.T
        ppl.sample("next_v", dist.MultivariateNormal(moved, scale_tril=jnp.eye(2)), obs=v)
        ppl.sample("y", dist.Normal(p[:, 0] + v[:, 1], 0.5), obs=y[:5])


def series_data() -> dict[str, np.ndarray]:
    return {"y": np.array([0.2, 0.9, -0.4, -0.1, 0.6, 1.3, -0.7])}


def two_series_data() -> dict[str, np.ndarray]:
    return {"x": np.linspace(-1, 1, 7), **series_data()}


def group_rows_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(25).normal(size=10)}


def grid_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(26).normal(size=(3, 4))}


def square_data() -> dict[str, np.ndarray]:
    return {"y": np.random.default_rng(27).normal(size=(5, 5))}


def _case(
    fn: ModelFn,
    data: Callable[[], dict[str, np.ndarray]],
    twin: ModelFn,
    to_twin: Callable[[Values], Values],
    **kinds: bool,
) -> LoopModel:
    return LoopModel(fn.__name__, Model(fn.__name__, fn, data), twin, to_twin, **kinds)


_chain = partial(_case, chain=True)

LOOP_MODELS: tuple[LoopModel, ...] = (
    _case(schools, schools_data, schools_twin, stack(theta="theta_*")),
    _case(comprehension, comprehension_data, comprehension_twin, stack(alpha="alpha_*")),
    _case(recursion, series_data, recursion_twin, stack(theta="theta_*")),
    _case(dictionary, covariates_data, dictionary_twin, dictionary_values),
    _case(constants, series_data, constants_twin, stack(theta="theta_*")),
    _case(rows, rows_data, rows_twin, stack(a="a_*")),
    _case(trials, trials_data, trials_twin, stack(eta="eta_*")),
    _case(three_loops, two_series_data, three_loops_twin, stack(a="a_*", b="b_*")),
    _case(interleaved, series_data, interleaved_twin, stack(a="a_*", b="b_*")),
    _case(grid, grid_data, grid_twin, grid_values),
    _case(square, square_data, square_twin, stack(out="out_*", into="into_*")),
    _case(ragged_loops, group_rows_data, ragged_loops_twin, stack(theta="theta_*", x="x_*_*")),
    _case(ragged_arrays, group_rows_data, ragged_arrays_twin, stack(theta="theta_*")),
    _case(ragged_events, group_rows_data, ragged_arrays_twin, stack(theta="theta_*")),
    _case(accumulator, covariates_data, accumulator_twin, stack(beta="beta_*")),
    _case(gather, series_data, gather_twin, stack(theta="theta_*")),
    _case(plate_inside, panel_data, plate_inside_twin, plate_inside_values),
    _case(plate_around, panel_data, plate_around_twin, stack(theta="theta_*")),
    _case(helper, series_data, helper_twin, stack(sd_raw="sd_*_raw")),
    _case(scoped, series_data, scoped_twin, stack(theta="g*/theta")),
    _case(padded_names, series_data, padded_names_twin, stack(w="w*_raw")),
    _case(neighbours, series_data, neighbours_twin, stack(theta="theta_*")),
    _case(total, series_data, total_twin, stack(theta="theta_*")),
    _case(other_family, series_data, other_family_twin, stack(theta="theta_*")),
    _case(extra_code, series_data, extra_code_twin, stack(theta="theta_*")),
    _case(missing, series_data, missing_twin, stack(y="y_*")),
    _case(conditioned, series_data, conditioned_twin, stack(theta="theta_*")),
    _case(supports, series_data, supports_twin, stack(sd="sd_*", rate="rate_*", u="u_*", low="low_*")),
    _case(simplexes, simplexes_data, simplexes_twin, stack(p="p_*")),
    _case(multivariate, multivariate_data, multivariate_twin, stack(L="L_*", tau="tau_*", b="b_*")),
    _case(weighted, weighted_data, weighted_twin, stack(sd="sd_*")),
    _case(penalties, series_data, penalties_twin, stack(theta="theta_*")),
    _case(noncentered, series_data, noncentered_twin, stack(raw="theta_*_decentered")),
    _chain(random_walk, series_data, random_walk_twin, stack(x="x_*")),
    _chain(walk_from_none, series_data, walk_from_none_twin, stack(x="x_*")),
    _chain(second_order, series_data, second_order_twin, stack(x="x_*")),
    _chain(state_space, series_data, state_space_twin, stack(x="x_*")),
    _chain(local_level, series_data, local_level_twin, stack(eps="eps_*")),
    _chain(smoothing, series_data, smoothing_twin, dict),
    _chain(moving_average, series_data, moving_average_twin, dict),
    _chain(volatility, series_data, volatility_twin, dict),
    _chain(positive_chain, series_data, positive_chain_twin, stack(s="s_*")),
    _chain(shrinking, series_data, shrinking_twin, stack(u="u_*")),
    _chain(mutual, series_data, mutual_twin, stack(a="a_*", b="b_*")),
    _chain(backwards, series_data, backwards_twin, stack(x="x_*")),
    _chain(panel, panel_data, panel_twin, stack(phi="phi_*", x="x_*_*")),
    _chain(tree, series_data, tree_twin, stack(x="x_*")),
    _chain(vector_chain, series_data, vector_chain_twin, stack(p="p_*", v="v_*")),
)


# -- loops over a plate -----------------------------------------------------------------------------------


def over_schools(ppl: ModuleType, loop: Loop, sigma: Array, y: Array) -> None:
    """theta does not read the index and is still one draw for each school."""
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfNormal(5))
    for i in loop("schools", 8):
        theta = ppl.sample(f"theta_{i}", dist.Normal(mu, tau))
        ppl.sample(f"y_{i}", dist.Normal(theta, sigma[i]), obs=y[i])


def over_rows(ppl: ModuleType, loop: Loop, X: Array, y: Array) -> None:
    """A row of a matrix, a vector made in the model, and the index itself as a number."""
    beta = ppl.sample("beta", dist.Normal(0, 1).expand([3]).to_event(1))
    widths = 1 + jnp.arange(6) ** 2
    for i in loop("rows", 6):
        a = ppl.sample(f"a_{i}", dist.Normal(0.1 * i, widths[i]))
        ppl.sample(f"y_{i}", dist.Bernoulli(logits=X[i] @ beta + a), obs=y[i])


def over_computed_indices(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """i + 1, the mirrored index, i // 2 and i % 3, in the data and in a name."""
    x = jnp.asarray(y) * 2
    for i in loop("steps", 6):
        theta = ppl.sample(f"theta_{i + 1}", dist.Normal(x[5 - i] + x[i // 2], 1 + i % 3))
        ppl.sample(f"y_{i:02d}", dist.Normal(theta, 1), obs=y[i + 1])


def over_square(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """Two loops of one size: each reads both axes of the data, in both orders."""
    tau = ppl.sample("tau", dist.HalfNormal(1))
    for i in loop("senders", 5):
        a = ppl.sample(f"a_{i}", dist.Normal(0, 1))
        for j in loop("receivers", 5):
            b = ppl.sample(f"b_{i}_{j}", dist.Normal(a + 0.1 * j, tau))
            ppl.sample(f"y_{i}_{j}", dist.Normal(b, 1 + 0.2 * i), obs=y[i, j])
            ppl.sample(f"back_{i}_{j}", dist.Normal(a - b, 1 + 0.3 * j), obs=y[j, i])


def over_plates(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """A `with` plate in the body, as large as the loop itself."""
    for i in loop("groups", 5):
        theta = ppl.sample(f"theta_{i}", dist.Normal(0, 1 + i))
        with ppl.plate("pupils", 5):
            x = ppl.sample(f"x_{i}", dist.Normal(theta, 1))
            ppl.sample(f"y_{i}", dist.Normal(x, 0.5), obs=y[i])


def in_a_plate(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """The loop stands in a `with` plate."""
    with ppl.plate("pupils", 5):
        skill = ppl.sample("skill", dist.Normal(0, 1))
        for i in loop("tests", 5):
            hard = ppl.sample(f"hard_{i}", dist.Normal(skill, 1 + i))
            ppl.sample(f"y_{i}", dist.Normal(hard, 0.5), obs=y[i])


def over_carried(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """prev = x: the value of one step is read by the next."""
    prev = ppl.sample("start", dist.Normal(0, 1))
    for t in loop("time", 7):
        x = ppl.sample(f"x_{t}", dist.Normal(0.9 * prev, 1))
        ppl.sample(f"y_{t}", dist.Normal(x, 0.5), obs=y[t])
        prev = x


def over_carried_constant(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """The same from a number, which no step after the first may see."""
    prev = 0.0
    for t in loop("time", 7):
        prev = ppl.sample(f"x_{t}", dist.Normal(0.9 * prev, 1))
        ppl.sample(f"y_{t}", dist.Normal(prev, 0.5), obs=y[t])


def over_none(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """`if prev is None` holds in the first step alone."""
    prev = None
    for t in loop("time", 7):
        prev = ppl.sample(f"x_{t}", dist.Normal(0, 3) if prev is None else dist.Normal(prev, 1))
        ppl.sample(f"y_{t}", dist.Normal(prev, 0.5), obs=y[t])


def over_two_carried(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """AR(2) by two variables that are passed on."""
    before, last = 0.1, 0.2
    for t in loop("time", 7):
        x = ppl.sample(f"x_{t}", dist.Normal(0.6 * last - 0.2 * before, 1))
        before, last = last, x
        ppl.sample(f"y_{t}", dist.Normal(x, 0.5), obs=y[t])


def over_accumulator(ppl: ModuleType, loop: Loop, x: Array, y: Array) -> None:
    """eta grows in the loop and is read after it."""
    eta = jnp.zeros(6)
    for k in loop("covariates", 5):
        eta = eta + x[:, k] * ppl.sample(f"beta_{k}", dist.Normal(0, 1))
    with ppl.plate("rows", 6):
        ppl.sample("y", dist.Normal(eta, 1), obs=y)


def over_state(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """A state that no site holds: level = a y_t + (1 - a) level."""
    a = ppl.sample("a", dist.Beta(2, 2))
    level = ppl.sample("level", dist.Normal(0, 1))
    for t in loop("time", 7):
        ppl.sample(f"y_{t}", dist.Normal(level, 0.8), obs=y[t])
        level = a * y[t] + (1 - a) * level


def over_python_state(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """Numbers of Python's own that change from step to step, and which no graph sees."""
    width, count = 1.0, 5
    for i in loop("steps", 6):
        width *= 1.5
        count -= 1
        theta = ppl.sample(f"theta_{i}", dist.Normal(count, width))
        ppl.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])


def over_list(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """A list, a tuple and a dict of numbers, read at the index."""
    names = dict(enumerate(SCALES))
    for i in loop("steps", 6):
        theta = ppl.sample(f"theta_{i}", dist.Normal(LOCS[i], names[i]))
        ppl.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])


HOST_SCALES = np.array(SCALES)


def over_host_array(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """A numpy array that the model closes over."""
    for i in loop("steps", 6):
        theta = ppl.sample(f"theta_{i}", dist.Normal(0, HOST_SCALES[i]))
        ppl.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])


def over_branches(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """A Python `if` on the index: other priors, a step without an observation."""
    for i in loop("steps", 6):
        theta = ppl.sample(f"theta_{i}", dist.Normal(0, 5) if i == 2 else dist.Normal(1, 1))
        if i > 0:
            ppl.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])


def over_appended(ppl: ModuleType, loop: Loop, group: Array, y: Array) -> None:
    """A list grows by one member a step, stacked after the loop."""
    alpha = []
    for g in loop("groups", 5):
        alpha.append(ppl.sample(f"alpha_{g}", dist.Normal(0, 1)))  # noqa: PERF401, what is tried
    with ppl.plate("rows", 7):
        ppl.sample("y", dist.Normal(jnp.stack(alpha)[group], 1), obs=y)


def over_two_loops(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """A dict filled by one loop over a plate and read by another over the same plate."""
    theta = {}
    for i in loop("steps", 7):
        theta[i] = ppl.sample(f"theta_{i}", dist.Normal(0, 1))
    for i in loop("steps", 7):
        ppl.sample(f"y_{i}", dist.Normal(theta[i], 0.5), obs=y[i])


def over_last(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """After the loop, theta is the last step's."""
    for i in loop("steps", 6):
        theta = ppl.sample(f"theta_{i}", dist.Normal(0, 1 + i))
    ppl.sample("y", dist.Normal(theta, 0.5), obs=y[0])


def over_enumerate(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """`enumerate` counts on, whatever the index is."""
    for k, i in enumerate(loop("steps", 6), start=1):
        theta = ppl.sample(f"theta_{i}", dist.Normal(0, k))
        ppl.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])


def over_zip(ppl: ModuleType, loop: Loop, x: Array, y: Array) -> None:
    """`zip` with a list of names, which name the sites."""
    eta = 0.0
    for k, name in zip(loop("covariates", 5), COVARIATES, strict=True):
        eta = eta + x[:, k] * ppl.sample(f"beta_{name}", dist.Normal(0, 1))
    with ppl.plate("rows", 6):
        ppl.sample("y", dist.Normal(eta, 1), obs=y)


def over_zipped_numbers(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """`zip` with numbers: a step that is not run does not take its own."""
    for i, scale in zip(loop("steps", 6), SCALES, strict=True):
        theta = ppl.sample(f"theta_{i}", dist.Normal(0, scale))
        ppl.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])


def over_factors(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """A factor and a deterministic that do not read the index: one for each step all the same."""
    mu = ppl.sample("mu", dist.Normal(0, 1))
    for i in loop("steps", 6):
        ppl.factor(f"penalty_{i}", -jnp.square(mu) / 3)
        twice = ppl.deterministic(f"twice_{i}", 2 * mu)
        theta = ppl.sample(f"theta_{i}", dist.Normal(twice, 1))
        ppl.factor(f"tie_{i}", -jnp.abs(theta - y[i]))


def over_weights(ppl: ModuleType, loop: Loop, keep: Array, y: Array) -> None:
    """Masks and scales read at the index, around a positive latent."""
    weights = jnp.array(WEIGHTS)
    for i in loop("steps", 6):
        with ppl.handlers.scale(scale=weights[i]):
            sd = ppl.sample(f"sd_{i}", dist.HalfNormal(1))
            with ppl.handlers.mask(mask=keep[i]):
                ppl.sample(f"y_{i}", dist.Normal(0, sd), obs=y[i])


def over_events(ppl: ModuleType, loop: Loop, X: Array, y: Array) -> None:
    """Vector and matrix events, whose own axes stand behind the loop's."""
    for g in loop("groups", 3):
        corr = ppl.sample(f"L_{g}", dist.LKJCholesky(2, concentration=2.0))
        b = ppl.sample(f"b_{g}", dist.MultivariateNormal(jnp.zeros(2), scale_tril=corr))
        p = ppl.sample(f"p_{g}", dist.Dirichlet(jnp.ones(3) + g))
        ppl.sample(f"y_{g}", dist.Normal(X[g] @ b, p[0]).to_event(1), obs=y[g])


def over_ragged(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """Inner loops whose length depends on the outer index."""
    for g in loop("groups", 4):
        theta = ppl.sample(f"theta_{g}", dist.Normal(0, 2))
        for j in range(RAGGED[g]):
            ppl.sample(f"y_{g}_{j}", dist.Normal(theta, 1), obs=y[STARTS[g] + j])


def over_mixed(ppl: ModuleType, loop: Loop, y: Array) -> None:
    """A plain loop in a loop over a plate, and one around it."""
    for k in range(2):
        for i in loop(f"steps_{k}", 4):
            theta = ppl.sample(f"theta_{k}_{i}", dist.Normal(k, 1))
            for j in range(3):
                ppl.sample(f"y_{k}_{i}_{j}", dist.Normal(theta + j, 1 + k), obs=y[i, j])


PLATE_LOOPS: tuple[PlateLoop, ...] = tuple(
    itertools.starmap(
        lambda fn, data: PlateLoop(fn.__name__, fn, data),
        (
            (over_schools, schools_data),
            (over_rows, rows_data),
            (over_computed_indices, series_data),
            (over_square, square_data),
            (over_plates, square_data),
            (in_a_plate, square_data),
            (over_carried, series_data),
            (over_carried_constant, series_data),
            (over_none, series_data),
            (over_two_carried, series_data),
            (over_accumulator, covariates_data),
            (over_state, series_data),
            (over_python_state, series_data),
            (over_list, series_data),
            (over_host_array, series_data),
            (over_branches, series_data),
            (over_appended, comprehension_data),
            (over_two_loops, series_data),
            (over_last, series_data),
            (over_enumerate, series_data),
            (over_zip, covariates_data),
            (over_zipped_numbers, series_data),
            (over_factors, series_data),
            (over_weights, weighted_data),
            (over_events, multivariate_data),
            (over_ragged, group_rows_data),
            (over_mixed, panel_data),
        ),
    )
)
