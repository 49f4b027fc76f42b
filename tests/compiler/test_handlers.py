"""Handlers: eagerly as NumPyro's, and under `plait.compile` with NumPyro's densities, nested in any order."""

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.infer.util import compute_log_probs

import plait
from plait import ModelError
from tests.helpers import both, counting, draws, log_joint, refused, sites

Y = np.array([0.3, -0.5, 1.1], np.float32)
VALUES = {"mu": np.float32(0.4), "tau": np.float32(1.3), "theta": np.array([0.1, -0.7, 0.9], np.float32)}


def model(ppl, y=None):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    tau = ppl.sample("tau", dist.HalfNormal(1.0))
    with ppl.plate("rows", 3):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.deterministic("shifted", theta - mu)
        return ppl.sample("y", dist.Normal(theta, 1.0), obs=y)


def pair(ppl):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    return mu, ppl.sample("tau", dist.Normal(0.0, 1.0))


# Ways to wrap a model; all of them leave VALUES a point of the model, maybe with more names than it needs.
WRAPPERS = {
    "scale": lambda ppl, m: ppl.handlers.scale(m, scale=2.5),
    "mask": lambda ppl, m: ppl.handlers.mask(m, mask=jnp.array([True, False, True])),
    "condition": lambda ppl, m: ppl.handlers.condition(m, data={"tau": 0.7}),
    "substitute": lambda ppl, m: ppl.handlers.substitute(m, data={"mu": -0.2}),
    "scope": lambda ppl, m: ppl.handlers.scope(m, prefix="s"),
}


def point(compiled):
    """VALUES by the names and shapes that a wrapped model has."""
    found = {}
    for name, shape in compiled.shapes.items():
        base = VALUES[name.rpartition("/")[2]]
        found[name] = np.broadcast_to(base, shape)
    return found


@pytest.fixture(scope="module")
def numpyro_terms():
    """Per-site terms by NumPyro of a wrapped model, at values for its latents."""

    def terms(wrapped, values):
        run = jax.jit(lambda v: compute_log_probs(wrapped, (), {"y": Y}, v, sum_log_prob=False)[0])
        return run(values)

    return terms


@pytest.mark.parametrize(
    "names",
    [(n,) for n in WRAPPERS] + list(permutations(["scale", "mask", "scope"])) + [
        ("scope", "condition"), ("condition", "scope"), ("substitute", "scope"), ("scope", "substitute"),
        ("scale", "substitute", "mask"), ("mask", "condition", "scale"), ("condition", "substitute"),
        ("substitute", "condition"), ("scale", "scale"), ("mask", "scope", "scale", "condition", "substitute"),
    ],
    ids="-".join,
)  # fmt: skip
def test_wrapped_models_have_numpyros_terms(names, numpyro_terms):
    wrapped = {ppl: partial(model, ppl) for ppl in (plait, numpyro)}
    for name in names:
        wrapped = {ppl: WRAPPERS[name](ppl, m) for ppl, m in wrapped.items()}
    compiled = plait.compile(wrapped[plait], y=Y)
    values = point(compiled)
    ours = compiled.log_prob_terms(values)
    # What is substituted stays a random site for NumPyro, so its value has to be in the trace.
    theirs = numpyro_terms(wrapped[numpyro], values)
    assert ours.keys() == theirs.keys()
    for name, term in theirs.items():
        assert_allclose(ours[name], np.broadcast_to(term, ours[name].shape), rtol=2e-5, atol=1e-6, err_msg=name)


def _inline(ppl, names, y):
    """The same as WRAPPERS, by ``with``."""
    h = ppl.handlers
    contexts = {
        "scale": lambda: h.scale(scale=2.5),
        "mask": lambda: h.mask(mask=jnp.array([True, False, True])),
        "condition": lambda: h.condition(data={"tau": 0.7}),
        "substitute": lambda: h.substitute(data={"mu": -0.2}),
        "scope": lambda: h.scope(prefix="s"),
    }
    if not names:
        return model(ppl, y)
    with contexts[names[0]]():
        return _inline(ppl, names[1:], y)


