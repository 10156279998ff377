"""The parts of a report on whether to trust it: doubts, the audit of pruning, what diverged and what failed."""

from __future__ import annotations

from collections import Counter

from autowarm.analysis.audit import pruning_audit
from autowarm.analysis.best import horizon_words
from autowarm.report.cells import decay_cell, lr_cell, warmup_cell
from autowarm.report.contents import Contents
from autowarm.report.document import Block, Bullets, Section, Text, table
from autowarm.report.tables import last_line
from autowarm.words import percent

# Rows of the tables of what went wrong; trials.csv has them all.
MANY = 20


def trust(contents: Contents) -> Section | None:
    """Return what speaks against the answer, and what to do about it; nothing where nothing has run."""
    if not contents.records and not len(contents.runs):
        return None
    said = tuple(doubt.words for doubt in contents.doubts) + contents.notices
    return Section("Can I trust it?", (Bullets(said),)) if said else None


def audited(contents: Contents) -> Section | None:
    """Return how often pruning would have been wrong."""
    said = []
    for horizon in contents.answers:
        found = pruning_audit(contents.at(horizon))
        if found.at_most is not None:
            said.append(
                f"{horizon_words(horizon)}: of the {found.pruned + found.audited} trials that pruning would "
                f"have stopped, {found.audited} were finished as an audit. {found.best} of these would have been the "
                f"best ({percent(found.at_most)} of all such trials at most, with 95 % confidence), "
                f"{found.top} in the best "
                "tenth."
            )
    return Section("Was pruning right", (Bullets(tuple(said)),)) if said else None


def diverged(contents: Contents) -> Section | None:
    """Return the trials that diverged, the lowest lr first, which says most."""
    # to diverge is what a range test is for
    found = [r for r in contents.records if r.outcome == "DIVERGED" and r.role != "range_test"]
    found.sort(key=lambda r: (r.schedule is None, r.schedule.initial_lr if r.schedule else 0.0, r.trial))
    rows = [
        (
            lr_cell(r.schedule),
            warmup_cell(r),
            decay_cell(r.schedule),
            f"{r.steps:,} of {r.total_steps:,}",
            r.seed,
            r.reason or "-",
        )
        for r in found[:MANY]
    ]
    header = ("initial_lr", "warmup", "decay", "at step", "seed", "reason")
    return Section("What diverged", (table(header, rows), *_more(len(found)))) if rows else None


def failed(contents: Contents) -> Section | None:
    """Return the errors of the trials that failed."""
    found = [r for r in contents.records if r.outcome == "FAILED"]
    counts = Counter(last_line(r.error) or r.reason or "no reason was recorded" for r in found)
    rows = [(count, error) for error, count in counts.most_common(MANY)]
    return Section("What failed", (table(("trials", "error"), rows), *_more(len(counts)))) if rows else None


def _more(count: int) -> tuple[Block, ...]:
    return (Text(f"... and {count - MANY} more, in trials.csv."),) if count > MANY else ()
