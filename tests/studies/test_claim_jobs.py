"""The trainings that the studies of stability, optimum and speed made for themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from studies.optimum import job as optimum
from studies.stability.job import NormGPT, build


def gpt(**changed: Any) -> NormGPT:
    arguments: dict[str, Any] = {
        "norm": "pre",
        "optimizer": "adam",
        "n_layer": 2,
        "n_embd": 32,
        "block_size": 8,
        "lr": 0.1,
    }
    return NormGPT(**{**arguments, **changed})


def test_the_norm_after_each_part_leaves_normalised_activations() -> None:
    torch.manual_seed(0)
    x = 5 + 10 * torch.randn(4, 8, 32)
    normed = gpt(norm="post").blocks(x)
    assert torch.allclose(normed.mean(dim=2), torch.zeros(4, 8), atol=1e-5)
    assert torch.allclose(normed.var(dim=2, unbiased=False), torch.ones(4, 8), atol=1e-3)
    # the sum after attention is normalised, too: without that norm nothing gets past it
    blind = gpt(norm="post", n_layer=1)
    torch.nn.init.zeros_(blind.blocks[0].attention_norm.weight)  # type: ignore[arg-type, union-attr]
    assert torch.equal(blind.blocks(x), blind.blocks(-x))
    # before each part, what comes in is carried through
    assert float(gpt(norm="pre").blocks(x).detach().std()) > 5


def test_both_norms_draw_their_layers_by_glorot_and_bengio() -> None:
    torch.manual_seed(0)
    for norm in ("pre", "post"):
        weight = next(p for name, p in gpt(norm=norm).named_parameters() if name.endswith("mlp_in.weight"))
        # uniform within sqrt(6 / (32 + 128))
        assert float(weight.detach().abs().max()) == pytest.approx((6 / 160) ** 0.5, rel=0.01)


def test_a_character_sees_none_that_follow() -> None:
    torch.manual_seed(0)
    model = gpt(norm="post")
    text = torch.randint(73, (1, 8))
    other = text.clone()
    other[0, 5:] = (other[0, 5:] + 1) % 73
    assert torch.allclose(model(text)[:, :5], model(other)[:, :5], atol=1e-6)
    assert not torch.allclose(model(text)[:, 5:], model(other)[:, 5:], atol=1e-3)


def test_the_optimizer_is_the_one_asked_for() -> None:
    sgd = gpt(optimizer="sgd").configure_optimizers()
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["lr"]) == (0.9, 0.1)
    assert isinstance(gpt().configure_optimizers(), torch.optim.Adam)


@pytest.mark.parametrize(("word", "said"), [({"norm": "mid"}, "pre, post"), ({"optimizer": "lion"}, "adam, sgd")])
def test_an_unknown_word_is_refused(word: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=f"one of {said}"):
        gpt(**word)


def test_arguments_reach_the_training() -> None:
    training = build(norm="post", n_layer=3, batch_size=4, total_steps=7, accelerator="auto")
    assert len(training.module.blocks) == 3  # type: ignore[arg-type]
    assert (training.trainer["max_steps"], training.trainer["accelerator"]) == (7, "auto")
    assert len(training.fit_arguments["val_dataloaders"]) == 4


def test_missing_images_name_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimum, "FASHION", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        optimum.fashion("train", 11)


def test_the_images_and_labels_are_those_of_the_files() -> None:
    if not optimum.FASHION.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    x, kinds = optimum.fashion("train", 10).tensors
    assert x.shape == (10, 1, 28, 28)
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    # an ankle boot, two T-shirts, a dress, ...: as the authors show them
    assert kinds.tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]


def test_the_lstm_scores_each_following_character() -> None:
    torch.manual_seed(0)
    model = optimum.CharLSTM(width=8, layers=1, lr=0.1)
    assert model(torch.randint(73, (2, 5))).shape == (2, 5, 73)