@pytest.mark.parametrize("names", [("scale", "mask", "scope"), ("condition", "substitute", "scale")], ids="-".join)
def test_context_managers_equal_wrappers(names):
    wrapped = partial(model, plait)
    for name in reversed(names):
        wrapped = WRAPPERS[name](plait, wrapped)
    one, two = plait.compile(wrapped, y=Y), plait.compile(partial(_inline, plait, names), Y)
    assert one.shapes == two.shapes
    values = point(one)
    a, b = one.log_prob_terms(values), two.log_prob_terms(values)
    assert a.keys() == b.keys()
    for name in a:
        assert_allclose(a[name], b[name], rtol=1e-6)


# -- seed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, jax.random.PRNGKey(5), jax.random.key(6)], ids=["int", "raw", "key"])
def test_seed_draws_numpyros_stream(seed):
    ours, theirs = (draws(ppl, model, seed=seed) for ppl in (plait, numpyro))
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert_allclose(ours[name], theirs[name], rtol=0, err_msg=name)


def test_seed_draws_numpyros_stream_around_observed_keyed_and_partly_observed_sites():
    def mixed(ppl):
        ppl.sample("a", dist.Normal(0.0, 1.0), obs=1.0)
        ppl.sample("b", dist.Normal(0.0, 1.0))
        ppl.sample("c", dist.Normal(0.0, 1.0), rng_key=jax.random.PRNGKey(1))
        ppl.param("p", 1.0)
        ppl.param("q", jax.random.normal)
        ppl.factor("f", 1.0)
        with ppl.plate("rows", 3):
            ppl.sample("d", dist.Normal(0.0, 1.0), obs=jnp.zeros(3), obs_mask=jnp.array([True, False, True]))
        with ppl.handlers.substitute(data={"e": jnp.asarray(2.0)}):
            ppl.sample("e", dist.Normal(0.0, 1.0))
        ppl.sample("last", dist.Normal(0.0, 1.0))

    found = {ppl: sites(ppl, mixed) for ppl in (plait, numpyro)}
    for name in ("b", "c", "q", "d_unobserved", "last"):
        assert_allclose(found[plait][name]["value"], found[numpyro][name]["value"], rtol=0, err_msg=name)


@both
def test_seed_as_a_context_manager_goes_on_and_starts_again(ppl):
    def draw():
        return ppl.sample("x", dist.Normal(0.0, 1.0))

    with ppl.handlers.seed(rng_seed=1):
        first, second = draw(), draw()
    with ppl.handlers.seed(rng_seed=1):
        again = draw()
    assert first == again != second


def test_seed_needs_a_seed():
    def run():
        plait.handlers.seed(lambda: None)  # here

    with refused(ModelError, "rng_seed", at=run):
        run()


def test_seed_refuses_a_jitted_helper():
    def run():
        @jax.jit
        def helper():
            return plait.sample("x", dist.Normal(0.0, 1.0))  # here

        with plait.handlers.seed(rng_seed=0):
            return helper()

    with refused(ModelError, "'x'", "repeat this draw", at=run):
        run()


def test_seed_inside_a_jitted_function_is_fine():
    run = plait.handlers.seed(partial(pair, plait), 0)
    assert_allclose(jax.jit(run)(), run(), rtol=1e-6)


def test_seed_under_compile_leaves_latents_latent():
    compiled = plait.compile(plait.handlers.seed(partial(model, plait), 0), y=Y)
    assert list(compiled.shapes) == ["mu", "tau", "theta"]
    assert_allclose(compiled.log_joint(VALUES), plait.compile(partial(model, plait), y=Y).log_joint(VALUES))


def test_a_second_eager_run_compiles_nothing():
    run = plait.handlers.seed(partial(pair, plait), 0)
    run()
    with counting() as count:
        run()
    assert count.compiles == 0


# -- substitute, condition ----------------------------------------------------------------------------------


