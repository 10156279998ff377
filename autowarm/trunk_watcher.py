"""What sits in the training of a trunk: it watches for all its trials at once, and keeps where each one branches."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch.optim import Optimizer

from autowarm.averaging import AveragedWeights, averageable
from autowarm.data_position import keep_positions
from autowarm.errors import CheckpointError
from autowarm.random_state import generators_of
from autowarm.snapshot import Snapshot, at_boundaries, can_be_captured, capture, plain, why_not_captured
from autowarm.specs import Link, TrunkSpec
from autowarm.watcher import Watcher, curve_steps_of


class TrunkWatcher(Watcher):
    """Watches the training of the carrier, and validates and averages for the other trials while they share its steps.

    It validates at the rungs of all trials that still share the step. What a validation changes is put back or never
    asked for, so the carrier's training is what it would be by itself. There is one average of the weights for each
    `total_steps`, as its window is a share of them.

    Args:
        trunk: what is trained.
        link: of the carrier. It hears of the carrier's own rungs, and its verdicts count once the others have left.
        branch: is called with the trials that leave after the step just done, and the state they go on from: None where
            it cannot be kept, and `uncaptured` says why.

    Attributes:
        uncaptured: why there are no states to branch from; None where there are.
    """

    def __init__(
        self, trunk: TrunkSpec, link: Link, branch: Callable[[Trainer, list[int], Snapshot | None], None]
    ) -> None:
        carrier = trunk.trials[trunk.carrier]
        others = [i for i in range(len(trunk.trials)) if i != trunk.carrier]
        self.trunk = trunk
        self.uncaptured: str | None = None
        self._branch = branch
        # after that many steps the carrier is alone
        self._released = trunk.shared(trunk.carrier)
        shared = {rung for i in others for rung in trunk.trials[i].rungs if rung <= trunk.branch_steps[i]}
        rungs = tuple(sorted(shared.union(carrier.rungs)))
        super().__init__(replace(carrier, rungs=rungs, ema_rungs=()), _Carriers(link, self, carrier.rungs))
        # every loss is kept, as each number of steps thins them in its own way
        self._curve_steps = range(1, self.spec.total_steps + 1)  # type: ignore[operator] # a trial's horizon is known
        self._norm_steps = {step for t in trunk.trials for step in curve_steps_of(t.total_steps)}  # type: ignore[arg-type]
        self._leaving = {
            step: [i for i in others if trunk.branch_steps[i] == step] for step in sorted(set(trunk.branch_steps))
        }
        self._averages: dict[int, AveragedWeights] = {}
        # of each number of steps, the rungs at which its average is validated
        self._ema_rungs: dict[int, set[int]] = {}
        self._emas: dict[int, dict[int, float]] = {}
        for i, trial in enumerate(trunk.trials):
            assert trial.total_steps is not None  # noqa: S101 - a trunk has seen it
            if trial.ema_rungs:
                self._averages.setdefault(trial.total_steps, AveragedWeights(trial.total_steps))
                asked = trial.ema_rungs if i == trunk.carrier else _up_to(trunk.branch_steps[i], trial.ema_rungs)
                self._ema_rungs.setdefault(trial.total_steps, set()).update(asked)
        self._last_averaged = {
            total: max(
                min(trial.ema_rungs[-1], trial.total_steps if i == trunk.carrier else trunk.branch_steps[i])
                for i, trial in enumerate(trunk.trials)
                if trial.total_steps == total and trial.ema_rungs
            )
            for total in self._averages
        }
        self._draws = False
        self._longer = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Watch the data, before anything asks for it."""
        if not can_be_captured(trainer):
            self.uncaptured = why_not_captured(trainer)
        else:
            keep_positions(trainer)
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the carrier's schedule in its place, and let the others leave where they do."""
        super().on_fit_start(trainer, pl_module)
        if not (averageable(trainer) and trainer.enable_validation):
            self._drop_averages()
        at_boundaries(trainer, lambda epoch_over: self._after_step(trainer, epoch_over=epoch_over))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Keep the gradient norm of the steps that some trial's curve keeps."""
        if self.step + 1 in self._norm_steps:
            super().on_before_optimizer_step(trainer, pl_module, optimizer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on for another epoch where steps are left, and remember that."""
        epochs = trainer.max_epochs
        super().on_train_epoch_end(trainer, pl_module)
        self._longer = self._longer or trainer.max_epochs != epochs

    def alike(self, trial: int) -> bool:
        """Tell whether a trial was validated on the trunk as by itself.

        Not so where the validation data is drawn from a generator of its own, which has drawn for the rungs of others.
        """
        own = self.trunk.trials[trial].rungs
        until = self.step if trial == self.trunk.carrier else min(self.step, self.trunk.branch_steps[trial])
        return not self._draws or _up_to(until, own) == _up_to(until, self.spec.rungs)

    def loss_of(self, step: int) -> float | None:
        """Return the training loss of a step (1-based), None where it was not reached or has none."""
        return next((loss for at, loss in self.train_curve if at == step), None)

    def view(self, trial: int) -> dict[str, Any]:
        """Return what a watcher of a trial by itself would have seen so far; it may load this as its state.

        Of the validations the carrier's view counts all, the others' none: they are executed once.
        """
        spec = self.trunk.trials[trial]
        assert spec.total_steps is not None  # noqa: S101 - a trunk has seen it
        curve = curve_steps_of(spec.total_steps)
        train_curve: list[tuple[int, float]] = []
        losses: list[float] = []
        for step, loss in self.train_curve:
            losses.append(loss)
            if step in curve:
                train_curve.append((step, statistics.fmean(losses)))
                losses.clear()
        emas = self._emas.get(spec.total_steps, {})
        average = self._averages.get(spec.total_steps)
        asks = bool(spec.ema_rungs) and self.step < spec.ema_rungs[-1]
        return {
            "step": self.step,
            "rungs": [(step, value) for step, value in self.rungs if step in spec.rungs],
            "ema_rungs": [(step, emas[step]) for step in spec.ema_rungs if step in emas],
            "train_curve": train_curve,
            "grad_norms": [(step, norm) for step, norm in self.grad_norms if step in curve],
            "val_batches": self.val_batches if trial == self.trunk.carrier else 0,
            "_losses": losses,
            "shared_steps": 0,
            "exact": True,
            "guard": self.guard.state(),
            "averages": plain(average.averages, "the averages") if average is not None and asks else None,
        }

    def obeys(self) -> bool:
        """Tell whether the carrier may be pruned: nobody else needs its steps."""
        return self.step > self._released

    def let_go(self) -> None:
        """Hold the weights and the optimizer of a fit that is over no longer; what was seen stays."""
        self._steering = None
        self._plateaus.clear()
        self._averages.clear()
        # Lightning lends its callbacks the module's
        for name in ("log", "log_dict"):
            vars(self).pop(name, None)

    def _average(self, trainer: Trainer, module: LightningModule) -> None:
        for total, average in list(self._averages.items()):
            if self.step > self._last_averaged[total]:
                del self._averages[total]
            else:
                average.update(module, trainer.optimizers[0])

    def _drop_averages(self) -> None:
        self._averages.clear()

    def _averaged_metric(self, trainer: Trainer, run: Callable[[], Any]) -> float | None:
        for total, average in list(self._averages.items()):
            if self.step not in self._ema_rungs[total]:
                continue
            ema = self._metric_with(average, trainer, run)
            if ema is None:
                # a metric of the training's, which a validation says nothing of
                self._averages.clear()
                return None
            self._emas.setdefault(total, {})[self.step] = ema
        carrier = self.trunk.trials[self.trunk.carrier]
        asked = self.step in carrier.ema_rungs
        return self._emas.get(carrier.total_steps or 0, {}).get(self.step) if asked else None

    def _after_step(self, trainer: Trainer, *, epoch_over: bool) -> None:
        # the last step of an epoch is told of twice where it is the last one of the training
        leaving = self._leaving.pop(self.step, [])
        if not leaving:
            return
        validation = trainer.fit_loop.epoch_loop.val_loop._combined_loader  # noqa: SLF001 - Lightning has no public name
        if validation is not None:
            self._draws = self._draws or bool(generators_of(validation.flattened))
        going_on = any(self.trunk.trials[i].total_steps != self.step for i in leaving)
        snapshot: Snapshot | None = None
        if going_on and self.uncaptured is None:
            try:
                snapshot = capture(trainer, epoch_over=epoch_over)
            except CheckpointError as e:
                self.uncaptured = str(e)
            else:
                if not self._longer:
                    # a branch has as many epochs as its own steps take
                    snapshot["max_epochs"] = None
        self._branch(trainer, leaving, snapshot)


def _up_to(step: int, rungs: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(rung for rung in rungs if rung <= step)


class _Carriers(Link):
    """Passes on what concerns the carrier alone."""

    def __init__(self, link: Link, watcher: TrunkWatcher, rungs: tuple[int, ...]) -> None:
        self._link = link
        self._watcher = watcher
        self._rungs = frozenset(rungs)

    def progress(self, step: int, loss: float) -> None:
        self._link.progress(step, loss)

    def rung(self, step: int, value: float, ema: float | None = None) -> str | None:
        if step not in self._rungs:
            return None
        verdict = self._link.rung(step, value, ema)
        return verdict if self._watcher.obeys() else None

    def stopped(self) -> bool:
        return self._link.stopped()
