"""``plait sample``: the posterior of a model, by a sampler of the user's choice."""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console

from plait import samplers
from plait.ir.errors import ModelError, PlaitError
from plait.model_file import ModelFileError
from plait.options import Cache, Data, Debug, DtypeOption, Float64, Target, Without, starting_with
from plait.render import posterior_table, site_table
from plait.runtime.arviz_data import log_likelihood_fits, to_arviz
from plait.runtime.compiled import CompiledModel
from plait.runtime.draws import Draws
from plait.runtime.extras import require
from plait.runtime.summary import diagnose, summary
from plait.session import Opened, fail, one_line, session, warn, with_fixed_params

Options = Mapping[str, Any]

# What --sampler takes, and the module of each: a name with a dot is another algorithm of a package.
SAMPLERS = {name: getattr(samplers, name) for name in samplers.__all__} | {
    f"blackjax.{name}": getattr(samplers.blackjax, name) for name in ("mclmc", "nested_slice", "pathfinder", "smc")
}
SUFFIXES = (".nc", ".npz")


def sample(
    target: Target,
    data: Data = None,
    sampler: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"One of {', '.join(SAMPLERS)}; blackjax and numpyro run NUTS.",
            autocompletion=starting_with(lambda: list(SAMPLERS)),
        ),
    ] = "blackjax",
    chains: Annotated[int | None, typer.Option(min=1, help="Chains, side by side; of NUTS 4.")] = None,
    warmup: Annotated[int | None, typer.Option(min=0, help="Adapting iterations of each chain; of NUTS 1000.")] = None,
    draws: Annotated[int | None, typer.Option(min=4, help="Kept iterations of each chain; of NUTS 1000.")] = None,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 0,
    target_accept: Annotated[
        float | None, typer.Option(min=0.01, max=0.999, help="Acceptance rate of NUTS to adapt to; 0.8.")
    ] = None,
    max_treedepth: Annotated[
        int | None, typer.Option(min=1, help="NUTS: at most 2**this gradients a draw; 10.")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another option of the sampler, as walkers=64 (repeatable)."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            "--output",
            "-o",
            metavar="FILE",
            help="Write the draws: FILE.nc as ArviZ reads them, with predictions, log likelihood and data; "
            "FILE.npz an array a site.",
        ),
    ] = None,
    every_row: Annotated[bool, typer.Option("--all", help="Show every entry of long sites.")] = False,
    dtype: DtypeOption = None,
    float64: Float64 = None,
    without: Without = None,
    cache: Cache = None,
    debug: Debug = False,
) -> None:
    """Draw from a model's posterior, by default with NUTS.

    The model is compiled, or loaded where it is a saved one; NUTS is BlackJAX's.
    """
    asked: dict[str, Any] = {"chains": chains, "warmup": warmup, "draws": draws}
    asked |= {"target_accept": target_accept, "max_treedepth": max_treedepth}
    with session(target, float64, dtype, debug, cache) as at:
        out = at.out
        run, given = _sampler(sampler, {name: x for name, x in asked.items() if x is not None}, options or [])
        require("arviz", sampler.partition(".")[0])
        _check_file(save)
        model = at.opened(data, without)
        compiled = model.compiled
        _print_model(out, model)
        if compiled.param_shapes:
            warn(out, "params are held at their initial values: sampling does not fit them")
            compiled = with_fixed_params(compiled, seed)
        result, seconds = _run(run, compiled, seed, given, debug)
        table, options_used = summary(result), _defaults(run) | given
        out.print(_how_it_went(result, options_used, seconds), style="bold")
        out.print(posterior_table(table, result.chains, compiled.families, every_row=every_row))
        for sentence in diagnose(result, table, max_treedepth=options_used.get("max_treedepth")):
            warn(out, sentence)
        if save is not None:
            _write(out, save, result, compiled, seed)
            out.print(f"draws written to {save}")


# -- which sampler, with which options --------------------------------------------------------------------


