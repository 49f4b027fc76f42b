"""The graph: stages, levels of detail, plates that fold, zoom, keys."""

from __future__ import annotations

from tests.explore.conftest import Show
from tests.explore.pages import chain, crossed, data, edges, eight_schools, graph, link, node, site


def test_every_node_edge_and_plate_is_drawn(show: Show) -> None:
    shown = show(crossed())
    assert set(shown.attributes(".node[data-node]", "data-node")) == {
        *("sd", "ability", "difficulty", "logit", "answer", "x", "z", "penalty")
    }
    assert shown.tab.locator(".edge").count() == 8
    assert shown.attributes(".edge.temporal", "data-from") == ["x"]
    assert shown.all(".box-label text") == ["persons 5 −", "persons 5 × items 3 −", "items 3 −", "scan 20 −"]


def test_nodes_stand_inside_their_plates_and_do_not_overlap(show: Show) -> None:
    shown = show(crossed())
    rectangle = "e => (({x, y, width, height}) => [x, y, x + width, y + height])(e.getBoundingClientRect())"
    at = {
        n: shown.tab.eval_on_selector(f'[data-node="{n}"] .outline', rectangle) for n in ("ability", "difficulty", "x")
    }
    boxes = {b: shown.tab.eval_on_selector(f'[data-box="{b}"]', rectangle) for b in ("persons 5", "items 3", "scan 20")}
    for name, box in zip(at, boxes, strict=True):
        for other, (left, top, right, bottom) in boxes.items():
            x0, y0, x1, y1 = at[name]
            assert (left <= x0 and top <= y0 and x1 <= right and y1 <= bottom) == (other == box)


def test_many_roots_of_one_child_stand_in_several_rows(show: Show) -> None:
    priors = [site(f"prior{i}", "latent") for i in range(14)]
    sites = link([*priors, site("y", "observed", parents=[p["name"] for p in priors])])
    drawn = {
        "nodes": [node(s["name"], s["kind"]) for s in sites],
        "edges": edges(*(f"prior{i} y" for i in range(14))),
        "boxes": [],
    }
    shown = show(data(sites=sites, stages=[graph("trace", "", pictures={"sites": drawn}, lines=[])]))
    heights = shown.attributes(".node[data-node^=prior]", "transform")
    assert len({text.rpartition(",")[2] for text in heights}) == 3


def test_stages_change_the_picture_and_mark_what_is_new(show: Show) -> None:
    shown = show(eight_schools())
    assert shown.tab.locator(".node.new").count() == 0
    shown.click(".strip button:has-text('density')")
    assert shown.attributes(".node.new", "data-node") == ["obs"]
    assert "+1 −1" in shown.text(".about")
    assert "Sums the log densities." in shown.text(".about")
    shown.panel("text")
    assert shown.all("#panel .row.new code") == ["%9: f64[] = log_prob Normal(theta, sigma)"]
    shown.tab.click(".removed summary")
    assert shown.all(".removed-lines code") == ["obs: f64[schools:8] = observe Normal(theta, sigma) obs=y"]


def test_a_stage_that_changed_nothing_shows_the_one_before(show: Show) -> None:
    shown = show(eight_schools())
    before = shown.attributes(".node[data-node]", "data-node")
    shown.press("]")
    assert "changes nothing here" in shown.text(".about")
    assert shown.attributes(".node[data-node]", "data-node") == before
    shown.panel("text")
    assert shown.tab.locator("#panel .row").count() == 9


def test_what_is_new_is_marked_at_the_stage_that_made_it_alone(show: Show) -> None:
    model = eight_schools()
    model["stages"].insert(3, graph("share_exps", "Computes each exponential once.", changed=False))
    shown = show(model)
    shown.press("]", "]")
    assert shown.tab.locator(".node.new").count() == 1
    shown.press("]")
    assert shown.attributes(".kind-log_prob.node[data-node]", "data-node") == ["obs"]
    assert shown.tab.locator(".node.new").count() == 0
    shown.panel("text")
    assert shown.tab.locator("#panel .row").count() == 9
    assert shown.tab.locator("#panel .row.new").count() == 0
    assert shown.tab.locator(".removed").count() == 0


def test_a_compiled_program_is_text_in_the_middle(show: Show) -> None:
    shown = show(eight_schools())
    shown.press("]", "]", "]")
    assert shown.all(".middle .row code") == ["%p0 = f64[10] parameter(0)", "%sum.1 = f64[] reduce(%p0)"]
    shown.tab.click(".middle .row >> nth=1")
    assert shown.lines() == ["13"]


def test_levels_of_detail_and_the_refusal_of_a_picture(show: Show) -> None:
    shown = show(eight_schools())
    counts = []
    for key in "123":
        shown.press(key)
        counts.append(shown.tab.locator(".node[data-node]").count())
    assert counts == [6, 8, 9]
    shown.press("]", "]")
    assert shown.text(".graph .empty") == "The picture would have 40,000 nodes."


