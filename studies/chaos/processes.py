"""The processes of a storm as Linux shows them: whose they are, which of them train, and which are gone."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# In the environment of every process of a storm, with the storm's own name.
MARK = "AUTOWARM_STORM"


@dataclass(frozen=True)
class Process:
    """A process that is not a zombie.

    Attributes:
        pid: its number, and `began`, when it started (in ticks since the machine did): numbers come again.
        parent: number of the process that started it, or that it was left to.
        forks: whether it is a forkserver.
    """

    pid: int
    began: int
    parent: int
    forks: bool


def marked(name: str) -> list[Process]:
    """Return the processes of a storm."""
    mark = f"{MARK}={name}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        # gone meanwhile, or somebody else's
        with suppress(OSError, IndexError, ValueError):
            if mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            state, parent, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
            if state not in "ZX":
                forks = b"forkserver" in (folder / "cmdline").read_bytes()
                found.append(Process(int(folder.name), int(rest[17]), int(parent), forks))
    return found


def trainings(processes: list[Process]) -> list[Process]:
    """Return those that train, or look at the job."""
    servers = {p.pid for p in processes if p.forks} - {p.pid for p in _children(processes)}
    return [p for p in processes if p.parent in servers]


def _children(processes: list[Process]) -> list[Process]:
    # a fork of a forkserver has its command line
    servers = {p.pid for p in processes if p.forks}
    return [p for p in processes if p.forks and p.parent in servers]


def below(processes: list[Process], pid: int) -> set[Process]:
    """Return what a process has started, and what that has."""
    found: set[Process] = set()
    parents = {pid}
    while more := {p for p in processes if p.parent in parents} - found:
        found |= more
        parents = {p.pid for p in more}
    return found


def end(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process, where it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
