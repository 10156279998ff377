"""A trial that is interrupted goes on from its checkpoint and ends, bit for bit, as if it had not been."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_jobs as jobs
import sample_kept as kept
import sample_pl_jobs as pl_jobs
import torch
from kept_marks import MARKS
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Subset

from autowarm import Schedule, Training, keeping
from autowarm.checkpoint import identity_of, read_checkpoint, write_checkpoint
from autowarm.executors.events import Done, Rung
from autowarm.executors.local import LocalExecutor
from autowarm.pruning import rungs_of
from autowarm.snapshot import can_be_captured
from autowarm.specs import JobSpec, Link, TrainingSpec, TrialResult
from autowarm.trial import run_trial

SCHEDULE = Schedule(initial_lr=0.05, warmup_ratio=0.1, decay="cosine")
pytestmark = MARKS


class Killed(BaseException):
    """Ends a trial in this process as abruptly as a process can be ended."""


class Owner(Link):
    """Keeps what it is told; stops or kills the training at one of its steps."""

    def __init__(self, *, stop_at: int | None = None, kill_at: int | None = None, prune_at: int | None = None) -> None:
        self.told: list[tuple[int, float, float | None]] = []
        self.stop_at = stop_at
        self.kill_at = kill_at
        self.prune_at = prune_at
        self.asked = 0

    def rung(self, step: int, value: float, ema: float | None = None) -> str | None:
        self.told.append((step, value, ema))
        return "far behind" if step == self.prune_at else None

    def stopped(self) -> bool:
        self.asked += 1
        if self.asked == self.kill_at:
            raise Killed
        return self.asked == self.stop_at


def spec_of(factory: kept.Factory, ends: list[Any], *, total_steps: int = 40, **fields: Any) -> TrainingSpec:
    given: dict[str, Any] = {"schedule": SCHEDULE, "rungs": rungs_of(total_steps), "monitor": "val_loss", **fields}
    return TrainingSpec(job=JobSpec(factory=lambda: factory(ends)), total_steps=total_steps, **given)


def bare(result: TrialResult) -> TrialResult:
    """Leave out what an interrupted training may tell otherwise."""
    return replace(result, seconds=0.0, resumed=None)


def check_interrupted(
    factory: kept.Factory, checkpoint: Path, steps: tuple[int, ...], *, kill: bool = False, **fields: Any
) -> None:
    """Train whole, and interrupted once at each of some steps; compare everything."""
    ends: list[torch.Tensor] = []
    spec = spec_of(factory, ends, **fields)
    owner = Owner()
    whole = run_trial(spec, owner)
    assert whole.outcome == "COMPLETE", whole
    end = ends.pop()
    keeps = replace(spec, checkpoint=checkpoint, checkpoint_seconds=0.0 if kill else 1e9)
    for step in steps:
        if kill:
            with pytest.raises(Killed):
                run_trial(keeps, Owner(kill_at=step))
        else:
            assert run_trial(keeps, Owner(stop_at=step)).outcome is None
        assert checkpoint.exists()
        ends.clear()
        again = Owner()
        result = run_trial(keeps, again)
        assert (result.resumed, result.notices) == ("exact", ()), (step, result)
        assert bare(result) == bare(whole), step
        assert again.told == owner.told, step
        assert torch.equal(ends.pop(), end), step
        assert list(checkpoint.parent.iterdir()) == [], "a training with a result keeps nothing"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "trial.ckpt"


# 16 ends the second epoch of 8 batches; the warmup takes 4 steps; a rung is at every even step
@pytest.mark.parametrize("name", ["AdamW", "momentum", "accumulation", "one batch an epoch", "generator", "reloaded"])
def test_a_stopped_training_ends_as_if_undisturbed(name: str, checkpoint: Path) -> None:
    check_interrupted(kept.EXACT[name], checkpoint, (16, 21))


@pytest.mark.slow
@pytest.mark.parametrize("name", kept.EXACT)
def test_a_training_stopped_anywhere_ends_as_if_undisturbed(name: str, checkpoint: Path) -> None:
    check_interrupted(kept.EXACT[name], checkpoint, tuple(range(1, 40)))


def test_a_killed_training_goes_on_from_its_last_checkpoint(checkpoint: Path) -> None:
    check_interrupted(kept.EXACT["numpy"], checkpoint, (10, 17), kill=True)


@pytest.mark.parametrize("name", ["plain", "that draw"])
def test_a_training_with_data_workers_ends_as_if_undisturbed(name: str, checkpoint: Path) -> None:
    check_interrupted(kept.WORKERS[name], checkpoint, (11,), total_steps=20)


@pytest.mark.slow
@pytest.mark.parametrize("name", kept.WORKERS)
def test_a_training_with_data_workers_stopped_anywhere_ends_as_if_undisturbed(name: str, checkpoint: Path) -> None:
    check_interrupted(kept.WORKERS[name], checkpoint, (1, 7, 8, 9, 16, 19), total_steps=20)


def test_the_average_of_the_weights_goes_on(checkpoint: Path) -> None:
    check_interrupted(kept.EXACT["AdamW"], checkpoint, (7, 33, 45, 70), total_steps=80, ema_rungs=(32, 40, 60))


@pytest.mark.parametrize("monitor", ["mean", "metric"])
def test_means_over_the_epoch_of_training_go_on(monitor: str, checkpoint: Path) -> None:
    # each rung tells the mean of the epoch before
    check_interrupted(kept.epochs, checkpoint, (3, 8, 11, 15), total_steps=24, monitor=monitor, rungs=(9, 17, 24))


@pytest.mark.parametrize("scheduler", ["onecycle", "epoch", "plateau"])
def test_the_jobs_own_scheduler_goes_on(scheduler: str, checkpoint: Path) -> None:
    class Own(kept.Network):
        def configure_optimizers(self) -> Any:
            if self.scheduler != "plateau":
                return jobs.Regression.configure_optimizers(self)
            optimizer = torch.optim.SGD(self.parameters(), lr=0.02)
            # never content: it lowers the learning rate in every epoch
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.99)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}

    def factory(ends: list[Any]) -> Training:
        module = Own(ends)
        module.scheduler = scheduler
        return replace(kept.EXACT["AdamW"](ends), module=module)

    check_interrupted(factory, checkpoint, (7, 8, 21), schedule=None)


def test_several_loaders_go_on_each_at_its_place(checkpoint: Path) -> None:
    class Two(kept.Network):
        def train_dataloader(self) -> Any:
            # the second one begins anew three times in an epoch of the first
            short = Subset(jobs.dataset(), range(20))
            return {"long": jobs.loader(), "short": DataLoader(short, batch_size=8, shuffle=True)}

        def val_dataloader(self) -> Any:
            return jobs.loader(shuffle=False)

        def training_step(self, batch: Any) -> torch.Tensor:
            return super().training_step(batch["long"]) + super().training_step(batch["short"])

    def factory(ends: list[Any]) -> Training:
        module = Two(ends)
        return Training(module=module, data=module, trainer={"accelerator": "cpu"})

    check_interrupted(factory, checkpoint, (2, 5, 8, 13))


def test_the_thinned_curve_goes_on_in_the_middle_of_a_mean(checkpoint: Path) -> None:
    check_interrupted(kept.EXACT["AdamW"], checkpoint, (4, 101), total_steps=250, rungs=(125, 250))


class Shrinking(jobs.RegressionData):
    """Has 8 batches in the first epoch and 2 in the others."""

    def train_dataloader(self) -> Any:
        whole = super().train_dataloader()
        assert self.trainer is not None
        first = self.trainer.current_epoch == 0
        return whole if first else DataLoader(Subset(whole.dataset, range(16)), batch_size=8, shuffle=True)


def test_more_epochs_than_were_foreseen_go_on(checkpoint: Path) -> None:
    def factory(ends: list[Any]) -> Training:
        trainer = {"accelerator": "cpu", "reload_dataloaders_every_n_epochs": 1}
        return Training(module=kept.Network(ends), data=Shrinking(), trainer=trainer)

    check_interrupted(factory, checkpoint, (21, 22, 30))


def test_a_training_of_the_other_package_goes_on(checkpoint: Path) -> None:
    spec = spec_of(lambda _: pl_jobs.build(), [], schedule=None)
    whole = run_trial(spec)
    assert whole.outcome == "COMPLETE", whole
    keeps = replace(spec, checkpoint=checkpoint)
    for step in (8, 13):
        run_trial(keeps, Owner(stop_at=step))
        result = run_trial(keeps)
        assert (bare(result), result.resumed) == (bare(whole), "exact")


class DrawsWhenSaved(kept.Network):
    """Draws random numbers in a hook that checkpoints call."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = torch.randn(1)


