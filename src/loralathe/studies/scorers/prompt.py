"""Does it show what the prompt says: CLIP from a local folder that the person gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from loralathe.errors import InputError, MachineError
from loralathe.studies.scorers.protocol import Better, Scored

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPProcessor

_TAG = re.compile(r"<[^<>]*>")
_EMPHASIS = re.compile(r"[()\[\]]|:\s*[+-]?[\d.]+(?=[)\]])")


def plain_prompt(prompt: str) -> str:
    """The prompt without tags, brackets and emphasis numbers, as CLIP should read it."""
    return " ".join(_EMPHASIS.sub("", _TAG.sub("", prompt)).replace("BREAK", ",").split())


@dataclass(frozen=True)
class PromptScorer:
    """100 · cosine between picture and prompt (CLIPScore without its factor 2.5; Hessel and others 2021).

    `folder` holds a transformers CLIP: config.json, weights, tokenizer and preprocessor files.
    """

    folder: Path
    name: str = "prompt"
    better: Better = "higher"

    def check(self) -> None:
        if not (self.folder / "config.json").is_file():
            raise InputError(
                "the CLIP model of the prompt scorer is not there",
                where=str(self.folder),
                fix="give a folder with config.json, weights, tokenizer and preprocessor files of a CLIP",
            )
        if find_spec("transformers") is None:
            raise MachineError("the prompt scorer needs transformers", fix="pip install 'loralathe[render]'")

    def score(self, items: Sequence[Scored]) -> list[float | None]:
        model, processor = self._loaded
        import torch

        inputs = processor(
            text=[plain_prompt(item.prompt) for item in items],
            images=[item.image.convert("RGB") for item in items],
            return_tensors="pt",
            padding=True,
            truncation=True,
        )
        with torch.inference_mode():
            outputs = model(**inputs)
            cosines = torch.nn.functional.cosine_similarity(outputs.image_embeds, outputs.text_embeds)
        return [100 * float(value) for value in cosines]

    @cached_property
    def _loaded(self) -> tuple[CLIPModel, CLIPProcessor]:
        self.check()
        from transformers import CLIPModel, CLIPProcessor

        try:
            model = CLIPModel.from_pretrained(self.folder, local_files_only=True)
            processor = CLIPProcessor.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"this CLIP folder cannot be loaded: {str(error).splitlines()[0]}", where=str(self.folder)
            ) from error
        model.eval()  # type: ignore[no-untyped-call]
        return model, processor
