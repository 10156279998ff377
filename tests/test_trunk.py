"""What trials share is trained once, and each of them ends, bit for bit, as if it had been trained by itself."""

from __future__ import annotations

import errno
import gc
import os
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sample_info
import sample_jobs as jobs
import sample_kept as kept
import sample_pl_jobs as pl_jobs
import torch
from kept_marks import MARKS
from torch import Tensor

from autowarm import Schedule, Training, trunk, trunk_watcher
from autowarm.branch import same_number
from autowarm.branch_check import check_branching
from autowarm.errors import JobError
from autowarm.planning.trunks import plan_trunks, price_of_trunk
from autowarm.pruning import ema_rungs_of, rungs_of
from autowarm.specs import JobSpec, Link, TrainingSpec, TrialResult, TrunkLink, TrunkSpec
from autowarm.trial import run_trial
from autowarm.trunk import bytes_in, run_trunk

pytestmark = MARKS


def wsd(ratio: float = 0.2, **fields: Any) -> Schedule:
    return Schedule(initial_lr=0.02, warmup_steps=4, decay="wsd", decay_ratio=ratio, **fields)


CONSTANT = Schedule(initial_lr=0.02, warmup_steps=4)
# epochs have 8 steps: some leave within one, some at its end; the longest constant one is the carrier
WANTED: tuple[tuple[Schedule, int], ...] = (
    (wsd(0.25), 48),
    (wsd(0.25, cooldown="one_minus_sqrt"), 48),
    (wsd(0.4), 24),
    (CONSTANT, 24),
    (CONSTANT, 48),
    (wsd(0.5, final_lr_ratio=0.1), 30),
)
# in the order that they leave: after 7 steps, at the end, after 13; and the carrier
FEW: tuple[tuple[Schedule, int], ...] = ((wsd(0.5), 12), (CONSTANT, 12), (wsd(0.25), 16), (CONSTANT, 16))
AVERAGED: tuple[tuple[Schedule, int], ...] = ((wsd(0.3), 60), (wsd(0.5), 60), (wsd(0.3), 48), (CONSTANT, 48))
# validations of a trial
RUNGS = 10


def spec_of(
    factory: kept.Factory,
    ends: list[Any],
    wanted: tuple[tuple[Schedule, int], ...] = FEW,
    *,
    emas: bool = False,
    **fields: Any,
) -> TrunkSpec:
    job = JobSpec(factory=lambda: factory(ends))
    trials = []
    for schedule, total in wanted:
        rungs = rungs_of(total, RUNGS)
        trials.append(
            TrainingSpec(
                job=job,
                monitor="val_loss",
                total_steps=total,
                schedule=schedule,
                rungs=rungs,
                ema_rungs=ema_rungs_of(total, RUNGS) if emas else (),
            )
        )
    (trunk,), _ = plan_trunks(wanted)
    order = [branch.index for branch in trunk.branches]
    steps = tuple(branch.step for branch in trunk.branches)
    return TrunkSpec(name="one", trials=tuple(trials[i] for i in order), branch_steps=steps, **fields)


class Owner(TrunkLink):
    """Keeps what it is told, and stops or prunes where it is to."""

    def __init__(self, *, stop_at: int | None = None, prune: tuple[int, int] | None = None) -> None:
        self.told: dict[int, list[tuple[int, float, float | None]]] = {}
        self.results: dict[int, TrialResult] = {}
        self.order: list[int] = []
        self.prune = prune
        self.stop_at = stop_at
        self.asked = 0
        self.said_stop = False

    def rung(self, trial: int, step: int, value: float, ema: float | None = None) -> str | None:
        assert trial not in self.results
        assert not self.said_stop, "nobody answers"
        self.told.setdefault(trial, []).append((step, value, ema))
        return "far behind" if self.prune == (trial, step) else None

    def finished(self, trial: int, result: TrialResult) -> None:
        assert trial not in self.results
        self.results[trial] = result
        self.order.append(trial)

    def stopped(self) -> bool:
        self.asked += 1
        self.said_stop = self.stop_at is not None and self.asked >= self.stop_at
        return self.said_stop


