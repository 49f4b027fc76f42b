"""Normal rows as statistics: the likelihood in 50 digits, its derivative, and the models that must stay as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.test_util import check_grads
from numpyro.distributions import constraints

import plait
from plait.compiler.rules.term import Fusion, Refused
from plait.ir.fused import Fused
from tests.helpers import counting
from tests.rules.normal_models import Pair, Rows, Values, answer, points, random_rows

dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["f64", "f32"])
FLOOR = {np.float64: 1e-10, np.float32: 4 * float(np.finfo(np.float32).eps)}
RNG = np.random.default_rng(0)
N = 120


def check(rows: Rows, at: list[Values], dtype: type, floor: float | None = None) -> None:
    """It fuses, and is about as near to the truth as the sum over rows is."""
    floor = FLOOR[dtype] if floor is None else floor
    rng = np.random.default_rng(1)
    with jax.enable_x64(dtype is np.float64):
        pair = Pair(rows, dtype)
        assert isinstance(pair.answer, Fusion), pair.answer
        for v in at:
            v = {k: np.asarray(x, dtype) for k, x in v.items()}
            fused, plain = pair.errors(v, rng)
            assert fused.value <= max(floor, 2 * plain.value), rows.label
            assert fused.derivative <= max(floor, 2 * plain.derivative), rows.label


@dtypes
@pytest.mark.parametrize("seed", range(14))
def test_random_models(seed: int, dtype: type) -> None:
    rows = random_rows(seed)
    check(rows, list(points(rows, np.random.default_rng(seed))), dtype)


# -- where digits get lost --------------------------------------------------------------------------------

E = RNG.normal(size=N)
X = RNG.normal(size=(N, 4))
G = RNG.integers(0, 5, N)


def level(xp, v, d):
    return v["a"]


def line(xp, v, d):
    return v["a"] + v["b"] * d["x"]


def design(xp, v, d):
    return d["X"] @ v["b"]


def by_group(xp, v, d):
    return v["t"][d["g"]]


def common(xp, v, d):
    return v["s"]


def scale_by_group(xp, v, d):
    return v["s"][d["g"]]


@dtypes
def test_a_mean_far_from_zero(dtype: type) -> None:
    rows = Rows(level, common, {"a": (), "s": ()}, {"y": 1e8 + 0.01 * E})
    near = [{"a": 1e8, "s": 0.01}, {"a": 1e8 + 0.003, "s": 0.01}, {"a": float(np.mean(rows.data["y"])), "s": 0.01}]
    check(rows, [*near, {"a": 0.0, "s": 1.0}], dtype, 2e-15 if dtype is np.float64 else None)


@pytest.mark.parametrize(
    ("dtype", "middle", "spread"),
    [(np.float64, 1e6, 1.0), (np.float64, 2010.0, 10.0), (np.float32, 2010.0, 10.0)],
    ids=["f64-million", "f64-years", "f32-years"],
)
def test_a_covariate_far_from_zero(dtype: type, middle: float, spread: float) -> None:
    """An intercept far outside the data costs digits: the triangle is rounded where the covariate is exact."""
    x = np.round(middle + spread * np.linspace(-1, 1, N), 6)
    rows = Rows(line, common, {"a": (), "b": (), "s": ()}, {"x": x, "y": 3 + 2 * (x - middle) + E})
    at = [{"a": 3.1 - slope * middle, "b": slope, "s": 1.0} for slope in (2.0, 2.1, 0.0)]
    check(rows, [*at, {"a": 1.0, "b": 2.0, "s": 1.0}], dtype, 4 * float(np.finfo(dtype).eps) * middle / spread)


DESIGNS = {
    "duplicated": X[:, [0, 0, 1, 1]],
    "collinear": np.column_stack([X[:, :3], X[:, 0] + X[:, 1]]),
    "nearly collinear": np.column_stack([X[:, :3], X[:, 0] + 1e-9 * X[:, 1]]),
    "badly scaled": X * [1e-8, 1, 1e8, 1e-3],
    "a column of zeros": X * [1, 0, 1, 1],
}


@dtypes
@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_without_full_rank(name: str, dtype: type) -> None:
    length = np.abs(DESIGNS[name]).max(0) + np.array([0, name == "a column of zeros", 0, 0])
    y = X @ [1.0, 2.0, 3.0, 4.0] + E
    best = np.linalg.lstsq(DESIGNS[name] / length, y)[0] / length
    rows = Rows(design, common, {"b": (4,), "s": ()}, {"X": DESIGNS[name], "y": y})
    far = best + 1e5 * np.array([1, 1, 0, 1]) / length
    check(rows, [{"b": b, "s": 1.0} for b in (best, 1.1 * best, far, 0 * best)], dtype)


@pytest.mark.parametrize("size", [1e-100, 1e-12, 1e12, 1e100])
def test_tiny_and_huge_scales(size: float) -> None:
    rows = Rows(line, common, {"a": (), "b": (), "s": ()}, {"x": E**2, "y": size * E})
    check(rows, [{"a": 0.1 * size, "b": 0.2 * size, "s": size}], np.float64)


@pytest.mark.parametrize("y_scale", [1e-6, 1e6])
def test_a_scale_that_is_not_the_spread(y_scale: float) -> None:
    rows = Rows(line, common, {"a": (), "b": (), "s": ()}, {"x": E**2, "y": y_scale * E})
    check(rows, [{"a": 0.1, "b": 0.2, "s": s} for s in (1e-6, 1.0, 1e6)], np.float64)


MASKS = {"all": np.zeros(N, bool), "one group": G != 2, "all but one row": np.arange(N) == 7}


@pytest.mark.parametrize("scale", [common, scale_by_group])
@pytest.mark.parametrize("name", MASKS)
def test_masked_rows_may_hold_anything(name: str, scale) -> None:
    mask = MASKS[name]
    data = {"y": np.where(mask, E, np.nan), "g": G, "mask": mask}
    shapes = {"t": (5,), "s": () if scale is common else (5,)}
    rows = Rows(by_group, scale, shapes, data)
    check(rows, [rows.draw(np.random.default_rng(3))], np.float64)


# -- shapes of models that the random ones do not have ------------------------------------------------------


@dtypes
@pytest.mark.parametrize("scale", [common, lambda xp, v, d: v["s"] * d["k"], lambda xp, v, d: v["s"][None, :]])
def test_parameters_over_a_plate_of_two_dimensions(scale, dtype: type) -> None:
    """Each column of a table is a cell."""
    shape = (5,) if scale(np, {"s": np.zeros(5)}, {"k": 1}).ndim == 2 else ()
    data = {"y": RNG.normal(size=(40, 5)), "k": RNG.uniform(1, 2, (40, 1)), "x": RNG.normal(size=(40, 1))}
    rows = Rows(lambda xp, v, d: v["t"] + d["x"] * v["u"], scale, {"t": (5,), "u": (5,), "s": shape}, data)
    check(rows, list(points(rows, np.random.default_rng(4))), dtype)


def test_rows_of_a_table_as_one_event() -> None:
    data = {"y": RNG.normal(size=(40, 5)), "X": RNG.normal(size=(5, 3))}
    rows = Rows(design, common, {"b": (3,), "s": ()}, data, wrap=lambda rows: rows.expand([40, 5]).to_event(2))
    check(rows, list(points(rows, RNG)), np.float64)


def test_pairs_that_do_not_all_occur() -> None:
    """Forty people and thirty items, of which each person met two."""
    person = np.repeat(np.arange(40), 20)
    item = (person * 7 + np.repeat(np.tile([0, 11], 40), 10)) % 30
    rows = Rows(
        lambda xp, v, d: v["p"][d["person"]] - v["i"][d["item"]],
        common,
        {"p": (40,), "i": (30,), "s": ()},
        {"y": RNG.normal(size=800), "person": person, "item": item},
    )
    check(rows, [rows.draw(np.random.default_rng(3))], np.float64)


def test_no_columns_and_no_mean() -> None:
    check(
        Rows(design, common, {"b": (0,), "s": ()}, {"y": E, "X": X[:, :0]}), [{"b": np.zeros(0), "s": 2.0}], np.float64
    )
    check(Rows(lambda xp, v, d: d["x"], common, {"s": ()}, {"y": E, "x": E**2}), [{"s": 0.1}], np.float64)


PAIRS = RNG.normal(size=(60, 2))
WEIGHT = RNG.uniform(0.5, 2, 60)
OBSERVED = RNG.uniform(size=(60, 2)) < 0.7


def masked_inside_events(rows):
    with plait.plate("rows", 60):
        plait.sample("y", rows.mask(OBSERVED).to_event(1), obs=PAIRS)


def masked_outside_events(rows):
    with plait.plate("rows", 60):
        plait.sample("y", rows.to_event(1).mask(OBSERVED.all(1)), obs=PAIRS)


def masked_by_handlers(rows):
    with plait.plate("rows", 60), plait.handlers.mask(mask=OBSERVED.all(1)), plait.handlers.scale(scale=WEIGHT):
        plait.sample("y", rows.to_event(1), obs=PAIRS)


def masked_by_all(rows):
    with plait.plate("rows", 60), plait.handlers.scale(scale=WEIGHT):
        plait.sample("y", rows.mask(OBSERVED).to_event(1).mask(WEIGHT > 1), obs=PAIRS)


def expanded_between_events(rows):
    plait.sample("y", dist.Normal(flat("t", 2), 1.5).to_event(1).expand([60]).to_event(1), obs=PAIRS)


@pytest.mark.parametrize(
    "sample",
    [masked_inside_events, masked_outside_events, masked_by_handlers, masked_by_all, expanded_between_events],
    ids=lambda f: f.__name__,
)
def test_each_row_counts_as_the_wrappers_say(sample) -> None:
    def model(x):
        sample(dist.Normal(flat("a") * x + flat("b"), flat("s", positive=True)))

    with jax.enable_x64(True):
        fused, plain = (plait.compile(model, x=PAIRS[::-1] ** 2, passes={"fuse": on}) for on in (True, False))
        assert isinstance(answer(fused), Fusion)
        v = {k: np.linspace(0.5, 1.5, int(np.prod(s))).reshape(s) for k, s in fused.shapes.items()}
        np.testing.assert_allclose(fused.log_joint(v), plain.log_joint(v), rtol=1e-13)


def test_rows_that_are_missing_are_latent_and_the_others_fuse() -> None:
    """Of `obs_mask` come two sites."""

    def model(y):
        a, s = 1.5 * flat("a"), flat("s", positive=True)
        with plait.plate("rows", N):
            plait.sample("y", dist.Normal(a, s), obs=y, obs_mask=~jnp.isnan(y))

    with jax.enable_x64(True):
        y = np.where(np.arange(N) % 5 == 0, np.nan, E)
        fused, plain = (plait.compile(model, y=y, passes={"fuse": on}) for on in (True, False))
        assert [op.site for op in dict(fused.history)["fuse"].ops(Fused)] == ["y_observed"]
        v = {k: np.full(s, 0.7) for k, s in fused.shapes.items()}
        np.testing.assert_allclose(fused.log_joint(v), plain.log_joint(v), rtol=1e-13)


def test_gradients_by_finite_differences() -> None:
    """Of the first order; finite differences of finite differences say less than the rows' own Hessian."""
    rows = random_rows(3)
    with jax.enable_x64(True):
        pair = Pair(rows, np.float64)
        point = rows.draw(np.random.default_rng(2))
        check_grads(pair.fused.log_joint, (point,), order=1, modes=["fwd", "rev"], rtol=1e-6)
        got, wanted = (jax.hessian(c.log_joint)(point) for c in (pair.fused, pair.plain))
        largest = max(np.abs(x).max() for x in jax.tree.leaves(wanted))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * largest), got, wanted)


