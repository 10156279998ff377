"""Records: what is written is read back, and what cannot be read says where and why."""

from __future__ import annotations

import copy
import gc
import json
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autowarm.errors import AutowarmError, RecordError
from autowarm.points import UnparsedPoints
from autowarm.record import OUTCOMES, ROLES, Curve, Mode, TrialRecord, better, read_jsonl, uncollected, write_jsonl
from autowarm.schedule import Schedule

MakeRecord = Callable[..., TrialRecord]

FULL: Mapping[str, Any] = {
    "study": "demo",
    "trial": 3,
    "role": "search",
    "schedule": Schedule(initial_lr=3e-4, warmup_ratio=0.06, decay="wsd", cooldown="one_minus_sqrt"),
    "label": "lr 0.0003, größer",
    "total_steps": 100,
    "dataset_size": 1000,
    "batch_size": 32,
    "seed": 7,
    "monitor": "val_loss",
    "mode": "min",
    "outcome": "COMPLETE",
    "value": 0.25,
    "reason": "because",
    "rungs": ((50, 0.5), (100, 0.25)),
    "ema_rungs": ((50, 0.375),),
    "audit_step": 50,
    "audit_reason": "it was behind",
    "target_steps": 800,
    "resumed": "exact",
    "split_batches": 4,
    "trunk": "3e-4, 6 steps",
    "shared_steps": 40,
    "exact": True,
    "train_curve": ((10, 1.5), (20, 1.25)),
    "grad_norms": ((10, 2.0),),
    "steps": 100,
    "val_batches": 6,
    "seconds": 1.5,
    "error": "Traceback\n  x\u2028y\x85z\x0b \udc80",
    "versions": {"torch": "2.13.0"},
}
# what a trial cannot do without
LEAST_KEYS = ("study", "trial", "role", "label", "total_steps", "seed", "monitor", "mode")
LEAST: Mapping[str, Any] = {k: FULL[k] for k in LEAST_KEYS} | {
    "outcome": "FAILED",
    "schedule": None,
    "dataset_size": None,
    "batch_size": None,
}


def plain(**changes: Any) -> dict[str, Any]:
    """Return the full record as plain data, with changes; ... takes a key away."""
    data = {**TrialRecord(**FULL).to_dict(), **changes}
    return {k: v for k, v in data.items() if v is not ...}


def test_the_full_record_has_every_field() -> None:
    assert set(FULL) == {f.name for f in fields(TrialRecord)}


@pytest.mark.parametrize("values", [FULL, LEAST])
def test_to_dict_then_json_then_from_dict_is_the_identity(values: Mapping[str, Any]) -> None:
    record = TrialRecord(**values)
    assert TrialRecord.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False))) == record


def test_whole_batches_are_not_written() -> None:
    assert TrialRecord(**FULL).to_dict()["split_batches"] == 4
    for whole in (1, None):
        assert "split_batches" not in TrialRecord(**{**FULL, "split_batches": whole}).to_dict()


def test_writing_then_reading_is_the_identity(tmp_path: Path) -> None:
    records = [TrialRecord(**FULL), TrialRecord(**LEAST)]
    write_jsonl(records, tmp_path / "trials.jsonl")
    assert read_jsonl(tmp_path / "trials.jsonl") == records
    assert len((tmp_path / "trials.jsonl").read_bytes().splitlines()) == 2


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path: Path, make_record: MakeRecord) -> None:
    path = tmp_path / "trials.jsonl"
    write_jsonl([make_record(trial=n) for n in range(3)], path)
    write_jsonl([make_record(trial=5)], path)
    assert [record.trial for record in read_jsonl(path)] == [5]
    assert [p.name for p in tmp_path.iterdir()] == ["trials.jsonl"]


def test_no_records_are_an_empty_file(tmp_path: Path) -> None:
    write_jsonl([], tmp_path / "trials.jsonl")
    assert read_jsonl(tmp_path / "trials.jsonl") == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["rungs", "train_curve", "grad_norms"])
def test_what_is_not_finite_in_a_curve_comes_back_as_nan(bad: float, name: str, tmp_path: Path) -> None:
    write_jsonl([TrialRecord(**{**FULL, name: ((1, 0.5), (2, bad))})], tmp_path / "trials.jsonl")
    first, second = getattr(read_jsonl(tmp_path / "trials.jsonl")[0], name)
    assert first == (1, 0.5)
    assert second[0] == 2
    assert math.isnan(second[1])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_no_value(bad: float, tmp_path: Path) -> None:
    write_jsonl([TrialRecord(**{**FULL, "value": bad, "outcome": "DIVERGED"})], tmp_path / "trials.jsonl")
    assert read_jsonl(tmp_path / "trials.jsonl")[0].value is None


