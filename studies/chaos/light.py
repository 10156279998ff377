"""Many processes on one database whose trainings cost nothing: they decide, store, and wait in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from autowarm.events import EventLog
from autowarm.executors.events import Event, Executor
from autowarm.interrupts import Interrupts
from autowarm.progress import Display
from autowarm.search import Search
from autowarm.settings import StudySettings
from autowarm.space import Range, SearchSpace
from autowarm.specs import JobSpec, TrainingSpec
from autowarm.study.database import database, quiet_optuna
from autowarm.study.mutex import Mutex, Turn
from autowarm.tuning import look

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from instant import Instant

# Search trials of each of the studies that the processes do one after another.
TRIALS = 100


class Light(Instant):
    """Trainings that take a given time, and no work.

    Args:
        seconds: of a training.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._ends: dict[int, float] = {}

    def start(self, task: str, spec: TrainingSpec) -> int:
        """Start a training."""
        key = super().start(task, spec)
        self._ends[key] = time.monotonic() + self._seconds
        return key

    def events(self, timeout: float) -> Iterator[Event]:
        """Return what happens next to each training, once its time is over."""
        first = min((self._ends[key] for key in self._left), default=0.0) - time.monotonic()
        if first > 0:
            time.sleep(min(first, timeout))
            return
        yield from super().events(timeout)

    def kill(self, key: int) -> None:
        """End a training at once."""
        del self._left[key]


@dataclass
class Turns:
    """How the turns of this process went.

    Attributes:
        count: of turns.
        waited: seconds that it waited for them, and `held`, seconds that they took.
    """

    count: int = 0
    waited: float = 0.0
    held: float = 0.0

    def watch(self) -> None:
        """Measure from now on."""
        lock = Mutex._lock  # noqa: SLF001 - where the waiting is

        @contextmanager
        def measured(mutex: Mutex, patient: Callable[[], None]) -> Iterator[Turn]:
            asked = time.perf_counter()
            with lock(mutex, patient) as turn:
                began = time.perf_counter()
                self.count += 1
                self.waited += began - asked
                try:
                    yield turn
                finally:
                    self.held += time.perf_counter() - began

        Mutex._lock = cast("Callable[..., AbstractContextManager[Turn]]", measured)  # type: ignore[method-assign] # noqa: SLF001


@dataclass(frozen=True)
class Load:
    """What the processes are to do.

    Attributes:
        url: of the database, and `folder`, of an SQLite file instead.
        processes: how many.
        duration: seconds in which they begin studies.
        training: seconds of a training.
    """

    url: str | None
    folder: Path
    processes: int
    duration: float
    training: float = 0.0


def work(load: Load, log: Path) -> None:
    """Do study after study, beside other processes, when told to begin; tell how it went."""
    turns, waits = Turns(), Counter[str]()
    turns.watch()

    def waiting(error: str, seconds: float) -> bool:
        waits[error] += 1
        return seconds < 60

    print("ready", flush=True)
    until = float(sys.stdin.readline())
    began, number = time.process_time(), 0
    with quiet_optuna():
        while time.time() < until:
            settings = StudySettings(
                name=f"light-{number}",
                job=JobSpec(factory="instant:none"),
                space=SearchSpace(initial_lr=Range(1e-4, 1.0, log=True)),
                n_trials=TRIALS,
                n_jobs=1,
            )
            executor = cast("Executor", Light(load.training))
            with database(load.url, load.folder, waiting=waiting) as storage:
                Search(
                    settings,
                    look(settings, executor, Display()),
                    storage=storage,
                    executor=executor,
                    display=Display(),
                    interrupts=Interrupts(),
                    events=EventLog(log),
                ).run()
            number += 1
    told = {
        "studies": number,
        "turns": turns.count,
        "waited": turns.waited,
        "held": turns.held,
        "cpu": time.process_time() - began,
        "waits": waits,
    }
    print(json.dumps(told), flush=True)


@dataclass
class Outcome:
    """What came of a load.

    Attributes:
        stored: runs that the processes say they have stored, as (study, role, trial, value).
        seconds: from the beginning until all had ended.
        told: by each process at its end, and `errors` of those that failed.
    """

    stored: list[tuple[str, str, int, float | None]] = field(default_factory=list)
    seconds: float = 0.0
    told: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def put(load: Load) -> Outcome:
    """Put a load on a database; return what the processes say of it."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as logs:
        given = [load.url or "", str(load.folder), str(load.processes), str(load.duration), str(load.training)]
        paths = [Path(logs) / f"{i}.jsonl" for i in range(load.processes)]
        processes = [
            subprocess.Popen(  # noqa: S603 - this module
                [sys.executable, "-m", "studies.chaos.light", *given, str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for path in paths
        ]
        for process in processes:
            assert process.stdout is not None  # noqa: S101 - a pipe
            process.stdout.readline()
        until = time.time() + load.duration
        told = time.monotonic()
        for process in processes:
            assert process.stdin is not None  # noqa: S101 - a pipe
            process.stdin.write(f"{until}\n")
            process.stdin.flush()
        for process in processes:
            output, errors = process.communicate()
            if process.returncode != 0:
                outcome.errors.append(errors.strip().splitlines()[-1] if errors.strip() else "killed")
            else:
                outcome.told.append(json.loads(output))
        outcome.seconds = time.monotonic() - told
        for path in paths:
            for line in path.read_text().splitlines() if path.exists() else ():
                event = json.loads(line)
                if event["event"] == "ended":
                    outcome.stored.append((event["study"], event["role"], event["trial"], event.get("value")))
    return outcome


if __name__ == "__main__":
    url, folder, processes, duration, training, log = sys.argv[1:]
    work(Load(url or None, Path(folder), int(processes), float(duration), float(training)), Path(log))
