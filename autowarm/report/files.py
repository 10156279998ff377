"""The result files of a study: written in one move each, so that a reader never sees half of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from autowarm.analysis.doubt import Bounds
from autowarm.errors import RecordError
from autowarm.record import TrialRecord, read_jsonl, write_jsonl
from autowarm.report.contents import Contents, contents_of
from autowarm.report.html_page import html_page
from autowarm.report.markdown import markdown
from autowarm.report.parquet import write_parquet
from autowarm.report.picture import draw
from autowarm.report.range_picture import draw_range_test
from autowarm.report.sections import sections_of
from autowarm.report.sections.cost import RANGE_PICTURE
from autowarm.report.tables import to_csv

RECORDS = "trials.jsonl"
TABLE = "trials.csv"
PARQUET = "trials.parquet"
REPORT = "report.md"
PAGE = "report.html"
PICTURE = "report.png"


def write_results(records: Iterable[TrialRecord], out: Path, *, name: str, bounds: Bounds | None = None) -> str:
    """Write `trials.jsonl`, and what is derived from it; return the report as Markdown. See `write_report`.

    Args:
        records: of one study.
        out: the folder, made where it is missing.
        name: the title of the report.
        bounds: of the search, for the advice; see `autowarm.analysis.trust.doubts`.
    """
    records = list(records)
    out.mkdir(parents=True, exist_ok=True)
    write_jsonl(records, out / RECORDS)
    return write_report(records, out, name=name, bounds=bounds)


def write_report(records: Sequence[TrialRecord], out: Path, *, name: str, bounds: Bounds | None = None) -> str:
    """Write the report into an existing folder, but no `trials.jsonl`; return it as Markdown.

    That is `report.md`, `report.html` and `report.png`, and the records as `trials.csv` and `trials.parquet`. And
    `range_test.png`, where a range test found the range of `initial_lr`.
    """
    table = to_csv(records)
    _replace(out / TABLE, table)
    write_parquet(table, out / PARQUET)
    contents = contents_of(records, name=name, bounds=bounds)
    draw(records, out / PICTURE, answers=contents.answers)
    if contents.range_found is not None:
        draw_range_test(records, out / RANGE_PICTURE)
    return write_contents(contents, out, picture=PICTURE)


def write_contents(contents: Contents, out: Path, *, picture: str | None = None) -> str:
    """Write `report.md` and `report.html` into an existing folder; return the former.

    Args:
        contents: what the report says, of a study or of a table of runs.
        out: the folder.
        picture: the address of an image for `report.md`.
    """
    sections = sections_of(contents)
    text = markdown(contents, picture=picture, sections=sections)
    _replace(out / REPORT, text)
    _replace(out / PAGE, html_page(contents, sections=sections))
    return text


def read_results(out: Path) -> list[TrialRecord]:
    """Read the records of a study from its folder.

    Raises:
        RecordError: there is no `trials.jsonl`, or it does not hold records.
    """
    path = out / RECORDS
    if not path.is_file():
        raise RecordError(f"no {RECORDS} in {out}: is it the folder of a study? run `autowarm tune` first")
    return read_jsonl(path)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    # a traceback may hold what UTF-8 cannot: the lone surrogates of an odd file name
    part.write_text(text, encoding="utf-8", errors="backslashreplace")
    part.replace(path)
