"""Whatever a file holds, only errors of ours come out; what was read can be used, written, and read again.

Short and repeatable here. `AUTOWARM_FUZZ=20 pytest tests/test_fuzz.py` makes twenty times as many examples, new ones at
each run.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fuzzing import NUMBERS, ODD, PLAIN, WORDS, damaged, fuzz, mutated, ours
from hypothesis import given
from hypothesis import strategies as st
from sample_contents import sample_record

from autowarm.analysis.recommend import recommend
from autowarm.budget import read_budget
from autowarm.export import FORMATS, Source, choose, confirmed_seeds, export
from autowarm.record import TrialRecord, read_jsonl
from autowarm.report.contents import contents_of, contents_of_runs
from autowarm.report.files import RECORDS, read_results, write_results
from autowarm.report.html_page import html_page
from autowarm.report.markdown import markdown
from autowarm.report.notebook import notebook_html
from autowarm.report.plots.registry import plots_of
from autowarm.report.summary import summary
from autowarm.report.tables import to_csv, to_frame
from autowarm.results import refresh
from autowarm.run_tables import parse_columns, read_runs
from autowarm.schedule import Schedule, load_schedule
from autowarm.settings import DATABASE, load_study, settings_yaml
from autowarm.space import SearchSpace
from autowarm.study.database import database, quiet_optuna, read_records
from autowarm.study.horizon import HorizonStudy

SCHEDULES: list[dict[str, Any]] = [
    {"initial_lr": 3e-4, "warmup_ratio": 0.06, "decay": "cosine", "final_lr_ratio": 0.1, "num_cycles": 1.5},
    {"initial_lr": 0.1, "warmup_steps": 5, "warmup": "exponential", "warmup_start_ratio": 0.01, "decay": "wsd"},
    {"initial_lr": 1.0, "warmup_epochs": 0.5, "decay": "polynomial", "power": 3.0, "decay_from": "start"},
    {"initial_lr": 1.0, "decay": "step", "gamma": 0.5, "step_size_ratio": 0.2, "decay_to": "last_step"},
    {"initial_lr": 1.0, "decay": "exponential", "gamma": 0.5, "step_offset": 1},
    {"initial_lr": 1.0, "decay": "inverse_sqrt", "timescale": 100},
]
PROVENANCE = {
    "study": "demo",
    "trial": 3,
    "total_steps": 100,
    "dataset_size": 1000,
    "batch_size": 10,
    "confirmed_seeds": [1, 2],
    "versions": {"torch": "2.6"},
    "exported_for": {"total_steps": 200},
}
SPACE = {
    "initial_lr": {"low": 1e-5, "high": 0.1},
    "warmup_ratio": {"low": 0, "high": 0.3, "log": False},
    "decay": ["cosine", "wsd", "step", "cosine_restarts"],
    "warmup": ["linear", "cosine"],
    "gamma": {"low": 0.1, "high": 0.5},
    "num_cycles": {"low": 1, "high": 4},
    "final_lr_ratio": [0.0, 0.1],
    "step_offset": 1,
}
STUDY = {
    "job": {"factory": "package.jobs:build", "args": {"lr": 1e-3, "sizes": [1, 2]}, "dataset_size_arg": "n"},
    "name": "demo",
    "monitor": "val_loss",
    "mode": "min",
    "space": SPACE,
    "total_steps": [100, 200],
    "dataset_size": 50,
    "budget": "2 h",
    "seed": 1,
    "n_jobs": 2,
    "pruning": "safe",
    "prune_audit": 0.1,
    "confirm_top": 2,
    "confirm_seeds": 2,
    "keep_callbacks": ["Timer"],
    "storage": "sqlite:///x.db",
}


def few_points(record: TrialRecord) -> TrialRecord:
    return replace(record, rungs=record.rungs[::5], train_curve=record.train_curve[::10])


RECORDS_MADE = [
    sample_record(0, 0.01),
    sample_record(1, 0.02),
    sample_record(2, 0.1, outcome="DIVERGED"),
    sample_record(3, 0.005, outcome="PRUNED"),
    sample_record(0, 0.01, role="confirm", seed=1),
    sample_record(1, 0.02, role="confirm", seed=1),
    sample_record(2, 0.03, role="baseline", seed=1),
]
RECORDS_MADE = [few_points(record) for record in RECORDS_MADE]
PLAIN_RECORD = {
    **RECORDS_MADE[0].to_dict(),
    "ema_rungs": [[100, 1.0], [200, 0.5]],
    "grad_norms": [[100, 1.0], [200, None]],
    "versions": {"torch": "2.6"},
    "audit_step": 100,
    "audit_reason": "behind",
    "target_steps": 800,
    "error": "Traceback:\nValueError",
    "reason": "x",
}
ROWS: list[dict[str, Any]] = [
    {"initial_lr": 10.0 ** -(1 + i % 4), "warmup_steps": 10 * (i % 3), "total_steps": 100 * (1 + i % 2)}
    | {"value": 1.0 + i / 7, "decay": ("cosine", "wsd")[i % 2], "decay_ratio": 0.2, "seed": i, "failed": i == 3}
    | {"dataset_size": 1000, "batch_size": 10}
    for i in range(12)
]
COLUMNS = "initial_lr=lr, warmup_steps='a, b', total_steps=10000, value=loss"


def as_yaml(data: Any) -> bytes:
    return yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def use_schedule(schedule: Schedule, folder: Path) -> None:
    assert Schedule.from_dict(schedule.to_dict()) == schedule
    schedule.save(folder / "again.yaml")
    assert load_schedule(folder / "again.yaml") == schedule
    assert str(schedule)
    for total_steps in (1, 2, 97, 10**18):
        ours(lambda total_steps=total_steps: schedule.lrs(total_steps=total_steps))  # type: ignore[misc]
        ours(lambda total_steps=total_steps: schedule.lr_at(0, total_steps=total_steps))  # type: ignore[misc]
    ours(lambda: schedule.resolved(steps_per_epoch=3).lrs(total_steps=97))


@fuzz(60)
@given(
    data=st.sampled_from(SCHEDULES).flatmap(
        lambda s: mutated({"autowarm": 1, "schedule": s, "provenance": PROVENANCE}) | mutated(s)
    )
)
def test_schedule_files(data: Any, folder: Path) -> None:
    path = folder / "schedule.yaml"
    path.write_bytes(as_yaml(data))
    schedule = ours(lambda: load_schedule(path))
    if schedule is not None:
        use_schedule(schedule, folder)
    source = ours(lambda: Source.of_file(path))
    if source is not None:
        for name in FORMATS:
            for total_steps in (None, 1, 300, 10**6):
                ours(lambda n=name, t=total_steps: export(source.over(t), n))  # type: ignore[misc]


@fuzz(60)
@given(data=st.sampled_from(SCHEDULES).flatmap(mutated) | ODD)
def test_mappings_that_are_schedules(data: Any, folder: Path) -> None:
    schedule = ours(lambda: Schedule.from_dict(data))
    if schedule is not None:
        use_schedule(schedule, folder)


@fuzz(80)
@given(data=damaged(as_yaml({"schedule": SCHEDULES[0]})) | damaged(as_yaml(STUDY)) | st.binary(max_size=60))
def test_bytes_that_may_be_yaml(data: bytes, folder: Path) -> None:
    path = folder / "bytes.yaml"
    path.write_bytes(data)
    ours(lambda: load_schedule(path))
    ours(lambda: load_study(path))
    ours(lambda: Source.of_file(path))


@fuzz(80)
@given(data=mutated(STUDY))
def test_study_files(data: Any, folder: Path) -> None:
    path = folder / "demo.yaml"
    path.write_bytes(as_yaml(data))
    settings = ours(lambda: load_study(path))
    if settings is None:
        return
    assert "x.db" not in repr(settings)
    assert settings.horizons
    assert json.dumps(settings.identity)
    assert settings.doubt is None or settings.doubt
    assert settings.space.bounds or settings.space.bounds is None
    path.write_text(settings_yaml(settings, root=folder), encoding="utf-8")
    again = load_study(path)
    # arguments that YAML has no word for are written as Python shows them
    assert settings_yaml(again, root=folder) == path.read_text(encoding="utf-8")


@fuzz(60)
@given(data=mutated(SPACE) | ODD)
def test_spaces(data: Any) -> None:
    space = ours(lambda: SearchSpace.from_dict(data))
    if space is None:
        return
    assert SearchSpace.from_dict(space.to_dict()) == space
    for decay in space.decays:
        assert "warmup_ratio" in space.dimensions(decay)
    for schedule in (Schedule(initial_lr=1e-3), Schedule(initial_lr=0.1, warmup_steps=9, decay="wsd")):
        params = space.params_of(schedule, total_steps=100)
        if params is not None:
            ours(lambda p=params, s=schedule: space.schedule({"decay": s.decay, **p}))  # type: ignore[misc]


@fuzz(60)
@given(value=PLAIN | st.text("0123456789.e+-_ hminsecruxflt", max_size=12))
def test_budgets(value: Any) -> None:
    budget = ours(lambda: read_budget(value))
    if budget is not None:
        assert budget.words
        again = read_budget(str(budget))
        assert again.unit == budget.unit
        assert again.amount == pytest.approx(budget.amount, rel=1e-8)


@fuzz(60)
@given(text=st.text("=,'\" abcinitial_lrvaluedecay0.1-\0", max_size=30) | damaged(COLUMNS.encode()).map(repr) | WORDS)
def test_columns(text: str) -> None:
    columns = ours(lambda: parse_columns(text))
    assert columns is None or all(columns.values())


def use_records(records: list[TrialRecord], folder: Path) -> None:
    """Everything that reads records."""
    text = ours(lambda: write_results(records, folder, name="demo"))
    for record in records:
        assert TrialRecord.from_dict(json.loads(json.dumps(record.to_dict(), allow_nan=False))) is not None
    if text is not None:
        assert [r.to_dict() for r in read_results(folder)] == [r.to_dict() for r in records]
    ours(lambda: notebook_html(records, folder))
    ours(lambda: summary(records, folder, None))
    contents = ours(lambda: contents_of(records, name="demo"))
    if contents is not None:
        plots_of(contents)
    chosen = ours(lambda: choose(records))
    if chosen is not None:
        confirmed_seeds(records, chosen)
        for name in FORMATS:
            ours(lambda n=name: export(chosen, n))  # type: ignore[misc]
    to_frame(records)


@fuzz(60)
@given(data=mutated(PLAIN_RECORD, PLAIN) | PLAIN)
def test_records(data: Any) -> None:
    record = ours(lambda: TrialRecord.from_dict(data))
    if record is not None:
        plain = record.to_dict()
        assert TrialRecord.from_dict(json.loads(json.dumps(plain, allow_nan=False))).to_dict() == plain
        assert to_csv([record])


def _one_of(changed: Any, place: int) -> list[Any]:
    plain = [r.to_dict() for r in RECORDS_MADE]
    plain[place % len(plain)] = {**plain[place % len(plain)], **changed} if isinstance(changed, dict) else changed
    return plain


# near the ends of the floats numpy warns of an overflow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@fuzz(3)
@given(
    datas=mutated([r.to_dict() for r in RECORDS_MADE], NUMBERS | PLAIN)
    | st.builds(_one_of, mutated(PLAIN_RECORD, NUMBERS), st.integers(0, 6))
)
def test_folders_of_records(datas: list[Any]) -> None:
    records = [r for data in datas if (r := ours(lambda d=data: TrialRecord.from_dict(d))) is not None]  # type: ignore[misc]
    with TemporaryDirectory() as folder:
        use_records(records, Path(folder))


@fuzz(60)
@given(data=damaged(b"".join(json.dumps(r.to_dict()).encode() + b"\n" for r in RECORDS_MADE[:2])))
def test_lines_of_records(data: bytes, folder: Path) -> None:
    path = folder / RECORDS
    path.write_bytes(data)
    records = ours(lambda: read_jsonl(path))
    again = ours(lambda: read_results(folder))
    assert (records is None) == (again is None)


def _csv(rows: list[Any], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    names = list(dict.fromkeys(str(name) for row in rows if isinstance(row, dict) for name in row))
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(names)
    for row in rows:
        writer.writerow([row.get(name) for name in names] if isinstance(row, dict) else [row])
    return text.getvalue().encode("utf-8", "surrogatepass")


def _jsonl(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _parquet(rows: list[Any]) -> bytes | None:
    sink = io.BytesIO()
    try:
        pq.write_table(pa.Table.from_pylist([row for row in rows if isinstance(row, dict)]), sink)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return sink.getvalue()


def _read_table(path: Path, columns: str) -> None:
    for mode in ("min", "max"):
        table = ours(lambda m=mode: read_runs(path, parse_columns(columns), mode=m))  # type: ignore[misc]
        if table is None:
            continue
        contents = ours(lambda t=table: contents_of_runs(t.runs, name=path.name, notices=t.notices))  # type: ignore[misc]
        if contents is not None:
            ours(lambda c=contents: markdown(c))  # type: ignore[misc]
            ours(lambda c=contents: html_page(c))  # type: ignore[misc]
        ours(lambda t=table: recommend(t.runs, 1000, None, None))  # type: ignore[misc]


TABLE_COLUMNS = ["", "decay=linear,seed=x.a", "dataset_size=5,warmup_epochs=1", "value=initial_lr"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@fuzz(8)
@given(
    rows=mutated(ROWS, PLAIN),
    columns=st.sampled_from(TABLE_COLUMNS),
    kind=st.sampled_from(["csv", "tsv", "jsonl", "parquet"]),
)
def test_tables(rows: list[Any], columns: str, kind: str, folder: Path) -> None:
    data = {"csv": _csv, "tsv": lambda r: _csv(r, "\t"), "jsonl": _jsonl, "parquet": _parquet}[kind](rows)
    if data is not None:
        path = folder / f"runs.{kind}"
        path.write_bytes(data)
        _read_table(path, columns)


@fuzz(40)
@given(
    drawn=st.sampled_from(
        [
            *(("a.csv", _csv(ROWS)), ("a.jsonl", _jsonl(ROWS)), ("a.parquet", _parquet(ROWS) or b"")),
            *(("a.csv.gz", gzip.compress(_csv(ROWS))), ("a.jsonl.gz", gzip.compress(_jsonl(ROWS)))),
        ]
    ).flatmap(lambda named: st.tuples(st.just(named[0]), damaged(named[1])))
)
def test_bytes_of_tables(drawn: tuple[str, bytes], folder: Path) -> None:
    path = folder / drawn[0]
    path.write_bytes(drawn[1])
    ours(lambda: read_runs(path, {}, mode="min"))


@pytest.fixture(scope="module")
def study_db(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("db")
    identity = {"name": "demo", "job": "a:b", "monitor": "val_loss", "mode": "min"}
    space = SearchSpace(initial_lr=[1e-3, 1e-2])
    with quiet_optuna(), database(None, out) as storage:
        study = HorizonStudy(storage, identity=identity, space=space, total_steps=400, dataset_size=1000, seed=0)
        for record in RECORDS_MADE[:2]:
            study.ask()
            study.tell(record)
    with closing(sqlite3.connect(out / DATABASE)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return (out / DATABASE).read_bytes()


def _read_folder(out: Path) -> None:
    ours(lambda: read_records(out))
    ours(lambda: refresh(out))


@fuzz(15)
@given(faults=st.data())
def test_bytes_of_a_database(faults: st.DataObject, study_db: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / DATABASE).write_bytes(faults.draw(damaged(study_db)))
        ours(lambda: read_records(Path(folder)))


CELLS = [
    ("trial_user_attributes", "value_json"),
    ("study_user_attributes", "value_json"),
    ("trial_params", "distribution_json"),
    ("trial_params", "param_value"),
    ("trials", "state"),
    ("trials", "number"),
    ("trials", "datetime_start"),
    ("trial_values", "value_type"),
    ("studies", "study_name"),
    ("study_directions", "direction"),
]


@fuzz(15)
@given(
    cell=st.sampled_from(CELLS), value=st.none() | PLAIN.map(json.dumps) | WORDS | st.integers(-2, 2**62) | st.binary()
)
def test_values_in_a_database(cell: tuple[str, str], value: Any, study_db: bytes) -> None:
    table, column = cell
    with TemporaryDirectory() as folder:
        (Path(folder) / DATABASE).write_bytes(study_db)
        with closing(sqlite3.connect(Path(folder) / DATABASE)) as connection:
            try:
                connection.execute(f"UPDATE {table} SET {column} = ?", (value,))  # noqa: S608 - names of ours
            except (sqlite3.Error, UnicodeEncodeError):
                return
            connection.commit()
        ours(lambda: read_records(Path(folder)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@fuzz(4)
@given(data=mutated(PLAIN_RECORD, PLAIN))
def test_records_in_a_database(data: Any, study_db: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / DATABASE).write_bytes(study_db)
        with closing(sqlite3.connect(Path(folder) / DATABASE)) as connection:
            connection.execute(
                "UPDATE trial_user_attributes SET value_json = ? WHERE key = 'record'", (json.dumps(data),)
            )
            connection.commit()
        _read_folder(Path(folder))


STATE = {
    "autowarm": 1,
    "schedule": SCHEDULES[0],
    "total_steps": 100,
    "first_step": 0,
    "last_epoch": 7,
    "base_lrs": [3e-4],
}


@fuzz(60)
@given(state=mutated(STATE), on_resume=st.sampled_from([None, "continue", "restart", "rehorizon"]))
def test_states_in_checkpoints(state: Any, on_resume: Any) -> None:
    import torch

    from autowarm import build_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = Schedule.from_dict(SCHEDULES[0])
    scheduler = build_scheduler(optimizer, schedule, total_steps=100, on_resume=on_resume)
    # of a step beyond the end, which may well be
    scheduler.warns_beyond_end = False
    ours(lambda: scheduler.load_state_dict(state))
    assert torch.isfinite(torch.tensor(scheduler.get_last_lr())).all()
    optimizer.step()
    scheduler.step()


JOB = {
    "seed_everything": 7,
    "model": {"class_path": "sample_jobs.Regression", "init_args": {"lr": 0.5}},
    "data": {"class_path": "sample_jobs.RegressionData"},
    "trainer": {"max_epochs": 2, "accumulate_grad_batches": 2, "callbacks": []},
}


@fuzz(8)
@given(data=mutated(JOB).map(as_yaml) | damaged(as_yaml(JOB)))
def test_lightning_cli_files(data: bytes, folder: Path) -> None:
    import sys

    from autowarm.job import build
    from autowarm.specs import JobSpec

    path = folder / "job.yaml"
    path.write_bytes(data)
    job = JobSpec(config=path)
    assert all(job.modules)
    # as in the process of a trial: LightningCLI warns of arguments beside its own
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", sys.argv[:1])
        ours(lambda: build(job, seed=0))