# -- models that keep their rows ----------------------------------------------------------------------------


def flat(name: str, *shape: int, positive: bool = False):
    support = constraints.positive if positive else constraints.real
    return plait.sample(name, dist.ImproperUniform(support, (), shape))


def row_by_row(d):
    plait.sample("y", dist.Normal(flat("a"), jnp.exp(flat("t", N))), obs=d["y"])


def scale_of_two(d):
    s, t = flat("s", 5, positive=True), flat("t", 5, positive=True)
    plait.sample("y", dist.Normal(flat("a"), s[d["g"]] + t[d["g"]] * d["x"] ** 2), obs=d["y"])


def nonlinear(d):
    plait.sample("y", dist.Normal(jnp.exp(flat("t", N) * d["x"]), flat("s", positive=True)), obs=d["y"])


def latent_mask(d):
    a = flat("a")
    with plait.handlers.mask(mask=(a > 0) & (d["x"] > 0)):
        plait.sample("y", dist.Normal(a, 1.0), obs=d["y"])


def latent_weight(d):
    w = flat("s", positive=True)
    with plait.plate("rows", N), plait.handlers.scale(scale=w * jnp.ones(N)):
        plait.sample("y", dist.Normal(flat("a"), 1.0), obs=d["y"])


def own_means(d):
    plait.sample("y", dist.Normal(flat("t", N), flat("s", positive=True)), obs=d["y"])