@both
def test_substituted_stays_unobserved_and_conditioned_does_not(ppl):
    for handler, observed in (("substitute", False), ("condition", True)):
        run = getattr(ppl.handlers, handler)(ppl.handlers.seed(partial(pair, ppl), 0), data={"mu": 0.5})
        site = ppl.handlers.trace(run).get_trace()["mu"]
        assert site["value"] == 0.5
        assert bool(site["is_observed"]) is observed


def test_seed_takes_any_integer():
    fn = dist.Normal(0.0, 1.0)
    runs = [plait.handlers.seed(lambda: plait.sample("x", fn), s) for s in (3, np.int64(3), jnp.int32(3))]
    assert len({float(run()) for run in runs}) == 1


@both
@pytest.mark.parametrize("handler", ["substitute", "condition"])
def test_a_function_gives_the_value_or_leaves_the_site(ppl, handler):
    def value(site):
        return 0.5 if site["name"] == "mu" and site["type"] == "sample" else None

    run = getattr(ppl.handlers, handler)(ppl.handlers.seed(partial(pair, ppl), 0), **{f"{handler}_fn": value})
    mu, tau = run()
    assert mu == 0.5 != tau


@both
def test_substitute_gives_params_too(ppl):
    with ppl.handlers.substitute(data={"p": 4.0}):
        assert ppl.param("p", 1.0) == 4.0


def test_a_substituted_param_is_no_param_of_the_compiled_model():
    def with_param():
        p = plait.param("p", 1.0)
        plait.sample("x", dist.Normal(p, 1.0))

    compiled = plait.compile(plait.handlers.substitute(with_param, data={"p": 4.0}))
    assert compiled.params == {}
    assert_allclose(compiled.log_joint({"x": 4.0}), dist.Normal(0.0, 1.0).log_prob(0.0), rtol=1e-6)


def test_conditioned_sites_are_replicated_and_substituted_ones_are_not():
    key = jax.random.key(0)
    conditioned = plait.compile(plait.handlers.condition(partial(pair, plait), data={"mu": 0.5}))
    assert "mu" not in conditioned.shapes
    assert conditioned.sample(key)["mu"] != 0.5
    substituted = plait.compile(plait.handlers.substitute(partial(pair, plait), data={"mu": 0.5}))
    assert substituted.sample(key)["mu"] == 0.5


@pytest.mark.parametrize("handler", ["substitute", "condition"])
def test_values_or_a_function_but_not_both(handler):
    h = getattr(plait.handlers, handler)

    def neither():
        h(lambda: None)  # here

    def too_many():
        h(lambda: None, {"x": 1.0}, lambda site: None)  # here

    for run in (neither, too_many):
        with refused(ModelError, handler, "data", at=run):
            run()


def test_a_substituted_value_of_another_shape():
    def scalar():
        with plait.plate("rows", 3):
            plait.sample("x", dist.Normal(0.0, 1.0))  # here

    with refused(ModelError, "'x'", "(3,)", "(5,)", at=scalar):
        plait.compile(plait.handlers.substitute(scalar, data={"x": np.zeros(5)}))


def test_a_substituted_traced_value_keeps_its_gradient():
    def tied(x):
        s = plait.sample("s", dist.Normal(0.0, 1.0))
        with plait.handlers.substitute(data={"t": 2.0 * s}):
            plait.sample("t", dist.Normal(x, 1.0))

    compiled = plait.compile(tied, 0.0)
    value, grad = jax.value_and_grad(lambda s: compiled.log_joint({"s": s}))(0.5)
    assert_allclose((value, grad), (-np.log(2 * np.pi) - 0.125 - 0.5, -0.5 - 2.0), rtol=1e-6)


# -- block ------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("settings", "visible"),
    [
        ({}, []),
        ({"hide": ["mu", "tau"]}, ["theta", "shifted", "y"]),
        ({"expose": ["mu"]}, ["mu"]),
        ({"hide_fn": lambda site: site["type"] == "deterministic"}, ["mu", "tau", "theta", "y"]),
    ],
    ids=["all", "hide", "expose", "hide_fn"],
)
def test_block_hides_sites_from_a_trace(ppl, settings, visible):
    def shape_only():
        run = ppl.handlers.block(ppl.handlers.seed(partial(model, ppl), 0), **settings)
        found = ppl.handlers.trace(run).get_trace()
        seen.append([n for n in found if n != "rows"])

    seen = []
    jax.eval_shape(shape_only)
    assert seen == [visible]


