"""A saved model is the compiled one: in a process without its source and NumPyro, on other data, in every sampler."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.errors import ArtifactError, BindError, DataError, ModelError, OptionError, ValueNamesError
from plait.runtime.artifact import programs
from tests.helpers import counting
from tests.models import MODELS, SCAN_MODELS, some
from tests.runtime.artifact import reader

KEY = jax.random.key(3)
ROOT = Path(__file__).resolve().parents[3]


def same(found, wanted, rtol=1e-12):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol, 1e-12), found, wanted)


def saved(compiled, folder, name="m"):
    path = folder / f"{name}.plait"
    compiled.save(path, platforms=("cpu",), progress=False)
    return path


# In `.ci/run` a ninth of the models with a few functions, and one wholly; all of everything in `.ci/matrix`.
FEW = ("log_density", "log_density_and_grad", "values", "deterministics", "terms")
COMPARED = ("values", "both", "terms")
EVERY = [*MODELS, *SCAN_MODELS]
WHOLLY = EVERY if os.environ.get("PLAIT_EVERY_MODEL") else [m for m in EVERY if m.name == "empirical_bayes"]
BRIEFLY = some(some([m for m in EVERY if m not in WHOLLY]))


def test_models_are_the_same_without_their_source(tmp_path, float64, monkeypatch):
    """In a process in which neither NumPyro nor the models can be imported."""
    of_known = programs._of_known
    monkeypatch.setattr(programs, "_of_known", lambda *args: (f for f in of_known(*args) if f.name in FEW))
    monkeypatch.setattr(programs, "_of_data", lambda *_: iter(()))
    monkeypatch.setattr(programs, "PARTS", {})
    require_same(BRIEFLY, tmp_path, COMPARED)


def test_whole_files_are_the_same_without_their_source(tmp_path, float64):
    require_same(WHOLLY, tmp_path, None)


def require_same(models, folder, names):
    wanted = {}
    for model in models:
        compiled = plait.compile(model.bind(plait), **model.args(np.float64))
        if compiled.has_random_params:
            compiled = compiled.with_params(compiled.init_param_values(KEY))
        path = saved(compiled, folder, model.name)
        wanted[path] = reader.found(compiled, reader.point(compiled), names)
    environment = {"JAX_ENABLE_X64": "1", "PYTHONPATH": str(ROOT), "PATH": "", "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = os.environ["XLA_FLAGS"]
    command = [sys.executable, reader.__file__, ",".join(names or ()), *map(str, wanted)]
    done = subprocess.run(command, check=False, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for path, results in wanted.items():
        found = dict(np.load(f"{path}.npz"))
        assert found.keys() == results.keys()
        for name, value in results.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-9, err_msg=f"{path.name} {name}")


# -- one model, all of it ---------------------------------------------------------------------------------


def schools(sigma, n, y=None):
    mu = plait.sample("mu", dist.Normal(0, 5))
    tau = plait.sample("tau", dist.HalfNormal(5))
    with plait.plate("schools", n):
        theta = plait.sample("theta", dist.Normal(mu, tau))
        plait.sample("y", dist.Normal(theta, sigma), obs=y)  # here
    plait.deterministic("twice", 2 * mu)


SIGMA = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    with jax.enable_x64(True):
        compiled = plait.compile(schools, SIGMA, 8, y=Y)
        return compiled, plait.load(saved(compiled, tmp_path_factory.mktemp("schools")))


def test_what_it_says_of_itself_is_the_same(both, float64):
    compiled, loaded = both
    for name in (
        "dim",
        "names",
        "param_names",
        "param_unc_names",
        "shapes",
        "site_shapes",
        "dims",
        "families",
        "slots",
    ):
        assert getattr(loaded, name) == getattr(compiled, name), name
    assert (repr(loaded), loaded.observed_sites) == (repr(compiled), compiled.observed_sites)
    assert str(loaded.explain()) == str(compiled.explain())
    same(loaded.data, compiled.data)


def test_functions_go_through_jaxs_transformations(both, float64):
    compiled, loaded = both
    z = np.random.default_rng(0).normal(size=(2, 3, compiled.dim))

    def twice(model):
        f = model.log_density
        values = jax.jit(jax.vmap(jax.vmap(f)))(z)
        gradients = jax.vmap(jax.grad(lambda z: jax.vmap(f)(z).sum()))(z)
        steps = jax.lax.scan(lambda z, _: (z + 1e-3 * jax.grad(f)(z), f(z)), z[0, 0], length=4)[1]
        pulled = jax.grad(lambda z: model.constrain(z)["tau"])(z[0, 0])
        along = jax.grad(lambda mu: model.log_joint({"mu": mu, "tau": 2.0, "theta": Y / 2}))(1.0)
        direction = jnp.arange(1.0, model.dim + 1)
        twice_back = jax.vmap(jax.grad(lambda z: jax.grad(f)(z) @ direction))(z[0])
        hessians = [jax.vmap(h)(z[0]) for h in (jax.hessian(f), jax.jacrev(jax.grad(f)), model.hessian)]
        return values, gradients, steps, hessians, twice_back, pulled, along

    same(twice(loaded), twice(compiled))


def test_functions_read_while_jax_traces_are_of_use_afterwards(both, tmp_path, float64):
    compiled, _ = both
    loaded = plait.load(saved(compiled, tmp_path))
    z = jnp.linspace(-1, 1, compiled.dim)
    for f in (
        lambda m, z: m.log_density_and_grad(z),
        lambda m, z: (m.log_prior(z), m.constrain(z)),
        lambda m, z: m.log_likelihood(m.constrain(z)),
    ):
        same(jax.jit(lambda z, f=f: f(loaded, z))(z), f(compiled, z))
        same(f(loaded, z), f(compiled, z))


def test_draws_are_the_same(both, float64):
    compiled, loaded = both
    some_values = {"mu": np.array([1.0, 2.0]), "theta": np.ones((2, 8))}
    for given in ({}, some_values):
        same(loaded.sample(KEY, (4,), given=given), compiled.sample(KEY, (4,), given=given))
    same(loaded.init_params(KEY, (3,)), compiled.init_params(KEY, (3,)))
    u = np.random.default_rng(0).uniform(size=(5, compiled.dim))
    same(loaded.prior_transform(u, deterministic=True), compiled.prior_transform(u, deterministic=True))


def test_it_binds_other_data_and_checks_them(both, float64):
    compiled, loaded = both
    z = np.zeros(compiled.dim)
    same(loaded.bind(y=Y + 1).log_density_and_grad(z), compiled.bind(y=Y + 1).log_density_and_grad(z))
    same(loaded.bind(y=Y + 1).bind(y=Y).log_density(z), compiled.log_density(z))
    for wrong, error in (({"y": np.full(8, np.nan)}, DataError), ({"sigma": -SIGMA}, DataError)):
        with pytest.raises(error) as theirs:
            compiled.bind(**wrong)
        with pytest.raises(error) as ours:
            loaded.bind(**wrong)
        assert str(ours.value) == str(theirs.value)
    assert loaded.bind(n=8, y=Y)
    for wrong in ({"n": 9}, {"y": Y[:4]}, {"z": Y}):
        with pytest.raises(plait.PlaitError) as theirs:
            compiled.bind(**wrong)
        with pytest.raises(type(theirs.value)) as ours:
            loaded.bind(**wrong)
        remedy = "compile and save the model again (rows= lets a file take any number of rows)"
        assert str(ours.value) == str(theirs.value).replace("call plait.compile again", remedy)


def test_wrong_values_are_refused_in_the_same_words(both, float64):
    compiled, loaded = both
    for call in (
        lambda m: m.log_joint({"mu": 1.0}),
        lambda m: m.log_density(np.zeros(3)),
        lambda m: m.unconstrain({"mu": 1.0, "tau": -1.0, "theta": np.zeros(8)}),
        lambda m: m.sample(KEY, given={"nu": 1.0}),
    ):
        with pytest.raises(ValueNamesError) as theirs:
            call(compiled)
        with pytest.raises(ValueNamesError) as ours:
            call(loaded)
        assert str(ours.value) == str(theirs.value)


def test_what_a_file_has_not_is_refused_by_name(both, float64):
    _, loaded = both
    z = np.zeros(loaded.dim)
    for call, says in (
        (
            lambda: loaded.log_joint({"mu": 0.0, "tau": 1.0, "theta": Y, "y": Y}),
            "values of observed sites, such as 'y'",
        ),
        (lambda: loaded.find_nonfinite(z), "log_prob_terms"),
        (lambda: loaded.graph, "graphs as JSON"),
        (lambda: loaded.save("again.plait"), "a loaded model can't be saved: copy its file"),
        (lambda: jax.grad(lambda z: jax.hessian(loaded.log_density)(z).sum())(z), "z, of a Hessian"),
        (lambda: jax.grad(lambda y: loaded.bind(y=y).log_density(z))(jnp.asarray(Y)), "data"),
    ):
        with pytest.raises(ArtifactError, match=says):
            call()


@pytest.mark.parametrize(
    ("platform", "says"),
    [
        ("gpu", "'gpu'; did you mean 'cuda'"),
        ("cpus", "did you mean 'cpu'"),
        ("quantum", "there are: 'cpu', 'cuda', 'rocm', 'tpu'"),
    ],
)
def test_an_unknown_platform_is_refused_when_it_is_named(both, platform, says, tmp_path, float64):
    with pytest.raises(OptionError, match=says):
        both[0].save(tmp_path / "m.plait", platforms=("cpu", platform))


def test_a_folder_that_is_not_there_is_named_as_it_was_written(both, tmp_path, float64, monkeypatch):
    monkeypatch.setattr(programs, "PARTS", {})
    path = tmp_path / "nowhere" / "m.plait"
    with pytest.raises(FileNotFoundError) as caught:
        both[0].save(path, platforms=("cpu",), progress=False)
    assert caught.value.filename == str(path)


def test_keys_of_another_generator_are_refused(both, float64):
    _, loaded = both
    with pytest.raises(ArtifactError, match=r"saved for keys of .*fry.*, and this one is of .*rbg"):
        loaded.sample(jax.random.key(0, impl="rbg"))


# -- statistics of the host -------------------------------------------------------------------------------


def rows(g, x, y):
    a = plait.sample("a", dist.Normal(0, 1).expand([4]).to_event(1))
    b = plait.sample("b", dist.Normal(0, 1))
    sigma = plait.sample("sigma", dist.HalfNormal(1))
    with plait.plate("rows", len(y)):
        plait.sample("y", dist.Normal(a[g] + b * x, sigma), obs=y)


def test_new_data_have_their_statistics_computed_and_more_cells_are_read_row_by_row(tmp_path, float64):
    rng = np.random.default_rng(0)
    few = {"g": np.zeros(50, int), "x": rng.normal(size=50), "y": rng.normal(size=50)}
    more = {"g": rng.integers(0, 4, 50), "x": rng.normal(size=50), "y": rng.normal(size=50)}
    compiled = plait.compile(rows, **few)
    assert compiled._program.lowered.kernels
    loaded = plait.load(saved(compiled, tmp_path))
    z = rng.normal(size=compiled.dim)
    for new in ({"y": few["y"] + 1}, more):
        same(loaded.bind(**new).log_density_and_grad(z), compiled.bind(**new).log_density_and_grad(z), 1e-10)
        same(loaded.bind(**new).total_log_likelihood(z), compiled.bind(**new).total_log_likelihood(z), 1e-10)


# -- params, improper priors, discrete latents ------------------------------------------------------------


def fitted(y):
    loc = plait.param("loc", 0.5)
    scale = plait.param("scale", 1.0, constraint=dist.constraints.positive)
    x = plait.sample("x", dist.Normal(loc, scale))
    plait.sample("y", dist.Normal(x, 1), obs=y)


def test_params_and_their_gradients(tmp_path, float64):
    compiled = plait.compile(fitted, np.array([1.0, 2.0]))
    loaded = plait.load(saved(compiled, tmp_path))
    z, params = np.array([0.3]), {"loc": 1.5, "scale": 2.0}
    same(loaded.params, compiled.params)
    same(loaded.log_density_and_grad(z, params), compiled.log_density_and_grad(z, params))
    gradient = [jax.grad(lambda p, m=m: m.log_density(z, p))(params) for m in (loaded, compiled)]
    same(*gradient)
    free = loaded.unconstrain_params(params)
    same(free, compiled.unconstrain_params(params))
    same(loaded.constrain_params(free), params)
    same(loaded.init_param_values(KEY), compiled.init_param_values(KEY))
    with pytest.raises(ValueNamesError) as theirs:
        compiled.with_params({"scale": -1.0})
    with pytest.raises(ValueNamesError) as ours:
        loaded.with_params({"scale": -1.0})
    assert str(ours.value) == str(theirs.value)


def test_params_and_data_that_come_again_compile_nothing(tmp_path, float64):
    path = saved(plait.compile(fitted, np.array([1.0, 2.0])), tmp_path)
    loaded = plait.load(path)

    def use(shift):
        bound = loaded.bind(y=np.array([1.0, 2.0]) + shift).with_params({"loc": shift, "scale": 2.0})
        bound.constrain_params(bound.unconstrain_params(bound.params))
        return jax.block_until_ready(bound.log_density_and_grad(np.array([0.3])))

    use(1.0)
    with counting() as count:
        use(2.0)
    assert (count.traces, count.compiles) == (0, 0)


def improper(y):
    x = plait.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
    plait.sample("y", dist.Normal(x, 1), obs=y)


def test_a_site_without_draws_has_to_be_given(tmp_path, float64):
    compiled = plait.compile(improper, Y)
    loaded = plait.load(saved(compiled, tmp_path))
    same(loaded.sample(KEY, given={"x": 1.0}), compiled.sample(KEY, given={"x": 1.0}))
    with pytest.raises(ModelError) as ours:
        loaded.sample(KEY)
    assert "site 'x' has no draws" in str(ours.value)
    with pytest.raises(ModelError, match="has no prior transform"):
        loaded.prior_transform(np.array([0.5]))


def test_observations_are_named_where_loops_are_rolled_otherwise_without_their_scales(tmp_path, float64, monkeypatch):
    """Sites of a loop of which some are scaled are apart in the density, and together in `log_likelihood`."""
    monkeypatch.setattr(programs, "PARTS", {})
    model = next(m for m in MODELS if m.name == "jitted_reuse")
    compiled = plait.compile(model.bind(plait), **model.args(np.float64))
    assert compiled._unscaled._about.terms != compiled._about.terms
    values = compiled.constrain(reader.point(compiled))
    loaded = plait.load(saved(compiled, tmp_path))
    same(loaded.log_likelihood(values), compiled.log_likelihood(values))


def without_latents(y):
    plait.sample("y", dist.Normal(0.0, 1.0), obs=y)
    plait.factor("f", -jnp.sum(y))


def test_a_model_without_latents(tmp_path, float64):
    compiled = plait.compile(without_latents, Y)
    loaded = plait.load(saved(compiled, tmp_path))
    z = np.zeros(0)
    for call in (
        lambda m: [m.log_density(z), m.log_joint({}), m.log_prob_terms({}), m.log_likelihood({}), m.unconstrain({})],
        lambda m: m.log_density_and_grad(z),
        lambda m: m.sample(KEY, (3,)),
        lambda m: m.bind(y=Y + 1).log_joint({}),
        lambda m: jax.vmap(m.log_density)(np.zeros((2, 0))),
    ):
        same(call(loaded), call(compiled))


def counted(y):
    k = plait.sample("k", dist.Poisson(3.0))
    plait.sample("y", dist.Normal(k, 1), obs=y)


def test_a_model_with_a_discrete_latent_has_its_log_joint(tmp_path, float64):
    compiled = plait.compile(counted, Y)
    loaded = plait.load(saved(compiled, tmp_path))
    same(loaded.log_joint({"k": 2}), compiled.log_joint({"k": 2}))
    same(loaded.sample(KEY, (3,)), compiled.sample(KEY, (3,)))
    with pytest.raises(ModelError) as theirs:
        compiled.log_density(np.zeros(1))
    with pytest.raises(ModelError) as ours:
        loaded.log_density(np.zeros(1))
    assert str(ours.value) == str(theirs.value)


# -- precision --------------------------------------------------------------------------------------------


def test_a_float64_model_is_refused_in_a_float32_process(tmp_path):
    with jax.enable_x64(True):
        path = saved(plait.compile(schools, SIGMA, 8, y=Y), tmp_path)
    with pytest.raises(ArtifactError, match="was compiled in float64, and this process computes in float32"):
        plait.load(path)


def test_a_float32_model_runs_in_both(tmp_path):
    compiled = plait.compile(schools, SIGMA, 8, y=Y)
    path = saved(compiled, tmp_path)
    value = compiled.log_density(np.zeros(10))
    same(plait.load(path).log_density(np.zeros(10)), value, 1e-6)
    with jax.enable_x64(True):
        found = plait.load(path).log_density(np.zeros(10))
    assert found.dtype == np.float32
    same(found, value, 1e-6)


def test_another_platform_is_refused(tmp_path):
    path = tmp_path / "m.plait"
    plait.compile(counted, Y).save(path, platforms=("tpu",), progress=False)
    with pytest.raises(ArtifactError, match=r"was saved for tpu, and this process runs on cpu: .*platforms=\('cpu',\)"):
        plait.load(path)


def test_no_points_are_no_results_and_no_derivative_is_an_error_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "PARTS", {})

    def model(y):
        w = plait.param("w", 2.0)
        plait.sample("y", dist.Normal(plait.sample("a", dist.Normal(0, w)), 1), obs=y)

    plait.compile(model, jnp.asarray(1.0)).save(tmp_path / "m.plait", platforms=("cpu",), progress=False)
    loaded, z = plait.load(tmp_path / "m.plait"), jnp.asarray([0.3])
    assert jax.vmap(loaded.hessian)(jnp.zeros((0, 1))).shape == (0, 1, 1)
    assert loaded.constrain(jnp.zeros((0, 1)))["a"].shape == (0,)
    many = jax.vmap(lambda y: loaded.bind(y=y).log_density(z))(jnp.arange(2.0))
    np.testing.assert_allclose(many, [loaded.bind(y=jnp.asarray(y)).log_density(z) for y in (0.0, 1.0)], rtol=1e-6)

    def along_w(w):
        return loaded.log_density(z, params={"w": w})

    for function in (
        lambda: jax.grad(lambda a: loaded.log_prob_terms({"a": a})["y"])(0.1),
        lambda: jax.hessian(lambda a: loaded.log_joint({"a": a}))(0.1),
        lambda: jax.hessian(along_w)(2.0),
        lambda: jax.jacfwd(lambda z: jax.grad(lambda w: loaded.log_density(z, params={"w": w}))(2.0))(z),
        lambda: jax.grad(lambda s: loaded.unconstrain({"a": s})[0])(1.0),
    ):
        with pytest.raises(ArtifactError, match="no derivative with respect to"):
            function()


@dataclass
class Weights:
    of: np.ndarray


def test_an_object_whose_text_leaves_something_out_is_not_taken_for_the_saved_one(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "PARTS", {})

    def model(y, weights):
        scale = float(np.sum(weights.of))
        plait.sample("y", dist.Normal(plait.sample("a", dist.Normal(0, 1)), scale), obs=y)

    first, other = np.ones(2000), np.ones(2000)
    other[500] = 9.0
    assert repr(Weights(first)) == repr(Weights(other))
    compiled = plait.compile(model, jnp.asarray(1.0), Weights(first))
    compiled.save(tmp_path / "m.plait", platforms=("cpu",), progress=False)
    with pytest.raises(BindError, match="'weights' is part of the program"):
        plait.load(tmp_path / "m.plait").bind(weights=Weights(other))
