"""The file of a training: whole or not at all, plain data alone, and of one training."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from autowarm import Schedule
from autowarm.checkpoint import identity_of, read_checkpoint, remove_checkpoint, write_checkpoint
from autowarm.errors import CheckpointError
from autowarm.specs import JobSpec, TrainingSpec

IDENTITY = {"seed": 0}
SPEC = TrainingSpec(
    job=JobSpec(factory="sample_jobs:build", args={"lr": 0.1, "hidden": [1, 2]}),
    monitor="val_loss",
    total_steps=40,
    schedule=Schedule(initial_lr=0.1),
    rungs=(20, 40),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "trial.ckpt"


def test_writing_then_reading_is_the_identity(path: Path) -> None:
    data = {"tensor": torch.arange(5.0), "list": [1, (2.5, None)], "nan": float("nan")}
    write_checkpoint(path, data, IDENTITY)
    found = read_checkpoint(path, IDENTITY)
    assert torch.equal(found["tensor"], data["tensor"])  # type: ignore[arg-type]
    assert found["list"] == data["list"]
    assert found["nan"] != found["nan"]
    assert [file.name for file in path.parent.iterdir()] == ["trial.ckpt"]


def test_every_cut_and_every_flipped_bit_is_noticed(path: Path) -> None:
    write_checkpoint(path, {"tensor": torch.zeros(3)}, IDENTITY)
    whole = path.read_bytes()
    cuts = [whole[:end] for end in range(0, len(whole), 97)]
    flips = [whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :] for i in range(0, len(whole), 97)]
    for damaged in [*cuts, *flips, whole + b"x"]:
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            read_checkpoint(path, IDENTITY)


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(path, {"n": 1}, IDENTITY)

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, {"n": 2}, IDENTITY)
    assert read_checkpoint(path, IDENTITY) == {"n": 1}
    assert [file.name for file in path.parent.iterdir()] == ["trial.ckpt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_disk_that_is_full_in_the_middle_of_a_write_is_an_error_of_the_system(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("trial.ckpt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, {"tensor": torch.zeros(10**6)}, IDENTITY)
    assert not path.exists()


def test_a_file_that_holds_objects_is_refused_and_runs_nothing(path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(path.parent / "ran"),)

    write_checkpoint(path, {"bad": Runs()}, IDENTITY)
    with pytest.raises(CheckpointError, match="something else than plain data"):
        read_checkpoint(path, IDENTITY)
    assert not (path.parent / "ran").exists()


def test_a_missing_file_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_checkpoint(path, IDENTITY)
    remove_checkpoint(path)


def test_removing_takes_what_an_interrupted_write_has_left(path: Path) -> None:
    write_checkpoint(path, {}, IDENTITY)
    path.with_name("trial.ckpt.part").write_bytes(b"half")
    remove_checkpoint(path)
    assert list(path.parent.iterdir()) == []


def test_the_checkpoint_of_another_training_says_what_is_other(path: Path) -> None:
    write_checkpoint(path, {}, identity_of(SPEC))
    other = replace(SPEC, seed=1, schedule=Schedule(initial_lr=0.2))
    with pytest.raises(CheckpointError, match="of another training, with another schedule, seed"):
        read_checkpoint(path, identity_of(other))
    read_checkpoint(path, identity_of(replace(SPEC, checkpoint=path, checkpoint_seconds=3.0)))


def f(**_: Any) -> None:
    """A factory."""


def g(**_: Any) -> None:
    """Another factory."""


@pytest.mark.parametrize(
    "job",
    [
        JobSpec(factory="sample_jobs:build", args={"lr": 0.2, "hidden": [1, 2]}),
        JobSpec(factory="sample_jobs:slow", args={"lr": 0.1, "hidden": [1, 2]}),
        JobSpec(factory=f, args={"lr": 0.1, "hidden": [1, 2]}),
    ],
)
def test_another_job_is_another_training(job: JobSpec) -> None:
    assert identity_of(replace(SPEC, job=job)) != identity_of(SPEC)


def test_jobs_are_told_apart_inside_of_a_partial() -> None:
    def of(factory: Any) -> Any:
        return identity_of(replace(SPEC, job=JobSpec(factory=factory)))

    assert of(partial(f, a=1)) == of(partial(f, a=1))
    assert of(partial(f, a=1)) != of(partial(f, a=2))
    assert of(partial(f, a=1)) != of(partial(g, a=1))


def test_an_edited_file_is_another_job(tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    spec = replace(SPEC, job=JobSpec(config=config))
    config.write_text("model: 1")
    before = identity_of(spec)
    assert identity_of(spec) == before
    config.write_text("model: 2")
    assert identity_of(spec) != before


def test_an_object_among_the_arguments_is_the_same_in_every_process() -> None:
    spec = replace(SPEC, job=JobSpec(factory=f, args={"clock": object(), "path": Path("a")}))
    assert identity_of(spec)["arguments"] == {"clock": "builtins.object", "path": "a"}
