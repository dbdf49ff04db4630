"""The two text encoders, trained first and alone: to tell what a caption says.

A U-Net learns to paint words fast when they are already apart. The questions are those of the captions,
each with one answer more ("not said"), put to the context and to the pooled vector. CLIP-L's layout (width
64, three layers) and OpenCLIP's (width 128, ten layers); as in SDXL the context is both last-but-one layers
side by side, the pooled vector the second encoder's projection.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from training.attributes import CAPTIONED, sample_portrait
from training.captions import LENGTH, caption, compact, said_about, tokens, used_ids
from training.runs import Stage, cosine, load_part, stage_arguments, start_stage, train

WIDTH1, WIDTH2 = 64, 128
CONTEXT = WIDTH1 + WIDTH2
POOLED = WIDTH2
BATCH = 32
RATE = 1e-3
SHORT = 36  # every caption fits; causal attention makes the padding behind it free to leave out


def text_config(width: int, layers: int, vocabulary: int, activation: str) -> CLIPTextConfig:
    """Heads of 64; eos_token_id 2 makes transformers pool at the largest id."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=LENGTH,
        hidden_act=activation,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


@dataclass(frozen=True)
class Encoded:
    """What the U-Net is given: context (n, tokens, 192) and pooled (n, 128)."""

    context: torch.Tensor
    pooled: torch.Tensor


class TextEncoders(nn.Module):
    """Both encoders over the compact vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        rows = len(used_ids())
        self.te1 = CLIPTextModel(text_config(WIDTH1, 3, rows, "quick_gelu"))
        self.te2 = CLIPTextModelWithProjection(text_config(WIDTH2, 10, rows, "gelu"))

    def forward(self, texts: Sequence[str], length: int = LENGTH) -> Encoded:
        first = self.te1(compact(tokens(texts, "te1", length)), output_hidden_states=True)
        second = self.te2(compact(tokens(texts, "te2", length)), output_hidden_states=True)
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], 2)
        return Encoded(context, second.text_embeds)


class Reader(nn.Module):
    """Answers what a caption says: one attention query per question over the context, linear heads."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {name: len(values) + 1 for name, values in CAPTIONED.items()}
        self.queries = nn.Parameter(torch.randn(len(sizes), CONTEXT) * 0.05)
        self.norm = nn.LayerNorm(CONTEXT)
        self.from_context = nn.ModuleDict({name: nn.Linear(CONTEXT, size) for name, size in sizes.items()})
        self.from_pooled = nn.ModuleDict({name: nn.Linear(POOLED, size) for name, size in sizes.items()})

    def forward(self, encoded: Encoded) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        context = self.norm(encoded.context)
        weights = torch.einsum("qc,ntc->nqt", self.queries, context).softmax(2)
        answers = torch.einsum("nqt,ntc->nqc", weights, context)
        return (
            [head(answers[:, i]) for i, head in enumerate(self.from_context.values())],
            [head(encoded.pooled) for head in self.from_pooled.values()],
        )


def said_labels(said: Mapping[str, str]) -> list[int]:
    """Answers in the order of CAPTIONED; one past the last value means "not said"."""
    return [values.index(said[name]) if name in said else len(values) for name, values in CAPTIONED.items()]


def sample_captions(rng: random.Random, count: int) -> tuple[list[str], torch.Tensor]:
    """Captions of random portraits and what they say, (count, questions)."""
    texts, labels = [], []
    for _ in range(count):
        said = said_about(sample_portrait(rng, "cel"), rng)
        texts.append(caption(said, rng))
        labels.append(said_labels(said))
    return texts, torch.tensor(labels)


def right(answers: Sequence[torch.Tensor], labels: torch.Tensor) -> float:
    """Share of right answers over all questions."""
    return torch.stack([a.argmax(1) == labels[:, i] for i, a in enumerate(answers)]).float().mean().item()


def load_text(folder: Path) -> TextEncoders:
    """The trained encoders."""
    encoders = TextEncoders()
    encoders.load_state_dict(load_part(folder, "text", "encoders"))
    return encoders.eval().requires_grad_(False)


def _train(stage: Stage) -> None:
    torch.manual_seed(stage.seed)
    encoders, reader = TextEncoders(), Reader()
    parameters = [*encoders.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    test_texts, test_labels = sample_captions(random.Random("captions/test"), 256)

    def step(n: int) -> dict[str, float]:
        texts, labels = sample_captions(stage.rng(n), BATCH)
        from_context, from_pooled = reader(encoders(texts, LENGTH if n % 10 == 0 else SHORT))
        loss = torch.stack(
            [
                functional.cross_entropy(a, labels[:, i % labels.shape[1]])
                for i, a in enumerate(from_context + from_pooled)
            ]
        ).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * cosine(n, stage.steps, warmup=50, flat=0.4)
        optimizer.step()
        return {
            "loss": loss.item(),
            "context": right(from_context, labels),
            "pooled": right(from_pooled, labels),
        }

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        from_context, from_pooled = reader(encoders(test_texts))
        return {
            "test context": right(from_context, test_labels),
            "test pooled": right(from_pooled, test_labels),
        }

    train(
        stage,
        {"encoders": encoders, "reader": reader, "optimizer": optimizer},
        step,
        evaluate,
        evaluate_every=200,
    )


if __name__ == "__main__":
    _train(start_stage("text", stage_arguments("text", 600, __doc__).parse_args()))
