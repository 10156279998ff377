from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autowarm.report.tables import COLUMNS, RARE, last_line, to_columns, to_csv, to_frame
from autowarm.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]

TRACEBACK = "Traceback (most recent call last):\n  File x, line 1\nRuntimeError: out of memory\n\n"


def to_row(record: TrialRecord) -> dict[str, Any]:
    return {name: value for name, (value,) in to_columns([record]).items()}


def test_a_row_resolves_the_warmup_both_ways(make_record: MakeRecord) -> None:
    by_steps = to_row(make_record(schedule=Schedule(initial_lr=0.3, warmup_steps=20)))
    assert (by_steps["warmup_steps"], by_steps["warmup_ratio"]) == (20, 0.2)
    by_ratio = to_row(make_record(warmup_ratio=0.3))
    assert (by_ratio["warmup_steps"], by_ratio["warmup_ratio"]) == (30, 0.3)


def test_a_row_holds_the_record_and_the_decays_own_parameters(make_record: MakeRecord) -> None:
    schedule = Schedule(initial_lr=0.3, decay="wsd", decay_ratio=0.4, final_lr_ratio=0.05)
    row = to_row(make_record(schedule=schedule, steps=90, val_batches=30, seed=7, error=TRACEBACK))
    assert tuple(row) == COLUMNS
    said = {k: row[k] for k in ("decay", "decay_ratio", "cooldown", "final_lr_ratio", "power", "seed", "initial_lr")}
    assert said == {
        "decay": "wsd",
        "decay_ratio": 0.4,
        "cooldown": "linear",
        "final_lr_ratio": 0.05,
        "power": None,
        "seed": 7,
        "initial_lr": 0.3,
    }
    assert row["cost"] == pytest.approx(100)
    assert row["error"] == "RuntimeError: out of memory"


def test_what_few_schedules_tell_has_a_column_only_where_one_does(make_record: MakeRecord) -> None:
    usual = make_record(schedule=Schedule(initial_lr=0.3, decay="inverse_sqrt"))
    rare = make_record(schedule=Schedule(initial_lr=0.3, decay="inverse_sqrt", timescale=9, step_offset=1))
    assert to_csv([usual]).splitlines()[0].split(",") == list(COLUMNS)
    assert tuple(to_frame([usual]).columns) == COLUMNS
    assert not set(RARE) & set(COLUMNS)
    header, first, second = list(csv.reader(io.StringIO(to_csv([usual, rare]))))
    assert header == [*COLUMNS, "timescale", "step_offset"]
    assert (first[-2:], second[-2:]) == (["", ""], ["9", "1"])
    frame = to_frame([rare, usual])
    assert list(frame.columns) == header
    assert frame["timescale"].tolist()[0] == 9


def test_a_job_s_own_scheduler_has_no_schedule_columns(make_record: MakeRecord) -> None:
    row = to_row(make_record(schedule=None, label="StepLR", role="baseline"))
    assert (row["label"], row["initial_lr"], row["warmup_steps"], row["decay"]) == (
        "StepLR",
        None,
        None,
        None,
    )


def test_the_last_line() -> None:
    assert last_line(None) is None
    assert last_line(" \n") is None


def test_a_frame_has_a_row_a_record_and_numbers_in_its_columns(make_record: MakeRecord) -> None:
    frame = to_frame([make_record(trial=0, value=2.5), make_record(trial=1, outcome="DIVERGED")])
    assert frame.shape == (2, len(COLUMNS))
    assert frame["trial"].tolist() == [0, 1]
    assert frame["value"].dtype == np.float64
    assert frame["value"].isna().tolist() == [False, True]


def test_no_records_make_an_empty_table() -> None:
    assert to_frame([]).shape == (0, len(COLUMNS))
    assert to_csv([]).splitlines() == [",".join(COLUMNS)]


def test_csv_keeps_every_digit_and_any_text(make_record: MakeRecord) -> None:
    text = to_csv([make_record(value=0.1 + 0.2, study='a,"b"\n|c', outcome="COMPLETE")])
    (row,) = csv.DictReader(io.StringIO(text))
    assert float(row["value"]) == 0.1 + 0.2
    assert row["study"] == 'a,"b"\n|c'
    assert row["reason"] == ""