def test_block_takes_one_way_to_say_what():
    def run():
        plait.handlers.block(lambda: None, hide=["a"], expose=["b"])  # here

    with refused(ModelError, "hide", "expose", at=run):
        run()


def test_a_blocked_site_is_drawn_and_has_no_term_in_the_compiled_model():
    def blocked(ppl):
        with ppl.handlers.block(), ppl.handlers.seed(rng_seed=3):
            shift = ppl.sample("shift", dist.Normal(0.0, 1.0))
        ppl.sample("x", dist.Normal(shift, 1.0))

    compiled = plait.compile(partial(blocked, plait))
    assert compiled.shapes == {"x": ()}
    shift = draws(plait, lambda ppl: ppl.sample("shift", dist.Normal(0.0, 1.0)), seed=3)["shift"]
    assert_allclose(compiled.log_joint({"x": 0.3}), dist.Normal(shift, 1.0).log_prob(0.3), rtol=1e-5)
    assert_allclose(log_joint(numpyro, blocked, {"x": 0.3}), compiled.log_joint({"x": 0.3}), rtol=1e-5)


def test_a_blocked_site_without_a_key_is_refused():
    def hidden():
        with plait.handlers.block():
            plait.sample("x", dist.Normal(0.0, 1.0))  # here

    with refused(ModelError, "'x'", "block", "seed", at=hidden):
        plait.compile(hidden)


@both
def test_block_hides_from_handlers_outside_only(ppl):
    h = ppl.handlers

    def run(ppl):
        with h.scale(scale=10.0), h.block(), h.scale(scale=3.0), h.seed(rng_seed=0):
            ppl.sample("hidden", dist.Normal(0.0, 1.0))
        with h.scale(scale=10.0), h.block(hide=["hidden"]), h.scale(scale=3.0):
            ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.0)

    assert_allclose(log_joint(ppl, run, {}), 30 * dist.Normal(0.0, 1.0).log_prob(0.0), rtol=1e-6)


# -- scale, mask ------------------------------------------------------------------------------------------


@both
def test_scales_multiply_and_masks_conjoin(ppl):
    h = ppl.handlers

    def run(ppl):
        outer, inner = jnp.array([True, True, False]), jnp.array([False, True, True])
        with ppl.plate("rows", 3), h.scale(scale=2.0), h.mask(mask=outer), h.scale(scale=1.5), h.mask(mask=inner):
            ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.0)

    assert_allclose(log_joint(ppl, run, {}), 3 * dist.Normal(0.0, 1.0).log_prob(0.0), rtol=1e-6)


@both
def test_mask_true_and_scale_one_change_nothing(ppl):
    def run(ppl):
        with ppl.handlers.mask(mask=True), ppl.handlers.scale(scale=1.0):
            ppl.sample("x", dist.Normal(0.0, 1.0))

    assert_allclose(log_joint(ppl, run, {"x": 0.0}), dist.Normal(0.0, 1.0).log_prob(0.0), rtol=1e-6)


@pytest.mark.parametrize("handler", ["scale", "mask", "seed", "scope", "block", "trace"])
def test_a_setting_where_the_model_belongs(handler):
    def run():
        getattr(plait.handlers, handler)(2.0)  # here

    with refused(ModelError, handler, "2.0", at=run):
        run()


def test_a_handler_without_a_model_is_not_called():
    def run():
        plait.handlers.scale(scale=2.0)()  # here

    with refused(ModelError, "scale", "wraps no model", at=run):
        run()


