from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from conftest import MakeRecord
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autowarm.analysis.runs import runs_of
from autowarm.errors import AutowarmError, SettingsError
from autowarm.run_tables import RunTable, parse_columns, read_runs
from autowarm.run_tables import files as table_files

DEBERTA = Path(__file__).parents[3] / "shared" / "data" / "deberta-base_tuning.jsonl.gz"

OURS = "initial_lr,warmup_steps,total_steps,value\n"
# Somebody else's sweep: other names, a run that diverged, one that was killed, a note with a comma and a line break.
ROWS: list[dict[str, Any]] = [
    {
        "lr": 0.001,
        "warm": 10,
        "steps": 100,
        "decay": "cosine",
        "seed": 0,
        "loss": 2.5,
        "state": "finished",
        "note": "a",
    },
    {"lr": 0.01, "warm": 0, "steps": 200, "decay": "wsd", "seed": 1, "loss": 2.25, "state": "finished", "note": "a, b"},
    {"lr": 0.1, "warm": 20, "steps": 200, "decay": "cosine", "seed": 0, "loss": None, "state": "crashed", "note": "c"},
    {"lr": 0.02, "warm": 50, "steps": 200, "decay": "wsd", "seed": 0, "loss": 3.0, "state": "killed", "note": 'd\n"e"'},
]
COLUMNS = "initial_lr=lr,warmup_steps=warm,total_steps=steps,value=loss,failed=state"


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    sink = io.BytesIO()
    pa_csv.write_csv(pa.Table.from_pylist(rows), sink, pa_csv.WriteOptions(delimiter=delimiter))
    return sink.getvalue()


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "runs.csv": as_csv,
    "runs.CSV": as_csv,
    "runs.csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "semicolons.csv": lambda rows: as_csv(rows, ";"),
    "runs.tsv": lambda rows: as_csv(rows, "\t"),
    "marked.csv": lambda rows: b"\xef\xbb\xbf" + as_csv(rows),
    "runs.jsonl": as_jsonl,
    "runs.jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
    "gaps.ndjson": lambda rows: b"\n" + as_jsonl(rows).replace(b"\n", b"\n\n"),
    "runs.parquet": as_parquet,
}


def read(tmp_path: Path, content: bytes | str, columns: str = "", name: str = "runs.csv", **kwargs: Any) -> RunTable:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_runs(path, parse_columns(columns), **{"mode": "min", **kwargs})


def refusal(tmp_path: Path, content: bytes | str, columns: str = "", name: str = "runs.csv", **kwargs: Any) -> str:
    """Return what is said of a table that is refused, without the folder."""
    with pytest.raises(AutowarmError) as e:
        read(tmp_path, content, columns, name, **kwargs)
    return str(e.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_reads_the_same_in_every_format(tmp_path: Path, name: str) -> None:
    table = read(tmp_path, FORMATS[name](ROWS), COLUMNS, name)
    runs = table.runs
    np.testing.assert_array_equal(runs.initial_lr, [0.001, 0.01, 0.1, 0.02])
    np.testing.assert_array_equal(runs.warmup_ratio, [0.1, 0.0, 0.1, 0.25])
    np.testing.assert_array_equal(runs.total_steps, [100, 200, 200, 200])
    np.testing.assert_array_equal(runs.value, [2.5, 2.25, math.nan, 3.0])
    np.testing.assert_array_equal(runs.failed, [False, False, True, False])
    np.testing.assert_array_equal(runs.stopped, [False, False, False, True])
    np.testing.assert_array_equal(runs.seed, [0, 1, 0, 0])
    assert runs.decay.tolist() == ["cosine", "wsd", "cosine", "wsd"]
    assert np.isnan(runs.dataset_size).all()
    assert (runs.metric, runs.mode) == ("loss", "min")
    assert table.notices == ("1 of 4 runs failed: 1 flagged.",)


def test_a_table_of_too_many_rows_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autowarm.run_tables.found.MOST_ROWS", 2)
    rows = [*ROWS, *ROWS, *ROWS]
    assert "has more than 2 rows" in refusal(tmp_path, as_csv(rows), COLUMNS)
    assert "shuf" in refusal(tmp_path, as_csv(rows), COLUMNS)


def test_batches_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "_BATCH_ROWS", 3)
    monkeypatch.setattr(table_files, "_BLOCK_BYTES", 200)
    rows = [ROWS[i % 4] | {"lr": 0.001 * (i + 1), "loss": float(i), "decay": f"d{i}"} for i in range(10)]
    for name in ("runs.csv", "runs.jsonl"):
        runs = read(tmp_path, FORMATS[name](rows), COLUMNS, name).runs
        np.testing.assert_array_equal(runs.value, range(10))
        assert runs.decay.tolist() == [f"d{i}" for i in range(10)]
    bad = [*rows, {**ROWS[0], "lr": "fast"}]
    assert "row 11: initial_lr ('lr') must be a number" in refusal(tmp_path, as_jsonl(bad), COLUMNS, "runs.jsonl")


