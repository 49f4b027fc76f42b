"""Loops over sites: rolled, unrolled, by NumPyro and with plates, the numbers are those of the ordinary loop."""

import linecache
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.passes import PIPELINE
from plait.runtime.names import entry_names
from tests.models import Model, some
from tests.models import numpyro_reference as numpyro_says
from tests.models.loops import LOOP_MODELS, PLATE_LOOPS, LoopModel, PlateLoop

VALUE, GRADIENT, SINGLE = 1e-10, 1e-9, 1e-4  # relative to the sum of the terms' magnitudes
Values = Mapping[str, Any]
Answers = dict[str, Any]  # values, terms, joint, density, gradient

# Programs that run once each: XLA compiles them twice as fast like this.
QUICK = {"xla_cpu_parallel_codegen_split_count": 1, "xla_llvm_disable_expensive_passes": True}

loops = pytest.mark.parametrize("case", LOOP_MODELS, ids=lambda c: c.name)
plate_loops = pytest.mark.parametrize("case", PLATE_LOOPS, ids=lambda c: c.name)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


# -- the four ways to say a loop --------------------------------------------------------------------------


@loops
def test_value_terms_and_gradient_are_the_unrolled_graphs_numpyros_and_the_plates(case: LoopModel, x64) -> None:
    data, z = case.model.args(np.float64), point_of(case.model)
    theirs, rolled, unrolled, twin_joint = once(partial(all_ways, case), data, z)
    compare(rolled, theirs)
    compare(unrolled, theirs)
    close(twin_joint, theirs["joint"], VALUE * magnitude(theirs))


@plate_loops
def test_a_loop_over_a_plate_says_what_the_ordinary_loop_says(case: PlateLoop, x64) -> None:
    data, z = case.ranged.args(np.float64), point_of(case.ranged)
    theirs, rolled = once(partial(both_ways, case.ranged), data, z)
    compare(rolled, theirs)
    over_plate = plait.compile(case.over(plait.plate).bind(plait), **data)
    compare(answers(over_plate, *flat(z), theirs["values"]), theirs)


SOME = ("schools", "interleaved", "ragged_loops", "multivariate", "weighted", "second_order", "smoothing", "shrinking")


@pytest.mark.parametrize("case", [c for c in LOOP_MODELS if c.name in SOME], ids=lambda c: c.name)
def test_single_precision_is_near_numpyros_double(case: LoopModel) -> None:
    with jax.enable_x64(True):
        z = point_of(case.model)
        theirs = once(partial(numpyros, case.model), case.model.args(np.float64), z)
        theirs = jax.tree.map(np.asarray, theirs)
    names, point = flat(z)
    values = jax.tree.map(single, theirs["values"])
    ours = answers(plait.compile(case.model.bind(plait), **case.model.args(np.float32)), names, single(point), values)
    assert ours["density"].dtype == np.float32
    compare(ours, theirs, SINGLE, SINGLE)


def without(name: str) -> dict[str, bool]:
    """The switch of a pass, where there is one."""
    return {p.name: False for p in PIPELINE if p.name == name}


def point_of(model: Model) -> dict[str, np.ndarray]:
    return numpyro_says.random_z(model, model.args(np.float64), np.random.default_rng(0))


def once(fn: Callable[..., Any], *args: Any) -> Any:
    """The result of a function as one compilation, of which nothing is kept."""
    return jax.jit(fn, compiler_options=QUICK)(*args)


def all_ways(case: LoopModel, data: Values, z: Values) -> tuple[Answers, Answers, Answers, Any]:
    """By NumPyro, rolled, unrolled, and the twin's log joint: one compilation."""
    theirs, rolled = both_ways(case.model, data, z)
    unrolled = plait.compile(case.model.bind(plait), passes=without("reroll"), **data)
    twin = plait.compile(case.twin.bind(plait), **data)
    values = theirs["values"]
    return theirs, rolled, densities(unrolled, *flat(z), values), twin.log_joint(case.to_twin(values))


def both_ways(model: Model, data: Values, z: Values) -> tuple[Answers, Answers]:
    theirs = numpyros(model, data, z)
    rolled = plait.compile(model.bind(plait), **data)
    return theirs, answers(rolled, *flat(z), theirs["values"])


def rolled_and_unrolled(loop: Model, ranged: Model, data: Values, numbers: Any) -> tuple[Answers, Answers]:
    """Two ways to write one model: the first with every pass, the other as its loops are written."""
    rolled = plait.compile(loop.bind(plait), **data)
    unrolled = plait.compile(ranged.bind(plait), passes=without("reroll"), **data)
    assert set(rolled.shapes.items()) == set(unrolled.shapes.items())
    z = numbers[: unrolled.dim]
    values = unrolled.constrain(z)
    return densities(rolled, unrolled.names, z, values), densities(unrolled, unrolled.names, z, values)


def numpyros(model: Model, data: Values, z: Values) -> Answers:
    """What NumPyro says at an unconstrained point by site."""
    values = numpyro_says.constrain(model, z, data, params={})
    density, gradient = numpyro_says.log_density_and_grad(model, z, data, params={})
    terms = numpyro_says.site_log_probs(model, values, data, params={})
    joint = sum(jnp.sum(term) for term in terms.values())
    return {"values": values, "terms": terms, "joint": joint, "density": density, "gradient": flat(gradient)[1]}


