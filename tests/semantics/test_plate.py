"""Rows 25 to 41: plate."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose

import plait
from plait import ModelError
from plait.ir.errors import SiteTypeError
from tests.helpers import (
    any_error,
    both,
    compiled,
    drawn_shapes,
    draws,
    each_way,
    either_way,
    log_joint,
    refused,
    seeded,
    sites,
)

LP0 = -0.9189385332046727
ROWS = np.arange(10, dtype=np.float32)


def N():  # noqa: N802
    return dist.Normal(0.0, 1.0)


def nested(ppl, dim=None):
    with ppl.plate("outer", 10, dim=dim):
        ppl.sample("x", N())
        with ppl.plate("inner", 5):
            ppl.sample("y", N())


def subsampled(ppl):
    """Reads its indices into a deterministic site."""
    with ppl.plate("N", 10, 4) as index:
        ppl.deterministic("index", index)
        return ppl.sample("y", N(), obs=jnp.asarray(ROWS)[index])


def indices(model):
    """What a compiled model's deterministic ``index`` is."""
    return plait.compile(model).constrain(np.zeros(0), deterministic=True)["index"]


# -- dims -------------------------------------------------------------------------------------------------


@each_way
def test_row_25_plates_take_the_rightmost_free_dim(shapes):
    assert shapes(nested) == {"x": (10,), "y": (5, 10)}


@each_way
def test_row_26_beside_an_explicit_dim(shapes):
    assert shapes(nested, -2) == {"x": (10, 1), "y": (10, 5)}


@either_way
def test_row_27_two_plates_built_outside_their_with(run):
    def model():
        a, b = plait.plate("a", 2), plait.plate("b", 3)
        with a, b:  # here
            plait.sample("x", N())

    with refused(ModelError, "'a'", "'b'", "dim -1", at=model):
        run(model)


@either_way
def test_row_28_a_plate_inside_itself(run):
    def model():
        rows = plait.plate("rows", 2)
        with rows, rows:  # here
            plait.sample("x", N())

    with refused(ModelError, "'rows'", "open already", at=model):
        run(model)


@either_way
def test_row_28_nested_plates_of_one_name(run):
    def model():
        with plait.plate("rows", 2), plait.plate("rows", 2):  # here
            plait.sample("x", N())

    with refused(ModelError, "'rows'", at=model):
        run(model)


IMPOSSIBLE = [(3, 0, "dim=0"), (3, 1, "dim=1"), (0, None, "positive"), (-2, None, "positive")]


@either_way
@pytest.mark.parametrize(("size", "dim", "says"), IMPOSSIBLE)
def test_row_29_a_plate_that_can_not_be(run, size, dim, says):
    def model():
        plait.plate("rows", size, dim=dim)  # here

    with refused(ModelError, "'rows'", says, at=model):
        run(model)
    with pytest.raises((ValueError, AssertionError)):
        numpyro.plate("rows", size, dim=dim)


@either_way
@pytest.mark.parametrize("size", [2.5, "3", None])
def test_row_29_a_size_that_is_no_integer(run, size):
    def model():
        plait.plate("rows", size)  # here

    with refused(SiteTypeError, "'rows'", "integer", at=model):
        run(model)


@either_way
def test_row_29_a_dim_that_is_taken(run):
    def model():
        with plait.plate("outer", 3, dim=-1), plait.plate("inner", 2, dim=-1):  # here
            plait.sample("x", N())

    with refused(ModelError, "'inner'", "'outer'", "dim=-1", at=model):
        run(model)


def test_row_29_a_dim_that_is_taken_in_numpyro():
    def model():
        with numpyro.plate("outer", 3, dim=-1), numpyro.plate("inner", 2, dim=-1):
            numpyro.sample("x", N())

    with pytest.raises(AssertionError):
        numpyro.handlers.seed(model, 0)()


# -- subsamples -------------------------------------------------------------------------------------------


