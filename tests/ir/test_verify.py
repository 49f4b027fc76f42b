"""Each invariant refuses a wrong graph that was built by hand."""

from dataclasses import replace

import numpy as np
import numpyro.distributions as dist
import pytest

import plait
from plait.ir.errors import InternalError
from plait.ir.graph import Graph, Node, Output, Role, make
from plait.ir.ops import (
    AddN,
    Check,
    Const,
    Deterministic,
    Flat,
    Guard,
    Input,
    Item,
    Observe,
    Param,
    Plate,
    Sample,
    Scan,
    Sum,
)  # fmt: skip
from plait.ir.spec import Static
from plait.ir.types import ArrayType, Loc, PlateFrame, TupleType
from plait.ir.verify import verify

F32 = np.dtype("float32")
SCALAR, VECTOR, BOOL = ArrayType(F32, ()), ArrayType(F32, (3,)), ArrayType(np.dtype(bool), ())
HERE = Loc("/somewhere/model.py", 7)


def _traced(op_class):
    """A site of the kind, as the compiler makes it; the tests change its fields."""

    def model():
        plait.sample("x", dist.Normal(0.0, 1.0), obs=1.0 if op_class is Observe else None)

    (node,) = plait.compile(model).graph.of(op_class)
    return node


SITES = {kind: _traced(kind) for kind in (Sample, Observe)}


def _a_check():
    """The op of a check on data, as a pass makes it."""
    compiled = plait.compile(lambda y: plait.sample("y", dist.Exponential(1.0), obs=y), np.float32(1.0))
    return compiled.density_graph.of(Check)[0].op


def data(name="y", t=VECTOR):
    return make(Input(name, Input.DATA, t))


def site(name="x", t=SCALAR, plates=(), loc=None):
    """A latent site with the leaves of its distribution before it."""
    traced = SITES[Sample]
    op = replace(traced.op, name=name, type=t, plates=plates)
    return [*traced.args, make(op, traced.args, loc)]


def refused(graph, *says):
    with pytest.raises(InternalError) as caught:
        verify(graph)
    for part in says:
        assert part in str(caught.value)


def test_a_good_graph_passes():
    nodes = site()
    verify(Graph(tuple(nodes), (Output(Role.RESULT, "x", nodes[-1]),)))
    verify(Graph(()))


# -- arguments come first -----------------------------------------------------------------------------------


def test_an_argument_after_its_user():
    y = data()
    total = make(Sum(), [y], HERE)
    refused(Graph((total, y)), "does not come before", "model.py:7")


def test_an_argument_that_is_not_in_the_graph():
    refused(Graph((make(Sum(), [data()]),)), "does not come before")


def test_a_node_twice():
    y = data()
    refused(Graph((y, y)), "twice")


# -- outputs are inside ---------------------------------------------------------------------------------------


def test_an_output_that_is_not_in_the_graph():
    refused(Graph((data(),), (Output(Role.LOG_JOINT, "joint", data("other")),)), "log joint", "'joint'")


# -- types follow the rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        ArrayType(F32, (4,)),
        ArrayType(np.dtype("float64"), (3,)),
        ArrayType(F32, (3,), ("rows",)),
        TupleType((VECTOR,)),
    ],
    ids=["shape", "dtype", "axes", "kind"],
)
def test_a_node_whose_type_is_not_its_ops(wrong):
    refused(Graph((Node(Input("y", Input.DATA, VECTOR), (), wrong, HERE),)), "input", "model.py:7")


