from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import sample_jobs as jobs
import sample_pl_jobs as pl_jobs
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.utils.data import DataLoader, Subset

from autowarm import Schedule, Training, TunedSchedule
from autowarm.pruning import rungs_of
from autowarm.specs import JobSpec, Link, TrainingSpec, TrialResult
from autowarm.trial import fit, prepare, run_trial
from autowarm.watcher import Watcher

SCHEDULE = Schedule(initial_lr=0.1, warmup_ratio=0.1, decay="linear")


def spec_of(factory: Callable[..., Training], *, total_steps: int = 40, **fields: Any) -> TrainingSpec:
    args = fields.pop("args", {})
    given: dict[str, Any] = {"schedule": SCHEDULE, "rungs": rungs_of(total_steps), **fields}
    return TrainingSpec(job=JobSpec(factory=factory, args=args), monitor="val_loss", total_steps=total_steps, **given)


class Scripted(Link):
    """Keeps what it is told; prunes or stops at a step."""

    def __init__(self, prune_at: int | None = None, stop_at: int | None = None) -> None:
        self.told: list[tuple[int, float]] = []
        self.emas: list[tuple[int, float | None]] = []
        self.prune_at = prune_at
        self.stop_at = stop_at
        self.stops = 0

    def rung(self, step: int, value: float, ema: float | None = None) -> str | None:
        self.emas.append((step, ema))
        self.told.append((step, value))
        return "far behind" if step == self.prune_at else None

    def stopped(self) -> bool:
        self.stops += 1
        return self.stops == self.stop_at


def test_a_trial_trains_to_its_end_and_reports_every_rung() -> None:
    link = Scripted()
    result = run_trial(spec_of(jobs.build), link)
    assert result.outcome == "COMPLETE", result
    assert [step for step, _ in result.rungs] == list(rungs_of(40))
    assert link.told == list(result.rungs)
    assert result.value == result.rungs[-1][1] < result.rungs[0][1]
    assert (result.steps, result.val_batches) == (40, 20 * 8)
    assert [step for step, _ in result.train_curve] == list(range(1, 41))
    assert [step for step, _ in result.grad_norms] == list(range(1, 41))
    assert all(norm > 0 for _, norm in result.grad_norms)
    assert result.seconds > 0


def test_a_seed_repeats_exactly_and_another_does_not() -> None:
    def of(seed: int) -> TrialResult:
        return replace(run_trial(spec_of(jobs.build, seed=seed, args={"dropout": 0.2})), seconds=0.0)

    assert of(1) == of(1)
    assert of(1).rungs != of(2).rungs


def test_the_curve_of_a_long_run_is_thinned_to_means() -> None:
    result = run_trial(spec_of(jobs.build, total_steps=250))
    steps = [step for step, _ in result.train_curve]
    assert len(steps) == 100
    assert steps[-1] == 250


class Weights(Callback):
    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.validations = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.weights.append(torch.cat([p.detach().flatten().clone() for p in pl_module.parameters()]))

    def on_validation_start(self, *_: Any) -> None:
        self.validations += 1


def test_validating_at_rungs_leaves_the_training_bit_for_bit_as_it_is() -> None:
    """The module draws random numbers in training (dropout), in validation, and for the order of the data."""

    def weights(rungs: tuple[int, ...]) -> tuple[torch.Tensor, int]:
        spec = spec_of(jobs.build, rungs=rungs, args={"dropout": 0.2})
        seen = Weights()
        fit(prepare(spec), spec, [Watcher(spec, Link()), seen])
        return torch.stack(seen.weights), seen.validations

    never, none = weights(())
    often, many = weights(rungs_of(40))
    assert (none, many) == (0, 20)
    assert torch.equal(never, often)


