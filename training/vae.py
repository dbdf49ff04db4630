"""The autoencoder: 128x128 pictures to 16x16x4 latents and back, SDXL's AutoencoderKL with narrow layers.

Normalising one or two channels alone would wipe out flat colour, which is what these drawings are made of;
so training uses 16 groups, and `training.export` widens to the 32 that every loader assumes. Gate: the
judge reads at least 95 % of every attribute right on reconstructions.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from training.attributes import STYLES
from training.judge import accuracy, load_judge
from training.models import Vae, build_vae, to_channels_last, upsample_by_repeating
from training.optim import Mixed
from training.pool import open_pool
from training.runs import Stage, cosine, load_part, stage_arguments, start_stage, train

GROUPS = 16
WIDTHS = (32, 32, 64, 64)
BATCH = 2
FACE = (slice(48, 96), slice(34, 94))  # rows, columns: eyes and mouth, wherever the pose puts them
FACE_WEIGHT = 2.5
KL_WEIGHT = 1e-4
TRAIN_COUNT, TEST_COUNT = 12000, 192
TRAIN_SEED, TEST_SEED = 3, 4


def reconstruct(vae: Vae, images: torch.Tensor) -> torch.Tensor:
    """Through the latent means and back, in batches."""
    with torch.no_grad():
        return torch.cat(
            [vae.decode(vae.encode(x).latent_dist.mean).sample for x in torch.split(images, 16)]
        ).clamp(-1, 1)


def psnr(images: torch.Tensor, others: torch.Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB; both in -1..1."""
    error = (images - others).square().flatten(1).mean(1)
    return (10 * torch.log10(4 / error)).mean().item()


def pixel_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Absolute and squared error, and absolute error of the gradients; the face counts FACE_WEIGHT times."""
    weight = torch.ones(target.shape[-2:])
    weight[FACE] = FACE_WEIGHT
    difference = output - target
    edges_x = difference[..., 1:] - difference[..., :-1]
    edges_y = difference[..., 1:, :] - difference[..., :-1, :]
    flat = (weight * (difference.abs() + difference.square())).mean()
    edges = (weight[:, 1:] * edges_x.abs()).mean() + (weight[1:] * edges_y.abs()).mean()
    return flat + 0.5 * edges


def training_loss(vae: Vae, images: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and mean squared error of one batch; noise is (n, 4, 16, 16)."""
    mean, log_variance = vae.quant_conv(vae.encoder(images)).chunk(2, 1)
    log_variance = log_variance.clamp(-30, 20)
    output = vae.decoder(vae.post_quant_conv(mean + torch.exp(log_variance / 2) * noise))
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return pixel_loss(output, images) + KL_WEIGHT * kl, (output.detach() - images).square().mean()


def load_vae(folder: Path) -> Vae:
    """The trained autoencoder, raw latents."""
    vae = build_vae(WIDTHS, GROUPS)
    vae.load_state_dict(load_part(folder, "vae", "model"))
    return vae.eval()


def _train(stage: Stage, groups: int, batch: int, compiled: bool) -> None:
    torch.manual_seed(stage.seed)
    vae = build_vae(WIDTHS, groups)
    with torch.no_grad():
        vae.quant_conv.bias[4:] = -6.0  # nearly noiseless at the start
    to_channels_last(vae)
    optimizer = Mixed([vae], muon=4e-3, adam=1e-3, outer=("encoder.conv_in", "decoder.conv_out"))
    pool = open_pool(stage.folder, TRAIN_SEED, TRAIN_COUNT, STYLES, extras=True)
    test = open_pool(stage.folder, TEST_SEED, TEST_COUNT, STYLES, extras=True)
    held_out = list(range(TEST_COUNT))
    judge = load_judge(stage.folder)
    compute = training_loss
    if compiled:
        upsample_by_repeating(vae)
        compute = torch.compile(training_loss)

    def step(n: int) -> dict[str, float]:
        images = pool.images(stage.rng(n).sample(range(TRAIN_COUNT), batch))
        images = images.contiguous(memory_format=torch.channels_last)
        loss, error = compute(vae, images, torch.randn(batch, 4, 16, 16, generator=stage.generator(n)))
        torch.autograd.backward(loss)
        optimizer.step(cosine(n, stage.steps, warmup=20, flat=0.3))
        return {"loss": loss.item(), "dB": -10 * math.log10(error.item() / 4)}

    def evaluate() -> dict[str, float]:
        images = test.images(held_out)
        output = reconstruct(vae, images)
        return {"test dB": psnr(output, images), **accuracy(judge, output, test.labels(held_out))}

    train(stage, {"model": vae, "optimizer": optimizer}, step, evaluate, evaluate_every=500)


if __name__ == "__main__":
    parser = stage_arguments("vae", 2000, __doc__)
    parser.add_argument("--groups", type=int, default=GROUPS)
    parser.add_argument("--compile", action="store_true", help="faster after minutes of compiling; needs gcc")
    parser.add_argument("--batch", type=int, default=BATCH)
    options = parser.parse_args()
    _train(start_stage("vae", options), options.groups, options.batch, options.compile)
