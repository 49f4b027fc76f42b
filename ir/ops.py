"""The ops: what a node can be, each with its one typing rule.

Model graph: Input, Const, Plate, Sample, Observe, Factor, Deterministic, Param, Scan, Cond, Apply, Item.
While a jaxpr becomes the model graph, beside those: Steps, LoopBegin, LoopEnd.
Density graph, beside those: Value, Flat, Split, Join, LogProb, Constrain, LogDet, InSupport, Check, Sum, AddN, Guard,
Hoist. Graph of a value and gradient, beside Input, Const, Apply and Item: Sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import numpy as np

from plait.ir.errors import InternalError
from plait.ir.graph import Graph, Node, Op, Role
from plait.ir.records import number, to_data
from plait.ir.spec import Part, Spec, family, filled, spec_text, unexpanded
from plait.ir.text import without_addresses
from plait.ir.types import ArrayType, Members, PlateFrame, Shape, TupleType, Type


def array(t: Type) -> ArrayType:
    """The type of a value that is one array."""
    if not isinstance(t, ArrayType):
        raise InternalError(f"expected an array, got {t}")
    return t


def array_type(node: Node) -> ArrayType:
    """The type of a node whose value is one array."""
    return array(node.type)


# -- leaves of the graph ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Input(Op):
    """A value from outside: an array argument of the model, the flat vector, a scan's carry, a random key."""

    DATA: ClassVar[str] = "data"
    FLAT: ClassVar[str] = "flat"
    BODY: ClassVar[str] = "body"
    KEY: ClassVar[str] = "key"

    name: str
    kind: str
    type: ArrayType
    mnemonic: ClassVar[str] = "input"

    @property
    def label(self) -> str | None:
        return self.name

    @property
    def is_root(self) -> bool:
        return True  # read or not, it is part of the signature

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 0, self, args)
        return self.type

    @property
    def category(self) -> str:
        return self.kind

    def text(self, names: list[str]) -> str:
        return f"{self.kind} {self.name!r}"


@dataclass(frozen=True, slots=True, eq=False)
class Const(Op):
    """A value that the program closes over; a Python number stays one, so that promotion stays jax's."""

    value: Any
    type: ArrayType
    mnemonic: ClassVar[str] = "const"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 0, self, args)
        return self.type

    @property
    def literal(self) -> str | None:
        if isinstance(self.value, (bool, int, float)):
            return f"{self.value}"
        if self.type.shape == () and isinstance(self.type.dtype, np.dtype):
            return f"{np.asarray(self.value).item()}"
        return None

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {} if self.literal is None else {"value": _number(self.value)}

    def text(self, names: list[str]) -> str:
        return "const"


@dataclass(frozen=True, slots=True)
class Plate(Op):
    """An entered plate; its value are its indices: 0 … size-1, or the argument, where it is a subsample."""

    frame: PlateFrame
    type: ArrayType
    mnemonic: ClassVar[str] = "plate"

    @property
    def label(self) -> str | None:
        return self.frame.name

    def infer(self, args: tuple[Type, ...]) -> Type:
        fits = len(args) == (self.frame.full_size is not None) and all(array(a).shape == self.type.shape for a in args)
        _expect(fits and self.type.shape == (self.frame.size,), self, args)
        return self.type

    @property
    def is_root(self) -> bool:
        return True

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {"plate": to_data(self.frame)}

    def text(self, names: list[str]) -> str:
        full = self.frame.full_size
        part = f" of {full} indices={names[0]}" if full is not None else ""
        return f"plate {self.frame.name!r} size={self.frame.size}{part} dim={self.frame.dim}"