def test_writing_checkpoints_leaves_the_training_as_it_is(checkpoint: Path) -> None:
    ends: list[torch.Tensor] = []
    spec = spec_of(lambda ends: replace(kept.EXACT["numpy"](ends), module=DrawsWhenSaved(ends)), ends)
    whole = run_trial(spec)
    kept_result = run_trial(replace(spec, checkpoint=checkpoint, checkpoint_seconds=0.0))
    assert bare(kept_result) == bare(whole)
    assert kept_result.resumed is None
    assert torch.equal(*ends)


def test_a_training_that_is_interrupted_again_and_again_ends_as_if_undisturbed(checkpoint: Path) -> None:
    ends: list[torch.Tensor] = []
    spec = spec_of(kept.EXACT["accumulation"], ends)
    whole = run_trial(spec)
    keeps = replace(spec, checkpoint=checkpoint)
    parts = 0
    while (result := run_trial(keeps, Owner(stop_at=5))).outcome is None:
        parts += 1
    assert parts == 7, "five steps each, and the last five end it"
    assert bare(result) == bare(whole)
    assert torch.equal(*ends)


def test_the_seconds_of_all_parts_add_up(checkpoint: Path) -> None:
    keeps = replace(spec_of(kept.EXACT["AdamW"], []), checkpoint=checkpoint)
    first = run_trial(keeps, Owner(stop_at=20))
    saved = read_checkpoint(checkpoint, identity_of(keeps))
    assert 0 < saved["seconds"] <= first.seconds
    write_checkpoint(checkpoint, {**saved, "seconds": 1000.0}, identity_of(keeps))
    run_trial(keeps, Owner(stop_at=10))
    assert 2000.0 > run_trial(keeps).seconds > 1000.0


