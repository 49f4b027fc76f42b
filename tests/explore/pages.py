"""Data of the explorer's page, by hand: what a browser is shown in the tests.

The schema is ``explorer/src/types.ts``; what is left out here has the value that says nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

Data = dict[str, Any]

STYLES = {
    "latent": {"shape": "ellipse"},
    "observed": {"shape": "ellipse", "style": "filled"},
    "deterministic": {"shape": "ellipse", "style": "dashed"},
    "param": {"shape": "plaintext"},
    "factor": {"shape": "box", "style": "filled"},
    "data": {"shape": "box", "style": "rounded"},
}
LAST_PASS = "density"


def site(name: str, kind: str, text: str = "", **fields: Any) -> Data:
    lists: Data = {n: [] for n in ("plates", "members", "parents", "children", "temporal", "blanket")}
    return {"name": name, "kind": kind, "text": text, "shape": "", "support": None, "line": None} | lists | fields


def node(name: str, kind: str, text: str = "", **fields: Any) -> Data:
    rest: Data = {
        "type": "f64[]",
        "support": None,
        "site": name,
        "line": None,
        "box": None,
        "new": False,
        "count": None,
    }
    return {"id": name, "kind": kind, "name": name, "text": text} | rest | fields


def edges(*pairs: str) -> list[Data]:
    """From ``"mu theta"``; with a third word from one step to the next."""
    split = [pair.split() for pair in pairs]
    return [{"from": words[0], "to": words[1], "temporal": len(words) > 2} for words in split]


def line(text: str, site: str | None = None, number: int | None = None, new: bool = False) -> Data:
    return {"text": text, "node": text.partition(":")[0], "site": site, "line": number, "new": new}


def graph(name: str, about: str, **fields: Any) -> Data:
    rest: Data = {"nodes": 0, "operations": None, "changed": True, "pictures": None, "lines": None, "removed": []}
    return {"kind": "graph", "name": name, "about": about} | rest | fields


def term(name: str, text: str, **fields: Any) -> Data:
    costs: Data = {"rows": [1, 1], "flops": [7, 7], "bytes": [0, 0], "stage": "call", "line": None}
    words: Data = {"evaluated": "", "rule": None, "refusals": [], "edit": ""}
    return {"name": name, "site": name, "kind": "term", "text": text} | words | costs | fields


def data(**fields: Any) -> Data:
    lists: Data = {n: [] for n in ("stages", "sites", "plates", "terms", "notes", "points", "coupling")}
    words: Data = {
        "schema": "plait.explorer/1",
        "title": "model",
        "plait": "0.1.0",
        "jax": "0.10.2",
        "precision": "float64",
    }
    nothing: Data = {"source": None, "no_source": "", "hessian": None, "no_hessian": "", "totals": {"flops": [0, 0]}}
    return words | nothing | lists | {"styles": STYLES} | fields


def link(sites: list[Data]) -> list[Data]:
    """Fills in children and Markov blankets from the parents."""
    for s in sites:
        s["children"] = [t["name"] for t in sites if s["name"] in t["parents"] + t["temporal"]]
        near = s["parents"] + s["children"] + [p for t in sites if t["name"] in s["children"] for p in t["parents"]]
        s["blanket"] = [t["name"] for t in sites if t["name"] in near and t is not s and t["kind"] != "data"]
    return sites


# -- eight schools --------------------------------------------------------------------------------------------

SCHOOLS_SOURCE = """\
import numpyro.distributions as dist

import plait


def eight_schools(sigma, y=None):
    \"\"\"The effect of coaching,
    in eight schools.\"\"\"
    mu, tau = plait.sample("mu", dist.Normal(0, 5)), plait.sample("tau", dist.HalfCauchy(5))
    with plait.plate("schools", sigma.shape[0]):
        raw = plait.sample("raw", dist.Normal(0, 1))
        theta = plait.deterministic("theta", mu + tau * raw)
        plait.sample("obs", dist.Normal(theta, sigma), obs=y)
