"""The command line: arguments in, calls out. What a command needs is imported when it runs."""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from autowarm.errors import AutowarmError, DatabaseError, SettingsError
from autowarm.words import printable, without_passwords

if TYPE_CHECKING:
    from autowarm.settings import StudySettings

INTERRUPTED = 130
# EX_TEMPFAIL of sysexits.h: what was away may be back, so the same command may succeed later
AWAY = 75

_DESCRIPTION = """\
Finds the learning-rate schedule (warmup, peak, decay) for a PyTorch Lightning training.

A first session:
  autowarm demo                        tune a small character GPT, 2 to 3 minutes on 2 cores
  autowarm plan STUDY.yaml             what a study would search, and what that would cost
  autowarm tune STUDY.yaml             search, and write the results to studies/NAME
  autowarm status DIR                  meanwhile: what is done, what runs, and how long it will take
  autowarm report DIR                  read the results; DIR/report.html has the plots
  autowarm export DIR --format yaml -o best.yaml

Exit status: 0 done; 1 an error, which is named; 2 a wrong argument; 75 the database was away; 130 stopped by Ctrl-C
or SIGTERM. After the last two, what had finished is kept, and the same command goes on.
"""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with an exit status where something is wrong.

    0 is done, 1 is an error with a message, 2 is a wrong argument, 75 is a database that was away, 130 is Ctrl-C or
    SIGTERM. After the last two, everything finished is kept, and the same command goes on.

    Args:
        args: words after ``autowarm``; default: those of the process.
    """
    parser, commands = _parser()
    try:
        given = parser.parse_args(list(args) if args is not None else None)
    except SystemExit:
        _flush()  # of --help
        raise
    try:
        commands[given.command](given[given.command])
    except AutowarmError as e:
        _complain(f"autowarm {given.command}: {e}")
        sys.exit(AWAY if isinstance(e, DatabaseError) else 1)
    except KeyboardInterrupt:
        # all is put away; one more would only leave a traceback
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _complain("stopped; what had finished is kept. Run the same command to go on.")
        sys.exit(INTERRUPTED)


class _Parser(ArgumentParser):
    """A parser whose complaints repeat no password of the arguments."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        super().error(printable(without_passwords(message)), ex)


def _complain(text: str) -> None:
    print(printable(without_passwords(text)), file=sys.stderr)  # noqa: T201 - a command prints


def _import_from_here() -> None:
    """Find the class paths of study files from where the command is run, as with `python train.py`.

    Only for commands that build a job: to read results, nothing in their folder is imported.
    """
    sys.path.insert(0, str(Path.cwd()))


def _parser() -> tuple[ArgumentParser, dict[str, Callable[[Namespace], None]]]:
    parser = _Parser(prog="autowarm", description=_DESCRIPTION, formatter_class=_formatter())
    subcommands = parser.add_subcommands(required=True, dest="command")
    commands: dict[str, Callable[[Namespace], None]] = {}
    for name, (add_arguments, run, text) in _COMMANDS.items():
        command = _Parser(description=text, formatter_class=_formatter())
        add_arguments(command)
        subcommands.add_subcommand(name, command, help=text.splitlines()[0])
        commands[name] = run
    return parser, commands


def _formatter() -> Any:
    import argparse

    from jsonargparse import DefaultHelpFormatter

    return type("Formatter", (argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter), {})


def _study_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("study", type=str, help="the study file (YAML); the README shows one")
    parser.add_argument("--n_trials", type=int | None, help="search trials at each horizon, instead of the file's")
    parser.add_argument(
        "--budget",
        type=str | None,
        help="what each horizon may cost, instead of n_trials: 4 (full runs), '5000 steps', 90min or 1.5h",
    )
    parser.add_argument("--seed", type=int | None, help="of sampler and trainings, instead of the file's")
    parser.add_argument("--n_jobs", type=int | None, help="trials at once in this process; 1 is reproducible")
    parser.add_argument(
        "--executor",
        type=str | None,
        help="where trials run: local, or ray: the cluster that RAY_ADDRESS names, else this machine",
    )
    parser.add_argument(
        "--gpus_per_trial", type=float | None, help="GPUs of a trial, or a share of one: 0.25 for four that share it"
    )


def _tune_arguments(parser: ArgumentParser) -> None:
    _study_arguments(parser)
    parser.add_argument("--storage", type=str | None, help="database URL of Optuna; default: DIR/study.db")
    parser.add_argument("--out", type=str | None, help="the study's folder; default: studies/NAME")


