from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import accelerate.optimizer
import pytest
import torch
from sample_transformers import Lrs, Words, model, trainer
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer

from autowarm import Schedule
from autowarm.adapters.torch import OnResume
from autowarm.adapters.transformers import use_schedule
from autowarm.errors import JobError, ScheduleError

pytestmark = pytest.mark.usefixtures("one_thread")

SCHEDULE = Schedule(initial_lr=0.02, warmup_ratio=0.25, decay="linear")


def lrs(total_steps: int, schedule: Schedule = SCHEDULE) -> list[float]:
    seen: list[float] = schedule.lrs(total_steps=total_steps).tolist()
    return seen


@pytest.mark.parametrize("source", ["object", "mapping", "file"])
def test_a_trainer_trains_with_exactly_the_lrs_of_the_schedule(source: str, tmp_path: Path) -> None:
    SCHEDULE.save(tmp_path / "best.yaml")
    given: Any = {"object": SCHEDULE, "mapping": SCHEDULE.to_dict(), "file": tmp_path / "best.yaml"}[source]
    seen = Lrs()
    made = trainer(tmp_path, seen, max_steps=20, learning_rate=9.0, warmup_steps=7)
    assert use_schedule(made, given) is made
    made.train()
    assert seen.first == lrs(20)


def test_the_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (lines,) = (b for b in re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL) if "use_schedule" in b)
    SCHEDULE.save(tmp_path / "best.yaml")
    monkeypatch.chdir(tmp_path)
    seen = Lrs()
    exec(lines, {"trainer": trainer(tmp_path, seen, max_steps=4)})  # noqa: S102 - what a reader would run
    assert seen.first == lrs(4)


def test_a_step_is_an_optimizer_step_under_accumulation_with_a_remainder_over_epochs(tmp_path: Path) -> None:
    seen = Lrs()
    # 8 batches an epoch, 3 a step: two steps of 3 and one of 2
    made = use_schedule(trainer(tmp_path, seen, num_train_epochs=4, gradient_accumulation_steps=3), SCHEDULE)
    made.train()
    assert made.state.global_step == 12
    assert seen.first == lrs(12)


def test_a_warmup_in_epochs_is_resolved_by_the_training(tmp_path: Path) -> None:
    seen = Lrs()
    in_epochs = {"initial_lr": 0.02, "warmup_epochs": 2, "decay": "linear"}
    use_schedule(trainer(tmp_path, seen, num_train_epochs=4, gradient_accumulation_steps=3), in_epochs).train()
    assert seen.first == lrs(12, Schedule(initial_lr=0.02, warmup_steps=6, decay="linear"))


def test_the_schedule_may_span_more_than_the_run(tmp_path: Path) -> None:
    seen = Lrs()
    use_schedule(trainer(tmp_path, seen, max_steps=6), SCHEDULE, total_steps=20).train()
    assert seen.first == lrs(20)[:6]


@pytest.mark.parametrize("step", [3, 12])
def test_a_training_resumed_from_a_checkpoint_sees_the_lrs_of_the_uninterrupted_one(step: int, tmp_path: Path) -> None:
    saving: dict[str, Any] = {"max_steps": 20, "save_strategy": "steps", "save_steps": 3}
    whole = use_schedule(trainer(tmp_path, **saving), SCHEDULE)
    whole.train()
    seen = Lrs()
    resumed = use_schedule(trainer(tmp_path, seen, **saving), SCHEDULE)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert seen.first == lrs(20)[step:]
    assert resumed.model is not None
    assert whole.model is not None
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def saved(folder: Path, *, with_ours: bool, **keywords: Any) -> str:
    made = trainer(folder, max_steps=8, save_strategy="steps", save_steps=3, **keywords)
    (use_schedule(made, SCHEDULE) if with_ours else made).train()
    return str(folder / "checkpoint-3")


def test_a_checkpoint_without_our_state_is_refused(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, with_ours=True, save_only_model=True)
    resumed = use_schedule(trainer(tmp_path, max_steps=8), SCHEDULE)
    with pytest.raises(ScheduleError, match="resumes at step 3"):
        resumed.train(resume_from_checkpoint=checkpoint)