# -- sites --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Site(Op):
    """A random site. Arguments: the distribution's leaves, then `extras` in the order they are named."""

    name: str
    dist: Part
    n_leaves: int
    event_ndim: int
    plates: tuple[PlateFrame, ...]
    extras: tuple[str, ...]  # of OBS, MASK, SCALE, KEY
    type: ArrayType
    drawn: Shape  # of the whole distribution; an observed value may be smaller
    members: Members | None = None  # the user's sites, where this one stands for several

    OBS: ClassVar[str] = "obs"
    MASK: ClassVar[str] = "mask"
    SCALE: ClassVar[str] = "scale"
    KEY: ClassVar[str] = "key"

    @property
    def owner(self) -> str:
        return self.name

    @property
    def label(self) -> str | None:
        return self.name

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == self.n_leaves + len(self.extras), self, args)
        return self.type

    @property
    def is_root(self) -> bool:
        return True

    @property
    def family(self) -> str:
        return family(self.dist)

    def leaves(self, args: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(args[: self.n_leaves])

    def extra(self, name: str, args: Sequence[Any]) -> Any | None:
        """The argument of that name, or None where the site has none."""
        return args[self.n_leaves + self.extras.index(name)] if name in self.extras else None

    def meaning(self, args: Sequence[str]) -> tuple[Any, ...]:
        """Each leaf in its place in the distribution, so that it does not count how many there are or in what order."""
        dist = filled(self.dist, self.leaves(args))
        extras = sorted(zip(self.extras, args[self.n_leaves :], strict=True))
        plates = sorted(self.plates, key=lambda p: p.dim)
        return (self.mnemonic, self.name, dist, self.event_ndim, plates, extras, self.type, self.drawn, self.members)

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        given = {name: self.extra(name, ids) for name in (Site.OBS, Site.MASK, Site.SCALE)}
        return {"site": _named(self) | self.in_words(words) | {"event_ndim": self.event_ndim} | given}

    def in_words(self, words: Sequence[str]) -> dict[str, Any]:
        """The family of the distribution, and the distribution as its user would write it."""
        return {"family": self.family, "distribution": spec_text(unexpanded(self.dist), words)}

    def text(self, names: list[str]) -> str:
        extras = [f" {e}={names[self.n_leaves + i]}" for i, e in enumerate(self.extras)]
        return f"{self.mnemonic} {spec_text(self.dist, names)}{''.join(extras)}"


@dataclass(frozen=True, slots=True)
class Sample(Site):
    """A latent site; its value is the free value."""

    mnemonic: ClassVar[str] = "sample"

    @property
    def category(self) -> str:
        return "latent"


@dataclass(frozen=True, slots=True)
class Observe(Site):
    """A site whose value is given: by `obs`, by `condition`, or (not `replicated`) by `substitute`."""

    replicated: bool = True  # the sampler draws it anew: a posterior predictive replicate
    mnemonic: ClassVar[str] = "observe"

    @property
    def category(self) -> str:
        return "observed"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == self.n_leaves + len(self.extras) and Site.OBS in self.extras, self, args)
        return self.type


@dataclass(frozen=True, slots=True)
class Factor(Site):
    """A term of the log joint that the user computed: NumPyro's `Unit` distribution, which has no value."""

    mnemonic: ClassVar[str] = "factor"

    def in_words(self, words: Sequence[str]) -> dict[str, Any]:
        return {"expression": words[0]}


@dataclass(frozen=True, slots=True)
class Deterministic(Op):
    """A named value."""

    name: str
    plates: tuple[PlateFrame, ...]
    members: Members | None = None
    mnemonic: ClassVar[str] = "deterministic"

    @property
    def owner(self) -> str:
        return self.name

    @property
    def label(self) -> str | None:
        return self.name

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 1, self, args)
        return args[0]

    @property
    def is_root(self) -> bool:
        return True

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {"site": _named(self) | {"expression": words[0]}}


@dataclass(frozen=True, slots=True)
class Param(Op):
    """One array of a `param` site; its argument is the initial value. A module's site has several."""

    name: str
    part: int
    path: str  # of this array in the site's pytree: "" for a plain array, "[0][1]" inside a module
    treedef: Any
    constraint: Part
    plates: tuple[PlateFrame, ...]
    mnemonic: ClassVar[str] = "param"

    @property
    def owner(self) -> str:
        return self.name

    @property
    def label(self) -> str | None:
        return f"{self.name}{self.path}"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 1, self, args)
        return args[0]

    @property
    def is_root(self) -> bool:
        return True

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {"site": _named(self) | {"path": self.path, "constraint": spec_text(self.constraint, words)}}


