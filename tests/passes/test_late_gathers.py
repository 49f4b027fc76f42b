"""What rows compute from a group's parameter is computed for each group, with the same density and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.ops import Apply

N, J = 12, 3
G = np.arange(N) % J
H = np.arange(N) % 2
ROWS = {"g": G, "h": H, "y": np.random.default_rng(0).poisson(2.0, N), "x": np.linspace(0.1, 1.0, N)}


def groups(name="a", *size):
    return plait.sample(name, dist.Normal(jnp.zeros(size or J), 1.0))


def scalar(name="mu"):
    return plait.sample(name, dist.Normal(0.0, 1.0))


def poisson(rate):
    """A model whose rate `rate` computes of its data."""

    def model(d):
        plait.sample("y", dist.Poisson(rate(d)), obs=d["y"])

    return model


def shapes(graph, *primitives):
    """Those of the floats that these primitives compute, in order."""
    found = [n for n in graph if isinstance(n.op, Apply) and n.op.primitive.name in primitives]
    return [n.type.shape for n in found if n.type.dtype.kind == "f"]


def compare(model, *args, at=None, dtype=np.float64):
    """The graphs before and after; value and gradient are those without the pass."""
    others = {"fuse": False}
    with jax.enable_x64(dtype is np.float64):
        compiled = plait.compile(model, *args, passes=others)
        plain = plait.compile(model, *args, passes=others | {"late_gathers": False})
        z = np.random.default_rng(1).uniform(-1, 1, plain.dim) if at is None else at
        both = jax.jit(lambda z: (compiled.log_density_and_grad(z), plain.log_density_and_grad(z)))
        found, wanted = both(z.astype(dtype))
        rtol = {np.float64: 1e-12, np.float32: 1e-5}[dtype]
        for got, right in zip(found, wanted, strict=True):
            assert got.dtype == dtype
            assert np.isfinite(right).all()
            np.testing.assert_allclose(got, right, rtol=rtol, atol=rtol)
    graphs = dict(compiled.history)
    return graphs["check_data"], graphs["late_gathers"]


def sunk(rate, primitive, shape=(J,), **options):
    """An operation that was one for each row is one for each group, and the term reads a gather."""
    before, after = compare(poisson(rate), ROWS, **options)
    assert shapes(before, primitive) == [(N,)]
    assert shapes(after, primitive) == [shape]
    (term,) = (n for n in after if getattr(n.op, "site", "") == "y" and n.op.mnemonic == "log_prob")
    assert term.args[1].op.primitive.name == "gather"


def stays(rate, primitive):
    before, after = compare(poisson(rate), ROWS)
    assert shapes(before, primitive) == shapes(after, primitive) == [(N,)]


def squared(x):
    return jnp.exp(x * x)


def rectified(x):
    return jnp.exp(jnp.where(x > 0, x, 0.0))


SUNK = {
    "exp": (lambda d: jnp.exp(groups()[d["g"]]), "exp"),
    "a scalar and a chain": (lambda d: jnp.exp(scalar() + groups()[d["g"]]), "add"),
    "two arrays with one index": (lambda d: jnp.exp(groups()[d["g"]] * groups("b")[d["g"]]), "mul"),
    "the same entries twice": (lambda d: squared(groups()[d["g"]]), "mul"),
    "a scalar first": (lambda d: jnp.exp(scalar() - groups()[d["g"]]), "sub"),
    "a scalar that is known": (lambda d: 3.0 / (1.0 + jnp.exp(groups()[d["g"]])), "div"),
    "an array of one number": (lambda d: jnp.exp(groups()[d["g"]] * groups("b", 1)[0]), "mul"),
    "a power": (lambda d: jnp.exp(groups()[d["g"]]) ** 3, "integer_pow"),
    "a choice": (lambda d: rectified(groups()[d["g"]]), "exp"),
    "logistic": (lambda d: jax.nn.sigmoid(groups()[d["g"]]), "logistic"),
}


@pytest.mark.parametrize(("rate", "primitive"), SUNK.values(), ids=SUNK)
def test_one_operation_for_each_group(rate, primitive):
    sunk(rate, primitive)


def test_in_float32():
    sunk(lambda d: jnp.exp(groups()[d["g"]]), "exp", dtype=np.float32)


def test_groups_of_a_matrix():
    sunk(lambda d: jnp.exp(groups("a", 2, J)[d["h"], d["g"]]), "exp", (2, J))


def test_vectors_of_groups():
    def model(d):
        a = groups("a", J, 2)
        plait.sample("y", dist.Dirichlet(jnp.exp(a[d["g"]])), obs=jnp.stack([d["x"], 1 - d["x"]], -1) * 0.9 + 0.05)

    before, after = compare(model, ROWS)
    assert (N, 2) in shapes(before, "exp")
    assert shapes(after, "exp") == [(J, 2)]


def at(x, index):
    return x.at[index].get(mode="clip", wrap_negative_indices=False)


STAYS = {
    "two indices": (lambda d: jnp.exp(groups()[d["g"]] + groups("b")[d["h"]]), "add"),
    "one index, arrays of two shapes": (
        lambda d: jnp.exp(at(groups(), d["g"]) + at(groups("b", J + 1), d["g"])),
        "add",
    ),
    "data of each row": (lambda d: jnp.exp(groups()[d["g"]] + d["x"]), "add"),
    "parameters of each row": (lambda d: jnp.exp(groups()[d["g"]] + groups("b", N)), "add"),
    "more groups than rows": (lambda d: jnp.exp(groups("a", N + 1)[d["g"]]), "exp"),
    "no groups": (lambda d: jnp.exp(scalar() * jnp.asarray(d["x"])), "exp"),
    "another value where the index is out": (
        lambda d: jnp.exp(groups().at[d["g"]].get(mode="fill", fill_value=0.0)),
        "exp",
    ),
}


@pytest.mark.parametrize(("rate", "primitive"), STAYS.values(), ids=STAYS)
def test_near_misses(rate, primitive):
    stays(rate, primitive)


def test_data_are_gathered_as_before():
    """What is known is computed once per data set wherever it stands."""
    before, after = compare(poisson(lambda d: jnp.exp(scalar()) * jnp.exp(d["x"][d["g"]])), ROWS)
    assert shapes(before, "exp") == shapes(after, "exp")


@pytest.mark.parametrize("size", [N, N + 1])
def test_as_many_groups_as_rows_and_one_more(size):
    before, after = compare(poisson(lambda d: jnp.exp(groups("a", size)[d["g"]])), ROWS)
    assert shapes(before, "exp") == [(N,)]
    assert shapes(after, "exp") == [(N,)]
    (gather,) = (
        n for n in after if isinstance(n.op, Apply) and n.op.primitive.name == "gather" and n.type.shape == (N,)
    )
    assert isinstance(gather.args[0].op, Apply) == (size == N)


UNREAD = {
    "sqrt": (jnp.sqrt, -1.0),
    "log": (lambda x: jnp.exp(jnp.log(x)), 0.0),
    "exp": (jnp.exp, 800.0),
    "a quotient": (lambda x: 1.0 / x, 0.0),
    "a power": (lambda x: x**1.5, -1.0),
    "a product of such": (lambda x: x * jnp.sqrt(x), -1.0),
    "a chain": (lambda x: jnp.sqrt(jnp.log(1.0 + x) + 1.0), -3.0),
}


@pytest.mark.parametrize(("function", "value"), UNREAD.values(), ids=UNREAD)
def test_a_group_without_rows_may_be_where_there_is_no_derivative(function, value):
    rows = ROWS | {"g": np.where(G == 1, 0, G)}
    compare(poisson(lambda d: function(groups()[d["g"]])), rows, at=np.array([0.5, value, 1.5]))


def test_a_latent_index_that_may_be_out_of_range():
    def model(d):
        a, k = groups(), plait.sample("k", dist.Poisson(2.0).expand([N]))
        plait.sample("y", dist.Poisson(jnp.exp(a.at[k].get(mode="fill", fill_value=0.0))), obs=d["y"])
        plait.sample("x", dist.Normal(jnp.abs(a[k]), 1.0), obs=d["x"])

    with jax.enable_x64(True):
        compiled = plait.compile(model, ROWS)
        plain = plait.compile(model, ROWS, passes={"late_gathers": False})
        graph = dict(compiled.history)["late_gathers"]
        assert shapes(graph, "exp") == shapes(graph, "abs") == [(N,)]
        values = {"a": np.array([0.1, 0.2, 0.3]), "k": np.where(G == 1, J, G)}
        ours, theirs = compiled.log_prob_terms(values), plain.log_prob_terms(values)
        np.testing.assert_array_equal(ours["y"], theirs["y"])
        np.testing.assert_array_equal(ours["x"], theirs["x"])


def test_other_groups():
    """Which groups have rows is up to the data."""
    model = poisson(lambda d: jnp.sqrt(groups()[d["g"]]))
    with jax.enable_x64(True):
        compiled = plait.compile(model, ROWS, passes={"fuse": False})
        bound = compiled.bind(d=ROWS | {"g": np.where(G == 1, 0, G)})
        assert np.isfinite(bound.log_density_and_grad(np.array([0.5, -1.0, 1.5]))[1]).all()
        assert np.isnan(compiled.log_density(np.array([0.5, -1.0, 1.5])))
