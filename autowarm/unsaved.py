"""Records that their database could not take: kept in a file of the study's folder until it can."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from autowarm.errors import RecordError
from autowarm.files import append
from autowarm.record import TrialRecord


class Unsaved:
    """Records whose training ended while the database was away for good.

    Args:
        path: of the file; None: nothing is kept.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def keep(self, horizon: str, record: TrialRecord) -> bool:
        """Keep a record of a horizon, which is named; returns whether it is on the disk."""
        if self._path is None:
            return False
        line = json.dumps({"horizon": horizon, "record": record.to_dict()})
        try:
            append(self._path, line.encode() + b"\n")
        except OSError:
            return False
        return True

    def of(self, horizon: str) -> list[TrialRecord]:
        """Return what is kept of a horizon; a line that was cut off is none."""
        found = []
        for kept in self._lines():
            with suppress(ValueError, KeyError, TypeError, RecordError):
                line = json.loads(kept)
                if line["horizon"] == horizon:
                    found.append(TrialRecord.from_dict(line["record"]))
        return found

    def drop(self) -> None:
        """Keep none of them any longer."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _lines(self) -> list[str]:
        if self._path is None or not self._path.is_file():
            return []
        return self._path.read_text(encoding="utf-8", errors="replace").split("\n")
