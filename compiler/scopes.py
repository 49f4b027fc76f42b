"""Sites as scopes of JAX, so that compiled code says whose it is: ``jit(f)/jvp(site:mu)/mul`` in the optimized HLO."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_PREFIX = "site:"
_SCOPE = re.compile(rf"{_PREFIX}([\w.%~\-]*)")


def scope_of(site: str) -> str:
    """The scope of a site; what has a meaning in the names of operations is percent-encoded."""
    return _PREFIX + quote(site, safe="", errors="surrogatepass")


def site_of(name: str) -> str | None:
    """The site whose scope an operation's name has; the innermost one, None where there is none."""
    found = _SCOPE.findall(name)
    return unquote(found[-1], errors="surrogatepass") if found else None


__all__ = ["scope_of", "site_of"]
