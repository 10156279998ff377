from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest

from autowarm.report.cells import escape
from autowarm.report.markdown import report_md
from autowarm.report.sections.best import TOP
from autowarm.report.sections.trust import MANY
from autowarm.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from autowarm.record import TrialRecord

    MakeRecord = Callable[..., TrialRecord]


def sections(text: str) -> dict[str, str]:
    """Return the text below each heading of the second level."""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def columns(row: str) -> int:
    return len(re.findall(r"(?<!\\)\|", row)) - 1


def assert_tables_are_whole(text: str) -> None:
    """Each block of table lines has as many columns everywhere, and stands apart from what is around it."""
    for block in text.split("\n\n"):
        if "|" in block.replace("\\|", ""):
            assert len({columns(line) for line in block.splitlines()}) == 1, block


def test_no_record() -> None:
    assert report_md([], name="empty", picture="report.png") == (
        "# empty\n\n**There is no answer yet:** no trial has run.\n"
    )


def test_one_record(make_record: MakeRecord) -> None:
    text = report_md([make_record(value=1.2345678)], name="one", picture="report.png")
    assert "**Use lr 0.1, warmup 10 %, cosine**: it reached val_loss 1.2346, the only trial" in text
    assert "![Learning-rate and validation curves](report.png)" in text
    found = sections(text)
    kept = [title for title in found if title != "Longer runs or more data"]
    assert kept == ["Best schedules", "Can I trust it?", "What was spent", "How to use the schedule"]
    assert "| 1 | 1.2346 | 0.1 | 10 % (10 steps) | cosine | 0 | 0 |" in found["Best schedules"]
    assert "Trainer(max_steps=100, callbacks=[TunedSchedule(" in found["How to use the schedule"]
    assert "autowarm export" in found["How to use the schedule"]


def test_all_diverged(make_record: MakeRecord) -> None:
    records = [
        make_record(trial=i, lr=1.0 / (1 + i), outcome="DIVERGED", steps=7, reason="loss is NaN") for i in range(3)
    ]
    text = report_md(records, name="x")
    assert "**There is no answer yet:** no search trial at total_steps 100, dataset_size 1,000" in text
    found = sections(text)
    assert list(found) == ["Best schedules", "Can I trust it?", "What was spent", "What diverged"]
    rows = [line for line in found["What diverged"].splitlines() if "NaN" in line]
    assert rows[0] == "| 0.3333 | 10 % (10 steps) | cosine | 7 of 100 | 0 | loss is NaN |", "the lowest lr first"
    assert "lower space.initial_lr.low" in found["Can I trust it?"]


def test_all_failed_are_grouped_by_their_error(make_record: MakeRecord) -> None:
    errors = ["Traceback:\nValueError: a|b", "Traceback:\nZeroError: c", "Other:\nZeroError: c", None]
    records = [make_record(outcome="FAILED", error=e, reason="killed") for e in errors]
    failed = sections(report_md(records, name="x"))["What failed"]
    assert failed.strip().splitlines()[2:] == [
        *("| 2 | ZeroError: c |", "| 1 | ValueError: a\\|b |", "| 1 | killed |"),
    ]


def test_long_tables_are_cut_and_say_so(make_record: MakeRecord) -> None:
    records = [make_record(trial=i, outcome="DIVERGED") for i in range(MANY + 3)]
    records += [make_record(trial=i) for i in range(TOP + 2)]
    found = sections(report_md(records, name="x"))
    assert "... and 3 more, in trials.csv." in found["What diverged"]
    assert len([line for line in found["Best schedules"].splitlines() if line.startswith("|")]) == 2 + TOP


def test_mode_max_puts_the_highest_first(make_record: MakeRecord) -> None:
    records = [make_record(value=v, monitor="acc", mode="max", lr=v) for v in (0.5, 0.9, 0.7)]
    text = report_md(records, name="x")
    assert "**Use lr 0.9," in text
    assert "reached acc 0.9, the best of 3 trials" in text


def test_a_value_that_is_no_number_is_not_the_answer(make_record: MakeRecord) -> None:
    text = report_md([make_record(value=math.nan, lr=0.5), make_record(value=2.0)], name="x")
    assert "**Use lr 0.1," in text
    assert "nan" not in text


def test_several_horizons_have_a_table_each_and_the_largest_gives_the_answer(make_record: MakeRecord) -> None:
    records = [make_record(total_steps=t, lr=t / 1000, value=1.0) for t in (100, 400, 200)]
    text = report_md(records, name="x")
    assert "**Use lr 0.4," in text
    assert re.findall("^### At total_steps (.*), d", text, flags=re.MULTILINE) == ["400", "200", "100"]
    assert "| all | 3 (3 COMPLETE) |" in text
    assert_tables_are_whole(text)