class Alone(Link):
    def __init__(self) -> None:
        self.told: list[tuple[int, float, float | None]] = []

    def rung(self, step: int, value: float, ema: float | None = None) -> str | None:
        self.told.append((step, value, ema))
        return None


def bare(result: TrialResult | None) -> TrialResult:
    """Leave out what says that a trial was part of a trunk, and who has paid."""
    assert result is not None
    return replace(result, seconds=0.0, val_batches=0, trunk=None, shared_steps=None, exact=None)


def check(
    factory: kept.Factory, wanted: tuple[tuple[Schedule, int], ...] = WANTED, **fields: Any
) -> tuple[TrunkSpec, list[TrialResult], list[TrialResult]]:
    """Compare the trials of a trunk with the same trials by themselves, everything, and the weights they end with.

    Returns:
        The trunk, the results of its trials, and of the same trials by themselves.
    """
    ends: list[torch.Tensor] = []
    spec = spec_of(factory, ends, wanted, **fields)
    owner = Owner()
    found = run_trunk(spec, owner)
    assert found.refused is None
    # the trunk's own end comes first, then those of the branches
    weights = iter(ends.copy())
    carried = {spec.carrier: next(weights)}
    carried |= {i: next(weights) for i in owner.order if spec.trials[i].total_steps != spec.branch_steps[i]}
    results, by_themselves = [], []
    for i, (trial, result) in enumerate(zip(spec.trials, found.results, strict=True)):
        ends.clear()
        alone = Alone()
        whole = run_trial(trial, alone)
        assert whole.outcome == "COMPLETE", whole
        assert result is not None
        assert result == owner.results[i]
        assert bare(result) == bare(whole), i
        assert owner.told[i] == alone.told, i
        if i in carried:
            assert torch.equal(ends.pop(), carried[i]), i
        assert result.exact
        results.append(result)
        by_themselves.append(whole)
    return spec, results, by_themselves


