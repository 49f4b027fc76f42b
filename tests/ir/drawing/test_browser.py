"""SVG and Mermaid in a real browser: they show their text where it belongs, and run nothing."""

import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from tests.ir.drawing.names import HOSTILE
from tests.models import MODELS, SCAN_MODELS

SHOWN = [model for model in (*MODELS, *SCAN_MODELS) if model.name in ("subsampled", "state_space", "neural_regression")]
by_name = pytest.mark.parametrize("model", SHOWN, ids=lambda m: m.name)

# Of each node the largest part of a line that sticks out of its shape, to either side, in parts of the shape's width.
STICKS_OUT = """() => [...document.querySelectorAll("g.node")].map(node => {
    const shape = node.querySelector("ellipse, polygon, path").getBoundingClientRect()
    const lines = [...node.querySelectorAll("text")].map(t => t.getBoundingClientRect())
    const beyond = lines.map(l => Math.max(shape.left - l.left, l.right - shape.right) / shape.width)
    return [shape.width, lines.length, Math.max(...beyond), Math.max(...lines.map(l => l.height))]
})"""
# Of each node whether its middle lies in every box that has its name among those around it.
INSIDE = """() => {
    const boxes = [...document.querySelectorAll("g.cluster")].map(c => c.querySelector("path").getBoundingClientRect())
    const middle = r => [(r.left + r.right) / 2, (r.top + r.bottom) / 2]
    return [...document.querySelectorAll("g.node")].map(node => {
        const [x, y] = middle(node.querySelector("ellipse, polygon, path").getBoundingClientRect())
        return boxes.filter(b => b.left < x && x < b.right && b.top < y && y < b.bottom).length
    })
}"""


def drawing_of(model):
    return plait.compile(model.bind(plait), **model.args(np.float32)).draw(shapes=True)


@by_name
def test_an_svg_shows_its_text_in_its_shapes(page, model):
    drawing = drawing_of(model)
    page.set_content(drawing._repr_html_())
    measured = page.evaluate(STICKS_OUT)
    assert len(measured) == len(drawing.picture.nodes)
    for width, lines, beyond, height in measured:
        assert width > 20
        assert lines >= 2
        assert beyond < 0.03
        assert height > 5


@by_name
def test_an_svg_has_its_nodes_inside_of_their_boxes(page, model):
    drawing = drawing_of(model)
    page.set_content(drawing._repr_html_())
    within = {box.id: box.within for box in drawing.picture.boxes}

    def depth(box):
        return 0 if box is None else 1 + depth(within[box])

    assert sorted(page.evaluate(INSIDE)) == sorted(depth(node.box) for node in drawing.picture.nodes)


def hostile():
    """A model all of whose sites have hostile names."""

    def model():
        for name in HOSTILE:
            with plait.plate(f"plate {name}", 2):
                plait.sample(name, dist.Normal(0.0, 1.0))

    return plait.compile(model, passes={"reroll": False}).draw()


def test_hostile_names_are_text_in_an_svg(page):
    drawing = hostile()
    page.set_content(drawing._repr_html_())
    assert page.locator("g.node").count() == len(HOSTILE)
    assert page.locator("script, img, [onerror], [onload], a[*|href]:not([*|href=''])").count() == 0
    texts = page.locator("g.node").all_text_contents()
    assert any("</text><script>alert(1)</script>" in text for text in texts)


def rendered(page, mermaid, source):
    """The SVG that Mermaid makes of a source, put into the page; its errors are ours."""
    page.set_content("<div id='here'></div>")
    page.add_script_tag(path=mermaid)
    page.evaluate(
        """async source => {
            mermaid.initialize({startOnLoad: false, securityLevel: "strict"})
            const {svg} = await mermaid.render("drawn", source)
            document.getElementById("here").innerHTML = svg
        }""",
        source,
    )


@by_name
def test_mermaid_renders_every_node_edge_and_box(page, mermaid, model):
    drawing = drawing_of(model)
    rendered(page, mermaid, drawing.mermaid)
    assert page.locator("#here g.node").count() == len(drawing.picture.nodes)
    assert page.locator("#here g.cluster").count() == len(drawing.picture.boxes)
    assert page.locator("#here path.flowchart-link").count() == len(drawing.picture.edges)
    said = " ".join(page.locator("#here g.node").all_text_contents())
    assert all(node.name in said and node.text in said for node in drawing.picture.nodes)


def test_hostile_names_are_text_in_mermaid(page, mermaid):
    drawing = hostile()
    rendered(page, mermaid, drawing.mermaid)
    assert page.locator("#here g.node").count() == len(HOSTILE)
    assert page.locator("#here script, #here img, #here [onerror]").count() == 0
    said = "\n".join(page.locator("#here g.node").all_text_contents())
    for name in ("</text><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "#quot;", "&amp;", "**md**", "`"):
        assert name in said