def _worker_arguments(parser: ArgumentParser) -> None:
    _study_arguments(parser)
    parser.add_argument("--storage", type=str | None, help="database URL that all workers use, unless the file has it")
    parser.add_argument(
        "--checkpoints",
        type=str | None,
        help="a folder that long trials keep themselves in, best one that all share: whoever trains one again goes on "
        "from there",
    )
    parser.add_argument("--events", type=str | None, help="a file that gets a line of JSON for each event here")


def _status_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("dir", nargs="?", type=str | None, help="the folder of a study with its own database")
    parser.add_argument("--storage", type=str | None, help="database URL, where the study has no database of its own")
    parser.add_argument("--json", action="store_true", help="as JSON, for scripts")


def _demo_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--n_trials", type=int | None, help="search trials")
    parser.add_argument("--budget", type=str | None, help="what it may cost instead, in full runs: 4")
    parser.add_argument("--seed", type=int | None, help="of sampler and trainings")
    parser.add_argument("--n_jobs", type=int | None, help="trials at once; 1 is reproducible")
    parser.add_argument("--out", type=str | None, help="the study's folder; default: studies/demo")


def _report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", type=str, help="the folder of a study, or a table of runs (.csv, .jsonl, .parquet)")
    _table_arguments(parser)
    parser.add_argument("--out", type=str | None, help="of a table: the folder to write to; default: NAME_report")


def _table_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--columns",
        type=str | None,
        help="of a table: what its columns are, initial_lr=lr,warmup_steps=warmup,total_steps=steps,value=val_loss; a "
        "number in place of a column holds for all rows",
    )
    parser.add_argument("--mode", type=str | None, help="of a table: min, where less of the value is better, or max")
    parser.add_argument("--failed_at", type=float | None, help="of a table: the value at which, or worse, a run failed")


def _recommend_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", type=str, help="the folder of a study, or a table of runs (.csv, .jsonl, .parquet)")
    parser.add_argument("--total_steps", type=int, required=True, help="optimizer steps of the training to come")
    parser.add_argument("--dataset_size", type=int | None, help="its training examples; default: as in the runs")
    parser.add_argument("--batch_size", type=int | None, help="examples of an optimizer step; default: as in the runs")
    _table_arguments(parser)
    parser.add_argument(
        "--out",
        type=str | None,
        help="a schedule file (.yaml) to write, for `autowarm show`, `export` and TunedSchedule",
    )


def _plot_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("plot", type=str, help="one of those above")
    parser.add_argument("dir", type=str, help="the folder of a study")
    parser.add_argument("-o", "--output", type=str | None, help="a .png or .svg file; default: DIR/PLOT.png")


def _export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", type=str, help="the folder of a study, or a schedule file (YAML)")
    parser.add_argument("--format", type=str, default="yaml", help="one of those above")
    parser.add_argument("-o", "--output", type=str | None, help="the file to write; default: print")
    parser.add_argument(
        "--total_steps",
        type=int | None,
        help="of a folder: the horizon's, default: the longest; of a file: optimizer steps in the run, default: those "
        "it was tuned at",
    )
    parser.add_argument("--dataset_size", type=int | None, help="of a folder: the horizon's, default: the largest")


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=str | None, help="a schedule file; with --job: default: what it has today"
    )
    parser.add_argument("--total_steps", type=int | None, help="optimizer steps in the run; default: what --job takes")
    parser.add_argument("--job", type=str | None, help="a LightningCLI file, package.module:function, or a study file")
    parser.add_argument("-o", "--output", type=str | None, help="draw to a .png or .svg file instead")


def _settings(given: Namespace) -> StudySettings:
    from dataclasses import replace

    from autowarm.settings import load_study

    _import_from_here()
    names = ("n_trials", "budget", "seed", "n_jobs", "storage", "executor", "gpus_per_trial")
    changes: dict[str, Any] = {name: value for name in names if (value := given.get(name)) is not None}
    # one takes the place of the other in the file
    if "budget" in changes and "n_trials" not in changes:
        changes["n_trials"] = None
    elif "n_trials" in changes and "budget" not in changes:
        changes["budget"] = None
    return replace(load_study(Path(given.study)), **changes)


def _tune(given: Namespace) -> None:
    from autowarm.progress import display_for
    from autowarm.report.summary import summary
    from autowarm.tuning import default_out, run_study

    settings = _settings(given)
    out = Path(given.out) if given.out else default_out(settings)
    result = run_study(settings, out, source=Path(given.study), display=display_for())
    _print(summary(result.records, out, settings.space.bounds))


def _worker(given: Namespace) -> None:
    from autowarm.progress import display_for
    from autowarm.tuning import run_worker

    events = Path(given.events) if given.events else None
    kept = Path(given.checkpoints) if given.checkpoints else None
    records = run_worker(_settings(given), events=events, checkpoints=kept, display=display_for())
    _print(
        f"nothing is left to do: {records} runs are in the database; `autowarm tune` with this study file and storage "
        "writes the results"
    )


