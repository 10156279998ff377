"""Reading and writing files that others may have had in their hands.

What is read is a regular file of bounded size: a device or a pipe that somebody has put there would be read without an
end. What is written replaces a file in one move, and a link that lies in its place is replaced, not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from autowarm.errors import AutowarmError

# A line of a file of records or runs, curves and all.
LINE_BYTES = 64 << 20
# A record is a few kilobytes: with Python's buffer of 8 each line would be put together from several reads.
_BUFFER_BYTES = 1 << 16


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes.

    Raises:
        OSError: it cannot be opened, or is no regular file.
        ValueError: the path is none that a file can have.
    """
    with open(path, "rb", buffering=_BUFFER_BYTES, opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no regular file")
        yield file


def _at_once(path: str, flags: int) -> int:
    # a pipe that nobody writes to would keep us waiting
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class Kept:
    """A file that stays open, so that parts of it can be read again, also when another file has taken its place."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        """Keep an open file open, for as long as this object lives.

        Args:
            file: which.
            path: that it was opened by, to name it.
        """
        self.path = path
        self._descriptor = os.dup(file.fileno())
        self._state = self._now()

    def part(self, place: int, length: int) -> bytes:
        """Read so many bytes from a place.

        Raises:
            OSError: they cannot be read, or somebody has written into the file meanwhile.
        """
        data = os.pread(self._descriptor, length, place)
        if self._now() != self._state:
            raise OSError("it has changed while it was read: read it again")
        return data

    def _now(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # not there where there were too many open files
        if hasattr(self, "_descriptor"):
            close(self._descriptor)


@dataclass(slots=True)
class Part:
    """A part of a line of such a file, that is read when it is asked for.

    Attributes:
        file: which.
        line: its number, from 1.
        place: its first byte in the file.
        length: in bytes.
    """

    file: Kept
    line: int
    place: int
    length: int

    def __str__(self) -> str:
        """Name the line."""
        return f"{self.file.path}, line {self.line}"

    def within(self, start: int, end: int) -> Part:
        """Return the part of this one from a byte up to another, counted from the first of this."""
        return Part(self.file, self.line, self.place + start, end - start)

    def read(self) -> bytes:
        """Read it; see `Kept.part`."""
        return self.file.part(self.place, self.length)


def read_text(path: Path, error: type[AutowarmError], *, most: int) -> str:
    """Read a UTF-8 file of at most so many bytes.

    Args:
        path: the file.
        error: the class of the error to raise when it cannot be read.
        most: bytes that it may have.

    Raises:
        AutowarmError: of class `error`, naming the file.
    """
    try:
        with opened(path) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise error(f"{path}: has more than {most:,} bytes: is it the file that was meant?")
        return data.decode("utf-8")
    except FileNotFoundError:
        raise error(f"{path}: there is no such file") from None
    except (OSError, ValueError) as e:  # no text, or no path at all
        raise error(f"{path}: cannot be read: {e}") from None


def lines_of(
    file: IO[bytes], path: Path, error: type[AutowarmError], *, most: int = LINE_BYTES
) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of an open file; numbers count from 1.

    Raises:
        AutowarmError: of class `error`: a line has more than `most` bytes.
    """
    number = 0
    while line := file.readline(most + 1):
        number += 1
        if len(line) > most:
            raise error(f"{path}, line {number}: has more than {most:,} bytes: is it the file that was meant?")
        yield number, line


def replace(path: Path, data: bytes) -> None:
    """Write a file in one move, so that a reader never sees half of it and a failure leaves the old one.

    Raises:
        OSError: it cannot be written; nothing half-written is left then.
    """
    part = path.with_name(path.name + ".part")
    # what a killed run has left, or a link that would lead the writing elsewhere
    part.unlink(missing_ok=True)
    try:
        with part.open("xb") as file:
            file.write(data)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def append(path: Path, data: bytes, *, follow: bool = False) -> None:
    """Write at the end of a file, in one piece: what several processes write does not mix.

    Args:
        path: of the file, made where there is none.
        data: to write.
        follow: through a link, as a user has named it.

    Raises:
        OSError: it cannot be written, or is a link that is not to be followed.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    descriptor = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        written = os.write(descriptor, data)
    finally:
        os.close(descriptor)
    if written < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write(path: Path, data: bytes) -> None:
    """Write a file that a user has named: like `replace`, but through a link, and into a device or a pipe.

    Raises:
        OSError: it cannot be written.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(data)
    else:
        replace(path, data)
