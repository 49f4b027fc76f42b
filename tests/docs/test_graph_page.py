"""The code of docs/graph.md runs, says what its comments say, and prints what the page shows."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

from plait.ir.dependence import SiteGraph

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "graph.md").read_text(encoding="utf-8")
CODE = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL))
(PRINTED,) = re.findall(r"^```text\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_page_says_what_its_code_gives(tmp_path, capsys):
    file = tmp_path / "model.py"
    file.write_text(CODE, encoding="utf-8")
    names = runpy.run_path(str(file))
    assert capsys.readouterr().out == PRINTED
    claims = re.findall(r"^(\S.*?)  # (.*)$", CODE, flags=re.MULTILINE)
    assert len(claims) == 11
    for expression, value in claims:
        assert eval(expression, names) == ast.literal_eval(value), expression


def test_the_table_has_every_member():
    rows = [line.split("|")[1] for line in PAGE.partition("of a `SiteGraph`")[2].partition("\n\n")[0].splitlines()]
    named = {re.match(r"\w+", code)[0] for row in rows for code in re.findall("`([^`]+)`", row)}
    assert named == {name for name in vars(SiteGraph) if name[0] != "_"} | {"digraph"}