def _named(op: Site | Deterministic | Param) -> dict[str, Any]:
    """What JSON says of everything that the user named: its plates, leftmost axis first, and its members."""
    members = None if isinstance(op, Param) or op.members is None else to_data(op.members)
    return {"name": op.name, "plates": [to_data(p) for p in sorted(op.plates, key=lambda p: p.dim)], "members": members}


@dataclass(frozen=True, slots=True)
class Steps(Op):
    """The part of a value that belongs to the current step of the scans around it; only importing sees it.

    `steps` leading axes have yet to be stepped through. A value that was given `around_model` has an axis for each
    scan around its site.
    """

    name: str
    steps: int
    around_model: bool
    type: ArrayType
    mnemonic: ClassVar[str] = "steps"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 1 and array(args[0]).shape[self.steps :] == self.type.shape, self, args)
        return self.type


@dataclass(frozen=True, slots=True)
class LoopBegin(Op):
    """Begins a step of a loop over a plate; only importing sees it. From the plate's indices to the step's index.

    `loop` numbers the loops of a trace, `step` the steps of one of them that were traced.
    """

    loop: int
    step: int
    frame: PlateFrame
    type: ArrayType
    mnemonic: ClassVar[str] = "loop_begin"

    @property
    def is_root(self) -> bool:
        return True

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 1 and array(args[0]).shape == (self.frame.size,), self, args)
        return self.type


@dataclass(frozen=True, slots=True)
class LoopEnd(Op):
    """Ends a step of a loop over a plate; only importing sees it. Its argument is the step's index."""

    loop: int
    step: int
    mnemonic: ClassVar[str] = "loop_end"

    @property
    def is_root(self) -> bool:
        return True

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 1 and array(args[0]).shape == (), self, args)
        return args[0]


# -- code ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Typed(Op):
    """An op that knows its signature, because a jax trace told it."""

    ins: tuple[ArrayType, ...]
    out: Type

    def infer(self, args: tuple[Type, ...]) -> Type:
        fits = len(args) == len(self.ins) and all(t.same_array(a) for t, a in zip(self.ins, args, strict=True))
        _expect(fits, self, args)
        return self.out


@dataclass(frozen=True, slots=True)
class Apply(Typed):
    """Any jax primitive with its parameters: a wall to a pass that does not know it."""

    primitive: Any
    params: tuple[tuple[str, Any], ...]  # sorted by name

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.params)

    @property
    def category(self) -> str:
        return "code"

    @property
    def applies(self) -> str:
        name: str = self.primitive.name
        return name

    def text(self, names: list[str]) -> str:
        shown = [
            f"{k}={without_addresses(str(v))}"
            for k, v in self.params
            if isinstance(v, _SHOWN) and v not in ((), None, False)
        ]
        return f"{self.primitive.name}{'{' + ', '.join(shown) + '}' if shown else ''} {', '.join(names)}".rstrip()


_SHOWN = (bool, int, float, str, tuple, np.dtype)


@dataclass(frozen=True, slots=True)
class Item(Op):
    """One of the results of a node that has several."""

    index: int
    mnemonic: ClassVar[str] = "item"

    @property
    def category(self) -> str:
        return "code"

    def infer(self, args: tuple[Type, ...]) -> Type:
        (several,) = args
        if not isinstance(several, TupleType) or self.index >= len(several.items):
            raise InternalError(f"item {self.index} of {several}")
        return several.items[self.index]

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {"item": self.index}

    def text(self, names: list[str]) -> str:
        return f"item {names[0]}[{self.index}]"


