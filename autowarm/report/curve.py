"""The learning-rate curve of one schedule, as text for a terminal and as a picture; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autowarm.decays import Array, cooldown_steps_of
from autowarm.schedule import Schedule

# A braille character is 2 dots wide and 4 high; the bit of each dot, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800


def curve_text(schedule: Schedule, total_steps: int, *, width: int = 72, height: int = 16) -> str:
    """Return the lr at each optimizer step as a plot in text, and a table of the steps that matter.

    Args:
        schedule: what to draw; a warmup in epochs must be resolved.
        total_steps: optimizer steps in the run, at least 1.
        width: of the plot in characters, labels included, at least 30.
        height: of the plot in lines, at least 4.

    Raises:
        ScheduleError: the schedule does not fit into `total_steps`.
    """
    lrs = schedule.lrs(total_steps=total_steps)
    labels = {0: f"{schedule.initial_lr:.3g}", height // 2: f"{schedule.initial_lr / 2:.3g}", height - 1: "0"}
    margin = max(len(label) for label in labels.values())
    columns = max(width, 30) - margin - 2
    plot = _braille(lrs, columns, height, top=schedule.initial_lr)
    lines = [f"{labels.get(row, ''):>{margin}} ┤{text}".rstrip() for row, text in enumerate(plot)]
    middle, last = f"step {(total_steps - 1) // 2:,}", f"{total_steps - 1:,}"
    below = f"{'0':<{columns // 2 - len(middle) // 2}}{middle}"
    lines += [
        " " * margin + " └" + "─" * columns,
        " " * (margin + 2) + f"{below}{last:>{columns - len(below)}}",
    ]
    lines += ["", *_key_table(schedule, total_steps)]
    return "\n".join(lines) + "\n"


def key_steps(schedule: Schedule, total_steps: int) -> list[tuple[int, str]]:
    """Return the steps of a run that tell its schedule, growing, each with what it is.

    Args:
        schedule: as for `curve_text`.
        total_steps: optimizer steps in the run, at least 1.
    """
    w = schedule.warmup_steps_of(total_steps)
    named = [(0, "first step")]
    named += [(w, "end of warmup, the peak")] if w else []
    named += [(round(total_steps * share), f"{share:.0%} of the steps") for share in (0.25, 0.5, 0.75)]
    if schedule.decay_ratio is not None:
        cooldown = min(cooldown_steps_of(schedule.decay_ratio, total_steps), total_steps - w)
        named += [(total_steps - cooldown, "cooldown starts")]
    named += [(total_steps - 1, "last step")]
    told: dict[int, list[str]] = {}
    for step, words in named:
        told.setdefault(min(step, total_steps - 1), []).append(words)
    return [(step, "; ".join(words)) for step, words in sorted(told.items())]


def draw_curve(schedule: Schedule, total_steps: int, path: Path) -> None:
    """Draw the lr at each optimizer step to a PNG or SVG file, by its suffix.

    Raises:
        ScheduleError: the schedule does not fit into `total_steps`.
        SettingsError: the suffix is not one of a picture.
    """
    from autowarm.report.picture import new_figure, plain_text, save

    lrs = schedule.lrs(total_steps=total_steps)
    figure = new_figure(width=9.0, height=4.5)
    axes = figure.subplots()
    axes.plot(np.arange(total_steps), lrs, color="#1f5fa8", linewidth=2)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("learning rate")
    axes.set_ylim(0, schedule.initial_lr * 1.05)
    axes.set_title(plain_text(str(schedule)), loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    save(figure, path)


def _key_table(schedule: Schedule, total_steps: int) -> list[str]:
    rows = [
        (f"{step:,}", f"{schedule.lr_at(step, total_steps=total_steps):.4g}", words)
        for step, words in key_steps(schedule, total_steps)
    ]
    rows = [("step", "lr", ""), *rows]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return [f"{a:>{first}}  {b:>{second}}  {c}".rstrip() for a, b, c in rows]


def _braille(values: Array, columns: int, rows: int, *, top: float) -> list[str]:
    """Draw values in [0, `top`] as lines of braille, with the gaps between neighbouring dots filled."""
    across, up = 2 * columns, 4 * rows
    at = np.linspace(0, len(values) - 1, across)
    heights = np.rint(np.interp(at, np.arange(len(values)), values) / top * (up - 1)).astype(int)
    cells = np.zeros((rows, columns), dtype=int)
    before = heights[0]
    for x, height in enumerate(heights):
        # a cliff is drawn as a line, not as two dots far apart
        for y in range(min(height, before + 1), max(height, before - 1) + 1):
            row, dot = divmod(up - 1 - y, 4)
            cells[row, x // 2] |= _DOTS[dot][x % 2]
        before = height
    return ["".join(chr(_BRAILLE + cell) if cell else " " for cell in line) for line in cells.tolist()]
