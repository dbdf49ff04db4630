"""What the U-Net is trained on: whitened latents of the drawings, and encoded captions.

The whitening (zero mean, unit variance, uncorrelated channels after the loader's factor 0.13025) is folded
into the autoencoder's two 1x1 convolutions, so no loader has to know about it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch

from training.attributes import STYLES
from training.captions import caption, said_about
from training.models import SCALING, Vae
from training.pool import open_pool, sample_portraits
from training.runs import load_part, stage_arguments, start_stage
from training.text import load_text
from training.vae import load_vae

POOL_SEED = 5
COUNTS = {"cel": 3000, "sketch": 1500}  # the sketches are of the same portraits as the first cels
CAPTIONS_EACH = 2
LOG_VARIANCE = -20.0


@dataclass(frozen=True)
class Captions:
    """Encoded captions: context (n, 77, 192) and pooled (n, 128) in fp16; CAPTIONS_EACH rows per portrait."""

    context: torch.Tensor
    pooled: torch.Tensor

    def of(self, portraits: torch.Tensor, choice: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One caption for each portrait, in fp32."""
        rows = portraits * CAPTIONS_EACH + choice
        return self.context[rows].float(), self.pooled[rows].float()


def fold_whitening(vae: Vae, mean: torch.Tensor, covariance: torch.Tensor) -> None:
    """Makes `vae` emit latents of zero mean and identity covariance (times 1 / SCALING), in place.

    mean (4,) and covariance (4, 4) are those of its raw latents. ZCA: W = C^(-1/2), the whitening closest to
    identity.
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    whiten = (vectors * values.rsqrt()) @ vectors.T / SCALING
    colour = (vectors * values.sqrt()) @ vectors.T * SCALING
    into, out = vae.quant_conv, vae.post_quant_conv
    with torch.no_grad():
        weight, bias = into.weight[:4, :, 0, 0].double(), into.bias[:4].double()
        into.weight.zero_()
        into.weight[:4, :, 0, 0] = (whiten @ weight).float()
        into.bias[:4] = (whiten @ (bias - mean.double())).float()
        into.bias[4:] = LOG_VARIANCE
        weight, bias = out.weight[:, :, 0, 0].double(), out.bias.double()
        out.weight[:, :, 0, 0] = (weight @ colour).float()
        out.bias.copy_((bias + weight @ mean.double()).float())


@torch.no_grad()
def encode(vae: Vae, images: torch.Tensor) -> torch.Tensor:
    """Latent means (n, 4, 16, 16) as the autoencoder emits them, SCALING not applied."""
    return torch.cat([vae.encode(batch).latent_dist.mean for batch in torch.split(images, 16)])


def load_folded_vae(folder: Path, *, refined: bool = True) -> Vae:
    """The autoencoder with whitened latents, as it is exported; with the refined decoder if there is one."""
    vae = load_vae(folder)
    device = torch.get_default_device()
    vae.load_state_dict(torch.load(folder / "vae-folded.pt", weights_only=True, map_location=device))
    if refined and (folder / "decoder.pt").exists():
        vae.load_state_dict(load_part(folder, "decoder", "model"), strict=False)
    return vae.eval()


def load_latents(folder: Path, style: str) -> torch.Tensor:
    """Whitened latents times SCALING, (n, 4, 16, 16) fp32."""
    loaded: torch.Tensor = torch.load(
        folder / f"latents-{style}.pt", weights_only=True, map_location=torch.get_default_device()
    )
    return loaded.float()


def load_captions(folder: Path) -> Captions:
    """The encoded captions of the pool."""
    return Captions(
        **torch.load(folder / "captions.pt", weights_only=True, map_location=torch.get_default_device())
    )


def encode_pictures(folder: Path) -> None:
    """Folds the whitening into the autoencoder and encodes the pools of both styles."""
    vae = load_vae(folder)
    pools = {style: open_pool(folder, POOL_SEED, COUNTS[style], (style,), extras=False) for style in STYLES}
    probe = torch.cat(
        [encode(vae, pool.images(list(range(min(192, COUNTS[style]))))) for style, pool in pools.items()]
    )
    flat = probe.transpose(0, 1).flatten(1)
    fold_whitening(vae, flat.mean(1), torch.cov(flat))
    for style, pool in pools.items():
        latents = [
            encode(vae, pool.images(list(range(i, min(i + 64, COUNTS[style])))))
            for i in range(0, COUNTS[style], 64)
        ]
        whole = torch.cat(latents) * SCALING
        print(
            f"{style}: mean {whole.mean((0, 2, 3)).tolist()}, std {whole.std((0, 2, 3)).tolist()}", flush=True
        )
        torch.save(whole.half(), folder / f"latents-{style}.pt")
    torch.save(vae.state_dict(), folder / "vae-folded.pt")


@torch.no_grad()
def encode_captions(folder: Path) -> None:
    """Encodes the captions of the pool."""
    encoders = load_text(folder)
    rng = random.Random("captions/pool")
    portraits = sample_portraits(POOL_SEED, COUNTS["cel"], ("cel",), extras=False)
    texts = [caption(said_about(p, rng), rng) for p in portraits for _ in range(CAPTIONS_EACH)]
    encoded = [encoders(texts[i : i + 50]) for i in range(0, len(texts), 50)]
    context = torch.cat([e.context.half() for e in encoded])
    pooled = torch.cat([e.pooled.half() for e in encoded])
    torch.save({"context": context, "pooled": pooled}, folder / "captions.pt")


def _main() -> None:
    parser = stage_arguments("latents", 0, __doc__)
    parser.add_argument("--only", choices=("pictures", "captions"))
    options = parser.parse_args()
    folder = start_stage("latents", options).folder
    if options.only != "captions":
        encode_pictures(folder)
    if options.only != "pictures":
        encode_captions(folder)


if __name__ == "__main__":
    _main()