def _sampler(name: str, given: Options, more: Sequence[str]) -> tuple[Callable[..., Draws], dict[str, Any]]:
    if name not in SAMPLERS:
        raise ModelFileError(f"there is no sampler {name!r}{_instead(name, list(SAMPLERS))}")
    run: Callable[..., Draws] = SAMPLERS[name].sample
    known = [n for n, p in inspect.signature(run).parameters.items() if p.kind is p.KEYWORD_ONLY and n != "progress"]
    takes_more = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(run).parameters.values())
    extra = dict(map(_setting, more))
    for option in [*given, *(() if takes_more else extra)]:
        if option not in known:
            raise ModelFileError(f"{name} has no option {option!r}; it has {', '.join(known)}")
    return run, {**given, **extra}


def _setting(text: str) -> tuple[str, Any]:
    """``walkers=64`` as a name and a value; what is no Python literal is a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ModelFileError(f"--set takes NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _defaults(run: Callable[..., Draws]) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(run).parameters.items() if p.default is not p.empty}


def _instead(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"


# -- what is printed --------------------------------------------------------------------------------------


def _print_model(out: Console, model: Opened) -> None:
    out.print(model.title)
    out.print(site_table(model.sites))
    done = "loaded" if model.file is None else "compiled"
    title = f"\nlog density of {model.compiled.dim} unconstrained values, {done} in {model.seconds:.1f} s:"
    out.print(title, style="bold")
    out.print(model.compiled.explain())


def _how_it_went(draws: Draws, options: Options, seconds: float) -> str:
    stats = draws.stats
    found = [f"{draws.chains} chains × {draws.draws} draws" if draws.chains > 1 else f"{draws.draws} draws"]
    if options.get("warmup"):
        found.append(f"{options['warmup']} warm-up each")
    facts = []
    if "step_size" in stats:
        facts.append(f"step size {stats['step_size'].mean():.3g}")
    if "n_steps" in stats:
        facts.append(f"{stats['n_steps'].mean():.1f} gradients a draw")
    if "diverging" in stats:
        facts.append(f"{draws.divergences} divergences")
    if draws.log_evidence is not None:
        error = draws.log_evidence_error
        known = error is not None and np.isfinite(error)
        facts.append(f"log evidence {draws.log_evidence:.2f}" + (f" ± {error:.2f} nats" if known else " nats"))
    return f"\n{', '.join(found)}, in {seconds:.1f} s" + (f": {', '.join(facts)}" if facts else "")


# -- steps ------------------------------------------------------------------------------------------------


def _run(
    run: Callable[..., Draws], compiled: CompiledModel, seed: int, given: Options, debug: bool
) -> tuple[Draws, float]:
    began = time.perf_counter()
    try:
        result = run(compiled, jax.random.key(seed), **given)
    except PlaitError:
        raise
    except Exception as e:
        fail(f"the sampler failed: {one_line(e)}", 1, debug)
    return result, time.perf_counter() - began


def _check_file(save: Path | None) -> None:
    """Before anything slow runs."""
    if save is not None and save.suffix not in SUFFIXES:
        raise ModelFileError(f"can't write draws to {save}: it does not end in {' or '.join(SUFFIXES)}")
    if save is not None and not save.parent.is_dir():
        raise ModelFileError(f"can't write draws to {save}: there is no folder {save.parent}")


def _write(out: Console, save: Path, draws: Draws, compiled: CompiledModel, seed: int) -> None:
    if save.suffix == ".npz":
        np.savez(save, **dict(draws.values))  # type: ignore[arg-type]
        return
    key = jax.random.fold_in(jax.random.key(seed), 1)  # the sampler's own is the seed's
    fits = log_likelihood_fits(draws, compiled)
    if not fits:
        warn(out, "the log likelihood of all observations at all draws is too large and is not saved")
    try:
        found = to_arviz(draws, compiled, key=key, log_likelihood=fits)
    except ModelError as e:
        warn(out, f"no prior draws are saved: {e}")
        found = to_arviz(draws, compiled, key=key, log_likelihood=fits, prior_draws=0)
    found.to_netcdf(save)


__all__ = ["sample"]
