from __future__ import annotations

import pytest

from autowarm.errors import SettingsError
from autowarm.run_tables import parse_columns
from autowarm.run_tables.columns import constant


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", {}),
        ("initial_lr=lr", {"initial_lr": "lr"}),
        (" initial_lr = lr , value=eval/loss,", {"initial_lr": "lr", "value": "eval/loss"}),
        ('value="top-1, in %=",seed=s', {"value": "top-1, in %=", "seed": "s"}),
        ("decay='linear',total_steps=1e4", {"decay": "linear", "total_steps": "1e4"}),
        ("value=learning_curves.matched", {"value": "learning_curves.matched"}),
        ("value=it's", {"value": "it's"}),
    ],
)
def test_pairs_are_read(text: str, columns: dict[str, str]) -> None:
    assert parse_columns(text) == columns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr", "columns: 'lr' is no pair: write initial_lr=lr,total_steps=max_steps,value=val_loss"),
        ("initial_lr=", "columns: 'initial_lr=' is no pair"),
        ("initial_lr=lr,,value=v", "is no pair"),
        ("initial_lr=a,initial_lr=b", "columns: initial_lr is given twice: 'a' and 'b'"),
        ("inital_lr=lr", "did you mean 'initial_lr'?"),
        ("lr=initial_lr", "Or the other way round: initial_lr=lr?"),
        ("warmup_steps=a,warmup_ratio=b", "warmup_ratio and warmup_steps are given: name one of them"),
    ],
)
def test_what_is_no_pair_of_columns_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as e:
        parse_columns(text)
    assert said in str(e.value)


@pytest.mark.parametrize(
    ("name", "theirs", "value"),
    [
        ("dataset_size", "392702", 392702.0),
        ("total_steps", 500, 500.0),
        ("total_steps", "nan", None),
        ("total_steps", 10**400, None),
        ("decay", "cosine_with_restarts", "cosine_restarts"),
        ("decay", "noam", None),
        ("initial_lr", "lr", None),
        ("failed", "1", None),
        ("value", "0.5", None),
    ],
)
def test_what_may_hold_for_all_rows(name: str, theirs: str | float, value: float | str | None) -> None:
    assert constant(name, theirs) == value