def entered_twice(ppl, subsample_size=None):
    rows = ppl.plate("rows", 10, subsample_size)
    with rows as index:
        ppl.deterministic("first", index)
        ppl.sample("x", N())
    with rows as index:
        ppl.deterministic("second", index)
        ppl.sample("y", N())


@each_way
def test_row_30_one_plate_entered_twice_one_after_the_other(shapes):
    assert shapes(entered_twice) == {"x": (10,), "y": (10,)}
    assert shapes(seeded(entered_twice), 4) == {"x": (4,), "y": (4,)}


@both
def test_row_30_it_keeps_its_indices(ppl):
    found = sites(ppl, entered_twice, 4)
    assert_allclose(found["first"]["value"], found["second"]["value"], rtol=0)


def test_row_30_it_keeps_its_indices_compiled():
    model = compiled(seeded(entered_twice), 4)
    found = model.constrain(np.zeros(model.dim), deterministic=True)
    assert_allclose(found["first"], found["second"], rtol=0)


@either_way
def test_row_30_two_subsampled_plates_of_one_name(run):
    def model():
        with plait.plate("N", 10, 4):
            plait.sample("x", N())
        with plait.plate("N", 10, 4):  # here
            plait.sample("y", N())

    with refused(ModelError, "'N'", at=model):
        run(plait.handlers.seed(model, 0))


@either_way
def test_row_31_one_plate_name_with_two_sizes(run):
    def model():
        with plait.plate("N", 3):
            plait.sample("x", N())
        with plait.plate("N", 4):  # here
            plait.sample("y", N())

    with refused(ModelError, "'N'", at=model):
        run(model)


@pytest.mark.parametrize("run", [plait.compile, lambda model: model()], ids=["compiled", "eagerly"])
def test_row_32_no_key(run):
    def model():
        with plait.plate("rows", 10, 4):  # here
            plait.sample("x", N(), obs=0.0)

    with refused(ModelError, "'rows'", "4", "10", "seed", at=model):
        run(model)


def test_row_32_no_key_in_numpyro():
    with pytest.raises(ValueError, match="Missing random key"):
        numpyro.plate("rows", 10, 4)


def whole(ppl, subsample_size):
    with ppl.plate("rows", 4, subsample_size) as index:
        ppl.deterministic("index", index)
        return ppl.sample("x", N())


@both
def test_row_32_a_subsample_of_the_whole_size_uses_no_key(ppl):
    assert_allclose(sites(ppl, whole, 4)["index"]["value"], np.arange(4))
    assert_allclose(draws(ppl, whole, 4)["x"], draws(ppl, whole, None)["x"], rtol=0)


def test_row_32_a_subsample_of_the_whole_size_compiled():
    model = compiled(whole, 4)
    assert_allclose(model.constrain(np.zeros(4), deterministic=True)["index"], np.arange(4))
    assert_allclose(model.log_joint({"x": np.zeros(4)}), 4 * LP0, rtol=1e-6)


@either_way
def test_row_32_too_many(run):
    def model():
        with plait.plate("rows", 4, 10):  # here
            plait.sample("x", N())

    with refused(ModelError, "'rows'", "10", "4", at=model):
        run(plait.handlers.seed(model, 0))


def test_row_33_seed_draws_numpyros_indices():
    ours, theirs = (sites(ppl, subsampled)["index"]["value"] for ppl in (plait, numpyro))
    assert len(set(theirs.tolist())) == 4
    assert_allclose(ours, theirs, rtol=0)
    assert_allclose(indices(plait.handlers.seed(partial(subsampled, plait), 0)), theirs, rtol=0)


def substituted(ppl):
    return ppl.handlers.substitute(partial(subsampled, ppl), data={"N": jnp.array([7, 2, 2, 5])})


@both
def test_row_33_substitute_gives_the_indices(ppl):
    assert_allclose(substituted(ppl)(), [7, 2, 2, 5])


def test_row_33_substitute_gives_the_indices_compiled():
    assert_allclose(indices(substituted(plait)), [7, 2, 2, 5])


