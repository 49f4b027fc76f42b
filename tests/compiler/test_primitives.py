"""What the primitives do, eagerly and compiled; a test is called after its row of the acceptance cases.

A model takes the namespace of the primitives as its first argument: where a row is NumPyro's behaviour, the
same assertions run against NumPyro, so the expectation can't drift.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.example_libraries import stax
from numpy.testing import assert_allclose
from numpyro.distributions import constraints

import plait
from plait import DataError, ModelError, ValueNamesError
from plait.ir.errors import SiteTypeError
from tests.helpers import both, drawn_shapes, draws, log_joint, refused, sites

LP0 = -0.9189385332046727


def N():  # noqa: N802
    return dist.Normal(0.0, 1.0)


def compile_with(model, *args, **kwargs):
    return plait.compile(partial(model, plait), *args, **kwargs)


def any_error(ppl):
    return ModelError if ppl is plait else Exception


# -- sample ---------------------------------------------------------------------------------------------


@both
def test_row_01_outside_handlers_a_key_draws_and_an_observation_returns(ppl):
    key = jax.random.PRNGKey(3)
    assert ppl.sample("x", N(), rng_key=key) == N().sample(key)
    assert ppl.sample("x", N(), obs=3.0) == 3.0
    assert ppl.sample("x", N(), rng_key=key, sample_shape=(2, 3)).shape == (2, 3)


def test_row_01_neither_key_nor_observation():
    def run():
        plait.sample("x", N())  # here

    with refused(ModelError, "'x'", "seed", "rng_key", "plait.compile", at=run):
        run()


@both
def test_row_02_an_explicit_key_wins_over_seed(ppl):
    def model(ppl):
        ppl.sample("x", N())
        return ppl.sample("y", N(), rng_key=jax.random.PRNGKey(7))

    assert draws(ppl, model)["y"] == N().sample(jax.random.PRNGKey(7))


def test_row_02_an_explicit_key_wins_in_the_compiled_sampler():
    def model(ppl):
        ppl.sample("x", N())
        ppl.sample("y", N(), rng_key=jax.random.PRNGKey(7))

    drawn = compile_with(model).sample(jax.random.key(0), (2,))
    assert_allclose(drawn["y"], [N().sample(jax.random.PRNGKey(7))] * 2, rtol=1e-6)
    assert drawn["x"][0] != drawn["x"][1]


@pytest.mark.parametrize("wrong", [[2], 2, (2.0,)])
def test_row_03_sample_shape_is_a_tuple_of_integers(wrong):
    def model():
        plait.sample("x", N(), sample_shape=wrong)  # here

    with refused(SiteTypeError, "'x'", "sample_shape", "tuple of integers", at=model):
        plait.compile(model)


@pytest.mark.parametrize("wrong", [3.0, None, dist.Normal])
def test_row_03_fn_is_a_distribution(wrong):
    def model():
        plait.sample("x", wrong)  # here

    with refused(SiteTypeError, "'x'", "numpyro distribution", type(wrong).__name__, at=model) as caught:
        plait.compile(model)
    assert isinstance(caught.value, TypeError)
    with pytest.raises(TypeError):
        plait.handlers.seed(model, 0)()


def _left_joined(ppl):
    with ppl.plate("a", 10, dim=-1), ppl.plate("b", 5, dim=-3):
        return ppl.sample("x", N(), sample_shape=(10,))


@both
def test_row_04_sample_shape_joins_the_batch_shape(ppl):
    assert drawn_shapes(ppl, _left_joined) == {"x": (5, 1, 10)}


def test_row_04_compiled():
    assert compile_with(_left_joined).shapes == {"x": (5, 1, 10)}


@both
def test_row_05_sample_shape_fits_the_plate_or_not(ppl):
    def model(ppl, shape):
        with ppl.plate("rows", 10):
            ppl.sample("x", N(), sample_shape=shape)

    assert drawn_shapes(ppl, model, (3, 1)) == {"x": (3, 10)}
    with pytest.raises(any_error(ppl)):
        drawn_shapes(ppl, model, (3,))


def test_row_05_names_site_and_plate():
    def model():
        with plait.plate("rows", 10):
            plait.sample("x", N(), sample_shape=(3,))  # here

    with refused(ModelError, "'x'", "'rows'", "(3,)", "10", at=model):
        plait.compile(model)


@both
def test_row_06_sample_shape_of_an_observed_site(ppl):
    def model(ppl):
        ppl.sample("x", N(), sample_shape=(3,), obs=jnp.zeros(3))

    assert_allclose(log_joint(ppl, model, {}), 3 * LP0, rtol=1e-6)


@both
@pytest.mark.parametrize("obs", [0.0, np.zeros(1), np.zeros(3)], ids=["scalar", "one", "all"])
def test_row_07_an_observed_value_is_returned_as_given(ppl, obs):
    def model(ppl, out):
        with ppl.plate("rows", 3):
            out.append(ppl.sample("x", N(), obs=obs))

    eager, compiled = [], []
    draws(ppl, model, eager)
    assert np.shape(eager[0]) == np.shape(obs)
    if ppl is plait:
        plait.compile(lambda: model(ppl, compiled))
        assert np.shape(compiled[0]) == np.shape(obs)


@both
def test_row_08_a_scalar_observation_counts_for_each_element(ppl):
    def model(ppl):
        with ppl.plate("rows", 10):
            ppl.sample("x", N(), obs=0.0)

    assert_allclose(log_joint(ppl, model, {}), 10 * LP0, rtol=1e-6)


@pytest.mark.parametrize("how", ["compiled", "eager"])
def test_row_09_an_observation_does_not_broadcast_a_site_beyond_its_plate(how):
    def model():
        with plait.plate("rows", 10):
            plait.sample("x", N(), obs=jnp.zeros((10, 1)))  # here

    run = partial(plait.compile, model) if how == "compiled" else model
    with refused(ModelError, "'x'", "'rows'", "beyond its plate", "(10, 1)", at=model):
        run()


@both
def test_row_10_an_observation_of_another_length(ppl):
    def model(ppl):
        with ppl.plate("rows", 10):
            ppl.sample("x", N(), obs=jnp.zeros(5))

    with pytest.raises(any_error(ppl)):
        log_joint(ppl, model, {})


def test_row_10_says_both_shapes():
    def model():
        with plait.plate("rows", 10):
            plait.sample("x", N(), obs=jnp.zeros(5))  # here

    with refused(ModelError, "'x'", "(10,)", "(5,)", at=model):
        plait.compile(model)


def test_row_11_subsampling_is_refused_by_name():
    def model():
        with plait.plate("rows", 10, subsample_size=4):  # here
            plait.sample("x", N(), obs=jnp.zeros(10))

    with refused(ModelError, "'rows'", "4 of 10", at=model):
        plait.compile(model)


@both
def test_row_32_a_subsample_of_the_whole_size_is_the_plate(ppl):
    def model(ppl):
        with ppl.plate("rows", 4, subsample_size=4) as index:
            ppl.sample("x", dist.Normal(jnp.arange(4.0)[index], 1), obs=jnp.arange(4.0))

    assert_allclose(log_joint(ppl, model, {}), 4 * LP0, rtol=1e-6)


def test_row_12_a_value_of_another_shape_than_its_site():
    def model(ppl):
        ppl.sample("x", N())

    with refused(ValueNamesError, "'x'", "()", "(5,)"):
        compile_with(model).log_joint({"x": np.zeros(5)})


_KINDS = {
    "sample": lambda: plait.sample("twice", N()),
    "observed": lambda: plait.sample("twice", N(), obs=0.0),
    "deterministic": lambda: plait.deterministic("twice", 1.0),
    "param": lambda: plait.param("twice", 1.0),
    "factor": lambda: plait.factor("twice", 1.0),
    "plate": lambda: plait.plate("twice", 3),
}


_PAIRS = [(a, b) for a in _KINDS for b in _KINDS if (a, b) != ("plate", "plate")]  # equal plates are one plate


@pytest.mark.parametrize(("first", "second"), _PAIRS)
def test_row_15_two_sites_of_one_name(first, second):
    one, two = _KINDS[first], _KINDS[second]

    def model():
        one()
        two()

    with pytest.raises(ModelError) as caught:
        plait.compile(model)
    message = str(caught.value)
    lines = [f"test_primitives.py:{kind.__code__.co_firstlineno}" for kind in (one, two)]
    assert "'twice'" in message
    assert all(where in message for where in lines), message


def test_row_15_two_sites_of_one_name_in_an_eager_trace():
    def model():
        plait.sample("x", N())
        plait.sample("x", N())  # here

    with refused(ModelError, "'x'", at=model):
        plait.handlers.trace(plait.handlers.seed(model, 0)).get_trace()


def test_row_15_a_loop_that_forgets_its_index():
    def model():
        for _ in range(2):
            plait.sample("x", N())  # here

    with refused(ModelError, "two sites are called 'x'", at=model):
        plait.compile(model)


def _partly_observed(ppl, y=None):
    with ppl.plate("rows", 3):
        seen = jnp.array([True, False, True])
        return ppl.sample("y", N(), obs=jnp.array([1.0, 2.0, 3.0]), obs_mask=seen)


@both
def test_row_18_obs_mask_density(ppl):
    value = {"y_unobserved": jnp.array([9.0, 0.0, 9.0])}
    assert_allclose(log_joint(ppl, _partly_observed, value), -7.756816, rtol=1e-6)


@both
def test_row_18_obs_mask_sites(ppl):
    found = sites(ppl, _partly_observed)
    assert [n for n in found if n != "rows"] == ["y_observed", "y_unobserved", "y"]
    assert found["y_observed"]["is_observed"]
    assert not found["y_unobserved"]["is_observed"]
    y, drawn = found["y"]["value"], found["y_unobserved"]["value"]
    assert_allclose(y, [1.0, drawn[1], 3.0], rtol=1e-6)


def test_row_18_compiled_sites():
    compiled = compile_with(_partly_observed)
    assert compiled.shapes == {"y_unobserved": (3,)}
    drawn = compiled.constrain(jnp.array([9.0, 0.5, 9.0]), deterministic=True)
    assert_allclose(drawn["y"], [1.0, 0.5, 3.0])


def test_row_18_obs_mask_needs_obs():
    def model():
        plait.sample("y", N(), obs_mask=jnp.array(True))  # here

    with refused(ModelError, "'y'", "obs_mask", "obs", at=model):
        plait.compile(model)


@both
def test_row_18_obs_mask_of_vector_events(ppl):
    def model(ppl):
        obs, seen = jnp.array([[0.2, 0.8], [0.5, 0.5]]), jnp.array([True, False])
        with ppl.plate("rows", 2):
            ppl.sample("p", dist.Dirichlet(jnp.array([2.0, 3.0])), obs=obs, obs_mask=seen)

    values = {"p_unobserved": jnp.array([[0.5, 0.5], [0.3, 0.7]])}
    expected = dist.Dirichlet(jnp.array([2.0, 3.0])).log_prob(jnp.array([[0.2, 0.8], [0.3, 0.7]])).sum()
    assert_allclose(log_joint(ppl, model, values), expected, rtol=1e-5)


# -- random keys ----------------------------------------------------------------------------------------


@both
def test_row_19_an_observed_site_uses_no_key(ppl):
    def model(ppl, observed):
        if observed:
            ppl.sample("o", N(), obs=0.0)
        ppl.sample("x", N())

    assert draws(ppl, model, True)["x"] == draws(ppl, model, False)["x"]


def _two(ppl):
    return ppl.sample("x", N()), ppl.sample("y", N())


@both
def test_row_21_a_seeded_model_repeats_itself(ppl):
    run = ppl.handlers.seed(partial(_two, ppl), 0)
    first = run()
    assert_allclose(run(), first, rtol=0)
    assert first[0] != first[1]


@both
def test_row_22_the_innermost_seed_wins(ppl):
    inner = ppl.handlers.seed(partial(_two, ppl), 1)
    assert_allclose(ppl.handlers.seed(inner, 2)(), inner(), rtol=0)


@both
def test_row_23_vmap_of_a_seeded_model_over_keys(ppl):
    keys = jax.random.split(jax.random.PRNGKey(0), 3)

    def run(key):
        return ppl.handlers.seed(partial(_two, ppl), key)()

    assert_allclose(jax.jit(jax.vmap(run))(keys), np.transpose([run(k) for k in keys]), rtol=1e-6)


@both
def test_row_24_block_and_seed_in_either_order(ppl):
    h, run = ppl.handlers, partial(_two, ppl)
    inside = h.block(h.seed(run, 0))()
    assert_allclose(h.seed(h.block(h.seed(run, 0)), 5)(), inside, rtol=0)
    assert_allclose(inside, h.seed(run, 0)(), rtol=0)


# -- plate ----------------------------------------------------------------------------------------------


def _nested(ppl, dim=None):
    with ppl.plate("outer", 10, dim=dim):
        ppl.sample("x", N())
        with ppl.plate("inner", 5):
            ppl.sample("y", N())


@both
@pytest.mark.parametrize(("dim", "x", "y"), [(None, (10,), (5, 10)), (-2, (10, 1), (10, 5))], ids=["row_25", "row_26"])
def test_rows_25_26_nested_plates_take_the_rightmost_free_axis(ppl, dim, x, y):
    assert drawn_shapes(ppl, _nested, dim) == {"x": x, "y": y}
    if ppl is plait:
        assert compile_with(_nested, dim).shapes == {"x": x, "y": y}


def test_row_27_two_plates_built_outside_their_with():
    def model():
        a, b = plait.plate("a", 2), plait.plate("b", 3)
        with a, b:  # here
            plait.sample("x", N())

    with refused(ModelError, "'a'", "'b'", "dim -1", at=model):
        plait.compile(model)


def test_row_28_a_plate_inside_itself():
    def model():
        rows = plait.plate("rows", 2)
        with rows, rows:  # here
            plait.sample("x", N())

    with refused(ModelError, "'rows'", "open already", at=model):
        plait.compile(model)


def test_row_28_nested_plates_of_one_name():
    def model():
        with plait.plate("rows", 2), plait.plate("rows", 2):  # here
            plait.sample("x", N())

    with refused(ModelError, "'rows'", at=model):
        plait.compile(model)


@pytest.mark.parametrize(
    ("size", "dim", "says"), [(3, 0, "dim=0"), (3, 1, "dim=1"), (0, None, "positive"), (-2, None, "positive")]
)
def test_row_29_a_plate_that_can_not_be(size, dim, says):
    def model():
        plait.plate("rows", size, dim=dim)  # here

    with refused(ModelError, "'rows'", says, at=model):
        plait.compile(model)
    with pytest.raises((ValueError, AssertionError)):
        numpyro.handlers.seed(lambda: numpyro.plate("rows", size, dim=dim), 0)()


def test_row_29_a_dim_that_is_taken():
    def model():
        with plait.plate("outer", 3, dim=-1), plait.plate("inner", 2, dim=-1):  # here
            plait.sample("x", N())

    with refused(ModelError, "'inner'", "'outer'", "dim=-1", at=model):
        plait.compile(model)


@pytest.mark.parametrize("size", [2.5, "3", None])
def test_row_29_a_size_that_is_no_integer(size):
    def model():
        plait.plate("rows", size)  # here

    with refused(SiteTypeError, "'rows'", "integer", at=model):
        plait.compile(model)


@both
def test_row_30_one_plate_entered_twice_one_after_the_other(ppl):
    def model(ppl):
        rows = ppl.plate("rows", 3)
        with rows as i:
            ppl.sample("x", N())
        with rows as j:
            ppl.sample("y", N())
        return i, j

    assert drawn_shapes(ppl, model) == {"x": (3,), "y": (3,)}
    if ppl is plait:
        assert compile_with(model).shapes == {"x": (3,), "y": (3,)}


def test_row_31_one_plate_name_with_two_sizes():
    def model():
        with plait.plate("N", 3):
            plait.sample("x", N())
        with plait.plate("N", 4):  # here
            plait.sample("y", N())

    with refused(ModelError, "'N'", "plates", at=model):
        plait.compile(model)


def _batched(ppl, both_plates):
    fn = dist.Normal(jnp.zeros(10), 1)
    if both_plates:
        with ppl.plate("a", 10, dim=-2), ppl.plate("b", 5, dim=-3):
            return ppl.sample("x", fn, sample_shape=(10,))
    with ppl.plate("b", 5, dim=-3):
        return ppl.sample("x", fn)


@both
@pytest.mark.parametrize(("both_plates", "shape"), [(False, (5, 1, 10)), (True, (5, 10, 10))])
def test_row_36_a_batched_distribution_in_plates(ppl, both_plates, shape):
    assert drawn_shapes(ppl, _batched, both_plates) == {"x": shape}
    if ppl is plait:
        assert compile_with(_batched, both_plates).shapes["x"] == shape


@both
def test_row_37_a_batch_that_fits_the_plate_or_not(ppl):
    def model(ppl, fn):
        with ppl.plate("rows", 5):
            ppl.sample("x", fn)

    assert drawn_shapes(ppl, model, dist.Normal(jnp.zeros((3, 1)), 1)) == {"x": (3, 5)}
    with pytest.raises(any_error(ppl)):
        drawn_shapes(ppl, model, dist.Normal(jnp.zeros(10), 1))


def test_row_37_names_site_and_plate():
    def model():
        with plait.plate("rows", 5):
            plait.sample("x", dist.Normal(jnp.zeros(10), 1))  # here

    with refused(ModelError, "'x'", "(10,)", "'rows'", "5", at=model):
        plait.compile(model)


@both
def test_row_38_an_event_is_no_plate_axis(ppl):
    def model(ppl):
        with ppl.plate("rows", 10):
            ppl.sample("x", dist.Normal(jnp.zeros(10), 1).to_event(1))

    assert drawn_shapes(ppl, model) == {"x": (10, 10)}
    if ppl is plait:
        (x,) = [n for n in compile_with(model).graph if n.op.label == "x"]
        assert x.type.axes == ("rows", None)


@both
def test_row_39_a_deterministic_keeps_its_shape_and_carries_the_plate(ppl):
    def model(ppl):
        with ppl.plate("rows", 4):
            return ppl.deterministic("d", jnp.asarray(2.0))

    site = sites(ppl, model)["d"]
    assert site["value"].shape == ()
    assert [frame.name for frame in site["cond_indep_stack"]] == ["rows"]
    if ppl is plait:
        (d,) = [n for n in compile_with(model).graph if n.op.label == "d"]
        assert d.type.shape == ()
        assert [p.name for p in d.op.plates] == ["rows"]


def test_row_40_a_param_in_a_plate():
    def model(length, event_dim):
        with plait.plate("rows", 10):
            plait.param("p", jnp.zeros(length), event_dim=event_dim)  # here

    with refused(ModelError, "'p'", "(7,)", "'rows'", "10", at=model):
        plait.compile(model, 7, 0)
    for shape, event_dim in [((), 0), ((10,), 0), ((10, 3), 1), ((7,), 1)]:
        assert plait.compile(model, shape, event_dim).params["p"].shape == shape


def test_a_plate_gives_its_indices():
    def model(out):
        with plait.plate("rows", 3) as index:
            out.append(index)
            plait.sample("x", dist.Normal(index, 1), obs=jnp.arange(3.0))

    eager = []
    plait.handlers.seed(model, 0)(eager)
    assert_allclose(eager[0], np.arange(3))
    compiled = plait.compile(lambda: model([]))
    assert_allclose(compiled.log_joint({}), 3 * LP0, rtol=1e-6)


def test_an_exception_in_a_plate_closes_it():
    def model():
        try:
            with plait.plate("rows", 3):
                raise KeyError
        except KeyError:
            plait.sample("x", N())

    assert plait.compile(model).shapes == {"x": ()}
    with plait.plate("rows", 2):
        pass
    plait.plate("rows", 2, dim=-1)


# -- factor, mask, scale ----------------------------------------------------------------------------------


def _row_43(ppl):
    with ppl.plate("rows", 10):
        ppl.factor("f", 2.0)


def _row_44(ppl):
    assert ppl.factor("f", jnp.arange(4.0)) is None


def _row_45(ppl):
    with ppl.handlers.mask(mask=False):
        ppl.factor("f", -jnp.inf)


def _row_46(ppl):
    with ppl.handlers.scale(scale=3.0):
        ppl.factor("f", 5.0)


def _row_46_int(ppl):
    ppl.factor("f", 5)


@both
@pytest.mark.parametrize(
    ("model", "expected"), [(_row_43, 20.0), (_row_44, 6.0), (_row_45, 0.0), (_row_46, 15.0), (_row_46_int, 5.0)]
)
def test_rows_43_to_46_factor(ppl, model, expected):
    value = log_joint(ppl, model, {})
    assert value == expected
    assert jnp.issubdtype(jnp.result_type(value), jnp.floating)


def test_factor_eagerly_returns_none_and_is_recorded():
    with plait.handlers.trace() as found:
        assert plait.factor("f", 2.0) is None
    assert found["f"].is_factor
    assert found["f"].fn.log_prob(found["f"].value) == 2.0


@both
def test_row_49_a_mask_widens_a_scalar_site(ppl):
    def model(ppl):
        with ppl.handlers.mask(mask=jnp.array([True, False, True])):
            ppl.sample("x", N())

    assert_allclose(log_joint(ppl, model, {"x": jnp.array([0.0, 9.0, 0.0])}), 2 * LP0, rtol=1e-6)
    if ppl is plait:
        assert compile_with(model).shapes["x"] == (3,)


@both
def test_row_49_a_mask_widens_the_draw(ppl):
    def model(ppl):
        with ppl.handlers.mask(mask=jnp.array([True, False, True])):
            return ppl.sample("x", N())

    assert drawn_shapes(ppl, model) == {"x": (3,)}


@both
def test_row_50_a_masked_nan_stays_out_of_the_gradient(ppl):
    def model(ppl):
        mu = ppl.sample("mu", dist.ImproperUniform(constraints.real, (), ()))
        with ppl.handlers.mask(mask=jnp.array([False, True])):
            ppl.sample("y", dist.Normal(mu, 1), obs=jnp.array([jnp.nan, 1.0]))

    value, grad = jax.jit(jax.value_and_grad(lambda mu: log_joint(ppl, model, {"mu": mu})))(0.0)
    assert_allclose(value, LP0 - 0.5, rtol=1e-6)
    assert grad == 1.0


@pytest.mark.parametrize("how", ["compiled", "eager"])
def test_row_51_a_mask_is_boolean(how):
    def model():
        with plait.handlers.mask(mask=jnp.array([1.0, 0.0])):  # here
            plait.sample("x", N(), obs=0.0)

    with refused(ModelError, "mask", "boolean", "float32", at=model):
        plait.compile(model) if how == "compiled" else model()
    with pytest.raises(ValueError, match="bool"):
        numpyro.handlers.mask(mask=jnp.array([1.0, 0.0]))


@pytest.mark.parametrize("wrong", [0, 0.0, -1.0, np.array([1.0, -1.0])])
def test_row_51_a_scale_is_positive(wrong):
    def model():
        with plait.handlers.scale(scale=wrong):  # here
            plait.sample("x", N(), obs=0.0)

    with refused(ModelError, "scale", "positive", at=model):
        plait.compile(model)
    with pytest.raises(ValueError, match="positive"):
        numpyro.handlers.scale(scale=wrong)


def test_row_51_a_scale_of_data_is_checked_with_the_data():
    def model(w):
        with plait.handlers.scale(scale=w):
            plait.sample("x", N(), obs=0.0)  # here

    assert_allclose(plait.compile(model, np.array(3.0, np.float32)).log_joint({}), 3 * LP0, rtol=1e-6)
    with refused(DataError, "'x'", "scale", "positive", at=model):
        plait.compile(model, np.array(-3.0, np.float32))


@pytest.mark.parametrize("how", ["compiled", "eager"])
def test_row_52_a_scale_that_would_count_a_site_several_times(how):
    def model():
        with plait.handlers.scale(scale=jnp.array([1.0, 2.0, 3.0])):
            plait.sample("x", N(), obs=0.0)  # here

    with refused(ModelError, "'x'", "(3,)", "several times", at=model):
        plait.compile(model) if how == "compiled" else model()


@both
def test_a_scale_of_the_plates_shape(ppl):
    def model(ppl):
        with ppl.plate("rows", 3), ppl.handlers.scale(scale=jnp.array([1.0, 2.0, 3.0])):
            ppl.sample("x", N(), obs=0.0)

    assert_allclose(log_joint(ppl, model, {}), 6 * LP0, rtol=1e-6)


# -- param, module ----------------------------------------------------------------------------------------


@both
def test_row_54_param_outside_handlers(ppl):
    assert ppl.param("p", 2.0) == 2.0


@pytest.mark.parametrize(("init", "says"), [(lambda key: 1.0, "random key"), (None, "initial value")])
def test_row_54_param_without_key_or_init(init, says):
    def run():
        plait.param("p", init)  # here

    with refused(ModelError, "'p'", says, at=run):
        run()


def test_row_54_param_without_init_compiled():
    def model():
        plait.param("p")  # here

    with refused(ModelError, "'p'", "init_value", at=model):
        plait.compile(model)


def test_param_names_what_it_takes():
    def model():
        plait.param("p", 1.0, konstraint=constraints.positive)  # here

    with refused(SiteTypeError, "'p'", "konstraint", at=model):
        plait.compile(model)


def test_row_54_a_random_initial_value_takes_the_key_of_seed():
    def model(ppl):
        return ppl.param("p", lambda key: jax.random.normal(key, (2,)))

    ours, theirs = (ppl.handlers.seed(partial(model, ppl), 0)() for ppl in (plait, numpyro))
    assert_allclose(ours, theirs, rtol=0)


@both
def test_row_55_a_constrained_param_has_no_term_and_no_jacobian(ppl):
    def model(ppl):
        p = ppl.param("p", 3.0, constraint=constraints.positive)
        ppl.sample("x", dist.Normal(0, p), obs=0.0)

    assert_allclose(log_joint(ppl, model, {"p": 3.0} if ppl is numpyro else {}), LP0 - np.log(3), rtol=1e-6)
    if ppl is plait:
        compiled = compile_with(model)
        assert list(compiled.log_prob_terms({})) == ["x"]
        assert compiled.dim == 0
        assert_allclose(compiled.log_density(np.zeros(0)), LP0 - np.log(3), rtol=1e-6)


def _network(ppl, x):
    nn = ppl.module("nn", stax.Dense(3), input_shape=(4,))
    ppl.sample("y", dist.Normal(nn(x), 1).to_event(1), obs=jnp.zeros(3))


WEIGHTS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), np.array([0.1, -0.2, 0.3], np.float32)


def test_row_58_a_stax_module_is_one_param_site():
    x = np.ones(4, np.float32)
    compiled = compile_with(_network, x)
    (name,), (w, b) = compiled.init_param_values(jax.random.key(0)).keys(), WEIGHTS
    assert name == "nn$params"
    expected = 3 * LP0 - 0.5 * np.sum((x @ w + b) ** 2)
    assert_allclose(compiled.log_joint({}, {"nn$params": WEIGHTS}), expected, rtol=1e-5)


def test_row_58_seeded_weights_are_numpyros():
    x = np.ones(4, np.float32)
    ours, theirs = (sites(ppl, _network, x)["nn$params"]["value"] for ppl in (plait, numpyro))
    assert [w.shape for w in ours] == [(4, 3), (3,)]
    for mine, other in zip(ours, theirs, strict=True):
        assert_allclose(mine, other, rtol=0)


def test_row_59_a_module_needs_its_input_shape():
    def model():
        plait.module("nn", stax.Dense(3))  # here

    with refused(ModelError, "'nn'", "input_shape", at=model):
        plait.compile(model)


def test_row_59_a_module_needs_a_key():
    def run():
        plait.module("nn", stax.Dense(3), input_shape=(4,))  # here

    with refused(ModelError, "nn$params", "random key", at=run):
        run()


def test_row_60_a_module_twice():
    def model():
        plait.module("nn", stax.Dense(3), input_shape=(4,))
        plait.module("nn", stax.Dense(3), input_shape=(4,))  # here

    with refused(ModelError, "nn$params", at=model):
        plait.compile(model)


# -- densities --------------------------------------------------------------------------------------------


@both
def test_row_69_the_empty_model(ppl):
    assert log_joint(ppl, lambda ppl: None, {}) == 0.0


def test_row_69_the_empty_model_unconstrained():
    compiled = plait.compile(lambda: None)
    assert (compiled.dim, compiled.names, compiled.shapes) == (0, (), {})
    assert compiled.log_density(np.zeros(0)) == 0.0
    assert compiled.sample(jax.random.key(0), (2,)) == {}


def _improper(ppl):
    return ppl.sample("x", dist.ImproperUniform(constraints.positive, (), ()))


@both
def test_row_71_an_improper_prior_has_density_zero(ppl):
    assert log_joint(ppl, _improper, {"x": 2.0}) == 0.0


def test_row_71_an_improper_prior_has_no_draws():
    with refused(ModelError, "'x'", "ImproperUniform", "no draws"):
        compile_with(_improper).sample(jax.random.key(0))
    given = compile_with(_improper).sample(jax.random.key(0), given={"x": 2.0})
    assert given["x"] == 2.0


def test_row_72_terms_are_unsummed():
    def model(ppl, x):
        with ppl.plate("k", 2):
            beta = ppl.sample("beta", N())
        total = ppl.sample("total", dist.Normal(beta.sum(), 1))
        with ppl.plate("rows", 8, dim=-2):
            ppl.sample("obs", dist.Normal(beta + total, 1), obs=x)

    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(8, 2)
    compiled = compile_with(model, x)
    values = {"beta": np.array([0.3, -0.2]), "total": 0.1}
    terms = compiled.log_prob_terms(values)
    assert {n: t.shape for n, t in terms.items()} == {"beta": (2,), "total": (), "obs": (8, 2)}
    assert_allclose(sum(t.sum() for t in terms.values()), compiled.log_joint(values), rtol=1e-6)
    assert_allclose(terms["obs"], dist.Normal(values["beta"] + 0.1, 1).log_prob(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("fn", "outside"),
    [
        (dist.Exponential(1.0), -1.0),
        (dist.Uniform(0.0, 2.0), 2.5),
        (dist.Beta(2.0, 2.0), 1.5),
        (dist.HalfCauchy(1.0), -0.5),
        (dist.Gamma(2.0, 1.0), -2.0),
        (dist.TruncatedNormal(0.0, 1.0, low=0.0), -1.0),
        (dist.Dirichlet(jnp.ones(3)), np.array([0.5, 0.6, 0.2])),
        (dist.Categorical(jnp.array([0.5, 0.5])), 2),
        (dist.Bernoulli(0.5), 3),
        (dist.Poisson(2.0), -1),
        (dist.LogNormal(0.0, 1.0), 0.0),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, dist.Distribution) else "",
)
def test_row_73_outside_the_support_the_density_is_zero(fn, outside):
    compiled = plait.compile(lambda: plait.sample("x", fn))
    assert compiled.log_joint({"x": outside}) == -jnp.inf


def test_row_73_a_nan_is_never_a_density():
    compiled = plait.compile(lambda: plait.sample("x", dist.Exponential(1.0)))
    assert not np.isfinite(compiled.log_joint({"x": np.nan}))


def test_deterministic_returns_its_value_and_has_no_term():
    def model():
        x = plait.sample("x", N())
        plait.deterministic("twice", 2 * x)

    compiled = plait.compile(model)
    assert list(compiled.log_prob_terms({"x": 0.0})) == ["x"]
    assert plait.deterministic("d", 3.0) == 3.0
    assert compiled.sample(jax.random.key(0), given={"x": 1.5})["twice"] == 3.0
