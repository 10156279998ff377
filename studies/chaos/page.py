"""The page that is written from the figures."""

from __future__ import annotations

from typing import Any

_STORM = """
## A storm

{workers} workers and `autowarm tune` train one study on a PostgreSQL ([study.yaml](study.yaml)), {seconds}. After every
two to four trainings that end, something is killed with SIGKILL, at a moment that is drawn (seed {seed}), and what
was killed is started again: {kills} kills.

| killed | times | what it is |
|---|---|---|
{rows}

| in the end | |
|---|---|
{end}

{same}
"""
_KINDS = {
    "training": "the process of one trial",
    "worker": "`autowarm worker`",
    "driver": "`autowarm tune`",
    "forkserver": "the process that starts the trials of one worker",
    "connections": "all connections to the database, by `pg_terminate_backend`",
    "server": "the database server, by `pg_ctl -m immediate stop`; away for 2 seconds",
    "freeze": "no kill: a worker is stopped for 75 seconds (SIGSTOP), longer than its leases stand, and goes on",
}
_SQLITE = """
## Many writers to one SQLite file

{processes} processes share one study after another for {seconds:.0f} seconds, {studies} studies, whose trainings take
no time. They say that they have stored {told} runs; the database has {stored}. Of those told {lost} are missing;
{untold} are there that nobody told of, {running} are still running. "database is locked" was seen {locked} times,
and {errors} processes ended with an error.
"""
_POSTGRES = """
## Many workers on one PostgreSQL

Trainings that only wait, and take as long as the first column says; the server and all workers on the same cores.

| a training | workers | runs a second | at most | over one | a turn | turn taken | waited in turn | cores busy | lost |
|---|---|---|---|---|---|---|---|---|---|
{rows}

*Runs a second* counts all of them, from when the workers are told to begin until the last one has ended. *At most* is
what the workers would do if nothing but the training took time. *A turn* is the mean time for which one process alone
decides; *turn taken*, the share of the time in which somebody had it; *waited in turn*, the mean wait for one. *Cores
busy* counts the workers, without the server; other work was on these cores meanwhile.
"""


def page(results: dict[str, Any]) -> str:
    """Return the page, of the parts that there are figures of."""
    parts = [
        "# What autowarm's studies survive\n\n",
        "Written by `python -m studies.chaos`; the figures are in `results.json`.\n",
    ]
    for name, written in (("storm", _storm), ("sqlite", _sqlite), ("postgres", _postgres)):
        if name in results:
            parts += [written(results[name]), f"\nMeasured on {results[name]['machine']}.\n"]
    return "".join(parts)


def _storm(figures: dict[str, Any]) -> str:
    kills = figures["kills"]
    resumed = ", ".join(f"{n} {how}" for how, n in figures["resumed"].items()) or "none"
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in figures["outcomes"].items())
    checks = ", ".join(f"{n} {role}" for role, n in figures["checks"].items())
    repeated = figures["repeated"]
    end = {
        "search trials that finished, asked for": f"{figures['finished']}, {figures['asked']}",
        "different schedules among them": figures["distinct"],
        "outcomes": outcomes,
        "checks, each once": checks,
        "results that a process said were stored, and are not there": figures["lost"],
        "trials that were begun and then forgotten": figures["forgotten"],
        "trials or checks that were done twice": figures["twice"],
        "trials still RUNNING": figures["running"],
        "trials with a result that was never told": figures["unfinished_with_record"],
        "processes left over in the end": figures["left_over"],
        "longest that a process outlived its owner": f"{figures['slowest_end']:.1f} s",
        "trainings interrupted": figures["interrupted"],
        "of those, gone on from a checkpoint": resumed,
        "workers that ended with an error, and were started again": len(figures["failed_starts"]),
        "trained again undisturbed, the same value bit for bit": f"{repeated['same']} of {repeated['trained']}",
    }
    means = [_mean(figures["best"]), *map(_mean, figures["calm"])]
    differences = [f"{d['mean']:+.4f} ± {d['standard_error']:.4f}" for d in figures["differences"]]
    same = (
        f"The answer of the storm reaches {means[0]:.4f} on fresh seeds; "
        "the same study undisturbed, whose trials come in another order, reaches\n"
        f"{' and '.join(f'{m:.4f}' for m in means[1:])}. The difference, paired by seed, with its standard error: "
        f"{', '.join(differences)}."
    )
    return _STORM.format(
        workers=figures["workers"],
        seconds=f"{figures['seconds'] / 60:.0f} minutes",
        seed=figures["seed"],
        kills=sum(n for kind, n in kills.items() if kind != "freeze"),
        rows="\n".join(f"| {kind} | {n} | {_KINDS[kind]} |" for kind, n in kills.items()),
        end="\n".join(f"| {what} | {figure} |" for what, figure in end.items()),
        same=same,
    )


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


def _sqlite(figures: dict[str, Any]) -> str:
    return _SQLITE.format(**{**figures, "errors": len(figures["errors"])})


def _postgres(figures: dict[str, Any]) -> str:
    rows: list[str] = []
    single: dict[float, float] = {}
    for row in figures["rows"]:
        rate = row["stored"] / row["seconds_all"]
        training, workers = row["training"], row["processes"]
        single.setdefault(training, rate)
        cells = [
            f"{training:g} s",
            str(workers),
            f"{rate:.1f}",
            f"{workers / training:.1f}" if training else "",
            f"{rate / single[training]:.1f}",
            f"{row['held'] / row['turns'] * 1000:.0f} ms",
            f"{row['held'] / row['seconds_all'] * 100:.0f} %",
            f"{row['waited'] / row['turns']:.2f} s",
            f"{row['cpu'] / row['seconds_all']:.1f}",
            str(row["lost"]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return _POSTGRES.format(rows="\n".join(rows))
