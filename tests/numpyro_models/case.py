"""What an acceptance case is: a NumPyro model as its author wrote it, with small data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class Case:
    """A model with the arguments to run it on; `plait.compile(model, *args, static=static, **kwargs)` is all there is.

    Attributes:
        model: calls NumPyro's primitives, and knows nothing of plait.
        args: its arguments, or a function that makes them (weights of a network, made in the test's precision).
        kwargs: its keyword arguments.
        static: arguments that the model uses as Python values.
        discrete: has discrete latents, hence a log joint of constrained values alone.
        around: puts a handler around the model, in the test's precision.
        label: the case's name where that of the model does not do.
    """

    model: Callable[..., Any]
    args: tuple[Any, ...] | Callable[[], tuple[Any, ...]] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    static: tuple[str, ...] = ()
    discrete: bool = False
    around: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
    label: str = ""

    @property
    def name(self) -> str:
        """The case's name among the tests."""
        return self.label or self.model.__name__

    def made(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The model and its arguments, in the precision that is configured."""
        model = self.around(self.model) if self.around is not None else self.model
        return model, self.args() if callable(self.args) else self.args
