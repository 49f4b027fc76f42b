"""A file that takes any number of rows is the model that was compiled on them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.errors import ArtifactError, BindError, DataError, OptionError
from plait.runtime.artifact import programs
from tests.helpers import counting
from tests.models import MODELS, SCAN_MODELS, some
from tests.runtime.artifact import reader

COMPARED = ("values", "both", "terms", "predictive", "likelihood")
ROWS = {
    "eight_schools": ("sigma", "y"),  # a latent of each row
    "radon": ("county", "floor", "y"),  # statistics, of any number of rows
    "logistic_regression": ("x", "y"),  # statistics of the saved number only
    "state_space": ("y",),  # a scan over rows
}
CASES = some([m for m in [*MODELS, *SCAN_MODELS] if m.name in ROWS])


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.fixture
def briefly(monkeypatch):
    """Without the parts of the density, which are saved as the whole is."""
    monkeypatch.setattr(programs, "PARTS", {})


@pytest.mark.parametrize("model", CASES, ids=lambda m: m.name)
def test_other_numbers_of_rows_are_what_a_compile_gives(model, tmp_path, float64, briefly):
    args, rows, path = model.args(np.float64), ROWS[model.name], tmp_path / "m.plait"
    n = len(args[rows[0]])
    plait.compile(model.bind(plait), **args).save(path, platforms=("cpu",), rows=rows, progress=False)
    loaded = plait.load(path)
    for other in (n + 4, n - 1):
        new = {k: np.take(v, 3 * np.arange(other) % n, axis=0) if k in rows else v for k, v in args.items()}
        compiled, bound = plait.compile(model.bind(plait), **new), loaded.bind(**{k: new[k] for k in rows})
        assert (repr(bound), bound.names, bound.dims) == (repr(compiled), compiled.names, compiled.dims)
        z = reader.point(compiled)
        same(reader.found(bound, z, COMPARED), reader.found(compiled, z, COMPARED))
    back = loaded.bind(**{k: args[k] for k in rows})
    np.testing.assert_allclose(back.log_density(np.zeros(back.dim)), loaded.log_density(np.zeros(back.dim)), rtol=1e-12)


# -- one model, all of it -------------------------------------------------------------------------------------


def line(x, y=None):
    a = plait.sample("a", dist.Normal(0, 2))
    scale = plait.sample("scale", dist.HalfNormal(1))
    with plait.plate("rows", len(x)):
        plait.sample("y", dist.Normal(a * x, scale), obs=y)


X, Y = np.linspace(-1, 1, 6), np.array([1.0, 2, 0, 3, 1, 2])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "m.plait"
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "PARTS", {name: programs.PARTS[name] for name in ("prior", "likelihood")})
        plait.compile(line, X, y=Y).save(path, platforms=("cpu",), rows=("x", "y"), progress=False)
        return plait.load(path)


def test_statistics_are_those_of_the_new_rows_and_cost_no_rows(loaded, float64):
    """A million rows of a regression are a few numbers."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 100_000))
    bound = loaded.bind(x=x, y=y)
    z = np.array([0.3, -0.2])
    scale = np.exp(z[1])
    prior = dist.Normal(0, 2).log_prob(z[0]) + dist.HalfNormal(1).log_prob(scale) + z[1]
    likelihood = -0.5 * np.sum((y - z[0] * x) ** 2) / scale**2 - len(x) * (np.log(scale) + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(bound.log_density(z), prior + likelihood, rtol=1e-12)
    np.testing.assert_allclose(bound.total_log_likelihood(z), likelihood, rtol=1e-12)
    assert not bound._program.name.startswith("rows/")
    assert sum(np.size(k) for k in jax.tree.leaves(bound._density_known)) < 20


def test_functions_go_through_jit_and_vmap_at_every_number(loaded, float64):
    z = np.random.default_rng(1).normal(size=(3, 2))
    for n in (6, 4):
        bound, compiled = loaded.bind(x=X[:n], y=Y[:n]), plait.compile(line, X[:n], y=Y[:n])
        for f in (lambda m: jax.jit(jax.vmap(jax.grad(m.log_density)))(z), lambda m: jax.vmap(m.hessian)(z)):
            np.testing.assert_allclose(f(bound), f(compiled), rtol=1e-10)
    traced = jax.jit(lambda y: loaded.bind(x=X[:4], y=y).log_density(z[0]))(jnp.asarray(Y[:4]))
    np.testing.assert_allclose(traced, plait.compile(line, X[:4], y=Y[:4]).log_density(z[0]), rtol=1e-12)


def test_rows_that_do_not_go_together_are_refused(loaded, float64):
    for new, says in (
        ({"y": Y[:4]}, "have different ones: 'x' 6, 'y' 4; bind all of them together"),
        ({"x": X[:1], "y": Y[:1]}, "need at least 2 rows"),
        ({"x": np.ones((4, 2)), "y": Y[:4]}, r"data 'x' is f64\[4, 2\], compiled for f64\[6\]"),
        ({"x": 1.0, "y": Y[:4]}, "data 'x' is f64"),
    ):
        with pytest.raises(BindError, match=says):
            loaded.bind(**new)
    with pytest.raises(DataError, match="'y'"):
        loaded.bind(x=X[:4], y=np.array([1.0, np.nan, 0, 1]))


def test_a_file_without_such_rows_refuses_others(tmp_path):
    path = tmp_path / "m.plait"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "PARTS", {})
        plait.compile(line, X, y=Y).save(path, platforms=("cpu",), progress=False)
    with pytest.raises(BindError, match=r"data 'x' is f32\[4\], compiled for f32\[6\]"):
        plait.load(path).bind(x=X[:4], y=Y[:4])