"""


def eight_schools() -> Data:
    sites = link(
        [
            site("sigma", "data", shape="[8]"),
            site("mu", "latent", "~ Normal(0, 5)", line=9, support="real"),
            site("tau", "latent", "~ HalfCauchy(5)", line=9, support="positive"),
            site("raw", "latent", "~ Normal(0, 1)", line=11, shape="[schools:8]", plates=["schools"]),
            site("theta", "deterministic", "= mu + tau * raw", line=12, shape="[8]", parents=["mu", "tau", "raw"]),
            site("obs", "observed", "~ Normal(theta, sigma)", line=13, plates=["schools"], parents=["theta", "sigma"]),
        ]
    )
    return data(
        title="eight_schools.py: eight_schools",
        source={"file": "/home/me/eight_schools.py", "first_line": 1, "text": SCHOOLS_SOURCE},
        stages=_schools_stages(),
        sites=sites,
        plates=[{"name": "schools", "size": 8, "full_size": None, "sites": ["raw", "theta", "obs"]}],
        terms=_schools_terms(),
        points=_schools_points(),
        hessian=_schools_hessian(),
        coupling=[
            {"a": "mu", "b": "tau", "how": "dense", "along": None},
            {"a": "raw", "b": "raw", "how": "diagonal", "along": "schools"},
            {"a": "mu", "b": "raw", "how": "dense", "along": None},
        ],
        totals={"flops": [724591, 1443]},
    )


SCHOOLS_NODES = [
    node("sigma", "data", type="f64[8]"),
    node("mu", "latent", "~ Normal(0, 5)", line=9),
    node("tau", "latent", "~ HalfCauchy(5)", line=9, support="positive"),
    node("raw", "latent", "~ Normal(0, 1)", line=11, box="plate schools", type="f64[schools:8]"),
    node("theta", "deterministic", "= mu + tau * raw", line=12, box="plate schools", type="f64[8]"),
    node("obs", "observed", "~ Normal(theta, sigma)", line=13, box="plate schools", type="f64[schools:8]"),
]
SCHOOLS_CODE = [
    node("%0", "code", "mul tau, raw", site="theta", line=12, box="plate schools"),
    node("%1", "code", "add mu, %0", site="theta", line=12, box="plate schools"),
    node("%2", "code", "gt sigma, 0.0", site=None, line=13),
]
SCHOOLS_BOXES = [{"id": "plate schools", "label": "schools 8", "in": None, "kind": "plate"}]


def _schools_stages() -> list[Data]:
    through = ("tau %0", "raw %0", "mu %1", "%0 %1", "%1 theta", "theta obs", "sigma obs")
    drawn = {
        "sites": _picture(SCHOOLS_NODES, "mu theta", "tau theta", "raw theta", "theta obs", "sigma obs"),
        "code": _picture(SCHOOLS_NODES + SCHOOLS_CODE[:2], *through),
        "equations": _picture(SCHOOLS_NODES + SCHOOLS_CODE, *through, "sigma %2", "%2 obs"),
    }
    trace = [
        line("sigma: f64[8] = data 'sigma'", "sigma"),
        line("mu: f64[] = sample Normal(0, 5)", "mu", 9),
        line("tau: f64[] = sample HalfCauchy(5)", "tau", 9),
        line("raw: f64[schools:8] = sample Normal(0, 1)", "raw", 11),
        line("%0: f64[8] = mul tau, raw", "theta", 12),
        line("%1: f64[8] = add mu, %0", "theta", 12),
        line("theta: f64[8] = deterministic %1", "theta", 12),
        line("%2: bool[8] = gt sigma, 0.0", None, 13),
        line("obs: f64[schools:8] = observe Normal(theta, sigma) obs=y", "obs", 13),
    ]
    density = [*trace[:-1], line("%9: f64[] = log_prob Normal(theta, sigma)", "obs", 13, new=True)]
    values = [node("obs", "log_prob", "Normal(theta, sigma)", line=13, box="plate schools", new=True)]
    after = _picture(SCHOOLS_NODES[:-1] + values, "mu theta", "tau theta", "raw theta", "theta obs", "sigma obs")
    hlo = [line("%p0 = f64[10] parameter(0)"), line("%sum.1 = f64[] reduce(%p0)", "obs", 13)]
    return [
        graph("trace", "The model as it was traced.", nodes=9, operations=116, pictures=drawn, lines=trace),
        graph("simplify", "Drops what changes nothing.", nodes=9, operations=116, changed=False),
        graph(
            LAST_PASS,
            "Sums the log densities.",
            nodes=9,
            operations=58,
            pictures={"sites": after, "code": after, "equations": {"refused": "The picture would have 40,000 nodes."}},
            lines=density,
            removed=["obs: f64[schools:8] = observe Normal(theta, sigma) obs=y"],
        ),
        {"kind": "text", "name": "StableHLO", "about": "What is handed to XLA.", "lines": hlo},
        {"kind": "text", "name": "optimized HLO", "about": "What XLA makes of it.", "lines": _long_text()},
    ]


def _picture(nodes: list[Data], *pairs: str, boxes: list[Data] = SCHOOLS_BOXES) -> Data:
    return {"nodes": nodes, "edges": edges(*pairs), "boxes": boxes}


def _long_text() -> list[Data]:
    """20,000 lines, of which the 15,000th is of obs."""
    return [line(f"%fusion.{i} = f64[8] fusion(%p0)", "obs" if i == 15_000 else None) for i in range(20_000)]


def _schools_terms() -> list[Data]:
    refused = {"rule": "sufficient statistics", "reason": "its 8 rows have 8 different means or scales"}
    return [
        term("mu", "mu ~ Normal(0, 5)", line=9),
        term("tau", "tau ~ HalfCauchy(5)", line=9, flops=[11, 11]),
        term("tau Jacobian", "log |d tau / dz|", site="tau", kind="jacobian"),
        term(
            "raw", "raw ~ Normal(0, 1)", line=11, rows=[8, 1], flops=[42, 17], rule="iid normal", evaluated="−½ Σ raw²"
        ),
        term(
            "obs",
            "obs ~ Normal(theta, sigma)",
            line=13,
            rows=[8, 8],
            flops=[56, 56],
            bytes=[192, 192],
            refusals=[refused],
        ),
    ]


def _schools_points() -> list[Data]:
    well = {"mu": -2.5, "tau": -2.1, "tau Jacobian": 0.0, "raw": -7.4, "obs": -30.25}
    where = "obs[schools=3] is −inf"
    first = {
        "site": "obs",
        "where": where,
        "sentence": "obs ~ Normal(theta, sigma): sigma is 0 at schools=3.",
        "line": 13,
    }
    values = {"mu": 0.0, "tau": 1.0, "raw": [0.0] * 8}
    return [
        {"name": "zero", "total": -42.25, "values": values, "terms": well, "first": None},
        {
            "name": "far out",
            "total": "-inf",
            "values": values | {"raw": [0.0, "nan", 1e300]},
            "terms": well | {"obs": "-inf"},
            "first": first,
        },
    ]


def _schools_hessian() -> Data:
    nonzeros = [[i, i] for i in range(10)] + [[i, j] for i in range(2, 10) for j in (0, 1)] + [[1, 0]]
    blocks = [{"site": "mu", "offset": 0, "size": 1}, {"site": "tau", "offset": 1, "size": 1}]
    return {
        "dim": 10,
        "entries": ["mu", "tau", *(f"raw[{i}]" for i in range(8))],
        "blocks": [*blocks, {"site": "raw", "offset": 2, "size": 8}],
        "nonzeros": nonzeros,
        "about": "At generic points.",
    }


# -- crossed plates and a scan --------------------------------------------------------------------------------


def crossed() -> Data:
    """Persons × items, and a state that a scan carries from step to step; no source, as of a saved model."""
    sites = link(
        [
            site("sd", "param"),
            site("ability", "latent", "~ Normal(0, sd)", plates=["persons"], parents=["sd"]),
            site("difficulty", "latent", "~ Normal(0, 1)", plates=["items"]),
            site("logit", "deterministic", parents=["ability", "difficulty"]),
            site("answer", "observed", "~ Bernoulli(logit)", plates=["persons", "items"], parents=["logit"]),
            site("x", "latent", "~ Normal(x, 1)", temporal=["x"]),
            site("z", "observed", "~ Normal(x, 1)", parents=["x"]),
            site("penalty", "factor", parents=["ability", "x"]),
        ]
    )
    boxes = [
        {"id": "persons", "label": "persons 5", "in": None, "kind": "plate"},
        {"id": "both", "label": "persons 5 × items 3", "in": "persons", "kind": "plate"},
        {"id": "items", "label": "items 3", "in": None, "kind": "plate"},
        {"id": "steps", "label": "scan 20", "in": None, "kind": "scan"},
    ]
    within = {
        "ability": "persons",
        "difficulty": "items",
        "logit": "both",
        "answer": "both",
        "x": "steps",
        "z": "steps",
    }
    nodes = [node(s["name"], s["kind"], s["text"], box=within.get(s["name"])) for s in sites]
    pairs = [f"{p} {s['name']}" for s in sites for p in s["parents"]] + ["x x next"]
    drawn = {level: _picture(nodes, *pairs, boxes=boxes) for level in ("sites", "code", "equations")}
    return data(
        title="irt.plait",
        no_source="This model was saved without its source.",
        no_hessian="A discrete latent has no Hessian.",
        stages=[graph("trace", "The model as it was saved.", nodes=8, pictures=drawn, lines=[])],
        sites=sites,
    )


# -- hostile names --------------------------------------------------------------------------------------------

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'&lt;]]>--></script><svg onload=alert(1)>",
    "__proto__",
    "constructor",
    "{{data}}",
    "a\\nb\nc\u2028d",
    "</TABLE>\\N\\G%s",
    "ユーザー σ² 😀",
)


def hostile() -> Data:
    """Every text of the page is one of those names."""
    names = list(HOSTILE)
    sites = link([site(n, "latent", n, line=i + 1, support=n, parents=names[:i][-1:]) for i, n in enumerate(names)])
    boxes = [{"id": n, "label": n, "in": None, "kind": "plate"} for n in names[:2]]
    nodes = [node(n, "latent", n, type=n, line=i + 1, box=n if i < 2 else None) for i, n in enumerate(names)]
    steps = [{"from": a, "to": b, "temporal": False} for a, b in pairwise(names)]
    drawn = {level: {"nodes": nodes, "edges": steps, "boxes": boxes} for level in ("sites", "code", "equations")}
    lines = [{"text": n, "node": n, "site": n, "line": i + 1, "new": True} for i, n in enumerate(names)]
    values = dict.fromkeys(names, 1.5)
    first = {"site": names[0], "where": names[0], "sentence": names[0], "line": 1}
    refusals = [{"rule": names[0], "reason": names[1]}]
    return data(
        title=names[0],
        source={"file": names[0], "first_line": 1, "text": "\n".join(n.replace("\n", " ") for n in names)},
        stages=[
            graph(names[0], names[0], nodes=len(names), pictures=drawn, lines=lines),
            graph(names[1], names[1], nodes=len(names), pictures=drawn, lines=lines, removed=names),
            {"kind": "text", "name": names[0], "about": names[0], "lines": lines},
        ],
        sites=sites,
        plates=[{"name": n, "size": 2, "full_size": 4, "sites": [n]} for n in names],
        terms=[term(n, n, evaluated=n, rule=n, refusals=refusals, edit=n) for n in names],
        notes=names,
        points=[{"name": n, "total": "nan", "values": values, "terms": values, "first": first} for n in names],
        hessian={
            "dim": len(names),
            "entries": names,
            "blocks": [{"site": n, "offset": i, "size": 1} for i, n in enumerate(names)],
            "nonzeros": [[i, i] for i in range(len(names))],
            "about": names[0],
        },
        coupling=[{"a": n, "b": names[0], "how": "dense", "along": n} for n in names],
    )


# -- large models ---------------------------------------------------------------------------------------------


def chain(n: int) -> Data:
    """Sites in rows of ten, each with two parents in the row above."""
    parents = [[f"x{j}" for j in (i - 10, i - 9) if j >= 0] for i in range(n)]
    sites = link_quickly([site(f"x{i}", "latent", "~ Normal(0, 1)", parents=parents[i]) for i in range(n)])
    nodes = [node(s["name"], "latent", s["text"]) for s in sites]
    pairs = [f"{p} {s['name']}" for s in sites for p in s["parents"]]
    drawn = {level: _picture(nodes, *pairs, boxes=[]) for level in ("sites", "code", "equations")}
    lines = [line(f"x{i}: f64[] = sample Normal(0, 1)", f"x{i}") for i in range(n)]
    return data(
        title=f"{n} sites", stages=[graph("trace", "Traced.", nodes=n, pictures=drawn, lines=lines)], sites=sites
    )


def link_quickly(sites: list[Data]) -> list[Data]:
    """Children alone, for many sites."""
    by_name = {s["name"]: s for s in sites}
    for s in sites:
        for parent in s["parents"]:
            by_name[parent]["children"].append(s["name"])
    return sites
