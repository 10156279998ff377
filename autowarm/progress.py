"""What a person sees while a study runs: a live display on a terminal, a line an ended trial elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autowarm.planning.price import Price
from autowarm.record import Role, TrialRecord, better
from autowarm.words import duration, printable

_STYLES = {"COMPLETE": "green", "PRUNED": "yellow", "DIVERGED": "magenta", "FAILED": "red"}


@dataclass
class Run:
    """A training that runs: what it is, and where."""

    label: str
    role: Role
    total_steps: int
    step: int = 0
    loss: float | None = None


@dataclass
class Display:
    """The state of a study as a person sees it. Silent by itself; see `LineDisplay` and `LiveDisplay`.

    Attributes:
        runs_left: full runs that are still to come or run.
        n_jobs: runs at once.
        budget: cost of the horizon at most, and `cost`, what is spent of it.
        runs: trainings that run, by key.
        counts: search trials by outcome.
        best: the best search trial so far.
    """

    title: str = ""
    runs_left: int = 0
    n_jobs: int = 1
    budget: float = 0.0
    cost: float = 0.0
    runs: dict[int, Run] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    best: TrialRecord | None = None
    _run_seconds: list[float] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Start to show."""
        return self

    def __exit__(self, *_: object) -> None:
        """Show no more."""

    def notice(self, text: str) -> None:
        """Show a sentence that stays."""

    def horizon(self, title: str, records: list[TrialRecord], price: Price) -> None:
        """Turn to another horizon: its records so far, and what it costs at most."""
        self.title, self.budget, self.n_jobs = title, price.cost, price.n_jobs
        self.counts, self.best, self.cost = {}, None, 0.0
        self.runs_left = price.runs - len(records)
        for record in records:
            self.cost += record.cost
            self._count(record)

    def started(self, key: int, run: Run) -> None:
        """Show a training that has started."""
        self.runs[key] = run

    def moved(self, key: int, step: int, loss: float) -> None:
        """Show where a training is."""
        if key in self.runs:
            self.runs[key].step, self.runs[key].loss = step, loss

    def ended(self, key: int, record: TrialRecord | None) -> None:
        """Show a training that has ended; None for one without a result."""
        self.runs.pop(key, None)
        if record is not None:
            self.runs_left -= 1
            self.cost += record.cost
            self._run_seconds.append(record.seconds)
            self._count(record)

    def _count(self, record: TrialRecord) -> None:
        if record.role != "search":
            return
        self.counts[record.outcome] = self.counts.get(record.outcome, 0) + 1
        if record.outcome == "COMPLETE" and record.value is not None:
            best = self.best.value if self.best is not None else None
            if best is None or better(record.value, best, record.mode):
                self.best = record

    @property
    def seconds_left(self) -> float | None:
        """Wall time of what is left, at the pace of the trials that have ended."""
        if not self._run_seconds:
            return None
        mean = sum(self._run_seconds) / len(self._run_seconds)
        under_way = sum(run.step / run.total_steps for run in self.runs.values())
        return max(0.0, (self.runs_left - under_way) * mean / self.n_jobs)


@dataclass
class LineDisplay(Display):
    """Prints a line for each ended training: for logs and pipes."""

    console: Console = field(default_factory=lambda: Console(stderr=True))

    def notice(self, text: str) -> None:
        """Print the sentence."""
        self.console.print(Text(printable(text)), soft_wrap=True)

    def horizon(self, title: str, records: list[TrialRecord], price: Price) -> None:
        """Print the title."""
        super().horizon(title, records, price)
        self.console.print(Text(printable(title, line=True)))

    def ended(self, key: int, record: TrialRecord | None) -> None:
        """Print the record in a line."""
        super().ended(key, record)
        if record is not None:
            self.console.print(_line(record, self.seconds_left), soft_wrap=True)


@dataclass
class LiveDisplay(Display):
    """Draws the state on a terminal, four times a second, and prints notices and failures above it."""

    console: Console = field(default_factory=lambda: Console(stderr=True))
    _live: Live | None = None
    _began: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live = Live(get_renderable=self.draw, console=self.console, refresh_per_second=4)
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the terminal back, the last state on it."""
        assert self._live is not None  # noqa: S101 - entered
        self._live.__exit__(None, None, None)

    def notice(self, text: str) -> None:
        """Print the sentence above the display."""
        self.console.print(Text(printable(text)))

    def ended(self, key: int, record: TrialRecord | None) -> None:
        """Print a failure above the display: the counts alone would hide why."""
        super().ended(key, record)
        if record is not None and record.outcome == "FAILED":
            self.console.print(_line(record, None))

    def draw(self) -> RenderableType:
        """Return the state as rich draws it."""
        total = max(self.budget, self.cost, 1.0)
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=total, completed=self.cost + sum(run.step for run in self.runs.values()), width=30),
            Text(f"{self.cost:,.0f} of at most {total:,.0f} steps spent"),
            Text(f"{duration(time.monotonic() - self._began)} gone", style="dim"),
            Text(
                f"about {duration(self.seconds_left)} left" if self.seconds_left is not None else "",
                style="dim",
            ),
        )
        counts = Text("  ").join(
            Text(f"{self.counts.get(name, 0)} {name.lower()}", style=style if self.counts.get(name) else "dim")
            for name, style in _STYLES.items()
        )
        best = Text("best so far: none yet")
        if self.best is not None:
            best = Text.assemble(
                "best so far: ",
                (printable(f"{self.best.monitor} {self.best.value:.4g}", line=True), "bold"),
                printable(f"  {self.best.label}", line=True),
            )
        runs = Table.grid(padding=(0, 2))
        for run in self.runs.values():
            loss = f"train loss {run.loss:.4g}" if run.loss is not None else "starting"
            role = "" if run.role == "search" else f"{run.role}: "
            runs.add_row(
                ProgressBar(total=run.total_steps, completed=run.step, width=20),
                Text(f"step {run.step}/{run.total_steps}"),
                Text(loss),
                Text(printable(role + run.label, line=True), style="dim", no_wrap=True, overflow="ellipsis"),
            )
        return Group(Text(printable(self.title, line=True), style="bold"), head, counts, best, runs)


def display_for(console: Console | None = None) -> Display:
    """Return the display that fits where the output goes: live on a terminal, lines elsewhere."""
    console = console or Console(stderr=True)
    return LiveDisplay(console=console) if console.is_terminal else LineDisplay(console=console)


def _line(record: TrialRecord, seconds_left: float | None) -> Text:
    value = f"{record.monitor} {record.value:.4g}  " if record.value is not None else ""
    number = f"trial {record.trial}" if record.role == "search" else f"{record.role} {record.trial}"
    reason = f": {record.reason}" if record.reason else ""
    left = f"  ({duration(seconds_left)} left)" if seconds_left else ""
    outcome = (f"{record.outcome:<8}", _STYLES[record.outcome])
    return Text.assemble(f"{number:>11}  ", outcome, printable(f"  {value}{record.label}{reason}{left}", line=True))
