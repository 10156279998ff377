"""What happens in a study, one line of JSON an event: for machines, and for who asks afterwards."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autowarm.files import append


class EventLog:
    """A file that grows by a line an event; several processes may write to it.

    Each line has `time` (UTC), `event`, `by` (host and number of the process) and what the event is about. A log that
    cannot be written (a full disk) loses lines, and ends no study.

    Args:
        path: of the file; None: nothing is written.
        follow: through a link, as a user has named the file.
    """

    def __init__(self, path: Path | None = None, *, follow: bool = False) -> None:
        self._path = path
        self._follow = follow
        self._by = f"{socket.gethostname()}:{os.getpid()}"

    def write(self, event: str, **fields: Any) -> None:
        """Write an event."""
        if self._path is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = {"time": now, "event": event, "by": self._by, **{k: v for k, v in fields.items() if v is not None}}
        line = json.dumps(told, default=str).encode() + b"\n"
        with suppress(OSError):
            append(self._path, line, follow=self._follow)