def _status(given: Namespace) -> None:
    from autowarm.standing import status_data, status_text
    from autowarm.study.status import read_status

    if (given.dir is None) == (given.storage is None):
        raise SettingsError(
            "give either the folder of a study, such as studies/NAME, or --storage, the URL of its database"
        )
    horizons = read_status(Path(given.dir) if given.dir else None, given.storage)
    _print(json.dumps(status_data(horizons), indent=2) if given.json else status_text(horizons))


def _plan(given: Namespace) -> None:
    from autowarm.progress import display_for
    from autowarm.report.plan import plan_text
    from autowarm.tuning import plan_study

    settings = _settings(given)
    _print(plan_text(settings, plan_study(settings, display_for())))


def _demo(given: Namespace) -> None:
    from autowarm.demo import STUDY

    given.study, given.storage = STUDY, None
    _tune(given)


def _report(given: Namespace) -> None:
    from autowarm.results import refresh, report_on_table

    source = Path(given.source)
    table = _table(given)
    if source.is_file():
        out = Path(given.out) if given.out else source.with_name(f"{source.name.partition('.')[0]}_report")
        text = report_on_table(source, out, **table)
        _print(f"{text}\nwrote {out / 'report.html'} and {out / 'report.md'}")
    elif any(value is not None for value in (*table.values(), given.out)):
        raise SettingsError(f"{source} is no file: --columns, --mode, --failed_at and --out are for tables of runs")
    else:
        # with the process all memory is given back: records need not be searched for cycles before
        atexit.register(gc.freeze)
        _print(refresh(source, notice=_complain))


def _recommend(given: Namespace) -> None:
    from autowarm.results import recommended, recommended_source

    path = Path(given.out) if given.out is not None else None
    if path is not None and path.suffix not in (".yaml", ".yml"):
        raise SettingsError(f"--out is the schedule file to write: its name must end in .yaml, got {path.name!r}")
    found, answer = recommended(
        Path(given.source),
        given.total_steps,
        dataset_size=given.dataset_size,
        batch_size=given.batch_size,
        **_table(given),
    )
    _print("\n".join(found.sentences()))
    if path is not None:
        from autowarm.export import export

        file = recommended_source(Path(given.source), found, answer)
        _write(path, export(file, "yaml"))
        of_answer = ", with the decay of the study's answer and the lr that goes with it" if answer is not None else ""
        _print(f"It is {file.schedule}{of_answer}.")


def _table(given: Namespace) -> dict[str, Any]:
    return {name: given[name] for name in ("columns", "mode", "failed_at")}


def _plot(given: Namespace) -> None:
    from autowarm.results import plot_results

    path = Path(given.output) if given.output is not None else Path(given.dir) / f"{given.plot}.png"
    _wrote(path, lambda: plot_results(Path(given.dir), given.plot, path))


def _export(given: Namespace) -> None:
    from autowarm.export import export
    from autowarm.results import source_of

    source = source_of(Path(given.source), given.total_steps, given.dataset_size)
    text = export(source, given.format)
    if given.output is None:
        _print(text)
    else:
        path = Path(given.output)
        if path.name in ("torch.py", "optax.py", "jax.py"):
            raise SettingsError(f"a file named {path.name} would hide the package {path.stem}: choose another name")
        _write(path, text)


def _show(given: Namespace) -> None:
    from autowarm.report.curve import curve_text, draw_curve, key_steps, key_steps_of
    from autowarm.schedule import load_schedule

    schedule = load_schedule(given.file) if given.file is not None else None
    if given.job is not None:
        from autowarm.preview import preview

        _import_from_here()
        run = preview(given.job, schedule, given.total_steps)
        title, lrs, schedule = run.title, run.lrs, run.schedule
    elif schedule is None or given.total_steps is None:
        raise SettingsError("give a schedule file and --total_steps, or --job, which knows how many steps it takes")
    else:
        title, lrs = str(schedule), schedule.lrs(total_steps=given.total_steps)
    if given.output is not None:
        path = Path(given.output)
        _wrote(path, lambda: draw_curve(lrs, title, path))
        return
    named = key_steps(schedule, len(lrs)) if schedule is not None else key_steps_of(lrs)
    text = curve_text(lrs, named, top=schedule.initial_lr if schedule is not None else None)
    _print(f"{title}\n\n{text}" if given.job is not None else text)


