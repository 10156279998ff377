"""Processes of this machine that train, one a task, started from a forkserver that has torch and Lightning loaded."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from autowarm.executors import child, preload
from autowarm.executors.command import Command, task_file

Process: TypeAlias = ForkServerProcess | Command
# Lines of a dead process' output that are kept.
_LOG_LINES = 15
# How long a process that has nothing more to tell may take to end by itself.
_EXIT_SECONDS = 5


class Processes:
    """Starts them.

    Args:
        modules: installed modules that the forkserver imports once, for all of them.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._context = multiprocessing.get_context("forkserver")
        os.environ[preload.VARIABLE] = json.dumps({"path": sys.path, "modules": list(modules), "owner": os.getpid()})
        self._context.set_forkserver_preload(["autowarm.executors.forkserver"])

    def start(
        self,
        payload: bytes,
        log: Path,
        *,
        processes: int,
        threads: int,
        devices: tuple[str, ...] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> tuple[Process, Connection]:
        """Start a task; returns its process and the owner's end of its pipe.

        Args:
            payload: what `child.main` takes.
            log: file that takes what the training prints.
            processes: of the training; more than one is a command.
            threads: CPU threads of each of them, where they are several.
            devices: GPUs that the training sees; None: those of this process.
            env: the environment of a forked process, instead of that which the forkserver was started in.
        """
        ours, theirs = self._context.Pipe()
        process: Process
        if processes > 1:
            process = Command(theirs, payload, log, threads=threads, devices=devices)
        else:
            process = self._context.Process(
                target=child.forked,
                args=(theirs, payload, str(log)),
                kwargs={
                    "devices": devices,
                    "start_method": multiprocessing.get_start_method(allow_none=True),
                    "env": env,
                },
                name="autowarm-trial",
            )
            with _bare_main():
                process.start()
        theirs.close()
        return process, ours


def last_words(process: Process, log: Path) -> tuple[str, str | None]:
    """Say how a process ended that has reported nothing: in one line, and with the end of what it printed.

    What it has started ends with it, and its files go: the workers of its loaders would find out in some seconds, or
    never while they work.
    """
    process.join(_EXIT_SECONDS)
    code = process.exitcode
    kill(process)
    how = f"with exit code {code}"
    if code is not None and code < 0:
        how = f"by signal {signal.Signals(-code).name}"
        # the kernel sends it where the machine has no memory left
        how += " (out of memory?)" if -code == signal.SIGKILL else ""
    printed = _tail(log)
    remove_files(log)
    return f"the training's process died {how}", printed


def kill(process: Process) -> None:
    """End a process at once, with its group, which it leads once it has begun its task."""
    assert process.pid is not None  # noqa: S101 - it has been started
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def end(process: Process) -> None:
    """Wait for a process that ends by itself, and kill it where it does not."""
    deadline = time.monotonic() + _EXIT_SECONDS
    while process.is_alive() and time.monotonic() < deadline:
        process.join(0.05)
    if process.is_alive():
        kill(process)
        process.join()


def remove_files(log: Path) -> None:
    """Remove the files of a task that has ended; its process may still write to them, which takes no name."""
    for file in (log, task_file(log)):
        file.unlink(missing_ok=True)


def _tail(log: Path) -> str | None:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return "\n".join(lines[-_LOG_LINES:]) or None


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
