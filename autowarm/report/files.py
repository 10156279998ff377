"""The result files of a study: written in one move each, so that a reader never sees half of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from autowarm.analysis.advice import Bounds
from autowarm.errors import RecordError
from autowarm.planning.range_test import found_range
from autowarm.record import TrialRecord, read_jsonl, write_jsonl
from autowarm.report.markdown import report_md
from autowarm.report.sections.cost import RANGE_PICTURE
from autowarm.report.picture import draw
from autowarm.report.range_picture import draw_range_test
from autowarm.report.tables import to_csv

RECORDS = "trials.jsonl"
TABLE = "trials.csv"
REPORT = "report.md"
PICTURE = "report.png"


def write_results(records: Iterable[TrialRecord], out: Path, *, name: str, bounds: Bounds | None = None) -> None:
    """Write `trials.jsonl`, and what is derived from it: `trials.csv`, `report.md` and `report.png`.

    Args:
        records: of one study.
        out: the folder, made where it is missing.
        name: the title of the report.
        bounds: of the search, for the advice; see `autowarm.analysis.advice.advise`.
    """
    records = list(records)
    out.mkdir(parents=True, exist_ok=True)
    write_jsonl(records, out / RECORDS)
    write_report(records, out, name=name, bounds=bounds)


def write_report(records: Sequence[TrialRecord], out: Path, *, name: str, bounds: Bounds | None = None) -> None:
    """Write `trials.csv`, `report.md` and `report.png` into an existing folder, but no `trials.jsonl`.

    And `range_test.png`, where a range test found the range of `initial_lr`.
    """
    _replace(out / TABLE, to_csv(records))
    draw(records, out / PICTURE)
    if found_range(records) is not None:
        draw_range_test(records, out / RANGE_PICTURE)
    _replace(out / REPORT, report_md(records, name=name, picture=PICTURE, bounds=bounds))


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