@pytest.mark.parametrize("name", ["runs.jsonl", "runs.parquet"])
def test_paths_lead_into_objects_and_of_a_curve_the_last_value_counts(tmp_path: Path, name: str) -> None:
    rows = [
        {"config": {"lr": 0.1}, "curves": {"val": [[10, 3.0], [20, 2.0]]}, "list": [3.0, 1.5]},
        {"config": {"lr": 0.2}, "curves": {"val": [[10, 4.0]]}, "list": []},
    ]
    common = "initial_lr=config.lr,total_steps=100,warmup_ratio=0.1,decay=linear,dataset_size=5000,"
    runs = read(tmp_path, FORMATS[name](rows), common + "value=curves.val", name).runs
    np.testing.assert_array_equal(runs.initial_lr, [0.1, 0.2])
    np.testing.assert_array_equal(runs.value, [2.0, 4.0])
    np.testing.assert_array_equal(runs.dataset_size, [5000, 5000])
    assert runs.decay.tolist() == ["linear", "linear"]
    assert runs.metric == "curves.val"
    lists = read(tmp_path, FORMATS[name](rows), common + "value=list", name, metric="perplexity").runs
    np.testing.assert_array_equal(lists.value, [1.5, math.nan])
    assert lists.metric == "perplexity"


def test_a_csv_may_hold_objects_and_curves_as_text(tmp_path: Path) -> None:
    text = 'config,v\n"{""opt"": {""lr"": 0.1}}","[[1, 5.0], [2, NaN]]"\n"{""opt"": {""lr"": 0.2}}",2.5\n'
    runs = read(tmp_path, text, "initial_lr=config.opt.lr,value=v,total_steps=100").runs
    np.testing.assert_array_equal(runs.initial_lr, [0.1, 0.2])
    np.testing.assert_array_equal(runs.value, [math.nan, 2.5])


def test_a_key_that_few_rows_have_is_found(tmp_path: Path) -> None:
    rows = [{"lr": 0.1, "steps": 100, "loss": 1.0 + i} for i in range(table_files._BATCH_ROWS)]
    text = as_jsonl([*rows, {"lr": 0.1, "steps": 100, "loss": 0.5, "oops": {"nan": True}}])
    runs = read(tmp_path, text, "initial_lr=lr,total_steps=steps,value=loss,failed=oops.nan", "runs.jsonl").runs
    assert runs.failed.sum() == 1
    assert runs.failed[-1]


def test_columns_called_as_ours_need_no_name_and_a_named_warmup_wins(tmp_path: Path) -> None:
    text = "initial_lr,warmup_ratio,warmup_steps,total_steps,value\n0.1,0.2,10,100,2.5\n"
    assert read(tmp_path, text).runs.warmup_ratio.tolist() == [0.2]
    assert read(tmp_path, text, "warmup_steps=warmup_steps").runs.warmup_ratio.tolist() == [0.1]


