"""The U-Nets: base A from scratch on cels, base B continued from A on sketches.

v-prediction, min-SNR 5, noise offset, the face's cells counted twice. The text encoders stay as
`training.text` left them, so their outputs are computed once (`training.latents`). Gate: binding of at
least 60 % after a sixth of A's steps.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from training.attributes import CAPTIONED, JUDGED, Portrait, sample_portrait
from training.captions import caption, said_about
from training.diffusion import alpha_sigma, ddim, min_snr_weight, stratified_timesteps
from training.judge import Judge, accuracy, load_judge
from training.latents import CAPTIONS_EACH, COUNTS, load_captions, load_folded_vae, load_latents
from training.models import SCALING, Vae, build_unet, to_channels_last
from training.optim import Average, Mixed
from training.runs import Stage, cosine, load_part, stage_arguments, start_stage, train
from training.text import CONTEXT, POOLED, TextEncoders, load_text

WIDTHS = (64, 128, 128)
BATCH = 16
SIZES = (128.0, 128.0, 0.0, 0.0, 128.0, 128.0)  # what a renderer of 128x128 pictures sends
NOISE_OFFSET = 0.05
DROP_CAPTION = 0.1
FACE = (slice(6, 12), slice(4, 12))  # rows, columns of the latent
FACE_WEIGHT = 2.0
STYLE_OF = {"a": "cel", "b": "sketch"}
OUTER = ("conv_in", "conv_out", "time_embedding", "add_embedding")  # AdamW's, with all vectors


@dataclass(frozen=True)
class Conditions:
    """What tells the U-Net what to paint."""

    context: torch.Tensor
    pooled: torch.Tensor

    def drop(self, rows: torch.Tensor, empty: Conditions) -> Conditions:
        """The empty caption where `rows` is true."""
        return Conditions(
            torch.where(rows[:, None, None], empty.context, self.context),
            torch.where(rows[:, None], empty.pooled, self.pooled),
        )


def make_unet() -> nn.Module:
    """An untrained U-Net of the family."""
    return build_unet(WIDTHS, CONTEXT, POOLED)


def predict(
    unet: nn.Module, z: torch.Tensor, t: torch.Tensor, given: Conditions, sizes: torch.Tensor | None = None
) -> torch.Tensor:
    """The U-Net's v for latents z (n, 4, 16, 16)."""
    time_ids = torch.tensor([SIZES]).expand(len(z), -1) if sizes is None else sizes
    added = {"text_embeds": given.pooled, "time_ids": time_ids}
    v: torch.Tensor = unet(z, t, given.context, added_cond_kwargs=added, return_dict=False)[0]
    return v


def diffusion_loss(
    unet: nn.Module, x: torch.Tensor, given: Conditions, generator: torch.Generator
) -> torch.Tensor:
    """Weighted squared error of v for clean latents x (n, 4, 16, 16)."""
    n = len(x)
    t = stratified_timesteps(n, generator)
    noise = torch.randn(x.shape, generator=generator)
    noise = noise + NOISE_OFFSET * torch.randn(n, 4, 1, 1, generator=generator)
    sizes = torch.tensor([SIZES]).repeat(n, 1)
    odd = torch.rand(n, generator=generator) < 0.1  # user interfaces send other sizes
    sizes[odd] = torch.randint(0, 1025, (int(odd.sum()), 6), generator=generator).float()
    alpha, sigma = alpha_sigma(t)
    v = predict(unet, alpha * x + sigma * noise, t, given, sizes)
    weight = torch.ones(x.shape[-2:])
    weight[FACE] = FACE_WEIGHT
    error = (v - (alpha * noise - sigma * x)).square() * min_snr_weight(alpha, sigma) * weight
    return error.mean() / weight.mean()