# a few that differ most, and all of them among the slow tests
@pytest.mark.parametrize("name", ["accumulation", "numpy"])
def test_the_trials_of_a_trunk_end_as_by_themselves(name: str) -> None:
    check(kept.plainly_validated(kept.EXACT[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", kept.EXACT)
def test_the_trials_of_any_job_with_map_style_data_end_as_by_themselves(name: str) -> None:
    check(kept.plainly_validated(kept.EXACT[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "generator", "persistent", "that draw"])
def test_trials_with_data_workers_end_as_by_themselves(name: str) -> None:
    check(kept.plainly_validated(kept.WORKERS[name]), WANTED[2:4])


def test_epoch_means_and_averages_are_those_of_each_trial_and_each_step_is_paid_for_once() -> None:
    spec, results, alone = check(kept.plainly_validated(kept.epochs), AVERAGED, emas=True)
    assert [len(result.ema_rungs) for result in results] == [7, 7, 7, 7]
    assert [r.steps for r in results] == [t.total_steps for t in spec.trials]
    (planned,), _ = plan_trunks(AVERAGED)
    own = [r.steps - (r.shared_steps or 0) for r in results]
    assert sum(own) == planned.steps < planned.represented_steps
    assert results[spec.carrier].shared_steps == 0
    info = replace(sample_info.INFO, val_batches=jobs.EXAMPLES // jobs.BATCH_SIZE)
    price = price_of_trunk(
        planned, info, rungs=[t.rungs for t in spec.trials], ema_rungs=[t.ema_rungs for t in spec.trials]
    )
    assert sum(own) + sum(r.val_batches for r in results) / 3 == pytest.approx(price.cost)
    assert sum(r.steps + r.val_batches / 3 for r in alone) == pytest.approx(price.cost_alone)


class Groups(jobs.Regression):
    """Two param groups; keeps what it ends with, the epochs that the Trainer allows among it."""

    def __init__(self, ends: list[Any]) -> None:
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.1), torch.nn.Linear(4, 1))
        self.ends = ends

    def configure_optimizers(self) -> Any:
        groups: list[dict[str, Any]] = [
            {"params": self.network[0].parameters()},
            {"params": self.network[2].parameters(), "lr": 0.003},
        ]
        return torch.optim.AdamW(groups, lr=0.01)

    def on_train_end(self) -> None:
        weights = torch.nn.utils.parameters_to_vector(self.parameters())
        self.ends.append(torch.cat([weights.detach(), torch.tensor([float(self.trainer.max_epochs or 0)])]))


def groups(ends: list[Any]) -> Training:
    return jobs.build(module=Groups(ends))


def test_groups_keep_their_ratio_and_branches_have_the_epochs_and_thinned_curves_of_their_own_steps() -> None:
    # of more than 100 steps a curve keeps some, which ones depends on their number
    spec, (branch, _), _ = check(groups, ((wsd(0.1), 104), (CONSTANT, 156)))
    assert (spec.branch_steps, len(branch.train_curve), len(branch.grad_norms)) == ((95, 156), 100, 100)


@pytest.mark.filterwarnings("ignore:.*set aside")
def test_modules_of_the_other_package_and_of_mixed_precision_branch_too() -> None:
    for factory in (lambda _: pl_jobs.build(), lambda ends: replace(groups(ends), trainer={"precision": "bf16-mixed"})):
        spec = spec_of(factory, [], FEW[:2] + FEW[3:])
        found = run_trunk(spec)
        assert found.refused is None
        for trial, result in zip(spec.trials, found.results, strict=True):
            assert bare(result).outcome == "COMPLETE", result
            assert bare(result) == bare(run_trial(trial))


def test_what_ends_on_the_trunk_has_its_result_while_that_goes_on_and_costs_nothing() -> None:
    owner = Owner()
    run_trunk(spec_of(groups, []), owner)
    assert owner.order == [1, 3, 0, 2]
    constant = owner.results[1]
    assert (constant.outcome, constant.steps, constant.shared_steps, constant.val_batches) == ("COMPLETE", 12, 12, 0)
    assert len(constant.rungs) == RUNGS


def test_states_that_do_not_fit_into_memory_lie_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    keep = trunk._States.keep

    def kept_so(self: trunk._States, key: str, data: dict[str, Any], *, uses: int) -> None:
        keep(self, key, data, uses=uses)
        written.append(self.in_files)

    monkeypatch.setattr(trunk._States, "keep", kept_so)
    wanted = (*FEW, (wsd(0.25, cooldown="cosine"), 16))
    in_memory = run_trunk(spec_of(groups, [], wanted))
    assert set(written) == {0}
    written.clear()
    in_files = run_trunk(spec_of(groups, [], wanted, memory_bytes=0, folder=tmp_path))
    # of three branches two begin from the same state; what else there is of them has no tensors
    assert written[-1] == 2
    assert list(map(bare, in_files.results)) == list(map(bare, in_memory.results))
    assert list(tmp_path.iterdir()) == []


def test_no_fit_is_held_while_the_next_one_runs() -> None:
    built: list[weakref.ref[torch.nn.Module]] = []
    alive: list[int] = []

    def factory(ends: list[Any]) -> Training:
        gc.collect()
        alive.append(sum(module() is not None for module in built))
        training = groups(ends)
        built.append(weakref.ref(training.module))
        return training

    run_trunk(spec_of(factory, []))
    assert alive == [0, 0, 0]


class Breaks(Groups):
    """Has a loss that is no number from a step on, or raises."""

    def __init__(self, ends: list[Any], *, step: int, raises: bool) -> None:
        super().__init__(ends)
        self.step = step
        self.raises = raises

    def training_step(self, batch: jobs.Batch) -> Tensor:
        if self.global_step < self.step:
            return super().training_step(batch)
        if self.raises:
            raise RuntimeError("the data is cursed")
        return super().training_step(batch) * float("nan")


@pytest.mark.parametrize(("raises", "outcome"), [(False, "DIVERGED"), (True, "FAILED")])
def test_a_trunk_that_breaks_ends_all_that_still_share_it(raises: bool, outcome: str) -> None:
    spec = spec_of(lambda ends: jobs.build(module=Breaks(ends, step=12, raises=raises)), [])
    found = run_trunk(spec)
    assert found.refused is None
    ended = []
    for trial, step, result in zip(spec.trials, spec.branch_steps, found.results, strict=True):
        whole = run_trial(trial)
        # as text: nan is not nan
        assert repr(replace(bare(result), error=None)) == repr(replace(bare(whole), error=None))
        assert result is not None
        shared = 0 if trial is spec.trials[spec.carrier] else min(step, result.steps)
        assert result.shared_steps == shared
        ended.append(result.outcome)
    # the first two have ended by then, the third shares the step
    assert ended == ["COMPLETE", "COMPLETE", outcome, outcome]


class Stops(Groups):
    """Ends its training by itself."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.trainer.should_stop = self.global_step == 5


def test_a_trunk_that_ends_by_itself_fails_each_trial_in_its_own_words() -> None:
    spec = spec_of(lambda ends: jobs.build(module=Stops(ends)), [])
    found = run_trunk(spec)
    found_reasons = [(r.reason or "").partition(":")[0] for r in found.results if r is not None]
    assert found_reasons == [f"the training ended by itself after 5 of {total} steps" for total in (12, 12, 16, 16)]


def test_a_job_that_cannot_be_built_fails_all_trials() -> None:
    def factory(_: list[Any]) -> Training:
        raise FileNotFoundError("data.csv is not here")

    found = run_trunk(spec_of(factory, []))
    assert {(r.outcome, r.reason, r.steps) for r in found.results if r is not None} == {
        ("FAILED", "FileNotFoundError: data.csv is not here", 0)
    }
    assert len(found.results) == len(FEW)


@pytest.mark.parametrize(("asked", "done"), [(5, []), (13, [1]), (23, [0, 1, 3]), (24, [0, 1, 3])])
def test_an_owner_that_stops_a_trunk_stops_all_that_is_left_of_it(asked: int, done: list[int]) -> None:
    spec = spec_of(groups, [])
    owner = Owner(stop_at=asked)
    found = run_trunk(spec, owner)
    assert [i for i, r in enumerate(found.results) if r is not None and r.outcome is not None] == done
    assert set(owner.results) == set(range(len(FEW))), "each is heard of"


def test_a_carrier_is_pruned_only_when_it_is_alone() -> None:
    spec = spec_of(groups, [], FEW[:2] + FEW[3:])
    assert (spec.carrier, spec.branch_steps) == (2, (7, 12, 16))
    shared, alone = spec.trials[2].rungs[-4:-2]
    assert (shared, alone) == (12, 13)
    for rung, outcome in ((shared, "COMPLETE"), (alone, "PRUNED")):
        found = run_trunk(spec, Owner(prune=(2, rung)))
        assert [r.outcome for r in found.results if r is not None] == ["COMPLETE", "COMPLETE", outcome]
    assert found.results[2] is not None
    assert (found.results[2].reason, found.results[2].steps) == ("far behind", 13)


def test_a_branch_is_pruned_at_a_rung_of_its_own() -> None:
    for rung, outcome, steps in ((5, "COMPLETE", 12), (9, "PRUNED", 9)):
        result = run_trunk(spec_of(groups, []), Owner(prune=(0, rung))).results[0]
        assert result is not None
        assert (result.outcome, result.steps, result.shared_steps) == (outcome, steps, 7)


class Hidden(Groups):
    """Carries a state from batch to batch."""

    state = 0.0

    def training_step(self, batch: jobs.Batch) -> Tensor:
        x, y = batch
        self.state = 0.5 * self.state + 0.5 * float(x.mean())
        return super().training_step([x + self.state, y])


class Unregistered(Groups):
    """Validates with a mean that it has gathered in training."""

    mean = 0.0

    def training_step(self, batch: jobs.Batch) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * float(batch[0].mean())
        return super().training_step(batch)

    def validation_step(self, batch: jobs.Batch) -> None:
        x, y = batch
        super().validation_step([x - self.mean, y])


class Momentum(torch.optim.SGD):
    """Keeps its velocity where nobody looks for it."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "state": {}}


class Forgets(Groups):
    """Has an optimizer whose state is not saved."""

    def configure_optimizers(self) -> Any:
        return Momentum(self.parameters(), lr=0.01, momentum=0.9)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Hidden, "a branch's training loss at step 3 is .*, and the trunk's .*: the job keeps state"),
        (Unregistered, "a branch's val_loss at step 2 is"),
        # the loss of the first step is of the weights alone
        (Forgets, "a branch's val_loss at step 3 is"),
        (Groups, None),
    ],
)
def test_a_job_that_keeps_state_elsewhere_is_noticed_before_anything_is_spent(
    kind: Callable[[list[Any]], jobs.Regression], words: str | None
) -> None:
    spec = spec_of(lambda ends: jobs.build(module=kind(ends)), [])
    found = check_branching(spec.trials[0])
    assert found is None if words is None else re.match(words, found or ""), found


