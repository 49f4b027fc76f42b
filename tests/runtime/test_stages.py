"""A stage computes what the public function does, of its own arguments; XLA's figures are those of what it compiled."""

import hashlib
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait import ModelError, OptionError
from plait.ir.errors import SiteTypeError
from plait.runtime.stages import cost_of

ROOT = Path(__file__).resolve().parents[2]
KEY = jax.random.key(1)


def rows(x, y=None):
    level = plait.sample("level", dist.Normal(0.0, 2.0))
    slopes = [plait.sample(f"slope_{i}", dist.Normal(level, 1.0)) for i in range(3)]
    scale = plait.sample("scale", dist.HalfNormal(1.0))
    with plait.plate("rows", len(x)):
        plait.sample("y", dist.StudentT(4.0, slopes[0] + slopes[1] * x + slopes[2] * x**2, scale), obs=y)
    plait.deterministic("twice", 2 * level)


def small(y):
    x = plait.sample("x", dist.HalfNormal(1.0))
    plait.sample("y", dist.StudentT(4.0, x * WEIGHTS, 1.0), obs=y)


WEIGHTS = np.array([1.0, 0.5, 2.0, 1.5, -1.0, 3.0])  # the model closes over it, so a file holds it beside the code
X = np.linspace(-1.0, 1.0, 6)
Y = np.array([0.3, -1.2, 0.8, 2.0, 0.1, -0.4])
Z = np.array([0.4, -0.3, 1.1, 0.2, -0.6])


