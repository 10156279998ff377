"""The claims' studies: pages and table are what the records say, study files run, and a planted truth is found."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autowarm.pruning import rungs_of
from autowarm.record import TrialRecord
from autowarm.schedule import Schedule
from autowarm.settings import StudySettings
from autowarm.specs import TrainingSpec
from autowarm.trial import run_trial
from studies.claims import pages
from studies.claims.findings import Records
from studies.claims.places import SCALES, STUDIES, TABLE, Place
from studies.claims.warmups import has_warmup, warmups_of
from studies.optimum import findings as optimum
from studies.speed import findings as speed
from studies.stability import findings as stability

README = Path(__file__).parents[2] / "README.md"
QUOTED = "<!-- quoted: studies/README.md -->"
ARMS = [(name, scale, arm) for name in STUDIES for scale in SCALES for arm in Place(name, scale).arms]
# A job that brings a scheduler of its own is told so; and a model of other people's starts in eval mode.
EXPECTED = pytest.mark.filterwarnings(
    "ignore:the module's own scheduler .* is set aside", "ignore:Found .* module.* in eval mode"
)
# What some jobs need beside the packages of the tests, in the words of their errors.
ELSEWHERE = ("is not installed: run `make", "apt-get install dataset-fashion-mnist")


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_is_what_the_records_say(name: str) -> None:
    place = Place(name)
    records = place.records()
    assert all(records.values()), "an arm has no records"
    assert place.page.read_text(encoding="utf-8") == pages.page(place, records, place.findings(records))


@pytest.mark.parametrize("name", STUDIES)
def test_every_picture_of_a_page_is_there(name: str) -> None:
    place = Place(name)
    shown = re.findall(r"\]\((\w+\.png)\)", place.page.read_text(encoding="utf-8"))
    assert shown
    assert all((place.folder / picture).is_file() for picture in shown)


def test_the_table_is_what_the_records_say() -> None:
    text = TABLE.read_text(encoding="utf-8")
    assert text == pages.table_page()
    assert re.findall(r"\| \[(\w+)\]\(\w+/report\.md\) \|", text) == list(STUDIES)


def test_what_the_readme_quotes_stands_in_the_table() -> None:
    _, _, after = README.read_text(encoding="utf-8").partition(QUOTED)
    quoted = re.findall(
        r"^- \[(\w+)\]\(studies/\w+/report\.md\): (.*(?:\n  .*)*)", after.split("\n\n")[0], re.MULTILINE
    )
    assert len(quoted) == 3
    for name, found in quoted:
        rows = [row for row in TABLE.read_text(encoding="utf-8").splitlines() if f"[{name}]({name}/report.md)" in row]
        assert [row.split(" | ")[1] for row in rows] == [" ".join(found.split())]


@pytest.mark.parametrize(("name", "scale", "arm"), ARMS)
def test_every_study_file_is_one(name: str, scale: Any, arm: str) -> None:
    settings = Place(name, scale).settings(arm)
    assert settings.name
    assert settings.job.factory is None or str(settings.job).startswith("studies.")


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_its_files_at_both_scales(name: str) -> None:
    assert all(Place(name, scale).arms for scale in SCALES)


def _two_steps(settings: StudySettings) -> None:
    spec = TrainingSpec(
        job=settings.job,
        monitor=settings.monitor,
        total_steps=2,
        schedule=Schedule(initial_lr=1e-4, warmup_ratio=0.0, decay="linear"),
        seed=settings.seed,
        rungs=rungs_of(2, 1),
    )
    result = run_trial(spec)
    missing = re.search(r"^(ModuleNotFoundError|FileNotFoundError): (.+)", result.error or "", re.MULTILINE)
    if missing and any(words in missing[2] for words in ELSEWHERE):
        pytest.skip(missing[2])
    assert (result.outcome, result.steps) == ("COMPLETE", 2), result.error
    assert result.value is not None
    assert math.isfinite(result.value)


@EXPECTED
@pytest.mark.parametrize(("name", "arm"), [(name, arm) for name, scale, arm in ARMS if scale == "cpu"])
def test_every_job_trains(name: str, arm: str) -> None:
    _two_steps(Place(name).settings(arm))


@EXPECTED
@pytest.mark.slow
@pytest.mark.parametrize(("name", "arm"), [(name, arm) for name, scale, arm in ARMS if scale == "gpu"])
def test_every_job_for_a_gpu_trains_here_for_two_steps(name: str, arm: str) -> None:
    settings = Place(name, "gpu").settings(arm)
    # the model is that of the study, its batches are not: they are sized for a GPU
    _two_steps(replace(settings, job=replace(settings.job, args=_with_small_batches(settings.job.args))))


def _with_small_batches(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a job, and those that it hands on to another's, with batches of 2."""
    small = {"batch_size": 2} if "batch_size" in args else {}
    handed_on = {"args": _with_small_batches(args["args"])} if "args" in args else {}
    return {**args, **small, **handed_on}


