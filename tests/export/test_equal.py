"""Every format meets every schedule: what an export computes is equal to the Schedule, or the export is refused."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from sample_schedules import DECAYS, OPTIONS, SCHEDULES, WARMUPS
from sample_transformers import Lrs, trainer
from transformers import HfArgumentParser, TrainingArguments, get_scheduler

from autowarm.adapters.torch import build_scheduler
from autowarm.errors import ScheduleError
from autowarm.export import export
from autowarm.schedule import Schedule

LENGTHS = (1, 2, 7, 100, 1000)


def assert_equal(seen: Any, wanted: NDArray[np.float64], name: str) -> None:
    # Relative 1e-12; and where 1 + cos has all but cancelled, what rounding leaves of the peak.
    np.testing.assert_allclose(seen, wanted, rtol=1e-12, atol=1e-15 * 3e-3, err_msg=name)


def fitting(schedule: Schedule, total_steps: int) -> bool:
    try:
        schedule.warmup_steps_of(total_steps)
    except ScheduleError:
        return False
    return True


def lrs_and_end(schedule: Schedule, total_steps: int) -> NDArray[np.float64]:
    """Return the learning rates of steps 0 .. total_steps + 2: beyond the end they stay."""
    lrs = schedule.initial_lr * schedule.multipliers(total_steps=total_steps)
    return np.append(lrs, [lrs[-1], lrs[-1]])


def executed(text: str, *allowed: str) -> dict[str, Any]:
    """Execute a module's text in a namespace that imports nothing but what is allowed."""

    def only_allowed(name: str, *args: Any, **keywords: Any) -> Any:
        assert name.partition(".")[0] in allowed, f"an export imports {name}"
        return builtins.__import__(name, *args, **keywords)

    namespace: dict[str, Any] = {"__builtins__": {**vars(builtins), "__import__": only_allowed}, "__name__": "export"}
    exec(text, namespace)  # noqa: S102 - the export is what is tested
    return namespace


def of_decay(decay: str) -> dict[str, Schedule]:
    return {name: schedule for name, schedule in SCHEDULES.items() if name.startswith(f"{decay};")}


@pytest.mark.parametrize("decay", DECAYS)
def test_the_torch_module_computes_the_same_at_every_step(decay: str) -> None:
    for name, schedule in of_decay(decay).items():
        for total_steps in LENGTHS:
            if not fitting(schedule, total_steps):
                continue
            module = executed(export(schedule, "torch", total_steps=total_steps), "math", "torch")
            seen = [module["lr_at"](step) for step in range(total_steps + 3)]
            assert_equal(seen, lrs_and_end(schedule, total_steps), f"{name} over {total_steps}")


@pytest.mark.parametrize("decay", DECAYS)
def test_the_torch_module_steers_param_groups_as_autowarm_does(decay: str) -> None:
    def groups(*lrs: float) -> torch.optim.SGD:
        return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs])

    schedule = SCHEDULES[f"{decay}; linear from .1"]
    module = executed(export(schedule, "torch", total_steps=40), "math", "torch")
    for lrs in ((1.0,), (0.5, 2.0, 0.0), (0.0, 0.0)):
        theirs, ours = groups(*lrs), groups(*lrs)
        steered = module["build_scheduler"](theirs)
        reference = build_scheduler(ours, schedule, total_steps=40)
        for step in range(40):
            seen = [group["lr"] for group in theirs.param_groups]
            assert_equal(seen, np.array([group["lr"] for group in ours.param_groups]), f"{decay} {lrs} at {step}")
            for optimizer, scheduler in ((theirs, steered), (ours, reference)):
                optimizer.step()
                scheduler.step()