def test_steps_and_losses_are_those_of_the_optimizer_under_accumulation() -> None:
    plain = run_trial(spec_of(jobs.build, schedule=Schedule(initial_lr=1e-12)))
    args = {"trainer": {"accumulate_grad_batches": 3}}
    accumulated = run_trial(spec_of(jobs.build, schedule=Schedule(initial_lr=1e-12), args=args))
    assert accumulated.outcome == "COMPLETE", accumulated
    assert [step for step, _ in accumulated.rungs] == list(rungs_of(40))
    # 8 batches an epoch in steps of 3, 3 and 2: the same mean loss over an epoch, whichever way it is cut
    first = sum(loss * n for (_, loss), n in zip(accumulated.train_curve[:3], (3, 3, 2), strict=True)) / 8
    assert first == pytest.approx(sum(loss for _, loss in plain.train_curve[:8]) / 8, rel=1e-5)


def test_a_baseline_follows_the_jobs_own_scheduler() -> None:
    result = run_trial(spec_of(jobs.build, schedule=None, args={"scheduler": "onecycle"}))
    assert result.outcome == "COMPLETE", result


class Plateau(jobs.Regression):
    """Its scheduler waits for the validation at the end of each epoch, of 8 steps."""

    def __init__(self, **when: Any) -> None:
        super().__init__()
        self.when = when

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.02)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0.7)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss", **self.when}}


@pytest.mark.parametrize("when", [{}, {"interval": "step", "frequency": 8}])
def test_a_baseline_validates_where_its_own_scheduler_waits_for_it(when: dict[str, Any]) -> None:
    def factory() -> Training:
        return replace(jobs.build(module=Plateau(**when)), data=jobs.loader(shuffle=False))

    # a rung every 20 steps
    spec = spec_of(factory, schedule=None, total_steps=400)
    by_trial, by_hand, watcher = jobs.Recorder(), jobs.Recorder(), Watcher(spec, Link())
    fit(prepare(spec), spec, [watcher, by_trial])
    training = prepare(spec)
    trainer = Trainer(
        max_steps=400,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[by_hand],
    )
    trainer.fit(cast("LightningModule", training.module), **training.fit_arguments)
    assert by_trial.lrs == by_hand.lrs
    assert len(set(map(tuple, by_hand.lrs))) > 5
    assert [step for step, _ in watcher.rungs] == list(rungs_of(400))


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_a_training_without_validation_is_judged_by_what_it_logs() -> None:
    def factory() -> Training:
        return replace(jobs.build(), val_data=None)

    result = run_trial(replace(spec_of(factory), monitor="train_loss"))
    assert result.outcome == "COMPLETE", result
    assert result.val_batches == 0
    assert len(result.rungs) == 20


def test_a_pruned_trial_ends_at_its_rung_with_the_reason() -> None:
    result = run_trial(spec_of(jobs.build), Scripted(prune_at=16))
    assert (result.outcome, result.reason, result.value) == ("PRUNED", "far behind", None)
    assert result.steps == 16 == result.rungs[-1][0]


def test_at_its_end_a_trial_is_complete_whatever_the_pruner_says() -> None:
    assert run_trial(spec_of(jobs.build), Scripted(prune_at=40)).outcome == "COMPLETE"


def test_a_stopped_trial_has_no_outcome() -> None:
    result = run_trial(spec_of(jobs.build), Scripted(stop_at=7))
    assert result.outcome is None
    assert result.steps == 7


def test_a_trial_that_diverges_is_stopped_early() -> None:
    result = run_trial(spec_of(jobs.build, total_steps=400, schedule=Schedule(initial_lr=10.0)))
    assert result.outcome == "DIVERGED"
    assert result.steps < 40
    assert result.reason is not None
    assert result.value is None


def test_what_a_job_does_after_its_last_step_is_not_the_schedules_fault() -> None:
    class ReadsItsCheckpoint(jobs.Regression):
        def on_train_end(self) -> None:
            # trials save nothing
            print(self.trainer.checkpoint_callback.best_model_path)  # type: ignore[union-attr]

    result = run_trial(spec_of(lambda: jobs.build(module=ReadsItsCheckpoint())))
    whole = run_trial(spec_of(jobs.build))
    assert (result.outcome, result.value, result.rungs) == ("COMPLETE", whole.value, whole.rungs), result


