"""Threads that take turns under one lock, for tests of it on each kind of database."""

from __future__ import annotations

import threading

from autowarm.study.database import Storage
from autowarm.study.mutex import Mutex


def most_inside(storage: Storage, *, threads: int, turns: int) -> list[int]:
    """Return, of each turn of each thread, how many had theirs at once."""
    inside: list[int] = []
    most: list[int] = []

    def take() -> None:
        for _ in range(turns):
            with Mutex(storage, "a").held():
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    running = [threading.Thread(target=take) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return most
