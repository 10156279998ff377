"""The part of a report on how to use the schedule."""

from __future__ import annotations

from autowarm.report.contents import Contents
from autowarm.report.document import Code, Section, Text

_PYTHON = """\
from autowarm import TunedSchedule

trainer = Trainer(max_steps={total_steps}, callbacks=[TunedSchedule("schedule.yaml")])
trainer.fit(model)"""

_SHELL = """\
# DIR is the folder of this report
autowarm export DIR --format yaml -o schedule.yaml
# of a LightningCLI project: a file to pass after your own, --config yours.yaml --config tuned.yaml
autowarm export DIR --format lightning -o tuned.yaml"""


def use(contents: Contents) -> Section | None:
    """Return how to train with the answer."""
    answer = contents.answer
    if answer is None:
        return None
    return Section(
        "How to use the schedule",
        (
            Code(_PYTHON.format(total_steps=answer.record.total_steps), "python"),
            Text("These commands write the files:"),
            Code(_SHELL, "bash"),
        ),
    )