def test_a_verdict_on_a_rung_of_the_past_is_not_obeyed_and_the_next_one_is(checkpoint: Path) -> None:
    keeps = replace(spec_of(kept.EXACT["AdamW"], []), checkpoint=checkpoint)
    run_trial(keeps, Owner(stop_at=21))
    result = run_trial(keeps, Owner(prune_at=10))
    assert result.outcome == "COMPLETE"
    run_trial(keeps, Owner(stop_at=21))
    result = run_trial(keeps, Owner(prune_at=22))
    assert (result.outcome, result.steps, result.resumed) == ("PRUNED", 22, "exact")
    assert not checkpoint.exists()


def test_a_training_told_to_stop_at_its_last_step_is_complete(checkpoint: Path) -> None:
    keeps = replace(spec_of(kept.EXACT["AdamW"], []), checkpoint=checkpoint)
    assert run_trial(keeps, Owner(stop_at=40)).outcome == "COMPLETE"


@pytest.mark.parametrize("factory", [kept.stream, kept.own_sampler, kept.persistent_that_draw])
def test_data_that_cannot_be_put_back_is_said_to_be_fresh(factory: kept.Factory, checkpoint: Path) -> None:
    keeps = replace(spec_of(factory, []), checkpoint=checkpoint)
    first = run_trial(keeps, Owner(stop_at=11))
    assert first.outcome is None
    result = run_trial(keeps)
    assert (result.outcome, result.steps, result.resumed) == ("COMPLETE", 40, "fresh data"), result
    assert result.rungs[:5] == first.rungs[:5]
    assert [step for step, _ in result.train_curve] == list(range(1, 41))