def test_a_column_comes_before_a_constant(tmp_path: Path) -> None:
    text = "initial_lr,value,linear,7\n0.1,2.5,noam,100\n"
    runs = read(tmp_path, text, "decay=linear,total_steps=7").runs
    assert runs.decay.tolist() == ["noam"]
    assert runs.total_steps.tolist() == [100]


def test_epochs_become_steps(tmp_path: Path) -> None:
    text = "initial_lr,value,warmup_epochs,total_steps\n0.1,2,0.5,100\n"
    runs = read(tmp_path, text, "dataset_size=101,batch_size=5").runs
    assert runs.warmup_ratio.tolist() == [0.5 * 21 / 100]
    assert "warmup_epochs are steps only with dataset_size and batch_size" in refusal(tmp_path, text)


def test_decays_are_called_as_ours(tmp_path: Path) -> None:
    rows = (".1,1,WSD,.2", ".2,1,wsd,", ".3,1,wsd,.01", ".4,1, constant_with_warmup,", ".5,1,,")
    text = "\n".join(["initial_lr,value,decay,decay_ratio", *rows])
    runs = read(tmp_path, text, "total_steps=100").runs
    assert runs.decay.tolist() == ["wsd 20 %", "wsd", "wsd 10 %", "constant", ""]


@pytest.mark.parametrize(
    "lost", ["", "nan", "NaN", "inf", "-Infinity", "None", "N/A", "1e999", " ", "[]", "[1.0, null]"]
)
def test_a_run_without_a_finite_value_has_failed(tmp_path: Path, lost: str) -> None:
    table = read(tmp_path, f'{OURS}.1,10,100,2.5\n.2,10,100,"{lost}"\n')
    np.testing.assert_array_equal(table.runs.value, [2.5, math.nan])
    np.testing.assert_array_equal(table.runs.failed, [False, True])
    assert "1 of 2 runs failed: 1 without a finite value." in table.notices


@pytest.mark.parametrize("flag", ["1", "true", "True", "yes", "crashed", "Diverged", "FAILED"])
def test_a_flagged_run_has_failed_whatever_its_value(tmp_path: Path, flag: str) -> None:
    text = f"initial_lr,total_steps,value,flag\n.1,100,2.5,\n.2,100,2.5,{flag}\n.3,100,2.5,0\n"
    table = read(tmp_path, text, "failed=flag")
    np.testing.assert_array_equal(table.runs.failed, [False, True, False])


def test_a_limit_of_ones_own(tmp_path: Path) -> None:
    text = OURS + "".join(f".{i + 1},10,100,{value}\n" for i, value in enumerate((0.9, 0.8, 0.3)))
    table = read(tmp_path, text, mode="max", failed_at=0.4)
    np.testing.assert_array_equal(table.runs.failed, [False, False, True])
    assert "1 of 3 runs failed: 1 with value at 0.4 or below (as failed_at says)." in table.notices
    assert not read(tmp_path, text, mode="max").runs.failed.any()


def test_all_diverged_and_a_single_run_are_tables(tmp_path: Path) -> None:
    assert read(tmp_path, f"{OURS}.1,10,100,nan\n.2,10,100,\n").runs.failed.all()
    assert len(read(tmp_path, f"{OURS}.1,10,100,1\n").runs) == 1


def test_equal_rows_count_once_unless_they_may_be_repetitions(tmp_path: Path) -> None:
    rows = ".1,10,100,2.5\n.1,10,100,2.5\n.1,10,100,2.6\n.2,10,100,\n.2,10,100,\n"
    table = read(tmp_path, OURS + rows)
    assert table.runs.value.tolist()[:2] == [2.5, 2.6]
    assert len(table.runs) == 4, "two failures of one schedule may be of two seeds"
    said = "Left out: 1 row (the first: row 2) equal to one before in all that was read; if they differ in their seed"
    assert any(notice.startswith(said) for notice in table.notices)
    seeded = OURS.strip() + ",s\n" + rows.replace("\n", ",3\n")
    assert len(read(tmp_path, seeded, "seed=s").runs) == 3
    other_seeds = OURS.strip() + ",s\n" + "".join(f".1,10,100,2.5,{i}\n" for i in range(3))
    assert len(read(tmp_path, other_seeds, "seed=s").runs) == 3