def test_numbers_of_numpy_are_written_as_plain_ones(tmp_path: Path) -> None:
    rungs = ((np.int64(50), np.float32(0.5)),)
    write_jsonl([TrialRecord(**{**FULL, "rungs": rungs, "value": np.float32(0.5)})], tmp_path / "trials.jsonl")
    record = read_jsonl(tmp_path / "trials.jsonl")[0]
    assert (record.rungs, record.value) == (((50, 0.5),), 0.5)


def test_unknown_keys_are_left_alone_and_curves_may_be_absent() -> None:
    record = TrialRecord.from_dict(plain(colour="red", rungs=..., dataset_size=..., batch_size=...))
    assert (record.rungs, record.dataset_size, record.batch_size) == ((), None, None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "record version None, this autowarm reads 1: update autowarm"),
        (plain(record_version=2), "record version 2, this autowarm reads 1: update autowarm"),
        (plain(study=...), "not a trial record: "),
        (plain(schedule={"initial_lr": -1}), "not a trial record: initial_lr must be greater than 0, got -1"),
        (plain(schedule=5), "not a trial record: "),
        (plain(schedule=["initial_lr"]), "not a trial record: "),
        (plain(outcome="DONE"), "not a trial record: unknown outcome 'DONE'"),
        (plain(role="serach"), "not a trial record: unknown role 'serach': did you mean 'search'?"),
        (plain(mode="less"), "not a trial record: unknown mode 'less'"),
        (plain(outcome=["COMPLETE"]), "not a trial record: unknown outcome ['COMPLETE']"),
        (plain(rungs=None), "not a trial record: "),
        (plain(rungs=[[1, 2, 3]]), "not a trial record: "),
        (plain(rungs=[["a", 2]]), "not a trial record: "),
        (plain(rungs=[[math.inf, 2]]), "not a trial record: "),
        (plain(rungs=[[1, 10**400]]), "not a trial record: "),
        (plain(rungs=3), "not a trial record: "),
        (plain(total_steps="many"), "not a trial record: total_steps must be a whole number, got 'many'"),
        (plain(seed=None), "not a trial record: seed must be a whole number, got None"),
        (plain(steps=1.5), "not a trial record: steps must be a whole number, got 1.5"),
        (plain(trial=True), "not a trial record: trial must be a whole number, got True"),
        (plain(dataset_size="big"), "not a trial record: dataset_size must be a whole number, got 'big'"),
        (plain(study=3), "not a trial record: study must be a word, got 3"),
        (plain(reason=3), "not a trial record: reason must be a word, got 3"),
        (plain(value="low"), "not a trial record: value must be a number, got 'low'"),
        (plain(seconds=None), "not a trial record: seconds must be a number, got None"),
        (plain(shared_steps=-1), "not a trial record: shared_steps must be in [0, 2^62], got -1"),
        (plain(shared_steps="few"), "not a trial record: shared_steps must be a whole number, got 'few'"),
        (plain(trunk=3), "not a trial record: trunk must be a word, got 3"),
        (plain(exact=1), "not a trial record: exact must be true or false, got 1"),
        (plain(resumed="partly"), "not a trial record: resumed must be one of exact, fresh data, got 'partly'"),
        (plain(versions=[1]), "not a trial record: versions must be a mapping of words, got [1]"),
    ],
)
def test_data_that_is_no_record_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError) as caught:
        TrialRecord.from_dict(data)
    assert str(caught.value).startswith(message)


def test_a_torn_last_line_is_named(tmp_path: Path, make_record: MakeRecord) -> None:
    path = tmp_path / "trials.jsonl"
    write_jsonl([make_record(trial=0), make_record(trial=1)], path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RecordError, match=r"trials\.jsonl, line 2: invalid JSON: "):
        read_jsonl(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "line 3: not a trial record: expected an object in braces"),
        ("null", "line 3: not a trial record: expected an object in braces"),
        ("{}", "line 3: record version None, this autowarm reads 1"),
        ('{"record_version": 2}', "line 3: record version 2, this autowarm reads 1: update autowarm"),
        ('{"a": 1} {"a": 1}', "line 3: invalid JSON: Extra data"),
        ("[" * 100_000, "line 3: invalid JSON: "),
        ('{"a": ' + "1" * 5000 + "}", "line 3: invalid JSON: "),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    # blank lines count as lines
    path.write_text(json.dumps(plain()) + "\n\n" + line + "\n", encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        read_jsonl(path)
    assert str(caught.value).startswith(f"{path}, {message}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"absent\.jsonl: cannot be read: "):
        read_jsonl(tmp_path / "absent.jsonl")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), JSON, min_size=1, max_size=3))