def test_what_was_once_fresh_stays_so(checkpoint: Path) -> None:
    keeps = replace(spec_of(kept.EXACT["AdamW"], []), checkpoint=checkpoint)
    run_trial(keeps, Owner(stop_at=11))
    saved = read_checkpoint(checkpoint, identity_of(keeps))
    assert saved["resumed"] is None
    write_checkpoint(checkpoint, {**saved, "resumed": "fresh data"}, identity_of(keeps))
    assert run_trial(keeps, Owner(stop_at=2)).resumed == "fresh data"
    assert run_trial(keeps).resumed == "fresh data"


def test_a_training_lets_go_of_what_it_has_gone_on_from(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def read(*args: Any) -> dict[str, Any]:
        data = read_checkpoint(*args)
        held.extend(weakref.ref(x) for x in data["fit"]["lightning"]["state_dict"].values())
        return data

    class Looks(Owner):
        alive: int | None = None

        def stopped(self) -> bool:
            self.alive = sum(weight() is not None for weight in held)
            return super().stopped()

    keeps = replace(spec_of(kept.EXACT["AdamW"], []), checkpoint=checkpoint)
    run_trial(keeps, Owner(stop_at=20))
    monkeypatch.setattr(keeping, "read_checkpoint", read)
    looks = Looks()
    assert run_trial(keeps, looks).resumed == "exact"
    assert len(held) > 5
    assert looks.alive == 0


def test_a_config_that_is_not_there_is_the_jobs_error(checkpoint: Path) -> None:
    job = JobSpec(config=checkpoint.parent / "missing.yaml")
    result = run_trial(replace(spec_of(kept.EXACT["AdamW"], []), job=job, checkpoint=checkpoint))
    assert result.outcome == "FAILED"
    assert "missing.yaml" in (result.reason or "")


def check_anew(spec: TrainingSpec, words: str, ends: list[torch.Tensor]) -> None:
    assert spec.checkpoint is not None
    whole = run_trial(replace(spec, checkpoint=None))
    result = run_trial(spec)
    assert bare(replace(result, notices=())) == bare(whole)
    assert result.resumed is None
    (notice,) = result.notices
    assert words in notice
    assert str(spec.checkpoint) in notice
    assert torch.equal(*ends[-2:])
    assert not spec.checkpoint.exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-100], "damaged"),
        (lambda _: b"something else", "no checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_not_used(damage: Callable[[bytes], bytes], words: str, checkpoint: Path) -> None:
    ends: list[torch.Tensor] = []
    keeps = replace(spec_of(kept.EXACT["AdamW"], ends), checkpoint=checkpoint)
    run_trial(keeps, Owner(stop_at=11))
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    check_anew(keeps, words, ends)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "another seed"),
        ({"total_steps": 42, "rungs": rungs_of(42)}, "another total_steps, rungs"),
    ],
)
def test_the_checkpoint_of_another_training_is_not_used(change: dict[str, Any], words: str, checkpoint: Path) -> None:
    ends: list[torch.Tensor] = []
    keeps = replace(spec_of(kept.EXACT["AdamW"], ends), checkpoint=checkpoint)
    run_trial(keeps, Owner(stop_at=11))
    check_anew(replace(keeps, **change), words, ends)


def test_a_job_that_was_edited_starts_anew(checkpoint: Path) -> None:
    ends: list[torch.Tensor] = []
    width = 8

    def factory(ends: list[Any]) -> Training:
        module = kept.Network(ends)
        module.network[0], module.network[1] = torch.nn.Linear(4, width), torch.nn.BatchNorm1d(width)
        module.network[3] = torch.nn.Linear(width, 1)
        return replace(kept.EXACT["AdamW"](ends), module=module)

    keeps = replace(spec_of(factory, ends), checkpoint=checkpoint)
    run_trial(keeps, Owner(stop_at=11))
    width = 9
    check_anew(keeps, "loading state_dict", ends)