# Records whose truth is known.


def planted(
    truth: Callable[[float, float, int, np.random.Generator], tuple[float | None, list[float], list[float]]],
    *,
    lrs: list[float],
    shares: list[float],
    lengths: tuple[int, ...] = (100,),
    seeds: int = 3,
    draw: int = 1,
) -> list[TrialRecord]:
    """Return a grid's records: `truth` of lr, warmup and length is the loss at the end (None: diverged) and curves."""
    rng = np.random.default_rng(draw)

    def records() -> Iterator[TrialRecord]:
        cells = [
            (seed, steps, share, lr) for seed in range(seeds) for steps in lengths for share in shares for lr in lrs
        ]
        for trial, (seed, steps, share, lr) in enumerate(cells):
            value, losses, norms = truth(lr, share, steps, rng)
            schedule = Schedule(initial_lr=lr, warmup_ratio=share, decay="linear")
            yield TrialRecord(
                study="planted",
                trial=trial,
                role="search",
                schedule=schedule,
                label=str(schedule),
                total_steps=steps,
                dataset_size=100,
                batch_size=10,
                seed=seed,
                monitor="val_loss",
                mode="min",
                outcome="DIVERGED" if value is None else "COMPLETE",
                value=value,
                rungs=tuple((step, (value or 9.0) + (steps - step) / steps) for step in rungs_of(steps)),
                train_curve=tuple((i + 1, loss) for i, loss in enumerate(losses)),
                grad_norms=tuple((i + 1, norm) for i, norm in enumerate(norms)),
                steps=steps,
                seconds=1.0,
            )

    return list(records())


def breaking(edges: dict[float, float], *, least: float = 3.3) -> list[TrialRecord]:
    """Runs that break above an edge of their warmup: with a spike, half of them diverged, half at a loss of 3.3.

    With warmup it may be less than 3.3, the loss of who has learned nothing.
    """

    def truth(
        lr: float, share: float, _: int, rng: np.random.Generator
    ) -> tuple[float | None, list[float], list[float]]:
        lost = lr > edges[share] * math.exp(rng.normal(0.0, 0.1))
        value = 2.5 + 0.02 * math.log(lr / 0.01) ** 2 + float(rng.normal(0.0, 0.01))
        if not lost:
            return value, [4.0, 3.0, 3.2, 2.5], [1.0, 1.0, 1.0, 1.0]
        if share > 0 and least < 3.3:
            return least, [4.0, 3.2], [1.0, 1.0]
        return (None if rng.random() < 0.5 else 3.3), [4.0, 3.0, 6.0, 3.3], [1.0, 50.0, 2.0, 1.0]

    return planted(truth, lrs=[0.001 * 2**i for i in range(10)], shares=list(edges), seeds=3)


def test_stability_finds_by_how_much_warmup_raises_the_edge() -> None:
    raised, alike = {0.0: 0.011, 0.04: 0.022, 0.2: 0.044}, {0.0: 0.05, 0.04: 0.05, 0.2: 0.05}
    lowered = {0.0: 0.16, 0.04: 0.08, 0.2: 0.02}
    records: Records = {
        "pre_ln_adam": breaking(raised),
        "post_ln_adam": breaking(alike),
        "pre_ln_sgd": breaking(lowered),
        "post_ln_sgd": breaking(alike),
    }
    _, (none, _, longest) = stability.edges(records["pre_ln_adam"])
    assert longest.factor is not None
    assert 4.0 in longest.factor
    assert longest.factor.low > 1.5
    assert longest.half_learned is not None
    assert 4.0 in longest.half_learned
    assert 0.011 in none.half
    assert none.failed > longest.failed
    lost = [r.value is None or r.value > 3 for r in records["pre_ln_adam"] if has_warmup(r, 0.0)]
    assert none.spiked == sum(lost)
    assert 2 * none.spiked != len(lost)
    assert longest.sensitivity is not None
    assert none.sensitivity is not None
    assert longest.sensitivity.value.value < none.sensitivity.value.value
    found = stability.findings(records)
    assert "With warmup 20 % a higher learning rate trains for pre-LN with Adam." in found.body
    assert "With warmup 20 % only a lower one trains for pre-LN with SGD." in found.body
    assert "No such effect is told from noise for post-LN with Adam and post-LN with SGD." in found.body
    for draw in found.pictures.values():
        assert draw().axes


