"""The judge: reads the attributes off a portrait of the tiny family.

A small convolutional network, trained on drawings beside the family (`training/judge.py`). Its file says
what it is asked, how captions say it, and what shows each LoRA's subject.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from loralathe.errors import InputError
from loralathe.tensorfiles import open_tensorfile

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128


@dataclass(frozen=True)
class Knowledge:
    """What a judge knows of its questions.

    questions: name → possible answers.  phrases: name → answer → the words of a caption.
    subjects:  trigger word → name → the answer that shows the subject.
    """

    questions: Mapping[str, tuple[str, ...]]
    phrases: Mapping[str, Mapping[str, str]]
    subjects: Mapping[str, Mapping[str, str]]


class Network(nn.Module):
    """(n, 3, 128, 128) in −1..1 to one row of logits per question.

    widths: channels of the convolutions of stride 2, of one of stride 1, and of the last, 1×1.
    """

    def __init__(self, widths: Sequence[int], hidden: int, questions: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        *strided, flat, last = widths
        layers: list[nn.Module] = []
        before = 3
        for width, stride in [*((width, 2) for width in strided), (flat, 1)]:
            layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        side = SIDE >> len(strided)
        layers += [nn.Conv2d(before, last, 1), nn.Flatten(), nn.Linear(last * side * side, hidden), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(hidden, len(values)) for name, values in questions.items()}
        )

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.features(images)
        return {name: head(features) for name, head in self.heads.items()}


@dataclass(frozen=True, eq=False)
class Judge:
    """A network and what it knows."""

    network: Network
    knowledge: Knowledge

    def answers(self, images: Sequence[Image]) -> dict[str, torch.Tensor]:
        """Probabilities per question, (pictures, answers) float32. Pictures are 128×128."""
        pixels = torch.stack([_pixels(image) for image in images])
        with torch.inference_mode():
            return {name: logits.softmax(1) for name, logits in self.network(pixels).items()}


def _pixels(image: Image) -> torch.Tensor:
    rgb = image.convert("RGB")
    if rgb.size != (SIDE, SIDE):
        raise ValueError(f"the judge reads {SIDE}×{SIDE} pictures, not {rgb.size[0]}×{rgb.size[1]}")
    raw = torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8)
    return raw.reshape(SIDE, SIDE, 3).permute(2, 0, 1).float() / 127.5 - 1


def open_judge(path: Path) -> Judge:
    """The judge in a safetensors file. Raises InputError for a file that holds none."""
    with open_tensorfile(path) as file:
        try:
            about = {key: json.loads(text) for key, text in file.header.metadata.items() if key != "format"}
            questions = {name: tuple(values) for name, values in about["questions"].items()}
            network = Network(about["widths"], about["hidden"], questions)
            state = {name: file.read(name).float() for name in file.header.tensors}
            lacking = network.load_state_dict(state, strict=False)
            wrong = [name for name in lacking.missing_keys if not name.endswith("num_batches_tracked")]
            if wrong or lacking.unexpected_keys:
                raise KeyError(*wrong, *lacking.unexpected_keys)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise InputError("this file holds no judge of the tiny family", where=str(path)) from error
    return Judge(network.eval(), Knowledge(questions, about["phrases"], about["subjects"]))
