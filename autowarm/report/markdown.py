"""A report in Markdown: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autowarm.analysis.doubt import Bounds
from autowarm.record import TrialRecord
from autowarm.report.cells import escape, table
from autowarm.report.contents import Contents, contents_of
from autowarm.report.document import Block, Bullets, Code, Figure, Heading, Image, Section, Table, Text
from autowarm.report.headline import headline
from autowarm.report.sections import sections_of


def report_md(
    records: Iterable[TrialRecord], *, name: str, picture: str | None = None, bounds: Bounds | None = None
) -> str:
    """Return the report on the records of a study.

    Args:
        records: of one study; any horizons, roles and outcomes, or none at all.
        name: the title.
        picture: the address of an image to show below the answer.
        bounds: (low, high) of `initial_lr` and `warmup_ratio` as searched, for the advice.

    Raises:
        RecordError: the records watch different metrics.
    """
    return markdown(contents_of(records, name=name, bounds=bounds), picture=picture)


def markdown(contents: Contents, *, picture: str | None = None, sections: Sequence[Section] | None = None) -> str:
    """Return a report as Markdown.

    Args:
        contents: what it says.
        picture: the address of an image to show below the answer; without one, it has none at all.
        sections: of the report, where they are known already.
    """
    said = headline(contents)
    rest = said.text.removeprefix(said.use)
    # escape drops the space that follows the bold words
    gap = " " if rest.startswith(" ") else ""
    parts = [f"# {escape(contents.name)}", f"**{escape(said.use)}**{gap}{escape(rest)}"]
    parts += [f"![Learning-rate and validation curves]({picture})"] if picture and contents.records else []
    for section in sections_of(contents) if sections is None else sections:
        blocks = [words for block in section.blocks if (words := _block(block, pictures=picture is not None))]
        if blocks:
            parts += [f"## {section.title}", *blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block, *, pictures: bool) -> str:
    match block:
        case Text():
            words = escape(block.text)
        case Heading():
            words = f"### {escape(block.text)}"
        case Bullets():
            words = "\n".join(f"- {escape(item)}" for item in block.items)
        case Table():
            words = "\n".join(table(block.header, block.rows))
        case Code():
            words = f"```{block.language}\n{block.text}\n```"
        case Image():
            words = f"![{escape(block.words)}]({block.address})" if pictures else ""
        case Figure():
            # Markdown has no plots
            words = ""
    return words