def test_a_plate_folds_into_one_node_and_unfolds(show: Show) -> None:
    shown = show(eight_schools())
    shown.click(".box-label")
    assert shown.attributes(".node[data-node]", "data-node") == ["sigma", "mu", "tau", "folded plate schools"]
    assert "3 sites" in shown.text(".node.kind-folded")
    assert shown.tab.locator(".edge").count() == 3
    shown.click(".source .row:has-text('\"obs\"')")
    assert shown.nodes() == ["folded plate schools"]
    shown.node("folded plate schools")
    assert shown.tab.locator(".node[data-node]").count() == 6


def test_the_inner_of_two_plates_folds_alone(show: Show) -> None:
    shown = show(crossed())
    shown.click(".box-label:has-text('×')")
    assert "ability" in shown.attributes(".node[data-node]", "data-node")
    assert "answer" not in shown.attributes(".node[data-node]", "data-node")
    shown.click(".box-label:has-text('persons 5')")
    assert "ability" not in shown.attributes(".node[data-node]", "data-node")


def test_wheel_and_drag_move_the_graph_and_fit_brings_it_back(show: Show) -> None:
    shown = show(eight_schools())
    world = ".world"
    fitted = shown.attributes(world, "transform")
    shown.tab.mouse.move(600, 700)
    shown.tab.mouse.wheel(0, -400)
    zoomed = shown.attributes(world, "transform")
    shown.tab.mouse.down()
    shown.tab.mouse.move(500, 600)
    shown.tab.mouse.up()
    dragged = shown.attributes(world, "transform")
    assert len({*fitted, *zoomed, *dragged}) == 3
    shown.press("f")
    assert shown.attributes(world, "transform") == fitted
    shown.press("+")
    assert shown.attributes(world, "transform") != fitted
    shown.press("-", "f", "w")
    assert shown.tab.locator(".pane:visible").count() == 1


def test_arrows_walk_over_the_nodes(show: Show) -> None:
    shown = show(eight_schools())
    shown.node("theta")
    shown.press("ArrowDown")
    assert shown.nodes() == ["obs"]
    shown.press("ArrowUp", "ArrowUp", "Escape", "Enter")
    assert shown.nodes() == ["raw"]


def test_search_finds_sites_lines_and_equations(show: Show) -> None:
    shown = show(eight_schools())
    shown.press("/")
    shown.tab.keyboard.type("ta")
    assert shown.all("#hits [role=option] small")[:2] == ["latent", "deterministic"]
    shown.press("Enter")
    assert shown.nodes() == ["tau"]
    shown.tab.locator("#search").fill("fusion.15000")
    shown.press("Enter")
    assert shown.nodes() == ["obs"]
    assert shown.equations() == ["%fusion.15000 = f64[8] fusion(%p0)"]
    shown.tab.locator("#search").fill("no such thing")
    assert "Nothing has" in shown.text("#hits")


def test_the_help_lists_the_keys_and_closes(show: Show) -> None:
    shown = show(eight_schools())
    shown.press("?")
    assert "fit the graph" in shown.text("dialog")
    shown.press("Escape")
    assert shown.tab.locator("dialog").count() == 0
    shown.tab.click("text=About")
    assert "Eclipse Public License" in shown.text("dialog")


def test_300_sites_are_all_drawn(show: Show) -> None:
    shown = show(chain(300))
    assert shown.tab.locator(".node[data-node]").count() == 300


def test_the_page_answers_while_a_layout_is_under_way_and_it_can_be_cancelled(show: Show) -> None:
    shown = show(chain(3000))
    assert "3,000 nodes; drawn are those near the selection" in shown.text(".notice")
    assert shown.tab.locator(".node[data-node]").count() == 250
    shown.tab.click("text=Draw all")
    shown.tab.wait_for_selector(".canvas[aria-busy=true]")
    shown.tab.click("#tab-text")
    shown.tab.locator("#panel .row:has-text('x7:')").click()
    assert shown.equations() == ["x7: f64[] = sample Normal(0, 1)"]
    assert shown.tab.locator(".canvas").get_attribute("aria-busy") == "true"
    shown.tab.click("text=Cancel")
    assert shown.text("[role=alert]") == "The layout was cancelled."


def test_the_neighbourhood_of_a_large_picture_follows_the_selection(show: Show) -> None:
    shown = show(chain(3000))
    shown.tab.locator("#search").fill("x2500")
    shown.press("Enter")
    assert shown.nodes() == ["x2500"]
    assert shown.tab.locator(".node[data-node]").count() == 250


USABLE = "button, [role=button], [role=radio], input, select, canvas, svg[role]"
NAMELESS = """used => [...document.querySelectorAll(used)]
    .filter(e => !(e.ariaLabel || e.textContent || e.closest('label')?.textContent).trim()).map(e => e.outerHTML)"""


def test_everything_that_can_be_used_has_a_name(show: Show) -> None:
    shown = show(eight_schools())
    for tab in ("selection", "terms", "point", "independence", "coupling", "text"):
        shown.panel(tab)
        assert shown.tab.evaluate(NAMELESS, USABLE) == []