def test_a_checkpoint_of_another_scheduler_or_another_schedule_is_refused(tmp_path: Path) -> None:
    theirs = saved(tmp_path / "theirs", with_ours=False)
    with pytest.raises(ScheduleError, match="another scheduler"):
        use_schedule(trainer(tmp_path, max_steps=8), SCHEDULE).train(resume_from_checkpoint=theirs)
    ours = saved(tmp_path / "ours", with_ours=True)
    with pytest.raises(ScheduleError, match="total_steps 8 there, 9 here"):
        use_schedule(trainer(tmp_path, max_steps=9), SCHEDULE).train(resume_from_checkpoint=ours)


@pytest.mark.parametrize("on_resume", ["continue", "rehorizon", "restart"])
@pytest.mark.parametrize("kind", ["another length", "another scheduler", "no state"])
def test_on_resume_says_what_to_do_with_a_checkpoint_that_is_not_of_this_schedule(
    kind: str, on_resume: OnResume, tmp_path: Path
) -> None:
    """The checkpoint is one of step 3 of 8; the training goes on to 20."""
    keywords: dict[str, Any] = {"save_only_model": True} if kind == "no state" else {}
    checkpoint = saved(tmp_path, with_ours=kind != "another scheduler", **keywords)
    seen = Lrs()
    resumed = use_schedule(trainer(tmp_path, seen, max_steps=20), SCHEDULE, on_resume=on_resume)
    if on_resume == "continue" and kind != "another length":
        with pytest.raises(ScheduleError, match=r"resumes at step 3.*none to continue"):
            resumed.train(resume_from_checkpoint=checkpoint)
        return
    with warnings.catch_warnings():
        # the checkpoint's own schedule ends at 8
        warnings.filterwarnings("ignore", message="the training goes beyond", category=UserWarning)
        resumed.train(resume_from_checkpoint=checkpoint)
    theirs = lrs(8)[3:] + [0.0] * 12
    assert seen.first == {"continue": theirs, "rehorizon": lrs(20)[3:], "restart": lrs(17)}[on_resume]


def test_an_unknown_policy_is_answered_with_the_nearest(tmp_path: Path) -> None:
    wrong: Any = "continu"
    with pytest.raises(ScheduleError, match="did you mean 'continue'"):
        use_schedule(trainer(tmp_path, max_steps=8), SCHEDULE, on_resume=wrong)


def test_the_trainers_own_split_of_weight_decay_keeps_one_lr(tmp_path: Path) -> None:
    seen = Lrs()
    made = use_schedule(trainer(tmp_path, seen, max_steps=8, weight_decay=0.1), SCHEDULE)
    made.train()
    assert made.optimizer is not None
    assert [group["weight_decay"] for group in made.optimizer.param_groups] == [0.1, 0.0]
    assert seen.groups == [[lr, lr] for lr in lrs(8)]


def test_a_given_optimizer_keeps_the_ratios_of_its_param_groups(tmp_path: Path) -> None:
    network = model()
    head, body = list(network.classifier.parameters()), list(network.bert.parameters())
    optimizer = torch.optim.SGD([{"params": body, "lr": 0.5}, {"params": head, "lr": 2.0}])
    seen = Lrs()
    made = trainer(tmp_path, seen, max_steps=8, optimizers=(optimizer, None))
    made.model = made.model_wrapped = network
    use_schedule(made, SCHEDULE).train()
    assert seen.first == lrs(8)
    assert [group[1] for group in seen.groups] == pytest.approx([4 * lr for lr in lrs(8)], rel=1e-12)


def test_training_again_follows_the_schedule_again(tmp_path: Path) -> None:
    seen = Lrs()
    made = use_schedule(trainer(tmp_path, seen, max_steps=8), SCHEDULE)
    made.train()
    made.train()
    assert seen.first == lrs(8) * 2


