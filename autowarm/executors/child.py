"""The inside of a process that trains one task: the far end of an executor."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import cloudpickle

from autowarm.errors import AutowarmError
from autowarm.gpus import visible
from autowarm.specs import Branching, Link, TrialResult, TrunkLink, training_of

# Exit status of a training whose owner has gone.
ORPHANED = 3
# How long a process that has reported may take to run its exit handlers; its owner waits as long.
_EXIT_SECONDS = 5.0


class PipeLink(Link):
    """Tells the owner up a pipe. A thread of its own notices at once when the owner says stop, or is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._reported = False
        # workers of the job's loaders would hold the pipe open after this process has died, and its owner wait for them
        os.register_at_fork(after_in_child=connection.close)
        threading.Thread(target=self._listen, name="autowarm-link", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                kind, payload = self._connection.recv()
            except (EOFError, OSError):
                # The owner closes the pipe when it has the result: what the job's libraries do at exit then goes on,
                # or their locks and files would be left behind.
                if self._reported:
                    time.sleep(_EXIT_SECONDS)
                # nobody is left to report to, and nobody would end this process
                end_group()
            if kind == "stop":
                self._stopped.set()
                self._answers.put(None)
            else:
                self._answers.put(payload)

    def send(self, kind: str, *payload: Any) -> None:
        """Send a message; an owner that is gone ends this process."""
        self._reported = kind in ("done", "error")
        try:
            self._connection.send((kind, *payload))
        except OSError:
            end_group()

    def ask(self, kind: str, *payload: Any) -> str | None:
        """Send a message and wait for the answer; None where the owner has said stop."""
        self.send(kind, *payload)
        return self._answers.get()

    def progress(self, step: int, loss: float) -> None:
        """Tell where the training is."""
        self.send("progress", step, loss)

    def rung(self, step: int, value: float, ema: float | None = None) -> str | None:
        """Report a rung and wait for the verdict: a seeded study must not depend on who is faster."""
        return self.ask("rung", step, value, ema)

    def stopped(self) -> bool:
        """Tell whether the owner wants the training to end now."""
        return self._stopped.is_set()


class PipeTrunkLink(TrunkLink):
    """Tells the owner of a trunk up the pipe of its process: the same messages, with the trial that they are about."""

    def __init__(self, pipe: PipeLink) -> None:
        self._pipe = pipe

    def progress(self, trial: int, step: int, loss: float) -> None:
        """Tell where the training of a trial is."""
        self._pipe.send("progress", step, loss, trial)

    def rung(self, trial: int, step: int, value: float, ema: float | None = None) -> str | None:
        """Report a rung of a trial and wait for the verdict."""
        return self._pipe.ask("rung", step, value, ema, trial)

    def finished(self, trial: int, result: TrialResult) -> None:
        """Send the result of a trial."""
        self._pipe.send("finished", trial, result)

    def stopped(self) -> bool:
        """Tell whether the owner wants the trunk to end now."""
        return self._pipe.stopped()


def end_group() -> NoReturn:
    """End this process at once, with what it has started, such as the workers of its loaders."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(ORPHANED)


def forked(
    connection: Connection,
    payload: bytes,
    log: str,
    *,
    devices: tuple[str, ...] | None,
    start_method: str | None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run one task, as `main` does, in a process that multiprocessing's forkserver has forked.

    Args:
        connection: the pipe to the owner.
        payload: as for `main`.
        log: as for `main`.
        devices: GPUs that the task sees; None: those of this process. Beside the payload, as what that imports may
            ask CUDA at once.
        start_method: of the processes that the job starts, as set in the owner; None: Python's default.
        env: the environment to train in; default: that of the process.
    """
    if env is not None:
        # before anything asks which accelerators it may see
        os.environ.clear()
        os.environ.update(env)
    # a group of its own: Ctrl-C is the owner's, and a kill ends the workers of the job's loaders, too
    os.setsid()
    if devices is not None:
        os.environ.update(visible(devices))
    # multiprocessing has set this process' own way: loaders would start a forkserver to fork their workers from, which
    # imports all anew, takes no lambdas, and outlives a killed training
    multiprocessing.set_start_method(start_method, force=True)
    main(connection, payload, log)


def main(connection: Connection, payload: bytes, log: str) -> None:
    """Run one task and send its result.

    Args:
        connection: the pipe to the owner.
        payload: (`autowarm.executors.events.Task`, what it takes), pickled by cloudpickle: a job may be a lambda.
        log: file that takes what the training prints.
    """
    # Ctrl-C reaches the whole group of processes; the owner decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # the owner's arguments are not the job's: LightningCLI warns of them, a job might parse them
    sys.argv = sys.argv[:1]
    try:
        _redirect(log)
    except FileNotFoundError:
        # the owner has gone, and its folder of logs with it, before this process was forked
        os._exit(ORPHANED)
    link = PipeLink(connection)
    try:
        link.send(*perform(payload, link, PipeTrunkLink(link)))
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()


def perform(payload: bytes, link: Link, trunk_link: TrunkLink | None = None) -> tuple[Any, ...]:
    """Run one task and return the message that says how it ended.

    Args:
        payload: as for `main`.
        link: who is told of a trial.
        trunk_link: who is told of a trunk.

    Returns:
        ("done", result); ("processes", n) where the job needs n of them; or ("error", line, traceback or None, whether
        memory ran out).
    """
    # here, in the child: the owner's process stays light
    from autowarm.branch_check import check_branching
    from autowarm.inspection import inspect_job
    from autowarm.memory import is_out_of_memory, out_of_memory_reason
    from autowarm.trial import SeveralProcesses, run_trial
    from autowarm.trunk import run_trunk

    parts = 1
    try:
        task, spec = cloudpickle.loads(payload)
        parts = training_of(spec).split_batches
        run: dict[str, Callable[[], Any]] = {
            "trial": lambda: run_trial(spec, link),
            "trunk": lambda: run_trunk(spec, trunk_link),
            "inspect": lambda: inspect_job(spec),
            "branching": lambda: Branching(refused=check_branching(spec)),
        }
        return "done", run[task]()
    except SeveralProcesses as e:
        return "processes", e.count
    except AutowarmError as e:
        return "error", str(e), None, False
    except Exception as e:  # noqa: BLE001 - whatever a job raises is told to the owner
        if is_out_of_memory(e):
            return "error", out_of_memory_reason(parts), traceback.format_exc(), True
        lines = str(e).strip().splitlines()
        return "error", f"{type(e).__name__}: {lines[0] if lines else ''}", traceback.format_exc(), False


def _redirect(log: str) -> None:
    """Send what Python and C print to the log: a live display owns the terminal."""
    with open(log, "ab", buffering=0) as file:  # noqa: PTH123 - a descriptor is what dup2 needs
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False, encoding="utf-8", errors="replace")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, encoding="utf-8", errors="replace")  # noqa: SIM115
