"""A tuned schedule against optimizers that are to need none, each at its best setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from autowarm.analysis.best import by_schedule, has_value
from autowarm.analysis.estimate import Estimate
from autowarm.analysis.two_way import two_way
from autowarm.errors import RecordError
from autowarm.record import TrialRecord
from autowarm.report.cells import table
from autowarm.report.palette import colour
from autowarm.report.picture import new_figure
from autowarm.report.words import interval
from autowarm.words import counted, listed, number, percent
from studies.claims.findings import Findings

# What was changed once first results were known.
_AFTERWARDS = (
    "At first there were 4 seeds, with which Schedule-Free AdamW was not told from the tuned schedule on "
    "char_gpt, and Prodigy was behind there. Prodigy was best at the smallest d_coef, so a smaller one was "
    "added, and the seeds were doubled."
)

TUNED = "tuned"
# contestant -> its name, and what the last part of its arm's name is the value of
_NAMES = {TUNED: "tuned schedule", "schedule_free": "Schedule-Free AdamW", "prodigy": "Prodigy"}
_VALUES = {"schedule_free": "warmup", "prodigy": "d_coef"}


@dataclass(frozen=True)
class Setting:
    """One way to run a contestant.

    Attributes:
        words: what it is.
        values: the metric reached, by seed; infinite where a run did not get to its end.
        knobs: what it is tuned by, by name.
    """

    words: str
    values: Mapping[int, float]
    knobs: Mapping[str, float]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return math.fsum(self.values.values()) / len(self.values)


@dataclass(frozen=True)
class Contestant:
    """A contestant on one job.

    Attributes:
        name: `tuned` or the rival.
        settings: all that were tried, the best mean first.
        held_out: the metric by seed, each of the setting that is best on the other seeds: choosing is not rewarded.
    """

    name: str
    settings: tuple[Setting, ...]
    held_out: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean of `held_out`."""
        return math.fsum(self.held_out.values()) / len(self.held_out)


@dataclass(frozen=True)
class Match:
    """All contestants on one job.

    Attributes:
        job: its name.
        contestants: the tuned schedule first.
        total_steps: of a run.
        metric: its name; less is better.
    """

    job: str
    contestants: tuple[Contestant, ...]
    total_steps: int
    metric: str

    def lead(self, place: int) -> Estimate:
        """Return by how much of its loss the tuned schedule is ahead of a contestant; 95 %, below 0 where behind."""
        # by itself: what a rival varies from seed to seed says nothing of another one
        fit = two_way([self.contestants[0].held_out, self.contestants[place].held_out])
        own, other = fit.means
        middle, half = (other - own) / own, fit.half_width(0, 1) / own
        return Estimate(middle, middle - half, middle + half)


def findings(records: Mapping[str, Sequence[TrialRecord]]) -> Findings:
    """Return what the arms say: `job-tuned`, and `job-rival-value` for each value of what a rival is tuned by.

    Raises:
        RecordError: a contestant has no setting that ended on every seed, or fewer than two seeds.
    """
    matches = matches_of(records)
    return Findings(
        title="Rivals that need no schedule",
        claim="Optimizers that are to need no schedule (Schedule-Free AdamW, Prodigy) do as well as a tuned schedule, "
        "each tuned as its authors say.",
        found=" ".join(_found(match) for match in matches),
        afterwards=_AFTERWARDS,
        body=_body(matches),
        pictures={"rivals": partial(picture, matches)},
    )


def matches_of(records: Mapping[str, Sequence[TrialRecord]]) -> list[Match]:
    """Return the contestants of each job, in the order of the arms."""
    jobs: dict[str, dict[str, list[Setting]]] = {}
    for arm, of in records.items():
        job, name, *value = arm.split("-")
        own = {_VALUES[name]: float(value[0])} if value else {}
        # the tuned schedule comes first
        contestants = jobs.setdefault(job, {TUNED: []})
        contestants.setdefault(name, []).extend(_settings(of, own))
    return [_match(job, contestants, records) for job, contestants in jobs.items()]


def _settings(records: Sequence[TrialRecord], own: Mapping[str, float]) -> list[Setting]:
    """Return the settings of an arm.

    Args:
        records: of the arm.
        own: what its name says of the rival; of the tuned schedule nothing: it is tuned by its warmup.
    """
    found = []
    for runs in by_schedule([r for r in records if r.role == "search"]):
        schedule = runs[0].schedule
        assert schedule is not None  # noqa: S101 - a search trains schedules
        knobs = {"lr": schedule.initial_lr, **(own or {"warmup": schedule.warmup_ratio or 0.0})}
        told = [f"{name} {percent(x) if name == 'warmup' else number(x)}" for name, x in knobs.items()]
        values = {r.seed: r.value if has_value(r) and r.value is not None else math.inf for r in runs}
        found.append(Setting(", ".join([*told, schedule.decay]), values, knobs))
    return found


def _match(
    job: str, contestants: Mapping[str, Sequence[Setting]], records: Mapping[str, Sequence[TrialRecord]]
) -> Match:
    found = tuple(_contestant(name, settings, job) for name, settings in contestants.items())
    first = next(r for arm, of in records.items() if arm.startswith(f"{job}-") for r in of)
    return Match(job, found, first.total_steps, first.monitor)


def _contestant(name: str, settings: Sequence[Setting], job: str) -> Contestant:
    seeds = set.intersection(*(set(s.values) for s in settings)) if settings else set()
    order = sorted(settings, key=lambda s: s.mean)
    if len(seeds) < 2 or not math.isfinite(order[0].mean):
        raise RecordError(f"{name} on {job} has no setting that ended on two seeds or more: run the study to its end")
    held_out = {}
    for seed in sorted(seeds):
        others = seeds - {seed}
        chosen = min(order, key=lambda s: math.fsum(s.values[other] for other in others))
        held_out[seed] = chosen.values[seed]
        if not math.isfinite(held_out[seed]):
            raise RecordError(f"{name} on {job}: what is best on the other seeds diverged on {seed}: list lower rates")
    return Contestant(name, tuple(order), held_out)


