"""The judge: reads the attributes off a picture.

A small convolutional network over the whole picture, one linear head per question of JUDGED. It is trained
on clean, blurred and noisy drawings of both styles, so that it can also read pictures that a model painted.
Gate: at least 98 % right on unseen clean drawings, for every question.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from training.attributes import JUDGED, STYLES
from training.pool import Pool, open_pool
from training.runs import Stage, cosine, load_part, stage_arguments, start_stage, train

BATCH = 32
TRAIN_COUNT, TEST_COUNT = 8000, 1000
TRAIN_SEED, TEST_SEED = 1, 2
JUDGE_WIDTHS = (24, 48, 64, 96, 96, 32)  # four convolutions of stride 2, one of stride 1, one 1x1
HIDDEN = 192


class Judge(nn.Module):
    """(n, 3, 128, 128) in -1..1 to one row of logits per question."""

    def __init__(self) -> None:
        super().__init__()
        *strided, flat, last = JUDGE_WIDTHS
        layers: list[nn.Module] = []
        for before, after in pairwise((3, *strided)):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [
            nn.Conv2d(strided[-1], flat, 3, 1, 1, bias=False),
            nn.BatchNorm2d(flat),
            nn.ReLU(),
            nn.Conv2d(flat, last, 1),
        ]
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(last * 8 * 8, HIDDEN), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(HIDDEN, len(values)) for name, values in JUDGED.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.features(images)
        return {name: head(features) for name, head in self.heads.items()}


def degrade(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, noise, contrast and one-pixel shifts, each picture its own; a quarter stays clean."""
    n = images.shape[0]

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)

    factor = (2, 3)[int(torch.randint(2, (), generator=generator))]
    small = functional.avg_pool2d(images, factor, ceil_mode=True)
    blurred = functional.interpolate(small, size=images.shape[-2:], mode="bilinear")
    mixed = torch.lerp(images, blurred, uniform(-0.3, 1).clamp(min=0))
    mixed = mixed * uniform(0.8, 1.1) + uniform(-0.1, 0.1)
    mixed = mixed + uniform(0, 0.12) * torch.randn(images.shape, generator=generator)
    dy, dx = (int(torch.randint(-3, 4, (), generator=generator)) for _ in range(2))
    mixed = torch.roll(mixed, (dy, dx), (2, 3))
    clean = torch.rand(n, 1, 1, 1, generator=generator) < 0.25
    return torch.where(clean, images, mixed)


@torch.no_grad()
def answers(judge: Judge, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Probabilities per question, (n, answers)."""
    judge.eval()
    batches = [judge(batch) for batch in torch.split(images, 64)]
    return {name: torch.cat([batch[name] for batch in batches]).softmax(1) for name in JUDGED}


def accuracy(judge: Judge, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Share of right answers per question; labels (n, questions) in the order of JUDGED."""
    found = answers(judge, images)
    return {
        name: (found[name].argmax(1) == labels[:, i]).float().mean().item() for i, name in enumerate(JUDGED)
    }


def load_judge(folder: Path) -> Judge:
    """The trained judge."""
    judge = Judge()
    state: Mapping[str, torch.Tensor] = load_part(folder, "judge", "model")
    judge.load_state_dict(state)
    return judge.eval()


def open_pools(folder: Path) -> tuple[Pool, Pool]:
    """Training and test drawings of both styles, the LoRAs' extras included."""
    return (
        open_pool(folder, TRAIN_SEED, TRAIN_COUNT, STYLES, extras=True),
        open_pool(folder, TEST_SEED, TEST_COUNT, STYLES, extras=True),
    )


def _train(stage: Stage) -> None:
    torch.manual_seed(stage.seed)
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.02)
    pool, test = open_pools(stage.folder)
    test_indices = list(range(len(test.portraits)))

    def step(n: int) -> dict[str, float]:
        judge.train()
        indices = stage.rng(n).sample(range(len(pool.portraits)), BATCH)
        labels = pool.labels(indices)
        logits = judge(degrade(pool.images(indices), stage.generator(n)))
        losses = [functional.cross_entropy(logits[name], labels[:, i]) for i, name in enumerate(JUDGED)]
        loss = torch.stack(losses).mean()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * cosine(n, stage.steps)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return {"loss": loss.item()}

    def evaluate() -> dict[str, float]:
        return accuracy(judge, test.images(test_indices), test.labels(test_indices))

    train(stage, {"model": judge, "optimizer": optimizer}, step, evaluate, evaluate_every=500)


if __name__ == "__main__":
    _train(start_stage("judge", stage_arguments("judge", 1400, __doc__).parse_args()))
