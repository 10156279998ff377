"""What `autowarm tune` prints at its end: the answer of each horizon, its check on fresh seeds, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autowarm.analysis.advice import Bounds, advise
from autowarm.analysis.best import best_record, horizon_words, horizons
from autowarm.analysis.compare import comparisons
from autowarm.analysis.spend import spend
from autowarm.record import TrialRecord
from autowarm.report.markdown import bounds_of


def summary(records: Sequence[TrialRecord], out: Path, bounds: Bounds | None = None) -> str:
    """Return the end of a study in a few lines.

    Args:
        records: of the study.
        out: its folder.
        bounds: of the search, for the advice.
    """
    lines: list[str] = []
    lost = False
    for horizon in horizons(records):
        here = [r for r in records if r.horizon == horizon]
        best = best_record(here, horizon)
        lines += ["", f"At {horizon_words(horizon)}:"]
        if best is None:
            lines.append("  no trial ended well")
            continue
        lines.append(f"  best of the search  {best.monitor} {best.value:.4f}  {best.label}")
        for comparison in comparisons(here):
            if comparison.selected or not comparison.seeds:
                continue
            seeds = ", ".join(map(str, comparison.seeds))
            lines += [f"  trained anew on seed {seeds}, which the search has not seen:"]
            for who, values, words in (
                # the label of a baseline that is no Schedule says "today" itself
                ("today", comparison.today_values, comparison.today.removeprefix("today: ")),
                ("tuned", comparison.tuned_values, comparison.tuned),
            ):
                shown = ", ".join(f"{value:.4f}" for value in values)
                lines.append(f"    {who}  {best.monitor} {shown}  {words}")
            lines.append(f"  {comparison.verdict()}")
            lost = lost or comparison.lost
    spent = spend(records)
    tests = [r for r in records if r.role == "range_test"]
    # to diverge is what a range test is for
    counts = spend([r for r in records if r.role != "range_test"]).outcomes
    outcomes = ", ".join(f"{count} {name}" for name, count in counts.items())
    outcomes += f"; the range test took {spend(tests).steps:,} steps" if tests else ""
    lines += ["", f"Spent {spent.steps:,} training steps, {spent.full_runs:.1f} full runs ({outcomes})."]
    lines += [f"Note: {sentence}" for sentence in advise(records, bounds_of(records, bounds))]
    lines.append(f"Results: {out / 'report.md'}, {out / 'report.png'}, {out / 'trials.csv'}")
    export = f"autowarm export {out} --format yaml -o best.yaml"
    lines.append(
        f"Next: search on (the same command with a larger --n_trials); {export} writes what there is"
        if lost
        else f"Next: {export}"
    )
    return "\n".join(lines).lstrip("\n")
