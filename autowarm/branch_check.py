"""Whether a job can branch: a few of its steps, trained once in one go and once from a state in their middle."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from lightning.pytorch import Trainer

from autowarm.branch import Beginner, BranchWatcher, differs, same_number
from autowarm.schedule import Schedule
from autowarm.snapshot import Snapshot
from autowarm.specs import Link, TrainingSpec, TrunkSpec
from autowarm.traceless import traceless
from autowarm.trial import train
from autowarm.trunk_watcher import TrunkWatcher
from autowarm.watcher import validates

# The state is taken in the middle: an optimizer has moments by then, and needs a step for them to show in a loss.
_BEFORE, _STEPS = 2, 4


def check_branching(spec: TrainingSpec) -> str | None:
    """Return why the trials of a job cannot share a trunk; None where they can.

    A module may keep state that no snapshot has: a hidden state kept on the module, a buffer that is not registered. So
    four steps are trained at the peak learning rate, and the last two of them once more from the state after the first
    two, with the job built anew. Right from that state the validation must give the same metric, and then each step the
    same training loss, and the same metric after it. That costs 6 steps and 7 validations.

    Where the data cannot be put back (`autowarm.data_position`), the metric of the state is all that can be compared.
    Not seen is what shows later, such as a counter that matters after a hundred steps.

    Args:
        spec: of any of the trials; its schedule gives the learning rate.
    """
    assert spec.schedule is not None  # noqa: S101 - a trial of a trunk has one
    rungs = tuple(range(_BEFORE, _STEPS + 1))
    trial = replace(
        spec,
        schedule=Schedule(initial_lr=spec.schedule.initial_lr),
        total_steps=_STEPS,
        rungs=rungs,
        ema_rungs=(),
        checkpoint=None,
    )
    taken: list[tuple[Snapshot | None, dict[str, Any]]] = []

    def take(_: Trainer, trials: list[int], snapshot: Snapshot | None) -> None:
        if 1 in trials:
            taken.append((snapshot, watcher.view(1)))

    # the second trial leaves in the middle
    trunk = TrunkSpec(name="check", trials=(trial, trial), branch_steps=(_STEPS, _BEFORE))
    watcher = TrunkWatcher(trunk, Link(), take)
    whole = train(watcher.spec, watcher, [watcher], started=time.monotonic())
    if watcher.uncaptured is not None:
        return watcher.uncaptured
    if not taken or whole.outcome not in ("COMPLETE", "DIVERGED"):
        return f"a few steps of the job ended as {whole.outcome}: {whole.reason}"
    (snapshot, view), at_start = taken[0], []
    assert snapshot is not None  # noqa: S101 - uncaptured is None
    branch = BranchWatcher(trial, Link(), None)
    beginner = Beginner(snapshot, view, branch, lambda trainer: at_start.append(_metric_now(trainer, branch.monitor)))
    again = train(trial, branch, [beginner, branch], started=time.monotonic())
    if not beginner.start.done:
        return f"a branch could not begin: {again.reason}"
    found = [(f"{branch.monitor}", _BEFORE, at_start[0], dict(watcher.rungs).get(_BEFORE))]
    if beginner.start.exact:
        losses, metrics = dict(branch.train_curve), dict(branch.rungs)
        for step in range(_BEFORE + 1, _STEPS + 1):
            found.append(("training loss", step, losses.get(step), watcher.loss_of(step)))
            found.append((f"{branch.monitor}", step, metrics.get(step), dict(watcher.rungs).get(step)))
    for what, step, ours, theirs in found:
        if ours is not None and theirs is not None and not same_number(ours, theirs, branch.round_off):
            return differs(what, step, ours, theirs)
    return None


def _metric_now(trainer: Trainer, monitor: str) -> float | None:
    """Validate between two steps; None where the job does not, or its metric is the training's."""
    loop, connector = trainer.fit_loop.epoch_loop.val_loop, trainer._logger_connector  # noqa: SLF001 - no public name
    if not (trainer.enable_validation and validates(trainer)):
        return None
    first = connector._first_loop_iter  # noqa: SLF001 - as Lightning's own loop does around a validation
    trainer.validating = True
    with traceless(trainer, trainer.lightning_module):
        trainer.callback_metrics.pop(monitor, None)
        loop.run()
        value = trainer.callback_metrics.get(monitor)
        metric = float(value) if value is not None else None
    trainer.training = True
    connector._first_loop_iter = first  # noqa: SLF001
    return metric
