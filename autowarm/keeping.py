"""A training that keeps itself in a file, and goes on from there when it was interrupted."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from autowarm.checkpoint import identity_of, read_checkpoint, write_checkpoint
from autowarm.data_position import keep_positions
from autowarm.errors import CheckpointError
from autowarm.record import Resumed
from autowarm.snapshot import Start, at_boundaries, can_be_captured, capture, plain, why_not_captured
from autowarm.specs import TrainingSpec
from autowarm.watcher import STOPPED, Ended, Watcher

_NONE = "the training keeps no checkpoint, and starts anew where it is interrupted"
OF_SEVERAL_PROCESSES = f"{_NONE}: it runs in several processes"


def read_kept(spec: TrainingSpec) -> tuple[dict[str, Any] | None, str | None]:
    """Return what a training goes on from, or None; and why it does not where there is a file all the same.

    Args:
        spec: with a `checkpoint`.
    """
    path = spec.checkpoint
    assert path is not None  # noqa: S101 - the caller has seen it
    try:
        return read_checkpoint(path, identity_of(spec)), None
    except FileNotFoundError:
        return None, None
    except (CheckpointError, OSError) as e:
        return None, anew(spec, e)


def anew(spec: TrainingSpec, error: BaseException) -> str:
    """Say that a training begins anew although there is a checkpoint."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"the checkpoint {spec.checkpoint} was not used, and the training began anew: {lines[0]}"


class Keeper(Callback):
    """Writes a training's checkpoints, and puts it back to where one of them was written.

    Its hooks come before those of the watcher: the first of them to ask for the data must find it watched.

    Args:
        spec: with a `checkpoint`.
        watcher: of the same training.
        kept: what `read_kept` found; emptied once the training goes on from it.
        started: `time.monotonic()` at the start of the trial.

    Attributes:
        seconds: wall time of the training before this process.
        notices: what its owner should know.
    """

    def __init__(self, spec: TrainingSpec, watcher: Watcher, *, kept: dict[str, Any] | None, started: float) -> None:
        # without one there would be nothing to keep
        assert spec.checkpoint is not None  # noqa: S101
        self.path = spec.checkpoint
        self.spec = spec
        self.watcher = watcher
        self.seconds = 0.0
        self.notices: list[str] = []
        self._kept = kept
        self._fresh = kept is not None and kept["resumed"] == "fresh data"
        self._identity = identity_of(spec)
        self._started = started
        self._written = time.monotonic()
        self._start = Start(kept["fit"], self._put_back) if kept is not None else None
        self._keeps = True

    @property
    def put_back(self) -> bool:
        """Whether the training is where the checkpoint was written."""
        return self._start is not None and self._start.done

    @property
    def resumed(self) -> Resumed | None:
        """How the training went on, at the worst of the times it was interrupted."""
        if self._start is None or not self._start.done:
            return None
        return "exact" if self._exact else "fresh data"

    @property
    def _exact(self) -> bool:
        return self._start is not None and self._start.exact and not self._fresh

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Watch the data, and hand Lightning its part of the checkpoint."""
        if not can_be_captured(trainer):
            why = why_not_captured(trainer)
            if self._start is not None:
                raise CheckpointError(why)
            self._give_up(why)
            return
        keep_positions(trainer)
        if self._start is not None:
            self._start.on_setup(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint where one is due."""
        if not self._keeps:
            return
        if self._start is not None:
            self._start.on_fit_start(trainer)
        self.watcher.stops_later = True
        at_boundaries(trainer, lambda epoch_over: self._after_step(trainer, epoch_over=epoch_over))

    def _put_back(self, trainer: Trainer) -> None:
        assert self._kept is not None  # noqa: S101 - there is something to go on from
        self.seconds = self._kept["seconds"]
        self.watcher.load_state(self._kept["watcher"], trainer)
        self.watcher.exact = self.watcher.exact and self._exact
        # as large as the training itself, and who has read it holds it, too
        self._kept.clear()

    def _after_step(self, trainer: Trainer, *, epoch_over: bool) -> None:
        stopped = self.watcher.told_to_stop
        if self.watcher.step >= self.watcher.spec.total_steps:  # type: ignore[operator] # a trial's horizon is known
            return
        if self._keeps and (stopped or time.monotonic() - self._written >= self.spec.checkpoint_seconds):
            self._write(trainer, epoch_over=epoch_over)
            self._written = time.monotonic()
        if stopped:
            raise Ended(None, STOPPED)

    def _write(self, trainer: Trainer, *, epoch_over: bool) -> None:
        try:
            data = {
                "fit": capture(trainer, epoch_over=epoch_over),
                "watcher": plain(self.watcher.state(), "the watcher's state"),
                "seconds": self.seconds + time.monotonic() - self._started,
                "resumed": self.resumed,
            }
            write_checkpoint(self.path, data, self._identity)
        except CheckpointError as e:
            self._give_up(str(e))
        except OSError as e:
            # there may be room again for the next one
            self._notice(f"a checkpoint was not written: {e}")

    def _give_up(self, why: str) -> None:
        self._keeps = False
        self._notice(f"{_NONE}: {why}")

    def _notice(self, text: str) -> None:
        if text not in self.notices:
            self.notices.append(text)