@dataclass(frozen=True, slots=True)
class Scan(Typed):
    """`jax.lax.scan` with the body as a graph. Arguments: constants, initial carry, stacked inputs.

    The body's inputs stand in the same order, its RESULT outputs are the carry and then the stacked ones.
    """

    body: Graph
    n_consts: int
    n_carry: int
    length: int
    reverse: bool
    mnemonic: ClassVar[str] = "scan"

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return (self.body,)

    def with_bodies(self, bodies: Sequence[Graph]) -> Scan:
        (body,) = bodies
        return replace(self, body=body)

    @property
    def is_root(self) -> bool:
        return _holds_roots(self.body)

    def split(self, args: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Arguments as (constants, carry, stacked inputs)."""
        k = self.n_consts + self.n_carry
        return list(args[: self.n_consts]), list(args[self.n_consts : k]), list(args[k:])

    def enter(self, words: Sequence[str]) -> tuple[Sequence[str], ...]:
        """What comes in, and ``previous x`` for a carry that holds x."""
        consts, carry, xs = self.split(words)
        results = [out.node for out in self.body.outputs if out.role is Role.RESULT]
        labels = [results[i].op.label for i in range(len(carry))]
        return ([*consts, *(f"previous {label}" if label else "carry" for label in labels), *xs],)

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        counts = {"consts": self.n_consts, "carry": self.n_carry}
        return {"scan": {"length": self.length, "reverse": self.reverse, **counts}}

    def text(self, names: list[str]) -> str:
        consts, carry, xs = (", ".join(part) for part in self.split(names))
        return f"scan length={self.length}{' reverse' * self.reverse} ({consts}; {carry}; {xs})"


@dataclass(frozen=True, slots=True)
class Cond(Typed):
    """`jax.lax.cond` or `switch` with sites inside, the branches as graphs that hold equal sites.

    Arguments: the number of the branch, then what each branch gets as its inputs. Its RESULT outputs are the results.
    """

    branches: tuple[Graph, ...]
    mnemonic: ClassVar[str] = "cond"

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return self.branches

    def enter(self, words: Sequence[str]) -> tuple[Sequence[str], ...]:
        return tuple(words[1:] for _ in self.branches)

    def with_bodies(self, bodies: Sequence[Graph]) -> Cond:
        return replace(self, branches=tuple(bodies))

    @property
    def is_root(self) -> bool:
        return any(map(_holds_roots, self.branches))


def _holds_roots(body: Graph) -> bool:
    return any(n.op.is_root for n in body if not isinstance(n.op, Input))


# -- density graph --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Value(Op):
    """The constrained value of a latent site: given from outside, or its first argument where it is `bound`.

    The other arguments describe it, so that a pass finds all it needs here: the leaves of the support,
    then the site's mask and scale where there are any.
    """

    name: str
    family: str
    support: Part
    n_leaves: int
    event_ndim: int
    masked: bool
    scaled: bool
    bound: bool
    type: ArrayType
    mnemonic: ClassVar[str] = "value"

    @property
    def owner(self) -> str:
        return self.name

    @property
    def label(self) -> str | None:
        return self.name

    def infer(self, args: tuple[Type, ...]) -> Type:
        source = args[:1] if self.bound else ()
        n = self.n_leaves + self.masked + self.scaled + self.bound
        _expect(len(args) == n and all(self.type.same_array(a) for a in source), self, args)
        return self.type

    def leaves(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments that are leaves of the support."""
        return tuple(args[int(self.bound) :][: self.n_leaves])

    def extras(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """Mask and scale, as far as there are any."""
        return tuple(args[int(self.bound) :][self.n_leaves :])

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {"of": self.name, "family": self.family, "support": spec_text(self.support, self.leaves(words))}

    def text(self, names: list[str]) -> str:
        source = f" = {names[0]}" if self.bound else ""
        return f"value {self.name!r}{source} in {spec_text(self.support, self.leaves(names))}"


@dataclass(frozen=True, slots=True)
class Flat(Op):
    """A site's part of the flat unconstrained vector or of a piece of it, in the site's unconstrained shape."""

    offset: int
    type: ArrayType
    mnemonic: ClassVar[str] = "flat"

    def infer(self, args: tuple[Type, ...]) -> Type:
        fits = len(args) == 1 and array(args[0]).ndim == 1 and self.offset + self.type.size <= array(args[0]).size
        _expect(fits, self, args)
        return self.type

    def text(self, names: list[str]) -> str:
        return f"flat {names[0]}[{self.offset}:{self.offset + self.type.size}]"


@dataclass(frozen=True, slots=True)
class Split(Op):
    """A vector cut into vectors of these lengths, which are its items."""

    lengths: tuple[int, ...]
    mnemonic: ClassVar[str] = "split"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 1 and array(args[0]).shape == (sum(self.lengths),), self, args)
        return TupleType(tuple(ArrayType(array(args[0]).dtype, (n,)) for n in self.lengths))

    def text(self, names: list[str]) -> str:
        return f"split {names[0]} into {', '.join(map(str, self.lengths))}"


@dataclass(frozen=True, slots=True)
class Join(Op):
    """The entries of arrays one after the other in one vector; each array is broadcast to its shape first."""

    shapes: tuple[Shape, ...]
    dtype: Any
    mnemonic: ClassVar[str] = "join"

    def infer(self, args: tuple[Type, ...]) -> Type:
        fits = [np.broadcast_shapes(array(a).shape, s) == s for a, s in zip(args, self.shapes, strict=True)]
        _expect(all(fits), self, args)
        return ArrayType(self.dtype, (sum(math.prod(s) for s in self.shapes),))


@dataclass(frozen=True, slots=True)
class LogProb(Typed):
    """Log probability (nats) of a value, unsummed over the batch, masked and scaled.

    Arguments: the value, the distribution's leaves, then the mask and the scale where there are any.
    """

    site: str
    dist: Part
    masked: bool
    scaled: bool
    mnemonic: ClassVar[str] = "log_prob"

    @property
    def owner(self) -> str:
        return self.site

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {"of": self.site, "distribution": spec_text(unexpanded(self.dist), words[1:])}

    def text(self, names: list[str]) -> str:
        names = list(names)
        scale = f" scale={names.pop()}" if self.scaled else ""
        mask = f" mask={names.pop()}" if self.masked else ""
        return f"log_prob {names[0]} ~ {spec_text(self.dist, names[1:])}{mask}{scale}"


@dataclass(frozen=True, slots=True)
class Constrain(Typed):
    """The bijection from unconstrained space onto a support. Arguments: u, the support's leaves."""

    support: Part
    mnemonic: ClassVar[str] = "constrain"

    def text(self, names: list[str]) -> str:
        return f"constrain {names[0]} to {spec_text(self.support, names[1:])}"


@dataclass(frozen=True, slots=True)
class LogDet(Typed):
    """log |det dx/du| of `Constrain`, unsummed over the batch, masked and scaled like the site.

    Arguments: u, x, the support's leaves, then the mask and the scale where there are any.
    """

    site: str
    support: Part
    event_ndim: int
    masked: bool
    scaled: bool
    mnemonic: ClassVar[str] = "log_det_jacobian"

    @property
    def owner(self) -> str:
        return self.site

    def facts(self, ids: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
        return {"of": self.site}


@dataclass(frozen=True, slots=True)
class InSupport(Typed):
    """Whether each element of a value lies in the support.

    Arguments: x, the support's leaves, then the mask where there is one.
    """

    what: str
    support: Part
    masked: bool
    mnemonic: ClassVar[str] = "in_support"

    def text(self, names: list[str]) -> str:
        return f"in_support {names[0]} in {spec_text(self.support, names[1:])}"


@dataclass(frozen=True, slots=True)
class InSet:
    """A condition: the value is in the set. Arguments: the value, the constraint's leaves, a mask if `masked`."""

    constraint: Part
    masked: bool = False


@dataclass(frozen=True, slots=True)
class InRange:
    """A condition: each index is between 0 and `last`. Argument: indices, or if `vectors` index vectors."""

    last: tuple[int, ...]
    vectors: bool


@dataclass(frozen=True, slots=True)
class NotNan:
    """A condition on its one argument: it is a number, and where a product takes it, not an infinite one."""

    finite: bool = False


@dataclass(frozen=True, slots=True)
class Check(Op):
    """A condition on data alone, read on the host at compile and at every bind; its value says that it holds.

    The first argument is what an error shows, the others are what the condition needs besides.
    """

    condition: InSet | InRange | NotNan
    message: str
    mnemonic: ClassVar[str] = "check"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) >= 1, self, args)
        return ArrayType(np.dtype(bool), ())

    def text(self, names: list[str]) -> str:
        return f"check {names[0]} else {self.message!r}"