def grouped(g, y, groups=3):
    with plait.plate("groups", groups):
        a = plait.sample("a", dist.Normal(0, 1))
    names = [f"row {i}" for i in range(len(y))]
    weights = jnp.asarray([float(len(name)) ** 0.5 + i % 3 for i, name in enumerate(names)])
    with plait.plate("rows", len(y)):
        plait.sample("y", dist.Normal(a[g] * weights, 1), obs=y)


def sized(n, y):
    with plait.plate("rows", n):
        plait.sample("x", dist.Normal(0, 1), obs=y)


def line_alone(x, y):
    line(x, x)
    plait.factor("of y", -jnp.sum(y**2))


def capped(y):
    with plait.plate("rows", len(y)):
        plait.sample("x", dist.Normal(0, min(len(y), 100)), obs=y)


@pytest.mark.parametrize(
    ("model", "args", "rows", "error", "says"),
    [
        (capped, (Y,), ("y",), ArtifactError, "other numbers of rows: .* the numbers 6, 7, 100"),
        (grouped, (np.array([0, 1, 2, 0]), Y[:4]), ("g", "y"), ArtifactError, "other numbers of rows: .* constants"),
        (sized, (6, Y), ("y",), ArtifactError, "with 7 of 'y' it is refused"),
        (line, (X, Y), ("x", "z"), OptionError, r"there is no data array for rows= 'z' \(there are: 'x', 'y'\)"),
        (line, (X, Y), ("yy",), OptionError, "did you mean 'y'"),
        (sized, (6, Y), ("n",), OptionError, "there is no data array for rows= 'n'"),
        (
            line_alone,
            (X, Y[:4]),
            ("x", "y"),
            OptionError,
            "one number of rows, at least 2; got 'x' 6, 'y' 4",
        ),
    ],
    ids=["far", "constants", "size apart", "unknown", "near", "a number", "two lengths"],
)
def test_what_has_no_form_for_any_number_is_refused_before_anything_is_written(
    model, args, rows, error, says, tmp_path, briefly
):
    compiled = plait.compile(model, *args)
    with pytest.raises(error, match=says):
        compiled.save(tmp_path / "m.plait", platforms=("cpu",), rows=rows, progress=False)
    assert not [*tmp_path.iterdir()]


def lagged(y):
    """Code for three rows and more."""
    a = plait.sample("a", dist.Normal(0, 1))
    with plait.plate("rows", len(y) - 2):
        plait.sample("y", dist.Normal(a * y[:-2] + y[1:-1], 1), obs=y[2:])


