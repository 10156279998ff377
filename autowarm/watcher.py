"""What sits in a training: it steers the learning rate, watches the losses, validates at rungs, and hears the owner."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim import Optimizer

from autowarm.adapters.run_length import epochs_for
from autowarm.adapters.steering import Steering
from autowarm.adapters.torch import OnResume
from autowarm.averaging import AveragedWeights, averageable, validate_averaged
from autowarm.divergence import DivergenceGuard
from autowarm.errors import JobError
from autowarm.job import NEVER
from autowarm.record import Outcome
from autowarm.smaller_batches import part_weight
from autowarm.specs import Link, TrainingSpec

# Points of the thinned training curve and gradient norm that a record keeps.
CURVE_POINTS = 100
# Why a training has ended that its owner told to.
STOPPED = "told to stop"
# How often a training tells where it is, at most.
_PROGRESS_SECONDS = 0.2
# What a watcher has seen that is plain numbers.
_SEEN = (
    *("step", "rungs", "ema_rungs", "train_curve", "grad_norms", "val_batches", "_losses"),
    *("shared_steps", "exact"),
)


class Ended(Exception):  # noqa: N818 - an ending, not an error
    """Ends a fit at once.

    `trainer.should_stop` would run one more validation and wait for `min_steps`.
    """

    def __init__(self, outcome: Outcome | None, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class Watcher(Callback):
    """Steers and watches one training: its schedule, its losses, its rungs, and what its owner says.

    One callback does it all: Lightning calls every hook of every callback at every step.

    Args:
        spec: of the training; `total_steps` and `monitor` are given.
        link: to its owner.
        on_resume: what the schedule does with the state of another one; see `autowarm.adapters.torch.OnResume`.

    Attributes:
        step: optimizer steps done.
        rungs: (step, monitored metric).
        ema_rungs: (step, monitored metric of the averaged weights).
        train_curve: (step, mean training loss since the point before).
        grad_norms: (step, L2 norm of all gradients before clipping).
        val_batches: validation batches done, those with the averaged weights included.
        last_loss: the training loss of the last step that had one.
        shared_steps: of `step`, those that a training before has paid for, and `exact`, whether it is the training that
            it would be with none of them.
        stops_later: where the owner says stop, somebody else ends the training after the step, and `told_to_stop`.
    """

    def __init__(self, spec: TrainingSpec, link: Link, *, on_resume: OnResume | None = None) -> None:
        # a trial's horizon and metric are known
        assert spec.total_steps is not None  # noqa: S101
        assert spec.monitor is not None  # noqa: S101
        self.spec = spec
        self.monitor = spec.monitor
        self.link = link
        self.guard = DivergenceGuard()
        self.step = 0
        self.rungs: list[tuple[int, float]] = []
        self.ema_rungs: list[tuple[int, float]] = []
        self.train_curve: list[tuple[int, float]] = []
        self.grad_norms: list[tuple[int, float]] = []
        self.val_batches = 0
        self.last_loss: float | None = None
        self.shared_steps = 0
        self.exact = True
        self.stops_later = False
        self.told_to_stop = False
        self._curve_steps: Container[int] = curve_steps_of(spec.total_steps)
        self._rungs_left = list(reversed(spec.rungs))
        self._averaged = AveragedWeights(spec.total_steps) if spec.ema_rungs else None
        self._micro_losses: list[float] = []
        self._micro_weights: list[float] = []
        self._losses: list[float] = []
        self._told = 0.0
        self._due = False
        self._plateaus: list[LRSchedulerConfig] = []
        self._steering: Steering | None = None
        if spec.schedule is not None:
            self._steering = Steering(spec.schedule, spec.total_steps, on_resume=on_resume)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell the job how many epochs it runs, before it makes its optimizer and scheduler."""
        limit_epochs(trainer, pl_module, self.spec.total_steps)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the trial's schedule in the place of the job's."""
        if self._steering is not None:
            self._steering.on_fit_start(trainer, pl_module)
        configs = trainer.strategy.lr_scheduler_configs
        if self.spec.split_batches > 1 and any(c.interval == "step" and c.frequency != 1 for c in configs):
            # Lightning counts the frequency in batches, which are parts here
            raise JobError("the job's own scheduler has a frequency in batches, which cannot be split to save memory")
        self._plateaus = [c for c in configs if c.reduce_on_plateau]
        if not (averageable(trainer) and trainer.enable_validation):
            self._drop_averages()
        loop = trainer.fit_loop.epoch_loop.val_loop
        loop.run = partial(self._validate, trainer, loop.run)  # type: ignore[method-assign]

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        """Let each example of an incomplete batch that was split count as it would in the whole one."""
        if self.spec.split_batches > 1 and loss.requires_grad:
            weight = self._weight(trainer, trainer.fit_loop.epoch_loop.batch_idx)
            if weight != 1.0:
                loss.register_hook(lambda gradient: gradient * weight)  # type: ignore[no-untyped-call]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Keep the gradient norm of the steps that the curve keeps."""
        step = self.step + 1
        if step in self._curve_steps:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            # a sparse gradient has no norm that torch would compute
            gradients = [p.grad for p in parameters if p.grad is not None and not p.grad.is_sparse]
            norm = torch.nn.utils.get_total_norm(gradients)
            self.grad_norms.append((step, float(norm)))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Watch the loss of a finished optimizer step, and validate where it is a rung."""
        # Lightning validates after this hook where its count of batches is a multiple of this.
        trainer.val_check_batch = 1 if self._awaited(trainer, batch_idx) else NEVER
        loss = _loss_of(outputs)
        if loss is not None:
            # Lightning has divided the loss by the number of batches it accumulates
            self._micro_losses.append(loss * trainer.accumulate_grad_batches)
            self._micro_weights.append(self._weight(trainer, batch_idx))
        if trainer.global_step == self.step:
            return
        self.step = trainer.global_step
        self._average(trainer, pl_module)
        self._watch_losses(trainer)
        if self._rungs_left and self.step >= self._rungs_left[-1]:
            self._rungs_left.pop()
            self._due = True
            if validates(trainer):
                trainer.val_check_batch = 1
            else:
                self._drop_averages()
                self._report(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on for another epoch where steps are left: a loader may have become shorter on its way."""
        if self.step < self.spec.total_steps and trainer.max_epochs == trainer.current_epoch + 1:  # type: ignore[operator]
            trainer.fit_loop.max_epochs = trainer.max_epochs + 1

    def on_validation_batch_end(self, *_args: Any, **_keywords: Any) -> None:
        """Count the cost."""
        self.val_batches += 1

    def verdict(self) -> tuple[Outcome, str | None]:
        """Return outcome and reason of a fit that ended by itself."""
        total = self.spec.total_steps
        if self.step != total:
            return "FAILED", (
                f"the training ended by itself after {self.step} of {total} steps: "
                "is there data, and does the job stop itself?"
            )
        if not self.rungs or self.rungs[-1][0] != total:
            return "FAILED", f"{self.monitor!r} was not logged at the end of the training"
        if not _finite(self.rungs[-1][1]):
            return "DIVERGED", f"{self.monitor} is {self.rungs[-1][1]} at the end"
        return "COMPLETE", None

    def state(self) -> dict[str, Any]:
        """Return what it has seen, between two steps; the averages of the weights are the ones it goes on with."""
        return {
            **{name: getattr(self, name) for name in _SEEN},
            "guard": self.guard.state(),
            "averages": self._averaged.averages if self._averaged is not None else None,
        }

    def load_state(self, state: Mapping[str, Any], trainer: Trainer) -> None:
        """Go on from what `state` returned, and report its rungs again: another owner has not heard of them.

        Args:
            state: of a watcher of the same spec.
            trainer: restored to the same step.
        """
        if state["averages"] is None:
            self._averaged = None
        elif self._averaged is not None:
            self._averaged.restore(state["averages"], trainer.lightning_module, trainer.optimizers[0])
        self.recall(state)

    def recall(self, state: Mapping[str, Any]) -> None:
        """Load a state but for the averages of the weights, and report its rungs."""
        for name in _SEEN:
            value = state[name]
            setattr(self, name, list(value) if isinstance(value, list) else value)
        self.guard.load_state(state["guard"])
        self._rungs_left = [rung for rung in reversed(self.spec.rungs) if rung > self.step]
        emas = dict(self.ema_rungs)
        for step, value in self.rungs:
            self.link.rung(step, value, emas.get(step))

    def _weight(self, trainer: Trainer, batch_idx: int) -> float:
        return part_weight(trainer.train_dataloader, batch_idx) if self.spec.split_batches > 1 else 1.0

    def _watch_losses(self, trainer: Trainer) -> None:
        known = bool(self._micro_losses)
        loss = statistics.fmean(self._micro_losses, self._micro_weights) if known else 0.0
        self._micro_losses.clear()
        self._micro_weights.clear()
        # every process of a training must end at the same step, or the others wait for it forever
        disturbed = self._steering.disturbed if self._steering is not None else None
        loss, stopped, share, wrong = means(trainer, loss, self.link.stopped(), known, disturbed is not None)
        if stopped:
            self.told_to_stop = True
            if not self.stops_later:
                raise Ended(None, STOPPED)
        if wrong:
            raise JobError(disturbed or "another process of the training used a learning rate of its own")
        if not share:
            return
        self._take(loss / share)

    def _take(self, loss: float) -> None:
        """Take the training loss of an optimizer step."""
        self.last_loss = loss
        self._losses.append(loss)
        if self.step in self._curve_steps:
            self.train_curve.append((self.step, statistics.fmean(self._losses)))
            self._losses.clear()
        reason = self.guard.update(self.step, loss)
        if reason is not None:
            raise Ended("DIVERGED", reason)
        now = time.monotonic()
        if now - self._told > _PROGRESS_SECONDS:
            self._told = now
            self.link.progress(self.step, loss)

    def _awaited(self, trainer: Trainer, batch_idx: int) -> bool:
        """Tell whether the job's own ReduceLROnPlateau decides after this batch, and may need a validation to."""
        for config in self._plateaus:
            epoch_ends = config.interval == "epoch" and trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
            if epoch_ends or (config.interval == "step" and (batch_idx + 1) % config.frequency == 0):
                return validates(trainer)
        return False

    def _average(self, trainer: Trainer, module: LightningModule) -> None:
        """Take the weights after an optimizer step into their average."""
        if self._averaged is None:
            return
        if self.step > self.spec.ema_rungs[-1]:
            # nobody will ask for it any more
            self._averaged = None
        else:
            self._averaged.update(module, trainer.optimizers[0])

    def _drop_averages(self) -> None:
        self._averaged = None

    def _validate(self, trainer: Trainer, run: Callable[[], Any]) -> Any:
        """Run the validation loop; after that of a rung, once more with the averaged weights, and report.

        After the loop and not in one of its hooks, where a second run would meet the first one half done.
        """
        outputs = run()
        if not self._due:
            return outputs
        self._report(trainer, self._averaged_metric(trainer, run))
        return outputs

    def _averaged_metric(self, trainer: Trainer, run: Callable[[], Any]) -> float | None:
        """Return the metric of the averaged weights, where this rung asks for it."""
        if self._averaged is None or self.step not in self.spec.ema_rungs:
            return None
        ema = self._metric_with(self._averaged, trainer, run)
        if ema is None:
            # a metric of the training's, which a validation says nothing of
            self._averaged = None
        return ema

    def _metric_with(self, averaged: AveragedWeights, trainer: Trainer, run: Callable[[], Any]) -> float | None:
        # told first, should the job not log it: that ends the training with a word on what it logs
        metric(trainer, self.monitor)
        found, batches = validate_averaged(
            trainer, trainer.lightning_module, run, averaged=averaged, monitor=self.monitor
        )
        self.val_batches += batches
        # of the processes that logged it: it may be the first one alone
        total, share = means(trainer, found or 0.0, found is not None)
        return total / share if share else None

    def _report(self, trainer: Trainer, ema: float | None = None) -> None:
        self._due = False
        value = metric(trainer, self.monitor)
        self.rungs.append((self.step, value))
        if ema is not None:
            self.ema_rungs.append((self.step, ema))
        last = self.step == self.spec.total_steps
        reason = self.link.rung(self.step, value, ema)
        if trainer.world_size > 1:
            # the first process is the one with an owner
            reason = trainer.strategy.broadcast(reason)
        if reason is not None and not last:
            raise Ended("PRUNED", reason)


