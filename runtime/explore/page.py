"""The explorer's page: a template with everything but the data.

``page.html`` is built from the sources in ``explorer/`` at the top of the repository, and is committed, so that the
page can be written without node. What the data are is in ``explorer/src/types.ts``.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any


def page(data: Mapping[str, Any]) -> str:
    """One HTML file that shows the data, and asks the network for nothing.

    Args:
        data: as JSON, of the schema ``plait.explorer/1``. Numbers that are not finite are strings.

    Raises:
        ValueError: a number is not finite.
    """
    before, rest = _template().split("{{title}}")
    between, after = rest.split("{{data}}")
    return "".join((before, html.escape(str(data["title"])), between, _packed(data), after))


def _template() -> str:
    return resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")


def _packed(data: Mapping[str, Any]) -> str:
    """Base64 of gzip: a tenth of the text, and none of it is markup."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


__all__ = ["page"]
