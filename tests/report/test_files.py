from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from autowarm.errors import RecordError
from autowarm.report.files import read_results, write_results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]


def test_what_was_written_is_read_back(make_record: MakeRecord, tmp_path: Path) -> None:
    records = [make_record(trial=0), make_record(trial=1, outcome="FAILED", error="x\ny", schedule=None)]
    out = tmp_path / "new" / "folder"
    write_results(records, out, name="x")
    assert read_results(out) == records
    written = {"report.html", "report.md", "report.png", "trials.csv", "trials.jsonl", "trials.parquet"}
    assert {p.name for p in out.iterdir()} == written
    assert "](report.png)" in (out / "report.md").read_text(encoding="utf-8")
    write_results([], out, name="x")
    assert read_results(out) == []


def test_a_value_that_is_no_number_is_written_as_none(make_record: MakeRecord, tmp_path: Path) -> None:
    write_results([make_record(value=math.nan)], tmp_path, name="x")
    assert [r.value for r in read_results(tmp_path)] == [None]


def test_a_traceback_that_utf_8_cannot_hold_is_written(make_record: MakeRecord, tmp_path: Path) -> None:
    records = [make_record(outcome="FAILED", error="FileNotFoundError: \udcff.csv")]
    write_results(records, tmp_path, name="x")
    assert read_results(tmp_path) == records
    assert "\\udcff.csv" in (tmp_path / "trials.csv").read_text(encoding="utf-8")


def test_a_folder_without_records_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no trials\.jsonl in .*: is it the folder of a study"):
        read_results(tmp_path)


def test_results_are_written_without_any_framework(make_record: MakeRecord, tmp_path: Path) -> None:
    write_results([make_record()], tmp_path, name="x")
    code = (
        "import sys; from pathlib import Path; from autowarm.report.files import *; out = Path(sys.argv[1]);"
        "write_results(read_results(out), out, name='x'); import autowarm.export;"
        "heavy = {'torch', 'lightning', 'optuna', 'matplotlib.pyplot'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