def guide(ppl):
    return ppl.handlers.trace(ppl.handlers.seed(partial(subsampled, ppl), 1)).get_trace()


@both
def test_row_33_replay_of_a_guides_indices(ppl):
    recorded = guide(ppl)
    replayed = ppl.handlers.replay(partial(subsampled, ppl), recorded)()
    assert_allclose(replayed, recorded["index"]["value"], rtol=0)


def test_row_33_replay_of_a_guides_indices_compiled():
    recorded = guide(plait)
    replayed = plait.handlers.replay(partial(subsampled, plait), recorded)
    assert_allclose(indices(replayed), recorded["index"]["value"], rtol=0)


def doubly_subsampled(ppl):
    with ppl.plate("a", 4, 2), ppl.plate("b", 9, 3):
        ppl.sample("x", N())


@each_way
def test_row_34_the_shape_of_nested_subsamples(shapes):
    assert shapes(seeded(doubly_subsampled)) == {"x": (3, 2)}


@both
def test_row_34_nested_subsamples_multiply_their_scales(ppl):
    assert sites(ppl, doubly_subsampled)["x"]["scale"] == 6.0
    values = {"x": jnp.zeros((3, 2))}
    assert_allclose(log_joint(ppl, seeded(doubly_subsampled), values), 6.0 * 6 * LP0, rtol=1e-6)


def scaled_and_masked(ppl):
    h, kept = ppl.handlers, jnp.array([True, False, True])
    with ppl.plate("rows", 6, 3), h.scale(scale=2.0), h.mask(mask=kept):
        ppl.sample("x", N())


@both
def test_row_35_a_subsample_under_scale_and_mask(ppl):
    assert sites(ppl, scaled_and_masked)["x"]["scale"] == 4.0
    assert_allclose(log_joint(ppl, seeded(scaled_and_masked), {"x": jnp.zeros(3)}), 8 * LP0, rtol=1e-6)


# -- batch shapes -----------------------------------------------------------------------------------------


def batched(ppl):
    with ppl.plate("b", 5, dim=-3):
        ppl.sample("x", dist.Normal(jnp.zeros(10), 1))


def batched_in_both(ppl):
    with ppl.plate("a", 10, dim=-2), ppl.plate("b", 5, dim=-3):
        ppl.sample("x", dist.Normal(jnp.zeros(10), 1), sample_shape=(10,))


def of_batch_shape(ppl, shape):
    with ppl.plate("rows", 5):
        ppl.sample("x", dist.Normal(jnp.zeros(shape), 1))


@each_way
@pytest.mark.parametrize(("model", "shape"), [(batched, (5, 1, 10)), (batched_in_both, (5, 10, 10))])
def test_row_36_a_batched_distribution_in_plates(shapes, model, shape):
    assert shapes(model) == {"x": shape}


@each_way
def test_row_37_a_batch_that_fits_the_plate(shapes):
    assert shapes(of_batch_shape, (3, 1)) == {"x": (3, 5)}


@both
def test_row_37_a_batch_that_does_not(ppl):
    with pytest.raises(any_error(ppl)):
        drawn_shapes(ppl, of_batch_shape, (10,))


@either_way
def test_row_37_names_site_and_plate(run):
    def model():
        with plait.plate("rows", 5):
            plait.sample("x", dist.Normal(jnp.zeros(10), 1))  # here

    with refused(ModelError, "'x'", "(10,)", "'rows'", "5", at=model):
        run(model)


def vector_event(ppl):
    with ppl.plate("rows", 10):
        ppl.sample("x", dist.Normal(jnp.zeros(10), 1).to_event(1))


@each_way
def test_row_38_an_event_is_no_plate_axis(shapes):
    assert shapes(vector_event) == {"x": (10, 10)}


def test_row_38_the_axes_are_the_plate_and_the_event():
    (x,) = [n for n in compiled(vector_event).graph if n.op.label == "x"]
    assert x.type.axes == ("rows", None)