def own_scales(d):
    plait.sample("y", dist.Normal(flat("a"), flat("s", positive=True) * flat("t", N, positive=True)), obs=d["y"])


def negative_scale(d):
    """The density is finite where `b` is negative."""
    plait.sample("y", dist.Normal(flat("a"), flat("b", 5)[d["g"]] * d["k"]), obs=d["y"])


def other_family(d):
    plait.sample("y", dist.StudentT(4.0, flat("a"), 1.0), obs=d["y"])


def one_row(d):
    plait.sample("y", dist.Normal(flat("a"), flat("s", positive=True)), obs=d["y"][0])


def no_rows(d):
    plait.sample("y", dist.Normal(flat("t", 5), flat("s", 5, positive=True)), obs=d["y"][:0, None] + jnp.zeros(5))


def fewer_rows_than_columns(d):
    plait.sample("y", dist.Normal(d["X"][:3] @ flat("b", 4), flat("s", positive=True)), obs=d["y"][:3])


REFUSED = {
    row_by_row: "its parameter scale is computed row by row",
    scale_of_two: "its parameter scale is computed row by row",
    nonlinear: "its parameter loc is computed row by row",
    latent_mask: "its mask or scale depends on latents",
    latent_weight: "its mask or scale depends on latents",
    own_means: "its 120 rows have 120 different means or scales",
    own_scales: "its parameter scale is computed row by row",
    negative_scale: "its scale is not a positive multiple of what it is computed from",
    other_family: "no sufficient statistics are known for StudentT",
    one_row: "its 1 rows cost no more than their statistics would",
    no_rows: "it has no rows",
    fewer_rows_than_columns: "its 3 rows have 3 different means or scales",
}


