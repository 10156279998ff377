"""The learning-rate curve of one run, as text for a terminal and as a picture; nothing is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from autowarm.decays import Array, cooldown_steps_of
from autowarm.schedule import Schedule
from autowarm.words import number, percent

# A braille character is 2 dots wide and 4 high; the bit of each dot, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800


def curve_text(
    lrs: Array, named: Sequence[tuple[int, str]], *, top: float | None = None, width: int = 72, height: int = 16
) -> str:
    """Return learning rates as a plot in text, and a table of the steps that matter.

    Args:
        lrs: of optimizer steps 0 .. total_steps - 1; shape (total_steps,).
        named: those steps, growing, each with what it is.
        top: of the plot; default: the highest lr.
        width: of the plot in characters, labels included, at least 30.
        height: of the plot in lines, at least 4.
    """
    top = top or float(lrs.max()) or 1.0
    labels = {0: number(top), height // 2: number(top / 2), height - 1: "0"}
    margin = max(len(label) for label in labels.values())
    columns = max(width, 30) - margin - 2
    plot = _braille(lrs, columns, height, top=top)
    lines = [f"{labels.get(row, ''):>{margin}} ┤{text}".rstrip() for row, text in enumerate(plot)]
    middle, last = f"step {(len(lrs) - 1) // 2:,}", f"{len(lrs) - 1:,}"
    below = f"{'0':<{columns // 2 - len(middle) // 2}}{middle}"
    lines += [
        " " * margin + " └" + "─" * columns,
        " " * (margin + 2) + f"{below}{last:>{columns - len(below)}}",
    ]
    lines += ["", *_key_table(lrs, named)]
    return "\n".join(lines) + "\n"


def key_steps(schedule: Schedule, total_steps: int) -> list[tuple[int, str]]:
    """Return the steps of a run that tell its schedule, growing, each with what it is.

    Args:
        schedule: what the run follows; a warmup in epochs must be resolved.
        total_steps: optimizer steps in the run, at least 1.

    Raises:
        ScheduleError: the schedule does not fit into `total_steps`.
    """
    w, span = schedule.warmup_steps_of(total_steps), schedule.span_of(total_steps)
    named = [(0, "first step")]
    end = "end of warmup, the peak" if schedule.decay_from == "peak" else "end of warmup"
    named += [(schedule.peak_step_of(total_steps), end)] if w else []
    named += [(round(total_steps * share), f"{percent(share)} of the steps") for share in (0.25, 0.5, 0.75)]
    if schedule.decay_ratio is not None:
        cooldown = min(cooldown_steps_of(schedule.decay_ratio, span), span - w)
        named += [(max(span - cooldown - schedule.step_offset, 0), "cooldown starts")]
    named += [(total_steps - 1, "last step")]
    return _together(named, total_steps)


def key_steps_of(lrs: Array) -> list[tuple[int, str]]:
    """Return the steps that tell learning rates of which no schedule is known; as `key_steps`."""
    total_steps = len(lrs)
    named = [(0, "first step"), (int(np.argmax(lrs)), "the peak")]
    named += [(round(total_steps * share), f"{percent(share)} of the steps") for share in (0.25, 0.5, 0.75)]
    return _together([*named, (total_steps - 1, "last step")], total_steps)


def _together(named: Iterable[tuple[int, str]], total_steps: int) -> list[tuple[int, str]]:
    told: dict[int, list[str]] = {}
    for step, words in named:
        told.setdefault(min(step, total_steps - 1), []).append(words)
    return [(step, "; ".join(words)) for step, words in sorted(told.items())]


def draw_curve(lrs: Array, title: str, path: Path) -> None:
    """Draw the lr at each optimizer step to a PNG or SVG file, by its suffix.

    Args:
        lrs: of optimizer steps 0 .. total_steps - 1; shape (total_steps,).
        title: above the curve.
        path: the file.

    Raises:
        SettingsError: the suffix is not one of a picture.
    """
    from autowarm.report.palette import colour
    from autowarm.report.picture import new_figure, plain_text, save

    figure = new_figure(width=9.0, height=4.5)
    axes = figure.subplots()
    axes.plot(np.arange(len(lrs)), lrs, color=colour("complete"), linewidth=2)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("learning rate")
    axes.set_ylim(0, (float(lrs.max()) or 1.0) * 1.05)
    axes.set_title(plain_text(title), loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    save(figure, path)


def _key_table(lrs: Array, named: Sequence[tuple[int, str]]) -> list[str]:
    rows = [(f"{step:,}", number(lrs[step], 4), words) for step, words in named]
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
