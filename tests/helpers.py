"""What several test folders share: running one model under NumPyro and plait, and judging refusals."""

import inspect
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import numpyro
import pytest
from numpyro.infer.util import log_density

import plait

PPLS = {"numpyro": numpyro, "plait": plait}
both = pytest.mark.parametrize("ppl", PPLS.values(), ids=PPLS.keys())


def log_joint(ppl, model, values, *args, **kwargs):
    """The log joint of ``model(ppl, *args)``: by NumPyro, or compiled."""
    run = partial(model, ppl)
    if ppl is numpyro:
        # one compilation instead of one for each of its operations
        return jax.jit(lambda v: log_density(run, args, kwargs, v)[0])(values)
    return plait.compile(run, *args, **kwargs).log_joint(values)


def sites(ppl, model, *args, seed=0, **kwargs):
    """The sites of one eager run of ``model(ppl, *args)``."""
    run = ppl.handlers.seed(partial(model, ppl), rng_seed=seed)
    return ppl.handlers.trace(run).get_trace(*args, **kwargs)


def draws(ppl, model, *args, seed=0, **kwargs):
    """The values that one eager run of ``model(ppl, *args)`` draws, by site."""
    found = sites(ppl, model, *args, seed=seed, **kwargs).items()
    return {name: site["value"] for name, site in found if site["type"] == "sample"}


def drawn_shapes(ppl, model, *args):
    """The shapes of `draws`, computed without a draw."""
    found = jax.eval_shape(lambda: draws(ppl, model, *args))
    return {name: value.shape for name, value in found.items()}


def line(function, mark="# here"):
    """``file.py:12`` of the line of a function that ends with a mark."""
    lines, start = inspect.getsourcelines(function)
    (index,) = [i for i, text in enumerate(lines) if text.rstrip().endswith(mark)]
    return f"({inspect.getsourcefile(function).rpartition('/')[2]}:{start + index})"


@contextmanager
def refused(error, *says, at=None):
    """Expects an error of exactly this type, whose one line says all of `says` and ends with the user's line.

    `at` is the function whose line marked ``# here`` is to blame.
    """
    with pytest.raises(error) as caught:
        yield caught
    message = str(caught.value)
    assert type(caught.value) is error, message
    assert "\n" not in message
    for part in says:
        assert part in message
    if at is not None:
        assert message.endswith(line(at)), f"{message!r} does not blame {line(at)}"


def compiled(model, *args, **kwargs):
    """``model(plait, *args)``, compiled."""
    return plait.compile(partial(model, plait), *args, **kwargs)


def seeded(model):
    """The model with a key, which a plate needs to draw a subsample, also when it is compiled."""
    return lambda ppl, *args: ppl.handlers.seed(partial(model, ppl), 0)(*args)


def eagerly(model, *args):
    """One eager run of plait, with a key and a trace."""
    return plait.handlers.trace(plait.handlers.seed(model, 0)).get_trace(*args)


# A refusal that belongs to both ways of running a model: ``run(model, *args)``.
either_way = pytest.mark.parametrize("run", [plait.compile, eagerly], ids=["compiled", "eagerly"])

SHAPES = {
    "numpyro": partial(drawn_shapes, numpyro),
    "eagerly": partial(drawn_shapes, plait),
    "compiled": lambda model, *args: compiled(model, *args).shapes,
}
# The shapes of a model's latents, NumPyro's and ours: ``shapes(model, *args)``.
each_way = pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES.keys())


def any_error(ppl):
    """What a model is refused with: ours is a `ModelError`, NumPyro's may be anything."""
    return plait.ModelError if ppl is plait else Exception


def with_priors(*priors):
    """A model with these priors; none of them is rolled up, as each has a line of its own."""
    lines = [f"    s('s{i}', priors[{i}])" for i in range(len(priors))]
    scope = {"s": plait.sample, "priors": priors}
    exec("\n".join(["def model():", *lines]), scope)
    return scope["model"]


def same_density(a, b, rtol):
    """Whether two compiled models of one dtype have the same density and gradient; `rtol` is of the sum of |terms|."""
    z = np.random.default_rng(1).uniform(-1, 1, b.dim).astype(b.dtype)

    @jax.jit
    def evaluated(z):
        terms = b.log_prob_terms(b.constrain(z))
        return a.log_density_and_grad(z), b.log_density_and_grad(z), terms

    (value, gradient), (wanted, slope), terms = jax.device_get(evaluated(z))
    assert value.dtype == gradient.dtype == b.dtype
    assert np.isfinite(wanted)
    assert abs(value - wanted) <= rtol * sum(np.abs(t).sum() for t in terms.values()), (value, wanted)
    np.testing.assert_allclose(gradient, slope, rtol=rtol, atol=rtol * np.abs(slope).max(initial=0.0))


def open_netcdf(path):
    """What ArviZ wrote: by itself before its 1.0, by xarray from then on."""
    import arviz

    if arviz.__version__.startswith("0."):
        return arviz.from_netcdf(path)
    import xarray

    return xarray.open_datatree(path)


@contextmanager
def counting():
    """Counts traces and XLA compilations of whatever runs inside."""
    count = SimpleNamespace(traces=0, compiles=0)

    def listen(event, seconds, **kwargs):
        count.traces += event == "/jax/core/compile/jaxpr_trace_duration"
        count.compiles += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield count
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
