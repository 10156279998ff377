"""What `autowarm tune` prints at its end: the answer of each horizon, its check on fresh seeds, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autowarm.analysis.advice import advise
from autowarm.analysis.answer import Answer, answer_of
from autowarm.analysis.best import best_record, horizon_words, horizons
from autowarm.analysis.compare import Comparison, comparisons
from autowarm.analysis.doubt import Bounds
from autowarm.analysis.spend import outcomes_of, spend
from autowarm.record import TrialRecord
from autowarm.report.contents import bounds_of

# Schedules named where the search itself has several seeds of each; the report has more of them.
_MOST_REPEATED = 3


def summary(records: Sequence[TrialRecord], out: Path, bounds: Bounds | None = None) -> str:
    """Return the end of a study in a few lines.

    Args:
        records: of the study.
        out: its folder.
        bounds: of the search, for the advice.
    """
    lines: list[str] = []
    keep = False
    for horizon in horizons(records):
        here = [r for r in records if r.horizon == horizon]
        answer, best = answer_of(records, horizon), best_record(here, horizon)
        lines += ["", f"At {horizon_words(horizon)}:"]
        if answer is None:
            lines.append("  no trial ended well")
            continue
        if best is not None:
            lines.append(f"  best of the search  {best.monitor} {best.value:.4f}  {best.label}")
        against = comparisons(here)[:1] if not answer.is_today else []
        against = [c for c in against if c.seeds and not c.selected]
        lines += [f"  {line}" for line in _again(answer, against)]
        lines += [f"  {c.verdict()}" for c in against]
        lines += [f"  {sentence}" for sentence in answer.sentences()]
        keep = keep or answer.is_today or any(c.lost for c in against)
    spent = spend(records)
    tests = spent.of("range_test").total
    # to diverge is what a range test is for
    counts = outcomes_of(r for r in records if r.role != "range_test")
    outcomes = ", ".join(f"{count} {name}" for name, count in counts.items())
    outcomes += f"; the range test took {tests.steps:,} steps" if tests.trials else ""
    lines += ["", f"Spent {spent.total.steps:,} training steps, {spent.full_runs:.1f} full runs ({outcomes})."]
    lines += [f"Note: {sentence}" for sentence in advise(records, bounds_of(records, bounds))]
    lines.append(f"Results: {out / 'report.md'}, {out / 'report.png'}, {out / 'trials.csv'}")
    export = f"autowarm export {out} --format yaml -o best.yaml"
    lines.append(
        f"Next: search on (the same command with a larger --n_trials); {export} writes what there is"
        if keep
        else f"Next: {export}"
    )
    return "\n".join(lines).lstrip("\n")


def _again(answer: Answer, against: Sequence[Comparison]) -> list[str]:
    """Return what was trained again, a line each: today's schedule, the answer, then the others."""
    ended = [c for c in answer.candidates if c.values]
    if not answer.fresh:
        ended = ended[:_MOST_REPEATED]
    if not ended:
        return []
    seeds = sorted({seed for c in ended for seed in c.values})
    numbers = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    # the label of a baseline that is no Schedule says "today" itself
    told = [("today", c.today_values, c.today.removeprefix("today: ")) for c in against]
    for place, c in enumerate(ended):
        name = "today" if c.is_today else "tuned" if place == 0 else "other"
        told.append((name, tuple(c.values.values()), c.words))
    lines = [f"trained anew on {numbers}, which the search has not seen:" if answer.fresh else f"over {numbers}:"]
    for name, values, words in told:
        shown = ", ".join(f"{value:.4f}" for value in values)
        lines.append(f"  {name}  {answer.record.monitor} {shown}  {words}")
    return lines
