from __future__ import annotations

from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# what pytorch-forecasting and pytorch-tabular hold back
HELD_BACK = {"pandas", "torchmetrics"}


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pin) == 2 for pin in found), "each line is one exact version"
    named: dict[str, str] = {canonicalize_name(name): version for name, version in found}
    assert len(named) == len(found), "each package once"
    return named


def test_the_examples_run_with_the_tested_set_but_for_what_is_held_back() -> None:
    tested, examples = pins("constraints.txt"), pins("constraints-examples.txt")
    assert tested["torch"] == "2.13.0"
    assert {name for name in tested.keys() & examples.keys() if tested[name] != examples[name]} == HELD_BACK
    assert not {"torchvision"} & (tested.keys() | examples.keys())


def test_the_race_runs_with_the_tested_set() -> None:
    tested, raced = pins("constraints.txt"), pins("constraints-race.txt")
    assert {name for name in tested.keys() & raced.keys() if tested[name] != raced[name]} == set()
    assert {"optuna-integration", "plotnine", "ray", "schedulefree", "torch"} <= raced.keys()
    assert "torchvision" not in raced