@pytest.mark.parametrize("name", ["accumulation", "data module", "numpy"])
def test_a_job_that_can_branch_is_not_refused(name: str) -> None:
    spec = spec_of(kept.EXACT[name], [])
    assert check_branching(spec.trials[0]) is None


def test_a_branch_that_does_not_go_on_as_the_trunk_did_is_refused_and_the_trunk_is_not() -> None:
    spec = spec_of(lambda ends: jobs.build(module=Hidden(ends)), [])
    owner = Owner()
    found = run_trunk(spec, owner)
    assert "a branch's training loss at step 8 is" in (found.refused or "")
    assert [i for i, r in enumerate(found.results) if r is not None] == [1, 3]
    assert set(owner.results) == {1, 3}
    for i in (1, 3):
        assert bare(found.results[i]) == bare(run_trial(spec.trials[i]))


def test_data_that_cannot_be_put_back_makes_branches_inexact_and_they_say_so() -> None:
    spec = spec_of(kept.plainly_validated(kept.stream), [])
    assert check_branching(spec.trials[0]) is None
    found = run_trunk(spec)
    assert found.refused is None
    told = [(r.outcome, r.exact) for r in found.results if r is not None]
    branches = [step != t.total_steps for step, t in zip(spec.branch_steps, spec.trials, strict=True)]
    assert told == [("COMPLETE", not branch) for branch in branches]