def test_tuned_against_a_baseline_without_a_schedule(make_record: MakeRecord) -> None:
    records = [make_record()]
    for seed in (1, 0, 2):  # as they end, side by side
        records.append(make_record(role="baseline", schedule=None, label="a|b", seed=seed, value=2.0 + seed / 9))
        records.append(make_record(role="confirm", seed=seed, value=1.0 + seed / 9))
    text = report_md(records, name="x")
    found = sections(text)
    assert "| lr 0.1, warmup 10 %, cosine | a\\|b | 3 | -1 | +-" in found["Tuned against today's schedule"]
    assert "Tuned is better by 1" in text.split("##")[0], "the answer says how it compares"
    again = found["Trained again on fresh seeds"]
    assert "| 1 | 0.1 | 10 % (10 steps) | cosine | 1 | 1.1111 | 0.11 | 0, 1, 2 | - | - |" in again
    assert "| a\\|b | - | - | - | - | 2.1111 | 0.11 | 0, 1, 2 | - | - |" in again
    assert "| of it confirm | 3 (3 COMPLETE) |" in found["What was spent"]
    assert_tables_are_whole(text)


def test_a_tuned_schedule_that_is_not_better_is_said_to_be_so_at_the_top(make_record: MakeRecord) -> None:
    records = [make_record(value=2.0), make_record(role="baseline", value=1.0, lr=0.9)]
    assert "Tuned is not better than today's schedule" in report_md(records, name="x").split("##")[0]


def trained_again(make_record: MakeRecord, **fields: Any) -> list[TrialRecord]:
    """Return three schedules on two fresh seeds; of two that are within noise the plainer did not win the search."""
    values = {0.2: (0.9, 1.0, 1.5), 0.1: (1.0, 1.3, 1.4), 0.4: (1.1, 3.0, 3.3)}
    records = []
    for trial, (lr, (found, *again)) in enumerate(values.items()):
        records.append(make_record(trial=trial, lr=lr, value=found, **fields))
        records += [make_record(role="confirm", lr=lr, seed=s, value=v, **fields) for s, v in enumerate(again, 1)]
    today = Schedule(initial_lr=0.9)
    return records + [make_record(role="baseline", schedule=today, seed=s, value=5.0 + s, **fields) for s in (1, 2)]


def test_the_answer_is_that_of_the_fresh_seeds_and_its_table_shows_the_others(make_record: MakeRecord) -> None:
    text = report_md(trained_again(make_record), name="x")
    top, found = text.split("##")[0], sections(text)
    assert "**Use lr 0.1, warmup 10 %, cosine**: it reached val_loss 1, the second best of 3 trials at" in top
    assert "Tuned is ahead by 5.15" in top
    assert "within noise: val_loss 1.35 and 1.25 (one standard error of the difference is" in top
    assert "The lower lr at the same warmup was taken." in top
    assert "Found at val_loss 1, it reached 1.35 when trained again (seeds 1, 2): what leads a search is lucky" in top
    rows = [line for line in found["Trained again on fresh seeds"].splitlines() if line.startswith("| ")][1:]
    assert rows == [
        "| 1 | 0.1 | 10 % (10 steps) | cosine | 1 | 1.35 | 0.071 | 1, 2 | - | - |",
        "| 2 | 0.2 | 10 % (10 steps) | cosine | 0.9 | 1.25 | 0.35 | 1, 2 | -0.1 | +- 0.61 |",
        "| 3 | 0.4 | 10 % (10 steps) | cosine | 1.1 | 3.15 | 0.21 | 1, 2 | +1.8 | +- 0.61 |",
        "| today | 0.9 | none | constant | - | 6.5 | 0.71 | 1, 2 | - | - |",
    ]
    compared = found["Tuned against today's schedule"]
    assert compared.count("lr 0.1, warmup 10 %, cosine: Tuned is") == 1
    assert compared.index("lr 0.1, w") < compared.index("lr 0.2, w") < compared.index("lr 0.4, w")
    assert_tables_are_whole(text)


def test_several_horizons_say_how_each_was_answered(make_record: MakeRecord) -> None:
    text = report_md([*trained_again(make_record), *trained_again(make_record, total_steps=200)], name="x")
    again = sections(text)["Trained again on fresh seeds"]
    assert again.index("### At total_steps 200") < again.index("### At total_steps 100")
    assert again.count("within noise") == 1, "that of the longest is said at the top"
    assert_tables_are_whole(text)


