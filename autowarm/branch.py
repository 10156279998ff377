"""A fit that begins where a trial leaves its trunk, and is refused where it does not go on as the trunk did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from autowarm.data_position import keep_positions
from autowarm.snapshot import Snapshot, Start
from autowarm.specs import Link, TrainingSpec
from autowarm.watcher import Ended, Watcher

# How far two losses of the same weights and batch may be apart, relative; kernels of a GPU may add in any order.
_CPU_ROUND_OFF = 1e-5
_GPU_ROUND_OFF = 1e-3


class Beginner(Callback):
    """Lets the fit of a branch begin where it left the trunk.

    Its hooks come before those of the watcher: the first of them to ask for the data must find it watched.

    Args:
        snapshot: the state of the trunk's fit.
        view: what the trunk has seen for the trial.
        watcher: of the branch.
        then: is called when all is in place, right before the first batch.

    Attributes:
        start: puts the fit where the snapshot is.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        view: Mapping[str, Any],
        watcher: BranchWatcher,
        then: Callable[[Trainer], None] = lambda _: None,
    ) -> None:
        self._view: Mapping[str, Any] = view
        self._watcher = watcher
        self._then = then
        self.start = Start(snapshot, self._put_back)
        # with other data there is another loss
        if not self.start.exact:
            watcher.expected = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Watch the data, and hand Lightning its part of the state."""
        keep_positions(trainer)
        self.start.on_setup(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Allow the epochs that the trunk has taken."""
        self.start.on_fit_start(trainer)

    def _put_back(self, trainer: Trainer) -> None:
        self._watcher.load_state(self._view, trainer)
        self._watcher.round_off = _CPU_ROUND_OFF if trainer.strategy.root_device.type == "cpu" else _GPU_ROUND_OFF
        # it may hold averages of the weights
        self._view = {}
        self._then(trainer)


class BranchWatcher(Watcher):
    """Watches a branch, and ends it where its first loss is another than the trunk's at the same step.

    Both are of the same weights and the same batch, whatever the learning rate: it is taken before the step.

    Args:
        spec: of the trial.
        link: to its owner.
        expected: the trunk's loss of the first step; None where it has none.

    Attributes:
        mismatch: why it has ended; None where it has not.
        round_off: the relative difference that is none.
    """

    def __init__(self, spec: TrainingSpec, link: Link, expected: float | None) -> None:
        # the state that it begins with is of the carrier's schedule
        super().__init__(spec, link, on_resume="rehorizon")
        self.expected = expected
        self.mismatch: str | None = None
        self.round_off = _CPU_ROUND_OFF

    def _take(self, loss: float) -> None:
        expected, self.expected = self.expected, None
        if expected is not None and not same_number(loss, expected, self.round_off):
            self.mismatch = differs("training loss", self.step, loss, expected)
            raise Ended(None, self.mismatch)
        super()._take(loss)


def differs(what: str, step: int, branch: float, trunk: float) -> str:
    """Say why a job cannot branch."""
    return (
        f"a branch's {what} at step {step} is {branch:.9g}, and the trunk's {trunk:.9g}: the job keeps state that is "
        "not in the state_dict of its module, such as an attribute or a buffer that is not registered"
    )


def same_number(a: float, b: float, relative: float) -> bool:
    """Tell whether two numbers are the same but for round-off; one that is not finite is like any other such."""
    finite = a - a == 0 and b - b == 0
    return abs(a - b) <= relative * max(abs(a), abs(b)) if finite else (a - a == 0) == (b - b == 0)