def answers(compiled: plait.CompiledModel, names: Sequence[str], z: Any, values: Values) -> Answers:
    """What plait says, as a user calls it, at an unconstrained point whose entries have these names."""
    constrained = compiled.constrain(z[order_of(compiled, names)])
    joint = compiled.log_joint(values)
    return {"values": constrained, "joint": joint, **densities(compiled, names, z, values)}


def densities(compiled: plait.CompiledModel, names: Sequence[str], z: Any, values: Values) -> Answers:
    """A part of `answers`."""
    order = order_of(compiled, names)
    density, gradient = compiled.log_density_and_grad(z[order])
    terms = compiled.log_prob_terms(values)
    return {"terms": terms, "density": density, "gradient": gradient[np.argsort(order)]}


def order_of(compiled: plait.CompiledModel, names: Sequence[str]) -> np.ndarray:
    """Where the entries of this model's flat vector are among the names."""
    assert sorted(compiled.names) == sorted(names)
    place = {name: k for k, name in enumerate(names)}
    return np.array([place[name] for name in compiled.names])


def flat(by_site: Values) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of all entries, and the entries; sorted, as jit hands dicts on."""
    sites = sorted(by_site)
    names = tuple(entry for site in sites for entry in entry_names(site, jnp.shape(by_site[site])))
    return names, jnp.concatenate([jnp.ravel(by_site[site]) for site in sites])


def compare(ours: Answers, theirs: Answers, value: float = VALUE, gradient: float = GRADIENT) -> None:
    """All answers at one point, within tolerances relative to the sum of the terms' magnitudes."""
    scale = magnitude(theirs)
    assert 0 < scale < np.inf
    for kind in ours.keys() & {"values", "terms"}:
        assert ours[kind].keys() == theirs[kind].keys()
        for site, wanted in theirs[kind].items():
            close(ours[kind][site], wanted, value * (1 + np.max(np.abs(wanted), initial=scale)), f"{kind} of {site}")
    for kind in ours.keys() & {"joint", "density"}:
        close(ours[kind], theirs[kind], value * scale, kind)
    assert np.all(np.isfinite(theirs["gradient"]))
    largest = np.max(np.abs(theirs["gradient"]), initial=scale)
    close(ours["gradient"], theirs["gradient"], gradient * largest, "gradient")


def single(x: Any) -> np.ndarray:
    return np.asarray(x, np.float32)


def magnitude(theirs: Answers) -> float:
    return float(sum(np.sum(np.abs(np.asarray(term))) for term in theirs["terms"].values()))


def numbers(seed: int) -> np.ndarray:
    """More unconstrained entries than any model here has."""
    return np.random.default_rng(seed).uniform(-1, 1, 500)


def close(got: Any, wanted: Any, tolerance: float, what: str = "") -> None:
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, what
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance, err_msg=what)


# -- draws ------------------------------------------------------------------------------------------------

DRAWN = (
    "schools",
    "interleaved",
    "noncentered",
    "random_walk",
    "second_order",
    "local_level",
    "shrinking",
    "mutual",
    "backwards",
    "panel",
    "tree",
)


@pytest.mark.parametrize("case", [c for c in LOOP_MODELS if c.name in DRAWN], ids=lambda c: c.name)
def test_draws_have_the_same_joint_distribution_rolled_and_unrolled(case: LoopModel) -> None:
    """Means of all entries and of all products of two: one shared draw or a broken link of a chain shows there."""
    n = 4000
    rolled = joint_moments(once(partial(draws_of, case.model, True, n), jax.random.key(2)))
    wanted = joint_moments(once(partial(draws_of, case.model, False, n), jax.random.key(1)))
    assert rolled.keys() == wanted.keys()
    for name, (mean, error) in wanted.items():
        other, other_error = rolled[name]
        assert np.abs(mean - other) <= 5 * np.hypot(error, other_error) + 1e-6, name


def draws_of(model: Model, rolled: bool, n: int, key: jax.Array) -> dict[str, jax.Array]:
    switches = {} if rolled else without("reroll")
    return plait.compile(model.bind(plait), passes=switches, **model.args(np.float32)).sample(key, (n,))


def joint_moments(draws: Values) -> dict[str, tuple[float, float]]:
    """Mean and its standard error of each entry and of each product, of values that arctan brings near the unit."""
    n = len(next(iter(draws.values())))
    columns = {
        entry: np.arctan(column)
        for site in sorted(draws)
        for entry, column in zip(
            entry_names(site, np.shape(draws[site])[1:]), np.reshape(draws[site], (n, -1)).T, strict=True
        )
    }
    names = list(columns)
    x = np.array([columns[name] for name in names], np.float64)
    first, second, fourth = x.mean(1), x @ x.T / n, (x**2) @ (x**2).T / n
    means = {name: (m, s) for name, m, s in zip(names, first, x.std(1) / np.sqrt(n), strict=True)}
    errors = np.sqrt(np.maximum(fourth - second**2, 0) / n)
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1)]
    return means | {f"{names[i]} {names[j]}": (second[i, j], errors[i, j]) for i, j in pairs}