def scalar_in_plate(ppl):
    with ppl.plate("rows", 4):
        ppl.deterministic("d", jnp.asarray(2.0))


@both
def test_row_39_a_deterministic_keeps_its_shape_and_carries_the_plate(ppl):
    site = sites(ppl, scalar_in_plate)["d"]
    assert site["value"].shape == ()
    assert [frame.name for frame in site["cond_indep_stack"]] == ["rows"]


def test_row_39_compiled():
    (d,) = [n for n in compiled(scalar_in_plate).graph if n.op.label == "d"]
    assert d.type.shape == ()
    assert [plate.name for plate in d.op.plates] == ["rows"]


# -- param ------------------------------------------------------------------------------------------------


def param_in_plate(ppl, shape, event_dim, subsample_size=4):
    with ppl.plate("rows", 10, subsample_size):
        p = ppl.param("p", jnp.zeros(shape), **({} if event_dim is None else {"event_dim": event_dim}))
    ppl.deterministic("seen", p)


PARAMS = [((), 0, ()), ((10,), 0, (4,)), ((10,), None, (10,)), ((10, 3), 1, (4, 3))]


@both
@pytest.mark.parametrize(("shape", "event_dim", "seen"), PARAMS)
def test_row_40_a_param_is_subsampled_with_its_plate(ppl, shape, event_dim, seen):
    assert sites(ppl, param_in_plate, shape, event_dim)["seen"]["value"].shape == seen


@pytest.mark.parametrize(("shape", "event_dim", "seen"), PARAMS)
def test_row_40_a_param_is_subsampled_with_its_plate_compiled(shape, event_dim, seen):
    model = compiled(seeded(param_in_plate), shape, event_dim)
    assert model.params["p"].shape == shape
    assert model.constrain(np.zeros(0), deterministic=True)["seen"].shape == seen


@both
@pytest.mark.parametrize(("shape", "event_dim"), [((), 0), ((10,), 0), ((10, 3), 1), ((7,), 1)])
def test_row_40_a_param_in_a_whole_plate_is_given_whole(ppl, shape, event_dim):
    assert sites(ppl, param_in_plate, shape, event_dim, None)["seen"]["value"].shape == shape


def test_row_40_it_is_subsampled_by_the_indices():
    def model(ppl):
        with ppl.plate("rows", 10, 4) as index:
            ppl.deterministic("index", index)
            ppl.deterministic("p_seen", ppl.param("p", 10 * jnp.arange(10.0), event_dim=0))

    drawn = sites(plait, model)
    fixed = compiled(seeded(model)).constrain(np.zeros(0), deterministic=True)
    assert_allclose(drawn["p_seen"]["value"], 10 * drawn["index"]["value"])
    assert_allclose(fixed["p_seen"], drawn["p_seen"]["value"])


@both
@pytest.mark.parametrize("subsample_size", [None, 4])
def test_row_40_a_param_of_another_length(ppl, subsample_size):
    def model(ppl):
        with ppl.plate("rows", 10, subsample_size):
            ppl.param("p", jnp.zeros(7), event_dim=0)

    with pytest.raises(any_error(ppl)):
        sites(ppl, model)


@either_way
def test_row_40_names_param_and_plate(run):
    def model():
        with plait.plate("rows", 10):
            plait.param("p", jnp.zeros(7), event_dim=0)  # here

    with refused(ModelError, "'p'", "(7,)", "'rows'", "10", at=model):
        run(model)


# -- plate_stack ------------------------------------------------------------------------------------------


def stacked(ppl):
    with ppl.plate_stack("p", [2, 3]):
        ppl.sample("x", N())


@each_way
def test_row_41_a_stack_of_plates(shapes):
    assert shapes(stacked) == {"x": (2, 3)}


@both
def test_row_41_the_sizes_of_its_plates(ppl):
    frames = sites(ppl, stacked)["x"]["cond_indep_stack"]
    assert {frame.name: frame.size for frame in frames} == {"p_0": 3, "p_1": 2}