def test_todays_schedule_can_be_the_answer(make_record: MakeRecord) -> None:
    records = [make_record(value=0.9, lr=0.2), make_record(value=1.0, lr=0.1)]
    records += [make_record(role="confirm", lr=0.2, seed=s, value=2.0 + s) for s in (1, 2)]
    today = Schedule(initial_lr=0.1, warmup_steps=10, decay="cosine")
    records += [make_record(role="baseline", schedule=today, seed=s, value=1.0 + s) for s in (1, 2)]
    text = report_md(records, name="x")
    assert "**Keep today's schedule, lr 0.1, warmup 10 %, cosine**: it reached val_loss 1, the second" in text
    assert "The best of the search, lr 0.2, warmup 10 %, cosine, reached val_loss 0.9 there, and 3.5 when" in text
    assert "| 1, today | 0.1 |" in text
    assert "Tuned is worse than today's schedule by 1" in sections(text)["Tuned against today's schedule"]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_metric_that_never_changes_is_said_at_the_top_with_what_to_look_at(
    make_record: MakeRecord, mode: str
) -> None:
    text = report_md([make_record(lr=lr, warmup_ratio=0.3 - lr, mode=mode) for lr in (0.1, 0.3, 0.2)], name="x")
    assert "**Use lr 0.3, no warmup, cosine**" in text
    assert "val_loss was 1 at the end of every trial: it tells no schedule from another" in text.split("##")[0]
    advice = sections(text)["Can I trust it?"]
    assert "All trials ended with val_loss 1, which tells no schedule from another: look at \\`monitor\\`" in advice
    assert "end of" not in advice, "no bound is to be moved for it"


def test_names_from_a_study_stay_text(make_record: MakeRecord) -> None:
    nasty = "<script>x</script> | a\nb [l](javascript:y) `c` \\"
    records = [
        make_record(study=nasty, monitor=nasty),
        make_record(monitor=nasty, role="baseline", schedule=None, label=nasty),
        make_record(monitor=nasty, outcome="DIVERGED", reason=nasty),
        make_record(monitor=nasty, outcome="FAILED", error=nasty),
    ]
    text = report_md(records, name=nasty)
    assert "<script" not in text
    assert "[l](" not in text.replace("\\[l\\](", "")
    assert text.startswith("# &lt;script&gt;x&lt;/script&gt; \\| a b \\[l\\](javascript:y) \\`c\\` \\\\\n")
    assert_tables_are_whole(text)


def test_escape_keeps_a_line_a_line() -> None:
    assert escape("a\r\n\u2028b & c") == "a b &amp; c"


def test_an_audit_of_the_pruning_is_told_by_horizon(make_record: MakeRecord) -> None:
    records = [make_record(value=1.0 + i) for i in range(9)]
    records += [make_record(outcome="PRUNED") for _ in range(6)]
    assert "Was pruning right" not in report_md(records, name="x")
    records += [make_record(value=v, audit_step=50, audit_reason="it was behind") for v in (0.5, 3.5)]
    assert sections(report_md(records, name="x"))["Was pruning right"].strip() == (
        "- total_steps 100, dataset_size 1,000: of the 8 trials that pruning would have stopped, 2 were finished as an "
        "audit. 1 of these would have been the best (97 % of all such trials at most, with 95 % confidence), 1 in the "
        "best tenth."
    )


def test_the_levels_of_a_ladder_are_told_apart_from_what_they_led_to(make_record: MakeRecord) -> None:
    short = [make_record(trial=i, total_steps=50, target_steps=400, value=1.0 + i, lr=0.1 + i) for i in range(3)]
    whole = make_record(total_steps=400, value=0.5, lr=0.2)
    report = report_md([*short, whole], name="demo")
    assert "the only trial at total_steps 400, dataset_size 1,000, after 3 shorter ones." in report
    assert (
        "| total_steps 400, dataset_size 1,000 | 50 | 3 COMPLETE | 0.44 | 1 | 0.1 | 10 % (5 steps) | cosine |" in report
    )
    assert "### At total_steps 50" not in report
    assert "1 trial: 1 COMPLETE." in report


def test_a_ladder_that_was_interrupted_has_no_answer_yet(make_record: MakeRecord) -> None:
    short = [make_record(trial=i, total_steps=50, target_steps=400) for i in range(3)]
    report = report_md(short, name="demo")
    assert "no search trial at total_steps 400, dataset_size 1,000 ended well (3 shorter runs so far)." in report
    assert "## The ladder" in report