def test_a_traced_scale_and_mask():
    def weighted(ppl, w, keep):
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        with ppl.plate("rows", 2), ppl.handlers.scale(scale=w), ppl.handlers.mask(mask=keep):
            ppl.sample("y", dist.Normal(x, 1.0), obs=jnp.array([1.0, 2.0]))

    args = np.array([0.5, 3.0], np.float32), np.array([True, False])
    ours, theirs = (log_joint(ppl, weighted, {"x": 0.2}, *args) for ppl in (plait, numpyro))
    assert_allclose(ours, theirs, rtol=1e-6)


# -- trace, scope -----------------------------------------------------------------------------------------


def test_trace_records_what_numpyro_records():
    found = {}
    for ppl in (plait, numpyro):
        scoped = partial(WRAPPERS["scale"](ppl, partial(model, ppl)), Y)
        found[ppl] = sites(ppl, lambda _, run=scoped: run())
    ours, theirs = found[plait], found[numpyro]
    assert list(ours) == list(theirs)
    for name, site in theirs.items():
        assert ours[name]["type"] == site["type"]
        assert_allclose(ours[name]["value"], site["value"], rtol=1e-6)
        if site["type"] == "sample":
            assert bool(ours[name]["is_observed"]) == bool(site["is_observed"])
            assert ours[name]["scale"] == site["scale"]
            assert [f.name for f in ours[name]["cond_indep_stack"]] == [f.name for f in site["cond_indep_stack"]]
            assert ours[name]["fn"].batch_shape == site["fn"].batch_shape


def test_trace_as_a_context_manager():
    with plait.handlers.trace() as found, plait.handlers.seed(rng_seed=0):
        x = plait.sample("x", dist.Normal(0.0, 1.0))
    assert list(found) == ["x"]
    assert found["x"].value is x
    with pytest.raises(KeyError):
        found["x"]["no such field"]


def test_trace_under_compile_does_not_change_the_density():
    compiled = plait.compile(plait.handlers.trace(partial(model, plait)), y=Y)
    assert_allclose(compiled.log_joint(VALUES), log_joint(numpyro, model, VALUES, Y), rtol=1e-6)


def test_nested_scopes():
    def inner():
        plait.sample("x", dist.Normal(0.0, 1.0))

    nested = plait.handlers.scope(plait.handlers.scope(inner, prefix="b"), prefix="a")
    assert list(plait.compile(nested).shapes) == ["a/b/x"]


def test_a_scope_between_two_plates_renames_the_inner_frame_only():
    def split(ppl):
        with ppl.plate("out", 2, dim=-2), ppl.handlers.scope(prefix="s"), ppl.plate("in", 3, dim=-1):
            ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.0)

    names = {ppl: [f.name for f in sites(ppl, split)["s/x"]["cond_indep_stack"]] for ppl in (plait, numpyro)}
    assert sorted(names[plait]) == sorted(names[numpyro]) == ["out", "s/in"]


def test_one_model_under_two_scopes():
    def twice(ppl, y):
        for prefix in ("a", "b"):
            with ppl.handlers.scope(prefix=prefix):
                model(ppl, y)

    values = {f"{p}/{n}": v for p in ("a", "b") for n, v in VALUES.items()}
    ours, theirs = (log_joint(ppl, twice, values, Y) for ppl in (plait, numpyro))
    assert_allclose(ours, theirs, rtol=1e-6)


def test_compile_inside_an_open_handler_is_refused():
    def run():
        with plait.handlers.scale(scale=2.0):
            plait.compile(partial(model, plait))  # here

    with refused(ModelError, "handler", at=run):
        run()


def test_a_handler_closes_after_an_exception():
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        plait.handlers.scope(broken, prefix="a")()
    with plait.handlers.trace() as found:
        plait.sample("x", dist.Normal(0.0, 1.0), obs=0.0)
    assert list(found) == ["x"]


def test_one_handler_object_entered_inside_itself():
    def run(ppl):
        triple = ppl.handlers.scale(scale=3.0)
        with triple, triple:
            ppl.sample("x", dist.Normal(0.0, 1.0), obs=0.0)

    assert_allclose(log_joint(plait, run, {}), 9 * dist.Normal(0.0, 1.0).log_prob(0.0), rtol=1e-6)
