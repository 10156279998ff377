"""What a notebook shows of a study: its answer and a small picture, without any script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from autowarm.record import TrialRecord
from autowarm.report.contents import answers_of
from autowarm.report.headline import headline
from autowarm.report.picture import picture, picture_bytes

_NUMBER = "display: inline-block; margin: 0 1.5em .4em 0; vertical-align: top; max-width: 20em"


def notebook_html(records: Sequence[TrialRecord], out: Path) -> str:
    """Return a summary of a study as a piece of HTML.

    Args:
        records: of the study.
        out: its folder, which is named.
    """
    name = records[0].study if records else out.name
    contents = answers_of(records, name=name)
    said = headline(contents)
    facts = "".join(
        f'<div style="{_NUMBER}">{escape(fact.label)}<br><b>{escape(fact.value)}</b><br>'
        f"<small>{escape(fact.detail)}</small></div>"
        for fact in said.facts
    )
    image = base64.b64encode(picture_bytes(picture(records, rows=1, answers=contents.answers), "png", dpi=65)).decode()
    alt = "Learning-rate and validation curves"
    return (
        f"<div><p><b>{escape(name)}: {escape(said.use)}</b>{escape(said.text.removeprefix(said.use))}</p>"
        f'{facts}<p><img alt="{alt}" style="max-width: 100%" src="data:image/png;base64,{image}"></p>'
        f"<p><small>{len(records):,} trials; the whole report: {escape(str(out / 'report.html'))}</small></p></div>"
    )
