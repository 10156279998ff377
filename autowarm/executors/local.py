"""Trainings in processes of this machine, one a task, started from a forkserver that has torch and Lightning loaded."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self, TypeAlias

import cloudpickle

from autowarm.errors import JobError, OutOfMemoryError
from autowarm.executors import child, preload
from autowarm.executors.command import Command, task_file
from autowarm.specs import JobInfo, JobSpec, TrainingSpec, TrialResult

Task: TypeAlias = Literal["trial", "inspect"]
# Lines of a dead process' output that are kept.
_LOG_LINES = 15
# How long a process that has nothing more to tell may take to end by itself.
_EXIT_SECONDS = 5


@dataclass(frozen=True)
class Progress:
    """A training is at `step`, with training loss `loss`."""

    key: int
    step: int
    loss: float


@dataclass(frozen=True)
class Rung:
    """A training has validated and waits for `LocalExecutor.answer`; `ema` is the metric of the averaged weights."""

    key: int
    step: int
    value: float
    ema: float | None = None


@dataclass(frozen=True)
class Done:
    """A task has ended: with a result, or with an error of one line and, where there is one, its traceback.

    Or with nothing, where it must be started anew with several `processes`.

    Attributes:
        died: its process ended without a report, by a signal or by itself, with `exitcode` (negative for a signal; None
            where that is not known). The kernel sends -9 (SIGKILL) where the machine has no memory left.
        out_of_memory: it reported that it ran out of memory.
    """

    key: int
    result: TrialResult | JobInfo | None
    error: str | None = None
    detail: str | None = None
    processes: int = 1
    died: bool = False
    exitcode: int | None = None
    out_of_memory: bool = False


Event: TypeAlias = Progress | Rung | Done


@dataclass
class _Running:
    process: ForkServerProcess | Command
    connection: Connection
    log: Path


class LocalExecutor:
    """Runs tasks in processes of their own; a context manager that leaves none behind.

    Args:
        jobs: what will be trained: what their modules import is loaded once, in the forkserver.
    """

    def __init__(self, jobs: Sequence[JobSpec]) -> None:
        self._context = multiprocessing.get_context("forkserver")
        modules = preload.installed_imports(name for job in jobs for name in job.modules)
        os.environ[preload.VARIABLE] = json.dumps({"path": sys.path, "modules": modules})
        self._context.set_forkserver_preload(["autowarm.executors.forkserver"])
        self._folder = tempfile.TemporaryDirectory(prefix="autowarm-logs-")
        self._running: dict[int, _Running] = {}
        self._ending: list[ForkServerProcess | Command] = []
        self._next_key = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        for key in list(self._running):
            self.kill(key)
        for process in self._ending:
            _end(process)
        self._folder.cleanup()

    @property
    def keys(self) -> tuple[int, ...]:
        """The tasks that run."""
        return tuple(self._running)

    def start(self, task: Task, spec: TrainingSpec) -> int:
        """Start a task and return its key."""
        key, self._next_key = self._next_key, self._next_key + 1
        log = Path(self._folder.name) / f"{key}.log"
        payload = _pickled(task, spec)
        ours, theirs = self._context.Pipe()
        process = (
            Command(theirs, payload, log, threads=spec.threads, devices=spec.devices)
            if spec.processes > 1
            else self._forked(theirs, payload, log, spec.devices)
        )
        theirs.close()
        self._running[key] = _Running(process, ours, log)
        return key

    def _forked(
        self, connection: Connection, payload: bytes, log: Path, devices: tuple[str, ...] | None
    ) -> ForkServerProcess:
        process = self._context.Process(
            target=child.forked,
            args=(connection, payload, str(log)),
            kwargs={"devices": devices, "start_method": multiprocessing.get_start_method(allow_none=True)},
            name="autowarm-trial",
        )
        with _bare_main():
            process.start()
        return process

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
        _kill(running.process)
        _end(running.process)
        _remove(running.log)

    def inspect(self, spec: TrainingSpec) -> JobInfo:
        """Look at a job in a process of its own.

        Raises:
            OutOfMemoryError: the job's batches do not fit into memory; a spec with more `split_batches` may.
            JobError: the job cannot be built or tuned; says why.
        """
        key = self.start("inspect", spec)
        while True:
            for event in self.events(timeout=1.0):
                if isinstance(event, Done) and event.key == key:
                    if event.processes > 1:
                        return self.inspect(replace(spec, processes=event.processes))
                    if isinstance(event.result, JobInfo):
                        return event.result
                    detail = f"\n\n{event.detail.rstrip()}" if event.detail else ""
                    raise (OutOfMemoryError if event.out_of_memory else JobError)(f"{event.error}{detail}")

    def _tell(self, key: int, message: tuple[str, Any]) -> None:
        # one that has ended cannot hear; the next events() says how it did
        with suppress(OSError):
            self._running[key].connection.send(message)

    def _read(self, key: int) -> Event:
        running = self._running[key]
        try:
            kind, *payload = running.connection.recv()
        except (EOFError, OSError):
            return self._died(key)
        if kind == "progress":
            return Progress(key, *payload)
        if kind == "rung":
            return Rung(key, *payload)
        _remove(self._release(key).log)
        if kind == "done":
            (result,) = payload
            return Done(key, result, out_of_memory=isinstance(result, TrialResult) and result.out_of_memory)
        if kind == "processes":
            return Done(key, None, processes=payload[0])
        error, detail, out_of_memory = payload
        return Done(key, None, error, detail, out_of_memory=out_of_memory)

    def _died(self, key: int) -> Done:
        running = self._release(key)
        running.process.join(_EXIT_SECONDS)
        code = running.process.exitcode
        # the workers of its loaders would find out in some seconds, or never while they work
        _kill(running.process)
        how = f"with exit code {code}"
        if code is not None and code < 0:
            how = f"by signal {signal.Signals(-code).name}"
            how += " (out of memory?)" if -code == signal.SIGKILL else ""
        detail = _tail(running.log)
        _remove(running.log)
        return Done(key, None, f"the training's process died {how}", detail, died=True, exitcode=code)

    def _release(self, key: int) -> _Running:
        running = self._running.pop(key)
        running.connection.close()
        self._ending.append(running.process)
        return running


def _pickled(task: Task, spec: TrainingSpec) -> bytes:
    try:
        return bytes(cloudpickle.dumps((task, spec)))
    except Exception as e:  # noqa: BLE001 - pickle raises many kinds
        raise JobError(
            f"the job {spec.job} cannot be sent to a process of its own ({e}): "
            "build models and data inside the factory, not around it"
        ) from None


def _tail(log: Path) -> str | None:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return "\n".join(lines[-_LOG_LINES:]) or None


def _remove(log: Path) -> None:
    # the process may still write to it, which takes no name
    for file in (log, task_file(log)):
        file.unlink(missing_ok=True)


def _kill(process: ForkServerProcess | Command) -> None:
    """End a process and its group, which it leads once it has begun its task."""
    assert process.pid is not None  # noqa: S101 - it has been started
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _end(process: ForkServerProcess | Command) -> None:
    deadline = time.monotonic() + _EXIT_SECONDS
    while process.is_alive() and time.monotonic() < deadline:
        process.join(0.05)
    if process.is_alive():
        _kill(process)
        process.join()


@contextmanager
def _bare_main() -> Iterator[None]:
    """Hide the caller's script from multiprocessing, which would run it again at the start of every child.

    cloudpickle sends what the job needs of it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    # a Ctrl-C while the forkserver starts would end it: it inherits that this waits, and the caller gets it afterwards
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
