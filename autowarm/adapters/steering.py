"""Steering a Lightning fit by a Schedule: the hooks of `TunedSchedule`, for either of Lightning's two packages."""

from __future__ import annotations

import warnings
from typing import Any

from lightning.pytorch.utilities.types import LRSchedulerConfig

from autowarm.adapters.run_length import LIGHTNINGS_DEFAULT_EPOCHS, schedule_for, total_steps_of
from autowarm.adapters.takeover import (
    disturbance,
    give_back,
    is_in_place,
    put_momentum_back,
    set_aside,
    the_optimizer,
)
from autowarm.adapters.torch import ScheduleLR, build_scheduler, checked_on_resume, is_ours
from autowarm.errors import JobError
from autowarm.schedule import ScheduleLike, load_schedule


class Steering:
    """The hooks of a callback that puts a schedule in the place of a module's own scheduler.

    A Trainer takes callbacks of its own package alone, so the class that a user names is this one and a `Callback`.
    The arguments are those of `autowarm.TunedSchedule`.
    """

    def __init__(
        self,
        schedule: ScheduleLike,
        total_steps: int | None = None,
        # not an OnResume: LightningCLI would answer a misspelt one with a page, where we have a line
        on_resume: str | None = None,
    ) -> None:
        self.on_resume = checked_on_resume(on_resume)
        self.schedule = load_schedule(schedule)
        self.total_steps = total_steps
        self.scheduler: ScheduleLR | None = None
        # what has first been wrong with a learning rate that was used
        self.disturbed: str | None = None
        self._hook: Any = None
        self._resumes = False
        self._batches: float = 0
        self._told: set[str] = set()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Put the schedule in the place of the module's own scheduler; the checkpoint is restored after this."""
        optimizer = the_optimizer(trainer, pl_module)
        earlier, self._told, self.disturbed = self.scheduler, set(), None
        self.scheduler = build_scheduler(
            optimizer,
            schedule_for(trainer, self.schedule),
            total_steps=self._steps_for(trainer),
            on_resume=self.on_resume,
        )
        # who was told at the start need not be told at the end
        self.scheduler.warns_beyond_end = "shorter" not in self._told
        set_aside(trainer, pl_module, optimizer)
        if earlier is not None and earlier.last_epoch == trainer.global_step > 0:
            # a second fit of the same Trainer goes on where the first one ended
            self.scheduler.load_state_dict(earlier.state_dict())
        trainer.strategy.lr_scheduler_configs = [LRSchedulerConfig(self.scheduler, interval="step")]
        # after the step: hooks of the module and of other callbacks come after ours, up to the step itself
        self._hook = optimizer.register_step_post_hook(lambda *_: self._check(trainer))
        self._batches = trainer.num_training_batches

    def _steps_for(self, trainer: Any) -> int:
        try:
            run = total_steps_of(trainer)
        except JobError:
            if self.total_steps is None:
                raise
            return self.total_steps
        if self.total_steps is not None:
            if self.total_steps < run:
                self._tell(
                    "shorter",
                    f"the schedule spans total_steps={self.total_steps}, and the training runs {run}: "
                    "the learning rate stays where the schedule ends",
                )
            return self.total_steps
        if trainer.max_epochs == LIGHTNINGS_DEFAULT_EPOCHS and trainer.max_steps == -1:
            self._tell(
                "default",
                f"the schedule spans {LIGHTNINGS_DEFAULT_EPOCHS} epochs ({run} steps), which is what Lightning runs "
                "where nothing is set: if that is not meant, set max_epochs or max_steps",
            )
        return run

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint was trained with: Lightning then warns of a resume without this callback."""
        return {"schedule": self.schedule.to_dict()}

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Leave out another scheduler's state where `on_resume` says how to go on without: its numbers mean nothing."""
        self._resumes = trainer.state.fn == "fit"
        states = checkpoint.get("lr_schedulers") or []
        if self.on_resume in ("rehorizon", "restart") and not all(is_ours(state) for state in states):
            checkpoint["lr_schedulers"] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Take over from a checkpoint that holds no state of ours, or refuse it."""
        assert self.scheduler is not None  # noqa: S101 - on_fit_start made it
        resumes, self._resumes = self._resumes, False
        if not is_in_place(trainer, self.scheduler):
            # the checkpoint is of a time when a callback had taken over
            return
        if self.scheduler.last_epoch != trainer.global_step or (resumes and not self.scheduler.restored):
            self.scheduler.adopt(trainer.global_step)
        put_momentum_back(self.scheduler.optimizer)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Say when the loader has another length than the one the schedule was laid out for."""
        batches = trainer.num_training_batches
        if batches != self._batches and self.total_steps is None and trainer.max_steps == -1:
            spans = self.scheduler.total_steps if self.scheduler is not None else 0
            self._tell(
                "loader",
                f"epoch {trainer.current_epoch} has {batches} batches, and the schedule was laid out for "
                f"{self._batches} an epoch, {spans} steps in all: it and the training will not end together. "
                "Set max_steps, or give the schedule its total_steps",
            )

    def _check(self, trainer: Any) -> None:
        """Say when something else has written the learning rate that a step used."""
        assert self.scheduler is not None  # noqa: S101 - on_fit_start made it
        if self.disturbed is None and (words := disturbance(trainer, self.scheduler)):
            self.disturbed = words
            self._tell("disturbance", words)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Leave the module and its optimizer as they were."""
        self._let_go(pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave the module and its optimizer as they were."""
        self._let_go(pl_module)

    def _let_go(self, module: Any) -> None:
        give_back(module)
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _tell(self, what: str, words: str) -> None:
        """Warn of a thing once a fit."""
        if what not in self._told:
            self._told.add(what)
            warnings.warn(words, stacklevel=3)
