from __future__ import annotations

import itertools
import math
import sys
from importlib import resources
from typing import TYPE_CHECKING

import pytest
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.cli import LightningCLI

from autowarm.demo.char_gpt import VOCAB_SIZE, CharGPT, ShakespeareData, cut, encode, read_text, vocabulary

if TYPE_CHECKING:
    from pathlib import Path

JOB = resources.files("autowarm.demo").joinpath("job.yaml")


@pytest.fixture(scope="module")
def data() -> ShakespeareData:
    return ShakespeareData(batch_size=8, block_size=32)


def written(blocks: torch.Tensor, text: str) -> list[str]:
    """The characters of each block."""
    letters = vocabulary(text)
    return ["".join(letters[number] for number in block) for block in blocks.tolist()]


def test_text_is_the_plays_alone() -> None:
    text = read_text()
    assert text.isascii()
    assert 400_000 < len(text) < 600_000
    assert "\r" not in text
    for word in ("gutenberg", "etext", "copyright", "http", "@"):
        assert word not in text.lower()
    for title in ("A MIDSUMMER NIGHT'S DREAM", "MACBETH", "ROMEO AND JULIET", "HAMLET, PRINCE OF DENMARK"):
        assert f"{title}\n" in text


def test_vocabulary_is_that_of_the_text() -> None:
    text = read_text()
    assert len(vocabulary(text)) == VOCAB_SIZE
    assert written(encode(text)[None, :1000], text) == [text[:1000]]


def test_training_blocks_are_the_text_cut_in_order_without_overlap(data: ShakespeareData) -> None:
    text = read_text()
    joined = "".join(written(data.train_blocks, text))
    assert text.startswith(joined)
    assert 0 <= len(text) * 9 // 10 - len(joined) < 33


def test_validation_text_comes_after_all_training_text(data: ShakespeareData) -> None:
    text = read_text()
    places = [text.index(block) for block in written(data.val_blocks, text)]
    assert min(places) >= data.train_blocks.numel()
    assert all(later - earlier >= 33 for earlier, later in itertools.pairwise(places))
    # spread over the whole of it, not only its start
    assert max(places) > len(text) * 0.99


def test_target_is_the_next_character(data: ShakespeareData) -> None:
    characters, following = next(iter(data.train_dataloader()))
    assert characters.shape == following.shape == (8, 32)
    assert torch.equal(characters[:, 1:], following[:, :-1])


def test_training_order_is_drawn_and_validation_order_is_not(data: ShakespeareData) -> None:
    assert not torch.equal(next(iter(data.train_dataloader()))[0], next(iter(data.train_dataloader()))[0])
    assert torch.equal(next(iter(data.val_dataloader()))[0], next(iter(data.val_dataloader()))[0])


def test_what_does_not_fill_a_block_is_dropped() -> None:
    assert cut(torch.arange(8), 2).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_too_many_validation_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"val_blocks must be in \[1, 1561\], got 1562"):
        ShakespeareData(block_size=32, val_blocks=1562)


def test_a_later_character_does_not_change_earlier_logits(data: ShakespeareData) -> None:
    seed_everything(0, verbose=False)
    model = CharGPT(block_size=32).eval()
    characters = data.train_blocks[:2, :-1].clone()
    changed = characters.clone()
    changed[:, 20] = (changed[:, 20] + 1) % VOCAB_SIZE
    with torch.no_grad():
        before, after = model(characters), model(changed)
    assert torch.equal(before[:, :20], after[:, :20])
    # and it does change what follows
    assert not torch.allclose(before[:, 21:], after[:, 21:], atol=1e-4)


def test_loss_at_the_start_is_that_of_guessing(data: ShakespeareData) -> None:
    seed_everything(0, verbose=False)
    model = CharGPT(block_size=32)
    with torch.no_grad():
        loss = model.loss(next(iter(data.train_dataloader())))
    assert float(loss) == pytest.approx(math.log(VOCAB_SIZE), abs=0.1)


def test_layers_that_add_up_start_smaller() -> None:
    seed_everything(0, verbose=False)
    model = CharGPT(n_layer=8, n_embd=128)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    assert float(weights["blocks.0.mlp_in.weight"].std()) == pytest.approx(0.02, rel=0.05)
    for name in ("attention_out", "mlp_out"):
        assert float(weights[f"blocks.0.{name}.weight"].std()) == pytest.approx(0.02 / 4, rel=0.05)
    assert float(weights["blocks.0.mlp_in.bias"].abs().max()) == 0.0
    assert float(weights["norm.weight"].min()) == 1.0


def test_dropout_acts_in_training_only(data: ShakespeareData) -> None:
    seed_everything(0, verbose=False)
    model = CharGPT(block_size=32, dropout=0.5)
    characters = data.train_blocks[:2, :-1]
    assert not torch.equal(model(characters), model(characters))
    model.eval()
    assert torch.equal(model(characters), model(characters))


def test_a_width_that_the_heads_do_not_share_is_refused() -> None:
    with pytest.raises(ValueError, match="n_embd must be a multiple of n_head, got n_embd=65 and n_head=4"):
        CharGPT(n_embd=65)


def test_the_default_is_a_constant_adamw() -> None:
    optimizer = CharGPT().configure_optimizers()
    assert type(optimizer) is torch.optim.AdamW
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3]


def test_job_file_loads_and_a_few_steps_lower_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # LightningCLI warns where the process has arguments of its own, as pytest has
    monkeypatch.setattr(sys, "argv", ["pytest"])
    steps = 40
    limits = {"max_steps": steps, "val_check_interval": steps, "limit_val_batches": 2}
    quiet = {
        "enable_progress_bar": "false",
        "enable_model_summary": "false",
        "default_root_dir": str(tmp_path),
    }
    cli = LightningCLI(
        args=[
            "--config",
            str(JOB),
            "--seed_everything=0",
            *(f"--trainer.{name}={value}" for name, value in (limits | quiet).items()),
        ],
        run=False,
        save_config_callback=None,
    )
    assert isinstance(cli.model, CharGPT)
    assert cli.model.positions.num_embeddings == cli.datamodule.train_blocks.shape[1] - 1
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    assert cli.trainer.global_step == steps
    # frequencies of letters alone give about 3.2
    assert float(cli.trainer.callback_metrics["val_loss"]) < 3.6
    assert float(cli.trainer.callback_metrics["train_loss"]) < 3.6
    assert not list(tmp_path.iterdir())
