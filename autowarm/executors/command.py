"""A training of several processes (DDP) as a command of its own, whose end this is, and the handle that its owner has.

Lightning makes the other processes of a training by running the command of the first one again. Inside a process that
was forked for a trial, that command would be the owner's own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from autowarm.executors import child
from autowarm.gpus import visible
from autowarm.specs import Link

# Carries what the command works on; its arguments belong to Lightning, which repeats them.
VARIABLE = "AUTOWARM_COMMAND"
# Carries the process that launches the others.
_LAUNCHER = "AUTOWARM_LAUNCHER"
# What an owner that was itself started by a launcher must not hand on.
_LAUNCHERS = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# How often a process looks whether the one that launched it is still there.
_WATCH_SECONDS = 0.5


class Command:
    """A command that runs, with the few methods of a `multiprocessing.Process` that its owner uses.

    Args:
        connection: the command's end of the pipe.
        payload: what `child.main` takes.
        log: file that takes what all processes of the training print.
        threads: CPU threads of each process.
        devices: GPUs that the processes see; None: those of the owner.
    """

    def __init__(
        self,
        connection: Connection,
        payload: bytes,
        log: Path,
        *,
        threads: int,
        devices: tuple[str, ...] | None = None,
    ) -> None:
        file = task_file(log)
        file.write_bytes(payload)
        given = {"connection": connection.fileno(), "payload": str(file), "log": str(log)}
        env = {name: value for name, value in os.environ.items() if name not in _LAUNCHERS}
        env |= {
            VARIABLE: json.dumps(given),
            "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
            "OMP_NUM_THREADS": str(threads),
            **(visible(devices) if devices is not None else {}),
        }
        self._process = subprocess.Popen(  # noqa: S603 - this module, in this Python
            [sys.executable, "-m", __name__],
            env=env,
            pass_fds=(connection.fileno(),),
            stdin=subprocess.DEVNULL,
            # a group of its own: Ctrl-C is the owner's, and killing it ends every process of the training
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The first process, and the group of them all."""
        return self._process.pid

    @property
    def exitcode(self) -> int | None:
        """Exit code of the first process; negative for a signal; None while it runs."""
        return self._process.poll()

    def is_alive(self) -> bool:
        """Tell whether the first process runs."""
        return self._process.poll() is None

    def join(self, timeout: float | None = None) -> None:
        """Wait for the first process."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def kill(self) -> None:
        """End the first process at once; the group is its owner's to end."""
        self._process.kill()


def task_file(log: Path) -> Path:
    """Return the file that carries a command's task, beside its log."""
    return log.with_suffix(".task")


def main() -> None:
    """Run one process of a training: the first one reports to the owner, the others follow it."""
    given = json.loads(os.environ[VARIABLE])
    payload = Path(given["payload"]).read_bytes()
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        os.environ[_LAUNCHER] = str(os.getpid())
        child.main(Connection(given["connection"]), payload, given["log"])
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(int(os.environ[_LAUNCHER]),), name="autowarm-watch", daemon=True).start()
    kind, *found = child.perform(payload, Link())
    failed = kind == "done" and getattr(found[0], "outcome", None) == "FAILED"
    detail = (found[1] or found[0]) if kind == "error" else (found[0].error or found[0].reason) if failed else None
    if detail is not None:
        # where this process alone has failed, Lightning ends the first one for it
        sys.exit(detail)


def _watch(parent: int) -> None:
    """End this process when the one that launched it is gone: it would wait for it in a collective, without an end."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(child.ORPHANED)


if __name__ == "__main__":
    main()
