"""Names of values and of the flat vector's entries, and the errors that dicts of values deserve."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from plait.compiler.members import Stack
from plait.ir.errors import ValueNamesError
from plait.ir.names import listed, unknown_names
from plait.ir.types import Loc, Shape, Slot
from plait.runtime.given import numbers


def entry_names(name: str, shape: Shape) -> Iterable[str]:
    """A name for each entry of an array in C order; a scalar has the site's own."""
    for index in itertools.product(*map(range, shape)):
        yield f"{name}[{','.join(map(str, index))}]" if index else name


def flat_names(
    slots: Sequence[Slot], families: Mapping[str, Stack], entries: Callable[[str, Shape], Iterable[str]] = entry_names
) -> tuple[str, ...]:
    """``mu``, ``theta[0]``, ``L[0,1]``: one for each entry of the unconstrained vector.

    Args:
        slots: of the vector.
        families: the sites that loops made.
        entries: names of an array's entries in C order, given its site and shape.
    """
    return tuple(name for slot in slots for name in _slot_names(slot, families.get(slot.name), entries))


def _slot_names(slot: Slot, family: Stack | None, entries: Callable[[str, Shape], Iterable[str]]) -> Iterable[str]:
    shape = slot.unconstrained.shape
    if family is None:
        return entries(slot.name, shape)
    own = family.member(shape)
    each = np.array([list(entries(member, own)) for member in family.names], dtype=object)
    by_member = each.reshape(len(family.names), *own)
    return list(np.moveaxis(by_member, 0, family.axis).ravel())


def require_dict(given: Any, what: str) -> None:
    """Raises ValueNamesError where something else stands in the place of values by name."""
    if not isinstance(given, Mapping):
        raise ValueNamesError(f"expected a dict of {what} values by name, got {type(given).__name__}")


def require_clear_families(given: Collection[str], known: Collection[str], families: Mapping[str, Stack]) -> None:
    """Raises ValueNamesError where a family is given with one of its members besides, or by the stem of its name."""
    stems = {name.replace("*", "").rstrip("_"): name for name in families}
    for name in given:
        if name not in known and name in stems:
            raise ValueNamesError(f"there is no site {name!r}; the sites of the loop, stacked, are {stems[name]!r}")
    for name in families.keys() & set(given):
        if twice := set(families[name].names) & set(given):
            raise ValueNamesError(f"{min(twice)!r} is given twice: by its own name, and as a part of {name!r}")


def ordered_values(
    values: Mapping[str, Any],
    expected: Mapping[str, Shape],
    what: str,
    line_of: Callable[[str], Loc | None],
    batch: Shape = (),
) -> list[Any]:
    """The values as arrays, in program order.

    Args:
        values: by name; None is as good as absent.
        expected: the sites' shapes.
        what: the sites are called in an error, such as ``latent``.
        line_of: a site in the model.
        batch: leading axes that all values have.

    Raises:
        ValueNamesError: one is missing, unknown, not of numbers, or has another shape than the site.
    """
    require_dict(values, what)
    unknown_names(values.keys(), list(expected), what)
    missing = [name for name in expected if values.get(name) is None]
    if missing:
        raise ValueNamesError(f"no value for {what} {listed(missing)} (expected: {listed(list(expected))})")
    arrays = []
    for name, shape in expected.items():
        arrays.append(numbers(values[name], f"the value of {what} {name!r}", partial(line_of, name)))
        if (got := arrays[-1].shape) != batch + shape:
            like = f", or {batch + shape} with the leading axes of the first value" if batch else ""
            message = f"{what} {name!r} has shape {shape}{like}, got a value of shape {got}"
            raise ValueNamesError(message, line_of(name))
    return arrays


def leading_axes(values: Mapping[str, Any], shapes: Mapping[str, Shape], what: str) -> Shape:
    """The axes that values have before their sites' shapes, read off the first one."""
    require_dict(values, what)
    for name, shape in shapes.items():
        if values.get(name) is not None:
            got = numbers(values[name], f"the value of {what} {name!r}").shape
            return tuple(got[: max(len(got) - len(shape), 0)])
    return ()