def test_validation_data_drawn_for_the_rungs_of_others_is_said_to_be_other_data() -> None:
    # the loader's own generator goes on with each validation
    spec = spec_of(kept.EXACT["AdamW"], [])
    found = run_trunk(spec)
    assert spec.trials[0].rungs[:3] == (2, 3, 4)
    assert spec.trials[2].rungs[:2] == (2, 4)
    assert [r.exact for r in found.results if r is not None] == [False, False, False, False]
    found = run_trunk(spec_of(kept.EXACT["AdamW"], [], FEW[2:]))
    assert [r.exact for r in found.results if r is not None] == [True, True]


def test_a_job_whose_state_is_no_plain_data_is_refused_with_the_reason() -> None:
    class Unplain(Groups):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = {"clock": object()}

    spec = spec_of(lambda ends: jobs.build(module=Unplain(ends)), [])
    found = run_trunk(spec)
    assert "['mine']['clock'] is a builtins.object" in (found.refused or "")
    assert [i for i, r in enumerate(found.results) if r is not None] == [1, 3]
    assert check_branching(spec.trials[0]) == found.refused


def test_a_strategy_that_spreads_its_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk_watcher, "can_be_captured", lambda _: False)
    found = run_trunk(spec_of(groups, []))
    assert found.refused == "a SingleDeviceStrategy may not have all of its state in this process"