def test_rows_that_are_no_runs_are_left_out_with_a_word(tmp_path: Path) -> None:
    rows = "".join(f"{0.001 * (i + 1)},10,100,{i}\n" for i in range(40))
    table = read(tmp_path, f"{OURS},10,100,1\n.1,10,,1\n.1,100,100,1\n.1,120,100,1\n{rows}")
    assert len(table.runs) == 40
    assert [notice for notice in table.notices if notice.startswith("Left out")] == [
        "Left out: 1 row (the first: row 1) without initial_lr.",
        "Left out: 1 row (the first: row 2) without total_steps.",
        "Left out: 1 row (the first: row 4) a warmup longer than the run.",
        "Left out: 1 row (the first: row 3) a warmup as long as the run.",
    ]
    assert "holds no run that counts" in refusal(tmp_path, f"{OURS},10,100,1\n")


def test_what_the_table_does_not_tell_is_said(tmp_path: Path) -> None:
    notices = read(tmp_path, "initial_lr,num_warmup_steps,total_steps,value\n.1,10,100,2\n").notices
    assert notices == (
        "No column tells the warmup (did you mean warmup_steps=num_warmup_steps?): nothing is said of it.",
        "No column tells the decay: nothing is said of it; decay=cosine would name one for all rows.",
    )


