"""Rivals that need no schedule: their jobs, the study's files, and what its findings say of planted truths."""

from __future__ import annotations

import importlib.util
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from planted import planted

from autowarm import Schedule
from autowarm.errors import RecordError
from autowarm.pruning import rungs_of
from autowarm.record import TrialRecord
from autowarm.specs import JobSpec, TrainingSpec
from autowarm.trial import run_trial
from studies.claims.places import Place, Scale
from studies.rivals.findings import findings, matches_of
from studies.rivals.job import build

PACKAGES = {"schedule_free": "schedulefree", "prodigy": "prodigyopt"}
STEPS = 4


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"`make .venv-race/ready` installs {', '.join(missing)}")


def arm(name: str, means: dict[float, float], **told: Any) -> list[TrialRecord]:
    """Records of an arm with a mean for each learning rate; a seed is as hard for every arm."""
    rng = np.random.default_rng(len(name))
    made: list[TrialRecord] = []
    for lr, mean in means.items():
        for seed, hard in enumerate((0.0, 0.05, -0.05, 0.02)):
            value = mean + hard + 0.001 * rng.standard_normal()
            made.append(planted(name, len(made), value, initial_lr=lr, seed=seed, **told))
    return made


def arms(free: float = 2.0, prodigy: float = 2.4) -> dict[str, list[TrialRecord]]:
    """The tuned schedule reaches 2."""
    return {
        "gpt-prodigy-0.5": arm("gpt-prodigy-0.5", {1.0: prodigy + 0.2}, decay="cosine"),
        "gpt-prodigy-1.0": arm("gpt-prodigy-1.0", {1.0: prodigy}, decay="constant"),
        "gpt-schedule_free-0.1": arm("gpt-schedule_free-0.1", {0.01: free, 0.04: math.inf}, decay="constant"),
        "gpt-tuned": arm("gpt-tuned", {0.01: 2.3, 0.02: 2.0}),
    }


def test_what_was_put_in_is_found() -> None:
    (match,) = matches_of(arms())
    assert [c.name for c in match.contestants] == ["tuned", "prodigy", "schedule_free"]
    assert match.lead(1).value == pytest.approx(0.2, abs=0.002)
    assert match.lead(1).low > 0.19
    assert 0.0 in match.lead(2)
    found = findings(arms())
    assert found.found == "On gpt the tuned schedule is 20 % ahead of Prodigy and level with Schedule-Free AdamW."
    assert "Schedule-Free AdamW cannot be told from the tuned schedule" in found.body


def test_a_rival_that_wins_is_said_to_win() -> None:
    found = findings(arms(free=1.9))
    assert "5 % behind Schedule-Free AdamW" in found.found
    assert "Schedule-Free AdamW ends 5 % below the tuned schedule" in found.body
    assert "it wins" in found.body


def test_each_rival_is_shown_at_its_best_setting_with_those_tried() -> None:
    rows = [line for line in findings(arms()).body.splitlines() if line.startswith("| ")]
    assert rows[2].startswith("| Prodigy | 2, means 2.4")
    assert rows[2].endswith("lr 1, d_coef 1, constant |")
    assert "and some that diverged" in rows[3]
    assert rows[1].endswith("lr 0.02, warmup 10 %, linear |")


def test_a_best_setting_at_an_end_of_what_was_tried_is_told() -> None:
    body = findings(arms()).body
    assert (
        "more may be better: the lr of tuned schedule (0.02, the largest), the d_coef of Prodigy (1, the largest)"
        in body
    )
    inside = arms() | {"gpt-tuned": arm("gpt-tuned", {0.01: 2.3, 0.02: 2.0, 0.04: 2.1})}
    assert "the lr of tuned schedule" not in findings(inside).body