def curve_steps_of(total_steps: int) -> set[int]:
    """Return the steps at which a training of `total_steps` keeps a point of its curves."""
    points = min(CURVE_POINTS, total_steps)
    return {round(i * total_steps / points) for i in range(1, points + 1)}


def limit_epochs(trainer: Trainer, module: LightningModule, total_steps: int | None) -> None:
    """Set a run of `total_steps` to as many epochs as it takes: jobs compute their own schedules from `max_epochs`.

    Where they cannot be known before the training (unsized data, loaders of the module), the epochs stay unlimited.
    """
    source = getattr(trainer.fit_loop._data_source, "instance", None)  # noqa: SLF001 - Lightning names none
    # the loaders of a module may need its own setup
    if total_steps is None or source is None or source is module:
        return
    epochs = epochs_for(trainer, total_steps)
    if epochs is not None:
        trainer.fit_loop.max_epochs = epochs


def metric(trainer: Trainer, monitor: str) -> float:
    """Return the monitored metric as it was last logged; the mean over the processes that logged it.

    Raises:
        JobError: no process has logged it; lists what was.
    """
    metrics = trainer.callback_metrics
    known = monitor in metrics
    value, share = means(trainer, float(metrics[monitor]) if known else 0.0, known)
    if not share:
        logged = ", ".join(sorted(metrics)) or "nothing"
        raise JobError(f"monitor {monitor!r} is never logged by the job; it logs {logged}")
    return value / share


def validates(trainer: Trainer) -> bool:
    """Tell whether the job validates, on data that is not empty."""
    return trainer.enable_validation and any(batches > 0 for batches in trainer.num_val_batches)


def _loss_of(outputs: Any) -> float | None:
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return float(loss) if isinstance(loss, torch.Tensor) else None


def _finite(value: float) -> bool:
    return value - value == 0.0


def means(trainer: Trainer, *values: float) -> list[float]:
    """Return the means of some values over the processes of a training: what is decided by them, all decide alike."""
    if trainer.world_size == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=trainer.strategy.root_device)
    return cast("list[float]", trainer.strategy.reduce(tensor, reduce_op="mean").tolist())