def test_a_torch_scheduler_goes_on_from_its_state() -> None:
    module = executed(export(SCHEDULES["cosine; linear"], "torch", total_steps=40), "math", "torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = module["build_scheduler"](optimizer)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    again = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    again.load_state_dict(optimizer.state_dict())
    resumed = module["build_scheduler"](again)
    resumed.load_state_dict(scheduler.state_dict())
    again.step()
    resumed.step()
    assert again.param_groups[0]["lr"] == module["lr_at"](4)


def optax_lrs(jobs: dict[str, tuple[str, int, str]], *, double: bool) -> dict[str, list[float]]:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("optax_lrs.py"), str(int(double))],
        input=json.dumps(jobs),
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen: dict[str, list[float]] = json.loads(done.stdout)
    return seen


def test_the_optax_module_computes_the_same_at_every_step() -> None:
    wanted = {
        f"{name} over {total_steps}": (schedule, total_steps)
        for name, schedule in SCHEDULES.items()
        for total_steps in (1, 7, 60)
        if fitting(schedule, total_steps)
    }
    jobs = {
        name: (export(schedule, "optax", total_steps=total_steps), total_steps, "eager")
        for name, (schedule, total_steps) in wanted.items()
    }
    for name, seen in optax_lrs(jobs, double=True).items():
        assert_equal(seen, lrs_and_end(*wanted[name]), name)


@pytest.mark.parametrize("double", [True, False])
def test_the_optax_module_works_under_jit(double: bool) -> None:
    wanted = {name: SCHEDULES[name] for name in SCHEDULES if name.endswith(("; linear", "; cosine from .1"))}
    jobs = {name: (export(schedule, "optax", total_steps=30), 30, "jit") for name, schedule in wanted.items()}
    for name, seen in optax_lrs(jobs, double=double).items():
        if double:
            assert_equal(seen, lrs_and_end(wanted[name], 30), name)
        else:
            # jax's default precision: 24 bits
            np.testing.assert_allclose(seen, lrs_and_end(wanted[name], 30), rtol=3e-6, atol=3e-7 * 3e-3, err_msg=name)


def keywords_of(schedule: Schedule, total_steps: int) -> dict[str, Any] | None:
    """Return the exported TrainingArguments keywords; None where the export is refused."""
    try:
        text = export(schedule, "transformers", total_steps=total_steps)
    except ScheduleError as e:
        assert "no lr_scheduler_type of transformers equals" in str(e)  # noqa: PT017 - or else it is another error
        return None
    keywords: dict[str, Any] = yaml.safe_load(text)
    return keywords


def computed_by_transformers(arguments: TrainingArguments) -> list[float]:
    """Return the lrs of all steps, from what Trainer.create_scheduler calls."""
    assert not isinstance(arguments.lr_scheduler_kwargs, str)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=arguments.learning_rate)
    scheduler: Any = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer=optimizer,
        num_warmup_steps=arguments.get_warmup_steps(arguments.max_steps),
        num_training_steps=arguments.max_steps,
        scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
    )
    (multiplier_at,) = scheduler.lr_lambdas
    return [arguments.learning_rate * multiplier_at(step) for step in range(arguments.max_steps)]


@pytest.mark.parametrize("decay", DECAYS)
def test_what_is_exported_for_transformers_is_equal_and_nothing_else_is_exported(decay: str, tmp_path: Path) -> None:
    for name, schedule in of_decay(decay).items():
        for total_steps in LENGTHS:
            keywords = keywords_of(schedule, total_steps) if fitting(schedule, total_steps) else None
            if keywords is not None:
                arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True, **keywords)
                seen = computed_by_transformers(arguments)
                assert_equal(seen, schedule.lrs(total_steps=total_steps), f"{name} over {total_steps}")


PLAIN = frozenset({"no warmup", "linear", "linear, steps"})
# which of WARMUPS the types of transformers have, by decay
WSD = PLAIN | {"cosine", "one_minus_sqrt"}
# there the warmup starts where the cooldown ends
WSD_TO = frozenset({"no warmup", "linear from .1", "cosine from .1", "one_minus_sqrt from .1"})
NONE: frozenset[str] = frozenset()
HAS = {
    **dict.fromkeys(DECAYS, PLAIN),
    **dict.fromkeys(["3 restarts to .1", "exponential", "step", "4 steps"], NONE),
    **dict.fromkeys(["wsd exponential", "wsd exponential to .1"], NONE),
    **dict.fromkeys(["wsd", "wsd 1-sqrt", "wsd cosine"], WSD),
    **dict.fromkeys(["wsd to .1", "wsd 1-sqrt to .1"], WSD_TO),
}


