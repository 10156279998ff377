"""The parts of a report on what was trained again on fresh seeds, and how that compares with today's schedule."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from autowarm.analysis.best import Horizon, has_value, horizon_order, horizon_words
from autowarm.analysis.compare import schedule_words
from autowarm.analysis.confirmed import Candidate
from autowarm.record import TrialRecord
from autowarm.report.cells import decay_cell, lr_cell, warmup_cell
from autowarm.report.contents import Contents
from autowarm.report.document import Block, Bullets, Heading, Section, Text, table
from autowarm.words import number, signed


def trained_again(contents: Contents) -> Section | None:
    """Return a table of the candidates of each horizon, the answer first, and how it was chosen among them.

    Without fresh seeds, of those that the search itself trained on several.

    Differences are to the answer, over the same seeds; their intervals are of the noise of all candidates together.
    """
    blocks: list[Block] = []
    found = _repeated_horizons(contents)
    for horizon in found:
        answer = contents.answers.get(horizon)
        candidates = answer.candidates if answer is not None else ()
        rows = [_candidate_row(c, place) for place, c in enumerate(candidates, start=1)]
        if not any(c.is_today for c in candidates):
            rows += [_today_row(runs) for runs in _baselines(contents.at(horizon))]
        if not rows:
            continue
        header = ("", "initial_lr", "warmup", "decay", "in the search", "mean", "standard deviation", "seeds")
        blocks += [Heading(f"At {horizon_words(horizon)}")] if len(found) > 1 else []
        blocks.append(table((*header, "difference to the first", "95 % interval"), rows))
        # that of the target is said at the top of the report
        if answer is not None and candidates and horizon != contents.target and answer.sentences():
            blocks.append(Text(" ".join(answer.sentences())))
    if not blocks:
        return None
    fresh = any(r.role in ("confirm", "baseline") for r in contents.records)
    return Section("Trained again on fresh seeds" if fresh else "The best over their seeds", tuple(blocks))


def compared(contents: Contents) -> Section | None:
    """Return the comparisons of what was tuned with today's schedule."""
    found = contents.compared
    if not found:
        return None
    header = ("horizon", "tuned", "today", "seeds", "mean difference (tuned - today)", "95 % interval")
    rows = [
        (
            horizon_words(c.horizon),
            c.tuned,
            c.today,
            c.n_seeds,
            f"{signed(c.mean_difference)}" if c.seeds else "-",
            f"+- {number(c.half_width, 2)}" if c.n_seeds > 1 else "-",
        )
        for c in found
    ]
    counts = Counter((c.horizon, c.today) for c in found)
    said = tuple(
        # which one is meant, where several were
        horizon_words(c.horizon) + (f", {c.tuned}" if counts[c.horizon, c.today] > 1 else "") + f": {c.verdict()}"
        for c in found
    )
    return Section("Tuned against today's schedule", (table(header, rows), Bullets(said)))


def _repeated_horizons(contents: Contents) -> list[Horizon]:
    found = {r.target for r in contents.records if r.role in ("confirm", "baseline")}
    found |= {horizon for horizon, answer in contents.answers.items() if answer is not None and answer.candidates}
    return sorted(found, key=horizon_order, reverse=True)


def _candidate_row(candidate: Candidate, place: int) -> tuple[str, ...]:
    first, apart = candidate.record, candidate.difference if place > 1 else None
    return (
        f"{place}, today" if candidate.is_today else str(place),
        lr_cell(first.schedule),
        warmup_cell(first),
        decay_cell(first.schedule),
        number(candidate.found, 5) if candidate.found is not None else "-",
        *_statistics(candidate.runs),
        f"{signed(apart)}" if apart is not None else "-",
        f"+- {number(candidate.half_width, 2)}" if apart is not None and math.isfinite(candidate.half_width) else "-",
    )


def _baselines(here: Sequence[TrialRecord]) -> list[list[TrialRecord]]:
    groups: dict[str, list[TrialRecord]] = {}
    for record in here:
        if record.role == "baseline":
            groups.setdefault(schedule_words(record), []).append(record)
    return list(groups.values())


def _today_row(runs: Sequence[TrialRecord]) -> tuple[str, ...]:
    first = runs[0]
    name = "today" if first.schedule is not None else first.label
    told = (lr_cell(first.schedule), warmup_cell(first), decay_cell(first.schedule))
    return (name, *told, "-", *_statistics(runs), "-", "-")


def _statistics(runs: Sequence[TrialRecord]) -> tuple[str, str, str]:
    """Return mean, standard deviation and seeds in words; a run without a value is told beside its seed."""
    values = [r.value for r in runs if has_value(r) and r.value is not None]
    seeds = (f"{r.seed}" if has_value(r) else f"{r.seed} {r.outcome}" for r in sorted(runs, key=lambda r: r.seed))
    return (
        number(statistics.fmean(values), 5) if values else "-",
        number(statistics.stdev(values), 2) if len(values) > 1 else "-",
        ", ".join(seeds),
    )
