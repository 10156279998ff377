from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stored_records import fill

from autowarm.cli import main
from autowarm.errors import DatabaseError
from autowarm.export import FORMATS
from autowarm.record import TrialRecord
from autowarm.report.files import RECORDS, write_results
from autowarm.report.plots.registry import PLOTS
from autowarm.results import results_of
from autowarm.schedule import Schedule, load_schedule
from autowarm.settings import DATABASE, StudySettings

MakeRecord = Callable[..., TrialRecord]
Run = Callable[..., tuple[int, str, str]]

AUTOWARM = [sys.executable, "-m", "autowarm"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a function that runs a command in this process: its exit status, output and errors."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def runs(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = 0
        try:
            main([str(arg) for arg in args])
        except SystemExit as e:
            status = e.code if isinstance(e.code, int) else 1
        out, err = capsys.readouterr()
        return status, out, err

    return runs


def _says(err: str, pattern: str) -> None:
    """Check that an error is a message, and no traceback."""
    assert re.search(pattern, err), err
    assert "Traceback" not in err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def schedule_file(tmp_path: Path) -> Path:
    path = tmp_path / "best.yaml"
    Schedule(initial_lr=0.2, warmup_ratio=0.1, decay="cosine").save(path)
    return path


@pytest.fixture
def folder(make_record: MakeRecord, tmp_path: Path) -> Path:
    """Write the results of a study."""
    out = tmp_path / "results"
    records = [
        make_record(trial=0, lr=0.1, value=1.0),
        make_record(trial=1, lr=0.2, value=0.5),
        make_record(trial=2, lr=0.3, value=0.7, total_steps=50),
        make_record(trial=3, outcome="DIVERGED"),
    ]
    write_results(records, out, name="demo")
    return out


COMMANDS = {
    "demo": ["--n_trials", "--budget", "--seed", "--n_jobs", "--out"],
    "plan": ["study", "--n_trials", "--budget", "--seed", "--n_jobs"],
    "tune": ["study", "--n_trials", "--budget", "--seed", "--n_jobs", "--storage", "--out"],
    "worker": ["study", "--storage", "--checkpoints", "--events", "--n_trials", "--n_jobs"],
    "status": ["dir", "--storage", "--json"],
    "report": ["source", "--columns", "--mode", "--failed_at", "--out"],
    "recommend": ["source", "--total_steps", "--dataset_size", "--batch_size", "--columns", "--mode"],
    "plot": ["plot", "dir", "--output"],
    "export": ["source", "--format", "--output", "--total_steps", "--dataset_size"],
    "show": ["file", "--total_steps", "--job", "--output"],
}


@pytest.mark.parametrize(("command", "arguments"), COMMANDS.items())
def test_the_help_of_a_command_names_its_arguments(command: str, arguments: list[str], run: Run) -> None:
    status, out, err = run(command, "--help")
    assert (status, err) == (0, "")
    assert [a for a in arguments if a not in out] == []


def test_the_help_of_export_says_what_each_format_is_for(run: Run) -> None:
    _, out, _ = run("export", "--help")
    for name, file_format in FORMATS.items():
        assert re.search(rf"^{name} +{re.escape(file_format.about)}$", out, flags=re.MULTILINE), name


def test_the_help_names_every_command(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    assert [c for c in COMMANDS if f"  {c} " not in out] == []


def test_the_help_says_what_every_exit_status_means(run: Run) -> None:
    _, out, _ = run("--help")
    assert re.search(r"Exit status: 0 .*1 .*2 .*75 .*130 ", out)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["tunee"],
        ["tune"],
        ["tune", "a.yaml", "--n_trails", "3"],
        ["tune", "a.yaml", "--n_trials", "many"],
        ["show", "a.yaml", "--total_steps", "1.5"],
    ],
)
def test_a_wrong_argument_ends_with_2(args: list[str], run: Run) -> None:
    status, out, err = run(*args)
    assert (status, out) == (2, "")
    _says(err, "error: ")


