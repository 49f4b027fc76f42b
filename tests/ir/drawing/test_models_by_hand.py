"""What is drawn of models whose picture we know: nodes, edges and boxes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.errors import OptionError
from tests.ir.drawing.reading import Dot
from tests.models import MODELS, SCAN_MODELS

BY_NAME = {model.name: model for model in (*MODELS, *SCAN_MODELS)}


def N(loc=0.0):  # noqa: N802
    return dist.Normal(loc, 1.0)


def number(x):
    """Data; a number would be part of the program."""
    return np.asarray(x, np.float32)


def picture(model, *args, detail="sites"):
    return plait.compile(model, *args).draw(detail=detail).picture


def draw(model, *args):
    return Dot(plait.compile(model, *args).draw().dot)


def edges(shown):
    return {(e.tail, e.head) for e in shown.edges}


def temporal(shown):
    return {(e.tail, e.head) for e in shown.edges if e.temporal}


def around(shown):
    """The labels of the boxes around each node, outermost first."""
    boxes = {box.id: box for box in shown.boxes}

    def path(box):
        return [] if box is None else [*path(boxes[box].within), boxes[box].label]

    return {node.id: path(node.box) for node in shown.nodes}


# -- kinds ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nested():
    def model(x, y):
        mu = plait.sample("mu", N())
        p = plait.param("p", 1.0)
        with plait.plate("columns", 2, dim=-1):
            a = plait.sample("a", N(mu * p))
            with plait.plate("rows", 3, dim=-2):
                d = plait.deterministic("d", a * x)
                plait.sample("y", N(d), obs=y)
        plait.factor("tie", -(mu**2))

    return draw(model, np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32))


def test_plates_are_nested_boxes_with_name_and_size(nested):
    assert {name: nested.box_of(name) for name in ("mu", "a", "d", "y", "tie")} == {
        "mu": [], "a": ["columns 2"], "d": ["columns 2", "rows 3"], "y": ["columns 2", "rows 3"], "tie": [],
    }  # fmt: skip
    assert sorted(nested.boxes.values()) == ["columns 2", "rows 3"]


def test_kinds_of_sites_look_different(nested):
    style = {name: attributes for name, (attributes, _) in nested.nodes.items()}
    assert "filled" in style["y"]["style"]
    assert style["y"]["fillcolor"] != style["a"]["fillcolor"] == "white"
    assert style["d"]["style"] == "dashed"
    assert style["tie"]["shape"] == "box"
    looks = [{k: v for k, v in s.items() if k in ("shape", "style", "fillcolor")} for s in style.values()]
    assert len({tuple(sorted(look.items())) for look in looks}) == 6


def test_a_site_says_its_distribution_and_expression(nested):
    labels = {name: attributes["label"].split("\n") for name, (attributes, _) in nested.nodes.items()}
    assert labels["a"] == ["a", "~ Normal(mu * p, 1)"]
    assert labels["d"] == ["d", "= a * x"]
    assert labels["tie"] == ["tie", "+= -f(mu)"]
    assert labels["x (data)"] == ["x"]


def test_edges_go_through_code_and_stop_at_sites(nested):
    assert sorted((a, b) for a, b, _ in nested.edges) == [
        ("a", "d"), ("d", "y"), ("mu", "a"), ("mu", "tie"), ("p", "a"), ("x (data)", "d"),
    ]  # fmt: skip


def test_shape_and_support_on_demand():
    def model():
        with plait.plate("rows", 3):
            plait.sample("tau", dist.HalfNormal(1.0))

    compiled = plait.compile(model)
    (node,) = compiled.draw().picture.nodes
    assert (node.type, node.support) == ("f32[rows:3]", "positive numbers")
    assert "f32" not in Dot(compiled.draw().dot).nodes["tau"][0]["label"]
    for drawn in (compiled.draw(shapes=True), plait.compile(model).graph.draw(shapes=True)):
        assert "f32[rows:3]" in Dot(drawn.dot).nodes["tau"][0]["label"]
        assert "f32[rows:3]" in drawn.text
        assert "f32#91;" in drawn.mermaid or "f32[rows:3]" in drawn.mermaid


def test_a_module_is_one_node():
    model = BY_NAME["neural_regression"]
    shown = plait.compile(model.bind(plait), **model.args(np.float32)).draw().picture
    (net,) = [node for node in shown.nodes if node.kind == "module"]
    assert (net.id, net.text) == ("net$params", "4 arrays")
    assert edges(shown) == {("x (data)", "y"), ("net$params", "y"), ("sigma", "y")}


def test_sites_of_a_loop_are_one_node_that_counts_them():
    def model(y):
        mu = plait.sample("mu", N())
        for i in range(3):
            theta = plait.sample(f"theta_{i}", N(mu))
            plait.sample(f"y_{i}", N(theta), obs=y[i])

    compiled = plait.compile(model, np.zeros(3, np.float32))
    shown = compiled.draw().picture
    assert {node.id: node.count for node in shown.nodes} == {"mu": 1, "theta_*": 3, "y_*": 3}
    assert edges(shown) == {("mu", "theta_*"), ("theta_*", "y_*")}
    assert "theta_*  ×3" in compiled.draw().dot
    assert "theta_* ×3" in compiled.draw().text
    one_by_one = plait.compile(model, np.zeros(3, np.float32), passes={"reroll": False}).draw().picture
    assert len(one_by_one.nodes) == 7


def test_masks_and_scales_are_read():
    def model(weight, keep):
        a = plait.sample("a", N())
        with plait.handlers.scale(scale=weight), plait.handlers.mask(mask=a > 0):
            plait.sample("y", N(), obs=0.0)
        with plait.handlers.mask(mask=keep):
            plait.sample("z", N(), obs=0.0)

    shown = picture(model, number(2.0), np.asarray(True))
    assert edges(shown) == {("weight (data)", "y"), ("a", "y"), ("keep (data)", "z")}


def test_data_that_nobody_reads_are_left_out():
    def model(x, y, unread):
        plait.sample("y", N(x), obs=y)

    shown = picture(model, number(1.0), number(2.0), number(0.0))
    assert {node.id for node in shown.nodes} == {"x (data)", "y"}


def test_an_observed_value_that_a_site_computes_is_an_edge():
    def model(y):
        a = plait.sample("a", N())
        plait.sample("y", N(), obs=y - a)

    assert edges(picture(model, number(0.0))) == {("a", "y"), ("y (data)", "y")}


# -- boxes ------------------------------------------------------------------------------------------------


def test_crossed_plates():
    def model():
        with plait.plate("i", 2, dim=-1):
            a = plait.sample("a", N())
            plait.sample("a2", N())
        with plait.plate("j", 3, dim=-2):
            b = plait.sample("b", N())
        with plait.plate("i", 2, dim=-1), plait.plate("j", 3, dim=-2):
            plait.sample("y", N(a + b), obs=0.0)

    assert around(picture(model)) == {"a": ["i 2"], "a2": ["i 2"], "b": ["j 3"], "y": ["j 3 × i 2"]}


def test_plates_that_cross_inside_of_another():
    def model():
        with plait.plate("all", 4, dim=-3):
            plait.sample("x", N())
            with plait.plate("i", 2, dim=-1):
                a = plait.sample("a", N())
            with plait.plate("j", 3, dim=-2):
                b = plait.sample("b", N())
            with plait.plate("i", 2, dim=-1), plait.plate("j", 3, dim=-2):
                plait.sample("y", N(a + b), obs=0.0)

    shown = picture(model)
    wanted = {"x": ["all 4"], "a": ["all 4", "i 2"], "b": ["all 4", "j 3"], "y": ["all 4", "j 3 × i 2"]}
    assert around(shown) == wanted
    assert len(shown.boxes) == 4


def test_a_plate_that_is_entered_again_at_another_axis_is_the_same():
    def model():
        with plait.plate("i", 2, dim=-1):
            a = plait.sample("a", N())
        with plait.plate("i", 2, dim=-2), plait.plate("j", 3, dim=-1):
            plait.sample("y", N(a[:, None]), obs=0.0)

    shown = picture(model)
    assert around(shown) == {"a": ["i 2"], "y": ["i 2", "j 3"]}
    assert len(shown.boxes) == 2


def test_a_subsampled_plate_says_of_how_many():
    def model():
        with plait.plate("rows", 10, subsample_size=3):
            plait.sample("x", N())

    assert around(picture(plait.handlers.seed(model, 0)))["x"] == ["rows 3 of 10"]


def test_boxes_have_names_of_their_own():
    def model():
        with plait.plate("i", 2, dim=-2):
            for k in range(3):
                with plait.plate(f"k{k}", 2 + k, dim=-1):
                    plait.sample(f"x{k}", N())

    drawn = draw(model)
    assert sorted(drawn.boxes.values()) == ["i 2", "k0 2", "k1 3", "k2 4"]
    # Graphviz draws a box around those subgraphs only
    assert all(name.startswith("cluster") for path in drawn.boxes for name in path)


# -- scans and branches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [1, 2])
def test_temporal_edges_of_a_scan_are_dashed(lag):
    def model(y):
        s = plait.sample("s", dist.HalfNormal(1.0))

        def step(carry, y_t):
            x = plait.sample("x", dist.Normal(carry[-1], s))
            plait.sample("y", N(x), obs=y_t)
            return (x, *carry[:-1]), None

        jax.lax.scan(step, (jnp.float32(0.0),) * lag, y)

    drawn = draw(model, np.zeros(4, np.float32))
    dashes = {(a, b): attributes.get("style") for a, b, attributes in drawn.edges}
    assert dashes == {("x", "x"): "dashed", ("s", "x"): None, ("x", "y"): None}
    assert drawn.box_of("x") == drawn.box_of("y") == ["scan 4 steps"]
    assert drawn.box_of("s") == []


def test_a_carry_that_only_one_site_sets_is_its_alone():
    def model():
        def step(carry, _):
            x = plait.sample("x", N(carry[0]))
            w = plait.sample("w", N(carry[1] + x))
            return (x, w), None

        jax.lax.scan(step, (jnp.float32(0.0), jnp.float32(0.0)), None, length=3)

    shown = picture(model)
    assert edges(shown) == {("x", "x"), ("x", "w"), ("w", "w")}
    assert temporal(shown) == {("x", "x"), ("w", "w")}


def test_a_reader_of_one_result_of_a_scan_depends_on_that_alone():
    def model():
        a, b = plait.sample("a", N()), plait.sample("b", N(1.0))

        def step(c, t):
            return c, (plait.sample("x", N(a)), plait.sample("w", N(b)), a * t, b * t)

        _, (_, ws, _, bs) = jax.lax.scan(step, jnp.float32(0.0), jnp.arange(3.0))
        plait.sample("r", N(ws.sum()), obs=0.0)
        plait.sample("s", N(bs.sum()), obs=0.0)

    assert edges(picture(model)) == {("a", "x"), ("b", "w"), ("w", "r"), ("b", "s")}


def test_a_scan_without_sites_is_code():
    def model(y):
        a = plait.sample("a", N())
        _, means = jax.lax.scan(lambda c, t: (c + t, c), a, y)
        with plait.plate("rows", 4):
            plait.sample("y", N(means), obs=y)

    shown = picture(model, np.zeros(4, np.float32))
    assert edges(shown) == {("a", "y"), ("y (data)", "y")}
    assert not temporal(shown)
    assert [box.label for box in shown.boxes] == ["rows 4"]


def test_plates_in_scans_and_scans_in_plates():
    inside, outside = (BY_NAME[name] for name in ("plate_in_scan", "plate_around_scan"))
    found = [around(plait.compile(m.bind(plait), **m.args(np.float32)).draw().picture) for m in (inside, outside)]
    assert found[0] == {"tau": [], "x": ["scan 4 steps", "units 3"], "y": ["scan 4 steps", "units 3"]}
    assert set(map(tuple, found[1].values())) == {(), ("scan 4 steps", "units 3")}


def test_a_scan_in_a_scan():
    def model():
        def outer(x, _):
            x = plait.sample("x", N(x))

            def inner(w, _):
                w = plait.sample("w", N(w + x))
                return w, None

            return jax.lax.scan(inner, x, None, length=2)[0], None

        jax.lax.scan(outer, jnp.float32(0.0), None, length=3)

    shown = picture(model)
    assert around(shown) == {"x": ["scan 3 steps"], "w": ["scan 3 steps", "scan 2 steps"]}
    assert edges(shown) == {("x", "w"), ("w", "w"), ("w", "x")}
    assert temporal(shown) == {("w", "w"), ("w", "x")}


def test_a_site_in_branches_is_one_node_that_says_what_each_branch_says():
    def model():
        a, b = plait.sample("a", N()), plait.sample("b", N(1.0))
        x = jax.lax.cond(a > 0, lambda: plait.sample("x", N(b)), lambda: plait.sample("x", dist.Cauchy(0.0, 1.0)))
        plait.sample("y", N(x), obs=0.0)

    shown = picture(model)
    (x,) = [node for node in shown.nodes if node.id == "x"]
    assert set(x.text.split(" or ")) == {"~ Normal(b, 1)", "~ Cauchy(0, 1)"}
    assert edges(shown) == {("a", "x"), ("b", "x"), ("x", "y"), ("a", "y")}


# -- the other levels of detail ---------------------------------------------------------------------------


def names(shown, kind="code"):
    return [node.name for node in shown.nodes if node.kind == kind]


def test_code_that_sites_read_is_shown_where_it_says_more():
    def model(x):
        a, b = plait.sample("a", N()), plait.sample("b", N(1.0))
        eta = a + b * x
        plait.sample("y", dist.Normal(eta, jnp.exp(a)), obs=0.0)
        plait.sample("z", dist.Normal(eta, 1.0), obs=0.0)
        plait.deterministic("d", a * b)  # says it itself
        plait.factor("f", -jnp.abs(b))

    shown = picture(model, number(1.0), detail="code")
    assert names(shown) == ["a + b * x", "exp(a)"]
    of = {node.name: node.id for node in shown.nodes if node.kind == "code"}
    eta, scale = of["a + b * x"], of["exp(a)"]
    assert edges(shown) == {
        ("a", eta), ("b", eta), ("x (data)", eta), ("a", scale), (eta, "y"), (scale, "y"), (eta, "z"),
        ("a", "d"), ("b", "d"), ("b", "f"),
    }  # fmt: skip


def test_what_initializes_params_is_no_part_of_the_model():
    model = BY_NAME["neural_regression"]
    shown = plait.compile(model.bind(plait), **model.args(np.float32)).draw(detail="code").picture
    assert len(names(shown)) == 1
    assert not [e for e in shown.edges if e.head == "net$params"]

    def from_data(x):
        p = plait.param("p", jnp.exp(x) + 1.0)
        plait.sample("y", N(p), obs=0.0)

    compiled = plait.compile(from_data, number(1.0))
    for detail in ("sites", "code"):
        shown = compiled.draw(detail=detail).picture
        assert ([node.id for node in shown.nodes], edges(shown)) == (["p", "y"], {("p", "y")})
    assert len(compiled.draw(detail="equations").picture.nodes) > 4


def test_every_equation_is_every_node():
    def model(x):
        a = plait.sample("a", N())
        plait.sample("y", N(a * x), obs=0.0)

    compiled = plait.compile(model, number(2.0))
    shown = compiled.graph.draw(detail="equations").picture
    wanted = {node["id"] for node in compiled.graph.to_json()["nodes"] if "value" not in node}
    assert {node.id.removesuffix(" (data)") for node in shown.nodes} == wanted


def test_ids_of_bodies_say_where_they_are():
    model = BY_NAME["switching_walk"]
    shown = plait.compile(model.bind(plait), **model.args(np.float32)).draw(detail="equations").picture
    code = names(shown)
    assert len(code) == len(set(code)) > 3
    assert any(name.count("/") > 1 for name in code)


def test_a_density_is_drawn_as_values_terms_and_their_sum():
    def model(y):
        tau = plait.sample("tau", dist.HalfNormal(1.0))
        plait.sample("y", dist.Normal(0.0, tau), obs=y)

    compiled = plait.compile(model, number(1.0), passes={"fuse": False})
    shown = compiled.density_graph.draw().picture
    kinds = {node.name: node.kind for node in shown.nodes}
    assert {name for name, kind in kinds.items() if kind == "log_prob"} == {"log p(tau)", "log p(y)"}
    assert (kinds["log density"], kinds["tau"]) == ("log_density", "value")
    of = {node.id: node.name for node in shown.nodes}
    found = {(of[tail], of[head]) for tail, head in edges(shown)}
    assert found >= {("tau", "log p(tau)"), ("tau", "log p(y)"), ("log p(y)", "log density")}
    assert {node.site for node in shown.nodes if node.kind == "log_prob"} == {"tau", "y"}


def test_unknown_details_and_formats(tmp_path):
    compiled = plait.compile(lambda: plait.sample("x", N()))
    with pytest.raises(OptionError, match="no level of detail 'all': it is one of sites, code, equations"):
        compiled.draw(detail="all")
    with pytest.raises(OptionError, match="no format 'bmp': a drawing is one of svg, png"):
        compiled.draw(tmp_path / "x.bmp")
    with pytest.raises(OptionError, match="no format for a file called 'x'"):
        compiled.graph.draw(tmp_path / "x")
    assert not list(tmp_path.iterdir())
    assert compiled.draw(tmp_path / "x", format="SVG").svg == (tmp_path / "x").read_text()


def test_the_same_model_draws_the_same():
    def model():
        x = plait.sample("x", N())
        y = plait.sample("y", N())
        plait.sample("z", N(x + y), obs=0.0)

    first, second = (plait.compile(model).draw() for _ in range(2))
    assert (first.dot, first.svg, first.png, first.mermaid) == (second.dot, second.svg, second.png, second.mermaid)


def test_the_empty_model():
    drawing = plait.compile(lambda: None).draw()
    assert Dot(drawing.dot).nodes == {}
    assert "<svg" in drawing.svg
    assert drawing.png.startswith(b"\x89PNG")