def test_a_given_step_of_a_chain_is_kept_and_only_later_steps_follow_it() -> None:
    case = next(c for c in LOOP_MODELS if c.name == "random_walk")
    n = 2000
    compiled = plait.compile(case.model.bind(plait), **case.model.args(np.float32))
    x_3 = np.float32(50.0)
    draws = compiled.sample(jax.random.key(0), (n,), given={"x_3": x_3})
    assert np.all(draws["x_3"] == x_3)
    steps = {t: (draws[f"x_{t}"] - draws[f"x_{t - 1}"]) / draws["tau"] for t in (1, 2, 4, 5, 6)}
    for t, step in steps.items():
        assert abs(np.mean(step)) < 5 / np.sqrt(n), t
        assert abs(np.mean(step**2) - 1) < 5 * np.sqrt(2 / n), t
    assert abs(np.corrcoef(steps[4], steps[5])[0, 1]) < 5 / np.sqrt(n)
    assert np.max(np.abs(draws["x_2"])) < 40
    noise = (draws["y_3"] - x_3) / 0.5
    assert abs(np.mean(noise)) < 5 / np.sqrt(n)


@pytest.mark.parametrize("switches", [{}, without("reroll")], ids=["rolled", "unrolled"])
def test_deterministics_follow_given_latents_exactly(switches: dict[str, bool]) -> None:
    case = next(c for c in LOOP_MODELS if c.name == "local_level")
    compiled = plait.compile(case.model.bind(plait), passes=switches, **case.model.args(np.float32))
    rng = np.random.default_rng(0)
    given = {name: np.exp(rng.normal(size=(3, *shape))).astype(np.float32) for name, shape in compiled.shapes.items()}
    draws = compiled.sample(jax.random.key(0), (2,), given=given)
    values = compiled.constrain(compiled.unconstrain(given), deterministic=True)
    level = given["start"]
    for t in range(6):
        level = level + given["tau"] * given[f"eps_{t}"]
        assert draws[f"level_{t}"].shape == (2, 3)
        np.testing.assert_allclose(draws[f"level_{t}"], np.broadcast_to(level, (2, 3)), rtol=1e-6)
        np.testing.assert_allclose(values[f"level_{t}"], level, rtol=1e-5)
        assert np.all(draws[f"eps_{t}"] == given[f"eps_{t}"])
        assert len(np.unique(draws[f"y_{t}"])) == 6


def test_discrete_latents_of_a_loop() -> None:
    """A hidden Markov chain: z_t ~ Categorical(row z_{t-1}), y_t ~ N(loc of z_t, 1)."""
    rows, locs = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([-1.0, 2.0])

    def model(y):
        table, centers = jnp.array(rows), jnp.array(locs)
        z = 0
        for t in range(6):
            z = plait.sample(f"z_{t}", dist.Categorical(probs=table[z]))
            plait.sample(f"y_{t}", dist.Normal(centers[z], 1), obs=y[t])

    y, z = np.linspace(-2, 2, 6, dtype=np.float32), [0, 1, 1, 0, 0, 1]
    wanted = sum(np.log(rows[a, b]) for a, b in zip([0, *z], z, strict=False))
    wanted += np.sum(-0.5 * (y - locs[z]) ** 2 - 0.5 * np.log(2 * np.pi))
    for switches in ({}, without("reroll")):
        compiled = plait.compile(model, y, passes=switches)
        np.testing.assert_allclose(compiled.log_joint({f"z_{t}": k for t, k in enumerate(z)}), wanted, rtol=1e-5)
        draws = compiled.sample(jax.random.key(0), (4000,))
        moved = np.mean([draws["z_3"][draws["z_2"] == k] for k in (0,)])
        assert abs(moved - 0.2) < 0.05


# -- what else can be asked -------------------------------------------------------------------------------

ASKED = ("penalties", "missing", "weighted", "panel")


@pytest.mark.parametrize("case", [c for c in LOOP_MODELS if c.name in ASKED], ids=lambda c: c.name)
def test_other_data_likelihoods_and_values_of_observed_sites(case: LoopModel, x64) -> None:
    data = case.model.args(np.float64)
    rolled = asked(case.model, {}, data, numbers(0))
    unrolled = asked(case.model, without("reroll"), data, numbers(0))
    assert jax.tree.structure(rolled) == jax.tree.structure(unrolled)
    for ours, wanted in zip(jax.tree.leaves(rolled), jax.tree.leaves(unrolled), strict=True):
        close(ours, wanted, 1e-10 * (1 + np.nanmax(np.abs(wanted), initial=100)))