@pytest.mark.parametrize("decay", DECAYS)
def test_what_transformers_has_is_exported_and_the_rest_refused(decay: str) -> None:
    exported = {warmup for warmup in WARMUPS if keywords_of(SCHEDULES[f"{decay}; {warmup}"], 100) is not None}
    assert exported == HAS[decay]


def test_of_the_ways_to_count_steps_transformers_has_few() -> None:
    exported = {
        (decay, option): keywords_of(SCHEDULES[f"{decay}; linear; {option}"], 100)
        for decay in DECAYS
        for option in OPTIONS
    }
    assert {key for key, keywords in exported.items() if keywords is not None} == {
        *((decay, "offset 1") for decay in ("cosine", "1.5 waves", "1.3 waves to .1", "cosine to .1")),
        # of what has no end, and no beginning
        *(("constant", option) for option in ("from start", "to last step", "from start, to last step")),
        *((decay, "to last step") for decay in ("inverse_sqrt", "inverse_sqrt of 8", "linear to 1")),
        *(("linear to 1", option) for option in ("from start", "from start, to last step")),
    }


def test_a_restart_that_transformers_would_miss_is_refused() -> None:
    def restarts(num_cycles: int) -> Schedule:
        return Schedule(initial_lr=3e-3, decay="cosine_restarts", num_cycles=num_cycles)

    lengths = (49, 50, 99, 100, 150, 199)
    refused = {n: [t for t in lengths if keywords_of(restarts(n), t) is None] for n in (2, 7, 50)}
    assert refused == {2: [], 7: [], 50: [50, 100, 150]}
    for num_cycles, refused_lengths in refused.items():
        for total_steps in lengths:
            arguments = TrainingArguments(
                lr_scheduler_type="cosine_with_restarts",
                lr_scheduler_kwargs={"num_cycles": num_cycles},
                learning_rate=3e-3,
                max_steps=total_steps,
                report_to=[],
                use_cpu=True,
            )
            apart = np.subtract(computed_by_transformers(arguments), restarts(num_cycles).lrs(total_steps=total_steps))
            assert (np.abs(apart).max() > 1e-12 * 3e-3) == (total_steps in refused_lengths), (
                num_cycles,
                total_steps,
            )


REPRESENTATIVES = {
    "constant": "constant; no warmup",
    "constant_with_warmup": "constant; linear",
    "linear": "linear; linear",
    "cosine": "1.5 waves; linear, steps",
    "cosine_with_min_lr": "cosine to .1; linear",
    "cosine_with_restarts": "2 restarts; no warmup",
    "polynomial": "polynomial to .1; linear",
    "inverse_sqrt": "inverse_sqrt of 8; linear",
    "warmup_stable_decay": "wsd 1-sqrt to .1; cosine from .1",
    "cosine_warmup_with_min_lr": "cosine to .1; linear; offset 1",
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("scheduler_type", REPRESENTATIVES)
def test_a_trainer_built_from_the_exported_file_sees_the_lrs_of_the_schedule(
    scheduler_type: str, tmp_path: Path
) -> None:
    schedule = SCHEDULES[REPRESENTATIVES[scheduler_type]]
    file = tmp_path / "arguments.yaml"
    file.write_text(export(schedule, "transformers", total_steps=20), encoding="utf-8")
    (parsed,) = HfArgumentParser(TrainingArguments).parse_yaml_file(str(file))  # type: ignore[arg-type]
    assert parsed.lr_scheduler_type == scheduler_type
    seen = Lrs()
    trainer(tmp_path, seen, **yaml.safe_load(file.read_text(encoding="utf-8"))).train()
    assert_equal(seen.first, schedule.lrs(total_steps=20), scheduler_type)
    assert_equal(computed_by_transformers(parsed), schedule.lrs(total_steps=20), scheduler_type)
