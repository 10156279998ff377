"""What is left of a storm: nothing lost, nothing twice, nothing running."""

from __future__ import annotations

import json
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from autowarm.executors.events import Done, Rung
from autowarm.executors.local import LocalExecutor
from autowarm.pruning import ema_rungs_of, rungs_of
from autowarm.schedule import Schedule
from autowarm.specs import JobSpec, TrainingSpec, TrialResult
from studies.chaos.stored import Stored


def verdict(trials: Sequence[Stored], events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count what the database holds of a study without horizons, and compare it with what processes say they stored."""
    search = [t for t in trials if not t.study.endswith(" checks")]
    checks = [t for t in trials if t.study.endswith(" checks")]
    records = [r for t in search if (r := t.record) is not None]
    schedules = Counter(_key(r["schedule"]) for r in records)
    again = Counter(t.attributes["again_of"] for t in search if "again_of" in t.attributes)
    checked = Counter((r["role"], r["seed"], _key(r["schedule"])) for t in checks if (r := t.record) is not None)
    # what two had begun at once is done once
    kept = {_key(t.params) for t in search if t.record is not None}
    told = Counter(
        (e["role"] == "search", e["trial"], e["outcome"], e.get("value")) for e in events if e["event"] == "ended"
    )
    there = {
        (r["role"] == "search", t.number, r["outcome"], r.get("value")) for t in trials if (r := t.record) is not None
    }
    return {
        "finished": len(records),
        "distinct": len(schedules),
        "outcomes": dict(sorted(Counter(r["outcome"] for r in records).items())),
        "checks": dict(sorted(Counter(role for role, *_ in checked.elements()).items())),
        "checks_of_each_seed": sorted(Counter(seed for _, seed, _ in checked).values()),
        # what a process says it has stored
        "lost": sum(key not in there for key in told),
        # what was begun, and neither ended nor was begun again
        "forgotten": sum(
            bool(t.params)
            and t.state == "FAIL"
            and t.record is None
            and t.number not in again
            and _key(t.params) not in kept
            for t in search
        ),
        "twice": sum(count - 1 for counts in (schedules, again, checked, told) for count in counts.values())
        + sum(t.record is not None and t.number in again for t in search),
        "unfinished_with_record": sum(
            t.record is not None and t.state not in ("COMPLETE", "PRUNED", "FAIL") for t in trials
        ),
        "running": sum(t.state == "RUNNING" for t in trials),
        "waiting": sum(t.state == "WAITING" for t in trials),
        "interrupted": sum(again.values()) + sum(t.record is None and t.state == "FAIL" for t in checks),
        "resumed": dict(Counter(str(r["resumed"]) for t in trials if (r := t.record) and r.get("resumed"))),
        "events": dict(sorted(Counter(str(e["event"]) for e in events).items())),
    }


def _key(data: Any) -> str:
    return json.dumps(data, sort_keys=True)


def repeats(trials: Sequence[Stored], count: int, *, seed: int) -> dict[str, int]:
    """Train some of the search trials again, undisturbed: those that were interrupted first.

    Returns:
        `trained`, and how many ended with the `same` value, bit for bit.
    """
    records = [r for t in trials if (r := t.record) is not None and r["role"] == "search"]
    complete = sorted((r for r in records if r["outcome"] == "COMPLETE"), key=lambda r: int(r["trial"]))
    random.Random(seed).shuffle(complete)
    chosen = sorted(complete, key=lambda r: r.get("resumed") is None)[:count]
    job = JobSpec(factory="studies.digits.job:build")
    same = 0
    with LocalExecutor([job]) as executor:
        for record in chosen:
            spec = TrainingSpec(
                job=job,
                monitor=record["monitor"],
                total_steps=record["total_steps"],
                schedule=Schedule.from_dict(record["schedule"]),
                seed=record["seed"],
                rungs=rungs_of(record["total_steps"]),
                ema_rungs=ema_rungs_of(record["total_steps"]),
                threads=1,
            )
            same += _value(executor, spec) == record["value"]
    return {"trained": len(chosen), "same": same, "resumed": sum(r.get("resumed") is not None for r in chosen)}


def _value(executor: LocalExecutor, spec: TrainingSpec) -> float | None:
    key = executor.start("trial", spec)
    while True:
        for event in executor.events(1.0):
            if isinstance(event, Rung):
                executor.answer(key, None)
            elif isinstance(event, Done):
                return event.result.value if isinstance(event.result, TrialResult) else None


def best_values(trials: Sequence[Stored]) -> dict[str, float]:
    """Return the values of the best schedule on fresh seeds, by seed: the one with the least mean."""
    values: dict[str, dict[str, float]] = {}
    for trial in trials:
        record = trial.record
        if record is not None and record["role"] in ("confirm", "baseline") and record["outcome"] == "COMPLETE":
            values.setdefault(_key(record["schedule"]), {})[str(record["seed"])] = record["value"]
    most = max(map(len, values.values()))
    return min((of for of in values.values() if len(of) == most), key=lambda of: statistics.fmean(of.values()))