def test_who_barely_learns_with_warmup_has_not_learned_half() -> None:
    _, (_, longest) = stability.edges(breaking({0.0: 0.02, 0.2: 0.02}, least=3.1))
    assert longest.failed == 0
    assert longest.factor is not None
    assert longest.factor.low > 2
    assert longest.half_learned is not None
    assert 1.0 in longest.half_learned


def test_a_rise_is_counted_from_the_lowest_loss_before() -> None:
    (record,) = planted(lambda *_: (1.0, [4.0, 2.0, 2.6, 1.0, 1.3], [1.0, 7.0, 2.0]), lrs=[0.1], shares=[0.0], seeds=1)
    assert stability.largest_rise(record) == pytest.approx(0.6)
    assert stability.largest_norm(record) == 7.0
    (diverged,) = planted(lambda *_: (None, [4.0], [math.inf]), lrs=[0.1], shares=[0.0], seeds=1)
    assert stability.largest_rise(diverged) == stability.largest_norm(diverged) == math.inf


def test_who_only_counts_characters_has_failed() -> None:
    # of the plays; a net that is stuck ends within .01 of it
    assert stability.failure_bar() == pytest.approx(0.98 * 3.22, abs=0.02)


def valley(gains: dict[float, float], *, noise: float = 0.004) -> list[TrialRecord]:
    """Runs whose loss at their best lr, .02, is less by what a warmup gains."""

    def truth(lr: float, share: float, _: int, rng: np.random.Generator) -> tuple[float, list[float], list[float]]:
        return 1.0 - gains[share] + 0.05 * math.log(lr / 0.02) ** 2 + float(rng.normal(0.0, noise)), [], []

    return planted(truth, lrs=[0.004 * 2**i for i in range(6)], shares=list(gains), seeds=5)


def test_optimum_tells_a_gain_from_noise_and_a_loss_from_a_gain() -> None:
    nothing = {0.0: 0.0, 0.02: 0.0, 0.1: 0.0, 0.3: 0.0}
    records: Records = {
        "char_gpt": valley({0.0: 0.0, 0.02: 0.01, 0.1: 0.03, 0.3: -0.02}),
        "fashion_conv": valley(nothing),
        "diamonds": valley(nothing),
        "char_lstm": valley({0.0: 0.0, 0.02: -0.02, 0.1: -0.03, 0.3: -0.06}),
    }
    of = warmups_of(records["char_gpt"])
    best = optimum.best_gain(of)
    assert best is not None
    assert best[0] == 0.1
    assert 0.03 in best[1]
    assert best[1].low > 0.01
    by_seed = optimum.gain_by_seed(of, 0.1)
    assert by_seed is not None
    assert 0.03 in by_seed
    assert by_seed.low > 0.01
    lr = of.lr(0.0)
    assert lr is not None
    assert lr.value == pytest.approx(0.02, rel=0.15)
    assert optimum.seed_noise(of) == pytest.approx(0.004, rel=0.4)
    found = optimum.findings(records)
    assert "Better beyond the noise in 1 of 4 tasks, worse in 1, not told apart in 2." in found.found
    assert "The character GPT is better with warmup 10 %" in found.body
    assert "The LSTM is worse with every warmup tried." in found.body
    assert "Too much of it costs: worse than none, beyond the noise, is the character GPT with warmup 30 %." in (
        found.body
    )
    assert found.pictures["losses"]().axes