def asked(model: Model, switches: dict[str, bool], data: Values, numbers: Any) -> dict[str, Any]:
    """Answers by name, called as a user does; each number belongs to one entry, wherever the vector has it."""
    compiled = plait.compile(model.bind(plait), passes=switches, **data)
    of_entry = dict(zip(sorted(compiled.names), numbers, strict=False))
    z = np.array([of_entry[name] for name in compiled.names])
    values, points = compiled.constrain(z), compiled.constrain(np.stack([z, z + 0.1]))
    likelihood = compiled.log_likelihood(values)
    observed = sorted(likelihood)[1]
    other = values | {observed: np.full(likelihood[observed].shape, 0.3)}
    moved = compiled.bind(y=data["y"] + np.random.default_rng(0).normal(size=data["y"].shape))
    return {
        "density of other data": moved.log_density(z),
        "terms of other data": moved.log_prob_terms(values),
        "likelihood": likelihood,
        "joint at another observation": compiled.log_joint(other),
        "terms at another observation": compiled.log_prob_terms(other),
        "two points": points,
        "joint of two points": jax.vmap(compiled.log_joint)(points),
        "deterministics": compiled.constrain(z, deterministic=True),
    }


def test_sites_of_one_pattern_in_several_families_keep_their_names(x64) -> None:
    """Two loops write x_i, and one site has the very name of a family."""

    def model(y):
        plait.sample("x_*", dist.Normal(5, 1))
        for i in range(3):
            plait.sample(f"x_{i}", dist.Normal(0, 1))
        for i in range(3, 6):
            plait.sample(f"x_{i}", dist.Normal(1, i))
        for i in range(4):
            plait.sample(f"y_{i}", dist.Normal(0, 1 + i), obs=y[i])

    y = np.linspace(-1, 1, 4)
    compiled = plait.compile(model, y)
    values = {"x_*": 4.0} | {f"x_{i}": 0.1 * i for i in range(6)}
    assert compiled.shapes.keys() == values.keys()
    wanted = {"x_*": normal(4.0, 5, 1)}
    wanted |= {f"x_{i}": normal(0.1 * i, *((0, 1) if i < 3 else (1, i))) for i in range(6)}
    wanted |= {f"y_{i}": normal(y[i], 0, 1 + i) for i in range(4)}
    terms = compiled.log_prob_terms(values)
    assert terms.keys() == wanted.keys()
    for name, term in wanted.items():
        close(terms[name], term, 1e-10 * 10, name)
    close(compiled.log_joint(values), sum(wanted.values()), 1e-10 * 100)


# -- axes -------------------------------------------------------------------------------------------------


def normal(x: Any, loc: Any, scale: Any) -> float:
    return float(np.sum(-0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)))


WIDTH = np.linspace(0.5, 2.0, 5)  # of rows


def loops_in_loops(y, rows, columns):
    out = {i: plait.sample(f"out_{i}", dist.Normal(0, 1)) for i in rows("rows", 5)}
    into = {j: plait.sample(f"into_{j}", dist.Normal(0, 2)) for j in columns("columns", 5)}
    width = jnp.array(WIDTH)
    for i in rows("rows", 5):
        for j in columns("columns", 5):
            cell = plait.sample(f"cell_{i}_{j}", dist.Normal(out[i] + 2 * into[j], width[i]))
            plait.sample(f"y_{i}_{j}", dist.Normal(cell, 1 + into[j] ** 2), obs=y[i, j])


def cells_in_plates(y, rows, columns):
    out = {i: plait.sample(f"out_{i}", dist.Normal(0, 1)) for i in rows("rows", 5)}
    with plait.plate("columns", 5):
        into = plait.sample("into", dist.Normal(0, 2))
        width = jnp.array(WIDTH)
        for i in rows("rows", 5):
            cell = plait.sample(f"cell_{i}", dist.Normal(out[i] + 2 * into, width[i]))
            plait.sample(f"y_{i}", dist.Normal(cell, 1 + into**2), obs=y[i])


def plates_over_rows(y, rows, columns):
    with plait.plate("rows", 5):
        out = plait.sample("out", dist.Normal(0, 1))
    into = {j: plait.sample(f"into_{j}", dist.Normal(0, 2)) for j in columns("columns", 5)}
    for j in columns("columns", 5):
        with plait.plate("rows", 5):
            cell = plait.sample(f"cell_{j}", dist.Normal(out + 2 * into[j], jnp.array(WIDTH)))
            plait.sample(f"y_{j}", dist.Normal(cell, 1 + into[j] ** 2), obs=y[:, j])


def ranged(name: str, n: int) -> range:
    return range(n)


@pytest.mark.parametrize("model", [loops_in_loops, cells_in_plates, plates_over_rows], ids=lambda m: m.__name__)
@pytest.mark.parametrize("loop", [ranged, plait.plate], ids=["range", "plate"])
def test_nested_loops_and_plates_of_one_size_keep_their_axes(model: Callable[..., None], loop: Any, x64) -> None:
    rng = np.random.default_rng(3)
    y, out, into, cell = rng.normal(size=(5, 5)), rng.normal(size=5), rng.normal(size=5), rng.normal(size=(5, 5))
    compiled = plait.compile(partial(model, rows=loop, columns=loop), y)
    values = {name: member(name, {"out": out, "into": into, "cell": cell}, model) for name in compiled.shapes}
    wanted = {
        "out": normal(out, 0, 1),
        "into": normal(into, 0, 2),
        "cell": normal(cell, out[:, None] + 2 * into, WIDTH[:, None]),
        "y": normal(y, cell, 1 + into**2),
    }
    close(compiled.log_joint(values), sum(wanted.values()), 1e-10 * 300)
    terms = compiled.log_prob_terms(values)
    for family, term in wanted.items():
        found = sum(float(np.sum(x)) for name, x in terms.items() if re.match(rf"{family}(_|$)", name))
        assert found == pytest.approx(term, rel=1e-10)


