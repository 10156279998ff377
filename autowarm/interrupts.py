"""Ctrl-C and SIGTERM, counted: what is being written is written to its end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Counts Ctrl-C (and SIGTERM) instead of raising in the middle of a write, from `begin` on."""

    def __init__(self) -> None:
        self.count = 0
        self._begun = False
        self._before: dict[int, Any] = {}

    def begin(self) -> None:
        """Count from now on: before there is anything to keep, a Ctrl-C may end everything at once."""
        self._begun = True

    def _seen(self, number: int, frame: FrameType | None) -> None:
        if self._begun:
            self.count += 1
        elif callable(handler := self._before[number]):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            os.kill(os.getpid(), number)


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Take Ctrl-C over until everything is put away: a second one must not raise while results are written.

    Outside of the main thread, where that cannot be done, nothing is counted.
    """
    seen = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    seen._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}  # noqa: SLF001
    for number in seen._before:  # noqa: SLF001
        signal.signal(number, seen._seen)  # noqa: SLF001
    try:
        yield seen
    finally:
        for number, handler in seen._before.items():  # noqa: SLF001
            signal.signal(number, handler)