def _found(match: Match) -> str:
    said = []
    for place, contestant in enumerate(match.contestants[1:], start=1):
        lead = match.lead(place)
        if lead.low > 0:
            word = f"{percent(lead.value)} ahead of"
        elif lead.high < 0:
            word = f"{percent(-lead.value)} behind"
        else:
            word = "level with"
        said.append(f"{word} {_NAMES[contestant.name]}")
    return f"On {match.job} the tuned schedule is {listed(said)}."


def _body(matches: Sequence[Match]) -> str:
    lines = [
        "The tuned schedule is that of the job's own optimizer (Adam or AdamW): peak and warmup, with a linear decay. "
        "Schedule-Free AdamW has a grid of learning rates, from its default of .0025 up, and two lengths of its own "
        "warmup, which its authors recommend; its weights are switched for validation. Prodigy stays at lr 1, with no "
        "schedule or a cosine, as its authors say, and is tuned by `d_coef`. Weight decay and betas are the job's for "
        "all. Which setting is taken is decided on the other seeds, for each seed anew, so that having tried more "
        "settings is no advantage by luck; differences are paired by seed, and their intervals hold with 95 %. "
        "The rivals are in the environment of `make .venv-race/ready`.",
    ]
    for match in matches:
        rows = [_row(match, place) for place in range(len(match.contestants))]
        head = (
            "contestant",
            "settings tried",
            f"{match.metric}, held out",
            "over the tuned schedule (95 %)",
            "best setting",
        )
        seeds = len(match.contestants[0].held_out)
        lines += ["", f"## {match.job}: {match.total_steps:,} steps, {counted(seeds, 'seed')}", "", *table(head, rows)]
    lines += [
        "",
        "![val_loss of every setting of each contestant, seed by seed](rivals.png)",
        "",
        "## Conclusion",
        "",
        " ".join(_conclusion(match) for match in matches),
        "Both jobs are small and short, and a rival that is spared the choice of a schedule is not spared its tuning: "
        "the spread of its settings is in the table. None of the runs tells how they compare where runs are long, or "
        "where the end of the run is not known beforehand, which is what Schedule-Free is for.",
    ]
    return "\n".join(lines)


def _row(match: Match, place: int) -> tuple[str, ...]:
    contestant = match.contestants[place]
    lead = match.lead(place)
    best, worst = contestant.settings[0], contestant.settings[-1]
    behind = "" if math.isfinite(worst.mean) else " and some that diverged"
    spread = (
        f"{len(contestant.settings)}, means {number(best.mean, 4)} to {number(_last_finite(contestant), 4)}{behind}"
    )
    percents = Estimate(100 * lead.value, 100 * lead.low, 100 * lead.high)
    return (
        _NAMES[contestant.name],
        spread,
        number(contestant.mean, 4),
        "-" if place == 0 else f"{interval(percents, 2)} %",
        best.words,
    )


def _last_finite(contestant: Contestant) -> float:
    return max(s.mean for s in contestant.settings if math.isfinite(s.mean))


def _conclusion(match: Match) -> str:
    said = []
    for place, contestant in enumerate(match.contestants[1:], start=1):
        lead, name = match.lead(place), _NAMES[contestant.name]
        ends = f"{number(100 * lead.low, 2)} to {number(100 * lead.high, 2)} %"
        if lead.low > 0:
            said.append(f"{name} ends {percent(lead.value)} above the tuned schedule ({ends})")
        elif lead.high < 0:
            said.append(f"{name} ends {percent(-lead.value)} below the tuned schedule ({ends}): it wins")
        else:
            said.append(f"{name} cannot be told from the tuned schedule ({ends})")
    return f"On {match.job}, {'; '.join(said)}.{_edges(match)}"


def _edges(match: Match) -> str:
    """Tell where the best setting is at an end of what was tried."""
    at = []
    for contestant in match.contestants:
        for knob, best in contestant.settings[0].knobs.items():
            tried = sorted({setting.knobs[knob] for setting in contestant.settings})
            if len(tried) > 1 and best in (tried[0], tried[-1]):
                end = "smallest" if best == tried[0] else "largest"
                at.append(f"the {knob} of {_NAMES[contestant.name]} ({number(best)}, the {end})")
    return f" At an end of what was tried, so that more may be better: {listed(at)}." if at else ""


def picture(matches: Sequence[Match]) -> Figure:
    """Draw every setting of each contestant, a dot for each seed, the best setting first."""
    figure = new_figure(width=12.0, height=4.4)
    names = ("complete", "best", "second")
    for axes, match in zip(figure.subplots(1, len(matches), squeeze=False)[0], matches, strict=True):
        x = 0
        for name, contestant in zip(names, match.contestants, strict=True):
            for i, setting in enumerate(contestant.settings):
                values = [v for v in setting.values.values() if math.isfinite(v)]
                label = _NAMES[contestant.name] if i == 0 else None
                axes.plot([x] * len(values), values, ".", color=colour(name), label=label)
                x += 1
            x += 1
        every = [v for c in match.contestants for s in c.settings for v in s.values.values() if math.isfinite(v)]
        # settings that hardly train must not flatten the rest
        low, high = min(every), float(np.quantile(every, 0.9))
        axes.set_ylim(low - 0.05 * (high - low), high)
        axes.set_xticks([])
        axes.set_title(match.job)
        axes.set_xlabel("settings, each contestant's best first")
        axes.set_ylabel(f"{match.metric}, a dot a seed")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    return figure