def test_show_draws_the_curve(schedule_file: Path, run: Run) -> None:
    status, out, err = run("show", schedule_file, "--total_steps", 100)
    assert (status, err) == (0, "")
    assert "end of warmup, the peak" in out
    assert " 10  " in out
    assert any("\u2801" <= c <= "\u28ff" for c in out)


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_show_draws_a_picture(suffix: str, magic: bytes, schedule_file: Path, run: Run) -> None:
    picture = schedule_file.with_name(f"curve.{suffix}")
    assert run("show", schedule_file, "--total_steps", 100, "-o", picture) == (0, f"wrote {picture}\n", "")
    assert picture.read_bytes().startswith(magic)


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        ("{initial_lr: 0.1, decay: cosin}", [], "unknown decay 'cosin': did you mean 'cosine'"),
        ("{initial_lr: 0.1, warmup_ratio: 0.1, warmup_steps: 5}", [], "give only one length of warmup"),
        ("{initial_lr: [0.1}", [], r"line 1: invalid YAML"),
        ("{warmup_ratio: 0.1}", [], "a schedule needs an initial_lr"),
        ("{initial_lr: 0.1, warmup_steps: 200}", [], "warmup_steps=200 must be less than total_steps=100"),
        ("{initial_lr: 0.1, warmup_epochs: 2}", [], "warmup_epochs=2.0 has no length in steps yet"),
        ("{initial_lr: 0.1}", ["--total_steps", "0"], "total_steps must be a whole number of at least 1, got 0"),
        ("{initial_lr: 0.1}", ["-o", "curve.pdf"], "a picture ends in .png or .svg, got 'curve.pdf'"),
        ("{initial_lr: 0.1}", ["-o", "nowhere/curve.png"], "nowhere/curve.png cannot be written: No such file"),
    ],
)
def test_show_says_in_a_line_what_is_wrong(text: str, args: list[str], message: str, here: Path, run: Run) -> None:
    status, out, err = run("show", _file(here, text), "--total_steps", 100, *args)
    assert (status, out) == (1, "")
    _says(err, f"^autowarm show: .*{message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("args", [[], ["FILE"], ["--total_steps", "10"]])
def test_show_needs_to_know_what_and_how_long(args: list[str], schedule_file: Path, run: Run) -> None:
    status, _, err = run("show", *[str(schedule_file) if arg == "FILE" else arg for arg in args])
    assert status == 1
    _says(err, "give a schedule file and --total_steps, or --job")


def test_show_draws_what_a_job_would_follow(schedule_file: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    status, out, err = run("show", schedule_file, "--job", "sample_jobs:build")
    assert (status, err) == (0, "")
    assert out.splitlines()[0].endswith("over 40 steps of sample_jobs:build")
    status, out, _ = run("show", "--job", "sample_jobs:build", "--total_steps", 10)
    assert out.startswith("lr 0.01, no warmup, constant over 10 steps of sample_jobs:build\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path, run: Run) -> None:
    status, _, err = run("show", tmp_path / "nothere.yaml", "--total_steps", 100)
    assert status == 1
    _says(err, r"autowarm show: .*nothere\.yaml: there is no such file\n$")


def test_report_prints_the_report_and_writes_it_anew(folder: Path, run: Run) -> None:
    (folder / "report.md").unlink()
    status, out, err = run("report", folder)
    assert (status, err) == (0, "")
    assert out.startswith("# ")
    assert (folder / "report.md").read_text(encoding="utf-8").rstrip("\n") == out.rstrip("\n")


def test_report_counts_a_trial_once_however_often_its_record_is_there(folder: Path, run: Run) -> None:
    once = run("report", folder)[1]
    records = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join([*records, records[1], records[2]]), encoding="utf-8")
    status, out, err = run("report", folder)
    assert (status, out) == (0, once)
    _says(err, "trials.jsonl holds 2 records of trials that it has already: left out")
    assert run("export", folder, "--total_steps", 50)[0] == 0


def test_export_prints_a_file_that_is_a_schedule(folder: Path, run: Run, tmp_path: Path) -> None:
    status, out, _ = run("export", folder)
    assert status == 0
    (tmp_path / "x.yaml").write_text(out, encoding="utf-8")
    assert load_schedule(tmp_path / "x.yaml").initial_lr == 0.2


def test_export_writes_a_file_of_the_horizon_and_format_asked_for(folder: Path, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    args = ["export", folder, "--total_steps", 50, "--dataset_size", 1000, "-o", file]
    assert run(*args) == (0, f"wrote {file}\n", "")
    assert load_schedule(file).initial_lr == 0.3
    assert run(*args, "--format", "lightning")[0] == 0
    assert "autowarm.TunedSchedule" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--format", "lightnin"], "unknown export format 'lightnin': did you mean 'lightning'"),
        (["--total_steps", "7"], "no trial was searched at total_steps 7. There are: "),
        (["-o", "nowhere/best.yaml"], "nowhere/best.yaml cannot be written: No such file"),
        (["-o", "."], ". cannot be written: Is a directory"),
    ],
)
def test_export_says_in_a_line_what_is_wrong(args: list[str], message: str, folder: Path, run: Run) -> None:
    status, out, err = run("export", folder, *args)
    assert (status, out) == (1, "")
    _says(err, f"^autowarm export: {re.escape(message)}")
    assert err.count("\n") == 1


def test_export_takes_a_schedule_file_for_a_run_of_another_length(folder: Path, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    assert run("export", folder, "-o", file)[0] == 0
    status, tuned_at, _ = run("export", file, "--format", "torch")
    assert status == 0
    assert "TOTAL_STEPS = 100 " in tuned_at
    status, longer, _ = run("export", file, "--format", "torch", "--total_steps", 5000)
    assert status == 0
    assert "TOTAL_STEPS = 5000 " in longer
    assert "WARMUP_STEPS = 500 " in longer
    for told in ("study: demo", "total_steps: 100", "total_steps: 5000"):
        assert told in longer


def test_export_of_a_bare_schedule_file_asks_for_the_length(schedule_file: Path, run: Run) -> None:
    status, out, err = run("export", schedule_file, "--format", "optax")
    assert (status, out) == (1, "")
    _says(err, "^autowarm export: the format 'optax' counts in steps: give total_steps")
    assert run("export", schedule_file, "--format", "optax", "--total_steps", 10)[0] == 0
    status, _, err = run("export", schedule_file, "--dataset_size", 10)
    assert status == 1
    _says(err, "is a schedule file, which has no horizons")
    status, _, err = run("export", schedule_file.with_name("nothere.yaml"))
    assert status == 1
    _says(err, "there is no such file")


def test_the_help_of_plot_says_what_each_plot_shows(run: Run) -> None:
    _, out, _ = run("plot", "--help")
    for name, (about, _) in PLOTS.items():
        assert re.search(rf"^{name} +{re.escape(about)}$", out, flags=re.MULTILINE), name


def test_plot_draws_a_plot(folder: Path, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a.svg"
    assert run("plot", "cost", folder, "-o", path) == (0, f"wrote {path}\n", "")
    assert b"<svg" in path.read_bytes()
    assert run("plot", "lr_curves", folder)[:2] == (0, f"wrote {folder / 'lr_curves.png'}\n")
    assert (folder / "lr_curves.png").is_file()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["costs"], "unknown plot 'costs': did you mean 'cost'?"),
        (["range_test"], "there is nothing to draw in range_test: no range test was run"),
        (["cost", "-o", "a.pdf"], "a picture ends in .png or .svg, got 'a.pdf'"),
    ],
)
def test_a_plot_that_cannot_be_drawn_is_an_error_in_a_line(
    args: list[str], message: str, folder: Path, run: Run
) -> None:
    status, out, err = run("plot", args[0], folder, *args[1:])
    assert (status, out) == (1, "")
    _says(err, "^autowarm plot: " + re.escape(message))


