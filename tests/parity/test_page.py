"""docs/parity.md says what the tests of the table run."""

from __future__ import annotations

from parity.page import PAGE, marked, rewritten
from parity.rows import evaluate
from parity.table import NOT_EXPRESSIBLE, ROWS
from parity.transformers_rows import NOT_COVERED

from autowarm.schedule import OPTIONS, Schedule

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_of_the_page_are_those_of_the_registry() -> None:
    assert rewritten(TEXT) == TEXT, "run `python tests/parity/page.py`"


def test_every_library_has_its_tables_on_the_page() -> None:
    rows = {("rows", row.library) for row in ROWS}
    assert marked(TEXT) == rows | {("none", library) for library in NOT_EXPRESSIBLE}
    for name, parameter in NOT_COVERED:
        assert f"`{name}`'s `{parameter}`" in TEXT


def test_a_changed_row_would_be_noticed() -> None:
    changed = TEXT.replace("final_lr_ratio=f, step_offset=1`", "final_lr_ratio=f, step_offset=0`")
    assert rewritten(changed) == TEXT != changed


def test_the_page_tells_every_option() -> None:
    for name, values in OPTIONS.items():
        assert f"`{name}`" in TEXT
        assert f"`{values[1]}`" in TEXT or f"`{name}={values[1]!r}`" in TEXT


def test_the_figures_of_the_conventions_are_those_of_the_schedules() -> None:
    _, _, table = TEXT.partition("| convention |")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:6]]
    for _, arguments, *told in lines:
        options = "" if arguments == "none" else arguments.strip("`")
        schedule = evaluate(f"Schedule(initial_lr=1, warmup_steps=4, decay='linear', {options})", NAMES)
        lrs = schedule.lrs(total_steps=10).round(3).tolist()
        peak = f"step {lrs.index(max(lrs))} has {max(lrs):g}"
        assert told == [f"{lrs[0]:g}", peak, f"{lrs[-1]:g}"]


NAMES = {"Schedule": Schedule}
