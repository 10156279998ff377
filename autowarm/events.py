"""What happens in a study, one line of JSON an event: for machines, and for who asks afterwards."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class EventLog:
    """A file that grows by a line an event; several processes may write to it.

    Each line has `time` (UTC), `event`, `by` (host and number of the process) and what the event is about. A log that
    cannot be written (a full disk) loses lines, and ends no study.

    Args:
        path: of the file; None: nothing is written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._by = f"{socket.gethostname()}:{os.getpid()}"

    def write(self, event: str, **fields: Any) -> None:
        """Write an event."""
        if self._path is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = {"time": now, "event": event, "by": self._by, **{k: v for k, v in fields.items() if v is not None}}
        # one write a line, at the end of the file: lines of several processes do not mix
        line = json.dumps(told, default=str).encode() + b"\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError:
            return
