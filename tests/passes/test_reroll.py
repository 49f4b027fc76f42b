"""What `reroll` finds and what it keeps apart, and how the user's sites are given and taken afterwards.

The numbers of many loop models are in `test_loops.py`.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.compiler.rolling.names import _pattern
from plait.compiler.rolling.rows import parts_of, rows_of
from plait.ir.errors import DataError, ValueNamesError
from plait.ir.ops import Apply, Scan
from tests.helpers import line, refused

Y = np.linspace(-1, 1, 6)


def rolled(model, *args):
    """The sites of the rolled graph, as text, by name."""
    graph = plait.compile(model, *args).rolled_graph
    return {n.op.label: str(n.type).partition("[")[2].rstrip("]") for n in graph if n.op.label and n.op.is_root}


def apart(model, *args):
    return plait.compile(model, *args).explain().notes


def pairs(y):
    mu = plait.sample("mu", dist.Normal(0, 5))
    for i in range(6):
        theta = plait.sample(f"theta_{i}", dist.Normal(mu, 1 + i))
        plait.sample(f"y_{i}", dist.Normal(theta, 1), obs=y[i])


# -- what is found --------------------------------------------------------------------------------------


def test_the_sites_of_a_loop_become_one():
    assert rolled(pairs, Y) == {"y": "6", "mu": "", "theta_*": "loop:6", "y_*": "loop:6"}


def test_slices_that_follow_one_another_are_the_array_itself():
    used = [n.op.primitive.name for n in plait.compile(pairs, Y).rolled_graph.of(Apply)]
    assert set(used) <= {"reshape", "squeeze"}


def test_members_of_members_are_taken_without_a_gather():
    def model():
        a = [plait.sample(f"a_{i}", dist.Normal(0, 1)) for i in range(3)]
        b = [plait.sample(f"b_{j}", dist.Normal(0, 1)) for j in range(4)]
        for i in range(3):
            for j in range(4):
                plait.sample(f"x_{i}_{j}", dist.Normal(a[i] + b[j], 1))

    compiled = plait.compile(model)
    assert compiled.families["x_*"] == tuple(f"x_{i}_{j}" for i in range(3) for j in range(4))
    assert "gather" not in str(compiled.rolled_graph)


def test_stacked_members_are_the_family_itself():
    def model(g, y):
        a = jnp.stack([plait.sample(f"a_{i}", dist.Normal(0, 1)) for i in range(20)])
        plait.sample("y", dist.Normal(a[g], 1), obs=y)

    text = str(plait.compile(model, np.arange(6), Y).rolled_graph)
    assert "stack" not in text
    assert "concatenate" not in text


def test_a_running_sum_is_one_sum():
    def model(x, y):
        eta = 0.0
        for k in range(5):
            eta = eta + x[:, k] * plait.sample(f"b_{k}", dist.Normal(0, 1))
        plait.sample("y", dist.Normal(eta, 1), obs=y)

    graph = plait.compile(model, np.ones((6, 5)), Y).rolled_graph
    assert [n.op.primitive.name for n in graph.of(Apply)].count("reduce_sum") == 1


def test_a_chain_becomes_a_scan_and_its_density_has_none():
    def model(y):
        x = 0.0
        for t in range(6):
            x = plait.sample(f"x_{t}", dist.Normal(x, 1))
            plait.sample(f"y_{t}", dist.Normal(x, 1), obs=y[t])

    compiled = plait.compile(model, Y)
    (scan,) = compiled.rolled_graph.ops(Scan)
    assert (scan.length, scan.n_carry) == (6, 1)
    assert not dict(compiled.history)["vectorize_scans"].of(Scan)


def test_the_chains_of_a_panel_go_side_by_side():
    def model(y):
        for s in range(3):
            x = 0.0
            for t in range(2):
                x = plait.sample(f"x_{s}_{t}", dist.Normal(x, 1))

    compiled = plait.compile(model, Y)
    (scan,) = compiled.rolled_graph.ops(Scan)
    assert scan.length == 2
    assert compiled.families["x_*"] == ("x_0_0", "x_1_0", "x_2_0", "x_0_1", "x_1_1", "x_2_1")
    values = {name: float(i) for i, name in enumerate(compiled.shapes)}
    want = sum(dist.Normal(values[f"x_{s}_0"] * t, 1).log_prob(values[f"x_{s}_{t}"]) for s in range(3) for t in (0, 1))
    np.testing.assert_allclose(compiled.log_joint(values), want, rtol=1e-6)


def test_a_tree_goes_by_generations():
    def model():
        x = [plait.sample("x_0", dist.Normal(0, 1))]
        for i in range(1, 31):
            x.append(plait.sample(f"x_{i}", dist.Normal(x[(i - 1) // 2], 1)))

    assert sorted(map(len, plait.compile(model).families.values())) == [2, 4, 8, 16]


def test_whole_numbers_and_fractions_are_numbers():
    def model():
        for i, scale in enumerate([1, 2.0, 3]):
            plait.sample(f"x_{i}", dist.Normal(0, scale))

    assert rolled(model) == {"x_*": "loop:3"}


# -- what is kept apart ---------------------------------------------------------------------------------


def test_two_lines_are_no_loop():
    def model():
        plait.sample("a", dist.Normal(0, 1))
        plait.sample("b", dist.Normal(0, 1))

    assert not plait.compile(model).families


def test_another_family_on_the_same_line_is_named():
    def model():
        for i in range(4):
            plait.sample(f"x_{i}", dist.Normal(0, 1) if i != 2 else dist.Cauchy(0, 1))

    assert rolled(model) == {"x_*": "loop:3", "x_2": ""}
    (note,) = apart(model)
    assert note.startswith("x_0 and x_2 are kept apart: one is Normal of shape [] ")
    assert "the other Cauchy" in note


def test_an_operand_that_keeps_changing_its_kind_is_named():
    def model():
        for i in range(10):
            x = plait.sample(f"x_{i}", dist.Normal(0, 1))
            plait.sample(f"y_{i}", dist.Normal(jnp.exp(x) if i % 2 else jnp.sin(x), 1))

    assert {name for name in rolled(model) if "*" in name} == {"x_*", "y_*", "y_*2"}
    assert "y_0 and y_1 are kept apart: one depends on sin, the other on exp" in apart(model)


def test_a_support_that_depends_on_the_one_before_is_not_rolled():
    def model():
        x = 1.0
        for t in range(4):
            x = plait.sample(f"x_{t}", dist.Uniform(0, x))

    compiled = plait.compile(model)
    assert list(compiled.shapes) == ["x_0", "x_1", "x_2", "x_3"]
    assert any("support" in note for note in compiled.explain().notes)
    assert np.isfinite(compiled.log_density(np.zeros(4)))


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["theta_0", "theta_1"], "theta_*"),
        (["theta_10", "theta_11"], "theta_*"),
        (["a_1_x", "a_2_x"], "a_*_x"),
        (["x_0_0", "x_0_1", "x_1_0"], "x_*"),
        (["beta_age", "beta_wage"], "beta_*"),
        (["raw_mu", "raw_tau"], "raw_*"),
        (["mu", "tau"], "mu…tau"),
    ],
)
def test_names_of_families(names, pattern):
    assert _pattern(names) == pattern


def test_a_familys_name_is_free():
    def model():
        plait.sample("x_*", dist.Normal(0, 1))
        for i in range(3):
            plait.sample(f"x_{i}", dist.Normal(0, 1))

    assert plait.compile(model).families == {"x_*2": ("x_0", "x_1", "x_2")}


# -- the boundary ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled():
    return plait.compile(pairs, Y)


def test_names_are_the_users(compiled):
    assert compiled.names == ("mu", *(f"theta_{i}" for i in range(6)))
    assert compiled.shapes == dict.fromkeys(compiled.names, ())
    assert set(compiled.families) == {"theta_*", "y_*"}


def test_values_are_given_one_by_one_or_stacked(compiled):
    z = np.linspace(0, 1, 7)
    one_by_one, stacked = compiled.constrain(z), compiled.constrain(z, stacked=True)
    assert stacked["theta_*"].shape == (6,)
    assert compiled.log_joint(one_by_one) == compiled.log_joint(stacked)
    np.testing.assert_allclose(compiled.unconstrain(stacked), z, rtol=1e-6)
    np.testing.assert_allclose(compiled.unconstrain(one_by_one), z, rtol=1e-6)
    batched = compiled.constrain(np.stack([z, z + 1]))
    np.testing.assert_allclose(compiled.unconstrain(batched), np.stack([z, z + 1]), rtol=1e-6)


def test_terms_and_likelihoods_are_the_users_sites(compiled):
    values = compiled.constrain(np.linspace(0, 1, 7))
    terms = compiled.log_prob_terms(values)
    assert list(terms) == [*compiled.names, *(f"y_{i}" for i in range(6))]
    np.testing.assert_allclose(sum(terms.values()), compiled.log_joint(values), rtol=1e-6)
    assert list(compiled.log_likelihood(values)) == [f"y_{i}" for i in range(6)]


def test_an_observed_member_may_be_named(compiled):
    values = compiled.constrain(np.linspace(0, 1, 7))
    same = {f"y_{i}": np.float32(y) for i, y in enumerate(Y)}
    np.testing.assert_allclose(compiled.log_joint(values | {"y_2": same["y_2"]}), compiled.log_joint(values), rtol=1e-6)
    np.testing.assert_allclose(compiled.log_joint(values | same), compiled.log_joint(values), rtol=1e-6)


def test_values_may_be_traced(compiled):
    values = {name: jnp.asarray(0.5) for name in compiled.shapes}
    gradient = jax.jit(jax.grad(compiled.log_joint))(values)
    assert gradient.keys() == values.keys()
    np.testing.assert_allclose(jax.jit(compiled.constrain)(jnp.ones(7))["theta_3"], 1)


def test_some_members_may_be_given_to_the_sampler(compiled):
    draws = compiled.sample(jax.random.key(0), (50,), given={"theta_1": 3.0, "theta_4": -3.0})
    assert (draws["theta_1"] == 3).all()
    assert (draws["theta_4"] == -3).all()
    assert np.std(draws["theta_2"]) > 0
    assert draws["y_1"].mean() > 2


def test_all_members_may_be_given_to_the_sampler(compiled):
    draws = compiled.sample(jax.random.key(0), given={"theta_*": np.ones((5, 6))})
    assert draws["theta_0"].shape == (5,)
    assert draws["mu"].shape == (5,)


def test_errors_name_the_users_site(compiled):
    values = compiled.constrain(np.zeros(7))
    with refused(ValueNamesError, "'theta_3'"):
        compiled.log_joint({k: v for k, v in values.items() if k != "theta_3"})
    with refused(ValueNamesError, "'theta_*' has shape (6,)"):
        compiled.log_joint({"mu": 0.0, "theta_*": np.zeros(5)})
    with refused(ValueNamesError, "'theta_1' is given twice", "'theta_*'"):
        compiled.log_joint({"mu": 0.0, "theta_*": np.zeros(6), "theta_1": 0.0})
    with refused(ValueNamesError, "no site 'theta'", "'theta_*'"):
        compiled.log_joint({"mu": 0.0, "theta": np.zeros(6)})

    def model(y):
        for i in range(3):
            plait.sample(f"y_{i}", dist.Poisson(1.0), obs=y[i])  # here

    with pytest.raises(DataError) as caught:
        plait.compile(model, np.array([1, -2, 0]))
    assert str(caught.value).startswith("site 'y_1' is observed outside its support")
    assert str(caught.value).endswith(line(model))


def test_bind_takes_new_data(compiled):
    values = compiled.constrain(np.linspace(0, 1, 7))
    fresh = plait.compile(pairs, Y + 1)
    np.testing.assert_allclose(compiled.bind(y=Y + 1).log_joint(values), fresh.log_joint(values), rtol=1e-6)


# -- rows -----------------------------------------------------------------------------------------------


def test_rows_are_what_indexing_gives():
    rng = np.random.default_rng(0)
    x = np.arange(24.0).reshape(12, 2)
    shapes = itertools.product((1, 2, 3), (1, 4), (0, 1, 4), (0, 1, 3))
    grids = [(np.arange(a)[:, None] * outer + np.arange(b) * inner) % 12 for a, b, outer, inner in shapes]
    for rows in [*(grid.ravel() for grid in grids), rng.integers(0, 12, 9), np.arange(12)[::-1]]:
        np.testing.assert_array_equal(rows_of(x, rows), x[rows])


@pytest.mark.parametrize("size", [(1, 1, 3), (1, 2, 1), (2, 1, 2)])
def test_parts_are_what_slicing_gives(size):
    rng = np.random.default_rng(1)
    x = np.arange(60.0).reshape(5, 4, 3)
    starts = np.stack([rng.integers(0, n - s + 1, 7) for n, s in zip(x.shape, size, strict=True)], axis=1)
    for some in (starts, starts * [1, 0, 1], starts * [0, 0, 1], np.sort(starts, axis=0)):
        wanted = [x[tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))] for start in some]
        np.testing.assert_array_equal(parts_of(x, some, size, (1, 1, 1)), np.stack(wanted))
