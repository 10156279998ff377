"""Files are data, passwords stay out of what is written and shown, and a name is a name wherever it is shown."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from rich.console import Console
from stored_records import fill

import autowarm.tuning
from autowarm.cli import AWAY, main
from autowarm.errors import RecordError, SettingsError, StudyError
from autowarm.planning.price import Price
from autowarm.progress import LineDisplay, LiveDisplay, Run
from autowarm.record import TrialRecord
from autowarm.report.files import RECORDS, read_results, write_results
from autowarm.report.tables import to_csv
from autowarm.results import refresh
from autowarm.settings import DATABASE, StudySettings, load_study
from autowarm.specs import JobSpec
from autowarm.study.database import database

MakeRecord = Callable[..., TrialRecord]
ROOT = Path(__file__).parents[1]


def _run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as the installed script does: without the current folder on the path."""
    script = "import sys; from autowarm.cli import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-P", "-c", script, *args],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


# Modules that the commands import while they run, and one that files name.
_PLANTED = ("jinja2", "pandas", "pyarrow", "matplotlib", "optuna", "scipy", "evil")


@pytest.fixture
def trap(tmp_path: Path, make_record: MakeRecord) -> Path:
    """Make a study's folder as a stranger might send it: modules beside the results, named in every file."""
    write_results([make_record(trial=i, lr=0.01 * (i + 1)) for i in range(3)], tmp_path, name="demo")
    for name in _PLANTED:
        (tmp_path / f"{name}.py").write_text(
            f"from pathlib import Path\nPath('ran_{name}').touch()\nclass Thing: pass\n"
        )
    study = {"job": "evil:Thing", "space": {"initial_lr": 0.1, "decay": ["cosine"]}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    lines = (tmp_path / RECORDS).read_text().replace('"study": "demo"', '"study": "demo", "class_path": "evil.Thing"')
    (tmp_path / RECORDS).write_text(lines)
    table = "initial_lr,total_steps,value,class_path\n0.1,100,1.0,evil.Thing\n0.2,100,1.5,evil:Thing\n"
    (tmp_path / "runs.csv").write_text(table)
    schedule = {"schedule": {"initial_lr": 0.1}, "class_path": "evil.Thing", "provenance": {"study": "evil:Thing"}}
    (tmp_path / "best.yaml").write_text(yaml.safe_dump(schedule))
    (tmp_path / "tagged.yaml").write_text("initial_lr: !!python/object/new:evil.Thing []\n")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "report .",
        "export . --format torch",
        "plot lr_curves .",
        "recommend . --total_steps 1000",
        "report runs.csv --mode min",
        "show best.yaml --total_steps 10",
        "export best.yaml --format yaml",
        "show tagged.yaml --total_steps 10",
    ],
)
def test_reading_results_imports_nothing_from_their_folder(command: str, trap: Path) -> None:
    ran = _run(trap, *command.split())
    assert ran.returncode == int("tagged" in command), ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(trap.glob("ran_*"))


def test_only_a_study_that_is_tuned_imports_what_it_names(trap: Path) -> None:
    for name in _PLANTED[:-1]:
        (trap / f"{name}.py").unlink()
    ran = _run(trap, "plan", "study.yaml")
    assert (trap / "ran_evil").exists(), ran.stderr


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/b", "..", ".", "a\\b", "a\0b", "", "-x"])
def test_a_name_leads_to_no_other_folder(name: str) -> None:
    with pytest.raises(SettingsError, match="name must be of letters"):
        StudySettings(job=JobSpec(factory="a:b"), name=name)