LONGER = "the warmup is longer than the run in 1 of 2 rows, the first of them row 1: 2,000 of 100 steps"


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("", "", "runs.csv: is empty"),
        (OURS, "", "runs.csv: holds no rows below its header"),
        (
            "lr,warmup,max_steps,loss\n.1,1,10,2\n",
            "",
            "runs.csv: no column for initial_lr, total_steps, value. Did you mean "
            "initial_lr=lr,total_steps=max_steps,value=loss,warmup_steps=warmup? There are: lr, warmup, max_steps,",
        ),
        (f"{OURS}.1,1,10,2\n", "value=valeu", "no column for value (as 'valeu'). Did you mean value=value?"),
        (f"{OURS}.1,1,10,2\n", "seed=zzz", "no column for seed (as 'zzz'). There are: initial_lr, warmup_steps,"),
        (f"{OURS}.1,1,10,2\n", "decay=noam", "no column for decay (as 'noam')."),
        (
            f"{OURS}.1,1,10,2\n",
            "decay=noam",
            "for `decay` the name of a decay, in place of a column holds for all rows",
        ),
        (f"{OURS}.1,1,10,2\n.1,one,10,2\n", "", "runs.csv, row 2: warmup_steps must be a number, got 'one'"),
        (f"{OURS}.1,1,10,bad\n", "", "row 1: value must be a number, or a list whose last entry is one"),
        (f"{OURS}.1,1,10,[1;2]\n", "", "row 1: value must be a number, or a list whose last entry is one"),
        (OURS.replace(",", ";") + "0,1;1;10;2\n", "", "got '0,1': write numbers with a point, as 0.001"),
        (f"{OURS}1_0,1,10,2\n", "", "row 1: initial_lr must be a number, got '1_0'"),
        (f"{OURS}.1,1,10,2\n0,1,10,2\n", "", "initial_lr must be positive, but is not in 1 of 2 rows, the first of "),
        (f"{OURS}-3,1,10,2\n-4,1,10,2\n", "", "row 1: -3. If the column holds logarithms, write the learning rates"),
        (f"{OURS}.1,2000,100,2\n.1,1,10,2\n", "", LONGER),
        (f"{OURS}.1,2000,100,2\n.1,1,10,2\n", "", "Both must be in optimizer steps"),
        (f"{OURS}.1,.1,100,2\n.1,.2,10,2\n", "", "If it is a share of total_steps, name it warmup_ratio."),
        (f"{OURS}.1,-1,100,2\n.1,2,10,2\n", "", "Write the steps of each run's warmup, 0 for none."),
        (OURS.replace("steps", "ratio", 1) + ".1,10,100,2\n", "", "If it is in percent, divide it by 100"),
        (
            OURS.replace("steps", "ratio", 1) + ".1,500,1000,2\n",
            "",
            "row 1: 500. If it is in steps, name it warmup_steps.",
        ),
        (f"{OURS}.1,0,0.5,2\n", "", "total_steps must be at least 1, in optimizer steps, but is not in 1 of 1 rows"),
        (f"{OURS}.1,1,10,2\n", "dataset_size=-5", "dataset_size must be positive"),
        (f"{OURS}.1,1,10,2\n", "decay_ratio=20", "decay_ratio must be in (0, 1], a share of total_steps"),
        (f"{OURS.strip()},failed\n.1,1,10,2,7\n", "", "row 1: failed must be a flag: true or false, 1 or 0, or one of"),
        (f"{OURS}.1,1,10\n", "", "row 1: holds 3 cells, but the header names 4 columns"),
        ("value," + OURS + "1,.1,1,10,2\n", "", "there are two columns 'value': give them different names"),
        (f"{OURS}.1,1,10,é\n".encode("latin-1"), "", "is no UTF-8 text"),
    ],
)
def test_what_is_no_table_of_runs_is_refused(tmp_path: Path, text: str | bytes, columns: str, said: str) -> None:
    assert said in refusal(tmp_path, text, columns)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("runs.jsonl", b"", "runs.jsonl: holds no rows"),
        ("runs.jsonl", b"{}\n", "no column for initial_lr, total_steps, value. There are: none."),
        ("runs.jsonl", b'{"a": 1}\n{"a": \n', "runs.jsonl, line 2: invalid JSON"),
        ("runs.jsonl", b"[1]\n", "runs.jsonl, line 1: expected an object in braces, got list"),
        ("runs.jsonl", b"{\xff}\n", "is no UTF-8 text"),
        ("runs.jsonl", b"[" * 100_000, "line 1: invalid JSON"),
        ("runs.jsonl.gz", b"text", "cannot be read: Not a gzipped file"),
        ("runs.csv.gz", gzip.compress(b"a,b\n" * 1000, mtime=0)[:-20], "cannot be read"),
        ("runs.parquet", b"text", "runs.parquet: cannot be read: "),
        ("runs.xlsx", b"PK", "its name must end in .csv, .tsv, .jsonl, .ndjson, .parquet"),
        ("runs.parquet.gz", b"", "its name must end in"),
    ],
)
def test_what_is_no_file_of_its_kind_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    assert said in refusal(tmp_path, content, name=name)


def test_booleans_are_no_numbers(tmp_path: Path) -> None:
    rows = [{"initial_lr": True, "total_steps": 100, "value": 1.0}]
    for name in ("runs.jsonl", "runs.parquet"):
        assert "initial_lr must be a number, got True" in refusal(tmp_path, FORMATS[name](rows), name=name)


def test_what_is_no_file_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AutowarmError, match="no such file"):
        read_runs(tmp_path / "none.csv", mode="min")
    with pytest.raises(AutowarmError, match="is a folder"):
        read_runs(tmp_path, mode="min")


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"mode": "mni"}, "unknown mode 'mni': did you mean 'min'?"),
        ({"failed_at": math.nan}, "failed_at must be a finite value of the metric, got nan"),
    ],
)
def test_arguments_are_checked(tmp_path: Path, kwargs: dict[str, Any], said: str) -> None:
    assert said in refusal(tmp_path, f"{OURS}.1,1,10,2\n", **kwargs)
    with pytest.raises(SettingsError, match="must be the name of a column or a number"):
        read_runs(tmp_path / "runs.csv", {"value": None}, mode="min")  # type: ignore[dict-item]