@pytest.mark.parametrize("model", REFUSED, ids=lambda m: m.__name__)
def test_refused(model) -> None:
    data = {"x": E, "y": RNG.normal(size=N), "X": X, "g": G, "k": -np.ones(N)}
    with jax.enable_x64(True):
        compiled = plait.compile(model, d=data)
        found = answer(compiled)
        assert isinstance(found, Refused)
        assert found.reason == REFUSED[model]
        if model is not latent_mask:  # XLA rounds the sum of rows in its own way in another program
            plain = plait.compile(model, d=data, passes={"fuse": False})
            v = {k: -np.ones(s) if k == "b" else np.ones(s) for k, s in compiled.shapes.items()}
            np.testing.assert_allclose(compiled.log_joint(v), plain.log_joint(v), rtol=1e-13)


def scale_of_a_covariate(d):
    return flat("a"), jnp.exp(flat("b") * d["x"])


def scale_of_two_numbers(d):
    s = flat("s", 2, positive=True)
    return flat("a"), s[0] + s[1] * d["x"] ** 2


def mean_of_a_covariate(d):
    return jnp.exp(flat("b") * d["x"]), flat("s", positive=True)


BY_HAND = {
    scale_of_a_covariate: lambda v, d: (v["a"], np.exp(v["b"] * d["x"])),
    scale_of_two_numbers: lambda v, d: (v["a"], v["s"][0] + v["s"][1] * d["x"] ** 2),
    mean_of_a_covariate: lambda v, d: (np.exp(v["b"] * d["x"]), v["s"]),
}


@pytest.mark.parametrize("parameters", BY_HAND, ids=lambda f: f.__name__)
def test_what_has_no_statistics_is_evaluated_by_rows(parameters) -> None:
    def model(d):
        plait.sample("y", dist.Normal(*parameters(d)), obs=d["y"])

    data = {"x": E, "y": RNG.normal(size=N)}
    with jax.enable_x64(True):
        compiled = plait.compile(model, d=data)
        assert answer(compiled).cells == N
        v = {k: np.full(s, 0.7) for k, s in compiled.shapes.items()}
        mean, scale = BY_HAND[parameters](v, data)
        wanted = np.sum(-0.5 * ((data["y"] - mean) / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi)))
        np.testing.assert_allclose(compiled.log_joint(v), wanted, rtol=1e-13)


def test_latents_have_no_rows_to_sum() -> None:
    def model():
        plait.sample("y", dist.Normal(plait.sample("a", dist.Normal()), 1.0).expand([N]).to_event(1))

    assert not list(dict(plait.compile(model).history)["fuse"].ops(Fused))