def test_any_change_gives_a_record_that_can_be_written_or_an_error_of_ours(changes: dict[str, Any]) -> None:
    try:
        record = TrialRecord.from_dict(plain(**changes))
    except AutowarmError:
        return
    # as plain data, where no NaN is left to differ from itself
    again = TrialRecord.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False)))
    assert again.to_dict() == record.to_dict()


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "trials.jsonl"


@given(text=st.text(max_size=40) | st.text('{}[]":,\n 1e.-truefalsn\\u', max_size=40))
def test_any_text_gives_records_or_an_error_of_ours(text: str, text_file: Path) -> None:
    text_file.write_text(text, encoding="utf-8")
    try:
        records = read_jsonl(text_file)
    except AutowarmError:
        return
    assert records == []


@pytest.mark.parametrize(("mode", "expected"), [("min", True), ("max", False)])
def test_better_follows_the_mode_and_is_strict(mode: Mode, *, expected: bool) -> None:
    assert better(1.0, 2.0, mode) is expected
    assert better(2.0, 1.0, mode) is not expected
    assert not better(1.0, 1.0, mode)
    assert not better(math.nan, 1.0, mode)


def test_cost_counts_a_validation_batch_as_a_third_of_a_step() -> None:
    record = TrialRecord(**{**FULL, "trunk": None, "shared_steps": None, "exact": None})
    assert record.cost == pytest.approx(102.0, rel=1e-12)
    assert record.horizon == (100, 1000)


def test_cost_leaves_out_the_steps_that_another_trial_of_the_trunk_has_paid_for() -> None:
    record = TrialRecord(**FULL)
    assert (record.steps, record.shared_steps, record.own_steps) == (100, 40, 60)
    assert record.cost == pytest.approx(62.0, rel=1e-12)
    assert TrialRecord(**{**FULL, "shared_steps": 0}).cost == pytest.approx(102.0, rel=1e-12)


def test_outcomes_and_roles_are_those_of_the_vocabulary() -> None:
    assert OUTCOMES == ("COMPLETE", "DIVERGED", "PRUNED", "FAILED")
    assert ROLES == ("search", "range_test", "baseline", "confirm")


def test_a_record_from_before_the_averaged_weights_loads_and_is_written_as_it_was(make_record: MakeRecord) -> None:
    data = make_record().to_dict()
    assert not {"ema_rungs", "audit_step", "audit_reason", "resumed", "trunk", "shared_steps", "exact"} & set(data)
    record = TrialRecord.from_dict(data)
    assert (record.ema_rungs, record.audit_step, record.audit_reason) == ((), None, None)
    assert record.to_dict() == data


def test_without_the_faster_parser_the_same_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("orjson", reason="the extra `fast` is not installed")
    path = tmp_path / "trials.jsonl"
    # the second has what it refuses: a lone surrogate
    write_jsonl([TrialRecord(**{**FULL, "error": None}), TrialRecord(**FULL), TrialRecord(**LEAST)], path)
    quick = read_jsonl(path)
    monkeypatch.setattr("autowarm.record.orjson", None)
    assert read_jsonl(path) == quick
    assert quick[1].error == FULL["error"]


