"""What a module does to its own learning rate is set aside, put right, or told."""

from __future__ import annotations

from typing import Any

import pytest
import sample_jobs as jobs
import torch
from fits import fit, lrs_of
from lightning.pytorch.callbacks import StochasticWeightAveraging

from autowarm import Schedule, TunedSchedule
from autowarm.errors import JobError

SCHEDULE = Schedule(initial_lr=0.2, warmup_ratio=0.25, decay="linear")
LRS = SCHEDULE.lrs(total_steps=20).tolist()


@pytest.mark.parametrize("scheduler", ["onecycle", "plateau", "epoch", "cosine"])
def test_a_modules_own_scheduler_is_set_aside_with_one_warning(scheduler: str) -> None:
    seen = jobs.Recorder()
    with pytest.warns(UserWarning, match="set aside") as caught:
        trainer = fit(jobs.Regression(scheduler=scheduler, adam=True), TunedSchedule(SCHEDULE), seen)
    assert sum("set aside" in str(w.message) for w in caught) == 1
    assert lrs_of(seen) == LRS
    # OneCycleLR had put beta1 to .95
    assert trainer.optimizers[0].param_groups[0]["betas"] == (0.9, 0.999)


class Momentum(jobs.Regression):
    """Has SGD with momentum, and a chain with a CyclicLR in it."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.7)
        schedulers = torch.optim.lr_scheduler
        cyclic = schedulers.CyclicLR(optimizer, base_lr=0.01, max_lr=0.1, base_momentum=0.8, max_momentum=0.9)
        return [optimizer], [schedulers.ChainedScheduler([cyclic], optimizer)]


@pytest.mark.filterwarnings("ignore:.*set aside")
def test_a_momentum_that_was_cycled_is_put_back() -> None:
    trainer = fit(Momentum(), TunedSchedule(SCHEDULE))
    assert trainer.optimizers[0].param_groups[0]["momentum"] == 0.7


class Groups(jobs.Regression):
    """Has two param groups, the second with a tenth of the lr and a beta2 of its own, and a OneCycleLR."""

    def configure_optimizers(self) -> Any:
        weight, bias = self.network.parameters()
        groups = [{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.01, "betas": (0.9, 0.95)}]
        optimizer = torch.optim.AdamW(groups)
        one = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.3, 0.03], total_steps=20)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": one, "interval": "step"}}


@pytest.mark.filterwarnings("ignore:.*set aside")
def test_ratios_and_betas_of_param_groups_are_kept_from_under_a_cycling_scheduler() -> None:
    seen = jobs.Recorder()
    trainer = fit(Groups(), TunedSchedule(SCHEDULE), seen)
    assert [first for first, _ in seen.lrs] == LRS
    assert [second for _, second in seen.lrs] == pytest.approx([lr / 10 for lr in LRS], rel=1e-12)
    assert [group["betas"] for group in trainer.optimizers[0].param_groups] == [(0.9, 0.999), (0.9, 0.95)]
    assert trainer.optimizers[0].param_groups[1]["initial_lr"] == pytest.approx(0.02, rel=1e-12)


class StepsByEpochs(jobs.Regression):
    """Steps its own scheduler as timm's are stepped."""

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step(epoch=self.current_epoch)


def test_a_modules_own_way_of_stepping_is_set_aside_and_given_back() -> None:
    seen = jobs.Recorder()
    module = StepsByEpochs(scheduler="cosine")
    with pytest.warns(UserWarning, match=r"own scheduler \(CosineAnnealingLR\) and lr_scheduler_step are set aside"):
        fit(module, TunedSchedule(SCHEDULE), seen)
    assert lrs_of(seen) == LRS
    assert "lr_scheduler_step" not in vars(module)


def test_a_modules_own_way_of_stepping_is_given_back_after_an_error() -> None:
    class Raises(StepsByEpochs):
        def training_step(self, batch: Any) -> Any:
            raise ValueError("no")

    module = Raises()
    with pytest.warns(UserWarning, match="lr_scheduler_step is set aside"), pytest.raises(ValueError, match="no"):
        fit(module, TunedSchedule(SCHEDULE))
    assert "lr_scheduler_step" not in vars(module)


class WritesLr(jobs.Regression):
    """Writes its learning rate itself, as training scripts did before schedulers, after every callback's hook."""

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.123


def test_a_module_that_writes_the_lr_itself_is_told_of_once() -> None:
    with pytest.warns(UserWarning, match=r"step 0 used the learning rate 0.123.*writes the learning rate") as caught:
        fit(WritesLr(), TunedSchedule(SCHEDULE))
    assert sum("writes the learning rate" in str(w.message) for w in caught) == 1


class WarmsUpInOptimizerStep(jobs.Regression):
    """Warms up by hand after each step, as an old recipe has it: the schedule has the last word."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)
        for group in optimizer.param_groups:
            group["lr"] = min(1.0, (self.global_step + 1) / 500) * 0.1


def test_a_warmup_by_hand_in_optimizer_step_is_overruled() -> None:
    seen = jobs.Recorder()
    fit(WarmsUpInOptimizerStep(), TunedSchedule(SCHEDULE), seen)
    assert lrs_of(seen) == LRS


@pytest.mark.filterwarnings("ignore:.*Swapping scheduler", "ignore:SWA is currently only supported every epoch")
def test_a_callback_that_puts_its_own_scheduler_in_place_has_said_so() -> None:
    averaging = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2)
    seen = jobs.Recorder()
    fit(jobs.Regression(), TunedSchedule(SCHEDULE), averaging, seen, max_epochs=3, max_steps=-1)
    assert lrs_of(seen)[:8] == SCHEDULE.lrs(total_steps=24).tolist()[:8]


@pytest.mark.parametrize(
    ("module", "why"),
    [(jobs.Manual, "manual optimization.*build_scheduler"), (jobs.TwoOptimizers, "manual optimization")],
)
def test_what_one_schedule_cannot_steer_is_refused(module: Any, why: str) -> None:
    with pytest.raises(JobError, match=why):
        fit(module(), TunedSchedule(SCHEDULE))


def test_no_optimizer_is_refused() -> None:
    class Without(jobs.Regression):
        def configure_optimizers(self) -> None:
            return None

    with pytest.warns(UserWarning, match="returned `None`"), pytest.raises(JobError, match=r"Without has 0 optimizers"):
        fit(Without(), TunedSchedule(SCHEDULE))


def test_a_way_of_stepping_that_an_instance_has_is_given_back_to_it() -> None:
    module = jobs.Regression()

    def own(*_: Any) -> None:
        raise AssertionError

    module.lr_scheduler_step = own  # type: ignore[method-assign, assignment]
    with pytest.warns(UserWarning, match="lr_scheduler_step is set aside"):
        fit(module, TunedSchedule(SCHEDULE))
    assert vars(module)["lr_scheduler_step"] is own


def test_an_optimizer_whose_param_groups_grow_is_refused() -> None:
    class Grows(jobs.Regression):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.global_step == 3:
                extra = torch.nn.Parameter(torch.ones(1))
                self.trainer.optimizers[0].add_param_group({"params": [extra], "lr": 0.1})

    with pytest.raises(JobError, match="has 2 param groups, and had 1 when the schedule began"):
        fit(Grows(), TunedSchedule(SCHEDULE))


def test_a_hook_on_the_optimizer_ends_with_the_fit() -> None:
    trainer = fit(jobs.Regression(), TunedSchedule(SCHEDULE))
    assert not trainer.optimizers[0]._optimizer_step_post_hooks
