"""The pages of the studies, and the table of all: written from the records, in the same words every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from autowarm.files import replace
from autowarm.record import TrialRecord
from autowarm.report.cells import table
from autowarm.report.picture import save
from autowarm.report.words import counts_words
from autowarm.words import duration
from studies.claims.findings import Findings, Records
from studies.claims.places import STUDIES, TABLE, Place, Scale

_INTRODUCTION = """\
# What warmup does, tested

Claims about warmup and learning-rate schedules, each tested on real trainings through autowarm's own studies. The
page of a study has its tables, pictures and conclusion, and the command that runs it again; every number here and there
is computed from the `trials.jsonl` that lies beside it. Intervals hold with 90 %, unless a page says otherwise. The
models and the data are small, for two cores; whether it is the same for large ones, `--scale gpu` is there to tell.
"""
_CHOSEN = "The learning rates of the grid were chosen from single runs, on one seed."
_COMMANDS = """\
```bash
python -m studies.claims run NAME                # trains what is not in its .work folder yet; goes on after Ctrl-C
python -m studies.claims run NAME --scale gpu    # larger models, longer runs, more seeds: for one large GPU
python -m studies.claims report                  # trains nothing: pages, pictures and this table, from the records
```

Run them from the folder that holds `studies`. *Time* is what the trials took, one after the other; *steps* are
optimizer steps.
"""


def write_page(place: Place) -> Path:
    """Write the page of a study and its pictures; return the page.

    Raises:
        RecordError: the study has no records, or they cannot be read.
    """
    records = place.records()
    found = place.findings(records)
    for name, draw in found.pictures.items():
        save(draw(), place.folder / f"{name}.png")
    replace(place.page, page(place, records, found).encode())
    return place.page


def page(place: Place, records: Records, found: Findings) -> str:
    """Return the page of a study in Markdown."""
    spent = table(
        ("arm", "trials", "ended as", "optimizer steps", "full runs", "time"),
        [_spent_row(arm, of) for arm, of in records.items()],
    )
    return "\n".join(
        [
            f"# {found.title}",
            "",
            f"The claim: {found.claim}",
            "",
            f"**{found.found}**",
            "",
            "```bash",
            place.command,
            "```",
            "",
            found.body.strip(),
            "",
            "## Chosen and changed on the way",
            "",
            f"{_CHOSEN} {found.afterwards}",
            "",
            "## Time and steps",
            "",
            *spent,
            "",
            f"In all {_total(records)}. Written by `python -m studies.claims report`.",
            "",
        ]
    )


def _spent_row(arm: str, records: Sequence[TrialRecord]) -> tuple[str, ...]:
    outcomes = counts_words(dict(sorted(Counter(r.outcome for r in records).items())))
    full = sum(r.own_steps / r.total_steps for r in records)
    return arm, f"{len(records):,}", outcomes, f"{_steps(records):,}", f"{full:,.0f}", duration(_seconds(records))


def _total(records: Records) -> str:
    every = _flat(records)
    return f"{len(every):,} trials, {_steps(every):,} optimizer steps and {duration(_seconds(every))} of training"


def _flat(records: Records) -> list[TrialRecord]:
    return [r for of in records.values() for r in of]


def _steps(records: Iterable[TrialRecord]) -> int:
    return sum(r.own_steps for r in records)


def _seconds(records: Iterable[TrialRecord]) -> float:
    return sum(r.seconds for r in records)


def write_table() -> Path:
    """Write the table of all studies that have records; return its file."""
    replace(TABLE, table_page().encode())
    return TABLE


def table_page(scale: Scale = "cpu") -> str:
    """Return the page with a row a study that has records."""
    places = [place for place in (Place(name, scale) for name in STUDIES) if place.records_file.is_file()]
    rows = [_row(place) for place in places]
    head = ["| claim | what came out | study | trials | steps | time |", "|---|---|---|---|---|---|"]
    return "\n".join([_INTRODUCTION, *head, *rows, "", _COMMANDS])


def _row(place: Place) -> str:
    records = place.records()
    found, every = place.findings(records), _flat(records)
    link = f"[{place.name}]({place.page.relative_to(place.root).as_posix()})"
    spent = f"{len(every):,} | {_steps(every):,} | {duration(_seconds(every))}"
    return f"| {found.claim} | {found.found} | {link} | {spent} |"