def _write(path: Path, text: str) -> None:
    """Write a text into a file that the user has named."""
    from autowarm.files import write

    _wrote(path, lambda: write(path, text.encode("utf-8", "backslashreplace")))


def _wrote(path: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as e:
        raise AutowarmError(f"{path} cannot be written: {e.strerror or e}") from None
    _print(f"wrote {path}")


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    # a terminal of another encoding has no words for all we draw
    _flush(printable(text).rstrip("\n").encode(encoding, "replace").decode(encoding) + "\n")


def _flush(text: str = "") -> None:
    try:
        print(text, end="", flush=True)  # noqa: T201 - a command prints
    except BrokenPipeError:
        # the reader (`head`) has seen enough; what the interpreter flushes at its end must go somewhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_COMMANDS: dict[str, tuple[Callable[[ArgumentParser], None], Callable[[Namespace], None], str]] = {
    "demo": (
        _demo_arguments,
        _demo,
        "Tune the warmup of a small character GPT on Shakespeare: a real training, 2 to 3 minutes on 2 cores.\n\n"
        "Ends by training once with the job's plain default (constant lr 1e-3, no warmup) and once with each of the\n"
        "three best schedules found, on a seed the search has not seen, and prints the losses.",
    ),
    "plan": (
        _study_arguments,
        _plan,
        "Say what a study would search and what it would cost, without running it.\n\n"
        "Builds the job, trains it for a few steps and validates once.",
    ),
    "tune": (
        _tune_arguments,
        _tune,
        "Run a study, or go on with it.\n\n"
        "Everything that has finished is kept: after Ctrl-C (or worse), the same command goes on. A larger --n_trials\n"
        "adds trials. Class paths in the study file are imported from the folder the command runs in: a study file is\n"
        "as trusted as a script.",
    ),
    "worker": (
        _worker_arguments,
        _worker,
        "Work on a study beside other workers, here and on other machines, until nothing is left to do.\n\n"
        "All take their trainings from one database, and what a worker that died has left. Start as many as you like,\n"
        "at any time, with the same study file and code; PostgreSQL is the database for more than one machine. In the\n"
        "end `autowarm tune` with the same study file and --storage writes the results.",
    ),
    "status": (
        _status_arguments,
        _status,
        "Say what a study is at: runs done and running, their pace, and the time left.\n\n"
        "Reads the database alone, and disturbs nobody who works on it.",
    ),
    "report": (
        _report_arguments,
        _report,
        "Print the report of a study, and write it anew: report.html, report.md, report.png, and tables.\n\n"
        "report.html is one file with plots to look around in; it asks nothing of the network.",
    ),
    "recommend": (
        _recommend_arguments,
        _recommend,
        "Say which learning rate and warmup to use for a number of steps that nobody ran.\n\n"
        "From the runs of a study, or of a table that autowarm did not make, and published priors: with a band, and a\n"
        "word where it goes far beyond the runs. With --out it is written as a schedule file, with the decay of the\n"
        "study's answer and the lr that goes with it.",
    ),
    "plot": (
        _plot_arguments,
        _plot,
        "Draw one plot of a study's report as PNG or SVG.\n\n"
        "horizons      best schedule by total_steps and dataset_size\n"
        "warmup_map    every run by its peak learning rate and its warmup, failures as crosses\n"
        "decays        each decay at its own best learning rate\n"
        "cooldowns     final metric by total_steps and cooldown, from the trials of one trunk\n"
        "importance    what the differences between the runs come from\n"
        "scaling       best learning rate by length of run, with a band\n"
        "lr_curves     learning rates of the top schedules and of today's\n"
        "loss_curves   validation curves by outcome\n"
        "range_test    training loss of the range test over the learning rate\n"
        "cost          what the study cost, by what it was spent on",
    ),
    "export": (
        _export_arguments,
        _export,
        "Write the best schedule of a study, or a schedule file, in another format.\n\n"
        "yaml               for autowarm.TunedSchedule, build_scheduler and `autowarm show`\n"
        "lightning          a file for LightningCLI, passed after your own --config\n"
        "pytorch_lightning  the same for projects on the pytorch_lightning package\n"
        "transformers       keywords of transformers' TrainingArguments, as YAML\n"
        "torch              a Python module that needs torch alone\n"
        "optax              a Python module that needs jax and optax alone\n\n"
        "The first three stretch with the run. The others hold the numbers of a run of so many steps: those of the\n"
        "horizon, or, of a schedule file, --total_steps.",
    ),
    "show": (
        _show_arguments,
        _show,
        "Draw the learning-rate curve of a schedule, without training.\n\n"
        "With --job, over the steps that a job takes, which is built and trained for a few steps to see; without a\n"
        "file, what the job follows today.",
    ),
}
