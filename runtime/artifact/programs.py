"""Which programs of a model are saved, and which functions of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plait.compiler.lower.sampler import undrawn_sites
from plait.runtime.artifact.exporting import (
    Example,
    Exportable,
    density_functions,
    drawing_functions,
    param_functions,
    preparing_functions,
    site_functions,
    space_functions,
    terms_function,
    unconstrain_function,
)
from plait.runtime.artifact.parts import OF_DATA, ON_ROWS, PARTS, UNSCALED, WHOLE_MODEL
from plait.runtime.bound import Bound
from plait.runtime.program import Program

Chosen = Callable[[Program, Example], Iterator[Exportable]]


@dataclass(frozen=True)
class Saving:
    """A program to save: on which data, and what of it."""

    bound: Bound
    chosen: Chosen

    @property
    def program(self) -> Program:
        """It."""
        assert isinstance(self.bound._program, Program)
        return self.bound._program

    def functions(self, n: Any, any_rows: bool = False) -> Iterator[Exportable]:
        """Its functions, of `n` points; for data of any number of rows, or of the saved one."""
        return self.chosen(self.program, example_of(self.bound, n, any_rows))


def programs(bound: Bound) -> dict[str, Saving]:
    """By name; each once more without statistics of the host, where it has such."""
    named = {OF_DATA: Saving(bound, _of_data), WHOLE_MODEL: Saving(bound, _prepared(_of_known))}
    if bound._about.no_density is None:
        named |= {name: Saving(bound._of(part), _prepared(density_functions)) for name, part in PARTS.items()}
    named[UNSCALED] = Saving(bound._unscaled, _prepared(_terms))
    for name, saving in [*named.items()]:
        if has_statistics(name, saving):
            on_rows = saving.program.on_traced_data
            known = on_rows.lowered.prepare(bound._data)
            named[ON_ROWS + name] = replace(saving, bound=replace(saving.bound, _program=on_rows, _known=known))
    return named


def has_statistics(name: str, saving: Saving) -> bool:
    """Whether a program reads statistics of the data that the host computes."""
    return name != OF_DATA and bool(saving.program.lowered.kernels)


def counterpart(name: str, saving: Saving, others: dict[str, Saving]) -> Saving:
    """What stands for a program among those of the same model on other data: with statistics as it is, or without."""
    if name == OF_DATA or has_statistics(name, saving):
        return others[name]
    plain = name.removeprefix(ON_ROWS)
    return others.get(ON_ROWS + plain, others[plain])


def example_of(bound: Bound, n: Any, any_rows: bool = False) -> Example:
    """The types of the arguments of its functions, of `n` points."""
    params = tuple(np.zeros(site.type.shape, site.type.dtype) for site in bound._about.params.arrays)
    return Example.of(n, bound._data, bound._known, params, any_rows)


def _prepared(chosen: Chosen) -> Chosen:
    def functions(program: Program, example: Example) -> Iterator[Exportable]:
        yield from preparing_functions(program, example)
        yield from chosen(program, example)

    return functions


def _of_data(program: Program, example: Example) -> Iterator[Exportable]:
    """What reads the data themselves, so that it is the same in all programs."""
    yield from drawing_functions(program, example, undrawn_sites(program.model))
    yield from param_functions(program, example)
    if program.description.no_density is None:
        yield unconstrain_function(program, example)


def _of_known(program: Program, example: Example) -> Iterator[Exportable]:
    """What reads what is known of the data."""
    yield from site_functions(program, example)
    if program.description.no_density is None:
        yield from density_functions(program, example)
        yield from space_functions(program, example)


def _terms(program: Program, example: Example) -> Iterator[Exportable]:
    yield terms_function(program, example)


__all__ = ["Saving", "counterpart", "example_of", "has_statistics", "programs"]