def test_arguments_that_an_op_does_not_take():
    y, x = data(), data("x", SCALAR)
    flat = data("z", VECTOR)
    frame = PlateFrame("rows", 3, -1)
    several = Node(_scan(x).op, (x,), TupleType((SCALAR,)))
    wrong = [
        (Sum(), ()),
        (Sum(), (x, x)),
        (Sum(), (several,)),
        (AddN(F32), (y,)),
        (Guard(), (x, x)),
        (_a_check(), ()),
        (Flat(1, VECTOR), (flat,)),
        (Flat(0, SCALAR), (x,)),
        (Item(1), (several,)),
        (Item(0), (x,)),
        (Deterministic("d", ()), ()),
        (Param("p", 0, "", None, Static(None), ()), (x, x)),
        (Input("y", Input.DATA, VECTOR), (x,)),
        (Plate(frame, ArrayType(np.dtype("int32"), (4,))), ()),
        (SITES[Sample].op, (x,)),
        (SITES[Observe].op, (x, x)),
        (replace(SITES[Observe].op, extras=()), (x, x)),
        (_scan(x).op, (y,)),
    ]
    for op, args in wrong:
        with pytest.raises(InternalError):
            make(op, args)
        with pytest.raises(InternalError):
            verify(Graph((*args, Node(op, args, SCALAR))))


def test_a_known_node_is_not_inferred_again():
    broken = Node(Input("y", Input.DATA, VECTOR), (), SCALAR)
    verify(Graph((broken,)), known=frozenset([broken]))
    refused(Graph((broken,)))


# -- names are unique -------------------------------------------------------------------------------------------


def test_two_sites_of_one_name():
    refused(Graph((*site("x"), site("x", loc=HERE)[-1])), "'x'", "model.py:7")


def test_a_deterministic_and_a_site_of_one_name():
    nodes = site("x")
    refused(Graph((*nodes, make(Deterministic("x", ()), [nodes[-1]]))), "'x'")


def test_the_parts_of_one_param_share_its_name():
    init = make(Const(0.0, SCALAR))
    parts = [make(Param("p", i, f"[{i}]", None, Static(None), ()), [init]) for i in (0, 1)]
    verify(Graph((init, *parts)))
    again = make(Param("p", 1, "[1]", None, Static(None), ()), [init])
    refused(Graph((init, *parts, again)), "'p'")


# -- plates fit their axes ----------------------------------------------------------------------------------------


def test_an_axis_whose_size_is_not_its_plates():
    t = ArrayType(F32, (4,), ("rows",))
    refused(Graph(tuple(site(t=t, plates=(PlateFrame("rows", 3, -1),), loc=HERE))), "'rows'", "4", "model.py:7")


def test_an_axis_of_a_plate_that_the_site_is_not_in():
    refused(Graph(tuple(site(t=ArrayType(F32, (3,), ("rows",))))), "'rows'")


def test_an_axis_of_size_one_fits_every_plate():
    t = ArrayType(F32, (1,), ("rows",))
    verify(Graph(tuple(site(t=t, plates=(PlateFrame("rows", 3, -1),)))))


# -- graphs in graphs -----------------------------------------------------------------------------------------------


def _scan(carry, broken=False):
    """A scan that hands its carry on; broken, its body has an argument in the wrong place."""
    t = carry.type
    x = make(Input("carry0", Input.BODY, t))
    twice = make(AddN(F32), [x, x], HERE)
    nodes = (twice, x) if broken else (x, twice)
    body = Graph(nodes, (Output(Role.RESULT, "0", twice),))
    return make(Scan((t,), TupleType((t,)), body, 0, 1, 4, False), [carry])


def test_the_body_of_a_scan_is_verified():
    x = data("x", SCALAR)
    verify(Graph((x, _scan(x))))
    refused(Graph((x, _scan(x, broken=True))), "does not come before", "model.py:7")


def test_every_pass_is_verified():
    """A pass that breaks the graph is caught where it stands, not where its result is used."""
    from plait.compiler.passes import Pass, run_passes

    def swap(graph):
        return Graph(graph.nodes[::-1], graph.outputs)

    graph = plait.compile(lambda: plait.sample("x", dist.Normal(0.0, 1.0))).graph
    with pytest.raises(InternalError):
        run_passes(graph, (Pass("swap", swap),), {}, lambda name, graph: None)
    assert run_passes(graph, (Pass("keep", replace),), {"keep": False}, lambda name, graph: None) is graph
