"""`Drawing`: a picture in every format, made when it is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plait.ir.drawing.dot import to_dot
from plait.ir.drawing.images import to_png, to_svg
from plait.ir.drawing.mermaid import to_mermaid
from plait.ir.drawing.picture import DETAILS, Picture, picture
from plait.ir.drawing.terminal import to_text
from plait.ir.errors import OptionError
from plait.ir.files import replaced

SCHEMA = "plait.picture/1"
MOST_AT_ONCE = 400  # nodes that a notebook lays out by itself


@dataclass(frozen=True, repr=False)
class Drawing:
    """A picture of a model or of a graph.

    In a notebook it shows itself; ``print`` shows it as text.

    Attributes:
        picture: what it shows: nodes, edges and boxes.
        shapes: whether nodes say dtype, shape and support.
    """

    picture: Picture
    shapes: bool = False

    @property
    def dot(self) -> str:
        """For Graphviz."""
        return to_dot(self.picture, shapes=self.shapes)

    @property
    def svg(self) -> str:
        """An image that scales, laid out by Graphviz."""
        return to_svg(self.dot)

    @property
    def png(self) -> bytes:
        """An image of two pixels a point."""
        return to_png(self.svg)

    @property
    def mermaid(self) -> str:
        """For Markdown."""
        return to_mermaid(self.picture, shapes=self.shapes)

    @property
    def text(self) -> str:
        """For terminals."""
        return to_text(self.picture, shapes=self.shapes)

    def to_json(self) -> dict[str, Any]:
        """For programs that draw: nodes, edges and boxes, as `docs/json.md` says."""
        return {"schema": SCHEMA, **asdict(self.picture)}

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> Path:  # noqa: A002
        """Writes it to a file, which is replaced in one step.

        Args:
            path: of the file.
            format: of `FORMATS`; by default what the file's name ends in.

        Raises:
            OptionError: there is no such format.
            OSError: the file can't be written; what was there before stays.
        """
        path = Path(path)
        content = FORMATS[format_of(path, format)](self)
        with replaced(path) as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<drawing of {len(self.picture.nodes)} nodes>"

    def _repr_html_(self) -> str:
        if len(self.picture.nodes) > MOST_AT_ONCE:
            return f"<p>{len(self.picture.nodes)} nodes: <code>.save('model.svg')</code> lays them out.</p>"
        return self.svg[self.svg.index("<svg") :]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self._repr_html_()}


FORMATS: Mapping[str, Callable[[Drawing], str | bytes]] = {
    "svg": lambda drawing: drawing.svg,
    "png": lambda drawing: drawing.png,
    "dot": lambda drawing: drawing.dot,
    "mermaid": lambda drawing: drawing.mermaid,
    "json": lambda drawing: json.dumps(drawing.to_json(), allow_nan=False) + "\n",
    "text": lambda drawing: drawing.text,
}
_SUFFIXES = {"gv": "dot", "mmd": "mermaid", "md": "mermaid", "txt": "text"}


def format_of(path: Path | None, given: str | None) -> str:
    """The format that is asked for, by name or by the end of the file's name.

    Raises:
        OptionError: there is none of that name.
    """
    asked = (given or ("" if path is None else path.suffix.removeprefix("."))).lower()
    found = _SUFFIXES.get(asked, asked)
    if found not in FORMATS:
        name = f"format {asked!r}" if asked else f"format for a file called {path.name!r}" if path else "format ''"
        raise OptionError(f"there is no {name}: a drawing is one of {', '.join(FORMATS)}")
    return found


def draw(
    data: Mapping[str, Any],
    path: str | os.PathLike[str] | None = None,
    *,
    detail: str = "sites",
    shapes: bool = False,
    format: str | None = None,  # noqa: A002
    supports: Mapping[str, str | None] | None = None,
) -> Drawing:
    """A drawing of a graph, written to a file where there is a path.

    Args:
        data: the JSON form of the graph.
        path: of the file.
        detail: "sites", "code" (sites and the deterministic code between them) or "equations" (every node).
        shapes: whether nodes say dtype, shape and support.
        format: of `FORMATS`; by default what the file's name ends in.
        supports: of latents and params in words, by name, as far as they are known.

    Raises:
        OptionError: there is no such detail or format.
        OSError: the file can't be written; what was there before stays.
    """
    if detail not in DETAILS:
        raise OptionError(f"there is no level of detail {detail!r}: it is one of {', '.join(DETAILS)}")
    if path is not None:
        format = format_of(Path(path), format)  # noqa: A001
    drawing = Drawing(picture(data, detail, supports), shapes)
    if path is not None:
        drawing.save(path, format)
    return drawing


__all__ = ["DETAILS", "FORMATS", "Drawing", "draw", "format_of"]