def member(name: str, arrays: Mapping[str, np.ndarray], model: Callable[..., None]) -> np.ndarray:
    """``cell_2_3`` of the array cell; the numbers of `plates_over_rows` are those of columns."""
    family, *numbers = name.split("_")
    index = tuple(map(int, numbers))
    by_column = model is plates_over_rows and family == "cell"
    return arrays[family][(slice(None), *index) if by_column else index]


# -- random programs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", some(range(60)))
def test_random_programs_say_the_same_rolled_and_unrolled(seed: int, x64) -> None:
    program = written(seed)
    with shown(program):
        model = program.over(ranged)
        compare(*once(partial(rolled_and_unrolled, model, model), program.data(), numbers(seed)))


@pytest.mark.parametrize("seed", some(range(100, 115)))
def test_random_programs_over_plates_say_what_their_ordinary_loops_say(seed: int, x64) -> None:
    program = written(seed)
    with shown(program):
        loop, model = program.over(plait.plate), program.over(ranged)
        compare(*once(partial(rolled_and_unrolled, loop, model), program.data(), numbers(seed)))


@pytest.mark.parametrize("seed", range(200, 203))
def test_random_programs_are_numpyros_too(seed: int, x64) -> None:
    program = written(seed)
    with shown(program):
        model, data = program.over(ranged), program.data()
        z = numpyro_says.random_z(model, data, np.random.default_rng(seed))
        theirs = once(partial(numpyros, model), data, z)
        compiled = plait.compile(model.bind(plait), **data)
        compare(answers(compiled, *flat(z), theirs["values"]), theirs)


ROWS = 8  # of the data; loops have at most 5 steps


@dataclass(frozen=True)
class Program:
    """The source of ``model(ppl, y, …, *, loop)``; one line makes the sites of one family."""

    name: str
    source: str

    def over(self, loop: Any) -> Model:
        """As a model whose lines errors can show."""
        found: dict[str, Any] = {"dist": dist, "jnp": jnp}
        linecache.cache[self.name] = (len(self.source), None, self.source.splitlines(keepends=True), self.name)
        exec(compile(self.source, self.name, "exec"), found)
        return Model(self.name, partial(found["model"], loop=loop), self.data)

    @staticmethod
    def data() -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        reals = {"y": rng.normal(size=ROWS), "x": rng.normal(size=(ROWS, 2)), "square": rng.normal(size=(ROWS, ROWS))}
        reals["tril"] = np.array([[1.0, 0.0], [0.3, 0.8]])
        return reals | {"bits": rng.integers(0, 2, ROWS), "counts": rng.integers(0, 5, ROWS)}


