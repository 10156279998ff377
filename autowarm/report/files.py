"""The result files of a study: written in one move each, so that a reader never sees half of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from autowarm.analysis.doubt import Bounds
from autowarm.errors import RecordError, StudyError
from autowarm.files import replace
from autowarm.record import TrialRecord, read_jsonl, write_jsonl
from autowarm.report.contents import Contents, contents_of
from autowarm.report.html_page import html_page
from autowarm.report.markdown import markdown
from autowarm.report.parquet import write_parquet
from autowarm.report.picture import draw
from autowarm.report.range_picture import draw_range_test
from autowarm.report.sections import sections_of
from autowarm.report.sections.cost import RANGE_PICTURE
from autowarm.report.tables import to_both_csv
from autowarm.settings import DATABASE

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

    Raises:
        StudyError: the folder cannot be written, or is full; each file in it is whole then, the old or the new one.
    """
    records = list(records)
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_jsonl(records, out / RECORDS)
    return write_report(records, out, name=name, bounds=bounds)


def write_report(records: Sequence[TrialRecord], out: Path, *, name: str, bounds: Bounds | None = None) -> str:
    """Write the report into an existing folder, but no `trials.jsonl`; return it as Markdown.

    That is `report.md`, `report.html` and `report.png`, and the records as `trials.csv` and `trials.parquet`. And
    `range_test.png`, where a range test found the range of `initial_lr`.

    Raises:
        StudyError: as of `write_results`.
    """
    with _writing(out):
        for_spreadsheets, plain = to_both_csv(records)
        _replace(out / TABLE, for_spreadsheets)
        write_parquet(plain, out / PARQUET)
        del for_spreadsheets, plain
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

    Raises:
        OSError: the folder cannot be written, or is full.
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
    try:
        return read_jsonl(path)
    except RecordError as e:
        again = f"`autowarm report {out}`" if (out / DATABASE).is_file() else "`autowarm tune` with its study file"
        raise RecordError(
            f"{e}. The truth is in the study's database: {again} writes {RECORDS} anew. Without the database, remove "
            "that line from the file"
        ) from e


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turn a folder that cannot be written into an error of ours."""
    try:
        yield
    except OSError as e:
        raise StudyError(
            f"the results cannot be written to {out}: {e.strerror or e}. Every trial that finished is in the study's "
            f"database: when the folder can be written, `autowarm report {out}` (with a database elsewhere, `autowarm "
            "tune`) writes them"
        ) from None


def _replace(path: Path, text: str) -> None:
    # a traceback may hold what UTF-8 cannot: the lone surrogates of an odd file name
    replace(path, text.encode("utf-8", "backslashreplace"))
