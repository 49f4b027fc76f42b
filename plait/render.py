"""What the command line shows: sites, posterior, timings."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plait.ir.site_line import SiteLine
from plait.runtime.summary import ESS_PER_CHAIN, R_HAT_MAX
from plait.timing import CLOCKS, PLACES

PIPED_WIDTH = 120  # a file or a pipe has no width of its own
SHOWN_ENTRIES = 24  # a site with more entries than this is cut short in the table
KEPT_ENTRIES = 8


def console(*, stderr: bool = False) -> Console:
    """A console that takes names like ``theta[schools]`` literally."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


# -- before sampling ------------------------------------------------------------------------------------


def model_title(name: str, data: Mapping[str, Any]) -> Text:
    """``eight_schools.py: eight_schools   data: sigma [8], y [8]``."""
    return Text.assemble((name, "bold"), " ", (f"  data: {data_line(data)}", "dim"))


def site_table(sites: Sequence[SiteLine]) -> Table:
    """A row for each site: name, distribution, shape with plates, latent or observed."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for site in sites:
        name, kind = Text(f"  {site.name}", site.style), Text(site.kind, site.style)
        table.add_row(name, Text(site.text), Text(site.shape, "dim"), kind)
    return table


def data_line(data: Mapping[str, Any]) -> str:
    """``sigma [8], y [8]``: the arrays that the model got."""
    return ", ".join(f"{name} {list(array.shape)}" for name, array in data.items()) or "none"


# -- after sampling -------------------------------------------------------------------------------------


def posterior_table(
    summary: Any, chains: int, families: Mapping[str, Sequence[str]], *, every_row: bool = False
) -> Table:
    """The summary with as many decimals as a site's sd calls for, and what is suspicious in red.

    Args:
        summary: of `plait.runtime.summary`.
        chains: how many the draws came from.
        families: sites that a loop made, which are shown as one long site.
        every_row: whether long sites are shown in full.
    """
    low, high = (c for c in summary.columns if c.startswith("hdi"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for column in ("mean", "sd", low, high, "ess_bulk", "ess_tail", "r_hat"):
        table.add_column(column, justify="right")
    few = ESS_PER_CHAIN * chains
    family_of = {member: name for name, members in families.items() for member in members}

    def site_of(entry: str) -> str:
        name = entry.partition("[")[0]
        return family_of.get(name, name)

    for site, rows in summary.groupby(site_of, sort=False):
        template = _template(rows["sd"].median(), rows[["mean", low, high]].abs().to_numpy().max())
        kept = rows if every_row or len(rows) <= SHOWN_ENTRIES else rows.iloc[:KEPT_ENTRIES]
        for name, row in kept.iterrows():
            cells = [_flagged(row[c], template, False) for c in ("mean", "sd", low, high)]
            cells += [_flagged(row[c], "{:.0f}", row[c] < few) for c in ("ess_bulk", "ess_tail")]
            table.add_row(Text(name), *cells, _flagged(row["r_hat"], "{:.3f}", row["r_hat"] > R_HAT_MAX))
        if len(kept) < len(rows):
            table.add_row(Text(f"… {len(rows) - len(kept)} more of {site}", "dim"))
    return table


def _template(sd: float, largest: float) -> str:
    """Three significant digits of a site's typical sd, in all its rows and columns alike."""
    if not 1e-5 <= sd < 1e6 or not largest < 1e6:
        return "{:.4g}"
    return f"{{:.{max(0, 2 - math.floor(math.log10(sd)))}f}}"


def _flagged(value: float, template: str, bad: bool) -> Text:
    return Text("–", "dim") if math.isnan(value) else Text(template.format(value), "bold red" if bad else "")


# -- timings --------------------------------------------------------------------------------------------


def timing_table(
    records: Sequence[Mapping[str, Any]], ready: Mapping[str, tuple[float, ...]], libraries: Sequence[str]
) -> Table:
    """A row for each place and for getting ready; by clock each library and how many times faster plait is."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("")
    for clock in CLOCKS:
        for library in libraries:
            shown.add_column(f"{library}\n{clock}", justify="right")
        if len(libraries) > 1:
            shown.add_column("NumPyro\n/ plait", justify="right")
    figures = {(r["library"], r["place"]): [r[clock] for clock in CLOCKS] for r in records}
    for place in PLACES:
        shown.add_row(_ROWS[place], *_cells([figures[library, place] for library in libraries]))
    shown.add_row("ready, s", *_cells([list(ready[library]) for library in libraries]))
    return shown


_ROWS = {"in a jit": "gradient in a jit, µs", "Python": "gradient from Python, µs"}


def _cells(by_library: list[list[float]]) -> list[Text]:
    """Of one row: for each clock the libraries' figures and their ratio."""
    cells = []
    for figures in zip(*by_library, strict=True):
        cells += [Text(f"{x:.3g}" if x < 1000 else f"{x:,.0f}") for x in figures]
        if len(figures) > 1:
            ratio = figures[1] / figures[0]
            cells.append(Text(f"{ratio:.3g}x", "bold green" if ratio >= 1 else "bold yellow"))
    return cells


__all__ = ["console", "data_line", "model_title", "posterior_table", "site_table", "timing_table"]
