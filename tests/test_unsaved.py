from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autowarm.record import TrialRecord
from autowarm.unsaved import Unsaved

MakeRecord = Callable[..., TrialRecord]


def test_records_come_back_by_their_horizon(make_record: MakeRecord, tmp_path: Path) -> None:
    path = tmp_path / "unsaved.jsonl"
    short, long = make_record(trial=1, total_steps=50), make_record(trial=2)
    assert Unsaved(path).keep("mine steps=50", short)
    assert Unsaved(path).keep("mine steps=100", long)
    later = Unsaved(path)
    assert later.of("mine steps=50") == [short]
    assert later.of("mine steps=100") == [long]
    assert later.of("mine steps=5") == []
    later.drop()
    assert later.of("mine steps=50") == []
    assert list(tmp_path.iterdir()) == []
    later.drop()


def test_lines_that_are_none_are_passed_over(make_record: MakeRecord, tmp_path: Path) -> None:
    path = tmp_path / "unsaved.jsonl"
    kept, record = Unsaved(path), make_record()
    assert kept.keep("h", record)
    whole = path.read_bytes()
    broken = [
        b"[]",
        b"3",
        b'{"horizon": "h"}',
        b'{"horizon": "h", "record": {}}',
        b'{"horizon": "h", "record": "\xff"}',
    ]
    path.write_bytes(b"\n".join([*broken, whole, whole[: len(whole) // 2]]))
    assert kept.of("h") == [record]


def test_nothing_is_kept_without_a_file(make_record: MakeRecord) -> None:
    kept = Unsaved()
    assert not kept.keep("h", make_record())
    assert kept.of("h") == []
    kept.drop()


def test_a_record_that_is_not_on_the_disk_is_not_kept(
    make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Unsaved(tmp_path / "no" / "folder").keep("h", make_record())
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert not Unsaved(tmp_path / "link").keep("h", make_record())
    assert not (tmp_path / "elsewhere").exists()
    # a disk that fills up takes a part
    monkeypatch.setattr("autowarm.files.os.write", lambda _descriptor, data: len(data) - 1)
    assert not Unsaved(tmp_path / "unsaved.jsonl").keep("h", make_record())