def test_trying_more_settings_is_no_advantage() -> None:
    # forty settings that differ by noise alone: the best of them is lucky, and held out it is not
    rng = np.random.default_rng(1)
    many = [
        planted("gpt-tuned", i, 2.0 + 0.05 * rng.standard_normal(), initial_lr=0.01 * (1 + i // 4), seed=i % 4)
        for i in range(160)
    ]
    (match,) = matches_of({"gpt-tuned": many, "gpt-prodigy-1.0": arm("gpt-prodigy-1.0", {1.0: 2.0})})
    tuned = match.contestants[0]
    assert tuned.settings[0].mean < 1.96
    assert tuned.mean > 1.97


def test_a_noisy_rival_makes_no_other_comparison_less_sure() -> None:
    noisy = [planted("gpt-prodigy-1.0", i, 2.2 + 0.3 * (i % 2), initial_lr=1.0, seed=i) for i in range(4)]
    one, other = (matches_of(arms() | extra)[0] for extra in ({}, {"gpt-prodigy-1.0": noisy}))
    widths = [match.lead(2).high - match.lead(2).low for match in (one, other)]
    assert widths[0] == widths[1] < 0.01
    assert other.lead(1).high - other.lead(1).low > 0.1


def test_a_contestant_without_a_setting_that_ended_is_told() -> None:
    records = arms()
    records["gpt-schedule_free-0.1"] = arm("gpt-schedule_free-0.1", {0.01: math.inf})
    with pytest.raises(RecordError, match="schedule_free on gpt has no setting"):
        findings(records)


def test_a_setting_that_diverges_on_the_held_out_seed_is_told() -> None:
    risky = [planted("gpt-tuned", i, math.inf if i == 3 else 1.9, initial_lr=0.02, seed=i) for i in range(4)]
    with pytest.raises(RecordError, match="tuned on gpt: what is best on the other seeds diverged on 3"):
        findings(arms() | {"gpt-tuned": [*arms()["gpt-tuned"], *risky]})


def test_the_picture_has_a_panel_a_job() -> None:
    records = arms() | {name.replace("gpt", "mlp"): of for name, of in arms().items()}
    figure = findings(records).pictures["rivals"]()
    assert [axes.get_title() for axes in figure.axes] == ["gpt", "mlp"]


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_each_job_has_every_contestant_at_equal_seeds_and_steps(scale: Scale) -> None:
    place = Place("rivals", scale)
    settings = {arm: place.settings(arm) for arm in place.arms}
    assert {tuple(arm.split("-")[:2]) for arm in settings} == {
        (job, name) for job in ("char_gpt", "diamonds") for name in ("tuned", "schedule_free", "prodigy")
    }
    for job in ("char_gpt", "diamonds"):
        mine = {arm: s for arm, s in settings.items() if arm.startswith(job)}
        assert len({(s.seed, s.seeds, s.total_steps, s.monitor) for s in mine.values()}) == 1
        # as many settings of Schedule-Free as of the tuned schedule
        tried = sum(len(s.space.grid) for arm, s in mine.items() if "schedule_free" in arm)
        assert tried == len(mine[f"{job}-tuned"].space.grid)
        for name, s in mine.items():
            if "tuned" not in name:
                assert s.job.args["job"] == job
                assert str(s.job.args.get("warmup_ratio", s.job.args.get("d_coef"))) == name.rpartition("-")[2]


def test_another_rival_is_refused() -> None:
    with pytest.raises(ValueError, match="rival must be one of schedule_free, prodigy"):
        build(job="char_gpt", rival="adam")  # type: ignore[arg-type]


@pytest.mark.parametrize("rival", [pytest.param(rival, marks=needs(package)) for rival, package in PACKAGES.items()])
def test_a_rival_trains_with_the_job_s_weight_decay_and_betas(rival: Any) -> None:
    module: Any = build(job="char_gpt", rival=rival, warmup_ratio=0.5, d_coef=0.5).module
    # as long as the Trainer's run, whatever the job's own
    module.trainer = SimpleNamespace(estimated_stepping_batches=STEPS)
    group = module.configure_optimizers().param_groups[0]
    assert (group["weight_decay"], group["betas"]) == (0.01, (0.9, 0.999))
    assert group["warmup_steps" if rival == "schedule_free" else "d_coef"] == (2 if rival == "schedule_free" else 0.5)
    lr = 1.0 if rival == "prodigy" else 0.01
    result = run_trial(
        TrainingSpec(
            job=JobSpec(factory="studies.rivals.job:build", args={"job": "char_gpt", "rival": rival}),
            schedule=Schedule(initial_lr=lr, warmup_ratio=0.0, decay="constant"),
            seed=0,
            total_steps=STEPS,
            monitor="val_loss",
            rungs=rungs_of(STEPS),
        )
    )
    assert result.outcome == "COMPLETE", result.error
    assert result.steps == STEPS


@needs("schedulefree")
def test_schedule_free_is_validated_at_its_average() -> None:
    training = build(job="char_gpt", rival="schedule_free")
    (modes,) = training.trainer["callbacks"]
    module: Any = training.module
    module.trainer = SimpleNamespace(estimated_stepping_batches=STEPS)
    optimizer = module.configure_optimizers()
    trainer: Any = SimpleNamespace(optimizers=[optimizer])
    modes.on_train_start(trainer, module)
    data: Any = training.data
    batch = next(iter(data))
    for _ in range(2):
        optimizer.zero_grad()
        torch.autograd.backward(module.loss(batch))
        optimizer.step()
    trained = [p.detach().clone() for p in module.parameters()]
    modes.on_validation_start(trainer, module)
    assert not all(torch.equal(a, b) for a, b in zip(trained, module.parameters(), strict=True))
    modes.on_validation_end(trainer, module)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(trained, module.parameters(), strict=True))
