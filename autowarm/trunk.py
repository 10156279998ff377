"""One trunk, many trials: what trials of one peak, warmup and seed share is trained once, and each goes on from there.

Schedules that hold their peak differ only from the step on where they cool down. The trunk is the training of one of
them, the carrier; it is captured where another one leaves (`autowarm.snapshot`), and each of those is a fit of its own
that begins there, with the job built anew. With a cooldown over the share c of each of several numbers of steps T, that
takes (1 - c) max(T) + c sum(T) steps instead of sum(T) (Haegele et al. 2024, "Scaling Laws and Compute-Optimal Training
Beyond Fixed Training Durations").

Each result is that of the trial by itself, bit for bit on a CPU, where `autowarm.data_position` can put the data back;
`exact` says so. Not restored is what `autowarm.snapshot` does not see: state outside of every `state_dict`. A branch
whose first loss is not the trunk's at that step is refused; `autowarm.branch_check` looks before anything is spent. Not
noticed is a job that changes more than its schedule with `max_steps`.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from autowarm.branch import Beginner, BranchWatcher
from autowarm.checkpoint import read_checkpoint, remove_checkpoint, write_checkpoint
from autowarm.errors import CheckpointError
from autowarm.snapshot import Snapshot
from autowarm.specs import Link, TrialResult, TrunkLink, TrunkResult, TrunkSpec
from autowarm.trial import result_of, train
from autowarm.trunk_watcher import TrunkWatcher
from autowarm.watcher import STOPPED, Watcher


def run_trunk(spec: TrunkSpec, link: TrunkLink | None = None) -> TrunkResult:
    """Train the trials of a trunk, what they share once, and return their results.

    The trunk comes first, and what ends on it has its result at once; then the branches, the earliest first. A trunk
    that diverges or fails ends all trials that still share it; those that have left go on. The cost of each step and
    validation is in one result: `steps` counts a trial's steps from the start, `shared_steps` those of them that the
    carrier has paid for, and `seconds` and `val_batches` are a trial's own.

    Nothing is raised for what the job does; an interrupted trunk starts anew.

    Args:
        spec: the trials.
        link: who is told of each trial, and may prune or stop.
    """
    with tempfile.TemporaryDirectory(prefix="autowarm-trunk-", dir=spec.folder) as folder:
        return _Run(spec, link or TrunkLink(), _States(spec.memory_bytes, Path(folder))).run()


class _Run:
    """One run of a trunk and its branches."""

    def __init__(self, spec: TrunkSpec, link: TrunkLink, states: _States) -> None:
        self._spec = spec
        self._link = link
        self._states = states
        self._results: list[TrialResult | None] = [None] * len(spec.trials)
        self._refused: str | None = None
        # no branch would be what it should be
        self._broken = False
        # trials that go on by themselves, in the order that they left
        self._branches: list[int] = []
        self._left: set[int] = {spec.carrier}
        self._watcher = TrunkWatcher(spec, _Of(link, spec.carrier), self._leave)

    def run(self) -> TrunkResult:
        self._train_trunk()
        for trial in self._branches:
            if not self._broken:
                self._train_branch(trial)
        return TrunkResult(results=tuple(self._results), refused=self._refused)

    def _train_trunk(self) -> None:
        watcher, carrier = self._watcher, self._spec.carrier
        result = train(watcher.spec, watcher, [watcher], started=time.monotonic())
        by_itself = result.error is None and (result.outcome, result.reason) == watcher.verdict()
        own = watcher.view(carrier)
        curves: dict[str, Any] = {
            name: tuple(own[name]) for name in ("rungs", "ema_rungs", "train_curve", "grad_norms")
        }
        self._finish(carrier, replace(result, **curves), shared_steps=0, exact=watcher.alike(carrier))
        for trial in range(len(self._spec.trials)):
            if trial in self._left:
                continue
            seen = self._seen(trial, watcher.view(trial), told=result.outcome is not None)
            outcome, reason = seen.verdict() if by_itself else (result.outcome, result.reason)
            ended = replace(result_of(seen, outcome, reason), error=result.error, out_of_memory=result.out_of_memory)
            self._finish(trial, ended, shared_steps=seen.step, exact=watcher.alike(trial))
        watcher.let_go()

    def _leave(self, trainer: Trainer, trials: list[int], snapshot: Snapshot | None) -> None:
        """Let trials leave the trunk after the step just done: with a result, or with the state to go on from."""
        self._left.update(trials)
        step = self._watcher.step
        going_on = [i for i in trials if self._spec.trials[i].total_steps != step]
        for trial in trials:
            view = self._watcher.view(trial)
            if trial not in going_on:
                seen = self._seen(trial, view)
                ended = result_of(seen, *seen.verdict())
                self._finish(trial, ended, shared_steps=step, exact=self._watcher.alike(trial))
            elif snapshot is None:
                self._refused = self._watcher.uncaptured
            else:
                self._branches.append(trial)
                self._keep(f"trial {trial}", view)
        if going_on and snapshot is not None:
            self._keep(f"step {step}", snapshot, uses=len(going_on))

    def _keep(self, key: str, data: dict[str, Any], uses: int = 1) -> None:
        try:
            self._states.keep(key, data, uses=uses)
        except (OSError, CheckpointError) as e:
            self._refused = f"the state of the trunk could not be kept: {e}"

    def _seen(self, trial: int, view: dict[str, Any], *, told: bool = True) -> Watcher:
        """Return a watcher of a trial that has seen what the trunk has seen for it; its owner is told of the rungs.

        Not so one that has said stop: it need not answer any more.
        """
        watcher = Watcher(self._spec.trials[trial], _Of(self._link, trial) if told else Link())
        watcher.recall(view)
        return watcher

    def _train_branch(self, trial: int) -> None:
        started = time.monotonic()
        step, spec = self._spec.branch_steps[trial], self._spec.trials[trial]
        exact = self._watcher.alike(trial)
        watcher = BranchWatcher(spec, _Of(self._link, trial), self._watcher.loss_of(step + 1))
        try:
            view = self._states.take(f"trial {trial}")
            if self._link.stopped():
                stopped = result_of(self._seen(trial, view, told=False), None, STOPPED)
                self._finish(trial, stopped, shared_steps=step, exact=exact)
                return
            # nobody else holds what it begins with, which is as large as the training itself
            beginner = Beginner(self._states.take(f"step {step}"), view, watcher)
            del view
        except (OSError, CheckpointError, KeyError) as e:
            self._refused = self._refused or f"the state of the trunk could not be read: {e}"
            return
        if torch.cuda.is_available():
            # the fit before is a ring of references, with weights in the memory that this one needs
            gc.collect()
        result = train(spec, watcher, [beginner, watcher], started=started)
        if watcher.mismatch is not None:
            self._refused, self._broken = watcher.mismatch, True
        elif not beginner.start.done:
            self._refused, self._broken = f"a branch could not begin: {result.reason}", True
        else:
            self._finish(trial, result, shared_steps=step, exact=exact and beginner.start.exact)

    def _finish(self, trial: int, result: TrialResult, *, shared_steps: int, exact: bool) -> None:
        ended = replace(result, trunk=self._spec.name, shared_steps=shared_steps, exact=exact)
        self._results[trial] = ended
        self._link.finished(trial, ended)


class _Of(Link):
    """What concerns one trial of a trunk."""

    def __init__(self, link: TrunkLink, trial: int) -> None:
        self._link = link
        self._trial = trial

    def progress(self, step: int, loss: float) -> None:
        self._link.progress(self._trial, step, loss)

    def rung(self, step: int, value: float, ema: float | None = None) -> str | None:
        return self._link.rung(self._trial, step, value, ema)

    def stopped(self) -> bool:
        return self._link.stopped()


class _States:
    """The states that branches begin from: in memory up to a bound, the rest in files.

    Args:
        memory_bytes: the bound.
        folder: for the files.

    Attributes:
        in_files: how many were written to files.
    """

    _IDENTITY = {"state": "of a trunk"}  # noqa: RUF012 - never changed

    def __init__(self, memory_bytes: int, folder: Path) -> None:
        self._bound = memory_bytes
        self._folder = folder
        self._held: dict[str, dict[str, Any]] = {}
        self._uses = Counter[str]()
        self.in_files = 0

    def keep(self, key: str, data: dict[str, Any], *, uses: int) -> None:
        """Keep plain data until it was taken `uses` times.

        Raises:
            OSError: it does not fit into the memory, and cannot be written.
        """
        self._uses[key] = uses
        if bytes_in(data) + sum(map(bytes_in, self._held.values())) <= self._bound:
            self._held[key] = data
            return
        write_checkpoint(self._path(key), data, self._IDENTITY)
        self.in_files += 1

    def take(self, key: str) -> dict[str, Any]:
        """Return what was kept.

        Raises:
            KeyError: nothing was.
            OSError: its file cannot be read.
            CheckpointError: its file is damaged.
        """
        if not self._uses[key]:
            raise KeyError(key)
        self._uses[key] -= 1
        data = self._held[key] if key in self._held else read_checkpoint(self._path(key), self._IDENTITY)
        if not self._uses[key] and self._held.pop(key, None) is None:
            remove_checkpoint(self._path(key))
        return data

    def _path(self, key: str) -> Path:
        return self._folder / key.replace(" ", "-")


def bytes_in(value: Any) -> int:
    """Return how much memory the tensors in nested plain data take."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(bytes_in, value.values()))
    return sum(map(bytes_in, value)) if isinstance(value, list | tuple | set) else 0
