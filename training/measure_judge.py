"""The judge and the autoencoder of the files that ship, on drawings that training never saw.

All other measurements rest on these two: what the judge misreads on a clean drawing, and what it misreads
once the autoencoder has redrawn it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from loralathe.families.sdxl import SDXL
from loralathe.likeness import Judge
from loralathe.rendering.decoding import to_image
from loralathe.rendering.loading.networks import load_vae
from loralathe.rendering.loading.weights import FileWeights
from training.attributes import JUDGED, STYLES, Portrait
from training.judge import TEST_SEED
from training.pool import draw_pixels, sample_portraits, to_floats

DRAWINGS = 1000
BATCH = 50


def examine(judge: Judge, checkpoint: Path, count: int = DRAWINGS) -> dict[str, dict[str, float]]:
    """Share of right answers per question: 'clean' drawings, and 'reconstructed' by the checkpoint's VAE."""
    with FileWeights(checkpoint) as weights:
        vae = load_vae(weights, SDXL.pictures, torch.float32).eval()
    portraits = sample_portraits(TEST_SEED, count, STYLES, extras=True)
    right = {"clean": dict.fromkeys(JUDGED, 0), "reconstructed": dict.fromkeys(JUDGED, 0)}
    for start in range(0, count, BATCH):
        some = portraits[start : start + BATCH]
        drawn = to_floats(draw_pixels(some))
        for what, pictures in (("clean", drawn), ("reconstructed", reconstruct(vae, drawn))):
            for name, found in count_right(judge, pictures, some).items():
                right[what][name] += found
    return {what: {name: found / count for name, found in row.items()} for what, row in right.items()}


@torch.inference_mode()
def reconstruct(vae: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """Pictures (n, 3, 128, 128) in -1..1, encoded and decoded."""
    back: torch.Tensor = vae.decode(vae.encode(pictures).latent_dist.mean).sample
    return back.clamp(-1, 1)


def count_right(judge: Judge, pictures: torch.Tensor, portraits: tuple[Portrait, ...]) -> dict[str, int]:
    """Right answers per question; the judge is shown 8-bit pictures, as any scorer is."""
    answers = judge.answers([to_image(picture) for picture in pictures])
    return {
        name: sum(
            known.index(getattr(portrait, name)) == int(row.argmax())
            for row, portrait in zip(answers[name], portraits, strict=True)
        )
        for name, known in judge.knowledge.questions.items()
    }
