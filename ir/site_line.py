"""What a model's table of sites says of one of them: plain text, as saved models have it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SiteLine:
    """One site: ``theta``, ``~ Normal(mu, tau)``, ``[schools:8]``, ``latent``."""

    name: str
    text: str
    shape: str
    kind: str

    @property
    def style(self) -> str:
        """Its colour in tables, as rich calls it."""
        return _STYLES.get(self.kind.partition(",")[0], "")


_STYLES = {"latent": "bold", "observed": "cyan", "deterministic": "dim", "param": "magenta", "factor": "magenta"}


__all__ = ["SiteLine"]
