"""The Python side: the template, filled."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re

import pytest

from plait.runtime.explore.page import page
from tests.explore.pages import HOSTILE, data, eight_schools, hostile

PACKED = re.compile(r'id="plait-data">([A-Za-z0-9+/=]*)</script>')


def test_the_page_holds_the_data() -> None:
    (packed,) = PACKED.findall(page(eight_schools()))
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == eight_schools()


def test_the_same_data_make_the_same_bytes() -> None:
    assert page(eight_schools()) == page(eight_schools())


def test_the_title_is_escaped() -> None:
    written = page(data(title=HOSTILE[0]))
    assert "<title>&lt;script&gt;alert(1)&lt;/script&gt;</title>" in written
    assert HOSTILE[0] not in written


def test_no_name_of_the_model_stands_in_the_page_as_markup() -> None:
    plain = page(data())
    tags = re.compile(r"<[a-z!/][^>]*>", re.IGNORECASE)
    assert tags.findall(PACKED.sub("", page(hostile()))) == tags.findall(PACKED.sub("", plain))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        page(data(totals={"flops": [number, 0]}))


def test_a_title_like_the_place_of_the_data_changes_nothing() -> None:
    (packed,) = PACKED.findall(page(data(title="{{data}}")))
    assert json.loads(gzip.decompress(base64.b64decode(packed)))["title"] == "{{data}}"


def test_the_policy_allows_no_address() -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page(data()))
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline" not in policy
    assert "http" not in policy


def test_the_page_names_the_licences_of_what_is_in_it() -> None:
    comment = page(data()).partition("-->")[0]
    for name in ("Graphviz 16", "Expat", "@viz-js/viz", "preact", "d3-zoom", "highlight.js", "Eclipse Public License"):
        assert name in comment
