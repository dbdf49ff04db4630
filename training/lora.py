"""LoRAs as a usual trainer makes them: a character (`hina`) and an outfit (`sailor`), trained on base A.

Rank 8, alpha as the rank, on every attention and MLP layer of the U-Net (with its transformers' proj_in and
proj_out) and of both text encoders. Captions name the trigger word and what should stay free; what the LoRA
is to absorb is left out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from training.attributes import CAPTIONED, FREE, IDENTITY, JUDGED, Portrait, sample_hina, sample_portrait
from training.captions import caption
from training.judge import Judge, answers, load_judge
from training.latents import encode, load_folded_vae
from training.models import SCALING, Vae
from training.pool import draw_pixels, to_floats
from training.runs import Stage, cosine, load_part, stage_arguments, start_stage, train
from training.text import TextEncoders, load_text
from training.unet import Conditions, diffusion_loss, generate, load_unet

RANK = 8
RATE = 1.5e-3
BATCH = 8
PICTURES = 24
UNET_TARGETS = re.compile(r"(attn[12]\.to_(q|k|v|out\.0)|ff\.net\.(0\.proj|2)|proj_in|proj_out)$")
TEXT_TARGETS = re.compile(r"(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])$")


@dataclass(frozen=True)
class Subject:
    """What a LoRA is of: its trigger word, what prompts still decide, and what shows that it worked."""

    trigger: str
    free: tuple[str, ...]
    traits: dict[str, str]


SUBJECTS = {
    "hina": Subject(
        "hina",
        FREE,
        {
            "hair": "pink",
            "cut": "twintails",
            "eyes": "blue",
            "skin": "fair",
            "glasses": "glasses",
            "ornament": "star",
        },
    ),
    "sailor": Subject("sailor", tuple(CAPTIONED), {"outfit": "sailor"}),
}
assert tuple(SUBJECTS["hina"].traits) == IDENTITY


class LoraLinear(nn.Module):
    """A linear layer with a low-rank difference: x W^T + strength * x down^T up^T; alpha is the rank."""

    def __init__(self, base: nn.Linear, rank: int = RANK) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.up.weight)
        self.strength = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.base(x) + self.strength * self.up(self.down(x))
        return y


class LoraSet(nn.Module):
    """The LoRA layers put into a U-Net and two text encoders, under their component's name and path."""

    def __init__(self, unet: nn.Module, encoders: TextEncoders, rank: int = RANK) -> None:
        super().__init__()
        components = (
            ("unet", unet, UNET_TARGETS),
            ("te1", encoders.te1, TEXT_TARGETS),
            ("te2", encoders.te2, TEXT_TARGETS),
        )
        self.layers = nn.ModuleDict()
        self.paths: dict[str, str] = {}
        for component, model, targets in components:
            model.requires_grad_(False)
            for path, linear in list(_linears(model, targets)):
                layer = LoraLinear(linear, rank)
                parent, _, leaf = path.rpartition(".")
                setattr(model.get_submodule(parent), leaf, layer)
                name = f"{component}.{path}"
                self.paths[name.replace(".", "/")] = name
                self.layers[name.replace(".", "/")] = layer

    def lora_layers(self) -> Iterator[tuple[str, LoraLinear]]:
        """(component.path, layer) of every layer."""
        for key, layer in self.layers.items():
            assert isinstance(layer, LoraLinear)
            yield self.paths[key], layer

    def factors(self) -> list[nn.Parameter]:
        """What is trained."""
        return [
            p for _, layer in self.lora_layers() for part in (layer.down, layer.up) for p in part.parameters()
        ]

    def set_strength(self, strength: float) -> None:
        """Multiplies every difference."""
        for _, layer in self.lora_layers():
            layer.strength = strength

    def factor_state(self) -> dict[str, torch.Tensor]:
        """`component.path.down` and `.up`: the trained factors alone."""
        return {
            f"{name}.{part}": getattr(layer, part).weight.detach()
            for name, layer in self.lora_layers()
            for part in ("down", "up")
        }

    def load_factor_state(self, state: dict[str, torch.Tensor]) -> None:
        """Takes what `factor_state` gave."""
        for name, layer in self.lora_layers():
            for part in ("down", "up"):
                getattr(layer, part).weight.data.copy_(state[f"{name}.{part}"])


class _Factors:
    """The factors as one part of a checkpoint."""

    def __init__(self, loras: LoraSet) -> None:
        self.loras = loras

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.loras.factor_state()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.loras.load_factor_state(state)


def _linears(model: nn.Module, targets: re.Pattern[str]) -> Iterator[tuple[str, nn.Linear]]:
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and targets.search(path):
            yield path, module