@pytest.fixture(scope="module")
def compiled():
    with jax.enable_x64(True):
        return plait.compile(rows, X, y=Y)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A model, and the same loaded from its file."""
    with jax.enable_x64(True):
        compiled = plait.compile(small, Y)
        path = tmp_path_factory.mktemp("small") / "small.plait"
        compiled.save(path, platforms=("cpu",), progress=False)
        return compiled, plait.load(path)


def same(found, wanted, rtol=1e-12):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, 1e-13), found, wanted)
    jax.tree.map(lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)), found, wanted)


def computed(model, function, *arguments, **options):
    """What the compiled stage gives."""
    stage = model.lower(function, **options).compile()
    assert isinstance(stage, jax.stages.Compiled)
    return stage(*arguments, data=model.stage_data(function, **options))


OF_Z = [
    ("log_density", {}),
    ("log_density", {"propto": True}),
    ("log_density", {"jacobian": False}),
    ("log_density_and_grad", {"jacobian": False, "propto": True}),
    ("hessian", {}),
    ("log_prior", {"jacobian": False}),
    ("total_log_likelihood", {}),
    ("log_det_jacobian", {}),
    ("constrain", {}),
    ("constrain", {"deterministic": True, "stacked": True}),
]


@pytest.mark.parametrize(("function", "options"), OF_Z, ids=str)
def test_functions_of_the_flat_vector(compiled, float64, function, options):
    same(computed(compiled, function, Z, **options), getattr(compiled, function)(Z, **options))


def test_functions_of_values_draws_and_points(compiled, float64):
    values = compiled.constrain(Z)
    assert "slope_1" in values  # a family's sites are given one by one, as `constrain` gives them
    for function in ("log_joint", "log_prob_terms", "unconstrain"):
        same(computed(compiled, function, values), getattr(compiled, function)(values))
    same(computed(compiled, "hvp", Z, Z[::-1].copy()), compiled.hvp(Z, Z[::-1]))
    compiled, z = plait.compile(small, Y), np.array([0.3])
    same(computed(compiled, "sample", KEY, shape=(2,)), compiled.sample(KEY, (2,)))
    same(computed(compiled, "prior_transform", z), compiled.prior_transform(z))


def test_functions_of_a_loaded_model(both, float64):
    compiled, loaded = both
    z = np.array([0.3])
    values = compiled.constrain(z)
    same(computed(loaded, "log_density_and_grad", z), compiled.log_density_and_grad(z))
    same(computed(loaded, "log_density", z, propto=True), compiled.log_density(z, propto=True))
    same(computed(loaded, "hvp", z, z), compiled.hvp(z, z))
    same(computed(loaded, "sample", KEY), loaded.sample(KEY))  # after it, so that nothing of its trace was kept
    same(computed(loaded, "constrain", z), values)
    same(computed(loaded, "unconstrain", values), compiled.unconstrain(values))
    batch = loaded.lower(batch=3).compile()
    same(batch(np.stack([z, -z, 2 * z]), data=loaded.stage_data())[0][1], compiled.log_density(-z))


def test_a_batch_goes_before_every_axis(compiled, float64):
    z = np.stack([Z * i for i in range(6)]).reshape(2, 3, 5)
    value, gradient = compiled.lower(batch=(2, 3)).compile()(z, data=compiled.stage_data())
    assert (value.shape, gradient.shape) == ((2, 3), (2, 3, 5))
    same((value[1, 2], gradient[1, 2]), compiled.log_density_and_grad(z[1, 2]))
    values = compiled.constrain(z[:, 0])
    same(
        compiled.lower("log_joint", batch=2).compile()(values, data=compiled.stage_data("log_joint"))[1],
        compiled.log_joint({name: value[1] for name, value in values.items()}),
    )


def test_one_stage_serves_all_data_of_its_shapes(compiled, float64):
    stage, other = compiled.lower().compile(), compiled.bind(x=X[::-1].copy(), y=Y + 1)
    same(stage(Z, data=other.stage_data()), other.log_density_and_grad(Z))
    assert abs(stage(Z, data=other.stage_data())[0] - compiled.log_density(Z)) > 0.1
    with pytest.raises(TypeError):
        stage(Z, data=plait.compile(rows, X[:3], y=Y[:3]).stage_data())


def test_it_is_jaxs_own_stage_with_the_data_as_arguments(compiled, float64):
    lowered = compiled.lower()
    assert isinstance(lowered, jax.stages.Lowered)
    text = lowered.as_text()
    assert "@jit_log_density_and_grad" in text
    assert text.count("%arg", 0, text.index("->")) == 1 + len(jax.tree.leaves(compiled.stage_data()))
    assert lowered.compile().memory_analysis().argument_size_in_bytes == 8 * (5 + sum(map(np.size, leaves(compiled))))


def leaves(compiled):
    return jax.tree.leaves(compiled.stage_data())


def test_a_model_in_float32_stays_in_float32():
    compiled = plait.compile(rows, X.astype(np.float32), y=Y.astype(np.float32))
    z = Z.astype(np.float32)
    same(computed(compiled, "log_density_and_grad", z), compiled.log_density_and_grad(z), 1e-6)
    with jax.enable_x64(True):
        same(computed(compiled, "log_density_and_grad", z), compiled.log_density_and_grad(z), 1e-6)


def test_a_float64_model_is_lowered_in_float64_where_jax_has_32_bits(compiled):
    assert "f32" not in compiled.lower().as_text()
    with jax.enable_x64(True):
        inside = compiled.explain(cost_analysis=True)
    assert compiled.explain(cost_analysis=True) == inside


# -- params -----------------------------------------------------------------------------------------------


def fitted(y):
    loc = plait.param("loc", 0.5)
    scale = plait.param("scale", 1.5, constraint=dist.constraints.positive)
    x = plait.sample("x", dist.TruncatedNormal(loc, scale, low=loc))
    plait.sample("y", dist.Normal(x, 1.0), obs=y)


def test_params_are_an_argument_and_of_constrain_part_of_the_data(float64):
    compiled = plait.compile(fitted, np.array([1.0, 2.0]))
    z, params = np.array([0.3]), {"loc": np.array(-1.0), "scale": np.array(2.0)}
    for function in ("log_density_and_grad", "total_log_likelihood"):
        same(computed(compiled, function, z, params), getattr(compiled, function)(z, params))
    fixed, stage = compiled.with_params(params), compiled.lower("constrain").compile()
    same(stage(z, data=compiled.stage_data("constrain")), compiled.constrain(z))
    same(stage(z, data=fixed.stage_data("constrain")), fixed.constrain(z))
    assert abs(fixed.constrain(z)["x"] - compiled.constrain(z)["x"]) > 1


def drawn(y):
    loc = plait.param("loc", jax.random.normal)
    plait.sample("y", dist.Normal(plait.sample("x", dist.Normal(loc, 1.0)), 1.0), obs=y)


def test_params_without_initial_values_are_given_or_asked_for(float64):
    compiled, z = plait.compile(drawn, np.array(1.0)), np.array([0.3])
    params = compiled.init_param_values(KEY)
    same(computed(compiled, "log_density", z, params), compiled.log_density(z, params))
    with pytest.raises(ModelError, match="a param has a random initial value"):
        compiled.lower("constrain")


# -- what is refused --------------------------------------------------------------------------------------


def counted(y):
    k = plait.sample("k", dist.Poisson(3.0))
    plait.sample("y", dist.Normal(k, 1.0), obs=y)


REFUSED = [
    ({"function": "log_densty"}, OptionError, "no function to lower 'log_densty'; did you mean 'log_density'? (there"),
    ({"function": "bind"}, OptionError, "no function to lower 'bind' (there are: 'log_density', "),
    (
        {"jacobean": False},
        OptionError,
        "_and_grad 'jacobean'; did you mean 'jacobian'? (there are: 'jacobian',",
    ),
    ({"function": "hvp", "propto": True}, OptionError, "there is no option of hvp 'propto' (there are: 'jacobian')"),
    ({"function": "log_joint", "propto": True}, OptionError, "'propto' (there are: none)"),
    ({"batch": (2, -1)}, SiteTypeError, "the shape of a batch is an integer or a tuple of integers, none negative"),
]


@pytest.mark.parametrize(("asked", "error", "says"), REFUSED, ids=[says for _, _, says in REFUSED])
def test_what_there_is_not_is_refused_by_name(compiled, float64, asked, error, says):
    with pytest.raises(error) as caught:
        compiled.lower(**asked)
    assert says in str(caught.value)


def test_a_model_without_a_density_of_the_flat_vector_has_its_log_joint(float64):
    compiled = plait.compile(counted, np.array(2.5))
    for function in ("log_density_and_grad", "log_prior", "constrain", "unconstrain", "init_params"):
        with pytest.raises(ModelError, match="latent 'k' has no unconstrained density"):
            compiled.lower(function).compile()
    values = {"k": np.array(2)}
    same(computed(compiled, "log_joint", values), compiled.log_joint(values))
    assert compiled.explain(cost_analysis=True).cost_analysis.function == "log_joint"


# -- what XLA says ----------------------------------------------------------------------------------------


def cost(compiled):
    return compiled.explain(cost_analysis=True).cost_analysis


def many(n):
    x = np.linspace(-1.0, 1.0, n)
    return {"x": x, "y": np.sin(x)}


def test_operations_grow_with_rows_that_are_evaluated_and_with_no_others(float64):
    few, more = (cost(plait.compile(rows, **many(n))) for n in (1000, 4000))
    assert 3.5 < more.flops / few.flops < 4.1
    assert 3.5 < more.transcendentals / few.transcendentals < 4.1
    assert few.transcendentals >= 1000  # a logarithm for each row
    assert more.argument_bytes - few.argument_bytes == 3 * 3000 * 8  # x, x², y
    assert few.output_bytes >= 8 * 6
    assert few.loops == few.library_calls == 0

    def fused(x, y):
        a = plait.sample("a", dist.Normal(0.0, 1.0))
        plait.sample("y", dist.Normal(a * x, 1.0), obs=y)

    few, more = (cost(plait.compile(fused, **many(n))) for n in (1000, 4000))
    assert few == more
    assert few.transcendentals == 0


def test_the_report_says_nothing_of_xla_unless_it_is_asked(both, float64):
    compiled, loaded = both
    for model in both:
        asked, plain = model.explain(cost_analysis=True), model.explain()
        assert plain.cost_analysis is None
        assert "XLA" not in str(plain)
        assert "\nXLA on cpu, log_density_and_grad: " in str(asked)
        assert asked.terms == plain.terms == compiled.explain().terms
        assert type(asked).from_json(asked.to_json()) == asked
    assert 0.5 < cost(loaded).flops / cost(compiled).flops < 2


def test_loops_and_libraries_are_counted_as_what_xla_leaves_out(float64):
    def correlated(y):
        r = plait.sample("r", dist.HalfNormal(1.0))
        covariance = jnp.exp(-r * jnp.abs(jnp.subtract.outer(y, y))) + jnp.eye(len(y))
        plait.sample("y", dist.MultivariateNormal(0.0, covariance), obs=y)

    found = cost(plait.compile(correlated, np.arange(40.0)))
    assert found.library_calls > 0
    assert "the work of library calls (" in str(found)
    stage = jax.jit(lambda y: jax.lax.while_loop(lambda c: c[0] < 9, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, y)))
    assert cost_of("f", stage.lower(1.0).compile()).loops == 1
    assert "bodies of loops (1) count once" in str(cost_of("f", stage.lower(1.0).compile()))


class Silent:
    """A compiled stage of a backend that says little."""

    def __init__(self, costs, memory=None, text=None):
        self.cost_analysis, self.memory_analysis, self.as_text = lambda: costs, lambda: memory, lambda: text
        self.output_shardings = [jnp.zeros(()).sharding]


@pytest.mark.parametrize("costs", [None, {}, [], {"flops": 7.0}, {"flops": -1.0, "bytes accessed": -1.0}])
def test_what_a_backend_does_not_say_is_none_and_not_zero(costs):
    found = cost_of("f", Silent(costs))
    assert {found.flops, found.bytes_accessed, found.temporary_bytes, found.instructions, found.loops} == {None}
    assert str(found).startswith("XLA on cpu, f: ")


def test_every_instruction_of_the_optimized_hlo_is_counted_once(compiled, float64):
    stage = compiled.lower().compile()
    (module,) = stage.runtime_executable().hlo_modules()
    assert cost_of("f", stage).instructions == sum(len(part.instructions()) for part in module.computations())


# -- the persistent compilation cache ---------------------------------------------------------------------

PROGRAM = """
import sys
import jax, plait
sys.path.insert(0, "tests/runtime")
from test_stages import Y, digests, small

assert jax.config.jax_compilation_cache_dir is None
print(*digests(plait.compile(small, Y)))
"""


def digests(compiled):
    """What the key of JAX's cache is made of: the code, without lines."""
    texts = [compiled.lower(f).as_text() for f in ("log_density_and_grad", "constrain", "sample")]
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def test_functions_are_the_same_code_in_every_process_so_that_jax_finds_them_in_its_cache(both, float64):
    environment = {"JAX_ENABLE_X64": "1", "PYTHONPATH": str(ROOT), "PATH": "", "PYTHONHASHSEED": "77"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, check=False, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == digests(both[0]), done.stderr[-2000:]