@pytest.mark.parametrize("command", ["report", "export"])
def test_a_folder_that_is_no_study_is_an_error(command: str, tmp_path: Path, run: Run) -> None:
    for path in (tmp_path, tmp_path / "nothere"):
        status, _, err = run(command, path)
        assert status == 1
        _says(err, rf"^autowarm {command}: no trials\.jsonl in .*: is it the folder of a study\?")
    (tmp_path / RECORDS).write_text('{"a": 1}\n', encoding="utf-8")
    status, _, err = run(command, tmp_path)
    assert status == 1
    _says(err, r"trials\.jsonl, line 1: record version None")


def test_a_report_that_cannot_be_written_is_an_error_in_a_line(folder: Path, run: Run) -> None:
    (folder / "report.md").unlink()
    (folder / "report.md").mkdir()
    status, _, err = run("report", folder)
    assert status == 1
    _says(
        err,
        "^autowarm report: the results cannot be written to .*: Is a directory. Every trial that finished ",
    )


def test_status_says_what_a_study_is_at(make_record: MakeRecord, tmp_path: Path, run: Run) -> None:
    fill(tmp_path, make_record())
    for where in ([tmp_path], ["--storage", f"sqlite:///{tmp_path / DATABASE}"]):
        status, out, err = run("status", *where)
        assert (status, err) == (0, "")
        assert out == "demo steps=100: 1 run done (1 complete)\n"
        status, out, _ = run("status", *where, "--json")
        (data,) = json.loads(out)
        assert (status, data["study"], data["done"], data["running"]) == (0, "demo steps=100", 1, [])


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        ([], 1, "give either the folder of a study, such as studies/NAME, or --storage, the URL of its database"),
        (["here", "--storage", "sqlite:///study.db"], 1, "give either the folder of a study, .* or --storage"),
        (
            ["nowhere"],
            1,
            "there is no study.db in nowhere: .* one whose database is elsewhere is asked for by --storage",
        ),
        (["--storage", "nonsense"], 1, "storage must be a database URL such as sqlite:///study.db, got one that"),
        (["--storage", "sqlite:///no/folder/study.db"], 1, "there is no database sqlite:"),
    ],
)
def test_a_status_that_cannot_be_read_is_an_error_in_a_line(
    args: list[str], status: int, message: str, run: Run
) -> None:
    found, out, err = run("status", *args)
    assert (found, out) == (status, "")
    _says(err, f"^autowarm status: .*{message}")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], r"--storage postgresql\+psycopg://USER@HOST/DATABASE, or storage in the study file"),
        (["--storage", "sqlite:///study.db", "--events", "no/folder/events.jsonl"], "there is no folder no/folder"),
        (["--storage", "study.db"], "storage must be a database URL"),
    ],
)
def test_a_worker_that_cannot_begin_says_what_it_needs(args: list[str], message: str, here: Path, run: Run) -> None:
    status, out, err = run("worker", _file(here, "job: a:b"), *args)
    assert (status, out) == (1, "")
    _says(err, f"^autowarm worker: .*{message}")
    assert [p.name for p in here.iterdir()] == ["bad.yaml"]