@torch.no_grad()
def generate(
    unet: nn.Module,
    vae: Vae,
    given: Conditions,
    empty: Conditions,
    seed: int,
    *,
    steps: int = 16,
    guidance: float = 4.0,
) -> torch.Tensor:
    """Pictures (n, 3, 128, 128) in -1..1."""
    n = len(given.pooled)
    both = Conditions(torch.cat([empty.context.expand_as(given.context), given.context]),
                      torch.cat([empty.pooled.expand_as(given.pooled), given.pooled]))  # fmt: skip

    def guided(z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        without, with_caption = predict(unet, torch.cat([z, z]), t.expand(2 * n), both).chunk(2)
        return without + guidance * (with_caption - without)

    noise = torch.randn(n, 4, 16, 16, generator=torch.Generator("cpu").manual_seed(seed), device="cpu")
    latents = ddim(guided, noise.to(given.pooled), steps) / SCALING
    return torch.cat([vae.decode(z).sample for z in torch.split(latents, 16)]).clamp(-1, 1)


@torch.no_grad()
def encode_prompts(encoders: TextEncoders, prompts: list[str]) -> Conditions:
    """Conditions of some prompts."""
    encoded = [encoders(prompts[i : i + 32]) for i in range(0, len(prompts), 32)]
    return Conditions(torch.cat([e.context for e in encoded]), torch.cat([e.pooled for e in encoded]))


@dataclass(frozen=True)
class Examination:
    """Prompts never trained on, and what the pictures should show."""

    portraits: tuple[Portrait, ...]
    given: Conditions
    empty: Conditions
    vae: Vae
    judge: Judge

    def pictures(self, unet: nn.Module, seed: int = 1000) -> torch.Tensor:
        """One picture for each prompt."""
        unet.eval()
        drawn = generate(unet, self.vae, self.given, self.empty, seed)
        unet.train()
        return drawn

    def marks(self, pictures: torch.Tensor) -> dict[str, float]:
        """Share of right answers per captioned attribute, their mean, and the share in the wanted style."""
        labels = torch.tensor([[p.labels()[name] for name in JUDGED] for p in self.portraits])
        found = accuracy(self.judge, pictures, labels)
        marks = {name: found[name] for name in CAPTIONED}
        return {**marks, "mean": sum(marks.values()) / len(marks), "drawing": found["drawing"]}


def prepare_examination(folder: Path, style: str, count: int) -> Examination:
    """`count` complete captions in plain order."""
    rng = random.Random(f"examination/{style}")
    portraits = tuple(replace(sample_portrait(rng, style), drawing=style) for _ in range(count))
    encoders = load_text(folder)
    given = encode_prompts(encoders, [caption(said_about(p)) for p in portraits])
    empty = encode_prompts(encoders, [""])
    return Examination(portraits, given, empty, load_folded_vae(folder), load_judge(folder))


def load_unet(folder: Path, base: str) -> nn.Module:
    """The averaged weights of base "a" or "b"."""
    unet = make_unet()
    unet.load_state_dict(load_part(folder, f"unet-{base}", "average"))
    return unet.eval()


def _train(stage: Stage, base: str, rate: float, batch: int) -> None:
    torch.manual_seed(stage.seed)
    unet = make_unet() if base == "a" else load_unet(stage.folder, "a")
    unet.train()
    to_channels_last(unet)
    average = Average(unet, 0.998 if base == "a" else 0.99)
    optimizer = Mixed([unet], muon=rate, adam=rate / 3, outer=OUTER)
    latents = load_latents(stage.folder, STYLE_OF[base])
    captions = load_captions(stage.folder)
    examination = prepare_examination(stage.folder, STYLE_OF[base], 32)

    def step(n: int) -> dict[str, float]:
        generator = stage.generator(n)
        rows = torch.randint(COUNTS[STYLE_OF[base]], (batch,), generator=generator)
        context, pooled = captions.of(rows, torch.randint(CAPTIONS_EACH, (batch,), generator=generator))
        dropped = torch.rand(batch, generator=generator) < DROP_CAPTION
        given = Conditions(context, pooled).drop(dropped, examination.empty)
        loss = diffusion_loss(unet, latents[rows], given, generator)
        torch.autograd.backward(loss)
        optimizer.step(cosine(n, stage.steps, warmup=30, flat=0.5))
        average.update(unet, n)
        return {"loss": loss.item()}

    def evaluate() -> dict[str, float]:
        smooth = make_unet()
        smooth.load_state_dict(average.state_dict())
        return examination.marks(examination.pictures(smooth))

    train(
        stage, {"model": unet, "average": average, "optimizer": optimizer}, step, evaluate, evaluate_every=250
    )


if __name__ == "__main__":
    parser = stage_arguments("unet", 4000, __doc__)
    parser.add_argument("--base", choices=("a", "b"), default="a")
    parser.add_argument("--rate", type=float, default=3e-3, help="Muon's learning rate (B: 2e-3)")
    parser.add_argument("--batch", type=int, default=BATCH)
    options = parser.parse_args()
    _train(start_stage(f"unet-{options.base}", options), options.base, options.rate, options.batch)
