"""Trainings in processes of this machine, one a task."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from autowarm.executors import preload
from autowarm.executors.events import Done, Event, Task, event_of, look, pickled
from autowarm.executors.processes import Process, Processes, end, kill, last_words, remove_files
from autowarm.gpus import GpuSlots, checked_gpus_per_trial, gpus_seen
from autowarm.specs import JobInfo, JobSpec, Spec, TrainingSpec, placed, training_of


def cores() -> int:
    """Return the cores that this process may use: those it is bound to, as far as its container's limit goes."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(bound, ceil(cores_allowed())))


def cores_allowed(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return how many cores' time Linux's control groups allow this process; `os` knows nothing of it.

    Args:
        groups: where their files are, of the second version, or of the first one.
        own: which groups the process is in.

    Returns:
        Cores, a fraction too; at most those of the machine.
    """
    least = float(os.cpu_count() or 1)
    try:
        inside = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return least
    for _, controllers, path in (parts for parts in inside if len(parts) == 3):
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = groups / "cpu" if controllers else groups
        folder = root / path.lstrip("/")
        # a limit of a group is one of those in it; a container sees its own at the top
        for group in (folder, *folder.parents):
            if group.is_relative_to(root) and (limit := _limit_of(group, first=bool(controllers))) is not None:
                least = min(least, limit)
    return least


def _limit_of(group: Path, *, first: bool) -> float | None:
    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if first else ("cpu.max",)
    try:
        quota, period = (float(word) for name in names for word in (group / name).read_text().split())
    except (OSError, ValueError):  # there is none: "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


@dataclass
class _Running:
    process: Process
    connection: Connection
    log: Path
    gpus: tuple[str, ...] | None = None


class LocalExecutor:
    """Runs tasks in processes of their own; a context manager that leaves none behind.

    Args:
        jobs: what will be trained: what their modules import is loaded once, in the forkserver.
        gpus_per_trial: GPUs of a trial, or the share of one; None: as many as a training has processes.

    Raises:
        SettingsError: not a number of GPUs.
    """

    def __init__(self, jobs: Sequence[JobSpec], *, gpus_per_trial: float | None = None) -> None:
        self._gpus_per_trial = checked_gpus_per_trial(gpus_per_trial) if gpus_per_trial is not None else None
        self._slots: GpuSlots | None = None
        self._processes = Processes(preload.installed_imports(name for job in jobs for name in job.modules))
        self._folder = tempfile.TemporaryDirectory(prefix="autowarm-logs-")
        self._running: dict[int, _Running] = {}
        self._ending: list[Process] = []
        self._next_key = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        for key in list(self._running):
            self.kill(key)
        for process in self._ending:
            end(process)
        self._folder.cleanup()

    @property
    def keys(self) -> tuple[int, ...]:
        """The tasks that run."""
        return tuple(self._running)

    def at_once(self, info: JobInfo) -> int:
        """Return how many trials of a job there is room for: on the cores, or on the GPUs, which trials then get.

        Raises:
            SettingsError: a trial takes more GPUs than there are.
        """
        if info.gpus:
            each = self._gpus_per_trial if self._gpus_per_trial is not None else float(info.processes)
            self._slots = GpuSlots(gpus_seen(info.gpus, os.environ), each)
            return self._slots.trials_at_once
        return max(1, cores() // info.processes) if info.accelerator == "cpu" else 1

    def start(self, task: Task, spec: Spec) -> int:
        """Start a task and return its key."""
        key, self._next_key = self._next_key, self._next_key + 1
        log = Path(self._folder.name) / f"{key}.log"
        # where more trials are asked for than there is room for, the others see all GPUs
        gpus = self._slots.acquire() if self._slots is not None and task in ("trial", "trunk") else None
        if self._slots is not None and gpus is not None:
            spec = placed(spec, devices=gpus, gpu_memory_share=self._slots.memory_share)
        one = training_of(spec)
        process, connection = self._processes.start(
            pickled(task, spec), log, processes=one.processes, threads=one.threads, devices=one.devices
        )
        self._running[key] = _Running(process, connection, log, gpus)
        return key

    def events(self, timeout: float) -> Iterator[Event]:
        """Yield what the tasks have told, waiting at most `timeout` seconds for the first word."""
        connections = {running.connection: key for key, running in self._running.items()}
        if not connections:
            return
        for connection in wait(list(connections), timeout):
            key = connections[connection]  # type: ignore[index] # wait returns what it was given
            if key in self._running:
                yield self._read(key)
        self._ending = [process for process in self._ending if process.is_alive()]

    def answer(self, key: int, reason: str | None) -> None:
        """Let a training that reported a rung go on (None), or end it as pruned for a reason."""
        self._tell(key, ("answer", reason))

    def stop(self, key: int) -> None:
        """Ask a task to end at its next step; it still reports, without an outcome."""
        self._tell(key, ("stop", None))

    def kill(self, key: int) -> None:
        """End a task at once, with all processes that it has started; it reports nothing more."""
        running = self._release(key)
        kill(running.process)
        end(running.process)
        remove_files(running.log)

    def inspect(self, spec: TrainingSpec) -> JobInfo:
        """Look at a job in a process of its own.

        Raises:
            OutOfMemoryError: the job's batches do not fit into memory; a spec with more `split_batches` may.
            JobError: the job cannot be built or tuned; says why.
        """
        return look(self, spec)

    def _tell(self, key: int, message: tuple[str, Any]) -> None:
        # one that has ended cannot hear; the next events() says how it did
        with suppress(OSError):
            self._running[key].connection.send(message)

    def _read(self, key: int) -> Event:
        running = self._running[key]
        try:
            event = event_of(key, running.connection.recv())
        except (EOFError, OSError):
            running = self._release(key)
            return Done(key, None, *last_words(running.process, running.log), died=True)
        if isinstance(event, Done):
            remove_files(self._release(key).log)
        return event

    def _release(self, key: int) -> _Running:
        running = self._running.pop(key)
        running.connection.close()
        if self._slots is not None and running.gpus is not None:
            self._slots.release(running.gpus)
        self._ending.append(running.process)
        return running
