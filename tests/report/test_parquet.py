from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from autowarm.decays import DECAY_PARAMETERS
from autowarm.record import TrialRecord
from autowarm.report.parquet import write_parquet
from autowarm.report.tables import COLUMNS, RARE, to_csv, to_frame
from autowarm.schedule import Schedule

MakeRecord = Callable[..., TrialRecord]


def test_the_table_is_that_of_the_csv_with_types(make_record: MakeRecord, tmp_path: Path) -> None:
    records = [
        make_record(trial=0, value=0.1 + 0.2, study='a,"b"\n|c\u2028d'),
        make_record(trial=1, outcome="DIVERGED", schedule=None, label="NaN", dataset_size=None),
        make_record(trial=2, schedule=Schedule(initial_lr=0.3, decay="wsd", decay_ratio=0.4, step_offset=1)),
    ]
    write_parquet(to_csv(records), tmp_path / "a.parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert list(frame.columns) == [*COLUMNS, "step_offset"]
    assert frame["value"].tolist()[0] == 0.1 + 0.2
    assert frame["study"].tolist()[0] == 'a,"b"\n|c\u2028d'
    assert frame["label"].tolist()[1] == "NaN"
    expected = to_frame(records)
    for name in COLUMNS:
        told, given = frame[name], expected[name]
        assert told.isna().tolist() == given.isna().tolist(), name
        assert [x for x in told if pd.notna(x)] == [x for x in given if pd.notna(x)], name
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_every_column_has_the_type_of_what_a_record_holds(make_record: MakeRecord, tmp_path: Path) -> None:
    records = [
        make_record(schedule=Schedule(initial_lr=0.3, decay="inverse_sqrt", timescale=9), target_steps=400),
        make_record(schedule=Schedule(initial_lr=0.3, step_offset=1)),
        make_record(schedule=Schedule(initial_lr=0.3, decay="cosine", decay_to="last_step")),
        make_record(schedule=Schedule(initial_lr=0.3, decay="cosine", decay_from="start")),
    ]
    write_parquet(to_csv(records), tmp_path / "a.parquet")
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "a.parquet")}
    assert set(RARE) <= set(types)
    assert {types[name] for name in DECAY_PARAMETERS} == {"double", "string"}
    assert [types[name] for name in ("trial", "seed", "warmup_steps", "target_steps", "step_offset")] == ["int64"] * 5
    assert [types[name] for name in ("value", "initial_lr", "cost", "timescale")] == ["double"] * 4
    assert [types[name] for name in ("label", "cooldown", "decay_to", "error")] == ["string"] * 4


def test_no_records_and_numbers_beyond_64_bits(make_record: MakeRecord, tmp_path: Path) -> None:
    write_parquet(to_csv([]), tmp_path / "a.parquet")
    assert pd.read_parquet(tmp_path / "a.parquet").shape == (0, len(COLUMNS))
    write_parquet(to_csv([make_record(seed=2**64), make_record(seed=1)]), tmp_path / "a.parquet")
    assert pd.read_parquet(tmp_path / "a.parquet")["seed"].tolist() == [str(2**64), "1"]


def test_a_label_longer_than_arrow_s_blocks(make_record: MakeRecord, tmp_path: Path) -> None:
    write_parquet(to_csv([make_record(label="x" * 3_000_000), make_record(value=np.nan)]), tmp_path / "a.parquet")
    assert pd.read_parquet(tmp_path / "a.parquet")["label"].str.len().tolist()[0] == 3_000_000


def test_a_ctrl_c_meanwhile_is_left_to_who_counts_it(
    make_record: Callable[..., TrialRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow would raise it in the middle of the results of a study that is being stopped."""
    told: list[bool] = []
    monkeypatch.setattr("pyarrow.enable_signal_handlers", told.append)
    write_parquet(to_csv([make_record()]), tmp_path / "t.parquet")
    assert told == [False]