def test_a_training_that_raises_is_failed_with_its_traceback() -> None:
    result = run_trial(spec_of(jobs.raises))
    assert result.outcome == "FAILED"
    assert result.reason == "ValueError: the third step is cursed"
    assert result.error is not None
    assert "and has more to say" in result.error
    assert "sample_jobs.py" in result.error
    assert result.steps == 2


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (jobs.raises_when_built, "FileNotFoundError: data.csv is not here"),
        (jobs.stops_itself, "ended by itself after 5 of 40 steps"),
        (jobs.not_a_training, "must return autowarm.Training"),
        (jobs.manual, "manual optimization"),
    ],
)
def test_a_job_that_cannot_be_trained_is_failed_with_the_reason(factory: Any, reason: str) -> None:
    result = run_trial(spec_of(factory))
    assert result.outcome == "FAILED"
    assert result.reason is not None
    assert reason in result.reason


def test_a_metric_that_is_never_logged_is_failed_with_what_is() -> None:
    result = run_trial(replace(spec_of(jobs.build), monitor="val_los"))
    assert result.outcome == "FAILED"
    assert result.reason == "monitor 'val_los' is never logged by the job; it logs train_loss, val_loss"


def test_the_jobs_early_stopping_does_not_stop_a_trial_unless_it_is_kept() -> None:
    assert run_trial(spec_of(jobs.with_early_stopping)).outcome == "COMPLETE"
    kept = run_trial(spec_of(jobs.with_early_stopping, keep_callbacks=("EarlyStopping",)))
    assert kept.outcome == "FAILED"
    assert kept.reason is not None
    assert "ended by itself" in kept.reason


def test_a_subset_of_the_data_trains_for_as_many_steps() -> None:
    result = run_trial(spec_of(jobs.build, dataset_size=16))
    assert (result.outcome, result.steps) == ("COMPLETE", 40)


def test_a_metric_that_ends_as_nan_is_a_divergence() -> None:
    class Nan(jobs.Regression):
        def validation_step(self, batch: jobs.Batch) -> None:
            self.log("val_loss", torch.tensor(float("nan")))

    result = run_trial(spec_of(lambda: jobs.build(module=Nan())))
    assert (result.outcome, result.reason, result.value) == ("DIVERGED", "val_loss is nan at the end", None)


@pytest.mark.parametrize(
    ("trainer", "what_to_do"),
    [
        ({"strategy": "ddp_spawn"}, "set strategy: ddp"),
        # forks for a single device, too
        ({"strategy": "ddp_fork", "devices": 1}, "or auto, for one device"),
        ({"num_nodes": 2}, "set num_nodes: 1"),
    ],
)
def test_processes_that_trials_cannot_start_are_refused_with_what_to_do(
    trainer: dict[str, Any], what_to_do: str
) -> None:
    result = run_trial(spec_of(jobs.build, args={"trainer": {"devices": 2, "strategy": "ddp", **trainer}}))
    assert result.outcome == "FAILED"
    assert what_to_do in (result.reason or "")


class ByEpochs(jobs.Regression):
    """Computes its own schedule from the Trainer's max_epochs, as many scripts do."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        assert self.trainer.max_epochs is not None
        total = self.trainer.max_epochs * 8
        linear = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": linear, "interval": "step"}}


def test_a_job_that_computes_its_schedule_from_max_epochs_trains_as_it_does_by_itself() -> None:
    spec = spec_of(lambda: jobs.build(module=ByEpochs()), schedule=None)
    seen = jobs.Recorder()
    fit(prepare(spec), spec, [Watcher(spec, Link()), seen])
    assert [lrs[0] for lrs in seen.lrs] == pytest.approx([0.01 * (1 - step / 40) for step in range(40)])


def test_loaders_of_the_module_itself_serve_too() -> None:
    class Whole(jobs.Regression):
        def train_dataloader(self) -> Any:
            return jobs.loader()

        def val_dataloader(self) -> Any:
            return jobs.loader(shuffle=False)

    def factory() -> Training:
        module = Whole()
        return Training(module=module, data=module, trainer={"accelerator": "cpu"})

    assert run_trial(spec_of(factory)).outcome == "COMPLETE"


def test_sparse_gradients_do_not_fail_a_training() -> None:
    class Sparse(jobs.Regression):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(2, 1, sparse=True)

        def training_step(self, batch: jobs.Batch) -> torch.Tensor:
            extra: torch.Tensor = self.embedding(torch.zeros(1, dtype=torch.long)).square().sum()
            return super().training_step(batch) + extra

    result = run_trial(spec_of(lambda: jobs.build(module=Sparse())))
    assert result.outcome == "COMPLETE", result


class WritesLr(jobs.Regression):
    """Writes its learning rate itself, in one of the hooks on the way to the step."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.hook = hook

    def write(self, hook: str) -> None:
        if hook == self.hook:
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = 0.05

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.write("batch")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.write("step")

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        self.write("clipping")