def test_a_job_that_is_built_otherwise_each_time_is_refused() -> None:
    widths = iter(range(4, 40))

    def factory(ends: list[Any]) -> Training:
        module = Groups(ends)
        width = next(widths)
        module.network[0], module.network[2] = torch.nn.Linear(4, width), torch.nn.Linear(width, 1)
        return jobs.build(module=module)

    found = run_trunk(spec_of(factory, []))
    assert "a branch could not begin: RuntimeError: Error(s) in loading state_dict" in (found.refused or "")
    assert "a branch could not begin" in (check_branching(spec_of(factory, []).trials[0]) or "")


def test_a_full_disk_refuses_branches_and_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spec = spec_of(groups, [], memory_bytes=0)
    monkeypatch.setattr(os, "fsync", fsync)
    found = run_trunk(spec)
    assert found.refused == "the state of the trunk could not be kept: [Errno 28] No space left on device"
    assert {r.outcome for r in found.results if r is not None} == {"COMPLETE"}


def test_a_state_in_a_file_goes_with_its_last_use(tmp_path: Path) -> None:
    states = trunk._States(0, tmp_path)
    states.keep("step 7", {"weights": torch.ones(2)}, uses=2)
    for left in (1, 0):
        assert states.take("step 7")["weights"].tolist() == [1, 1]
        assert len(list(tmp_path.iterdir())) == left
    with pytest.raises(KeyError):
        states.take("step 7")


TRIAL = TrainingSpec(job=JobSpec(factory="x:y"), monitor="val_loss", total_steps=20, schedule=CONSTANT, rungs=(20,))


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        ({"seed": 1}, 10, "trial 1 of a trunk differs from the others in more than its schedule and length"),
        ({"schedule": None}, 10, "trial 1 of a trunk needs a schedule"),
        ({"processes": 2}, 10, "trial 1 of a trunk must run in one process"),
        ({"checkpoint": Path("x")}, 10, "trial 1 of a trunk must run in one process, and keep and leave no state"),
        ({}, 0, r"trial 1 leaves its trunk after 0 steps: must be in \[1, 20\]"),
        ({"schedule": wsd(0.5)}, 12, "trial 1 has other learning rates than its trunk within its first 12 steps"),
        ({"schedule": replace(CONSTANT, initial_lr=0.03)}, 4, "trial 1 has other learning rates"),
    ],
)
def test_trials_that_are_not_alike_are_no_trunk(change: dict[str, Any], step: int, words: str) -> None:
    other = replace(TRIAL, **change)
    with pytest.raises(JobError, match=words):
        TrunkSpec(name="x", trials=(TRIAL, other), branch_steps=(20, step))


def test_a_schedule_is_shared_up_to_its_first_other_learning_rate() -> None:
    other = replace(TRIAL, schedule=wsd(0.5))
    assert TrunkSpec(name="x", trials=(TRIAL, other), branch_steps=(20, 11)).carrier == 0


def test_a_trunk_needs_a_step_for_each_trial() -> None:
    with pytest.raises(JobError, match="a trunk of 1 trials needs as many steps, got 2"):
        TrunkSpec(name="x", trials=(TRIAL,), branch_steps=(20, 20))


def test_numbers_are_the_same_but_for_round_off() -> None:
    nan = float("nan")
    assert same_number(1.0, 1.0 + 1e-6, 1e-5)
    assert not same_number(1.0, 1.0 + 1e-4, 1e-5)
    assert same_number(nan, float("inf"), 1e-5)
    assert not same_number(nan, 1.0, 1e-5)
    assert same_number(0.0, 0.0, 1e-5)


def test_the_memory_of_a_state_is_that_of_its_tensors() -> None:
    assert bytes_in({"a": [torch.zeros(3), (torch.zeros(2, dtype=torch.float64),)], "b": "word"}) == 28