@contextmanager
def shown(program: Program) -> Iterator[None]:
    """What goes wrong with a program says which program it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(program.source)
        raise


def written(seed: int) -> Program:
    """A random program."""
    return Program(f"<random program {seed}>", Writer(np.random.default_rng(seed)).program())


@dataclass
class Writer:
    """Writes loops whose parts are drawn at random.

    Attributes:
        kept: families that a dictionary keeps, with their sizes and how to read a number: what later loops can read.
        filled: those that the open loop fills.
        fresh: expressions of this step's values.
    """

    rng: np.random.Generator
    lines: list[str] = field(default_factory=list)
    kept: dict[str, tuple[int, str]] = field(default_factory=dict)
    filled: dict[str, tuple[int, str]] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    depth: int = 1
    families: int = 0

    def program(self) -> str:
        self.depth = 0
        self.write("def model(ppl, y, x, square, tril, bits, counts, *, loop):")
        self.depth = 1
        self.write('mu = ppl.sample("mu", dist.Normal(0.3, 1.2))')
        self.write('tau = ppl.sample("tau", dist.LogNormal(-0.2, 0.4))')
        for k in range(self.pick(1, 1, 2, 2, 3)):
            self.pick(self.loop, self.loop, self.nest, self.chain, self.mutual, self.state)(f"loop_{k}")
        if self.kept and self.chance(0.5):
            self.ending()
        return "\n".join(self.lines) + "\n"

    # loops

    def loop(self, name: str) -> None:
        n = self.upto(3, 5)
        order = self.pick(*[f'loop("{name}", {n})'] * 3, f"reversed(range({n}))", f"{self.order(n)}")
        self.head(f"for i in {order}:")
        for _ in range(self.upto(1, 3)):
            self.statement("i", n)
        self.end()

    def nest(self, name: str) -> None:
        """A loop in a loop, of its own size, of the same size, or ragged."""
        n = self.upto(2, 3)
        m = self.pick(n, self.upto(2, 3))
        inner = self.pick(
            f'loop("{name}_inner", {m})', f"range({m})", f"range({[self.upto(1, m) for _ in range(n)]}[i])"
        )
        self.head(f'for i in loop("{name}", {n}):')
        self.statement("i", n)
        self.head(f"for j in {inner}:")
        cell = self.pick("square[i, j]", "square[j, i]", "y[i + j]")
        family = self.family()
        label = f'f"{family}_{{i}}_{{j}}"'
        prior = f"dist.Normal({self.real('i', n)} + 0.3 * {self.real('j', m)}, {self.positive('j', m)})"
        self.write(f"{family} = ppl.sample({label}, {prior})")
        seen = f'f"seen_{family}_{{i}}_{{j}}"'
        self.write(f"ppl.sample({seen}, dist.Normal({family}, {self.positive('i', n)}), obs={cell})")
        self.end()
        self.end()

    def chain(self, name: str) -> None:
        """A step reads the one before, by an index or by a variable, or one further back."""
        n, family = self.upto(4, 5), self.family()
        start, lag = self.pick("0.4", "mu", "y[7]"), self.upto(1, 3)
        by_name = self.chance(0.5)
        before = f"prev_{family}" if by_name else f"({family}[i - {lag}] if i >= {lag} else {start})"
        self.write(f"prev_{family} = {start}" if by_name else f"{family} = {{}}")
        self.head(f'for i in loop("{name}", {n}):')
        prior = self.pick(
            f"dist.Normal(0.7 * {before} + 0.2 * {self.real('i', n)}, {self.positive('i', n)})",
            f"dist.LogNormal(0.3 * {before}, 0.5)",
            f"dist.Gamma(4.0, 4.0 / (0.1 + jnp.abs({before})))",
        )
        target = f"prev_{family}" if by_name else f"{family}[i]"
        self.write(f'{target} = ppl.sample(f"{family}_{{i}}", {prior})')
        if not by_name:
            self.filled[family] = (n, "{}[{}]")
        self.fresh.append(target)
        for _ in range(self.upto(0, 2)):
            self.statement("i", n)
        self.end()

    def mutual(self, name: str) -> None:
        n, a, b = self.upto(3, 5), self.family(), self.family()
        self.write(f"{a}, {b} = {{}}, {{}}")
        self.head(f'for i in loop("{name}", {n}):')
        for this, other in ((a, b), (b, a)):
            before = f"({other}[i - 1] if i > 0 else {self.number(-1, 1)})"
            prior = f"dist.Normal(0.6 * {before}, {self.positive('i', n)})"
            self.write(f'{this}[i] = ppl.sample(f"{this}_{{i}}", {prior})')
        self.fresh += [f"{a}[i]", f"{b}[i]"]
        self.statement("i", n)
        self.filled |= {a: (n, "{}[{}]"), b: (n, "{}[{}]")}
        self.end()

    def state(self, name: str) -> None:
        """A recursion without a site, observed in each step, and a sum that is read after the loop."""
        n, state = self.upto(3, 5), f"state_{self.family()}"
        self.write(f"{state} = {self.pick('mu', '0.5')}")
        self.head(f'for i in loop("{name}", {n}):')
        seen = f'f"seen_{state}_{{i}}"'
        self.write(f"ppl.sample({seen}, dist.Normal({state}, {self.positive('i', n)}), obs={self.data('i', n)})")
        self.write(f"{state} = 0.6 * {state} + 0.3 * {self.real('i', n)}")
        self.end()
        self.write(f'ppl.factor("after_{state}", -0.1 * jnp.square({state}))')

    def ending(self) -> None:
        family = self.pick(*self.kept)
        size, text = self.kept[family]
        picked = [text.format(family, self.upto(0, size - 1)) for _ in range(3)]
        self.write(f"several = jnp.stack([{', '.join(picked)}])")
        self.head('with ppl.plate("rows", 3):')
        self.write('ppl.sample("seen_at_the_end", dist.Normal(several, 1.0), obs=y[2:5])')
        self.end()

    # statements of a body

    def statement(self, i: str, n: int) -> None:
        self.pick(*[self.latent] * 3, *[self.observed] * 3, self.plate, self.factor, self.deterministic, self.weighted)(
            i, n
        )

    def latent(self, i: str, n: int) -> None:
        family = self.family()
        label, (prior, part) = self.label(family, i), self.prior(i, n)
        if self.chance(0.2):
            prior = f"{prior} if {i} != {self.upto(0, n - 1)} else {self.stranger(part, i, n)}"
        self.write(f"{family}_i = ppl.sample({label}, {prior})")
        self.fresh.append(f"{family}_i{part}")
        if self.chance(0.5):
            self.lines.insert(self.before_loop(), f"    {family} = {{}}")
            self.write(f"{family}[{i}] = {family}_i")
            self.filled[family] = (n, "{}[{}]" + part)

    def stranger(self, part: str, i: str, n: int) -> str:
        """A prior of another family or of more code, of the same shape."""
        if part in ("[0]", "[1]"):
            return "dist.MultivariateNormal(jnp.zeros(2), scale_tril=tril)"
        if part:
            return f"dist.Dirichlet(jnp.exp(jnp.array([0.1, 0.2, 0.3]) * {self.real(i, n)}))"
        return self.pick("dist.StudentT(5.0, 0.1, 1.3)", f"dist.Normal(jnp.sin({self.real(i, n)}), 1.0)")

    def observed(self, i: str, n: int) -> None:
        label, loc = self.label(f"seen_{self.family()}", i), self.real(i, n)
        at = self.index(i, n, ROWS)
        fn, obs = self.pick(
            (f"dist.Normal({loc}, {self.positive(i, n)})", f"y[{at}]"),
            (f"dist.Normal({loc}, {self.positive(i, n)})", f"y[{at}] - y[{i}]"),
            (f"dist.Bernoulli(logits={loc})", f"bits[{at}]"),
            (f"dist.Poisson(jnp.exp(0.3 * ({loc})))", f"counts[{at}]"),
            (f"dist.Normal({loc} * jnp.array([1.0, -0.5]), 1.0).to_event(1)", f"x[{at}]"),
        )
        if self.chance(0.15) and "Normal" in fn:
            obs = f"None if {i} == {self.upto(0, n - 1)} else {obs}"
        self.write(f"ppl.sample({label}, {fn}, obs={obs})")

    def plate(self, i: str, n: int) -> None:
        family, size = self.family(), self.pick(3, n)
        self.head(f'with ppl.plate(f"rows_{family}_{{{i}}}", {size}):')
        self.write(f"{family}_i = ppl.sample({self.label(family, i)}, dist.Normal({self.real(i, n)}, 1.0))")
        obs = self.pick(f"square[{i}, :{size}]", f"square[:{size}, {i}]")
        seen = self.label(f"seen_{family}", i)
        self.write(f"ppl.sample({seen}, dist.Normal({family}_i, {self.positive(i, n)}), obs={obs})")
        self.end(keep=True)
        self.fresh.append(f"jnp.sum({family}_i)")

    def factor(self, i: str, n: int) -> None:
        self.write(f"ppl.factor({self.label(self.family(), i)}, -0.2 * jnp.square({self.real(i, n)}))")

    def deterministic(self, i: str, n: int) -> None:
        family = self.family()
        self.write(f"{family}_i = ppl.deterministic({self.label(family, i)}, {self.real(i, n)} + 0.0 * mu)")
        self.fresh.append(f"{family}_i")

    def weighted(self, i: str, n: int) -> None:
        weights = [round(float(w), 2) for w in self.rng.uniform(0.2, 3, n)]
        handler = self.pick(
            f"scale(scale={weights}[{i}])", f"mask(mask=bits[{i}] == 1)", f"mask(mask={i} != {self.upto(0, n - 1)})"
        )
        self.head(f"with ppl.handlers.{handler}:")
        self.pick(self.latent, self.observed)(i, n)
        self.end(keep=True)

    # expressions

    def prior(self, i: str, n: int) -> tuple[str, str]:
        """A distribution, and how a scalar is read of its values."""
        loc, scale = self.real(i, n), self.positive(i, n)
        return self.pick(
            *[(f"dist.Normal({loc}, {scale})", "")] * 3,
            (f"dist.LogNormal(0.3 * ({loc}), 0.5)", ""),
            (f"dist.Gamma(2.0, {scale})", ""),
            (f"dist.Exponential({scale})", ""),
            (f"dist.StudentT(4.0, {loc}, {scale})", ""),
            (f"dist.Uniform(-1.0 - 0.5 * {i}, {scale})", ""),
            (f"dist.MultivariateNormal(jnp.array([1.0, -0.4]) * ({loc}), scale_tril=tril)", self.pick("[0]", "[1]")),
            (f"dist.Dirichlet((1.0 + square[0, :3] ** 2) * {scale})", "[2]"),
        )

    def real(self, i: str, n: int) -> str:
        leaf = partial(self.leaf, i, n)
        return self.pick(
            leaf(),
            leaf(),
            f"({self.number(-1, 1)} * {leaf()} + {leaf()})",
            f"jnp.tanh({leaf()} - {leaf()})",
            f"({leaf()} if {i} == {self.upto(0, n - 1)} else {leaf()})" if self.chance(0.2) else leaf(),
        )

    def leaf(self, i: str, n: int) -> str:
        options = [self.number(-1, 1), f"{[float(self.number(-1, 1)) for _ in range(n)]}[{i}]", "mu", self.data(i, n)]
        options += [f"x[{self.index(i, n, ROWS)}, {self.upto(0, 1)}]", f"0.1 * {i}"]
        options += self.fresh * 2
        options += [text.format(name, self.index(i, n, size)) for name, (size, text) in self.kept.items()]
        return self.pick(*options)

    def positive(self, i: str, n: int) -> str:
        widths = [round(float(w), 2) for w in self.rng.uniform(0.3, 2, n)]
        return self.pick(
            "tau", self.number(0.3, 2), f"{widths}[{i}]", f"(1 + {i})", f"jnp.exp(0.2 * {self.leaf(i, n)})"
        )

    def data(self, i: str, n: int) -> str:
        table = f"y[jnp.array({self.order(n)})[{i}]]"
        return self.pick(f"y[{self.index(i, n, ROWS)}]", f"y[{self.index(i, n, ROWS)}]", table)

    def index(self, i: str, n: int, size: int) -> str:
        """An index below `size`, of a step below n."""
        if size < n:
            return self.pick(f"{i} % {size}", f"{i} * {size} // {n}")
        within = [i, i, f"{n - 1} - {i}", f"{i} // 2", f"{self.order(n)}[{i}]"]
        return self.pick(*within, *([f"{i} + 1"] * (size > n)))

    def label(self, family: str, i: str) -> str:
        return self.pick(
            f'f"{family}_{{{i}}}"', f'f"{family}_{{{i}}}"', f'f"{family}[{{{i}}}]"', f'f"{family}{{{i}:02d}}x"'
        )

    # the pen

    def family(self) -> str:
        self.families += 1
        return "abcdefghklmnopqrstuvwz"[self.families % 22] + str(self.families // 22 or "")

    def write(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def head(self, line: str) -> None:
        self.write(line)
        self.depth += 1

    def end(self, keep: bool = False) -> None:
        self.depth -= 1
        if not keep:
            self.fresh.clear()
        if self.depth == 1:
            self.kept |= self.filled
            self.filled.clear()

    def before_loop(self) -> int:
        """Where the outermost open loop begins."""
        return max(k for k, line in enumerate(self.lines) if line.startswith("    for "))

    def upto(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def number(self, low: float, high: float) -> str:
        return f"{self.rng.uniform(low, high):.2f}"

    def order(self, n: int) -> list[int]:
        return [int(k) for k in self.rng.permutation(n)]

    def pick(self, *options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)


# -- families at the boundary -----------------------------------------------------------------------------
# What `CompiledModel` says of the families that it found.


FOUND = {
    "schools": {"theta_*": 8},
    "interleaved": {"a_*": 7, "b_*": 7},
    "padded_names": {"w*_raw": 11},
    "simplexes": {"p_*": 5},
    "multivariate": {"L_*": 3, "tau_*": 3, "b_*": 3},
    "noncentered": {"theta_*_decentered": 5},
    "plate_inside": {"theta_*": 4, "x_*": 4},
    "plate_around": {"theta_*": 4},
}


@pytest.mark.parametrize("case", [c for c in LOOP_MODELS if c.name in FOUND], ids=lambda c: c.name)
def test_families_have_names_that_a_star_joins(case: LoopModel) -> None:
    compiled = plait.compile(case.model.bind(plait), **case.model.args(np.float32))
    latent = {name: members for name, members in compiled.families.items() if members[0] in compiled.shapes}
    assert {name: len(members) for name, members in latent.items()} == FOUND[case.name]
    for name, members in compiled.families.items():
        digits = re.compile(r"\d+".join(map(re.escape, name.split("*"))))
        assert all(digits.fullmatch(member) for member in members)
        assert members == tuple(sorted(members, key=numbers_of))


def numbers_of(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


STACKED = (*FOUND, "supports", "three_loops", "missing", "random_walk", "mutual", "tree", "panel", "vector_chain")


@pytest.mark.parametrize("case", [c for c in LOOP_MODELS if c.name in STACKED], ids=lambda c: c.name)
def test_families_are_given_and_taken_stacked(case: LoopModel, x64) -> None:
    data = case.model.args(np.float64)
    compiled = plait.compile(case.model.bind(plait), **data)
    z = np.random.default_rng(5).uniform(-1, 1, compiled.dim)
    values = compiled.constrain(z)
    assert values.keys() == compiled.shapes.keys()
    latent = {name: members for name, members in compiled.families.items() if members[0] in values}
    joined = {name: np.stack([values.pop(m) for m in members]) for name, members in latent.items()}
    stacked = compiled.constrain(z, stacked=True)
    assert stacked.keys() == {*values, *joined}
    for name, x in joined.items():
        np.testing.assert_array_equal(np.reshape(stacked[name], x.shape), x)
    joint = compiled.log_joint(compiled.constrain(z))
    assert compiled.log_joint(stacked) == joint
    np.testing.assert_allclose(compiled.unconstrain(stacked), z, atol=1e-9)
    two = compiled.constrain(np.stack([z, z + 0.1]), stacked=True)
    for name, x in joined.items():
        assert two[name].shape == (2, *stacked[name].shape)
        np.testing.assert_allclose(np.reshape(two[name][0], x.shape), x, rtol=1e-12)


def test_a_family_is_contiguous_in_the_flat_vector() -> None:
    for case in LOOP_MODELS:
        if case.name in ("interleaved", "three_loops", "noncentered", "simplexes", "panel"):
            compiled = plait.compile(case.model.bind(plait), **case.model.args(np.float32))
            owner = [name.partition("[")[0] for name in compiled.names]
            for members in compiled.families.values():
                places = [k for k, name in enumerate(owner) if name in members]
                assert places == list(range(places[0], places[0] + len(places))) if places else members