def test_the_table_of_a_study_reads_as_its_records(tmp_path: Path, make_record: MakeRecord) -> None:
    from autowarm.report.tables import to_csv

    records = [
        make_record(trial=0, lr=0.1, warmup_ratio=0.25, value=2.0, seed=3),
        make_record(trial=1, lr=0.2, warmup_ratio=0.0, value=1.0),
        make_record(trial=2, lr=0.4, outcome="DIVERGED"),
        make_record(trial=3, lr=0.8, outcome="PRUNED"),
        make_record(trial=4, lr=0.9, outcome="FAILED"),
        make_record(trial=5, lr=0.2, role="confirm", value=1.5, seed=7),
        make_record(trial=6, lr=0.7, role="range_test", value=0.5),
    ]
    table, runs = read(tmp_path, to_csv(records)), runs_of(records)
    for name in (
        "initial_lr",
        "warmup_ratio",
        "total_steps",
        "decay",
        "value",
        "failed",
        "stopped",
        "searched",
        "seed",
    ):
        np.testing.assert_array_equal(getattr(table.runs, name), getattr(runs, name), err_msg=name)
    assert [notice for notice in table.notices if "Left out" in notice] == [
        "Left out: 1 row (the first: row 5) whose job failed.",
        "Left out: 1 row (the first: row 7) of a range test.",
    ]


CELL = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.lists(st.floats(), max_size=2),
    st.sampled_from(["0.1", "nan", "1e-3", "[1, 2]", "[", "crashed", "-", '"', "a,b", "\n"]),
)  # fmt: skip
ROW = st.fixed_dictionaries(
    {"initial_lr": CELL, "total_steps": CELL, "value": CELL},
    optional={"warmup_steps": CELL, "failed": CELL, "decay": CELL, "seed": CELL, "x": st.dictionaries(st.text(), CELL)},
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, max_size=3), columns=st.sampled_from(["", "decay=linear,seed=x.a", "value=x"]))
def test_whatever_a_table_holds_only_our_errors_come_out(tmp_path: Path, rows: list[Any], columns: str) -> None:
    header = list(dict.fromkeys(name for row in rows for name in row))
    lines = [header, *([json.dumps(row.get(name)) for name in header] for row in rows)]
    text = "\n".join(",".join(line) for line in lines)
    for name, content in (("runs.jsonl", as_jsonl(rows)), ("runs.csv", text.encode())):
        try:
            runs = read(tmp_path, content, columns, name).runs
        except AutowarmError:
            continue
        assert np.all(runs.initial_lr > 0)
        assert np.all((runs.warmup_ratio >= 0) & (runs.warmup_ratio < 1) | np.isnan(runs.warmup_ratio))
        assert np.all(np.isfinite(runs.value) | runs.failed | runs.stopped)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), name=st.sampled_from(["a.csv", "a.csv.gz", "a.jsonl", "a.parquet", "a.tsv"]))
def test_whatever_bytes_a_file_holds_only_our_errors_come_out(tmp_path: Path, content: bytes, name: str) -> None:
    refusal(tmp_path, content, name=name)


def test_the_runs_of_deberta_are_read_as_they_are() -> None:
    if not DEBERTA.is_file():
        pytest.skip(f"the runs of DeBERTa are not beside the project: {DEBERTA.name}")
    columns = parse_columns(
        "initial_lr=learning_rate,total_steps=total_model_steps,batch_size=train_batch_size,dataset_size=392702,"
        "decay=linear,value=learning_curves.matched"
    )
    runs = read_runs(DEBERTA, columns, mode="max").runs
    assert len(runs) == 1024
    middle = (runs.initial_lr >= 3e-5) & (runs.initial_lr <= 1e-4)
    bands = [(0, 0.05), (0.05, 0.15), (0.15, 0.3), (0.3, 1)]
    rates = [
        runs.failed[middle & (runs.warmup_ratio >= low) & (runs.warmup_ratio < high)].mean() for low, high in bands
    ]
    assert [round(float(rate), 2) for rate in rates] == [0.34, 0.03, 0.02, 0.0]
