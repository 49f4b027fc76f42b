"""What reports have in common: they print as tables, and are written to JSON and read from it."""

from __future__ import annotations

import io
from typing import Any, ClassVar, Self

from rich.console import Console

from plait.ir.records import from_data, to_data, without_schema

WIDTH = 110


class Report:
    """A frozen dataclass that rich can print.

    Attributes:
        schema: what its JSON calls its form.
        what: an error calls it.
    """

    schema: ClassVar[str]
    what: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """What `json.dumps(…, allow_nan=False)` takes; `docs/json.md` has every field."""
        return {"schema": self.schema, **to_data(self)}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The report that `to_json` wrote: equal to it, and printed alike.

        Args:
            data: what `json.loads` made of it.

        Raises:
            ArtifactError: it is of another schema, or a field is missing, unknown or of the wrong type.
        """
        return from_data(cls, without_schema(data, cls.schema, cls.what), cls.what)

    def __str__(self) -> str:
        out = io.StringIO()
        Console(file=out, width=WIDTH, force_terminal=False, markup=False, highlight=False).print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


__all__ = ["Report"]