@dataclass(frozen=True, slots=True)
class Sum(Op):
    """Sum over all axes."""

    mnemonic: ClassVar[str] = "sum"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 1, self, args)
        return ArrayType(array(args[0]).dtype, ())


@dataclass(frozen=True, slots=True)
class Sums(Op):
    """The sums of arrays of one type over the same axes, which are its items."""

    axes: tuple[int, ...]
    mnemonic: ClassVar[str] = "sums"

    def infer(self, args: tuple[Type, ...]) -> Type:
        first = array(args[0])
        _expect(all(array(a).shape == first.shape and array(a).dtype == first.dtype for a in args), self, args)
        shape = tuple(n for i, n in enumerate(first.shape) if i not in self.axes)
        return TupleType(tuple(ArrayType(first.dtype, shape) for _ in args))

    def text(self, names: list[str]) -> str:
        return f"sums{{axes={self.axes}}} {', '.join(names)}"


@dataclass(frozen=True, slots=True)
class AddN(Op):
    """The sum of any number of scalars: the canonical form of the joint. Of none it is 0 in `dtype`."""

    dtype: Any
    mnemonic: ClassVar[str] = "add_n"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(all(array(a).shape == () for a in args), self, args)
        return ArrayType(self.dtype, ())


@dataclass(frozen=True, slots=True)
class Guard(Op):
    """The first argument where all the other ones hold, else -inf: never NaN outside a support."""

    mnemonic: ClassVar[str] = "guard"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(all(array(a).dtype == np.dtype(bool) for a in args[1:]), self, args)
        return args[0]