def test_a_record_s_name_leads_to_no_other_folder(make_record: MakeRecord, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_results([make_record(study="../../up", monitor="../x", label="/etc/x")], out, name="../up")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# What a URL may hide a password in; those of a query are no matter of the network.
URLS = [
    "postgresql+psycopg://user:hunter2@127.0.0.1:1/db",
    "postgresql+nothere://user:hunter2@127.0.0.1:1/db",
    "postgresql+psycopg://127.0.0.1:1/db?user=me&password=hunter2",
    "postgresql+psycopg://user@127.0.0.1:1/db?sslpassword=hunter2&sslmode=require",
    "mysql+pymysql://user:hunter2%40%2F@127.0.0.1:1/db",
    f"mysql+pymysql://user:{quote('p@hunter2/:')}@127.0.0.1:1/db",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3Dhunter2",
    "sqlite:///{folder}/x.db?password=hunter2",
    "sqlite:////nowhere/at/all/x.db?token=hunter2",
    "postgresql:user:hunter2@host/db",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("place", ["file", "argument"])
def test_a_password_reaches_no_output_and_no_file(
    url: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    url = url.format(folder=tmp_path)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "path", list(sys.path))
    # the job is of no matter here
    monkeypatch.setattr(autowarm.tuning, "look", lambda *_: [])
    monkeypatch.setattr(autowarm.tuning, "executor_for", lambda _: nullcontext())
    study = {"job": "a:b", **({"storage": url} if place == "file" else {})}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(SystemExit) as ended:
        main(
            ["tune", str(tmp_path / "s.yaml"), "--out", str(out), *(["--storage", url] if place == "argument" else [])]
        )
    assert ended.value.code in (1, AWAY)
    said = "".join(capfd.readouterr())
    assert "storage" in said or "database" in said
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file()) if out.exists() else b""
    for shown in (said, written.decode("utf-8", "replace")):
        assert "hunter2" not in shown
    assert "Traceback" not in said


@pytest.mark.parametrize("arguments", [["--storag"], ["x.yaml", "--n_trials"], ["x.yaml", "y.yaml", "--no_such"]])
def test_a_wrong_argument_is_repeated_without_its_password(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["tune", *arguments, "postgresql://user:hunter2@host/db"])
    assert "hunter2" not in "".join(capsys.readouterr())


def test_the_repr_of_settings_shows_no_password(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("job: a:b\nstorage: postgresql://user:hunter2@host/db\n")
    assert "hunter2" not in repr(load_study(tmp_path / "s.yaml"))


@pytest.mark.slow
def test_a_study_in_a_database_with_a_password_leaves_it_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(autowarm.tuning, "database", lambda _, out, **more: database(None, out, **more))
    space = {"initial_lr": [0.01, 0.1], "decay": ["cosine"]}
    given: dict[str, Any] = {"n_trials": 2, "n_jobs": 1, "name": "test", "space": space, "out": tmp_path}
    result = autowarm.tuning.tune(
        "sample_jobs:build", storage="postgresql://u:hunter2@h/db?sslpassword=hunter3", **given
    )
    shown = "".join(capfd.readouterr()) + repr(result) + result._repr_html_()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert RECORDS in {path.name for path in files}
    assert "hunter" not in shown
    assert not [path.name for path in files if b"hunter" in path.read_bytes()]


FORMULAS = ["=1+1", "+1", "-1+1|x", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")']


@pytest.mark.parametrize("word", FORMULAS)
def test_no_word_of_the_table_is_a_formula_to_a_spreadsheet(word: str, make_record: MakeRecord) -> None:
    record = make_record(study=word, label=word, monitor=word, reason=word, error=word, value=-1.5)
    row = next(csv.DictReader(io.StringIO(to_csv([record]), newline="")))
    for name in ("study", "label", "monitor", "reason"):
        assert row[name] == f"'{word}"
    assert row["value"] == "-1.5", "numbers stay numbers"
    exact = next(csv.DictReader(io.StringIO(to_csv([record], for_spreadsheets=False), newline="")))
    assert exact["label"] == word


NASTY = "\x1b[31mred \x1b]8;;http://x\x07 [bold]b[/bold] [link=http://x]y[/link] \u202egnp.exe \rover\nsecond \x9b2J"
CONTROLS = ("\x1b", "\x07", "\u202e", "\r", "\x9b")


def test_names_do_not_steer_a_terminal(make_record: MakeRecord) -> None:
    record = make_record(label=NASTY, monitor=NASTY, reason=NASTY, study=NASTY, outcome="FAILED")
    best = make_record(label=NASTY, monitor=NASTY)
    for display in (LineDisplay, LiveDisplay):
        sink = io.StringIO()
        shown = display(console=Console(file=sink, width=400, color_system=None))
        shown.horizon(NASTY, [best], Price(1, 1.0, 1.0, 1))
        if isinstance(shown, LiveDisplay):
            shown.started(0, Run(NASTY, "search", 10))
            shown.console.print(shown.draw())
        shown.notice(NASTY)
        shown.ended(0, record)
        text = sink.getvalue()
        assert "[bold]b[/bold]" in text
        assert "[link=http://x]y[/link]" in text
        assert not [control for control in CONTROLS if control in text]
        assert "\nsecond" not in text.replace(f"\n{'second'} \\x9b2J", "", 1), "a label stays a line"


def test_a_report_that_is_printed_does_not_steer_a_terminal(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results([make_record(study=NASTY, label=NASTY, monitor=NASTY)], tmp_path, name=NASTY)
    main(["report", str(tmp_path)])
    with pytest.raises(SystemExit):
        main(["report", f"{tmp_path}/{NASTY}"])
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "red" in text
        assert not [control for control in CONTROLS if control in text]


def _damaged(out: Path, record: TrialRecord, damage: Callable[[bytes], bytes] = lambda data: data[:-20]) -> None:
    """Make a folder whose file of records is damaged, by default by a torn line, and newer than its database."""
    fill(out, record)
    write_results([record], out, name="demo")
    (out / RECORDS).write_bytes(damage((out / RECORDS).read_bytes()))
    for name in (DATABASE, f"{DATABASE}-wal"):
        if (out / name).exists():
            os.utime(out / name, (0, 0))


def test_a_damaged_file_of_records_is_written_anew_from_the_database(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _damaged(tmp_path, make_record())
    with pytest.raises(
        RecordError, match=r"trials\.jsonl, line 1: invalid JSON: .*`autowarm report .*` writes"
    ) as raised:
        read_results(tmp_path)
    assert "remove that line" in str(raised.value)
    main(["report", str(tmp_path)])
    out, err = capsys.readouterr()
    assert out.startswith("# demo")
    assert "trials.jsonl is written anew from study.db" in err
    assert "line 1: invalid JSON" in err
    assert read_results(tmp_path) == [make_record()]


def test_a_file_that_turns_out_damaged_where_a_curve_is_drawn_is_written_anew_from_the_database(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_record(rungs=((50, 0.5), (100, 0.25)))
    _damaged(tmp_path, record, lambda data: data.replace(b"[50, 0.5]", b"[50, 0..5]"))
    assert len(read_results(tmp_path)) == 1
    main(["report", str(tmp_path)])
    assert "trials.jsonl is written anew from study.db: " in (err := capsys.readouterr().err)
    assert "trials.jsonl, line 1: not a trial record: rungs: " in err
    assert read_results(tmp_path) == [record]


def test_a_damaged_file_without_a_database_says_what_to_do(make_record: MakeRecord, tmp_path: Path) -> None:
    write_results([make_record(), make_record(trial=1)], tmp_path, name="demo")
    with (tmp_path / RECORDS).open("a") as file:
        file.write("{\n")
    with pytest.raises(RecordError, match=r"line 3: invalid JSON: .*`autowarm tune` .*remove that line from the file"):
        refresh(tmp_path)


_WRITE = """
import resource, sys
from pathlib import Path
from autowarm.errors import StudyError
from autowarm.report.files import read_results, write_results
out = Path(sys.argv[1])
records = read_results(out)
write_results(records, out, name="warm")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    write_results(records * 2, out, name="new")
except StudyError as e:
    print(e)
"""


@pytest.mark.parametrize("room", [500, 100_000])
def test_a_full_disk_leaves_whole_files_and_says_what_to_do(room: int, make_record: MakeRecord, tmp_path: Path) -> None:
    write_results([make_record(trial=i) for i in range(3)], tmp_path, name="old")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ran = subprocess.run(
        [sys.executable, "-c", _WRITE, str(tmp_path), str(room)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "the results cannot be written to" in ran.stdout, ran.stderr
    assert "File too large" in ran.stdout
    assert f"`autowarm report {tmp_path}`" in ran.stdout
    assert {path.name for path in tmp_path.iterdir()} == set(before)
    assert len(read_results(tmp_path)) == (3 if room == 500 else 6)
    assert (tmp_path / "report.html").read_bytes().rstrip().endswith(b"</html>")
    assert b"warm" in (tmp_path / "report.html").read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_says_what_to_do(make_record: MakeRecord, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(StudyError, match=r"cannot be written .*: Permission denied\. Every trial that finished"):
        write_results([make_record()], tmp_path, name="x")
