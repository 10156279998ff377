"""What runs as a task on a Ray node: starts a training's process beside itself, and passes on what the two ends say.

The worker that Ray runs tasks in stays light, and stays: its forkserver has loaded torch and Lightning for the first
training of the study on it, and forks the others.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from autowarm.executors.processes import Process, Processes, end, kill, last_words
from autowarm.executors.wire import call

# Of this worker, once it has had a task.
_started: list[Processes] = []


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where a training runs, as its owner sees it.

    Attributes:
        path: the owner's `sys.path`; what of it the node has comes first there.
        folder: the owner's working folder; taken where the node has it. None: that which Ray has made for the job.
        modules: installed modules that the forkserver imports.
        processes: of the training, and `threads`, CPU threads of each.
    """

    path: tuple[str, ...]
    folder: str | None
    modules: tuple[str, ...]
    processes: int
    threads: int


def relay(
    owner: tuple[str, int], authkey: bytes, ticket: int, payload: bytes, surroundings: Surroundings
) -> tuple[str, str | None] | None:
    """Run one training to its end.

    Args:
        owner: host and port that the owner listens on.
        authkey: what shows that both belong together.
        ticket: the task's name for its owner.
        payload: what `child.main` takes.
        surroundings: of the training.

    Returns:
        The last words of a process that has ended without a report: a line, and what it printed; otherwise None.

    Raises:
        ConnectionError: the owner is not reached.
    """
    with tempfile.TemporaryDirectory(prefix="autowarm-logs-") as folder, call(owner, authkey) as up:
        up.send(ticket)
        log = Path(folder) / "task.log"
        process, down = _start(payload, log, surroundings)
        try:
            return _pass_on(up, down, process, log)
        finally:
            # a process that has reported goes on with what the job's libraries do at its exit
            down.close()
            end(process)


def _start(payload: bytes, log: Path, surroundings: Surroundings) -> tuple[Process, Connection]:
    # the training has both from this process, at its start
    if surroundings.folder is not None and Path(surroundings.folder).is_dir():
        os.chdir(surroundings.folder)
    theirs = [entry for entry in surroundings.path if Path(entry).exists()]
    sys.path[:] = [*theirs, *(entry for entry in sys.path if entry not in theirs)]
    if not _started:
        _started.append(Processes(surroundings.modules))
    return _started[0].start(
        payload,
        log,
        processes=surroundings.processes,
        threads=surroundings.threads,
        # the accelerators that Ray gave to this task, which may be others than the worker's first one had
        env=dict(os.environ),
    )


def _pass_on(up: Connection, down: Connection, process: Process, log: Path) -> tuple[str, str | None] | None:
    while True:
        spoken = wait([up, down])
        for ready in (side for side in (down, up) if side in spoken):
            try:
                message = ready.recv()
            except (EOFError, OSError):
                if ready is down:
                    return last_words(process, log)
                # nobody wants the training any more
                kill(process)
                return None
            if ready is up:
                # one that has died cannot hear, and the end of its pipe is read next
                with suppress(OSError):
                    down.send(message)
                continue
            try:
                up.send(message)
            except OSError:
                kill(process)
                return None
            if message[0] not in ("progress", "rung", "finished"):
                return None
