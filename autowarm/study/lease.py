"""Who trains a trial, and whether they still do: a lease on each running trial, renewed while its owner lives."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# How often an owner renews the leases of its trials, and how long one that is not renewed stands.
BEAT_SECONDS = 10.0
GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Owner:
    """A process that asks for trials.

    Attributes:
        id: random, since numbers of processes come again.
        name: host and number of the process, for people.
        pid: its number, `began`, when it started (in ticks since the machine did), and `place`, the table of processes
            that both belong to; None where the system does not tell.
    """

    id: str
    name: str
    pid: int
    began: int | None
    place: str | None

    def lease(self, beat: int, step: int = 0) -> dict[str, Any]:
        """Return a lease as plain data.

        Args:
            beat: how often it was renewed. Others watch that it grows: clocks of two machines differ, and jump.
            step: where the training is.
        """
        return {
            "owner": self.id,
            "name": self.name,
            "pid": self.pid,
            "began": self.began,
            "place": self.place,
            "beat": beat,
            "step": step,
            # for people alone
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }


# Owners of this process that still work: a study that ended with an error leaves trials, and its process lives on.
_AT_WORK: set[str] = set()


class Watch:
    """Who we are to the other processes on a study, and which of them are gone; to be closed in the end.

    Args:
        clock: seconds that never jump.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        pid = os.getpid()
        self.owner = Owner(secrets.token_hex(6), f"{socket.gethostname()}:{pid}", pid, _began(pid), _place())
        self._clock = clock
        self._seen: dict[int, tuple[object, float]] = {}
        _AT_WORK.add(self.owner.id)

    def close(self) -> None:
        """Let go of what is still leased: whoever looks next may have it."""
        _AT_WORK.discard(self.owner.id)

    def dead(self, trial: int, lease: Mapping[str, Any] | None) -> bool:
        """Tell whether the owner of a running trial is gone.

        Known at once of an owner on this machine; else when a lease was not renewed for a minute of this process.

        Args:
            trial: a number of the trial that no other has.
            lease: None for a trial whose owner died before it could take one: the caller holds the lock under which
                it is taken.
        """
        if not isinstance(lease, Mapping):
            return True
        if lease.get("owner") == self.owner.id:
            return False
        if gone(lease):
            return True
        now, state = self._clock(), (lease.get("owner"), lease.get("beat"))
        known, since = self._seen.get(trial, (None, now))
        if known != state:
            since = now
        self._seen[trial] = (state, since)
        return now - since > GRACE_SECONDS


def gone(lease: Mapping[str, Any]) -> bool:
    """Tell whether the owner of a lease was a process of this machine, and is none any more."""
    if lease.get("place") is None or lease.get("place") != _place():
        return False
    pid = lease.get("pid")
    if not isinstance(pid, int) or _began(pid) != lease.get("began"):
        return True
    return pid == os.getpid() and lease.get("owner") not in _AT_WORK


def _began(pid: int) -> int | None:
    """Return when a process of this machine started, in ticks; None where there is none, or it cannot be known.

    One that has ended is none, also where nobody waits for it: the first process of a container may never do so.
    """
    try:
        # after the name in brackets, which may hold anything, the 3rd field of the line is the 1st, the 22nd the 20th
        found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(found[19]) if found[0] not in "ZX" else None
    except (OSError, ValueError, IndexError):
        return None


def _place() -> str | None:
    """Return what tells this table of processes from others: a container has its own, and so has every boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None
