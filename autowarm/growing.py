"""A trunk that grows: a training leaves the state in which it lets go of its peak, and a longer one goes on from there.

A search over short runs carries its best peaks on to longer ones. Where the schedule holds its peak, the longer run
with the same peak and as many steps of warmup begins as the short one did: it needs none of the steps that were trained
already. With cooldowns over the share c, runs of T/8, T/4, T/2 and T take (1 - c) T + c 15/8 T steps together instead
of 15/8 T.

The metric is that of the training by itself (see `autowarm.trunk`). What comes before it is the shorter training's: its
rungs, where that was validated, and its points of the curves, which are denser. The average of the weights, whose
window is a share of `total_steps`, begins where the training does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from autowarm.branch import Beginner, BranchWatcher
from autowarm.checkpoint import identity_of, read_checkpoint, write_checkpoint
from autowarm.data_position import keep_positions
from autowarm.errors import CheckpointError
from autowarm.random_state import generators_of
from autowarm.snapshot import Snapshot, at_boundaries, can_be_captured, capture, plain, why_not_captured
from autowarm.specs import Link, TrainingSpec
from autowarm.watcher import Watcher

# What a schedule and its length decide, which a trunk leaves open.
_OPEN = ("schedule", "total_steps", "rungs")


def read_state(spec: TrainingSpec) -> tuple[dict[str, Any] | None, str | None]:
    """Return what a shorter training has left, or None; and why it is not used where there is a file all the same.

    Args:
        spec: with a `trunk`.
    """
    assert spec.trunk is not None  # noqa: S101 - the caller has seen it
    if spec.trunk.begin is None:
        return None, None
    try:
        return read_checkpoint(spec.trunk.begin, _identity_of(spec)), None
    except FileNotFoundError:
        return None, None
    except (CheckpointError, OSError) as e:
        return None, not_used(str(e))


def not_used(why: str) -> str:
    """Say that a training begins at its start although a shorter one has left a state."""
    return f"the state that a shorter training has left was not used, and the training began at its start: {why}"


class LongerWatcher(BranchWatcher):
    """Watches a training that goes on from the state of a shorter one.

    Args:
        spec: of the training.
        link: to its owner.
        state: that `read_state` has found.
    """

    def __init__(self, spec: TrainingSpec, link: Link, state: Mapping[str, Any]) -> None:
        super().__init__(spec, link, expected=state["next_loss"])

    def load_state(self, state: Mapping[str, Any], trainer: Trainer) -> None:
        """Go on from what the shorter training has seen; of its averages, whose window is another, nothing is used."""
        self.recall(state)


def longer(spec: TrainingSpec, link: Link, state: dict[str, Any]) -> tuple[LongerWatcher, Beginner]:
    """Return what watches a training that begins where a state was left, and what lets it begin there.

    Args:
        spec: of the training.
        link: to its owner.
        state: that `read_state` has found; what is as large as the training itself is taken out of it.
    """
    watcher = LongerWatcher(spec, link, state)

    def begun(_: Trainer) -> None:
        watcher.exact = watcher.exact and beginner.start.exact

    beginner = Beginner(state.pop("fit"), state["seen"], watcher, begun)
    return watcher, beginner


class Grower(Callback):
    """Leaves the state in which a training lets go of its peak.

    It is written a step later, with the loss of that step: where a longer training has another one there, the job keeps
    something that its state does not have.

    Its hooks come before those of the watcher: the first of them to ask for the data must find it watched.

    Args:
        spec: with a `trunk` whose `leave` is a file.
        watcher: of the same training.
        resumed: whether it goes on from a checkpoint of its own, and may have left the state before.

    Attributes:
        left: whether the state was left.
        notice: why it was not; None where it was, or where the training did not come so far.
    """

    def __init__(self, spec: TrainingSpec, watcher: Watcher, *, resumed: bool = False) -> None:
        assert spec.trunk is not None  # noqa: S101 - there is one to grow
        assert spec.trunk.leave is not None  # noqa: S101 - and its state is to be left
        self._spec = spec
        self._watcher = watcher
        self._step, self._path = spec.trunk.step, spec.trunk.leave
        self._held: dict[str, Any] | None = None
        self.left = resumed and self._path.exists()
        self.notice: str | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Watch the data, before anything asks for it."""
        if not can_be_captured(trainer):
            self._give_up(why_not_captured(trainer))
        else:
            keep_positions(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at each step whether it is the one."""
        if self.notice is None:
            at_boundaries(trainer, lambda epoch_over: self._after_step(trainer, epoch_over=epoch_over))

    def _after_step(self, trainer: Trainer, *, epoch_over: bool) -> None:
        step = self._watcher.step
        if step == self._step and not self.left and self.notice is None:
            try:
                self._held = self._state(trainer, capture(trainer, epoch_over=epoch_over))
            except CheckpointError as e:
                self._give_up(str(e))
        if self._held is not None and (step > self._step or step == self._spec.total_steps):
            held, self._held = self._held, None
            self._write({**held, "next_loss": self._watcher.last_loss if step > self._step else None})

    def _state(self, trainer: Trainer, fit: Snapshot) -> dict[str, Any]:
        watcher = self._watcher
        validation = trainer.fit_loop.epoch_loop.val_loop._combined_loader  # noqa: SLF001 - Lightning has no public name
        # a longer training would have been validated at other steps, and have drawn other data for it
        draws = validation is not None and bool(generators_of(validation.flattened))
        seen = {
            **watcher.state(),
            "averages": None,
            "val_batches": 0,
            "shared_steps": watcher.step,
            "exact": watcher.exact and not draws,
        }
        return {"fit": fit, "seen": plain(seen, "the watcher's state")}

    def _write(self, state: Mapping[str, Any]) -> None:
        try:
            write_checkpoint(self._path, state, _identity_of(self._spec))
        except OSError as e:
            self._give_up(str(e))
        else:
            self.left = True

    def _give_up(self, why: str) -> None:
        self.notice = f"the training leaves no state for longer ones: {why}"


def _identity_of(spec: TrainingSpec) -> dict[str, Any]:
    """Return what is the same for all trainings of a trunk, and for no other."""
    assert spec.trunk is not None  # noqa: S101 - the caller has seen it
    common = {name: value for name, value in identity_of(spec).items() if name not in _OPEN}
    return {**common, "trunk": spec.trunk.key, "split_batches": spec.split_batches}
