"""The records of a study's folder: from its database where that is newer, else from the file derived from it."""

from __future__ import annotations

from pathlib import Path

from autowarm.errors import StudyError
from autowarm.record import TrialRecord
from autowarm.report.files import PICTURE, RECORDS, read_results, write_report, write_results
from autowarm.report.markdown import report_md

# As `autowarm.study.database` names it; that module would load Optuna.
_DATABASES = ("study.db", "study.db-wal")


def results_of(out: Path) -> list[TrialRecord]:
    """Return the records of a study's folder.

    A run that was killed has told its database more than it has written out; then the database is read, which takes
    about a second longer.

    Raises:
        RecordError: there are no results, or they cannot be read.
        StudyError: the database cannot be read.
    """
    if _database_is_newer(out):
        from autowarm.study.database import read_records

        records = read_records(out)
        write_results(records, out, name=_name(records, out))
        return records
    return read_results(out)


def refresh(out: Path) -> str:
    """Write the report of a study's folder anew, and return it as Markdown.

    Raises:
        RecordError: there are no results, or they cannot be read.
        StudyError: the database cannot be read, or the folder cannot be written.
    """
    records = results_of(out)
    name = _name(records, out)
    try:
        write_report(records, out, name=name)
    except OSError as e:
        raise StudyError(f"the report cannot be written to {out}: {e.strerror or e}") from None
    return report_md(records, name=name, picture=PICTURE)


def _name(records: list[TrialRecord], out: Path) -> str:
    return records[0].study if records else out.resolve().name


def _database_is_newer(out: Path) -> bool:
    changed = [(out / name).stat().st_mtime for name in _DATABASES if (out / name).is_file()]
    if not changed:
        return False
    written = out / RECORDS
    return not written.is_file() or max(changed) > written.stat().st_mtime
