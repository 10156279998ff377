"""The part of the report on what was trained again on fresh seeds: how the answer was chosen."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from autowarm.analysis.answer import answer_of
from autowarm.analysis.best import has_value, horizon_words, horizons, target_horizon
from autowarm.analysis.compare import schedule_words
from autowarm.analysis.confirmed import Candidate
from autowarm.record import TrialRecord
from autowarm.report.cells import decay_cell, escape, lr_cell, table, warmup_cell


def repeated(records: Sequence[TrialRecord]) -> list[str]:
    """Return a table of the candidates of each horizon, the answer first, and how it was chosen among them.

    Differences are to the answer, over the same seeds; their intervals are of the noise of all candidates together.
    """
    blocks, target = [], target_horizon(records)
    found = horizons(r for r in records if r.role in ("confirm", "baseline"))
    for horizon in found:
        here = [r for r in records if r.horizon == horizon]
        answer = answer_of(records, horizon)
        candidates = answer.candidates if answer is not None else ()
        rows = [_candidate_row(c, place) for place, c in enumerate(candidates, start=1)]
        if not any(c.is_today for c in candidates):
            rows += [_today_row(runs) for runs in _baselines(here)]
        title = [f"### At {horizon_words(horizon)}"] if len(found) > 1 else []
        # that of the target is said at the top of the report
        said = [escape(" ".join(answer.sentences()))] if answer is not None and candidates and horizon != target else []
        header = ("", "initial_lr", "warmup", "decay", "in the search", "mean", "standard deviation", "seeds")
        lines = table((*header, "difference to the first", "95 % interval"), rows)
        blocks.append("\n\n".join([*title, "\n".join(lines), *said] if rows else []))
    return ["\n\n".join(blocks)] if any(blocks) else []


def _candidate_row(candidate: Candidate, place: int) -> tuple[str, ...]:
    first, apart = candidate.record, candidate.difference if place > 1 else None
    return (
        f"{place}, today" if candidate.is_today else str(place),
        lr_cell(first.schedule),
        warmup_cell(first),
        decay_cell(first.schedule),
        f"{candidate.found:.5g}" if candidate.found is not None else "-",
        *_statistics(candidate.runs),
        f"{apart:+.3g}" if apart is not None else "-",
        f"+- {candidate.half_width:.2g}" if apart is not None and math.isfinite(candidate.half_width) else "-",
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
        f"{statistics.fmean(values):.5g}" if values else "-",
        f"{statistics.stdev(values):.2g}" if len(values) > 1 else "-",
        ", ".join(seeds),
    )
