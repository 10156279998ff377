"""A report as one HTML file that asks nothing of the network, with plots to look around in."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from autowarm.errors import AutowarmError
from autowarm.report.contents import Contents
from autowarm.report.document import Block, Figure, Image, Section, Table
from autowarm.report.headline import headline
from autowarm.report.palette import COLOURS, THEMES, Theme, colour, scale
from autowarm.report.plot import Plot
from autowarm.report.plotly_figure import figure
from autowarm.report.plots.registry import plots_of
from autowarm.report.sections import sections_of

_PAGE = Path(__file__).parent / "page"
_NUMBERS = re.compile(r"(?<![\w.&#])\d[\d,.]*(?:e-\d+(?: %)?| %)")


def html_page(contents: Contents, *, sections: Sequence[Section] | None = None) -> str:
    """Return a report as HTML.

    Every string of a study is escaped: those of the page by the template, those of plots as `plotly_figure.text` says,
    and all of them once more within the JSON. Beyond that the page forbids itself the network, and every script but its
    own two, which it knows by their hashes (W3C, Content Security Policy Level 3).

    Args:
        contents: what it says.
        sections: of the report, where they are known already.
    """
    plots = plots_of(contents)
    told = sections_of(contents) if sections is None else sections
    script = (_PAGE / "page.js").read_text(encoding="utf-8")
    said = headline(contents)
    page: str = _template().render(
        name=contents.name,
        headline=said,
        rest=said.rest.lstrip(":, "),
        sections=[shown for section in told if (shown := _section(section, plots))],
        version=version("autowarm"),
        policy=_policy([plotly_js(), script] if plots else []),
        css=Markup((_PAGE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own
        plots=Markup(_data(plots)) if plots else "",  # noqa: S704 - escaped by _data
        plotly=Markup(plotly_js()) if plots else "",  # noqa: S704 - plotly's own
        script=Markup(script),  # noqa: S704 - our own
    )
    # what UTF-8 cannot hold: the lone surrogates of an odd file name
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _template() -> Any:
    environment = Environment(loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined)
    environment.filters["unbroken"] = _unbroken
    return environment.get_template("page.html")


def _unbroken(text: object) -> Markup:
    """Escape a text, and keep its numbers on one line: 1.5e-5, which browsers break after the hyphen, and 8 %."""
    return Markup(_NUMBERS.sub(r'<span class="number">\g<0></span>', str(escape(text))))  # noqa: S704 - escaped


@cache
def plotly_js() -> str:
    """Return the source of plotly.js, 5 MB, which the Python package brings along.

    Raises:
        AutowarmError: the installed plotly has none.
    """
    # not by importing plotly, which takes as long as all the rest of the page
    found = importlib.util.find_spec("plotly")
    for folder in found.submodule_search_locations or () if found is not None else ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise AutowarmError("the installed plotly brings no plotly.min.js: install another version of it")


def _policy(scripts: list[str]) -> str:
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _data(plots: dict[str, Plot]) -> str:
    """Return the plots as JSON that no HTML can be read into, whatever its strings are."""
    drawn = {name: figure(plot) for name, plot in plots.items()}
    data = {"plots": drawn, "palettes": {theme: _palette(theme) for theme in THEMES}}
    # ASCII but for these, and these as escapes
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(data, allow_nan=False))


def _palette(theme: Theme) -> dict[str, Any]:
    order = [[place, shade] for place, shade in scale(theme)]
    reverse = [[1 - place, shade] for place, shade in reversed(scale(theme))]
    return {**{name: colour(name, theme) for name in COLOURS}, "scale": order, "scale_reversed": reverse}


def _section(section: Section, plots: dict[str, Plot]) -> dict[str, Any] | None:
    blocks = [shown for block in section.blocks if (shown := _block(block, plots))]
    title = section.title
    return {"title": title, "id": re.sub(r"\W+", "-", title.lower()).strip("-"), "blocks": blocks} if blocks else None


def _block(block: Block, plots: dict[str, Plot]) -> dict[str, Any] | None:
    kind = {"kind": type(block).__name__}
    if isinstance(block, Image):
        # the page has the plot itself
        return None
    if isinstance(block, Figure):
        plot = plots.get(block.plot)
        if plot is None:
            return None
        height = figure(plot)["height"]
        return {**kind, "name": plot.name, "title": plot.title, "note": plot.note, "height": height}
    if isinstance(block, Table):
        shades = {(row, column): f"{shade:.2f}" for row, column, shade in block.shades}
        rows = [
            [{"text": cell, "shade": shades.get((i, j))} for j, cell in enumerate(row)]
            for i, row in enumerate(block.rows)
        ]
        return {**kind, "header": block.header, "rows": rows}
    return {**kind, **asdict(block)}
