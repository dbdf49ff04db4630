"""Sharpens the pictures at any time later: trains the decoder alone.

The encoder and its whitening stay, so latents, U-Nets and LoRAs stay valid. The decoder sees slightly noisy
latents, as a U-Net paints them.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from training.attributes import STYLES
from training.judge import accuracy, load_judge
from training.latents import encode, load_folded_vae
from training.models import SCALING, Vae, to_channels_last, upsample_by_repeating
from training.optim import Mixed
from training.pool import open_pool
from training.runs import Stage, cosine, stage_arguments, start_stage, train
from training.vae import TEST_COUNT, TEST_SEED, TRAIN_COUNT, TRAIN_SEED, pixel_loss, psnr, reconstruct

BATCH = 2
NOISE = 0.05  # standard deviations of the latents


def decoder_loss(vae: Vae, latents: torch.Tensor, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and mean squared error of one batch."""
    output = vae.decoder(vae.post_quant_conv(latents))
    return pixel_loss(output, images), (output.detach() - images).square().mean()


def _train(stage: Stage, batch: int, compiled: bool) -> None:
    vae = load_folded_vae(stage.folder, refined=False)
    trained = nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv})
    to_channels_last(vae)
    optimizer = Mixed([trained], muon=2e-3, adam=5e-4, outer=("decoder.conv_out",))
    pool = open_pool(stage.folder, TRAIN_SEED, TRAIN_COUNT, STYLES, extras=True)
    test = open_pool(stage.folder, TEST_SEED, TEST_COUNT, STYLES, extras=True)
    held_out = list(range(TEST_COUNT))
    judge = load_judge(stage.folder)
    compute = decoder_loss
    if compiled:
        upsample_by_repeating(vae)
        compute = torch.compile(decoder_loss)

    def step(n: int) -> dict[str, float]:
        images = pool.images(stage.rng(n).sample(range(TRAIN_COUNT), batch))
        images = images.contiguous(memory_format=torch.channels_last)
        latents = encode(vae, images)
        noise = torch.randn(latents.shape, generator=stage.generator(n))
        loss, error = compute(vae, latents + NOISE / SCALING * noise, images)
        torch.autograd.backward(loss)
        optimizer.step(cosine(n, stage.steps, warmup=20, flat=0.4))
        return {"loss": loss.item(), "dB": -10 * math.log10(error.item() / 4)}

    def evaluate() -> dict[str, float]:
        images = test.images(held_out)
        output = reconstruct(vae, images)
        return {"test dB": psnr(output, images), **accuracy(judge, output, test.labels(held_out))}

    train(stage, {"model": trained, "optimizer": optimizer}, step, evaluate, evaluate_every=500)


if __name__ == "__main__":
    parser = stage_arguments("decoder", 3000, __doc__)
    parser.add_argument("--compile", action="store_true", help="faster after minutes of compiling; needs gcc")
    parser.add_argument("--batch", type=int, default=BATCH)
    options = parser.parse_args()
    _train(start_stage("decoder", options), options.batch, options.compile)
