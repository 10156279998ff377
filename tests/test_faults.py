"""Full and read-only disks, files that go away, clocks that jump, kills: said in a sentence, and nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import scripted
from scripted import Scripted
from searches import Notices, of, run, settings

from autowarm import tuning
from autowarm.errors import StudyError
from autowarm.executors.events import Event
from autowarm.record import TrialRecord, read_jsonl
from autowarm.specs import TrainingSpec
from autowarm.standing import status_data, status_text
from autowarm.study import lease
from autowarm.study.database import read_records
from autowarm.study.lease import Watch
from autowarm.study.status import read_status


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of its own, of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk of its own takes the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a disk; return the file that takes it."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for piece in (bytes(1 << 16), bytes(1 << 9)):
            with suppress(OSError):
                while True:
                    file.write(piece)
    return path


def at(training: int, happens: Callable[[], object]) -> Callable[[int, TrainingSpec], list[Event]]:
    """Return a script in which something happens while a training runs."""

    def script(key: int, spec: TrainingSpec) -> list[Event]:
        if key == training:
            happens()
        return scripted.well(key, spec)

    return script


def test_a_full_disk_is_said_and_what_had_finished_is_there_when_there_is_room(small_disk: Path) -> None:
    with pytest.raises(StudyError, match=r"failed: (database or disk is full|disk I/O error)"):
        run(small_disk, Scripted(at(5, lambda: fill(small_disk))), settings())
    (small_disk / "filler").unlink()
    kept = read_records(small_disk)
    assert len(kept) == 4
    executor = Scripted()
    records = run(small_disk, executor, settings())
    assert len(of(records, "search")) == 8
    assert len(executor.specs) == len(records) - 4, "what had finished is not trained again"
    assert [r for r in records if r.trial in {k.trial for k in kept} and r.role == "search"] == kept


def test_a_folder_on_a_read_only_disk_is_an_error_that_names_it(small_disk: Path) -> None:
    executor = Scripted()
    run(small_disk, executor, settings(n_trials=2))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    words = f"^the folder {small_disk} cannot be written: Read-only file system: choose another --out$"
    with pytest.raises(StudyError, match=words):
        tuning.run_study(settings(), small_disk)
    assert len(of(read_records(small_disk), "search")) == 2, "it can be read"


@contextmanager
def given(executor: Scripted) -> Iterator[Scripted]:
    yield executor


def removed(database: Path) -> None:
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()


def replaced(database: Path) -> None:
    removed(database)
    database.touch()


@pytest.mark.parametrize("goes", [removed, replaced])
def test_a_database_that_goes_away_ends_the_study_with_what_had_finished(
    goes: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connections would write on into a file that has no name any more, and all would be lost in the end."""
    executor = Scripted(at(5, lambda: goes(tmp_path / "study.db")))
    monkeypatch.setattr(tuning, "executor_for", lambda _: given(executor))
    with pytest.raises(StudyError, match=r"study\.db was removed or replaced while the study ran: put it back"):
        tuning.run_study(settings(), tmp_path)
    assert len(executor.specs) == 5, "nothing is begun without it"
    assert len(read_jsonl(tmp_path / "trials.jsonl")) == 5
    (tmp_path / "study.db").unlink(missing_ok=True)
    notices = Notices()
    monkeypatch.setattr(tuning, "executor_for", lambda _: given(Scripted()))
    result = tuning.run_study(settings(), tmp_path, display=notices)
    assert len(of(list(result.records), "search")) == 8
    assert any("kept in trials.earlier-1.jsonl" in told for told in notices.told)
    assert len(read_jsonl(tmp_path / "trials.earlier-1.jsonl")) == 5


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_jumps_takes_nobody_for_dead_and_breaks_no_status(
    days: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=days)

    def jump() -> None:
        monkeypatch.setattr(lease, "datetime", Jumped)
        watch = Watch()
        far = {"owner": "abc", "name": "far:1", "pid": 1, "began": 5, "place": "another machine"}
        for beat in range(3):
            jumped = datetime.now(UTC) + (beat % 2) * timedelta(days=days)
            assert not watch.dead(1, {**far, "beat": beat, "at": jumped.isoformat()})
        statuses = read_status(tmp_path)
        now = time.time() + days * 86400
        seen.append(status_text(statuses, now=now) + json.dumps(status_data(statuses, now=now)))

    records = run(tmp_path, Scripted(at(5, jump)), settings())
    assert len(of(records, "search")) == 8
    assert "4 runs done" in seen[0]
    assert all(r.seconds >= 0 for r in records)


STUDY = """
name: long
job: sample_kept:long
total_steps: 120
n_trials: 2
n_jobs: 1
seed: 0
confirm_seeds: 0
pruning: off
checkpoint_every: 1
space: {initial_lr: {low: 1e-3, high: 0.1}, decay: [constant, linear]}
"""


def started(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    (folder / "long.yaml").write_text(STUDY)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "autowarm", "tune", "long.yaml", "--out", str(out)]
    with said(out).open("w") as errors:
        return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=errors)


def said(out: Path) -> Path:
    """Return the file that takes what is said of a study in a folder, by the run that began last."""
    return out.with_suffix(".errors")


def ends_well(process: subprocess.Popen[bytes], out: Path) -> str:
    assert process.wait(timeout=120) == 0, said(out).read_text()
    return said(out).read_text()


def wait_for(found: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not found():
        assert time.monotonic() < deadline
        assert process.poll() is None, "it has ended"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Return the processes below one."""
    parents: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents.setdefault(int(file.read_text().rpartition(")")[2].split()[1]), []).append(int(file.parent.name))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def bare(records: list[TrialRecord]) -> list[Any]:
    # what was interrupted has another number
    return sorted((r.role, r.label, r.value, r.rungs, r.train_curve, r.steps) for r in records)


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_a_killed_tune_goes_on_from_the_checkpoint_of_its_trial(tmp_path: Path, damaged: bool) -> None:
    out = tmp_path / "out"
    process = started(tmp_path, out)
    wait_for(lambda: list((out / "checkpoints").glob("*.ckpt")), process)
    below = children(process.pid)
    assert len(below) >= 2, "a forkserver and a training"
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(map(lives, below)):
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.02)
    (kept,) = (out / "checkpoints").glob("*.ckpt")
    if damaged:
        kept.write_bytes(kept.read_bytes()[:-100])
    errors = ends_well(started(tmp_path, out), out)
    assert ("was not used, and the training began anew" in errors) == damaged
    records = read_records(out)
    assert [r.resumed for r in records if r.resumed] == ([] if damaged else ["exact"])
    assert not (out / "checkpoints").exists(), "nothing is left of them"
    alone = tmp_path / "alone"
    ends_well(started(tmp_path, alone), alone)
    assert bare(read_records(alone)) == bare(records), "as if nothing had happened"


@pytest.mark.slow
def test_a_tune_whose_disk_is_full_waits_for_room(small_disk: Path, tmp_path: Path) -> None:
    process = started(tmp_path, small_disk)
    wait_for(lambda: list((small_disk / "checkpoints").glob("*.ckpt")), process)
    filler = fill(small_disk)
    words = "the database is away (database or disk is full): waiting for it"
    wait_for(lambda: words in said(small_disk).read_text(), process)
    filler.unlink()
    ends_well(process, small_disk)
    assert len(of(read_records(small_disk), "search")) == 2
    assert len(read_jsonl(small_disk / "trials.jsonl")) == len(read_records(small_disk))
