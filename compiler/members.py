"""Sites of the user's that a loop made and that are held as one: where each is among the values of all.

Values are packed and unpacked on the host with numpy: jitted code sees stacked arrays only, since XLA takes seconds to
compile a thousand scalars that are put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from plait.compiler.jax_compat import is_tracer
from plait.ir.types import Shape, Slot


@dataclass(frozen=True)
class Stack:
    """The members of a family, in C order of `axes` axes of its values from axis `axis` on."""

    names: tuple[str, ...]
    axis: int
    axes: int

    def member(self, shape: Shape) -> Shape:
        """The shape of one member's values."""
        return (*shape[: self.axis], *shape[self.axis + self.axes :])


def member_names(names: Iterable[str], families: Mapping[str, Stack]) -> list[str]:
    """The user's sites, for the names of sites and families."""
    return [member for name in names for member in (families[name].names if name in families else (name,))]


def member_shapes(shapes: Mapping[str, Shape], families: Mapping[str, Stack]) -> dict[str, Shape]:
    """The shapes of the user's sites, for those of sites and families."""
    found: dict[str, Shape] = {}
    for name, shape in shapes.items():
        if name in families:
            found |= dict.fromkeys(families[name].names, families[name].member(shape))
        else:
            found[name] = shape
    return found


def member_slots(slots: Sequence[Slot], families: Mapping[str, Stack]) -> tuple[Slot, ...]:
    """The slots of the user's sites, as far as each one's entries follow one another."""
    found: list[Slot] = []
    for slot in slots:
        family = families.get(slot.name)
        if family is None or family.axis:
            found.append(slot)
            continue
        u, value = (replace(t, shape=family.member(t.shape), axes=()) for t in (slot.unconstrained, slot.value))
        found += [Slot(name, slot.offset + i * u.size, u, value) for i, name in enumerate(family.names)]
    return tuple(found)


def expected_shapes(
    given: Mapping[str, Any], shapes: Mapping[str, Shape], families: Mapping[str, Stack]
) -> dict[str, Shape]:
    """What values to expect: a family's stacked where it is given by its own name, else its members'."""
    found: dict[str, Shape] = {}
    for name, shape in shapes.items():
        if name in families and name not in given:
            found |= dict.fromkeys(families[name].names, families[name].member(shape))
        else:
            found[name] = shape
    return found


def stacked(
    values: Mapping[str, Any], shapes: Mapping[str, Shape], families: Mapping[str, Stack], batch: int = 0
) -> dict[str, Any]:
    """Values by site or family, for values of which families may be given member by member.

    Args:
        values: arrays by name: all that `expected_shapes` says.
        shapes: of the sites and families.
        families: those among them.
        batch: how many leading axes the values have before these shapes.
    """
    found = {}
    for name, shape in shapes.items():
        if name in values:
            found[name] = values[name]
        else:
            parts = [values[member] for member in families[name].names]
            xp: Any = jnp if any(map(is_tracer, parts)) else np
            lead = np.shape(parts[0])[:batch]
            found[name] = xp.reshape(xp.stack(parts, axis=batch + families[name].axis), (*lead, *shape))
    return found


def unstacked(values: Mapping[str, Any], families: Mapping[str, Stack], batch: int = 0) -> dict[str, Any]:
    """The inverse of `stacked`: each member's value is a view of its family's."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in families:
            found |= zip(families[name].names, _members(value, families[name], batch), strict=True)
        else:
            found[name] = value
    return found


def _members(value: Any, family: Stack, batch: int) -> Sequence[Any]:
    value = value if is_tracer(value) else np.asarray(value)
    axis, shape = batch + family.axis, np.shape(value)
    flat = value.reshape((*shape[:axis], len(family.names), *shape[axis + family.axes :]))
    before = (slice(None),) * axis
    return [flat[(*before, i, ...)] for i in range(len(family.names))]


__all__ = [
    "Stack",
    "expected_shapes",
    "member_names",
    "member_shapes",
    "member_slots",
    "stacked",
    "unstacked",
]
