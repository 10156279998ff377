"""The records of a study's folder, from its database or the file derived from it, and what becomes of them.

And the same of a table of runs that autowarm did not make.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from autowarm.analysis.answer import answer_of
from autowarm.analysis.doubt import Bounds
from autowarm.analysis.recommend import Recommendation, recommend, schedule_of
from autowarm.analysis.runs import runs_of
from autowarm.errors import RecordError, SettingsError, StudyError
from autowarm.export import Source, choose, confirmed_seeds
from autowarm.export.source import steps_of
from autowarm.record import Mode, TrialRecord, uncollected
from autowarm.report.contents import contents_of, contents_of_runs
from autowarm.report.files import RECORDS, read_results, write_contents, write_report, write_results
from autowarm.report.matplotlib_figure import draw_plot
from autowarm.report.plot import Plot
from autowarm.report.plots.registry import PLOTS, READS, check_name, plot_of
from autowarm.run_tables import RunTable, parse_columns, read_runs
from autowarm.schedule import Schedule
from autowarm.settings import DATABASE, STUDY_FILE
from autowarm.space import SearchSpace
from autowarm.words import counted
from autowarm.yaml_files import read_yaml

# SQLite's write-ahead log is where a killed run has left its last records.
_DATABASES = (DATABASE, f"{DATABASE}-wal")


def results_of(out: Path) -> list[TrialRecord]:
    """Return the records of a study's folder.

    A run that was killed has told its database more than it has written out; then the database is read, which takes
    about a second longer.

    Raises:
        RecordError: there are no results, or they cannot be read.
        StudyError: the database cannot be read.
    """
    return _from_database(out)[0] if _database_is_newer(out) else _each_once(read_results(out))


def refresh(out: Path, *, notice: Callable[[str], None] = lambda _: None) -> str:
    """Write the report of a study's folder anew, and return it as Markdown.

    A `trials.jsonl` that cannot be read is written anew, where the folder has its database.

    Args:
        out: the folder.
        notice: is told of that.

    Raises:
        RecordError: there are no results, or they cannot be read.
        StudyError: the database cannot be read, or the folder cannot be written.
    """
    try:
        if _database_is_newer(out):
            return _from_database(out)[1]
        try:
            with uncollected():
                read = read_results(out)
                records = _each_once(read)
                if more := len(read) - len(records):
                    notice(f"{RECORDS} holds {counted(more, 'record')} of trials that it has already: left out")
                # a curve that cannot be read may be found out only when it is drawn
                return write_report(records, out, name=_name(records, out), bounds=_bounds(out))
        except RecordError as e:
            if not (out / DATABASE).is_file():
                raise
            text = _from_database(out)[1]
            notice(f"{RECORDS} is written anew from {DATABASE}: {e.__cause__ or e}")
            return text
    except OSError as e:
        raise StudyError(f"the report cannot be written to {out}: {e.strerror or e}") from None


def _each_once(records: list[TrialRecord]) -> list[TrialRecord]:
    """Return records without those of a trial that has one already: somebody has put files together."""
    return list({(r.study, r.role, r.target, r.total_steps, r.trial): r for r in reversed(records)}.values())[::-1]


def report_on_table(path: Path, out: Path, *, columns: str | None, mode: str | None, failed_at: float | None) -> str:
    """Write `report.md` and `report.html` on a table of somebody's runs into a folder; return the former.

    Args:
        path: of the table.
        out: the folder, made where it is missing.
        columns: what its columns are; see `autowarm.run_tables.parse_columns`.
        mode: whether less (`min`) or more (`max`) of the value is better.
        failed_at: the value at which, or worse, a run has failed.

    Raises:
        SettingsError: `columns`, `mode` or `failed_at` is not valid.
        RecordError: the table cannot be read, or is none of runs.
        StudyError: the folder cannot be written.
    """
    table = _table(path, columns=columns, mode=mode, failed_at=failed_at)
    contents = contents_of_runs(table.runs, name=path.name, notices=table.notices)
    try:
        out.mkdir(parents=True, exist_ok=True)
        return write_contents(contents, out)
    except OSError as e:
        raise StudyError(f"the report cannot be written to {out}: {e.strerror or e}") from None


def recommended(
    source: Path,
    total_steps: int,
    *,
    dataset_size: int | None = None,
    batch_size: int | None = None,
    columns: str | None = None,
    mode: str | None = None,
    failed_at: float | None = None,
) -> tuple[Recommendation, Schedule | None]:
    """Return the schedule to use for a budget, from a study's folder or a table of runs.

    Args:
        source: the folder, or the table.
        total_steps: of the training to come.
        dataset_size: its training examples; by default those of the runs.
        batch_size: examples of an optimizer step; likewise.
        columns: of a table, see `report_on_table`.
        mode: of a table, likewise.
        failed_at: of a table, likewise.

    Returns:
        What to use and why, and the answer of the study, whose decay goes with it; None of a table or where a study has
        no answer. See `schedule_of` for the two as one schedule.

    Raises:
        SettingsError: an argument is not valid.
        RecordError: there are no results, or no run ended with a value.
        StudyError: the database cannot be read.
    """
    if not source.is_dir():
        runs = _table(source, columns=columns, mode=mode, failed_at=failed_at).runs
        return recommend(runs, total_steps, dataset_size, batch_size), None
    if columns is not None or mode is not None or failed_at is not None:
        raise SettingsError(f"{source} is the folder of a study: columns, mode and failed_at are for tables")
    records = results_of(source)
    answer = answer_of(records)
    found = recommend(runs_of(records), total_steps, dataset_size, batch_size)
    return found, None if answer is None else answer.record.schedule


def recommended_source(source: Path, found: Recommendation, answer: Schedule | None) -> Source:
    """Return a recommendation on its way into a schedule file for `autowarm show`, `export` and `TunedSchedule`.

    Raises:
        SettingsError: the runs' decay has parameters that nobody knows.
        ScheduleError: warmup and cooldown do not fit into one run.
    """
    schedule = schedule_of(found, answer)
    told = {"study": source.resolve().name, "exported_for": steps_of(schedule, found.total_steps)}
    return Source(schedule, found.total_steps, told)


def _table(path: Path, *, columns: str | None, mode: str | None, failed_at: float | None) -> RunTable:
    known: dict[str | None, Mode] = {"min": "min", "max": "max"}
    if mode not in known:
        given = "" if mode is None else f", got {mode!r}"
        raise SettingsError(f"give --mode min where less of the value is better, --mode max where more is{given}")
    return read_runs(path, parse_columns(columns or ""), mode=known[mode], failed_at=failed_at)


def plot_results(out: Path, plot: str, path: Path) -> None:
    """Draw one plot of a study's folder.

    Args:
        out: the folder.
        plot: its name, one of `autowarm.report.plots.registry.PLOTS`.
        path: of the picture, a .png or .svg file.

    Raises:
        SettingsError: there is no such plot, or nothing to draw in it, or the file ends otherwise.
        RecordError: there are no results, or they cannot be read.
        StudyError: the database cannot be read.
    """
    check_name(plot)
    records = results_of(out)
    name, bounds = _name(records, out), _bounds(out)
    made = PLOTS[plot][1](contents_of(records, name=name, bounds=bounds, only=READS.get(plot, ())))
    if not isinstance(made, Plot):
        # the error names the plots that there are, which takes all of them
        made = plot_of(contents_of(records, name=name, bounds=bounds), plot)
    draw_plot(made, path)


def source_of(path: Path, total_steps: int | None = None, dataset_size: int | None = None) -> Source:
    """Return what is exported: the best schedule of a study's folder, or that of a schedule file.

    Args:
        path: the folder, or the file.
        total_steps: of a folder, the horizon's; of a file, the optimizer steps in the run.
        dataset_size: of a folder, the horizon's.

    Raises:
        SettingsError: a dataset_size for a file.
        ScheduleError: the file cannot be read or holds no valid schedule, or does not fit into `total_steps`.
        StudyError: nothing was searched at that horizon, or no trial there is COMPLETE.
        RecordError: the folder has no results, or they cannot be read.
    """
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        if dataset_size is not None:
            raise SettingsError(f"{path} is a schedule file, which has no horizons: leave dataset_size out")
        return Source.of_file(path).over(total_steps)
    records = results_of(path)
    chosen = choose(records, total_steps, dataset_size)
    return Source.of_record(chosen, confirmed_seeds(records, chosen))


def _from_database(out: Path) -> tuple[list[TrialRecord], str]:
    """Write the results that the database has; return them, and the report as Markdown."""
    from autowarm.study.database import read_records

    records = read_records(out)
    return records, write_results(records, out, name=_name(records, out), bounds=_bounds(out))


def _name(records: list[TrialRecord], out: Path) -> str:
    return records[0].study if records else out.resolve().name


def _bounds(out: Path) -> Bounds | None:
    """Return the bounds of the search, where the folder still has its study file."""
    try:
        space = read_yaml(out / STUDY_FILE, SettingsError).get("space", {})
        return SearchSpace.from_dict(space).bounds if isinstance(space, dict) else None
    except SettingsError:
        return None


def _database_is_newer(out: Path) -> bool:
    changed = [(out / name).stat().st_mtime for name in _DATABASES if (out / name).is_file()]
    if not changed:
        return False
    written = out / RECORDS
    return not written.is_file() or max(changed) > written.stat().st_mtime