def test_code_that_needs_some_rows_takes_five_and_more(tmp_path, float64, briefly):
    path = tmp_path / "m.plait"
    plait.compile(lagged, Y).save(path, platforms=("cpu",), rows="y", progress=False)
    more = np.concatenate([Y, Y + 1])
    loaded = plait.load(path)
    np.testing.assert_allclose(
        loaded.bind(y=more).log_density(np.ones(1)), plait.compile(lagged, more).log_density(np.ones(1)), rtol=1e-12
    )
    with pytest.raises(BindError, match="data 'y' need at least 5 rows"):
        loaded.bind(y=Y[:4])


def weighted(y):
    w = plait.param("w", jnp.ones(len(y)))
    with plait.plate("rows", len(y)):
        plait.sample("y", dist.Normal(w, 1), obs=y)


def test_params_of_the_rows_have_to_fit_them(tmp_path, float64, briefly):
    compiled, path = plait.compile(weighted, Y), tmp_path / "m.plait"
    compiled.save(path, platforms=("cpu",), rows=("y",), progress=False)
    bound = plait.load(path).bind(y=Y[:4])
    assert bound.params["w"].shape == (4,)
    np.testing.assert_allclose(bound.log_joint({}), plait.compile(weighted, Y[:4]).log_joint({}), rtol=1e-12)
    fixed = plait.load(path).with_params({"w": np.ones(6)})
    with pytest.raises(
        BindError, match=r"param 'w' was given values of shape \(6,\), and with these data it has \(4,\)"
    ):
        fixed.bind(y=Y[:4])


def test_sums_that_share_a_loop_at_one_of_the_numbers_are_no_reason_to_refuse(tmp_path, float64, briefly):
    """From 33 entries on the gradient's sums are one loop, in a compiled model."""
    x, y = np.random.default_rng(2).normal(size=(2, 40))
    path = tmp_path / "m.plait"

    def model(x, y):
        scale = plait.sample("scale", dist.HalfNormal(1))
        with plait.plate("rows", len(x)):
            theta = plait.sample("theta", dist.Normal(0, scale))
            plait.sample("y", dist.Normal(theta * x, scale), obs=y)

    plait.compile(model, x[:32], y=y[:32]).save(path, platforms=("cpu",), rows=("x", "y"), progress=False)
    bound, compiled = plait.load(path).bind(x=x, y=y), plait.compile(model, x, y=y)
    z = reader.point(compiled)
    for found, wanted in zip(bound.log_density_and_grad(z), compiled.log_density_and_grad(z), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_nothing_is_compiled_twice_for_a_number_of_rows(loaded, float64):
    """Nor for other data of as many, however often they are bound in turn."""
    z = np.ones(2)
    few, many = ({"x": X[:n], "y": Y[:n]} for n in (3, 5))

    def there_and_back(shift):
        bound = loaded
        for data in (few, many, few):
            bound = bound.bind(x=data["x"], y=data["y"] + shift)
            jax.block_until_ready(bound.log_density_and_grad(z))

    there_and_back(1.0)
    with counting() as count:
        there_and_back(2.0)
    assert (count.traces, count.compiles) == (0, 0)


def by_group(g, x, y):
    a = plait.sample("a", dist.Normal(0, 1).expand([30]).to_event(1))
    b = plait.sample("b", dist.Normal(0, 1))
    with plait.plate("rows", len(y)):
        plait.sample("y", dist.Normal(a[g] + b * x, 1), obs=y)


def test_a_model_that_was_compiled_again_for_more_cells_is_saved_as_well(tmp_path, float64, briefly):
    rng = np.random.default_rng(0)
    compiled = plait.compile(by_group, np.zeros(50, int), *rng.normal(size=(2, 50)))
    more = compiled.bind(g=np.arange(50) % 30)
    assert more._program is not compiled._program
    path = tmp_path / "m.plait"
    more.save(path, platforms=("cpu",), rows=("g", "x", "y"), progress=False)
    new = {"g": np.arange(9) % 4, "x": rng.normal(size=9), "y": rng.normal(size=9)}
    z = rng.normal(size=31)
    np.testing.assert_allclose(
        plait.load(path).bind(**new).log_density(z), plait.compile(by_group, **new).log_density(z), rtol=1e-10
    )