@pytest.mark.parametrize(("size", "fill_value"), [(5, 0.0), (5, np.nan), (1, 0.0)])
def test_what_a_gather_fills_in_is_no_parameter(size: int, fill_value: float) -> None:
    """Out-of-range indices are errors, unless the user switches the checks off."""

    def model(y, g):
        t = flat("t", size) * np.arange(5.0)
        plait.sample("y", dist.Normal(t.at[g].get(mode="fill", fill_value=fill_value), 1.0), obs=y)

    v, t, outside = {"t": np.ones(size)}, np.arange(5.0), np.where(np.arange(N) == 7, 9, G)
    with jax.enable_x64(True):
        wanted = np.sum(dist.Normal(np.where(outside == 9, fill_value, t[G]), 1.0, validate_args=False).log_prob(E))
        inside = plait.compile(model, y=E, g=G, passes={"check_data": False})
        assert isinstance(answer(inside), Fusion)
        np.testing.assert_allclose(inside.log_joint(v), np.sum(dist.Normal(t[G], 1.0).log_prob(E)), rtol=1e-13)
        for compiled in (inside.bind(g=outside), plait.compile(model, y=E, g=outside, passes={"check_data": False})):
            assert isinstance(answer(compiled), Refused)
            np.testing.assert_allclose(compiled.log_joint(v), wanted, rtol=1e-13)


def test_a_zero_scale_is_not_fused() -> None:
    def model(y, k):
        plait.sample("y", dist.Normal(flat("a"), flat("s", positive=True) * k), obs=y)

    v = {"a": 0.5, "s": 1.5}
    zero = np.where(np.arange(N) == 7, 0.0, 1.0)
    with jax.enable_x64(True):
        compiled = plait.compile(model, y=E, k=np.ones(N))
        np.testing.assert_allclose(compiled.log_joint(v), np.sum(dist.Normal(0.5, 1.5).log_prob(E)), rtol=1e-13)
        assert np.isnan(compiled.bind(k=zero).log_joint(v))
        assert np.isnan(plait.compile(model, y=E, k=zero).log_joint(v))


# -- other data ---------------------------------------------------------------------------------------------


def grouped(y, g, h, k):
    t, u = flat("t", 5), flat("u", 40)
    plait.sample("y", dist.Normal(t[g] + u[h], flat("s") * k), obs=y)


BOUND = {"y": RNG.normal(size=200), "g": RNG.integers(0, 3, 200), "h": RNG.integers(0, 4, 200), "k": np.ones(200)}
V = {"t": np.arange(5.0), "u": np.linspace(-1, 1, 40), "s": np.array(1.5)}


def by_hand(v, y, g, h, k):
    return float(np.sum(dist.Normal(v["t"][g] + v["u"][h], v["s"] * k, validate_args=False).log_prob(y)))


@pytest.fixture(scope="module")
def bound():
    with jax.enable_x64(True):
        compiled = plait.compile(grouped, **BOUND)
        assert isinstance(answer(compiled), Fusion)
        yield compiled


def test_other_data_of_as_many_cells_are_the_same_program(bound) -> None:
    pairs = len(np.unique(BOUND["g"] * 40 + BOUND["h"]))
    before = bound.log_joint(V)
    np.testing.assert_allclose(before, by_hand(V, **BOUND), rtol=1e-12)
    others = [
        {"y": 1e3 + BOUND["y"]},
        {"g": (BOUND["g"] + 2) % 5, "h": 39 - BOUND["h"], "k": np.full(200, 0.5)},  # other cells, as many
        {"g": np.zeros(200, int)},  # fewer
    ]
    for new in others:
        other = bound.bind(**new)
        with counting() as count:
            found = other.log_joint(V)
        assert count.compiles == 0
        np.testing.assert_allclose(found, by_hand(V, **(BOUND | new)), rtol=1e-12)
        assert other._program is bound._program
    assert pairs == 12
    np.testing.assert_array_equal(bound.log_joint(V), before)