def test_reading_leaves_the_collector_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{", encoding="utf-8")
    for wanted in (gc.disable, gc.enable):
        wanted()
        with pytest.raises(RecordError):
            read_jsonl(tmp_path / "bad.jsonl")
        assert gc.isenabled() == (wanted is gc.enable)
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled() == (wanted is gc.enable)


def test_what_was_made_meanwhile_is_not_young(monkeypatch: pytest.MonkeyPatch) -> None:
    for frozen_by_others, generation in ((0, 2), (1, 0)):
        monkeypatch.setattr(gc, "get_freeze_count", lambda n=frozen_by_others: n)
        gc.collect()
        with uncollected():
            made: list[list[int]] = [[]]
        gc.disable()
        assert any(found is made for found in gc.get_objects(generation=generation))
        gc.enable()


def read_all(path: Path) -> list[dict[str, Any]] | None:
    """Return what a file holds as plain data, every curve of it asked for; None where that is no records."""
    try:
        records = read_jsonl(path)
        counts = [len(record.rungs) for record in records]
        assert counts == [len(tuple(record.rungs)) for record in records]
        return [record.to_dict() for record in records]
    except RecordError:
        return None


def parsed_at_once(path: Path) -> list[dict[str, Any]] | None:
    """Return the same by parsing all of it."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
        return [TrialRecord.from_dict(json.loads(line)).to_dict() for line in lines if line.strip()]
    except (RecordError, ValueError, RecursionError):
        return None


PIECES = (*("", "]", "[", "[[", "]]", ", ", "0", "1", ".", "-", "e", "null", '"', " ", "\0"), '"rungs": [[1, 2.0]], ')
CURVED = json.dumps(TrialRecord(**{**FULL, "error": None, "train_curve": ((10, 1e-05), (20, -1.25e-7))}).to_dict())


@given(
    place=st.integers(0, len(CURVED) - 1) | st.integers(CURVED.index('"rungs"'), CURVED.index('"steps"')),
    length=st.integers(0, 12),
    other=st.sampled_from(PIECES) | st.text(max_size=3),
)
def test_a_curve_that_waits_is_read_as_any_other(place: int, length: int, other: str, text_file: Path) -> None:
    text = CURVED[:place] + other + CURVED[place + length :]
    text_file.write_bytes(f"{text}\n{CURVED}\n".encode("utf-8", "replace"))
    assert read_all(text_file) == parsed_at_once(text_file)


@pytest.mark.parametrize(
    "curves",
    [
        '"rungs": [[1, 2.0]], "rungs2": [[1, 2.0], [2, 3.0]]',
        '"rungs": [[1, 2.0]], "rungs": [[1, 2.0], [2, 3.0]]',
        '"rungs": [[1, 2.0]], "train_curve": [[1, 2.0]], "train_curve.": [[1, 2.0], [2, 3.0]]',
        '"rungs": [[1, 2.0]], "train_curve.": [[1, 2.0], [2, 3.0]]',
        '"rungs": [[1, 2.0]], "colour": [[1, 2.0]]',
        '"rungs": [[1, 2.0], [2, null]], "grad_norms": []',
        '"within": {"rungs": [[1, 2.0]], "steps": 1}, "rungs": [[3, 4.0]]',
        '"within": {"a": 1, "rungs": [[1, 2.0]]}',
        '"rungs": [[1,2.0],[2,3]]',
    ],
)
def test_names_next_to_curves_and_within_others_are_told_apart(curves: str, text_file: Path) -> None:
    rest = json.dumps(plain(rungs=..., ema_rungs=..., train_curve=..., grad_norms=...))
    text_file.write_text(rest.replace('"steps": ', f'{curves}, "steps": '), encoding="utf-8")
    assert read_all(text_file) is not None
    assert read_all(text_file) == parsed_at_once(text_file)


def two_curves(path: Path) -> list[TrialRecord]:
    write_jsonl([TrialRecord(**{**FULL, "trial": trial, "rungs": ((50, 0.5), (100, trial))}) for trial in (1, 2)], path)
    return read_jsonl(path)


def test_a_number_that_is_none_is_named_with_its_line_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    two_curves(path)
    path.write_bytes(path.read_bytes().replace(b"[100, 2.0]", b"[100, 2..0]"))
    first, second = read_jsonl(path)
    assert (first.rungs, len(second.rungs)) == (((50, 0.5), (100, 1.0)), 2)
    with pytest.raises(RecordError, match=r"trials\.jsonl, line 2: not a trial record: rungs: "):
        tuple(second.rungs)
    # ... and again: nothing half-read is left
    with pytest.raises(RecordError, match="line 2"):
        second.rungs[0]


def test_curves_are_those_of_the_file_that_was_read_when_another_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    records = two_curves(path)
    write_jsonl([], path)
    assert [record.rungs[1] for record in records] == [(100, 1.0), (100, 2.0)]


def test_curves_of_a_file_that_was_written_into_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    records = two_curves(path)
    with path.open("r+b") as file:
        file.truncate(10)
    with pytest.raises(RecordError, match=r"line 1: cannot be read: it has changed while it was read"):
        tuple(records[0].rungs)


def test_curves_that_wait_are_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    for told in (pickle.dumps, copy.deepcopy, hash, repr, list, to_plain):
        waits = two_curves(path)[0].rungs
        known: tuple[tuple[int, float], ...] = ((50, 0.5), (100, 1.0))
        assert isinstance(waits, UnparsedPoints)
        if told is pickle.dumps:
            assert pickle.loads(pickle.dumps(waits)) == known  # noqa: S301 - our own
        else:
            assert told(waits) == told(known)


def to_plain(curve: Curve) -> dict[str, Any]:
    return TrialRecord(**{**FULL, "rungs": curve}).to_dict()


def test_the_file_is_closed_when_the_records_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    open_before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else None
    if open_before is None:
        pytest.skip("this system does not list the open files of a process")
    records = two_curves(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before + 1
    del records
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
