"""Files of one JSON object a line that only ever grow: a run that is killed costs the line it was working on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, if there is one; a last line that was cut off is left out."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        yield json.loads(line)


def append(path: Path, data: dict[str, Any]) -> None:
    """Add an object, and see it on the disk; what is left of a line that was cut off goes.

    Several races may add to one file.
    """
    with FileLock(path.with_suffix(".lock")), path.open("ab+") as file:
        file.seek(0)
        text = file.read()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            file.truncate(whole)
        file.write(json.dumps(data, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