def test_a_full_disk_fails_no_trial_and_is_told(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spec = spec_of(kept.EXACT["AdamW"], [])
    whole = run_trial(spec)
    monkeypatch.setattr(os, "fsync", fsync)
    result = run_trial(replace(spec, checkpoint=checkpoint, checkpoint_seconds=0.0))
    assert bare(replace(result, notices=())) == bare(whole)
    assert result.notices == ("a checkpoint was not written: [Errno 28] No space left on device",)
    assert list(checkpoint.parent.iterdir()) == []


def test_a_job_whose_state_is_no_plain_data_keeps_nothing_and_is_told(checkpoint: Path) -> None:
    class Unplain(kept.Network):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = {"clock": object()}

    def factory(ends: list[Any]) -> Training:
        return replace(kept.EXACT["AdamW"](ends), module=Unplain(ends))

    result = run_trial(replace(spec_of(factory, []), checkpoint=checkpoint, checkpoint_seconds=0.0))
    assert result.outcome == "COMPLETE"
    (notice,) = result.notices
    assert "['mine']['clock'] is a builtins.object" in notice
    assert not checkpoint.exists()


def test_a_strategy_that_spreads_its_state_keeps_nothing_and_is_told(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[torch.Tensor] = []
    keeps = replace(spec_of(kept.EXACT["AdamW"], ends), checkpoint=checkpoint, checkpoint_seconds=0.0)
    run_trial(keeps, Owner(stop_at=11))
    monkeypatch.setattr(keeping, "can_be_captured", lambda _: False)
    result = run_trial(keeps)
    assert (result.outcome, result.resumed) == ("COMPLETE", None)
    anew, keeps_none = result.notices
    assert "began anew: a SingleDeviceStrategy may not have all of its state in this process" in anew
    assert keeps_none.startswith("the training keeps no checkpoint")
    assert not checkpoint.exists()


def test_a_training_of_several_processes_cannot_be_captured() -> None:
    several = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    one = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    assert (can_be_captured(several), can_be_captured(one)) == (False, True)


def test_a_training_of_several_processes_starts_without_its_checkpoint(checkpoint: Path) -> None:
    keeps = replace(spec_of(kept.EXACT["AdamW"], []), checkpoint=checkpoint, checkpoint_seconds=0.0, processes=2)
    # this is one process, and says so; what counts is that it has not asked for the file
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"not read")
    result = run_trial(keeps)
    assert result.notices == (keeping.OF_SEVERAL_PROCESSES,)
    assert checkpoint.read_bytes() == b"not read"


def ended(executor: LocalExecutor, spec: TrainingSpec) -> Done:
    key = executor.start("trial", spec)
    while True:
        for event in executor.events(1.0):
            if isinstance(event, Rung):
                executor.answer(event.key, None)
            elif isinstance(event, Done) and event.key == key:
                return event


@pytest.mark.slow
def test_a_process_that_was_killed_is_gone_on_from_by_another(checkpoint: Path, tmp_path: Path) -> None:
    spec = TrainingSpec(
        job=JobSpec(factory="sample_kept:killed_once", args={"folder": str(tmp_path)}),
        monitor="val_loss",
        total_steps=40,
        schedule=SCHEDULE,
        rungs=rungs_of(40),
    )
    keeps = replace(spec, checkpoint=checkpoint, checkpoint_seconds=0.0)
    with LocalExecutor([spec.job]) as executor:
        killed = ended(executor, keeps)
        assert killed.result is None
        assert "SIGKILL" in (killed.error or "")
        resumed = ended(executor, keeps).result
        whole = ended(executor, spec).result
    assert isinstance(resumed, TrialResult)
    assert isinstance(whole, TrialResult)
    assert resumed.resumed == "exact"
    assert whole.outcome == "COMPLETE", whole
    assert bare(resumed) == bare(whole)
    assert not checkpoint.exists()
