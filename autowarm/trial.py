"""One training, run by its owner's rules: from a TrainingSpec to a TrialResult.

The runner owns the loop: it sets the number of steps, validates at rungs counted in optimizer steps with the random
numbers isolated, watches the training loss for divergence, and ends the training when told to.
"""

from __future__ import annotations

import importlib
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from autowarm.adapters.steering import Steering
from autowarm.checkpoint import remove_checkpoint
from autowarm.errors import AutowarmError, CheckpointError, JobError
from autowarm.growing import Grower, LongerWatcher, longer, not_used, read_state
from autowarm.job import Training, build, package_of, trainer_keywords
from autowarm.keeping import OF_SEVERAL_PROCESSES, Keeper, anew, read_kept
from autowarm.memory import is_out_of_memory, out_of_memory_reason
from autowarm.record import Outcome
from autowarm.smaller_batches import split_batches
from autowarm.specs import Link, TrainingSpec, TrialResult
from autowarm.subset import take_subset
from autowarm.watcher import Ended, Watcher


class SeveralProcesses(JobError):  # noqa: N818 - no error where the owner starts them
    """The job's Trainer trains in several processes, which takes a command of its own."""

    def __init__(self, count: int) -> None:
        super().__init__(f"the job's trainer asks for {count} devices or processes, and this is one")
        self.count = count


def run_trial(spec: TrainingSpec, link: Link | None = None) -> TrialResult:
    """Train a schedule (or the job's own scheduler) to its end and return what it left behind.

    Whatever the job raises before its last rung ends as a FAILED result with its traceback; nothing is raised.

    A training with a `checkpoint` goes on from that file, where it is there, whole and the same training's; else it
    starts anew and `notices` say why. The file is removed at the end, unless the training was told to stop: then it is
    written once more before. What is restored, and when bit for bit, is in `autowarm.snapshot` and
    `autowarm.data_position`. Without one to go on from, a training with a `trunk` goes on from what a shorter one has
    left (`autowarm.growing`).

    Args:
        spec: what to train; `total_steps` and `rungs` are given.
        link: who is told, and who may prune or stop it.
    """
    started = time.monotonic()
    notices: list[str] = []
    if spec.processes > 1:
        notices += [OF_SEVERAL_PROCESSES] * (spec.checkpoint is not None)
        spec = replace(spec, checkpoint=None, trunk=None)
    link = link or Link()
    result = _gone_on(spec, link, started, notices) or _run(spec, link, started)
    if spec.checkpoint is not None and result.outcome is not None:
        remove_checkpoint(spec.checkpoint)
    return replace(result, notices=(*notices, *result.notices))


def _gone_on(spec: TrainingSpec, link: Link, started: float, notices: list[str]) -> TrialResult | None:
    """Run a trial from its checkpoint, or from what a shorter one of its trunk has left; None where there is neither.

    It may come to nothing before the training goes on: a job that was edited has other weights, say.

    Args:
        spec: of the trial.
        link: to its owner.
        started: `time.monotonic()` at its start.
        notices: why something that was there was not used is added to them.
    """
    if spec.checkpoint is not None:
        kept, notice = read_kept(spec)
        if kept is not None:
            result = _run(spec, link, started, kept=kept)
            if result.resumed is not None:
                return result
            notice = anew(spec, CheckpointError(result.reason or "it could not be restored"))
        notices += [notice] if notice is not None else []
    if spec.trunk is not None:
        state, notice = read_state(spec)
        if state is not None:
            result = _run(spec, link, started, state=state)
            if result.shared_steps:
                return result
            notice = not_used(result.reason or "it could not be restored")
        notices += [notice] if notice is not None else []
    return None


def _run(
    spec: TrainingSpec,
    link: Link,
    started: float,
    *,
    kept: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
) -> TrialResult:
    """Run a trial from its start, from what was kept of it, or from the state of a shorter one; the result says which.

    Args:
        spec: of the trial.
        link: to its owner.
        started: `time.monotonic()` at its start.
        kept: of its checkpoint.
        state: of a shorter training; `shared_steps` is None where it could not go on from there.
    """
    watcher, begins = (Watcher(spec, link), None) if state is None else longer(spec, link, state)
    keeper = Keeper(spec, watcher, kept=kept, started=started) if spec.checkpoint is not None else None
    leaves = spec.trunk is not None and spec.trunk.leave is not None
    grower = Grower(spec, watcher, resumed=kept is not None) if leaves else None
    callbacks: list[Callback] = [callback for callback in (begins, keeper, grower, watcher) if callback is not None]
    result = train(spec, watcher, callbacks, started=started)
    if keeper is not None:
        seconds = result.seconds + keeper.seconds
        result = replace(result, seconds=seconds, resumed=keeper.resumed, notices=tuple(keeper.notices))
    if grower is not None and grower.notice is not None:
        result = replace(result, notices=(*result.notices, grower.notice))
    if isinstance(watcher, LongerWatcher) and watcher.mismatch is not None:
        return result
    if spec.trunk is not None and (watcher.shared_steps or (grower is not None and grower.left)):
        result = replace(result, trunk=spec.trunk.name, shared_steps=watcher.shared_steps, exact=watcher.exact)
    return result