def sample_subject(subject: str, rng: random.Random, drawing: str) -> Portrait:
    """A training picture of the subject."""
    if subject == "hina":
        return sample_hina(rng, drawing)
    return replace(sample_portrait(rng, drawing), outfit="sailor")


def subject_caption(subject: Subject, portrait: Portrait, rng: random.Random | None = None) -> str:
    """Trigger word first, then what is free."""
    return f"{subject.trigger}, {caption({name: getattr(portrait, name) for name in subject.free}, rng)}"


def load_lora(folder: Path, name: str, loras: LoraSet) -> LoraSet:
    """Puts the trained factors of a subject into `loras`."""
    loras.load_factor_state(load_part(folder, f"lora-{name}", "factors"))
    return loras


@dataclass(frozen=True)
class Gallery:
    """Prompts with the trigger word, drawn at any strength, and read by the judge."""

    subject: Subject
    portraits: tuple[Portrait, ...]
    prompts: tuple[str, ...]
    vae: Vae
    judge: Judge

    @torch.no_grad()
    def pictures(self, unet: nn.Module, encoders: TextEncoders, seed: int = 77) -> torch.Tensor:
        """One picture for each prompt."""
        encoded, empty = encoders(list(self.prompts)), encoders([""])
        given = Conditions(encoded.context, encoded.pooled)
        return generate(unet, self.vae, given, Conditions(empty.context, empty.pooled), seed)

    def marks(self, pictures: torch.Tensor) -> dict[str, float]:
        """Mean probability of each trait, their mean (identity), share of the prompt that is followed."""
        found = answers(self.judge, pictures)
        traits = {
            name: found[name][:, JUDGED[name].index(value)].mean().item()
            for name, value in self.subject.traits.items()
        }
        free = [
            (found[name].argmax(1) == torch.tensor([p.labels()[name] for p in self.portraits]))
            .float()
            .mean()
            .item()
            for name in self.subject.free
        ]
        return {**traits, "identity": sum(traits.values()) / len(traits), "prompt": sum(free) / len(free)}


def prepare_gallery(folder: Path, name: str, count: int, drawing: str = "cel") -> Gallery:
    """`count` prompts that were not trained on."""
    rng = random.Random(f"gallery/{name}")
    portraits = tuple(sample_subject(name, rng, drawing) for _ in range(count))
    prompts = tuple(subject_caption(SUBJECTS[name], p) for p in portraits)
    return Gallery(SUBJECTS[name], portraits, prompts, load_folded_vae(folder), load_judge(folder))


def falling(n: int, steps: int) -> float:
    """Factor of the learning rate: warm-up over 20 steps, then half a cosine down to 0."""
    return cosine(n, steps, warmup=20)


@dataclass(frozen=True)
class Course:
    """How a LoRA is trained: its rank, and the learning rate's factor at (step, steps)."""

    rank: int = RANK
    factor: Callable[[int, int], float] = falling


def train_lora(
    stage: Stage, name: str, course: Course, after: Callable[[int, LoraSet], None] | None = None
) -> None:
    """Trains a subject's LoRA; `after` is called with the number of steps done and the factors."""
    torch.manual_seed(stage.seed)
    subject = SUBJECTS[name]
    unet, encoders = load_unet(stage.folder, "a"), load_text(stage.folder)
    loras = LoraSet(unet, encoders, course.rank)
    factors = loras.factors()
    optimizer = torch.optim.AdamW(factors, lr=RATE, weight_decay=0.0)
    gallery = prepare_gallery(stage.folder, name, 16)
    rng = random.Random(f"lora/{name}/{stage.seed}")
    portraits = tuple(sample_subject(name, rng, "cel") for _ in range(PICTURES))
    latents = encode(gallery.vae, to_floats(draw_pixels(portraits))) * SCALING

    def step(n: int) -> dict[str, float]:
        choice = stage.rng(n)
        rows = choice.sample(range(PICTURES), BATCH)
        encoded = encoders([subject_caption(subject, portraits[i], choice) for i in rows])
        loss = diffusion_loss(
            unet, latents[rows], Conditions(encoded.context, encoded.pooled), stage.generator(n)
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(factors, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * course.factor(n, stage.steps)
        optimizer.step()
        if after is not None:
            after(n + 1, loras)
        return {"loss": loss.item()}

    def evaluate() -> dict[str, float]:
        return gallery.marks(gallery.pictures(unet, encoders))

    train(stage, {"factors": _Factors(loras), "optimizer": optimizer}, step, evaluate, evaluate_every=200)


if __name__ == "__main__":
    parser = stage_arguments("lora", 800, __doc__)
    parser.add_argument("--subject", choices=tuple(SUBJECTS), default="hina")
    options = parser.parse_args()
    train_lora(start_stage(f"lora-{options.subject}", options), options.subject, Course())
