"""Workers and a driver on one study, of which something is killed every few seconds, and what is left in the end."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autowarm.settings import load_study
from studies.chaos import processes
from studies.chaos.processes import MARK, Process
from studies.chaos.server import Server, serving
from studies.chaos.stored import read
from studies.chaos.verdict import best_values, repeats, verdict

STUDY = Path(__file__).parent / "study.yaml"
# How often each of these is drawn.
_WEIGHTS = {"training": 35, "worker": 30, "driver": 12, "connections": 15, "forkserver": 8}
# How long a worker is stopped, which is longer than its leases stand, and how long the server is away.
_FREEZE_SECONDS = 75.0
_AWAY_SECONDS = 2.0
# How long processes may take to end once all is done.
_LEFT_SECONDS = 10.0
_TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Plan:
    """A storm.

    Attributes:
        workers: at once, beside the driver.
        n_trials: search trials, in place of the study file's.
        calm: trainings that end between two kills, at least and at most: seconds would be many on a fast machine,
            and too few for anything to start on a busy one.
        calm_seconds: then passed until it strikes, at most.
        at_most: kills.
        planned: what is killed in place of what is drawn, by the number of the kill.
        seed: of what is killed when.
        seconds: after which it is taken to hang.
    """

    workers: int = 4
    n_trials: int | None = None
    calm: tuple[int, int] = (2, 4)
    calm_seconds: float = 2.0
    at_most: int = 10_000
    planned: dict[int, str] = field(default_factory=lambda: {8: "freeze", 20: "server", 40: "server"})
    seed: int = 0
    seconds: float = 1800.0

    @property
    def changes(self) -> list[str]:
        """What the command line changes of the study file."""
        return ["--n_trials", str(self.n_trials)] if self.n_trials is not None else []


@dataclass
class _Member:
    """A worker or the driver, which is started again when it has died.

    Attributes:
        name: of it, and `command`, what it runs.
        process: the one that runs, or ran last.
        frozen: until when it is stopped.
        done: whether it has found nothing left to do.
    """

    name: str
    command: list[str]
    core: int
    process: subprocess.Popen[str] | None = None
    frozen: float | None = None
    done: bool = False


class Storm:
    """Runs a study while it is disturbed.

    Args:
        plan: of it.
        server: the database.
        folder: for everything that is written.
    """

    def __init__(self, plan: Plan, server: Server, folder: Path) -> None:
        self.plan = plan
        self.server = server
        self.folder = folder
        self.out = folder / "out"
        self.kills: Counter[str] = Counter()
        self.failures: list[str] = []
        self.name = secrets.token_hex(4)
        self.slowest_end = 0.0
        self.left: set[Process] = set()
        self._random = random.Random(plan.seed)
        self._doomed: dict[Process, float] = {}
        cores = sorted(os.sched_getaffinity(0))
        shared = ["--storage", server.url, *plan.changes]
        tune = ["tune", str(STUDY), "--out", str(self.out), *shared]
        kept = ["--checkpoints", str(self.out / "checkpoints")]
        self.members = [_Member("driver", tune, cores[0])]
        for i in range(plan.workers):
            events = ["--events", str(folder / f"worker-{i}.jsonl")]
            self.members.append(
                _Member(f"worker-{i}", ["worker", str(STUDY), *events, *kept, *shared], cores[(i + 1) % len(cores)])
            )

    def run(self) -> float:
        """Run it to its end; returns its seconds.

        Raises:
            TimeoutError: it does not end.
        """
        began = time.monotonic()
        (self.out / "checkpoints").mkdir(parents=True)
        try:
            for member in self.members:
                self._start(member)
            self._rage(began + self.plan.seconds)
            seconds = time.monotonic() - began
            self._wait_for_all()
        finally:
            self._end_all()
        return seconds

    def _rage(self, deadline: float) -> None:
        """Strike now and then, and start again what died, until everybody has found nothing left to do."""
        after, due = 1, float("inf")
        while not all(member.done for member in self.members):
            time.sleep(_TICK_SECONDS)
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError(f"it does not end: see {self.folder}")
            for member in self.members:
                self._look_after(member)
            self._watch_doomed()
            # nothing is left to do, and whoever is killed now only starts once more
            if any(member.done for member in self.members) or self.kills.total() >= self.plan.at_most:
                continue
            ended = sum(event["event"] == "ended" for event in self.events())
            if ended >= after and due == float("inf"):
                due = now + self._random.uniform(0, self.plan.calm_seconds)
            elif now > due:
                self._strike()
                after, due = ended + self._random.randint(*self.plan.calm), float("inf")

    def _start(self, member: _Member) -> None:
        log = (self.folder / f"{member.name}.log").open("a")
        member.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "autowarm", *member.command],
            env={**os.environ, MARK: self.name, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        log.close()
        # one core each, so that each trains on one thread, and values repeat
        os.sched_setaffinity(member.process.pid, {member.core})

    def _look_after(self, member: _Member) -> None:
        assert member.process is not None  # noqa: S101 - it has been started
        if member.frozen is not None and time.monotonic() > member.frozen:
            member.frozen = None
            processes.end(member.process.pid, signal.SIGCONT)
        code = member.process.poll()
        if code is None or member.done:
            return
        member.done = code == 0
        if code > 0:
            lines = (self.folder / f"{member.name}.log").read_text().strip().splitlines()
            self.failures.append(f"{member.name}: exit code {code}: {lines[-1] if lines else ''}")
        if not member.done:
            self._start(member)

    def _strike(self) -> None:
        kind = self.plan.planned.get(self.kills.total())
        if kind is None:
            kind = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        strikes: dict[str, Callable[[], bool]] = {
            "training": self._kill_training,
            "forkserver": self._kill_forkserver,
            "worker": lambda: self._kill_member(self.members[1:]),
            "driver": lambda: self._kill_member(self.members[:1]),
            "connections": self._break_connections,
            "server": self._stop_server,
            "freeze": self._freeze,
        }
        if strikes[kind]():
            self.kills[kind] += 1
            with (self.folder / "kills.log").open("a") as log:
                log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {kind}\n")

    def _kill_training(self) -> bool:
        found = processes.trainings(processes.marked(self.name))
        if found:
            processes.end(self._random.choice(found).pid)
        return bool(found)

    def _kill_forkserver(self) -> bool:
        all_of = processes.marked(self.name)
        training = processes.trainings(all_of)
        servers = sorted({p.parent for p in training})
        if servers:
            processes.end(self._random.choice(servers))
        return bool(servers)

    def _kill_member(self, members: Sequence[_Member]) -> bool:
        alive = [m for m in members if m.process is not None and m.process.poll() is None and m.frozen is None]
        if not alive:
            return False
        member = self._random.choice(alive)
        assert member.process is not None  # noqa: S101 - it is alive
        now = time.monotonic()
        self._doomed |= dict.fromkeys(processes.below(processes.marked(self.name), member.process.pid), now)
        processes.end(member.process.pid)
        return True

    def _break_connections(self) -> bool:
        self.server.break_connections()
        return True

    def _stop_server(self) -> bool:
        self.server.stop()
        time.sleep(_AWAY_SECONDS)
        self.server.start()
        return True

    def _freeze(self) -> bool:
        alive = [m for m in self.members[1:] if m.process is not None and m.process.poll() is None]
        if not alive:
            return False
        member = self._random.choice(alive)
        assert member.process is not None  # noqa: S101 - it is alive
        member.frozen = time.monotonic() + _FREEZE_SECONDS
        processes.end(member.process.pid, signal.SIGSTOP)
        return True

    def _watch_doomed(self) -> None:
        """Measure how long what a killed process had started lives on."""
        if not self._doomed:
            return
        here, now = {(p.pid, p.began) for p in processes.marked(self.name)}, time.monotonic()
        for process, killed in list(self._doomed.items()):
            self.slowest_end = max(self.slowest_end, now - killed)
            if (process.pid, process.began) not in here:
                del self._doomed[process]

    def _wait_for_all(self) -> None:
        deadline = time.monotonic() + _LEFT_SECONDS
        while (here := processes.marked(self.name)) and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS)
        self.left |= set(here)

    def _end_all(self) -> None:
        for process in processes.marked(self.name):
            processes.end(process.pid)

    def events(self) -> list[dict[str, Any]]:
        """Return what the driver and the workers have written down, in time."""
        files = [self.out / "events.jsonl", *self.folder.glob("worker-*.jsonl")]
        lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
        return sorted((json.loads(line) for line in lines), key=lambda event: str(event["time"]))


def storm_figures(seed: int, plan: Plan | None = None, *, calm_runs: int = 1, repeated: int = 12) -> dict[str, Any]:
    """Run a storm, and undisturbed runs of the same study; return what came of them.

    Args:
        seed: of what is killed when, unless a plan is given.
        plan: of the storm.
        calm_runs: undisturbed runs.
        repeated: trainings of the storm that are done once more, undisturbed.
    """
    plan = plan or Plan(seed=seed)
    folder = Path(tempfile.mkdtemp(prefix="autowarm-storm-"))
    print(f"everything is written to {folder}", flush=True)
    with serving() as server:
        storm = Storm(plan, server, folder)
        seconds = storm.run()
        trials, events = read(server.url), storm.events()
    figures: dict[str, Any] = {
        "seed": plan.seed,
        "workers": plan.workers,
        "asked": plan.n_trials or load_study(STUDY).n_trials,
        "seconds": round(seconds, 1),
        "kills": dict(sorted(storm.kills.items())),
        "failed_starts": storm.failures,
        "left_over": len(storm.left),
        "slowest_end": round(storm.slowest_end, 2),
        **verdict(trials, events),
        "repeated": repeats(trials, repeated, seed=plan.seed),
    }
    print(json.dumps(figures, indent=1), flush=True)
    best = best_values(trials)
    figures["best"] = best
    figures["calm"] = [best_values(_calm(plan, folder / f"calm-{i}")) for i in range(calm_runs)]
    figures["differences"] = [_difference(best, calm) for calm in figures["calm"]]
    return figures


def _calm(plan: Plan, out: Path) -> Any:
    command = [sys.executable, "-m", "autowarm", "tune", str(STUDY), "--out", str(out), *plan.changes]
    changed = [*command, "--n_jobs", str(len(os.sched_getaffinity(0)))]
    with (out.with_suffix(".log")).open("w") as log:
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(changed, check=True, env=env, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603 - our own command
    return read(None, out)


def _difference(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """Return the mean difference over the seeds that both were trained on, and its standard error."""
    found = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else float("nan")
    return {"mean": statistics.fmean(found), "standard_error": error}