def test_what_diverges_is_no_gain_and_no_error() -> None:
    def truth(
        lr: float, share: float, _: int, rng: np.random.Generator
    ) -> tuple[float | None, list[float], list[float]]:
        if share == 0 and lr > 0.05:
            return None, [], []
        return 1.0 + 0.05 * math.log(lr / 0.02) ** 2 + float(rng.normal(0.0, 0.004)), [], []

    of = warmups_of(planted(truth, lrs=[0.004 * 2**i for i in range(6)], shares=[0.0, 0.3], seeds=5))
    gain = optimum.gain_by_seed(of, 0.3)
    assert gain is not None
    assert 0.0 in gain
    # four times the best learning rate, .02, is nearest to .064 of the grid
    assert optimum.gain_above(of) is None


def test_a_gain_above_the_best_lr_is_found() -> None:
    def truth(lr: float, share: float, _: int, rng: np.random.Generator) -> tuple[float, list[float], list[float]]:
        return 1.0 + 0.05 * math.log(lr / 0.02) ** 2 + float(rng.normal(0.0, 0.004)) - share * (lr > 0.05), [], []

    of = warmups_of(planted(truth, lrs=[0.004 * 2**i for i in range(6)], shares=[0.0, 0.1], seeds=5))
    above = optimum.gain_above(of)
    assert above is not None
    assert above[0] == pytest.approx(0.064)
    assert 0.1 in above[1]
    assert above[1].low > 0.08


def lengths(faster: float, larger: float, *, draw: int = 1) -> list[TrialRecord]:
    """Runs that with a warmup of .2 are as good as those of `faster` times the steps, at a `larger` learning rate."""

    def truth(lr: float, share: float, steps: int, rng: np.random.Generator) -> tuple[float, list[float], list[float]]:
        best, told = (0.01 * larger, steps * faster) if share else (0.01, steps)
        loss = 4.0 - 0.5 * math.log(told) + 0.05 * math.log(lr / best) ** 2
        return loss + float(rng.normal(0.0, 0.005)), [], []

    return planted(
        truth, lrs=[0.002 * 2**i for i in range(6)], shares=[0.0, 0.2], lengths=(80, 120, 180, 270), draw=draw
    )


def test_speed_finds_how_many_steps_warmup_saves() -> None:
    records: Records = {"char_gpt": lengths(1.5, 2.0), "deep_gpt": lengths(1.0, 1.0), "char_lstm": lengths(0.8, 1.0)}
    fast, same, slow = (speed.race(records[model]) for model in speed.MODELS)
    assert fast.ratio is not None
    assert 1 / 1.5 in fast.ratio
    assert fast.ratio.high < 0.75
    assert fast.target == pytest.approx(4.0 - 0.5 * math.log(270), abs=0.02)
    assert fast.without == pytest.approx(270)
    assert fast.with_warmup == pytest.approx(180, rel=0.05)
    assert same.ratio is not None
    assert 1.0 in same.ratio
    assert slow.ratio is not None
    assert 1 / 0.8 in slow.ratio
    assert slow.ratio.low > 1.1
    assert fast.first[1] is not None
    assert fast.first[1] < 270
    found = speed.findings(records)
    assert "Faster with warmup, beyond the noise: small GPT (" in found.body
    assert "Slower with warmup, beyond the noise: LSTM (" in found.body
    assert "The best learning rate is larger with it, beyond the intervals, for small GPT" in (found.body)
    assert found.pictures["steps"]().axes


def test_the_interval_of_the_steps_holds_the_truth() -> None:
    ratios = [speed.race(lengths(1.5, 2.0, draw=draw)).ratio for draw in range(20)]
    held = [ratio is not None and 1 / 1.5 in ratio for ratio in ratios]
    # nine of ten are asked for; fewer than 15 of 20 would then be a matter of one in 90
    assert sum(held) >= 15


def test_steps_to_a_loss() -> None:
    steps = (100, 200, 400)
    assert speed.steps_to(3.0, steps, np.array([2.0, 1.5, 1.0])) == 100.0
    assert speed.steps_to(0.5, steps, np.array([2.0, 1.5, 1.0])) == math.inf
    assert speed.steps_to(1.5, steps, np.array([2.0, 1.5, 1.0])) == pytest.approx(200.0)
    # a longer run that is worse by its noise unsays nothing
    assert speed.steps_to(1.4, steps, np.array([2.0, 1.4, 1.6])) == pytest.approx(200.0)