def train(spec: TrainingSpec, watcher: Watcher, callbacks: list[Callback], *, started: float) -> TrialResult:
    """Build the spec's training, fit it, and return what the watcher saw of it; whatever the job raises is a result.

    Args:
        spec: of the training.
        watcher: of the same spec.
        callbacks: ours, the watcher among them.
        started: `time.monotonic()` at the start of the trial.
    """
    outcome: Outcome | None = "FAILED"
    reason: str | None = None
    error: str | None = None
    no_memory = False
    try:
        training = prepare(spec)
        fit(training, spec, callbacks)
        outcome, reason = watcher.verdict()
    except Ended as e:
        outcome, reason = e.outcome, e.reason
    except JobError as e:
        reason = str(e)
    except Exception as e:  # noqa: BLE001 - a user's training may raise anything, and costs one trial
        # what a job does after its last step (reading the checkpoint that trials leave out) is not its schedule's fault
        outcome, reason = watcher.verdict()
        if outcome == "FAILED":
            no_memory = is_out_of_memory(e)
            reason = out_of_memory_reason(spec.split_batches) if no_memory else _last_line(e)
            error = traceback.format_exc()
    seconds = time.monotonic() - started
    return replace(result_of(watcher, outcome, reason), seconds=seconds, error=error, out_of_memory=no_memory)


def result_of(watcher: Watcher, outcome: Outcome | None, reason: str | None) -> TrialResult:
    """Return what a watcher has seen as the result of its training, but for its wall time."""
    return TrialResult(
        outcome=outcome,
        value=watcher.rungs[-1][1] if outcome == "COMPLETE" else None,
        reason=reason,
        rungs=tuple(watcher.rungs),
        ema_rungs=tuple(watcher.ema_rungs),
        train_curve=tuple(watcher.train_curve),
        grad_norms=tuple(watcher.grad_norms),
        steps=watcher.step,
        val_batches=watcher.val_batches,
    )


def prepare(spec: TrainingSpec) -> Training:
    """Build the spec's training, on its share of the data, with its number of threads and its share of a GPU."""
    torch.set_num_threads(spec.threads)
    if spec.gpu_memory_share is not None and torch.cuda.is_available():
        # trials that share a GPU must not take each other's memory: who does not fit fails, whoever else runs
        torch.cuda.set_per_process_memory_fraction(spec.gpu_memory_share)
    training = build(spec.job, seed=spec.seed, dataset_size=spec.dataset_size)
    if spec.dataset_size is not None and spec.job.dataset_size_arg is None:
        take_subset(training, spec.dataset_size)
    if spec.split_batches > 1:
        split_batches(training, spec.split_batches, processes=spec.processes)
    return training


def fit(
    training: Training,
    spec: TrainingSpec,
    callbacks: list[Callback],
    limits: Mapping[str, Any] | None = None,
) -> None:
    """Run `Trainer.fit` as trials do: quiet, on files of its own that are removed, with our callbacks last.

    Args:
        training: what to fit.
        spec: `total_steps` and `keep_callbacks` count.
        callbacks: ours.
        limits: keywords that limit the run; default: `max_steps` and nothing else.
    """
    keywords, _ = trainer_keywords(training.trainer, keep_callbacks=spec.keep_callbacks)
    # a schedule that the job brings itself is what is searched; a look and a baseline are at the job as it is
    theirs = [c for c in keywords["callbacks"] if spec.schedule is None or not isinstance(c, Steering)]
    keywords["callbacks"] = [*theirs, *callbacks]
    if spec.devices is not None:
        keywords["devices"] = _count_of(keywords["devices"])
    keywords |= limits or {"max_steps": spec.total_steps, "max_epochs": -1}
    with tempfile.TemporaryDirectory(prefix="autowarm-") as folder:
        trainer_class = _trainer_class(training.module)
        trainer = trainer_class(default_root_dir=folder, **keywords)
        _check_processes(trainer, spec)
        loop = trainer.fit_loop.epoch_loop.val_loop
        loop.run = _isolated(loop.run)  # type: ignore[method-assign]
        trainer.fit(cast("LightningModule", training.module), **training.fit_arguments)


def _count_of(devices: Any) -> Any:
    """Return how many GPUs a job asks for where it names which: their owner says which, and they count from 0 here."""
    if isinstance(devices, str) and "," in devices:
        devices = [name for name in devices.split(",") if name.strip()]
    return len(devices) if isinstance(devices, list | tuple) else devices


def _check_processes(trainer: Trainer, spec: TrainingSpec) -> None:
    if trainer.num_nodes > 1:
        raise JobError("the job's trainer asks for several nodes, and trials run on this machine: set num_nodes: 1")
    launcher = trainer.strategy.launcher
    # by name: each of the two packages has its own; one that forks does so for a single device, too
    if launcher is not None and type(launcher).__name__ != "_SubprocessScriptLauncher":
        raise JobError(
            f"the job's strategy ({type(trainer.strategy).__name__} by {type(launcher).__name__}) starts processes in "
            "a way that trials cannot: set strategy: ddp (or auto, for one device) in the file that is tuned"
        )
    if trainer.world_size != spec.processes:
        raise SeveralProcesses(trainer.world_size)


def _trainer_class(module: object) -> type[Trainer]:
    """Return the Trainer of the package that the module comes from: modules of the two do not mix."""
    # torch.compile wraps a module in one without a home
    module_class = type(getattr(module, "_orig_mod", module))
    trainer_class = importlib.import_module(package_of(module_class)).Trainer
    return cast("type[Trainer]", trainer_class)


def _isolated(run: Callable[[], Any]) -> Callable[[], Any]:
    """Let a validation draw no random number that the training would have drawn."""

    def isolated() -> Any:
        isolation = cast("AbstractContextManager[None]", isolate_rng())
        with isolation:
            return run()

    return isolated


def _last_line(error: BaseException) -> str:
    text = str(error).strip()
    if isinstance(error, AutowarmError):
        return text
    lines = text.splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
