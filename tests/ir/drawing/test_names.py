"""Strange names of sites, plates and arguments are text in every format, and each is still told from the others."""

import json
import unicodedata

import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.drawing.terminal import to_text
from tests.ir.drawing.names import HOSTILE
from tests.ir.drawing.reading import Dot, Mermaid, Svg


def drawing_of(name):
    """A latent of that name in a plate of that name, which data under that name enter, and a child."""

    def model(**data):
        (x,) = data.values()
        with plait.plate(f"plate {name}", 2):
            z = plait.sample(name, dist.Normal(x, 1.0))
        plait.sample("child", dist.Normal(z.sum(), 1.0), obs=0.0)

    return plait.compile(model, **{name: np.zeros((), np.float32)}).draw(shapes=True)


def written(name):
    """As Python writes what is no letter, sign or space; its beginning, where it is long."""
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    text = "".join(repr(c)[1:-1] if unicodedata.category(c) in hidden else c for c in name)
    return text if len(text) <= 60 else text[:59] + "…"


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_strange_names_stay_names(name):
    drawing, said, data = drawing_of(name), written(name), f"data[{name!r}]"
    edges = [(f"{data} (data)", name), (name, "child")]
    assert [(e.tail, e.head) for e in drawing.picture.edges] == edges
    assert {node.name for node in drawing.picture.nodes} == {data, name, "child"}

    dot, svg, mermaid = Dot(drawing.dot), Svg(drawing.svg), Mermaid(drawing.mermaid)
    first = {a["class"]: a["label"].split("\n")[0] for a, _ in dot.nodes.values()}
    assert first == {"data": written(data), "latent": said, "observed": "child"}
    assert {kind: lines[0] for kind, _, lines in svg.nodes} == first
    assert {kind: lines[0] for kind, lines, _ in mermaid.nodes.values()} == first
    (box,) = {box.label for box in drawing.picture.boxes}
    assert list(dot.boxes.values()) == svg.boxes == list(mermaid.boxes.values()) == [box]
    assert box.startswith(f"plate {said}"[:59])
    assert box.endswith(" 2")
    assert len(dot.edges) == len(svg.edges) == len(mermaid.edges) == 2

    assert drawing.png.startswith(b"\x89PNG")
    assert json.loads(json.dumps(drawing.to_json()))["nodes"][1]["name"] == name
    for text in (drawing.dot, drawing.svg, drawing.mermaid, drawing.text):
        assert all(c.isprintable() or c in "\n\xa0" for c in text)
        text.encode()
    assert f"○ {said}" in to_text(drawing.picture, width=400)


def test_names_that_are_written_alike_are_two_nodes():
    def model():
        a = plait.sample("a\x1b", dist.Normal(0.0, 1.0))
        b = plait.sample("a\\x1b", dist.Normal(a, 1.0))
        plait.sample("c", dist.Normal(b, 1.0), obs=0.0)

    drawing = plait.compile(model).draw()
    assert len(Dot(drawing.dot).nodes) == len(Svg(drawing.svg).nodes) == len(Mermaid(drawing.mermaid).nodes) == 3
    assert len({(a, b) for a, b, _ in Dot(drawing.dot).edges}) == 2
