"""Every format of every model: it is well formed, and has exactly the picture's nodes, edges and boxes."""

import io
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from rich.cells import cell_len

import plait
from plait.ir.drawing.drawing import DETAILS
from plait.ir.drawing.terminal import to_text
from tests.ir.drawing.reading import Dot, Mermaid, Svg
from tests.models import EMPTY, MODELS, SCAN_MODELS, some

EVERY = [*some(some([*MODELS, *SCAN_MODELS])), EMPTY]
DETAIL = itertools.cycle(DETAILS)
CASES = [(model, "graph", next(DETAIL)) for model in EVERY] + [
    (model, "density_graph", next(DETAIL)) for model in some(EVERY)
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].name}-{case[1]}-{case[2]}")
def drawing(request):
    model, graph, detail = request.param
    compiled = plait.compile(model.bind(plait), **model.args(np.float32))
    return getattr(compiled, graph).draw(detail=detail, shapes=True)


def test_each_format(drawing):
    check_dot(drawing)
    check_svg(drawing)
    check_mermaid(drawing)
    check_text(drawing)
    check_json(drawing)


def paths(picture):
    """The ids of the boxes around each node, outermost first."""
    within = {box.id: box.within for box in picture.boxes}

    def path(box):
        return () if box is None else (*path(within[box]), box)

    return {node.id: path(node.box) for node in picture.nodes}


def first_line(node):
    name = node.name if len(node.name) <= 60 else node.name[:59] + "…"
    return f"{name}  ×{node.count}" if node.count > 1 else name


def check_dot(drawing):
    shown, read = drawing.picture, Dot(drawing.dot)
    assert {name: attributes["label"].split("\n")[0] for name, (attributes, _) in read.nodes.items()} == {
        called(node.id): first_line(node) for node in shown.nodes
    }
    of_boxes = {
        name.removeprefix("_"): tuple(c.removeprefix("cluster_") for c in path)
        for name, (_, path) in read.nodes.items()
    }
    assert of_boxes == paths(shown)
    assert sorted(read.boxes.values()) == sorted(box.label for box in shown.boxes)
    assert Counter((a, b, "style" in attributes) for a, b, attributes in read.edges) == Counter(
        (called(e.tail), called(e.head), e.temporal) for e in shown.edges
    )


def called(node):
    """Graphviz has names of its own that begin with %."""
    return f"_{node}" if node[0] == "%" else node


def check_svg(drawing):
    shown, read = drawing.picture, Svg(drawing.svg)
    assert Counter((kind, lines[0], title) for kind, title, lines in read.nodes) == Counter(
        (node.kind, first_line(node), called(node.id)) for node in shown.nodes
    )
    assert sorted(read.boxes) == sorted(box.label for box in shown.boxes)
    assert Counter(read.edges) == Counter(f"{called(e.tail)}->{called(e.head)}" for e in shown.edges)
    assert read.dashed == {f"{called(e.tail)}->{called(e.head)}" for e in shown.edges if e.temporal}


def check_mermaid(drawing):
    shown, read = drawing.picture, Mermaid(drawing.mermaid)
    ids = dict(zip(read.nodes, (node.id for node in sorted_by_box(shown)), strict=True))
    nodes = {node.id: node for node in shown.nodes}
    for name, (kind, lines, path) in read.nodes.items():
        node = nodes[ids[name]]
        assert (kind, lines[0], path) == (node.kind, first_line(node), paths(shown)[node.id])
    assert Counter((ids[a], ids[b], t) for a, b, t in read.edges) == Counter(
        (e.tail, e.head, e.temporal) for e in shown.edges
    )
    assert sorted(read.boxes.values()) == sorted(box.label for box in shown.boxes)
    assert read.classes == {node.kind for node in shown.nodes}


def sorted_by_box(picture):
    """Nodes as nested boxes list them: those right in a box, then those of the boxes in it."""

    def listed(within):
        yield from (node for node in picture.nodes if node.box == within)
        for box in picture.boxes:
            if box.within == within:
                yield from listed(box.id)

    return list(listed(None))


def check_text(drawing):
    shown, names = drawing.picture, {node.id: node.name for node in drawing.picture.nodes}
    wide = to_text(shown, shapes=True, width=2000)
    lines = {line.strip(" │").strip() for line in wide.splitlines()}
    for node in shown.nodes:
        title = re.escape(first_line(node).replace("  ×", " ×"))
        reads = [names[e.tail] + " before" * e.temporal for e in shown.edges if e.head == node.id]
        ending = re.escape(f"← {', '.join(name if len(name) <= 60 else name[:59] + '…' for name in reads)}")
        said = re.compile(rf"\S {title}(  .*)?{ending}" if reads else rf"\S {title}(  .*)?")
        assert any(said.fullmatch(line) for line in lines), (node, wide)
    for box in shown.boxes:
        assert f" {box.label} ─╮" in wide
    for width in (60, 80, 120):
        assert all(cell_len(line) <= width for line in to_text(shown, shapes=True, width=width).splitlines())


def check_json(drawing):
    data = json.loads(json.dumps(drawing.to_json(), allow_nan=False))
    assert data["schema"] == "plait.picture/1"
    page = (Path(__file__).resolve().parents[3] / "docs/json.md").read_text(encoding="utf-8")
    section = page.partition("## Picture: ")[2].partition("\n## ")[0]
    tables = [table for table in section.split("\n\n") if table.startswith("| field of")]
    rows = ["".join(re.findall(r"^\| (`[^|]*)", table, re.M)) for table in tables]
    picture, node, edge, box = (set(re.findall(r"`(\w+)`", row)) for row in rows)
    assert set(data) == picture
    for part, fields in (("nodes", node), ("edges", edge), ("boxes", box)):
        assert all(set(item) == fields for item in data[part])
    ids = {n["id"] for n in data["nodes"]}
    assert len(ids) == len(data["nodes"]) == len(drawing.picture.nodes)
    assert all({e["tail"], e["head"]} <= ids for e in data["edges"])
    assert {n["box"] for n in data["nodes"]} <= {None, *(b["id"] for b in data["boxes"])}


@pytest.mark.parametrize("model", some(some(MODELS)), ids=lambda m: m.name)
def test_a_png_is_an_image_with_something_on_it(model):
    drawing = plait.compile(model.bind(plait), **model.args(np.float32)).draw()
    assert drawing.png[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = matplotlib.image.imread(io.BytesIO(drawing.png))
    width, height = (float(drawing.svg.partition(f'{side}="')[2].partition("pt")[0]) for side in ("width", "height"))
    assert np.allclose(pixels.shape[:2], (2 * height, 2 * width), atol=2)
    dark = (pixels[..., :3].max(-1) < 0.3).mean()
    assert 0.002 < dark < 0.5


def test_a_png_needs_a_font(monkeypatch):
    from plait.ir.drawing import images

    drawing = plait.compile(lambda: None).draw()
    monkeypatch.setattr(images, "_writes", lambda: False)
    with pytest.raises(plait.PlaitError, match="a PNG needs a font, and this machine has none: install one") as caught:
        _ = drawing.png
    assert type(caught.value).__name__ == "DrawingError"
    assert "<svg" in drawing.svg