def test_the_last_schedule_is_the_one_that_counts(tmp_path: Path) -> None:
    seen = Lrs()
    made = use_schedule(trainer(tmp_path, seen, max_steps=8), SCHEDULE)
    other = Schedule(initial_lr=0.3, decay="cosine")
    use_schedule(made, other).train()
    assert seen.first == lrs(8, other)
    assert sum(type(c).__name__ == "_FollowSteps" for c in made.callback_handler.callbacks) == 1


def test_a_trainer_that_has_trained_by_its_own_scheduler_is_steered_from_then_on(tmp_path: Path) -> None:
    seen = Lrs()
    made = trainer(tmp_path, seen, max_steps=4, warmup_steps=2)
    made.train()
    use_schedule(made, SCHEDULE).train()
    assert seen.first[4:] == lrs(4)


def test_a_model_made_anew_by_model_init_is_steered_too(tmp_path: Path) -> None:
    seen = Lrs()
    settings = trainer(tmp_path, max_steps=8).args
    made = Trainer(model_init=model, args=settings, train_dataset=Words(), callbacks=[seen])
    use_schedule(made, SCHEDULE).train()
    assert seen.first == lrs(8)


def test_a_step_that_mixed_precision_skips_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Lrs()
    made = use_schedule(trainer(tmp_path, seen, max_steps=8), SCHEDULE)
    # the Trainer asks after each step; on a CPU there is no scaler to skip one
    skipped = property(lambda _: len(seen.groups) in (1, 2, 5))
    monkeypatch.setattr(accelerate.optimizer.AcceleratedOptimizer, "step_was_skipped", skipped)
    made.train()
    assert made.state.global_step == 8
    assert seen.first == lrs(8)
    assert made.lr_scheduler is not None
    assert made.lr_scheduler.last_epoch == 8


def test_a_given_scheduler_is_refused(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD(model().parameters(), lr=0.1)
    made = trainer(tmp_path, max_steps=8, optimizers=(optimizer, LambdaLR(optimizer, lambda _: 1.0)))
    with pytest.raises(ScheduleError, match=r"a scheduler already \(LambdaLR\).*optimizers=\(optimizer, None\)"):
        use_schedule(made, SCHEDULE)
    later = use_schedule(trainer(tmp_path, max_steps=8), SCHEDULE)
    later.lr_scheduler = LambdaLR(optimizer, lambda _: 1.0)
    with pytest.raises(ScheduleError, match="after use_schedule"):
        later.train()


def test_what_one_schedule_cannot_steer_is_refused(tmp_path: Path) -> None:
    made = use_schedule(trainer(tmp_path, max_steps=8), SCHEDULE)
    made.is_deepspeed_enabled = True
    with pytest.raises(JobError, match="DeepSpeed"):
        made.create_scheduler(8)
    made.is_deepspeed_enabled = False
    layers = type("LayerWise", (torch.optim.SGD,), {"optimizer_dict": {}})(model().parameters(), lr=0.1)
    with pytest.raises(JobError, match="an optimizer for each layer"):
        made.create_scheduler(8, layers)


def test_a_bad_schedule_is_refused_at_once_and_one_that_does_not_fit_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match=r"warmup_ratio must be in \[0, 1\), got 1.2"):
        use_schedule(trainer(tmp_path), {"initial_lr": 0.1, "warmup_ratio": 1.2})
    made = use_schedule(trainer(tmp_path, max_steps=8), {"initial_lr": 0.1, "warmup_steps": 9})
    with pytest.raises(ScheduleError, match="warmup_steps=9 must be less than total_steps=8"):
        made.train()
    none = use_schedule(trainer(tmp_path, max_steps=8), SCHEDULE, total_steps=0)
    with pytest.raises(ScheduleError, match="total_steps must be a whole number of at least 1, got 0"):
        none.train()


def test_without_transformers_the_extra_is_named() -> None:
    code = "import sys; sys.modules['transformers'] = None; import autowarm.adapters.transformers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: transformers is not installed: pip install 'autowarm[transformers]'"
    )