@dataclass(frozen=True, slots=True)
class Hoist(Op):
    """Where the stages meet: computed by `prepare` once per data set, given to every density call."""

    slot: int
    mnemonic: ClassVar[str] = "hoist"

    def infer(self, args: tuple[Type, ...]) -> Type:
        _expect(len(args) == 1, self, args)
        return args[0]

    def text(self, names: list[str]) -> str:
        return f"hoist[{self.slot}] {names[0]}"


def inputs(graph: Graph, kind: str) -> list[Node]:
    """The inputs of one kind (`Input.DATA`, …), in order: the graph's signature."""
    return [node for node in graph if isinstance(node.op, Input) and node.op.kind == kind]


def is_op(node: Node, *primitives: str) -> bool:
    """Whether a node applies one of these primitives."""
    return isinstance(node.op, Apply) and node.op.primitive.name in primitives


def aval(t: ArrayType) -> Any:
    """The jax aval of a type."""
    return jax.core.ShapedArray(t.shape, t.dtype, weak_type=t.weak)


def from_aval(a: Any) -> ArrayType:
    """The type of a jax aval."""
    return ArrayType(a.dtype, tuple(a.shape), weak=bool(getattr(a, "weak_type", False)))


def _number(value: Any) -> bool | int | float | str:
    """A scalar as JSON can hold it; a complex one as Python writes it."""
    plain = value if isinstance(value, (bool, int, float)) else np.asarray(value).item()
    return number(plain) if isinstance(plain, float) else plain if isinstance(plain, (bool, int)) else str(plain)


def _expect(fits: bool, op: Op, args: tuple[Type, ...]) -> None:
    if not fits:
        raise InternalError(f"{op.mnemonic} does not take ({', '.join(map(str, args))})")


__all__ = [
    "AddN", "Apply", "Check", "Cond", "Const", "Constrain", "Deterministic", "Factor", "Flat", "Guard", "Hoist",
    "Input", "InRange", "InSet", "InSupport", "Item", "Join", "LogDet", "LogProb", "LoopBegin", "LoopEnd", "NotNan",
    "Observe", "Param", "Plate", "Sample", "Scan", "Site", "Spec", "Split", "Steps", "Sum", "Sums", "Typed", "Value",
    "array", "array_type", "aval", "from_aval", "inputs", "is_op",
]  # fmt: skip