@pytest.mark.parametrize("hook", ["batch", "step", "clipping"])
@pytest.mark.filterwarnings("ignore:step 0 used the learning rate")
def test_a_job_that_writes_the_lr_itself_fails_since_it_would_not_train_the_schedule(hook: str) -> None:
    result = run_trial(spec_of(lambda: jobs.build(module=WritesLr(hook))))
    assert (result.outcome, result.steps) == ("FAILED", 1)
    assert "the module or a callback writes the learning rate itself" in (result.reason or "")


def test_a_schedule_that_the_job_brings_itself_gives_way_to_the_trials() -> None:
    own = {"callbacks": [TunedSchedule(Schedule(initial_lr=0.5, warmup_steps=15))]}
    result = run_trial(spec_of(lambda: jobs.build(trainer=own), total_steps=10))
    assert result.outcome == "COMPLETE", result


def test_a_compiled_module_is_trained_by_the_trainer_of_its_package() -> None:
    def factory() -> Training:
        module: Any = torch.compile(pl_jobs.Regression(), backend="eager")
        return replace(pl_jobs.build(), module=module)

    result = run_trial(spec_of(factory, total_steps=10, schedule=None))
    assert result.outcome == "COMPLETE", result


@pytest.mark.filterwarnings("ignore:Total length of")
def test_without_a_validation_example_a_training_is_judged_by_what_it_logs() -> None:
    def factory() -> Training:
        empty: DataLoader[Any] = DataLoader(Subset(jobs.dataset(), []), batch_size=8)
        return replace(jobs.build(), val_data=empty)

    result = run_trial(replace(spec_of(factory), monitor="train_loss"))
    assert (result.outcome, result.val_batches) == ("COMPLETE", 0), result


class Shrinking(jobs.RegressionData):
    """Has 8 batches in the first epoch and 2 in the others."""

    made = 0

    def train_dataloader(self) -> DataLoader[Any]:
        self.made += 1
        whole = super().train_dataloader()
        return whole if self.made == 1 else DataLoader(Subset(whole.dataset, range(16)), batch_size=8)


def test_a_trial_takes_as_many_epochs_as_its_steps_need_though_the_loader_shrinks() -> None:
    def factory() -> Training:
        trainer = {"max_epochs": 5, "accelerator": "cpu", "reload_dataloaders_every_n_epochs": 1}
        return Training(module=jobs.Regression(), data=Shrinking(), trainer=trainer)

    result = run_trial(spec_of(factory))
    assert (result.outcome, result.steps) == ("COMPLETE", 40), result
    assert [step for step, _ in result.rungs] == list(rungs_of(40))


def test_a_trial_counts_steps_where_the_accumulation_changes_between_epochs() -> None:
    seen: list[int | None] = []

    class Looks(jobs.Regression):
        def configure_optimizers(self) -> Any:
            seen.append(self.trainer.max_epochs)
            return super().configure_optimizers()

    def factory() -> Training:
        trainer = {"callbacks": [GradientAccumulationScheduler({0: 2, 2: 8})]}
        return jobs.build(module=Looks(), trainer=trainer)

    result = run_trial(spec_of(factory, total_steps=12))
    assert (result.outcome, result.steps) == ("COMPLETE", 12), result
    assert seen == [6], "two epochs of 4 steps and four of 1"