def test_data_of_more_cells_are_another_program_that_is_kept(bound) -> None:
    new = {"g": np.arange(200) % 5, "h": np.arange(200) // 5 % 8}
    other = bound.bind(**new)
    np.testing.assert_allclose(other.log_joint(V), by_hand(V, **(BOUND | new)), rtol=1e-12)
    assert other._program is not bound._program
    assert bound.bind(**new, y=-BOUND["y"])._program is other._program
    back = other.bind(**BOUND)  # fewer cells fit into the bigger program
    np.testing.assert_allclose(back.log_joint(V), by_hand(V, **BOUND), rtol=1e-12)


def test_data_that_cannot_be_fused_are_summed_row_by_row(bound) -> None:
    new = {"g": np.arange(200) % 5, "h": np.arange(200) // 5}  # 200 cells
    other = bound.bind(**new)
    np.testing.assert_allclose(other.log_joint(V), by_hand(V, **(BOUND | new)), rtol=1e-12)
    assert answer(other).cells == 200
    negative = bound.bind(k=-BOUND["k"])
    np.testing.assert_allclose(negative.log_joint(V | {"s": np.array(-1.5)}), by_hand(V, **BOUND), rtol=1e-12)

    def of_one_scale(y, g, h):
        plait.sample("y", dist.Normal(flat("t", 5)[g] + flat("u", 40)[h], flat("s")), obs=y)

    data = {k: BOUND[k] for k in ("y", "g", "h")}
    few = plait.compile(of_one_scale, **data)
    assert isinstance(answer(few), Fusion)
    many = few.bind(**new)
    np.testing.assert_allclose(many.log_joint(V), by_hand(V, **(BOUND | new)), rtol=1e-12)
    assert isinstance(answer(many), Refused)


def test_under_jit_and_vmap_over_data_rows_are_summed(bound) -> None:
    ys = np.stack([BOUND["y"], 2 * BOUND["y"]])
    wanted = [by_hand(V, **(BOUND | {"y": y})) for y in ys]
    np.testing.assert_allclose(jax.vmap(lambda y: bound.bind(y=y).log_joint(V))(ys), wanted, rtol=1e-12)
    gs = jnp.asarray((BOUND["g"] + 1) % 5)
    in_jit = jax.jit(lambda g: bound.bind(g=g).log_joint(V))(gs)
    np.testing.assert_allclose(in_jit, by_hand(V, **(BOUND | {"g": np.asarray(gs)})), rtol=1e-12)
    whole = jax.jit(lambda y: plait.compile(grouped, **(BOUND | {"y": y})).log_joint(V))(ys[1])
    np.testing.assert_allclose(whole, wanted[1], rtol=1e-12)


def test_values_that_name_the_observed_site_are_not_the_data(bound) -> None:
    y = BOUND["y"] + 1
    np.testing.assert_allclose(bound.log_joint(V | {"y": y}), by_hand(V, **(BOUND | {"y": y})), rtol=1e-12)


def test_rows_are_there_for_those_who_ask(bound) -> None:
    wanted = dist.Normal(V["t"][BOUND["g"]] + V["u"][BOUND["h"]], V["s"]).log_prob(BOUND["y"])
    np.testing.assert_allclose(bound.log_prob_terms(V)["y"], wanted, rtol=1e-12)
    np.testing.assert_allclose(bound.log_likelihood(V)["y"], wanted, rtol=1e-12)


def test_what_a_masked_row_says_of_its_scale_does_not_count() -> None:
    """Neither a factor that is not positive nor an infinite offset."""
    n = 40
    kept = np.arange(n) % 4 != 0
    factor, offset = np.where(kept, 1.5, -1.0), np.where(kept, 0.5, np.inf)
    group, y = np.arange(n) % 3, np.linspace(-1, 1, n)

    def model(factor, offset, group, y):
        a = plait.sample("a", dist.Normal(0, 1))
        with plait.plate("groups", 3):
            s = plait.sample("s", dist.LogNormal(0, 1))
        with plait.plate("rows", n), plait.handlers.mask(mask=kept):
            plait.sample("y", dist.Normal(a + offset, s[group] * factor), obs=y)

    with jax.enable_x64(True):
        compiled = plait.compile(model, factor, offset, group, y)
        (term,) = [t for t in compiled.explain().terms if t.name == "y"]
        assert term.rows == (n, 3)
        s = np.array([0.5, 1.0, 2.0])
        wanted = dist.Normal(0.8, 1.5 * s[group[kept]]).log_prob(y[kept]).sum()
        priors = dist.Normal(0, 1).log_prob(0.3) + dist.LogNormal(0, 1).log_prob(s).sum()
        np.testing.assert_allclose(compiled.log_joint({"a": 0.3, "s": s}), wanted + priors, rtol=1e-12)