def test_a_database_that_is_away_ends_a_command_with_75(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise DatabaseError("the database postgresql://me:secret@host/db cannot be opened: connection refused")

    monkeypatch.setattr("autowarm.study.status.read_status", away)
    assert run("status", "--storage", "postgresql://me:secret@host/db") == (
        75,
        "",
        "autowarm status: the database postgresql://me:***@host/db cannot be opened: connection refused\n",
    )


def test_what_was_stopped_ends_with_130_and_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("autowarm.study.status.read_status", stopped)
    before = signal.getsignal(signal.SIGINT)
    try:
        status, out, err = run("status", "--storage", "sqlite:///study.db")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (status, out) == (130, "")
    assert err == "stopped; what had finished is kept. Run the same command to go on.\n"


def test_a_database_that_knows_more_than_the_files_is_preferred(make_record: MakeRecord, tmp_path: Path) -> None:
    record, more = make_record(value=0.5), make_record(trial=1, value=0.25)
    fill(tmp_path, record)
    assert results_of(tmp_path) == [record]
    assert (tmp_path / RECORDS).is_file()
    fill(tmp_path, more)
    later = time.time() + 10
    os.utime(tmp_path / DATABASE, (later, later))
    assert results_of(tmp_path) == [record, more]


def test_files_that_are_newer_than_the_database_are_not_made_again(make_record: MakeRecord, tmp_path: Path) -> None:
    fill(tmp_path, make_record(value=0.5))
    write_results([make_record(value=0.75)], tmp_path, name="demo")
    later = time.time() + 10
    os.utime(tmp_path / RECORDS, (later, later))
    assert [r.value for r in results_of(tmp_path)] == [0.75]


def test_a_database_that_cannot_be_read_is_an_error_in_a_line(tmp_path: Path, run: Run) -> None:
    (tmp_path / DATABASE).write_bytes(b"garbage " * 1000)
    status, _, err = run("report", tmp_path)
    assert status == 1
    _says(err, r"^autowarm report: the database .*study\.db cannot be opened: file is not a database\n$")


@pytest.mark.parametrize("args", [["show", "best.yaml", "--total_steps", "100"], ["--help"], ["tune", "--help"]])
def test_a_reader_that_has_seen_enough_sees_no_traceback(args: list[str], schedule_file: Path) -> None:
    process = subprocess.Popen(
        [*AUTOWARM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=schedule_file.parent, env=_environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    # closed before the first word is written
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert (process.wait(), err) == (0, "")


def test_a_terminal_that_has_no_braille_shows_the_rest(schedule_file: Path) -> None:
    done = subprocess.run(
        [*AUTOWARM, "show", str(schedule_file), "--total_steps", "100"],
        capture_output=True,
        check=True,
        env={**_environment(), "PYTHONIOENCODING": "ascii"},
    )
    assert b"end of warmup, the peak" in done.stdout


def _environment() -> dict[str, str]:
    # a process that does not buffer would see no broken pipe at its end
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "PYTHONPATH": str(Path(__file__).parent.parent)}


def _file(folder: Path, text: str) -> Path:
    path = folder / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        ("job: a:b\nn_trails: 3", [], "unknown key 'n_trails': did you mean 'n_trials'"),
        ("job: nothere.yaml", [], "job: there is no file"),
        ("job: a:b\nn_trials: 3\nbudget: 2", [], "give a budget or n_trials, not both"),
        ("job: a:b", ["--n_trials", "3", "--budget", "2"], "give a budget or n_trials, not both"),
        ("job: a:b\nbudget: lots", [], "budget must look like 2 .full runs., 5000 steps, 90 min or 1.5 h, got 'lots'"),
        ("job: a:b", ["--n_trials", "0"], "n_trials must be a whole number of at least 1, got 0"),
        ("job: a:b", ["--seed", "-1"], "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_a_bad_study_is_refused_before_anything_starts(
    text: str, args: list[str], message: str, here: Path, run: Run
) -> None:
    for command in ("plan", "tune"):
        status, out, err = run(command, _file(here, text), *args)
        assert (status, out) == (1, "")
        _says(err, f"^autowarm {command}: .*{message}")
    assert [p.name for p in here.iterdir()] == ["bad.yaml"]


BAD_JOBS = {
    "job: nothere.jobs:build": r"'nothere\.jobs:build' does not import: there is no module 'nothere' here\. Run from",
    "job: sample_jobs:buidl": r"unknown name in sample_jobs 'buidl': did you mean 'build'",
    "job: {factory: 'sample_jobs:build', args: {nothing: 1}}": "nothing",
    "job: sample_jobs:build\nmonitor: val_los": r"'?val_los'?.*val_loss",
    "job: sample_jobs:manual": "manual optimization",
    "job: sample_jobs:unlimited": "the number of optimizer steps cannot be known.*give total_steps",
    "job: sample_jobs:by_time": "stops by max_time: give total_steps",
    "job: sample_jobs:not_a_training": r"must return autowarm\.Training\(module=\.\.\., .*got str",
}


@pytest.mark.parametrize("command", ["plan", "tune"])
@pytest.mark.parametrize(("text", "message"), BAD_JOBS.items(), ids=[text.partition(":")[2] for text in BAD_JOBS])
def test_a_job_that_cannot_be_tuned_says_what_to_do(
    command: str, text: str, message: str, here: Path, run: Run
) -> None:
    status, out, err = run(command, _file(here, text))
    assert (status, out) == (1, "")
    if "nothing" in message:  # an error of the job's own code comes with where it happened
        assert re.search(rf"^autowarm {command}: .*{message}", err), err
    else:
        _says(err, f"^autowarm {command}: .*{message}")


def test_plan_says_what_would_be_searched_and_its_price(tmp_path: Path, run: Run) -> None:
    status, out, _ = run(
        "plan", _file(tmp_path, "job: sample_jobs:build\nspace: {decay: [linear, wsd]}"), "--n_jobs", 1
    )
    assert status == 0
    assert re.search(r"^  decay +linear, wsd$", out, re.MULTILINE)
    assert re.search(r"^  wsd\.decay_ratio +0\.1 to 0\.6$", out, re.MULTILINE)
    assert "A trial: 40 steps, 64 examples, 8 examples a step, 5 epochs, on cpu" in out
    assert "today's schedule: lr 0.01, no warmup, constant" in out
    assert "at most 44 runs, 1 at once" in out


def test_plan_says_what_a_grid_costs_as_trunks(tmp_path: Path, run: Run) -> None:
    said = "job: sample_jobs:build\nsampler: grid\nspace: {initial_lr: [0.01, 0.1], warmup_ratio: 0, "
    held = _file(tmp_path, said + "decay: [constant, wsd], decay_ratio: [0.2, 0.5]}")
    status, out, _ = run("plan", held, "--n_jobs", 1)
    assert status == 0
    # of each peak 40 steps, and branches of 7 and 19; 34 validations of 8 batches where 60 would be
    assert "where the job can branch: 313 steps = 3.36 full runs for the grid, 44 % less." in out
    for other in (said + "decay: [constant, linear]}", held.read_text() + "\ntrunks: false"):
        assert "branch" not in run("plan", _file(tmp_path, other), "--n_jobs", 1)[1]


def test_plan_says_what_goes_on_from_shorter_runs(tmp_path: Path, run: Run) -> None:
    said = "job: sample_jobs:build\ntotal_steps: 400\nbudget: 8\nspace: {initial_lr: {low: 0.01, high: 1}, decay: "
    for decays, trunks, grows in (
        ("wsd", "true", True),
        ("[linear, wsd]", "explore", True),
        ("[linear, wsd]", "true", False),
        ("wsd", "false", False),
    ):
        file = _file(tmp_path, f"{said}{decays}}}\ntrunks: {trunks}")
        status, out, _ = run("plan", file, "--n_jobs", 1)
        assert status == 0
        told = "a run that goes on where a shorter one let go of its peak trains 60 of 100, 320 of 400 steps"
        assert (told in out) == grows
        assert ("tried first: peaks spread over the range, under wsd, where the job can branch" in out) == grows


def test_plan_prints_the_ladder_and_its_price(tmp_path: Path, run: Run) -> None:
    file = _file(
        tmp_path, "job: sample_jobs:build\ntotal_steps: 400\nn_trials: 7\nspace: {initial_lr: {low: 0.01, high: 1}}"
    )
    status, out, _ = run("plan", file, "--n_jobs", 1, "--budget", 6)
    assert status == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    # a validation is of 8 batches, 20 of them a whole run
    at = lines.index("a budget of 6 full runs = 2,720 steps, 1 at once:")
    assert lines[at + 1 : at + 5] == [
        "9 trials of 50 steps 498 steps = 1.10 full runs",
        "3 trials of 100 steps 340 steps = 0.75 full runs",
        "2 trials of 400 steps 907 steps = 2.00 full runs",
        "2 checks on fresh seeds 907 steps = 2.00 full runs",
    ]
    assert "is pruned" not in out
    status, out, err = run("plan", file, "--n_jobs", 1, "--budget", "300 steps")
    assert (status, out) == (1, "")
    assert "a budget of 300 steps does not pay for one trial of 400 steps: the smallest that works is 454 steps" in err


def test_a_budget_on_the_command_line_takes_the_place_of_the_files_trials_and_the_other_way_round(
    tmp_path: Path,
) -> None:
    from autowarm.budget import Budget
    from autowarm.cli import _parser, _settings

    def settings(text: str, *words: str) -> StudySettings:
        given = _parser()[0].parse_args(["plan", str(_file(tmp_path, text)), *words])
        return _settings(given["plan"])

    paid = settings("job: a:b\nn_trials: 7", "--budget", "2 h")
    assert (paid.n_trials, paid.budget) == (None, Budget(7200, "seconds"))
    counted = settings("job: a:b\nbudget: 3", "--n_trials", "5")
    assert (counted.n_trials, counted.budget) == (5, None)
    assert settings("job: a:b\nbudget: 3").budget == Budget(3)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    rows = [f"{10 ** (-4 + i / 10)},{i % 5},1000,{1 + (i - 15) ** 2 / 100}" for i in range(30)]
    path = tmp_path / "sweep.csv"
    path.write_text("\n".join(["lr,warmup,max_steps,val_loss", *rows]), encoding="utf-8")
    return path


SWEPT = "initial_lr=lr,warmup_steps=warmup,total_steps=max_steps,value=val_loss"


def test_a_table_of_somebody_elses_runs_has_a_report_and_a_recommendation(sweep: Path, run: Run) -> None:
    status, out, _ = run("report", sweep, "--columns", SWEPT, "--mode", "min")
    assert status == 0
    assert "**Use lr 0.00316" in out
    assert (sweep.parent / "sweep_report/report.html").is_file()
    status, out, _ = run("recommend", sweep, "--columns", SWEPT, "--mode", "min", "--total_steps", "100000")
    assert status == 0
    assert "For 100,000 steps: initial_lr 0.00" in out


def test_a_recommendation_is_a_schedule_file_that_the_other_commands_take(
    sweep: Path, folder: Path, run: Run, tmp_path: Path
) -> None:
    sources: list[list[Any]] = [[sweep, "--columns", SWEPT, "--mode", "min"], [folder]]
    for number, source in enumerate(sources):
        path = tmp_path / f"longer{number}.yaml"
        status, out, err = run("recommend", *source, "--total_steps", "5000", "--out", path)
        assert (status, err) == (0, "")
        assert f"wrote {path}\nIt is lr " in out
        assert run("show", path, "--total_steps", "5000")[0] == 0
        status, out, _ = run("export", path, "--format", "torch")
        assert status == 0
        assert "total_steps: 5000" in out


def test_a_recommendation_goes_to_a_yaml_file(sweep: Path, run: Run, tmp_path: Path) -> None:
    wanted = [sweep, "--columns", SWEPT, "--mode", "min", "--total_steps", "5000", "--out"]
    status, _, err = run("recommend", *wanted, tmp_path / "longer.txt")
    assert status == 1
    assert "its name must end in .yaml, got 'longer.txt'" in err
    status, _, err = run("recommend", *wanted, tmp_path / "none" / "longer.yaml")
    assert status == 1
    assert "cannot be written" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--columns", SWEPT], "give --mode min where less"),
        (["--columns", SWEPT, "--mode", "less"], "got 'less'"),
        (["--mode", "min"], "initial_lr=lr"),
        (["--mode", "min", "--columns", "lr"], "is no pair"),
    ],
)
def test_a_table_that_is_not_explained_says_how(sweep: Path, run: Run, arguments: list[str], said: str) -> None:
    status, _, err = run("report", sweep, *arguments)
    assert status == 1
    assert said in err


def test_columns_are_for_tables(folder: Path, run: Run) -> None:
    for command in (["report", folder], ["recommend", folder, "--total_steps", "100"]):
        status, _, err = run(*command, "--mode", "min")
        assert status == 1
        assert "for tables" in err
